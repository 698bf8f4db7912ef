"""How long to wait before trying again."""

import random
from collections.abc import Callable

__all__ = ["Backoff"]


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
