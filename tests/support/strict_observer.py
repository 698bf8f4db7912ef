"""An observer that believes nothing: it holds what it is subscribed to to Rx's grammar."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from reactivex import Observable, abc

TIMEOUT = 30.0
"""Seconds after which a thread counts as hung. Nothing waits this long unless something is broken."""


class Strict(abc.ObserverBase[Any]):
    """Notes what comes, and whatever of it should not have come.

    Attributes:
        values: Everything that came, in order.
        end: ``"completed"``, ``"error …"``, or None while neither came.
        wrong: Each breach of the grammar: a call that overlaps another, one after the end or after dispose.
        over: Set at the end.

    Args:
        then: What to do inside every ``on_next``.
    """

    def __init__(self, then: Callable[[Any], object] | None = None) -> None:
        self.values: list[Any] = []
        self.wrong: list[str] = []
        self.end: str | None = None
        self.over = threading.Event()
        self._closed = False
        self._disposable: abc.DisposableBase | None = None
        self._then = then
        self._inside = threading.Lock()

    def follow(self, observable: Observable[Any], scheduler: abc.SchedulerBase | None = None) -> "Strict":
        """Subscribe without the observer that reactivex puts between, which would swallow what is wrong."""
        self._disposable = observable._subscribe_core(self, scheduler)
        return self

    def dispose(self) -> None:
        if self._disposable is not None:
            self._disposable.dispose()
        self._closed = True

    def on_next(self, value: Any) -> None:
        with self._alone(f"on_next({value!r})"):
            self.values.append(value)
            if self._then is not None:
                self._then(value)

    def on_error(self, error: Exception) -> None:
        with self._alone("on_error"):
            self._finish(f"error {error}")

    def on_completed(self) -> None:
        with self._alone("on_completed"):
            self._finish("completed")

    def _finish(self, how: str) -> None:
        self.end = how
        self.over.set()

    @contextmanager
    def _alone(self, call: str) -> Iterator[None]:
        if self._closed:
            self.wrong.append(f"{call} after dispose")
        if self.end is not None:
            self.wrong.append(f"{call} after the end")
        entered = self._inside.acquire(blocking=False)
        if not entered:
            self.wrong.append(f"{call} overlaps")
        try:
            yield
        finally:
            if entered:
                self._inside.release()


@contextmanager
def threads(*calls: Callable[[], object]) -> Iterator[None]:
    """Run each call on a thread of its own meanwhile; all of them must come to an end."""
    running = [threading.Thread(target=call, daemon=True) for call in calls]
    for each in running:
        each.start()
    yield
    for each in running:
        each.join(TIMEOUT)
        assert not each.is_alive(), "a thread hangs"
