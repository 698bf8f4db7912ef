"""Where a reader of a durable source stands, and sources that go on from there.

A position is a flat ``dict[str, int]``: one number for each log that a source consists of. A recording is
one log (its path: a byte offset), a directory has one for each file, an opencode server one for each
session (the ``seq`` of the last entry of its sync log). It is what a checkpoint holds of a source.
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from streams.events import SessionEvent

__all__ = ["Positioned", "Reader", "Resumable"]


class Positioned(msgspec.Struct, frozen=True, gc=False):
    """An event of a log, with the position that is right once it is taken in.

    Attributes:
        event: The event; its ``at`` is the record's own time (seconds), not the time of reading.
        key: The log that it is of: a path, or a session's id.
        after: Where to go on in that log: bytes from a file's beginning, or a session's last ``seq``. It
            grows with every event of the log, from 0; an event that is told again has its old one. Below
            0: the log ends with this event, and so does its position.
    """

    event: SessionEvent
    key: str
    after: int


class Reader(Protocol):
    """A source that was opened at a position. For one thread at a time."""

    @property
    def caught_up(self) -> bool:
        """Whether all that was there when it was opened (or reconnected) has been read."""
        ...

    @property
    def ended(self) -> bool:
        """Whether nothing will ever follow: a recording that was read to its end and is not followed."""
        ...

    def read(self, wait: float) -> list[Positioned]:
        """What has come since the last call: each log in its own order.

        Args:
            wait: Seconds to wait at most for something to come; 0 does not wait.

        Returns:
            Events in the order in which they are to be taken in; none when nothing came.

        Raises:
            OSError: The source cannot be read, such as a file that is gone.
            OpencodeError: A server cannot be reached, or refuses for good.
            ValueError: It is no such source, or shorter than the position at which it was opened.
        """
        ...

    def close(self) -> None:
        """Let go of files, connections and threads. Closing twice is allowed."""
        ...


class Resumable(Protocol):
    """A source that can be read again from a position.

    From a position on it gives what one uninterrupted reading would have given after it: the same
    events with the same ``at``, in the same order within each log.
    """

    @property
    def name(self) -> str:
        """Names it in checkpoints and decides its partition: the same in every process."""
        ...

    def open(self, positions: Mapping[str, int]) -> Reader:
        """Begin after these positions. A log that is not in them is read from its beginning.

        Raises:
            OSError: It cannot be opened.
            ValueError: It is no such source, or has no such position.
        """
        ...
