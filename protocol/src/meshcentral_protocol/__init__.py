"""Wire formats of the mesh platform, without sockets."""
