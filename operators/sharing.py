"""One run for many subscribers, for what must not be done twice."""

import threading
from collections.abc import Callable
from typing import TypeVar

from reactivex import Observer, abc
from reactivex.disposable import CompositeDisposable, Disposable

from operators.lift import Derived
from streams.faults import Fault, Report

__all__ = ["Shared"]

_T = TypeVar("_T")

Start = Callable[[abc.ObserverBase[_T], abc.SchedulerBase | None, CompositeDisposable], None]
"""Takes whom to tell, the subscriber's scheduler, and where to add what is to be disposed of."""


class Shared(Derived[_T]):
    """Starts something when somebody subscribes first, and disposes of it when the last one leaves.

    Like ``share``, but a subscriber that raises is one ``Fault``, and its siblings do not notice (S12).

    Args:
        start: What to start.
        scheduler: The clock that is passed down the pipe.
        report: Where faults go.
    """

    def __init__(self, start: Start[_T], scheduler: abc.SchedulerBase | None, report: Report) -> None:
        super().__init__(self._join, scheduler, report)
        self._begin = start
        self._changing = threading.Lock()
        self._observers: tuple[abc.ObserverBase[_T], ...] = ()
        self._running = CompositeDisposable()

    def _join(
        self, observer: abc.ObserverBase[_T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        with self._changing:
            first = not self._observers
            self._observers = (*self._observers, observer)
            if first:
                self._running = CompositeDisposable()
            running = self._running
        if first:
            told = Observer(self._next, self._error, self._completed)
            self._begin(told, scheduler, running)
        return Disposable(lambda: self._leave(observer))

    def _leave(self, observer: abc.ObserverBase[_T]) -> None:
        with self._changing:
            self._observers = tuple(each for each in self._observers if each is not observer)
            last, running = not self._observers, self._running
        if last:
            running.dispose()

    def _next(self, value: _T) -> None:
        self._each(self._observers, lambda observer: observer.on_next(value), value)

    def _error(self, error: Exception) -> None:
        self._each(self._taken(), lambda observer: observer.on_error(error))

    def _completed(self) -> None:
        self._each(self._taken(), lambda observer: observer.on_completed())

    def _taken(self) -> tuple[abc.ObserverBase[_T], ...]:
        """Take the observers out: after the end, whoever comes is the first again."""
        with self._changing:
            observers, self._observers = self._observers, ()
        return observers

    def _each(
        self,
        observers: tuple[abc.ObserverBase[_T], ...],
        tell: Callable[[abc.ObserverBase[_T]], None],
        value: object = None,
    ) -> None:
        for observer in observers:
            try:
                tell(observer)
            except Exception as error:
                session_id, at = getattr(value, "session_id", ""), getattr(value, "at", 0.0)
                self.report(Fault("subscriber", session_id, at, error))
