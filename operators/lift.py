"""The one place where a fold meets Rx: subscription, clock, timer, order and errors."""

from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Final, Generic, Protocol, TypeVar, cast

from reactivex import Observable, abc
from reactivex.disposable import Disposable
from reactivex.scheduler import ImmediateScheduler, TimeoutScheduler
from reactivex.scheduler.trampolinescheduler import TrampolineScheduler

from operators.deadlines import Deadlines
from streams.events import SessionEvent
from streams.faults import Fault, Report, log_fault
from streams.hub import Derived, EventHub, Follower
from streams.memory import Memory
from streams.schedulers import calling, daemon, seconds_of

__all__ = ["Core", "Derived", "Operator", "lift"]

_Out = TypeVar("_Out")
_Out_co = TypeVar("_Out_co", covariant=True)

Call = Callable[[SessionEvent, float], Iterable[_Out]]
"""Takes an event and the time, returns outputs."""


class Core(Protocol[_Out_co]):
    """A fold over the whole stream, with no Rx, lock, clock or thread in it."""

    deadlines: Deadlines
    name: str
    """What its snapshots are stored under."""

    def calls(self) -> Mapping[type[SessionEvent], "Call[_Out_co]"]:
        """What to call for which type of event; the nearest ancestor's call wins."""
        ...

    def fire(self, now: float) -> Iterable[_Out_co]:
        """Some deadline has come."""
        ...

    def end(self, now: float) -> Iterable[_Out_co]:
        """The stream is over: what was pending."""
        ...

    def snapshot(self) -> bytes:
        """All that is kept, between two events."""
        ...

    def restore(self, snapshot: bytes) -> None:
        """Go on from a snapshot, before the first event."""
        ...


Operator = Callable[[Observable[SessionEvent]], Observable[_Out]]
"""What ``pipe`` takes."""


def lift(
    make_core: Callable[[Report], Core[_Out]], scheduler: abc.SchedulerBase | None = None
) -> Operator[_Out]:
    """Turn a fold into an Rx operator. Each subscription folds on its own.

    The clock is, in this order: ``scheduler``, the one given at ``subscribe``, the source's own (a
    replay has one, and so has a hub made from it), ``streams.schedulers.daemon()``.

    Args:
        make_core: Makes a fresh fold; it is given where to report faults.
        scheduler: The clock and the timers.

    Raises:
        ValueError: ``scheduler`` cannot wait without blocking its thread.
    """
    if isinstance(scheduler, _BLOCKING):
        raise ValueError(f"scheduler must wait without blocking, got {scheduler!r}")  # noqa: TRY004

    def operator(source: Observable[SessionEvent]) -> Observable[_Out]:
        report = cast(Report, getattr(source, "report", log_fault))
        source_scheduler = cast(abc.SchedulerBase | None, getattr(source, "scheduler", None))
        memory = cast(Memory | None, getattr(source, "memory", None))

        def subscribe(
            observer: abc.ObserverBase[_Out], subscribed: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            chosen = scheduler or _meant(subscribed) or source_scheduler or daemon()
            core = make_core(report)
            if memory is not None:
                memory.enrol(core)
            return _Run(core, observer, chosen, report).start(source, subscribed)

        return Derived(subscribe, scheduler or source_scheduler, report, memory)

    return operator


_BLOCKING: Final = (TrampolineScheduler, ImmediateScheduler)


def _meant(scheduler: abc.SchedulerBase | None) -> abc.SchedulerBase | None:
    """What reactivex's own operators subscribe with when nobody chose is no choice.

    ``on_error_resume_next`` passes the current thread on, where a timer blocks; ``delay``,
    ``throttle_first`` and ``time_interval`` the scheduler that starts a thread per timer (X1).
    """
    if isinstance(scheduler, _BLOCKING) or scheduler is TimeoutScheduler.singleton():
        return None
    return scheduler


class _Run(Generic[_Out]):
    """One subscription: everything in it happens on the hub's strand, one thing at a time."""

    def __init__(
        self,
        core: Core[_Out],
        observer: abc.ObserverBase[_Out],
        scheduler: abc.SchedulerBase,
        report: Report,
    ) -> None:
        self._core = core
        self._deadlines = core.deadlines
        self._observer = observer
        self._scheduler = scheduler
        self._report = report
        self._seconds = seconds_of(scheduler)
        self._armed = inf
        self._timer: abc.DisposableBase = Disposable()
        self._stopped = False
        self._same_clock = True
        self._batch: list[_Out] | None = [] if isinstance(observer, EventHub) else None

    def start(
        self, source: Observable[SessionEvent], subscribed: abc.SchedulerBase | None
    ) -> abc.DisposableBase:
        """Listen to the source; one that is no hub gets a hub of its own in front of it."""
        own = not isinstance(source, EventHub)
        hub = EventHub(scheduler=self._scheduler) if own else source
        self._strand = hub.strand
        self._same_clock = hub.clock is self._scheduler
        following = hub.follow(cast(Follower, self))
        if self._deadlines.earliest != self._armed:  # what was restored has deadlines already
            self._strand.run(self._wake, None)
        connected = hub.draw(source, subscribed) if own else Disposable()

        def dispose() -> None:
            self._stop()
            following.dispose()
            connected.dispose()

        return Disposable(dispose)

    def calls(self) -> Mapping[type[SessionEvent], "Call[_Out]"]:
        """The fold's own, so that nothing lies between the hub and the fold."""
        calls = self._core.calls()
        if self._same_clock:
            return calls
        return {kind: self._by_own_clock(call) for kind, call in calls.items()}

    def emit(self, outputs: Iterable[_Out], now: float) -> None:
        """Send values on; a subscriber that raises is one fault, and gets the next value all the same."""
        if self._batch is not None:
            self._batch += outputs
            return
        for value in outputs:
            if self._stopped:
                return
            try:
                self._observer.on_next(value)
            except Exception as error:
                self._report(Fault("subscriber", getattr(value, "session_id", ""), now, error))

    def raised(self, event: SessionEvent, now: float, error: Exception) -> None:
        """The fold itself raised."""
        self._report(Fault(type(self._core).__name__, event.session_id, now, error))

    def begin(self, now: float) -> None:
        """What is due comes before the event that arrives at the same time or later."""
        if not self._same_clock:
            now = self._seconds()
        if now >= self._deadlines.earliest:
            self._fire_due(now)

    def finish(self) -> None:
        """Pass a batch on as a batch, and keep the timer at the earliest deadline."""
        if self._batch:
            self._flush()
        if self._deadlines.earliest != self._armed:
            self._arm()

    def on_error(self, error: Exception) -> None:
        """The source failed: what was pending goes out first."""
        self._finish(lambda: self._observer.on_error(error))

    def on_completed(self) -> None:
        """The source is over: what was pending goes out first."""
        self._finish(self._observer.on_completed)

    def _by_own_clock(self, call: "Call[_Out]") -> "Call[_Out]":
        def by_own_clock(event: SessionEvent, _: float) -> Iterable[_Out]:
            return call(event, self._seconds())

        return by_own_clock

    def _flush(self) -> None:
        """To a hub, what the events of one batch gave rise to goes as one batch too."""
        if self._batch and not self._stopped:
            batch, self._batch = self._batch, []
            cast(EventHub, self._observer).on_batch(cast(list[SessionEvent], batch))

    def _wake(self, _: None) -> None:
        self.finish()

    def _arm(self) -> None:
        """Keep one timer, for the earliest deadline, and none while there is no deadline."""
        self._timer.dispose()
        due = self._armed = self._deadlines.earliest
        if due == inf or self._stopped:
            return
        now = self._seconds()
        wake = calling(lambda: self._strand.run(self._fire, due))
        try:
            self._timer = self._scheduler.schedule_relative(max(0.0, due - now), wake)
        except Exception as error:  # such as a loop that is closed: an event may still find it due (X10)
            self.raised(SessionEvent(), now, error)
        if self._stopped:
            self._timer.dispose()

    def _fire(self, due: float) -> None:
        """A scheduler may wake us a rounding error early: the time is then the one we asked for."""
        if self._stopped or due != self._armed:
            return
        self._armed = inf
        self._fire_due(max(due, self._seconds()))
        self._flush()
        self._arm()

    def _fire_due(self, now: float) -> None:
        if now < self._deadlines.earliest:
            return
        try:
            self.emit(self._core.fire(now), now)
        except Exception as error:
            self.raised(SessionEvent(), now, error)

    def _finish(self, last: Callable[[], None]) -> None:
        if self._stopped:
            return
        now = self._seconds()
        self._fire_due(now)
        try:
            self.emit(self._core.end(now), now)
        except Exception as error:
            self.raised(SessionEvent(), now, error)
        self._flush()
        self._stop()
        last()

    def _stop(self) -> None:
        self._stopped = True
        self._timer.dispose()
