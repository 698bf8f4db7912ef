"""Time: one daemon thread for every timer of the process, and clocks that are not real.

Every scheduler here has ``seconds()``, its clock as a float; ``seconds_of`` reads any scheduler.
"""

import heapq
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from math import inf
from typing import Any, Final, TypeVar, cast

from loguru import logger
from reactivex import abc, typing
from reactivex.scheduler import VirtualTimeScheduler
from reactivex.scheduler.periodicscheduler import PeriodicScheduler
from reactivex.scheduler.scheduler import Scheduler

__all__ = ["DaemonScheduler", "Replay", "Scaled", "calling", "daemon", "seconds_of"]

_State = TypeVar("_State")
_Action = typing.ScheduledAction[_State]
_AnyAction = typing.ScheduledAction[Any]

SLICE: Final = 10.0
"""Seconds after which the waiting daemon looks at the clock again while a timer is pending."""

SUSPENDED: Final = 30.0
"""Seconds by which a wait may be late before the process counts as suspended meanwhile."""


class Timer(abc.DisposableBase):
    """One scheduled action. Disposing it is O(1) and frees the action at once.

    What the action itself returns for disposal, as Rx allows it to, is disposed with the timer.
    """

    __slots__ = ("_disposed", "_started", "action", "scheduler", "state")

    def __init__(self, scheduler: Scheduler, action: _AnyAction, state: object) -> None:
        self.scheduler = scheduler
        self.action: _AnyAction | None = action
        self.state = state
        self._started: abc.DisposableBase | None = None
        self._disposed = False

    def dispose(self) -> None:
        self._disposed = True
        self.action = self.state = None
        if self._started is not None:
            self._started.dispose()

    def run(self) -> None:
        action, state = self.action, self.state
        self.action = self.state = None
        if action is None:
            return
        self._started = action(self.scheduler, state)
        if self._started is not None and self._disposed:
            self._started.dispose()


class TimerQueue:
    """Timers by due time, first in first out among equals. Not locked."""

    __slots__ = ("_count", "_heap", "_limit")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()
        self._limit = 64

    def push(self, due: float, timer: Timer) -> bool:
        """Add a timer; true when it is now the first one."""
        heap = self._heap
        if len(heap) >= self._limit:
            self._sweep()
        entry = (due, next(self._count), timer)
        heapq.heappush(heap, entry)
        return heap[0] is entry

    def due(self) -> float | None:
        """When the first live timer is due, or None."""
        heap = self._heap
        while heap and heap[0][2].action is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop(self) -> Timer:
        return heapq.heappop(self._heap)[2]

    def pending(self) -> int:
        return sum(entry[2].action is not None for entry in self._heap)

    def shift(self, seconds: float) -> None:
        """Make every timer due that much later."""
        self._heap[:] = [(due + seconds, count, timer) for due, count, timer in self._heap]

    def _sweep(self) -> None:
        """Drop cancelled timers whenever the queue has doubled: O(1) per timer over time."""
        self._heap[:] = [entry for entry in self._heap if entry[2].action is not None]
        heapq.heapify(self._heap)
        self._limit = max(64, 2 * len(self._heap))


class _Scheduler(PeriodicScheduler):
    """What our schedulers share: a clock in seconds, and everything said in terms of one method."""

    def seconds(self) -> float:
        """The clock, in seconds since the epoch (or since the start, for a clock that began at 0)."""
        raise NotImplementedError  # pragma: no cover

    def schedule_at(self, due: float, action: _AnyAction, state: object) -> abc.DisposableBase:
        raise NotImplementedError  # pragma: no cover

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds(), tz=UTC)

    def schedule(self, action: _Action[_State], state: _State | None = None) -> abc.DisposableBase:
        return self.schedule_at(self.seconds(), action, state)

    def schedule_relative(
        self,
        duetime: typing.RelativeTime,
        action: _Action[_State],
        state: _State | None = None,
    ) -> abc.DisposableBase:
        delay = duetime.total_seconds() if isinstance(duetime, timedelta) else duetime
        return self.schedule_at(self.seconds() + max(0.0, delay), action, state)

    def schedule_absolute(
        self,
        duetime: typing.AbsoluteTime,
        action: _Action[_State],
        state: _State | None = None,
    ) -> abc.DisposableBase:
        return self.schedule_at(self.to_seconds(duetime), action, state)


class DaemonScheduler(_Scheduler):
    """Runs every timer of the process on one daemon thread, which never delays exit.

    The clock starts at the wall clock's time and then follows the monotonic one: stepping the wall
    clock changes nothing. Time in which the process was suspended does not count: a wait that ends
    more than 30 s late is logged once, and how late it was is taken out of the clock, so a laptop that
    wakes up does not expire everything. While timers are pending it waits 10 s at the most at a time.

    An action that raises is logged and harms no other timer. A slow action delays the others. A child
    process that is forked starts with no timers.

    Args:
        monotonic: The clock to measure by, seconds.
        wall: What to call the first instant, seconds since the epoch.

    Time: schedule O(log n); cancel O(1), and what the action refers to is freed at once.
    """

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.suspended = 0.0
        """Seconds of suspension taken out of the clock so far."""
        self._monotonic = monotonic
        self._offset = wall() - monotonic()
        self._start_empty()
        if hasattr(os, "register_at_fork"):  # it keeps what it is given for ever, and Windows has none
            os.register_at_fork(after_in_child=_weakly(self._start_empty))

    def _start_empty(self) -> None:
        self._queue = TimerQueue()
        self._changed = threading.Condition(threading.RLock())
        self._thread: threading.Thread | None = None
        self._awake_by = inf
        self._logged = self.suspended

    @property
    def pending(self) -> int:
        """Timers that are neither run nor cancelled."""
        with self._changed:
            return self._queue.pending()

    def seconds(self) -> float:
        while True:
            offset = self._offset
            instant = self._monotonic()
            if instant - self._awake_by > SUSPENDED:
                self._leave_out(instant)
            elif offset is self._offset:
                return instant + offset

    def schedule_at(self, due: float, action: _AnyAction, state: object) -> Timer:
        timer = Timer(self, action, state)
        with self._changed:
            if self._queue.push(due, timer):
                self._changed.notify()
            if self._thread is None:
                self._thread = self._start_thread()
        return timer

    def turn(self) -> None:
        """What the thread does for ever: run the first timer if it is due, else wait for it."""
        try:
            if (timer := self._due_timer()) is not None:
                timer.run()
        except BaseException as error:  # not even sys.exit() in one timer may stop all others (X10)
            with suppress(Exception):
                logger.opt(exception=error).error("a timer raised {}", type(error).__name__)

    def _start_thread(self) -> threading.Thread:
        def run() -> None:
            while True:
                self.turn()

        thread = threading.Thread(target=run, name="sessionstreams", daemon=True)
        thread.start()
        return thread

    def _due_timer(self) -> Timer | None:
        """The first timer once it is due. The lock is free while waiting, and while an action runs."""
        with self._changed:
            due = self._queue.due()
            delay = inf if due is None else due - self.seconds()
            if delay <= 0:
                return self._queue.pop()
            if due is None:
                self._wait(None)
            else:
                at_most = min(delay, SLICE)
                self._awake_by = self._monotonic() + at_most
                self._wait(at_most)
                self.seconds()
                self._awake_by = inf
        if self.suspended != self._logged:
            lost, self._logged = self.suspended - self._logged, self.suspended
            logger.warning("suspected suspend: {:.0f} s did not count towards any timer", lost)
        return None

    def _wait(self, seconds: float | None) -> None:
        self._changed.wait(seconds)

    def _leave_out(self, instant: float) -> None:
        """Whichever thread looks at the clock first after a suspension takes it out of the clock."""
        with self._changed:
            lost = instant - self._awake_by
            if lost > SUSPENDED:
                self._awake_by = instant
                self._offset -= lost
                self.suspended += lost


@cache
def daemon() -> DaemonScheduler:
    """The scheduler that everything uses by default: one for the whole process, started on first use."""
    return DaemonScheduler()


class Replay(_Scheduler):
    """Virtual time: the clock stands still until it is advanced, and then runs what came due, in order.

    A replay advances it to each event's recorded time, so the same recording gives the same output,
    byte for byte. For one thread.

    Args:
        start: Seconds; the first reading of the clock.
    """

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self._clock = float(start)
        self._queue = TimerQueue()

    @property
    def pending(self) -> int:
        """Timers that are neither run nor cancelled."""
        return self._queue.pending()

    def seconds(self) -> float:
        return self._clock

    def schedule_at(self, due: float, action: _AnyAction, state: object) -> Timer:
        timer = Timer(self, action, state)
        self._queue.push(due, timer)
        return timer

    def start_from(self, seconds: float) -> None:
        """Set the clock to ``seconds``; what is pending stays as far ahead as it is."""
        self._queue.shift(seconds - self._clock)
        self._clock = seconds

    def advance_to(self, seconds: float) -> None:
        """Run what is due up to ``seconds``, each at its own time, and leave the clock there.

        A time that has passed already runs what is due now and leaves the clock where it is.
        """
        while (due := self._queue.due()) is not None and due <= max(seconds, self._clock):
            self._clock = max(self._clock, due)
            self._queue.pop().run()
        self._clock = max(self._clock, seconds)

    def advance_by(self, seconds: float) -> None:
        """The same, from where the clock stands."""
        self.advance_to(self._clock + seconds)


class Scaled(_Scheduler):
    """Another scheduler's time, faster or slower, and called by other names.

    A recording played at ten times its speed runs on it, so a time to live of 600 s lasts 60 s and
    every operator still reads the recorded time.

    Args:
        base: Whose timers to use.
        speed: Seconds of this clock per second of ``base``; above 0.
        start: Seconds; the first reading of this clock. Default 0.
    """

    def __init__(self, base: abc.SchedulerBase, *, speed: float, start: float = 0.0) -> None:
        super().__init__()
        self._base = base
        self._base_seconds = seconds_of(base)
        self._speed = speed
        self.start_from(start)

    def start_from(self, seconds: float) -> None:
        """Set the clock to ``seconds``; what is pending stays as far ahead as it is."""
        self._start = seconds
        self._base_start = self._base_seconds()

    def seconds(self) -> float:
        return self._start + (self._base_seconds() - self._base_start) * self._speed

    def schedule_at(self, due: float, action: _AnyAction, state: object) -> abc.DisposableBase:
        def on_this_clock(scheduler: abc.SchedulerBase, state: object) -> abc.DisposableBase | None:
            return action(self, state)

        delay = max(0.0, due - self.seconds()) / self._speed
        return self._base.schedule_relative(delay, on_this_clock, state)


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    """A call of the method for as long as its object lives."""
    reference = weakref.WeakMethod(method)

    def call() -> None:
        if (alive := reference()) is not None:
            alive()

    return call


def calling(call: Callable[[], None]) -> _AnyAction:
    """A call without arguments as an action to schedule."""

    def action(scheduler: abc.SchedulerBase, state: object = None) -> None:
        call()

    return action


def seconds_of(scheduler: abc.SchedulerBase) -> Callable[[], float]:
    """The clock of any scheduler, as a function that returns seconds.

    Ours have one. A virtual scheduler of reactivex is read as it is. The ``now`` of its real ones is
    the wall clock, which can be stepped, so they are given the daemon's monotonic clock instead.
    """
    own = cast(Callable[[], float] | None, getattr(scheduler, "seconds", None))
    if own is not None:
        return own
    if isinstance(scheduler, VirtualTimeScheduler):
        return lambda: scheduler.to_seconds(scheduler.clock)
    return daemon().seconds
