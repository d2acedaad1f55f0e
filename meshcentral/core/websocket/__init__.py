"""WebSockets of the server: a sans-IO codec, the protocol class that carries it, and in-memory pairs."""
