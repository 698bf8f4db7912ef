"""A value that changes: whoever subscribes gets it as it is now, and then each change."""

from typing import Generic, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from streams.faults import Fault, Report, log_fault
from streams.strand import Strand

__all__ = ["Current"]

_T = TypeVar("_T")


class Current(Observable[_T], Generic[_T]):
    """Like ``BehaviorSubject``, but an observer that raises harms neither its siblings nor the source.

    Args:
        value: The first value.
        report: Where an observer's exception goes.

    Attributes:
        value: The value as it is now.
    """

    def __init__(self, value: _T, report: Report = log_fault) -> None:
        super().__init__()
        self.value = value
        self._report = report
        self._strand = Strand()
        self._observers: tuple[abc.ObserverBase[_T], ...] = ()

    def set(self, value: _T) -> None:
        """Change it."""
        self._strand.run(self._set, value)

    def _set(self, value: _T) -> None:
        self.value = value
        for observer in self._observers:
            self._tell(observer)

    def _tell(self, observer: abc.ObserverBase[_T]) -> None:
        try:
            observer.on_next(self.value)
        except Exception as error:
            self._report(Fault("subscriber", "", 0.0, error))

    def _subscribe_core(
        self, observer: abc.ObserverBase[_T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        self._strand.run(self._join, observer)
        return Disposable(lambda: self._strand.run(self._leave, observer))

    def _join(self, observer: abc.ObserverBase[_T]) -> None:
        self._observers = (*self._observers, observer)
        self._tell(observer)

    def _leave(self, observer: abc.ObserverBase[_T]) -> None:
        self._observers = tuple(each for each in self._observers if each is not observer)
