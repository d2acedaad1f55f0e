"""The tree of wire errors. A parser of this package raises nothing else, whatever bytes it is given.

ProtocolError             the other side sent something that the format does not allow
├── IdentifierError       a device, group or account id that is none
├── HandshakeError        a message of the agent authentication
├── CommandError          a binary command after the authentication
└── SettingsError         an agent settings file, or a value that cannot be written into one
"""

from __future__ import annotations


class ProtocolError(ValueError):
    """Base of all wire errors. The message names the field and the rule, and never repeats hostile text whole."""


class IdentifierError(ProtocolError):
    """A device, device group or account id is malformed."""


class HandshakeError(ProtocolError):
    """A message of the agent authentication is malformed."""


class CommandError(ProtocolError):
    """A binary agent command is malformed."""


class SettingsError(ProtocolError):
    """An agent settings file is malformed, or a value cannot be written into one."""
