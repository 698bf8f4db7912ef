"""Ids that came lately."""

from typing import Final

__all__ = ["RecentIds"]

REMEMBERED: Final = 8_192
"""Event ids by which a repeated event is known; the numbers of the log need no such bound."""


class RecentIds:
    """A set that forgets the oldest: two generations, so that forgetting costs nothing."""

    def __init__(self, size: int = REMEMBERED) -> None:
        self._size = size
        self._young: set[str] = set()
        self._old: set[str] = set()

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._young or event_id in self._old

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def add(self, event_id: str) -> None:
        self._young.add(event_id)
        if len(self._young) >= self._size:
            self._old, self._young = self._young, set()

    def discard(self, event_id: str) -> None:
        self._young.discard(event_id)
        self._old.discard(event_id)
