"""Sessions that were deleted a moment ago: what still arrives of them must not bring them back."""

from collections.abc import Mapping
from typing import Final

from operators.deadlines import Deadlines

__all__ = ["TOMBSTONE", "Tombstones"]

TOMBSTONE: Final = 60.0
"""Seconds for which events of a deleted session are swallowed. Seen: stragglers after 5 s."""


class Tombstones:
    """One tombstone per deleted session, until its time has come or the session is created anew (E5).

    Args:
        deadlines: Where the end of each is put, beside the deadlines of the sessions that live.

    Memory: two dict entries and one heap entry per session deleted in the last 60 s.
    """

    __slots__ = ("_deadlines", "_until")

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._until: dict[str, float] = {}

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._until

    def __len__(self) -> int:
        return len(self._until)

    def put(self, session_id: str, now: float) -> None:
        """The session was deleted, and has no deadline of its own any more."""
        until = self._until[session_id] = now + TOMBSTONE
        self._deadlines.set(session_id, until)

    def take_away(self, session_id: str) -> None:
        """The session lives again."""
        if self._until.pop(session_id, None) is not None:
            self._deadlines.forget(session_id)

    def come_due(self, session_id: str, now: float) -> None:
        """A deadline has come that was no living session's."""
        until = self._until.get(session_id)
        if until is None:
            return
        if until > now:  # deleted again since
            self._deadlines.set(session_id, until)
        else:
            del self._until[session_id]

    def kept(self) -> dict[str, float]:
        """Until when each stands."""
        return self._until

    def restore(self, until: Mapping[str, float]) -> None:
        """Put back what ``kept`` said."""
        for session_id, end in until.items():
            self._until[session_id] = end
            self._deadlines.set(session_id, end)

    def clear(self) -> None:
        """The stream is over."""
        for session_id in list(self._until):
            self.take_away(session_id)
