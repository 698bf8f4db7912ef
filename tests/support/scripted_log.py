"""A source in a script: what it has, what comes when, and when it is down; on a clock of the test's own."""

from collections.abc import Mapping, Sequence

import msgspec

from streams.events import SessionEvent
from streams.positions import Positioned

At = tuple[float, SessionEvent]


class World:
    """The wall clock, which goes on only while somebody waits."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class ScriptedLog:
    """Each entry has a position, the event's time, and the moment at which it can be read.

    Args:
        name: The source's name.
        world: The clock.
        entries: (when it can be read, the event with its own ``at``), in the order of the log.
        down_until: Until then it has not caught up, and tells nothing.
        ends: Whether it is over when all was read.
    """

    def __init__(
        self,
        name: str,
        world: World,
        entries: Sequence[At],
        *,
        down_until: float = 0.0,
        ends: bool = False,
        waits: bool = True,
    ) -> None:
        self.name = name
        self.world = world
        self.entries = entries
        self.down_until = down_until
        self.ends = ends
        self.waits = waits
        self.opened: list[Mapping[str, int]] = []

    def open(self, positions: Mapping[str, int]) -> "ScriptedReader":
        self.opened.append(dict(positions))
        return ScriptedReader(self, dict(positions))


class ScriptedReader:
    """One key for each session, so that positions are as a server has them."""

    def __init__(self, log: ScriptedLog, positions: dict[str, int]) -> None:
        self._log = log
        self._positions = positions
        self.closed = False
        self.caught_up = False
        self.ended = False

    def read(self, wait: float) -> list[Positioned]:
        now = self._log.world.now
        if now < self._log.down_until:
            self._wait(wait)
            return []
        found: list[Positioned] = []
        counts: dict[str, int] = {}
        for ready, event in self._log.entries:
            number = counts[event.session_id] = counts.get(event.session_id, 0) + 1
            if ready > now:
                break
            if number > self._positions.get(event.session_id, 0):
                self._positions[event.session_id] = number
                found.append(Positioned(event, event.session_id, number))
        else:
            self.ended = self._log.ends and not found
        if not found:
            self.caught_up = True
            self._wait(wait)
        return found

    def close(self) -> None:
        self.closed = True

    def _wait(self, seconds: float) -> None:
        if self._log.waits:
            self._log.world.now = round(self._log.world.now + max(seconds, 0.01), 6)


def at(time: float, event: SessionEvent) -> SessionEvent:
    """The event, as it happened then."""
    return msgspec.structs.replace(event, at=float(time))
