"""opencode: what its server says, decoded, live, and asked for."""

from streams.opencode.client import Client
from streams.opencode.errors import (
    BadAnswer,
    MissingExtra,
    NotFound,
    NotOpencode,
    OpencodeError,
    Refused,
    ServerFailed,
    TimedOut,
    Unauthorized,
    Unreachable,
)
from streams.opencode.intake import Counts
from streams.opencode.live import LiveEvents, connect
from streams.opencode.server_log import ServerLog
from streams.opencode.session_history import history
from streams.opencode.state import ConnectionState
from streams.opencode.wire import decode, decode_wanted

__all__ = [
    "BadAnswer",
    "Client",
    "ConnectionState",
    "Counts",
    "LiveEvents",
    "MissingExtra",
    "NotFound",
    "NotOpencode",
    "OpencodeError",
    "Refused",
    "ServerFailed",
    "ServerLog",
    "TimedOut",
    "Unauthorized",
    "Unreachable",
    "connect",
    "decode",
    "decode_wanted",
    "history",
]
