"""One thing at a time, in order, without a lock held while it happens."""

import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

__all__ = ["Strand"]

_T = TypeVar("_T")


class Strand:
    """Runs calls one after the other, first in first out, whatever threads bring them.

    The thread that finds the strand free runs its own call and whatever others bring meanwhile; a
    thread (or a callback inside a call) that finds it taken leaves its call there and goes on. So
    calls never overlap, nobody waits, and calls made from inside a call do not nest.

    A call must not raise: it is the caller's own code that wraps what may.
    """

    __slots__ = ("_calls", "_taken")

    def __init__(self) -> None:
        self._calls: deque[tuple[Callable[[object], None], object]] = deque()
        self._taken = threading.Lock()

    def run(self, call: Callable[[_T], None], argument: _T) -> None:
        """Run ``call(argument)`` now, or after what is running."""
        calls = self._calls
        calls.append((call, argument))  # pyright: ignore[reportArgumentType]
        # The second look after the release catches what came between the last look and the release.
        while calls and self._taken.acquire(False):
            try:
                while calls:
                    call_, argument_ = calls.popleft()
                    call_(argument_)
            finally:
                self._taken.release()
