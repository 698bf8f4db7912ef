"""What can be wrong with a server or an answer of it: one type and one clear line each."""

__all__ = [
    "BadAnswer",
    "MissingExtra",
    "NotFound",
    "NotOpencode",
    "OpencodeError",
    "Refused",
    "ServerFailed",
    "TimedOut",
    "Unauthorized",
    "Unreachable",
]


class OpencodeError(Exception):
    """Any of the errors below."""


class MissingExtra(OpencodeError, ImportError):
    """What is needed to talk to a server is not installed."""


class Unreachable(OpencodeError):
    """No connection, or it was lost before the answer was complete."""


class TimedOut(Unreachable, TimeoutError):
    """There was a connection, and no answer in time. What was asked for may still be under way (C3)."""


class NotOpencode(OpencodeError):
    """Something answers at that address, but not as opencode does."""


class BadAnswer(OpencodeError):
    """An answer with status 200 that cannot be read."""


class Refused(OpencodeError):
    """The server refused the request: status 400 to 499.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Unauthorized(Refused):
    """The server wants a password, or another one."""


class NotFound(Refused):
    """There is no such session, or no such route in this version of the server."""


class ServerFailed(OpencodeError):
    """The server failed: status 500 or above.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
