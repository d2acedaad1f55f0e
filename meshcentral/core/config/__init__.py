"""Configuration: the model, where its values come from, and the first file."""

from __future__ import annotations

from meshcentral.core.config.initial import write_initial
from meshcentral.core.config.loading import load
from meshcentral.core.config.model import Configuration, Domain, Plugins, Retention, Settings

__all__ = ["Configuration", "Domain", "Plugins", "Retention", "Settings", "load", "write_initial"]
