"""One question at a time about one thing, however many ask."""

import threading
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable, SerialDisposable

from streams.faults import Fault, log_fault
from streams.schedulers import calling, seconds_of

__all__ = ["Shared"]

_T = TypeVar("_T")


class _Kept(NamedTuple, Generic[_T]):
    value: _T
    at: float
    timer: abc.DisposableBase


class Shared(Generic[_T]):
    """Answers by name: whoever asks while a question is under way shares its answer.

    An answer is kept for those who accept an older one; a failure never is. There is one question under
    way per name, and one that was given up is heard no more, so no answer can replace a later one.

    Args:
        scheduler: The clock.
        most: How many answers are kept at a time; the oldest goes first.

    Memory: the kept answers, each as long as its asker accepts. Time: one timer per kept answer.

    Source: field failure T10.
    """

    def __init__(self, scheduler: abc.SchedulerBase, most: int = 8) -> None:
        self._scheduler = scheduler
        self._seconds = seconds_of(scheduler)
        self._most = most
        self._lock = threading.Lock()
        self._under_way: dict[str, _UnderWay[_T]] = {}
        self._kept: dict[str, _Kept[_T]] = {}

    def ask(self, name: str, question: Observable[_T], max_age: float) -> Observable[_T]:
        """An answer not older than ``max_age`` seconds: a kept one, or that of a question."""

        def subscribe(
            observer: abc.ObserverBase[_T], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            with self._lock:
                kept = self._kept.get(name)
                if kept is not None and self._seconds() - kept.at >= max_age:
                    kept = None
                under_way = self._under_way.get(name)
                begins = kept is None and under_way is None
                if under_way is None:
                    under_way = _UnderWay(self, name, max_age)
                if kept is None:
                    self._under_way[name] = under_way
                    under_way.observers = (*under_way.observers, observer)
            if kept is not None:
                observer.on_next(kept.value)
                observer.on_completed()
            if begins:
                under_way.asking.disposable = question.subscribe(under_way, scheduler=self._scheduler)
            return Disposable(lambda: self._leave(under_way, observer))

        return Observable(subscribe)

    def end(self, ended: "_UnderWay[_T]") -> tuple[abc.ObserverBase[_T], ...]:
        """It is answered, or never will be; returns who waits."""
        with self._lock:
            if self._under_way.get(ended.name) is ended:
                del self._under_way[ended.name]
            return ended.observers

    def keep(self, name: str, value: _T, max_age: float) -> None:
        """Keep an answer for so long."""
        if max_age <= 0:
            return
        timer = self._scheduler.schedule_relative(max_age, calling(lambda: self._forget(name, value)))
        with self._lock:
            replaced = [self._kept.pop(name, None)]
            self._kept[name] = _Kept(value, self._seconds(), timer)
            while len(self._kept) > self._most:
                replaced.append(self._kept.pop(next(iter(self._kept))))
        for kept in replaced:
            if kept is not None:
                kept.timer.dispose()

    def tell(self, call: Callable[[], None]) -> None:
        """Call an observer; one that raises harms no other."""
        try:
            call()
        except Exception as error:
            log_fault(Fault("subscriber", "", self._seconds(), error))

    def _forget(self, name: str, value: _T) -> None:
        with self._lock:
            kept = self._kept.get(name)
            if kept is not None and kept.value is value:
                del self._kept[name]

    def _leave(self, under_way: "_UnderWay[_T]", observer: abc.ObserverBase[_T]) -> None:
        """The last one to leave ends the question."""
        with self._lock:
            under_way.observers = tuple(each for each in under_way.observers if each is not observer)
            if under_way.observers or self._under_way.get(under_way.name) is not under_way:
                return
            del self._under_way[under_way.name]
        under_way.asking.dispose()


class _UnderWay(abc.ObserverBase[_T], Generic[_T]):
    """One question, and who waits for its answer."""

    def __init__(self, shared: Shared[_T], name: str, max_age: float) -> None:
        self.name = name
        self.observers: tuple[abc.ObserverBase[_T], ...] = ()
        self.asking = SerialDisposable()
        self._shared = shared
        self._max_age = max_age

    def on_next(self, value: _T) -> None:
        self._shared.keep(self.name, value, self._max_age)
        for observer in self._shared.end(self):
            self._shared.tell(lambda observer=observer: observer.on_next(value))

    def on_error(self, error: Exception) -> None:
        for observer in self._shared.end(self):
            self._shared.tell(lambda observer=observer: observer.on_error(error))

    def on_completed(self) -> None:
        for observer in self.observers:
            self._shared.tell(observer.on_completed)
