"""What waits for a slow consumer: bounded, and when it is full it gives up what matters least."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Final, Generic, Literal, TypeVar, cast

import msgspec

from streams import events as ev
from streams.events import SessionEvent

__all__ = ["Backlog", "Overflow", "Overflowed"]

_T = TypeVar("_T")

Overflow = Literal["shed", "oldest", "error"]
"""What is done when a backlog is full; see ``bounded``."""

COST: Final = 300
"""Bytes that an event takes beside its texts."""

MAX_TORN: Final = 10_000


class Overflowed(Exception):
    """A consumer was so slow that something would have been lost that must not be."""


class Backlog(Generic[_T]):
    """Values that wait, in order. Not locked.

    Args:
        capacity: How many may wait.
        max_bytes: How many bytes they may take, as far as they are events.
        overflow: What to do about one too many.

    Attributes:
        dropped: Values that were given up and that nothing makes good.
        merged: Events that were given up because a later one says the same, or was added to it.

    Source: field failures S8, R1, T11.
    """

    def __init__(self, capacity: int, max_bytes: int, overflow: Overflow) -> None:
        self.dropped = 0
        self.merged = 0
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._overflow = overflow
        self._waiting: deque[_T] = deque()
        self._bytes = 0
        self._torn: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def bytes(self) -> int:
        """What waits, in bytes, roughly."""
        return self._bytes

    def offer(self, value: _T) -> None:
        """Let a value wait.

        Raises:
            Overflowed: It is full, and what waits may not be given up.
        """
        if self._torn and self._is_torn(value):
            self.dropped += 1
            return
        self._waiting.append(value)
        self._bytes += _size(value)
        if self._is_full():
            self._relieve()

    def take(self, most: int) -> list[_T]:
        """The first ones; they wait no more."""
        values = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        self._bytes -= sum(map(_size, values))
        return values

    # --- making room ------------------------------------------------------------------------------

    def _is_full(self, eighths: int = 8) -> bool:
        count, size = len(self._waiting) * 8, self._bytes * 8
        return count > self._capacity * eighths or size > self._max_bytes * eighths

    def _relieve(self) -> None:
        if self._overflow == "oldest":
            while self._is_full():
                self._bytes -= _size(self._waiting.popleft())
                self.dropped += 1
        elif self._overflow == "shed":
            self.merged += self._keep(_last_words) + self._keep(_joined_deltas)
            if self._is_full(7):  # without an eighth of room, nothing but this would be done
                self.dropped += self._keep(self._without_deltas)
        if self._is_full():
            raise Overflowed(
                f"{len(self._waiting)} values ({self._bytes} bytes) wait for too slow a consumer; "
                f"at most {self._capacity} ({self._max_bytes} bytes) may, and none may be dropped"
            )

    def _keep(self, select: Callable[[Iterable[object]], list[object]]) -> int:
        """Keep what is selected; returns how many are gone."""
        before = len(self._waiting)
        self._waiting = cast("deque[_T]", deque(select(self._waiting)))
        self._bytes = sum(map(_size, self._waiting))
        return before - len(self._waiting)

    def _without_deltas(self, values: Iterable[object]) -> list[object]:
        """Text is made good by the whole part; until that comes, more of it would be garbled."""
        kept: list[object] = []
        for value in values:
            if isinstance(value, ev.PartDelta):
                self._torn[value.part_id] = None
            elif not isinstance(value, ev.UnknownEvent):
                kept.append(value)
        while len(self._torn) > MAX_TORN:
            del self._torn[next(iter(self._torn))]
        return kept

    def _is_torn(self, value: object) -> bool:
        if isinstance(value, ev.PartUpdated):
            self._torn.pop(value.part.id, None)
        return isinstance(value, ev.PartDelta) and value.part_id in self._torn


def _size(value: object) -> int:
    """What an event keeps in memory, roughly."""
    if not isinstance(value, SessionEvent):
        return COST
    if isinstance(value, ev.PartDelta):
        return COST + len(value.raw) + len(value.delta)
    return COST + len(value.raw)


def _last_words(values: Iterable[object]) -> list[object]:
    """Of one message, part, session or list only the last word, without the text that led to it."""
    later: set[Hashable] = set()
    kept: list[object] = []
    for value in reversed(list(values)):
        subject = _subject(value)
        if subject is None or subject not in later:
            kept.append(value)
        if subject is not None and not isinstance(value, ev.PartDelta):
            later.add(subject)
    kept.reverse()
    return kept


def _subject(value: object) -> Hashable:
    """What an event is the last word on; None for one that is never replaced."""
    match value:
        case ev.PartUpdated():
            return ("part", value.part.id)
        case ev.PartDelta():
            return ("part", value.part_id)
        case ev.MessageUpdated():
            return ("message", value.message_id)
        case ev.SessionUpdated():
            return ("session", value.session_id)
        case ev.TodosUpdated():
            return ("todos", value.session_id)
        case ev.Heartbeat():
            return "heartbeat"
        case _:
            return None


def _joined_deltas(values: Iterable[object]) -> list[object]:
    """Deltas of one part as one, where the first stands; a whole part between them is a barrier (T11)."""
    kept: list[object] = []
    first: dict[tuple[str, str], int] = {}
    texts: dict[int, list[str]] = {}
    for value in values:
        if isinstance(value, ev.PartUpdated):
            first.pop((value.part.id, "text"), None)
        elif isinstance(value, ev.PartDelta):
            place = first.setdefault((value.part_id, value.field), len(kept))
            texts.setdefault(place, []).append(value.delta)
            if place < len(kept):
                continue
        kept.append(value)
    for place, pieces in texts.items():
        if len(pieces) > 1:
            delta = cast(ev.PartDelta, kept[place])
            kept[place] = msgspec.structs.replace(delta, delta="".join(pieces), raw=b"", event_id="")
    return kept
