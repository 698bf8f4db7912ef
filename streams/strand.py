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

    A call must not raise: it is the caller's own code that wraps what may. Should one be interrupted
    all the same (Ctrl-C), what waits behind it is run by the next caller.
    """

    __slots__ = ("_calls", "_taken")

    def __init__(self) -> None:
        self._calls: deque[tuple[Callable[[object], None], object]] = deque()
        self._taken = threading.Lock()

    def run(self, call: Callable[[_T], None], argument: _T) -> None:
        """Run ``call(argument)`` now, or after what is running."""
        calls, taken = self._calls, self._taken
        if not calls and taken.acquire(False):  # nearly always
            try:
                call(argument)
            finally:
                taken.release()
        else:
            calls.append((call, argument))  # pyright: ignore[reportArgumentType]
        # A look after each release catches what came while the strand was taken.
        while calls and taken.acquire(False):
            try:
                while calls:
                    waiting, its_argument = calls.popleft()
                    waiting(its_argument)
            finally:
                taken.release()
