"""The state of a connection, for displays and for deciding what to do about a server that is away."""

from typing import Literal

import msgspec

from streams.opencode.errors import OpencodeError
from streams.opencode.intake import Counts

__all__ = ["ConnectionState", "Status"]

Status = Literal["idle", "connecting", "connected", "reconnecting", "closed"]
"""``idle``: nobody has subscribed yet. ``connecting``: for the first time."""


class ConnectionState(msgspec.Struct, frozen=True):
    """How a connection is doing.

    Attributes:
        status: See ``Status``.
        at: Seconds, when this was so.
        attempt: Attempts since it was last connected; 0 while it is.
        error: Why it is not connected; None while it is.
        counts: What has come so far.
    """

    status: Status = "idle"
    at: float = 0.0
    attempt: int = 0
    error: OpencodeError | None = None
    counts: Counts = msgspec.field(default_factory=Counts)
