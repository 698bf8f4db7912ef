"""How the connection to a watched server is doing, as it is shown and written."""

import msgspec

from streams.opencode import ConnectionState

__all__ = ["Connection", "connection_of", "is_news"]


class Connection(msgspec.Struct, frozen=True, gc=False):
    """How a connection is doing.

    Attributes:
        status: ``connecting``, ``connected``, ``reconnecting`` or ``closed``.
        attempt: Attempts since it was last connected; 0 while it is.
        error: Why it is not connected, as far as is known; empty while it is.
        gaps: Times that events were, or may have been, missed.
        resumed: Events that were missed and then delivered after all.
        lost: Events that are known to be missing for good.
        dropped: Events let go because what is derived and shown was slower than the server.
        duplicates: Events that came again and were left out.
        malformed: Payloads that could not be read.
    """

    status: str
    attempt: int = 0
    error: str = ""
    gaps: int = 0
    resumed: int = 0
    lost: int = 0
    dropped: int = 0
    duplicates: int = 0
    malformed: int = 0


def connection_of(state: ConnectionState, before: Connection | None = None) -> Connection:
    """A connection's state, in words and numbers. An attempt under way has the last one's error."""
    counts = state.counts
    last = before.error if before is not None and state.status != "connected" else ""
    return Connection(
        state.status,
        state.attempt,
        last if state.error is None else str(state.error),
        counts.gaps,
        counts.resumed,
        counts.lost,
        counts.dropped,
        counts.duplicates,
        counts.malformed,
    )


def is_news(before: Connection | None, after: Connection) -> bool:
    """Whether there is something to say: not for one more attempt that fails as the last one did."""
    return before is None or msgspec.structs.replace(after, attempt=before.attempt) != before
