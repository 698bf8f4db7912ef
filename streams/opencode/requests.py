"""Requests as Observables of one answer."""

import threading
from collections.abc import Callable
from typing import TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from streams.faults import Fault, log_fault
from streams.opencode.errors import OpencodeError, Unreachable
from streams.opencode.transport import Exchange, answer
from streams.schedulers import daemon, seconds_of

__all__ = ["Request"]

_T = TypeVar("_T")


class Request(Observable[_T]):
    """One request per subscription, on a daemon thread that lives as long as it does.

    It emits the answer and completes, or fails with an ``OpencodeError``. Disposing the subscription
    ends the request at once.

    Args:
        begin: Makes the exchange.
        read: Makes a value of the answer's bytes; may raise ``BadAnswer``.
        where: What is asked, for errors.
        timeout: Seconds, by the scheduler.
        scheduler: The clock; else the one given at ``subscribe``, else the daemon.
    """

    def __init__(
        self,
        begin: Callable[[], Exchange],
        read: Callable[[bytes], _T],
        where: str,
        timeout: float,
        scheduler: abc.SchedulerBase | None = None,
    ) -> None:
        super().__init__()
        self._begin = begin
        self._read = read
        self._where = where
        self._timeout = timeout
        self._scheduler = scheduler

    def _subscribe_core(
        self, observer: abc.ObserverBase[_T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        exchange = self._begin()
        clock = self._scheduler or scheduler or daemon()
        given_up = threading.Event()

        def ask() -> None:
            try:
                value = self._read(answer(exchange, self._where, self._timeout, clock))
            except OpencodeError as error:
                if not given_up.is_set():
                    observer.on_error(error)
                return
            if not given_up.is_set():
                observer.on_next(value)
                observer.on_completed()

        def guarded() -> None:
            try:
                ask()
            except Exception as error:
                log_fault(Fault("subscriber", "", seconds_of(clock)(), error))

        def give_up() -> None:
            given_up.set()
            exchange.abort(Unreachable(f"{self._where}: given up"))

        threading.Thread(target=guarded, name="sessionstreams request", daemon=True).start()
        return Disposable(give_up)
