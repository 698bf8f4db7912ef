"""The earliest of many deadlines, at almost no cost for those that keep moving later."""

import heapq
from collections.abc import Iterator
from math import inf

__all__ = ["Deadlines"]


class Deadlines:
    """One deadline per key, lazily ordered.

    Moving a deadline later costs nothing until the earlier one comes due, when it is looked at again;
    so a time to live that every event renews is one comparison per event.

    Memory: one heap entry and one dict entry per key that has a deadline.
    Time: setting an earlier one O(log n), a later one O(1), forgetting O(1).
    """

    __slots__ = ("_heap", "armed", "earliest")

    def __init__(self) -> None:
        self.earliest = inf
        """When to look next: never later than the first deadline, and infinite when there is none."""
        self._heap: list[tuple[float, str]] = []
        self.armed: dict[str, float] = {}
        """When each key is to be looked at next."""

    def __len__(self) -> int:
        return len(self.armed)

    def set(self, key: str, deadline: float | None) -> None:
        """Look at ``key`` when ``deadline`` comes: never, for None, infinity and what is no number."""
        if deadline is None or not deadline < inf:
            self.forget(key)
            return
        armed = self.armed.get(key)
        if armed is not None and armed <= deadline:
            return
        self.armed[key] = deadline
        heap = self._heap
        if len(heap) > 64 + 2 * len(self.armed):
            self._sweep()
        heapq.heappush(heap, (deadline, key))
        self.earliest = heap[0][0]

    def forget(self, key: str) -> None:
        """``key`` has no deadline any more."""
        if self.armed.pop(key, None) is not None:
            self._rest_if_empty()

    def due(self, now: float) -> Iterator[str]:
        """Take out the keys to look at, earliest first. Each needs a new deadline to come up again."""
        heap, armed = self._heap, self.armed
        while heap and heap[0][0] <= now:
            deadline, key = heapq.heappop(heap)
            self.earliest = heap[0][0] if heap else inf
            if armed.get(key) == deadline:
                del armed[key]
                yield key
        self._rest_if_empty()

    def _rest_if_empty(self) -> None:
        if not self.armed:
            self.armed.clear()  # an empty dict keeps the room it once needed
            self._heap.clear()
            self.earliest = inf

    def _sweep(self) -> None:
        self._heap[:] = [(at, key) for at, key in self._heap if self.armed.get(key) == at]
        heapq.heapify(self._heap)
