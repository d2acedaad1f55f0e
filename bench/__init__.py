"""Benchmarks of the server beside the peer: `python -m bench` from the repository root (see README.md)."""
