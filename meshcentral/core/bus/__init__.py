"""The event bus of one process."""

from meshcentral.core.bus.bus import EventBus

__all__ = ["EventBus"]
