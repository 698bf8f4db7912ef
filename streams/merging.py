"""Several sources as one, in the order of the records' times."""

import heapq
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from math import inf
from typing import Final

import msgspec

from streams.positions import Positioned, Reader

__all__ = ["Merged", "Merging"]

MAX_WAITING: Final = 10_000
"""Events of one source that wait for the others; more of it are not read meanwhile."""


class Merged(msgspec.Struct, frozen=True, gc=False):
    """An event whose turn has come.

    Attributes:
        time: Seconds: the record's own, but never before that of what came before it in its log.
        source: Which reader it is of.
        positioned: The event.
    """

    time: float
    source: int
    positioned: Positioned


class Merging:
    """Reads several sources and gives their events in the order of the records' times.

    While a source catches up, what others have waits until it is its turn. Of sources that have caught
    up, everything waits for ``grace`` seconds, so that what is told a little late is put in its place;
    so live events come in the order in which the logs would tell them afterwards.

    Args:
        readers: The opened sources; of equal times, the first one's come first.
        grace: Seconds; how much later than its record's time an event may come.
        patience: Seconds for which a source that tells nothing and has not caught up, such as a server
            that is down, holds up the others. What it tells afterwards is late.
        wall: The clock that the records' times are of.
        seconds: A clock that nobody sets, for what was waited.

    Memory: what waits, at most about 10 000 events of each source.
    """

    def __init__(
        self,
        readers: Sequence[Reader],
        *,
        grace: float = 0.5,
        patience: float = 60.0,
        wall: Callable[[], float] = time.time,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._readers = readers
        self._grace = grace
        self._patience = patience
        self._wall = wall
        self._seconds = seconds
        self._waiting: list[tuple[float, int, int, float, Positioned]] = []
        self._numbers = count()
        self._of_source = Counter[int]()
        self._latest: dict[tuple[int, str], float] = {}
        self._heard = [seconds()] * len(readers)
        self._horizon = -inf

    @property
    def ended(self) -> bool:
        """Whether all sources are over, and all of it was given."""
        return not self._waiting and all(reader.ended for reader in self._readers)

    @property
    def caught_up(self) -> bool:
        """Whether every source has told all that it had."""
        return all(reader.caught_up for reader in self._readers)

    @property
    def passed(self) -> float:
        """Up to when, by the records' clock, nothing more is expected: how far time has gone.

        Minus infinity while a source catches up or there is none that goes on: then only events say it.
        """
        live = [number for number, reader in enumerate(self._readers) if not reader.ended]
        if not live or not all(map(self._is_not_waited_for, live)):
            return -inf
        return min(self._horizon, self._waiting[0][0]) if self._waiting else self._horizon

    def read(self, wait: float) -> list[Merged]:
        """The events whose turn it is, waiting for at most so many seconds for something to come."""
        horizon = self._wall() - self._grace
        if self._waiting:
            wait = min(wait, max(0.0, self._waiting[0][0] - horizon))
        for number, reader in enumerate(self._readers):
            if self._of_source[number] < (MAX_WAITING if reader.caught_up else 1):
                self._take(number, reader.read(wait / len(self._readers)))
        self._horizon = horizon
        return self._due()

    def close(self) -> None:
        """Close all readers."""
        for reader in self._readers:
            reader.close()

    def _take(self, number: int, events: list[Positioned]) -> None:
        now = self._seconds()
        if events or self._readers[number].caught_up:
            self._heard[number] = now
        for event in events:
            log = number, event.key
            at = self._latest[log] = max(event.event.at, self._latest.get(log, -inf))
            heapq.heappush(self._waiting, (at, number, next(self._numbers), now, event))
        self._of_source[number] += len(events)

    def _due(self) -> list[Merged]:
        due: list[Merged] = []
        while self._waiting and self._may_go():
            at, number, _, _, event = heapq.heappop(self._waiting)
            self._of_source[number] -= 1
            if self._latest.get((number, event.key)) == at:
                del self._latest[number, event.key]
            due.append(Merged(at, number, event))
        return due

    def _may_go(self) -> bool:
        """Whether nothing can come any more that should have come before the first that waits."""
        at, source, _, since, _ = self._waiting[0]
        for number in range(len(self._readers)):
            if number != source and not self._of_source[number] and not self._is_not_waited_for(number):
                return False
        reader = self._readers[source]
        is_live = reader.caught_up and not reader.ended
        return not is_live or at <= self._horizon or self._seconds() - since >= self._grace

    def _is_not_waited_for(self, number: int) -> bool:
        reader = self._readers[number]
        if reader.caught_up or reader.ended:
            return True
        return self._seconds() - self._heard[number] >= self._patience
