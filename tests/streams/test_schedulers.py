"""Time: virtual clocks to the digit, and the daemon's thread turned by hand."""

import asyncio
import gc
import heapq
import threading
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import reactivex as rx
from loguru import logger
from reactivex import operators as rxops
from reactivex.disposable import BooleanDisposable
from reactivex.scheduler import (
    HistoricalScheduler,
    NewThreadScheduler,
    TimeoutScheduler,
)
from reactivex.scheduler.eventloop import AsyncIOScheduler
from reactivex.testing import TestScheduler

import operators as ops
from streams import EventHub
from streams.events import SessionExpired
from streams.schedulers import DaemonScheduler, Replay, Scaled, calling, daemon, seconds_of
from streams.testing import text

HOURS = 3600.0
TIMEOUT = 10.0


def named(scheduler: object) -> str:
    return type(scheduler).__name__


class ByHand(DaemonScheduler):
    """A daemon without a thread: the test takes the turns, and to wait is to move the clock on."""

    def __init__(self, wall: Callable[[], float] = lambda: 1000.0) -> None:
        self.instant = 50.0
        self.overslept = 0.0
        self.waits: list[float] = []
        super().__init__(monotonic=lambda: self.instant, wall=wall)

    def _start_thread(self) -> threading.Thread:
        return threading.current_thread()

    def _wait(self, seconds: float | None) -> None:
        assert seconds is not None, "it would wait for ever"
        self.waits.append(seconds)
        late, self.overslept = self.overslept, 0.0
        self.instant += seconds + late

    def advance_by(self, seconds: float) -> None:
        end = self.schedule_at(self.seconds() + seconds, calling(lambda: None), None)
        while end.action is not None:
            self.turn()


@pytest.fixture(params=["replay", "scaled", "by hand"])
def clock(request: pytest.FixtureRequest) -> Any:
    """Each of our schedulers, with an ``advance_by``."""
    if request.param == "replay":
        return Replay(1000.0)
    if request.param == "by hand":
        return ByHand()
    base = Replay()
    scaled = Scaled(base, speed=10.0, start=1000.0)
    scaled.advance_by = lambda seconds: base.advance_by(seconds / 10)  # pyright: ignore
    return scaled


# --- what every one of them does ------------------------------------------------------------------


def test_timers_run_by_due_time_then_in_the_order_of_their_making(clock: Any) -> None:
    """Whatever way a time is given: seconds, timedelta, datetime; at once; in the past."""
    seen: list[tuple[str, float]] = []

    def note(scheduler: Any, state: Any) -> None:
        assert scheduler is clock
        seen.append((state, round(clock.seconds(), 6)))

    clock.schedule_relative(30.0, note, "c")
    clock.schedule_relative(timedelta(seconds=20), note, "b")
    clock.schedule_relative(20.0, note, "b2")
    clock.schedule_absolute(datetime.fromtimestamp(1010, tz=UTC), note, "a")
    clock.schedule_absolute(1040.0, note, "d")
    clock.schedule(note, "now")
    clock.schedule_relative(-5.0, note, "past")
    assert seen == []
    clock.advance_by(35.0)

    expected = [("now", 1000), ("past", 1000), ("a", 1010), ("b", 1020), ("b2", 1020), ("c", 1030)]
    assert seen == expected
    clock.advance_by(5.0)
    assert seen == [*expected, ("d", 1040)]


def test_a_timer_may_set_timers(clock: Any) -> None:
    """Also for now: it comes after what is due already."""
    seen: list[str] = []

    def first(scheduler: Any, state: Any) -> None:
        clock.schedule(lambda *_: seen.append("nested"))
        clock.schedule_relative(5.0, lambda *_: seen.append("later"))

    clock.schedule_relative(1.0, first)
    clock.schedule_relative(1.0, lambda *_: seen.append("second"))
    clock.advance_by(1.5)
    assert seen == ["second", "nested"]
    clock.advance_by(5.0)
    assert seen == ["second", "nested", "later"]


def test_a_cancelled_timer_does_not_run(clock: Any) -> None:
    """X11: cancelling twice, or after it ran, or from inside itself, is harmless."""
    seen: list[str] = []
    cancelled = clock.schedule_relative(1.0, lambda *_: seen.append("cancelled"))
    ran = clock.schedule_relative(1.0, lambda *_: seen.append("ran"))
    itself: list[Any] = []
    itself.append(clock.schedule_relative(1.0, lambda *_: itself[0].dispose()))
    cancelled.dispose()
    cancelled.dispose()
    clock.advance_by(2.0)
    ran.dispose()

    assert seen == ["ran"]


def test_what_an_action_returns_is_disposed_with_its_timer(clock: Any) -> None:
    """Rx's contract of scheduled actions; by then the timer itself has run."""
    started, too_late = BooleanDisposable(), BooleanDisposable()
    timer = clock.schedule_relative(1.0, lambda *_: started)
    clock.advance_by(1.0)
    assert not started.is_disposed
    timer.dispose()
    assert started.is_disposed

    holder: list[Any] = []

    def dispose_meanwhile(*_: Any) -> BooleanDisposable:
        holder[0].dispose()
        return too_late

    holder.append(clock.schedule_relative(1.0, dispose_meanwhile))
    clock.advance_by(1.0)
    assert too_late.is_disposed


def test_now_is_the_clock_as_a_datetime(clock: Any) -> None:
    """X8: Rx's operators read ``now``; it is the one clock there is."""
    clock.advance_by(30.0)

    assert clock.now == datetime.fromtimestamp(1030, tz=UTC)


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        (lambda c: rxops.debounce(2.5, scheduler=c), [(3.5, 0), (8.5, 3), (12.0, 4)]),
        (lambda c: rxops.delay(2.0, scheduler=c), [(3.0, 0), (6.0, 1), (7.0, 2), (8.0, 3), (13.0, 4)]),
        (lambda c: rxops.sample(4.0, scheduler=c), [(4.0, 0), (8.0, 3), (12.0, 4)]),
        (lambda c: rxops.throttle_first(2.0, scheduler=c), [(1.0, 0), (4.0, 1), (6.0, 3), (11.0, 4)]),
        (
            lambda c: rxops.buffer_with_time(5.0, scheduler=c),
            [(5.0, [0, 1]), (10.0, [2, 3]), (12.0, [4])],
        ),
        (
            lambda c: rxops.timeout(3.5, rx.of("late"), scheduler=c),
            [(1.0, 0), (4.0, 1), (5.0, 2), (6.0, 3), (9.5, "late")],
        ),
    ],
    ids=["debounce", "delay", "sample", "throttle_first", "buffer_with_time", "timeout"],
)
def test_reactivex_s_own_operators_work_on_them(
    clock: Any, operator: Any, expected: list[tuple[float, Any]]
) -> None:
    """X8: values at 1, 4, 5, 6 and 11, the end at 12, through operators of time."""
    source = rx.Subject[int]()
    seen: list[tuple[float, Any]] = []
    stamp = lambda value: seen.append((round(clock.seconds() - 1000.0, 3), value))  # noqa: E731
    source.pipe(operator(clock)).subscribe(stamp, scheduler=clock)
    for number, at in enumerate([1.0, 4.0, 5.0, 6.0, 11.0]):
        clock.schedule_absolute(1000.0 + at, lambda *_, number=number: source.on_next(number))
    clock.schedule_absolute(1012.0, lambda *_: source.on_completed())
    clock.advance_by(20.0)

    assert seen == expected


def test_intervals_and_timers_of_reactivex_run_on_them(clock: Any) -> None:
    """rx.interval does not drift, and ends when it is disposed."""
    seen: list[tuple[float, Any]] = []
    stamp = lambda value: seen.append((round(clock.seconds() - 1000.0, 3), value))  # noqa: E731
    interval = rx.interval(10.0).subscribe(stamp, scheduler=clock)
    clock.advance_by(35.0)
    interval.dispose()
    clock.advance_by(35.0)
    assert seen == [(10.0, 0), (20.0, 1), (30.0, 2)]

    seen.clear()
    rx.timer(datetime.fromtimestamp(1075, tz=UTC)).subscribe(stamp, scheduler=clock)
    clock.advance_by(10.0)
    assert seen == [(75.0, 0)]


# --- virtual time ---------------------------------------------------------------------------------


def test_replay_never_goes_back() -> None:
    """Advancing to a time that has passed runs what is due and leaves the clock where it is."""
    clock, seen = Replay(), []
    clock.advance_to(10.0)
    clock.schedule(lambda *_: seen.append(clock.seconds()))
    clock.advance_to(5.0)

    assert (seen, clock.seconds(), clock.pending) == ([10.0], 10.0, 0)


def test_starting_from_another_time_keeps_what_is_pending_as_far_away() -> None:
    """A recording begins in the year it was made, whatever was scheduled before."""
    clock, seen = Replay(), []
    clock.schedule_relative(5.0, lambda *_: seen.append(clock.seconds()))
    clock.start_from(1_700_000_000.0)
    clock.advance_to(1_700_000_010.0)

    assert seen == [1_700_000_005.0]


@pytest.mark.parametrize("speed", [0.1, 1.0, 60.0])
def test_scaled_time_is_the_base_s_at_another_speed(speed: float) -> None:
    """A time to live of 600 s lasts 600 s of this clock, and 600 / speed of the base."""
    base = Replay(7.0)
    clock, seen = Scaled(base, speed=speed, start=1000.0), []
    clock.schedule_relative(600.0, lambda *_: seen.append((clock.seconds(), base.seconds())))
    base.advance_by(600.0 / speed - 0.001)
    assert seen == []
    base.advance_by(0.002)

    assert seen == [(pytest.approx(1600.0), pytest.approx(7.0 + 600.0 / speed))]
    assert base.pending == 0


def test_scaled_cancels_on_its_base() -> None:
    """X11: nothing stays behind in the base."""
    base = Replay()
    Scaled(base, speed=2.0).schedule_relative(60.0, calling(lambda: None)).dispose()

    assert base.pending == 0


# --- the daemon, by hand --------------------------------------------------------------------------


def test_the_daemon_waits_no_longer_than_ten_seconds_at_a_time() -> None:
    """X9: so it sees a suspension to within that; and with no timers it waits for ever."""
    clock = ByHand()
    clock.schedule_relative(25.0, calling(lambda: None))
    for _ in range(4):
        clock.turn()

    assert clock.waits == [10.0, 10.0, 5.0]
    with pytest.raises(AssertionError, match="for ever"):
        clock._due_timer()


def test_stepping_the_wall_clock_changes_nothing() -> None:
    """X9: the wall clock names the first instant and is never looked at again."""
    wall = [1000.0]
    clock, seen = ByHand(wall=lambda: wall[0]), []
    clock.schedule_relative(60.0, lambda *_: seen.append(clock.seconds()))
    clock.advance_by(30.0)
    for step in (3600.0, -7200.0):
        wall[0] += step
        assert clock.seconds() == 1030.0
    clock.advance_by(30.0)

    assert seen == [1060.0]


@pytest.mark.parametrize("late", [31.0, 17 * HOURS])
def test_a_suspension_counts_towards_no_timer(late: float, log: list[str]) -> None:
    """X9: 17 h asleep with pending timers: one record, nothing fires for it, then normal timing."""
    clock, seen = ByHand(), []
    clock.schedule_relative(600.0, lambda *_: seen.append(clock.seconds()))
    clock.advance_by(100.0)
    clock.overslept = late
    clock.advance_by(100.0)

    assert clock.seconds() == 1200.0
    assert (clock.suspended, seen) == (late, [])
    assert log == [f"suspected suspend: {late:.0f} s did not count towards any timer"]
    clock.advance_by(399.0)
    assert seen == []
    clock.advance_by(1.0)
    assert seen == [1600.0]
    assert len(log) == 1


def test_a_wait_that_is_a_little_late_is_no_suspension(log: list[str]) -> None:
    """X9: a busy machine is late; the time it took has passed."""
    clock = ByHand()
    clock.schedule_relative(600.0, calling(lambda: None))
    clock.overslept = 30.0
    clock.turn()

    assert (clock.seconds(), clock.suspended, log) == (1040.0, 0.0, [])


def test_two_suspensions_are_two_records(log: list[str]) -> None:
    """X9: each is logged once, with its own length."""
    clock = ByHand()
    clock.schedule_relative(600.0, calling(lambda: None))
    for late in (100.0, 50.0):
        clock.overslept = late
        clock.advance_by(20.0)

    assert [line.split(":")[1].split()[0] for line in log] == ["100", "50"]
    assert clock.suspended == 150.0


def test_whoever_looks_first_after_a_suspension_sees_the_right_time(log: list[str]) -> None:
    """X9: an event that is folded before the daemon has woken up expires nothing."""
    clock, read = ByHand(), []

    def asleep(seconds: float | None) -> None:
        clock.instant += 17 * HOURS
        read.extend([clock.seconds(), clock.seconds()])  # another thread is faster
        clock.instant += 1.0

    clock.schedule_relative(600.0, calling(lambda: None))
    clock._wait = asleep  # pyright: ignore
    clock.turn()

    assert read == [1010.0, 1010.0]
    assert clock.seconds() == 1011.0
    assert len(log) == 1


def test_a_reading_is_never_half_before_and_half_after_a_suspension() -> None:
    """X9: a thread that was stopped within ``seconds()`` itself reads neither 17 h more nor less."""
    clock = ByHand()
    clock.schedule_relative(600.0, calling(lambda: None))
    monotonic = clock._monotonic

    def stopped_meanwhile() -> float:
        clock._monotonic = monotonic
        before = monotonic()
        clock.overslept = 17 * HOURS
        clock.turn()
        return before

    clock._monotonic = stopped_meanwhile

    assert clock.seconds() == 1010.0


def test_no_session_expires_for_a_suspension() -> None:
    """X9: 100 sessions, 17 h asleep: none expires; 600 s after their last event each does."""
    clock, seen = ByHand(), []
    hub = EventHub(scheduler=clock)
    hub.pipe(ops.expire_after(600)).subscribe(seen.append)
    for number in range(100):
        hub.on_next(text(f"s{number}", "m", "p", "x"))
    clock.advance_by(300.0)
    clock.overslept = 17 * HOURS
    clock.advance_by(299.0)
    assert not any(isinstance(event, SessionExpired) for event in seen)
    clock.advance_by(1.0)

    assert sum(isinstance(event, SessionExpired) for event in seen) == 100


@pytest.mark.parametrize("raised", [RuntimeError("boom"), SystemExit(3), KeyboardInterrupt()])
def test_a_timer_that_raises_is_logged_and_harms_no_other(raised: BaseException, log: list[str]) -> None:
    """X10: not even sys.exit() in one timer may end the thread of all."""
    clock, seen = ByHand(), []

    def boom(*_: Any) -> None:
        raise raised

    clock.schedule_relative(1.0, boom)
    clock.schedule_relative(1.0, lambda *_: seen.append("other"))
    clock.advance_by(2.0)

    assert seen == ["other"]
    assert log == [f"a timer raised {type(raised).__name__}"]


def test_a_log_that_cannot_be_written_ends_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """X10: a logger that raises BrokenPipeError: no recursion, no exit."""

    def broken(message: object) -> None:
        raise BrokenPipeError

    clock, seen = ByHand(), []
    sink = logger.add(broken, catch=False)
    clock.schedule_relative(1.0, lambda *_: 1 / 0)
    clock.schedule_relative(2.0, lambda *_: seen.append("other"))
    clock.advance_by(3.0)
    logger.remove(sink)

    assert seen == ["other"]


def test_ten_thousand_cancelled_timers_free_what_they_refer_to() -> None:
    """X11: not when they would have been due: now."""

    class Payload:
        pass

    clock = ByHand()
    payloads = [Payload() for _ in range(10_000)]
    alive = [weakref.ref(payload) for payload in payloads]
    timers = [
        clock.schedule_relative(60.0, lambda *_, kept=payload: kept, payload) for payload in payloads
    ]
    assert clock.pending == 10_000
    for timer in timers:
        timer.dispose()
    del payloads
    gc.collect()

    assert clock.pending == 0
    assert not any(reference() for reference in alive)


def test_cancelling_costs_the_queue_nothing_and_it_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """X11: 100 000 timers set and cancelled beside 100 live ones: O(1) sweeping work for each."""
    swept = []
    heapify = heapq.heapify
    monkeypatch.setattr(heapq, "heapify", lambda heap: (swept.append(len(heap)), heapify(heap)))
    clock = ByHand()
    for _ in range(100):
        clock.schedule_relative(600.0, calling(lambda: None))
    for _ in range(100_000):
        clock.schedule_relative(60.0, calling(lambda: None)).dispose()

    assert clock.pending == 100
    assert len(clock._queue._heap) <= 2 * 100 + 64
    assert sum(swept) <= 200_000


# --- the daemon, for real -------------------------------------------------------------------------


def test_one_daemon_thread_runs_all_timers() -> None:
    """X1, E6: no thread before the first timer, then one, whatever the number of timers."""
    before = threading.active_count()
    clock, done = DaemonScheduler(), threading.Event()
    assert threading.active_count() == before
    ran: list[threading.Thread] = []

    def note(*_: Any) -> None:
        ran.append(threading.current_thread())
        if len(ran) == 200:
            done.set()

    for number in range(200):
        clock.schedule_relative(number / 10_000, note)
    assert done.wait(TIMEOUT)

    assert threading.active_count() == before + 1
    assert set(ran) == {ran[0]}
    assert ran[0].daemon


def test_an_earlier_timer_wakes_the_waiting_thread() -> None:
    """A timer of 600 s pending does not delay one that is set for now."""
    waiting, done = threading.Event(), threading.Event()

    class Watched(DaemonScheduler):
        def _wait(self, seconds: float | None) -> None:
            waiting.set()  # the lock is free only once it waits
            super()._wait(seconds)

    clock = Watched()
    later = clock.schedule_relative(600.0, calling(lambda: None))
    assert waiting.wait(TIMEOUT)
    clock.schedule(calling(done.set))

    assert done.wait(TIMEOUT / 2)
    assert clock.pending == 1
    later.dispose()
    assert clock.pending == 0


def test_timers_from_many_threads_all_run() -> None:
    """X5: 8 threads set and cancel timers: each that was not cancelled runs once."""
    clock, done = DaemonScheduler(), threading.Event()
    ran: list[int] = []

    def set_timers(thread: int) -> None:
        for number in range(500):
            timer = clock.schedule_relative(
                0.01, lambda _, state: ran.append(state), thread * 500 + number
            )
            if number % 2:
                timer.dispose()

    threads = [threading.Thread(target=set_timers, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock.schedule_relative(0.02, calling(done.set))
    assert done.wait(TIMEOUT)

    assert sorted(ran) == list(range(0, 4000, 2))


def test_a_thread_that_could_not_start_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is out of threads for a moment does not lose its timers for ever."""
    clock, done = DaemonScheduler(), threading.Event()
    with monkeypatch.context() as patched:

        def no_thread(self: object) -> None:
            raise RuntimeError("can't start new thread")

        patched.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError):
            clock.schedule(calling(done.set))
    clock.schedule(calling(lambda: None))

    assert done.wait(TIMEOUT)


def test_an_unused_daemon_is_freed() -> None:
    """R2: what is registered for a fork does not keep it alive."""
    alive = weakref.ref(DaemonScheduler())
    gc.collect()

    assert alive() is None


def test_there_is_one_daemon_for_the_process() -> None:
    """X1: everything shares it."""
    assert daemon() is daemon()


# --- other schedulers -----------------------------------------------------------------------------


def test_the_clock_of_any_scheduler_is_readable() -> None:
    """X8: ours, reactivex's virtual ones as they are, its real ones by the daemon's steady clock."""
    test = TestScheduler()
    test.advance_to(42.0)
    historical = HistoricalScheduler(datetime.fromtimestamp(43, tz=UTC))

    assert seconds_of(Replay(41.0))() == 41.0
    assert seconds_of(test)() == 42.0
    assert seconds_of(historical)() == 43.0
    assert seconds_of(NewThreadScheduler()) == daemon().seconds


@pytest.mark.parametrize("scheduler", [NewThreadScheduler(), TimeoutScheduler()], ids=named)
def test_operators_work_on_reactivex_s_threaded_schedulers(scheduler: Any) -> None:
    """Given as argument, such a scheduler is used."""
    hub, expired = EventHub(), threading.Event()
    hub.pipe(ops.expire_after(0.01, scheduler=scheduler)).subscribe(
        lambda event: expired.set() if isinstance(event, SessionExpired) else None
    )
    hub.on_next(text("s", "m", "p", "x"))

    assert expired.wait(TIMEOUT)


@pytest.mark.parametrize("scheduler", [TestScheduler(), HistoricalScheduler()], ids=named)
def test_operators_work_in_reactivex_s_virtual_time(scheduler: Any) -> None:
    """X8: expiry 600 virtual seconds after the last event."""
    start, seen = scheduler.to_seconds(scheduler.clock), []
    hub = EventHub(scheduler=scheduler)
    hub.pipe(ops.expire_after(600)).subscribe(seen.append)
    hub.on_next(text("s", "m", "p", "x"))
    scheduler.advance_by(599.0)
    assert len(seen) == 1
    scheduler.advance_by(2.0)

    assert seen[1:] == [SessionExpired("s", start + 600.0, idle=600.0)]


def test_operators_work_on_an_asyncio_loop() -> None:
    """Timers run on the loop that was given, in its thread."""

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        expired: asyncio.Future[Any] = loop.create_future()
        hub = EventHub(scheduler=AsyncIOScheduler(loop))
        subscription = hub.pipe(ops.expire_after(0.01)).subscribe(
            lambda event: (
                expired.set_result((event.session_id, threading.current_thread()))
                if isinstance(event, SessionExpired)
                else None
            )
        )
        hub.on_next(text("s", "m", "p", "x"))
        result = await asyncio.wait_for(expired, TIMEOUT)
        subscription.dispose()
        return result

    assert asyncio.run(main()) == ("s", threading.current_thread())
