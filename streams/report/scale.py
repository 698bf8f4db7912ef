"""Where things stand on an axis, and what is written beside it."""

from collections.abc import Iterator
from typing import Final

import msgspec

__all__ = ["Span", "at_time", "round_steps"]

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
TIME_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200)
DAY: Final = 86_400
TICKS: Final = 6


class Span(msgspec.Struct, frozen=True):
    """The time that a plot shows, in seconds."""

    begin: float
    end: float

    def place(self, at: float) -> float:
        """A time in percent of the plot's width."""
        length = self.end - self.begin
        return 0.0 if length <= 0 else min(100.0, max(0.0, (at - self.begin) / length * 100))

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Round times, as their places and what to write there."""
        step = _time_step(self.end - self.begin)
        for number in range(int((self.end - self.begin) // step) + 1):
            yield self.place(self.begin + number * step), at_time(number * step)


def _time_step(seconds: float) -> float:
    for step in TIME_STEPS:
        if seconds / step <= TICKS:
            return float(step)
    return round_steps(seconds / DAY, TICKS) * DAY


def round_steps(most: float, count: int) -> float:
    """A round number, 1, 2 or 5 and zeros, of which at most ``count`` fit into ``most``."""
    step = 1.0
    while True:
        for factor in (1, 2, 5):
            if most / (step * factor) <= count:
                return step * factor
        step *= 10


def at_time(seconds: float) -> str:
    """``0:34``, ``12:05``, ``1:02:03``: since the beginning."""
    whole = int(max(0.0, seconds))
    hours, rest = divmod(whole, HOUR)
    minutes, left = divmod(rest, MINUTE)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
