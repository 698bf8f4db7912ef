"""How long to wait before trying again."""

import random
import threading
from collections.abc import Callable

from reactivex import abc

from streams.schedulers import calling

__all__ = ["Backoff", "Pauses"]


class Backoff:
    """Exponential and capped, each wait a random half to whole of its step: clients do not march.

    Args:
        first: Seconds of the first step.
        most: Seconds of the longest.
        chance: Gives a number from 0 to 1.
    """

    def __init__(
        self, first: float = 0.5, most: float = 30.0, chance: Callable[[], float] = random.random
    ) -> None:
        self._first = first
        self._most = most
        self._chance = chance
        self._step = first

    def next(self) -> float:
        """The next wait, in seconds."""
        step, self._step = self._step, min(self._most, 2 * self._step)
        return step * (0.5 + self._chance() / 2)

    def reset(self) -> None:
        """It worked: begin anew."""
        self._step = self._first


class Pauses:
    """Waits in one thread, until any other says that there is nothing left to wait for.

    Args:
        scheduler: The clock.
    """

    def __init__(self, scheduler: abc.SchedulerBase) -> None:
        self._scheduler = scheduler
        self._wake = threading.Event()
        self._ended = False

    def wait(self, seconds: float) -> None:
        """Return after so many seconds, or once it is ended."""
        timer = self._scheduler.schedule_relative(seconds, calling(self._wake.set))
        self._wake.wait()
        timer.dispose()
        if not self._ended:
            self._wake.clear()

    def end(self) -> None:
        """Wait no more."""
        self._ended = True
        self._wake.set()
