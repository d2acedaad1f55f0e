"""MeshAgent socket, core modules, agent binaries."""
