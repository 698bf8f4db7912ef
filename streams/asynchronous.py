"""Observables in ``async for``."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Generic, TypeVar

from reactivex import Observable, abc

from streams.backlog import Backlog, Overflow, Overflowed
from streams.bounded import AT_ONCE, check_bounds

__all__ = ["aiter"]

_T = TypeVar("_T")


class _Inbox(abc.ObserverBase[_T], Generic[_T]):
    """Takes values in on any thread, and wakes a task of one loop."""

    def __init__(self, backlog: Backlog[_T], loop: asyncio.AbstractEventLoop) -> None:
        self.ready = asyncio.Event()
        self.ended = False
        self.error: Exception | None = None
        self._backlog = backlog
        self._loop = loop
        self._lock = threading.Lock()
        self._woken = False

    def on_next(self, value: _T) -> None:
        with self._lock:
            if self.ended:
                return
            try:
                self._backlog.offer(value)
            except Overflowed as error:
                self.error, self.ended = error, True
        self._wake()

    def on_error(self, error: Exception) -> None:
        with self._lock:
            if not self.ended:
                self.error, self.ended = error, True
        self._wake()

    def on_completed(self) -> None:
        with self._lock:
            self.ended = True
        self._wake()

    def take(self) -> list[_T]:
        with self._lock:
            self._woken = False
            return self._backlog.take(AT_ONCE)

    def _wake(self) -> None:
        """Once for however many values come before the task looks."""
        with self._lock:
            if self._woken:
                return
            self._woken = True
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self.ready.set)


async def _iterate(observable: Observable[_T], backlog: Backlog[_T]) -> AsyncGenerator[_T]:
    inbox = _Inbox(backlog, asyncio.get_running_loop())
    subscribed = observable.subscribe(inbox)
    try:
        while True:
            inbox.ready.clear()
            ended = inbox.ended
            while values := inbox.take():
                for value in values:
                    yield value
            if ended:
                break
            await inbox.ready.wait()
    finally:
        subscribed.dispose()
    if inbox.error is not None:
        raise inbox.error


def aiter(  # noqa: A001
    observable: Observable[_T],
    *,
    capacity: int = 10_000,
    max_bytes: int = 64 * 1024 * 1024,
    overflow: Overflow = "shed",
) -> AsyncGenerator[_T]:
    """Iterate over an observable in a coroutine: ``async for usage in streams.aiter(usages): …``.

    It subscribes at the first step, and unsubscribes when the loop is left: at ``break``, an exception,
    cancellation, or ``aclose()``; ``contextlib.aclosing`` makes sure that it does so at once. Values may
    come on any thread.

    Args:
        observable: What to iterate over.
        capacity: How many values may wait for the coroutine; at least 1.
        max_bytes: How many bytes of events may wait; at least 1. Default 64 MiB.
        overflow: What happens to one too many; as for ``streams.bounded``.

    Returns:
        An asynchronous iterator. It ends when the observable completes, and raises its error, or
        ``Overflowed``, after the values that came before.

    Raises:
        ValueError: An argument is not as described.

    Memory: what waits, up to the bounds. Time: none.

    Example:
        >>> import asyncio, reactivex, streams
        >>> async def main():
        ...     return [number async for number in streams.aiter(reactivex.of(1, 2, 3))]
        >>> asyncio.run(main())
        [1, 2, 3]

    Source: field failures S8, R1.
    """
    check_bounds(capacity, max_bytes, overflow)
    return _iterate(observable, Backlog(capacity, max_bytes, overflow))
