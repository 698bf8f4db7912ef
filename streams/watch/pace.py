"""Drawing as often as is cheap: no more than a share of one core, whatever a picture costs."""

import time
from collections.abc import Callable
from typing import Final

__all__ = ["Pace"]

SHARE: Final = 0.05


class Pace:
    """Says whether to draw again, from what drawing has cost so far.

    A large terminal takes longer to draw, and a busy machine too: then there are fewer pictures, not
    less of the machine for everything else.

    Args:
        share: Fraction of one core that drawing may take.
        clock: Seconds, real ones.
        worked: Seconds of processor time that this thread has had.
    """

    def __init__(
        self,
        share: float = SHARE,
        clock: Callable[[], float] = time.monotonic,
        worked: Callable[[], float] = time.thread_time,
    ) -> None:
        self._share = share
        self._clock = clock
        self._worked = worked
        self._next = 0.0

    def due(self) -> bool:
        """Whether it is time."""
        return self._clock() >= self._next

    def draw(self, call: Callable[[], None]) -> None:
        """Draw now, and work out when it is time again."""
        began, worked = self._clock(), self._worked()
        call()
        self._next = began + (self._worked() - worked) / self._share
