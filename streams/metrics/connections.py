"""Connections to a server: what was lost on the way."""

from typing import Final

from streams.metrics.instruments import Instrument, Instruments
from streams.opencode import ConnectionState

__all__ = ["Connections"]

DROPPED: Final = Instrument(
    "sessionstreams.stream.dropped", "counter", "{event}", "Events given up for slow consumers."
)
LOST: Final = Instrument(
    "sessionstreams.stream.lost", "counter", "{event}", "Events known to be missing for good."
)


class Connections:
    """Counts what a state has more than the one before."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._dropped = self._lost = 0

    def take(self, state: ConnectionState) -> None:
        """Follow one state."""
        counts = state.counts
        self._count(DROPPED, self._dropped, counts.dropped)
        self._count(LOST, self._lost, counts.lost)
        self._dropped, self._lost = counts.dropped, counts.lost

    def _count(self, instrument: Instrument, before: int, now: int) -> None:
        """A connection made anew counts from 0."""
        more = now if now < before else now - before
        if more:
            self._instruments.count(instrument, {}, more)
