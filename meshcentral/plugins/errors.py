"""The tree of expected errors. Anything else that escapes a handler is a defect and is logged as one.

MeshError                 failed, exit 1
├── UsageError            the caller wrote it wrong, exit 2
├── ServerUnreachable     nobody answers at the socket or URL, exit 3
├── NotAuthorised         bad login or missing right, exit 4
├── NotFound              no such object, or none that the caller may see, exit 5
├── Conflict              the object exists already or has changed meanwhile
├── Busy                  the data folder is in use by another process
├── NotReady              something outside is away: retried with back-off
├── SocketClosed          the other side of a socket is gone
└── ConfigurationError    the configuration cannot work, exit 78
"""

from __future__ import annotations


class MeshError(Exception):
    """Base of all expected errors.

    `code` is stable and machine-readable; the message names the field and the rule; `hint` tells what to do.
    """

    code = "error"
    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(MeshError):
    """The request is malformed: a wrong type, an unknown name, a value out of range."""

    code = "usage"
    exit_code = 2


class ServerUnreachable(MeshError):
    """Nobody answers at the socket or URL."""

    code = "server_unreachable"
    exit_code = 3


class NotAuthorised(MeshError):
    """The login failed or the account lacks the right."""

    code = "not_authorised"
    exit_code = 4


class NotFound(MeshError):
    """There is no such object, or none that the caller may see: the two look alike on purpose."""

    code = "not_found"
    exit_code = 5


class Conflict(MeshError):
    """The object exists already, or it changed between reading and writing."""

    code = "conflict"


class Busy(MeshError):
    """The data folder is in use by another process."""

    code = "busy"


class NotReady(MeshError):
    """A plugin cannot start yet (a database or mail host is away): it is retried with back-off."""

    code = "not_ready"


class SocketClosed(MeshError):
    """The other side of a socket is gone, or the socket was closed here."""

    code = "socket_closed"


class ConfigurationError(MeshError):
    """The configuration cannot work; the message carries the dotted path of the setting."""

    code = "configuration"
    exit_code = 78
