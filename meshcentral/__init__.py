"""The mesh platform: a server, an agent and a dashboard for remote computer management."""

__version__ = "0.1.0"
