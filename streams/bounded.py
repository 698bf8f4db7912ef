"""The hand-off to a slow consumer."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, Generic, TypeVar, cast

from loguru import logger
from reactivex import Observable, abc
from reactivex.disposable import Disposable

from streams import checks
from streams.backlog import Backlog, Overflow, Overflowed
from streams.faults import Fault, Report, log_fault
from streams.schedulers import calling, daemon, seconds_of

__all__ = ["Bounded", "bounded", "check_bounds"]

_T = TypeVar("_T")

AT_ONCE: Final = 64
"""Values that are taken from the backlog at a time: the rest can still be given up."""


class Bounded(Observable[_T]):
    """What ``bounded`` returns.

    Attributes:
        dropped: Values dropped so far, of all its subscriptions.
        scheduler: The source's clock, for operators downstream.
        report: Where faults go.
    """

    def __init__(
        self,
        source: Observable[_T],
        make_backlog: Callable[[], Backlog[_T]],
        scheduler: abc.SchedulerBase | None,
    ) -> None:
        super().__init__()
        self.dropped = 0
        self.scheduler = cast(abc.SchedulerBase | None, getattr(source, "scheduler", None))
        self.report = cast(Report, getattr(source, "report", log_fault))
        self._source = source
        self._make_backlog = make_backlog
        self._delivers_on = scheduler

    def _subscribe_core(
        self, observer: abc.ObserverBase[_T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        chosen = self._delivers_on
        worker = _Thread() if chosen is None else None
        run = worker.run if worker else _runner(cast(abc.SchedulerBase, chosen))
        handing = _Handing(self, observer, self._make_backlog(), run)
        subscribed = self._source.subscribe(handing, scheduler=scheduler)

        def dispose() -> None:
            handing.stop()
            subscribed.dispose()
            if worker:
                worker.end()

        return Disposable(dispose)

    def count_dropped(self, number: int) -> None:
        """More were dropped; the source is told, if it wants to know."""
        if not self.dropped:
            logger.warning("a consumer is too slow: events are dropped before it")
        self.dropped += number
        told = cast(Callable[[int], None] | None, getattr(self._source, "count_dropped", None))
        if told is not None:
            told(number)


class _Handing(abc.ObserverBase[_T], Generic[_T]):
    """One subscription: producers put values in, one delivery at a time takes them out."""

    def __init__(
        self,
        bounded: Bounded[_T],
        observer: abc.ObserverBase[_T],
        backlog: Backlog[_T],
        run: Callable[[Callable[[], None]], None],
    ) -> None:
        self._bounded = bounded
        self._observer = observer
        self._backlog = backlog
        self._run = run
        self._lock = threading.Lock()
        self._delivering = self._stopped = False
        self._end: Callable[[], None] | None = None

    def on_next(self, value: _T) -> None:
        with self._lock:
            if self._end or self._stopped:
                return
            before = self._backlog.dropped
            try:
                self._backlog.offer(value)
            except Overflowed as error:
                self._end = self._failing(error)
            dropped = self._backlog.dropped - before
            idle = self._begin()
        if dropped:
            self._bounded.count_dropped(dropped)
        if idle:
            self._run(self._deliver)

    def on_error(self, error: Exception) -> None:
        self._finish(self._failing(error))

    def on_completed(self) -> None:
        self._finish(self._observer.on_completed)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True

    def _failing(self, error: Exception) -> Callable[[], None]:
        return lambda: self._observer.on_error(error)

    def _finish(self, end: Callable[[], None]) -> None:
        """The end comes after what waits."""
        with self._lock:
            self._end = self._end or end
            idle = self._begin()
        if idle:
            self._run(self._deliver)

    def _begin(self) -> bool:
        """Whether a delivery has to be started; locked."""
        idle = not self._delivering
        self._delivering = True
        return idle

    def _deliver(self) -> None:
        while not self._stopped:
            with self._lock:
                values = self._backlog.take(AT_ONCE)
                if not values:
                    self._delivering = False
                    end = self._end
                    self._stopped = end is not None
                    break
            for value in values:
                if self._stopped:
                    return
                self._tell(value)
        else:
            return
        if end is not None:
            end()

    def _tell(self, value: _T) -> None:
        try:
            self._observer.on_next(value)
        except Exception as error:
            at = seconds_of(self._bounded.scheduler or daemon())()
            self._bounded.report(Fault("subscriber", getattr(value, "session_id", ""), at, error))


class _Thread:
    """A daemon thread, started by the first call, that runs one call after the other."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._started = False

    def run(self, call: Callable[[], None]) -> None:
        self._calls.put(call)
        if not self._started:
            self._started = True
            threading.Thread(target=self._work, name="sessionstreams bounded", daemon=True).start()

    def end(self) -> None:
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


def _runner(scheduler: abc.SchedulerBase) -> Callable[[Callable[[], None]], None]:
    def run(call: Callable[[], None]) -> None:
        scheduler.schedule(calling(call))

    return run


def check_bounds(capacity: int, max_bytes: int, overflow: str) -> None:
    """The arguments that all hand-offs have.

    Raises:
        ValueError: One is not as described.
    """
    checks.count("capacity", capacity)
    checks.count("max_bytes", max_bytes)
    if overflow not in ("shed", "oldest", "error"):
        raise ValueError(f"overflow must be 'shed', 'oldest' or 'error', got {overflow!r}")


def bounded(
    capacity: int = 10_000,
    *,
    max_bytes: int = 64 * 1024 * 1024,
    overflow: Overflow = "shed",
    scheduler: abc.SchedulerBase | None = None,
) -> Callable[[Observable[_T]], Bounded[_T]]:
    """Hands values over to a consumer that may be slow: it never slows the producer, nor fills memory.

    Like ``observe_on``, with a bound on what waits, and rules for what is given up when it is full.

    Args:
        capacity: How many values may wait; at least 1.
        max_bytes: How many bytes of events may wait; at least 1. Default 64 MiB.
        overflow: What happens to one too many. ``shed``: first, of each part, message, session and todo
            list only the last word is kept; then deltas of a part are joined; then deltas are dropped,
            and those that follow of the same part, until the whole part comes and makes the text good,
            and events of unknown types. Never a status, a finished message, a deletion, an error, a
            request or any value that is no event: if that is not enough the stream ends, after all that
            waits, with ``Overflowed``. ``oldest`` drops the oldest, whatever it is: for displays.
            ``error`` ends it at once too many.
        scheduler: Where to deliver. Default: a daemon thread of its own per subscription.

    Returns:
        An operator; its result has ``dropped``. A live source counts it in ``state`` as well.

    Raises:
        ValueError: An argument is not as described.

    Memory: what waits, up to the bounds, and 64 values that are being delivered.
    Time: none.
    On completion and error: they come after all that waits. A consumer that raises is one ``Fault``, and
        gets the next value.

    Example:
        >>> import streams
        >>> from streams.schedulers import Replay
        >>> from streams.testing import delta, idle, text
        >>> clock, hub, seen = Replay(), streams.EventHub(), []
        >>> handed = hub.pipe(streams.bounded(capacity=3, scheduler=clock))
        >>> _ = handed.subscribe(lambda event: seen.append(type(event).__name__))
        >>> for number in range(100):
        ...     hub.on_next(delta("s", "m", "p", "a"))
        >>> hub.on_next(text("s", "m", "p", "a" * 100))
        >>> hub.on_next(idle("s"))
        >>> clock.advance_by(1)
        >>> seen[-2:]
        ['PartUpdated', 'SessionIdle']

    Source: field failures S8, R1.
    """
    check_bounds(capacity, max_bytes, overflow)

    def operator(source: Observable[_T]) -> Bounded[_T]:
        return Bounded(source, lambda: Backlog(capacity, max_bytes, overflow), scheduler)

    return operator
