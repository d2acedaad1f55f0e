"""Authentication of agents and the registry of live sessions."""

from meshcentral.core.agents.registry import Agents

__all__ = ["Agents"]
