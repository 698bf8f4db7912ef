"""The kernel: a logic's contract with it, and that one session's trouble is nobody else's."""

import gc
import sys
import weakref
from collections.abc import Iterable
from math import inf, nan
from typing import Any, ClassVar

import msgspec
import pytest
import reactivex as rx
from reactivex import operators as rxops
from reactivex.scheduler import CurrentThreadScheduler, ImmediateScheduler

import operators as ops
from operators.expire_after import Expiry
from operators.lift import lift
from operators.per_session import SessionFold
from streams import EventHub, Fault
from streams import events as ev
from streams.events import SessionEvent
from streams.schedulers import Replay
from streams.testing import (
    Timeline,
    busy,
    compacted,
    created,
    deleted,
    delta,
    error,
    heartbeat,
    idle,
    outputs,
    text,
    updated,
)


class Quiet(msgspec.Struct):
    """What the logic of these tests keeps."""

    session_id: str
    count: int = 0
    until: float | None = None


class CountLogic(ops.Logic[Quiet, tuple[str, str, int]]):
    """Says each event's count, and 5 s after the last one that all is quiet; at the end how many came."""

    wants: ClassVar[tuple[type[SessionEvent], ...]] = (ev.PartUpdated, ev.SessionInfo, ev.StreamGap)

    def start(self, session_id: str, now: float) -> Quiet:
        return Quiet(session_id)

    def on_event(self, state: Quiet, event: SessionEvent, now: float) -> Iterable[Any]:
        if isinstance(event, ev.StreamGap):
            return ((state.session_id, "gap", state.count),)
        state.count += 1
        state.until = now + 5.0
        return ((state.session_id, "event", state.count),)

    def deadline(self, state: Quiet) -> float | None:
        return state.until

    def on_timer(self, state: Quiet, now: float) -> Iterable[Any]:
        state.until = None
        yield (state.session_id, "quiet", state.count)

    def on_end(self, state: Quiet, now: float) -> Iterable[Any]:
        yield (state.session_id, "end", state.count)


def part(session_id: str) -> ev.PartUpdated:
    return text(session_id, "m", "p", "x")


def counts() -> ops.Operator[tuple[str, str, int]]:
    return ops.per_session(CountLogic())


# --- a session's life -----------------------------------------------------------------------------


def test_each_session_has_a_state_and_a_timer_of_its_own() -> None:
    """Two sessions interleaved: each counts and falls quiet by itself."""
    line = Timeline()
    seen = line.watch(counts())
    line.play(
        (0, part("a")),
        (1, part("b")),
        (2, part("a")),
        (6.5, part("b")),
    )
    line.advance_to(20)

    assert seen == [
        (0.0, ("a", "event", 1)),
        (1.0, ("b", "event", 1)),
        (2.0, ("a", "event", 2)),
        (6.0, ("b", "quiet", 1)),
        (6.5, ("b", "event", 2)),
        (7.0, ("a", "quiet", 2)),
        (11.5, ("b", "quiet", 2)),
    ]
    assert line.scheduler.pending == 0


@pytest.mark.parametrize("last", ["|", "#"])
def test_what_is_pending_goes_out_at_the_end(last: str) -> None:
    """T4: completion ends each session, then the stream; an error too."""
    line, seen = Timeline(), []
    line.hub.pipe(counts()).subscribe(seen.append, lambda _: seen.append("#"), lambda: seen.append("|"))
    line.play((0, part("a")), (1, part("b")))
    line.hub.on_completed() if last == "|" else line.hub.on_error(LookupError())

    assert seen[2:] == [("a", "end", 1), ("b", "end", 1), last]
    assert line.scheduler.pending == 0


def test_a_timer_due_at_the_end_comes_before_it() -> None:
    """E8: the same instant: the timer first, then the end."""
    line, seen = Timeline(), []
    line.scheduler.schedule_absolute(5.0, lambda *_: line.hub.on_completed())
    line.hub.pipe(counts()).subscribe(seen.append, None, lambda: seen.append("|"))
    line.hub.on_next(part("a"))
    line.advance_to(5)

    assert seen == [("a", "event", 1), ("a", "quiet", 1), ("a", "end", 1), "|"]


def test_disposing_says_nothing_and_leaves_nothing() -> None:
    """E6: midway: no output, no timer; twice is harmless."""
    line, seen = Timeline(), []
    subscription = line.hub.pipe(counts()).subscribe(seen.append)
    line.play((0, part("a")))
    subscription.dispose()
    subscription.dispose()
    line.play((1, part("a")))
    line.advance_to(100)

    assert seen == [("a", "event", 1)]
    assert line.scheduler.pending == 0


def test_a_timer_that_was_on_its_way_when_it_was_disposed_does_not_run() -> None:
    """X7: it came due while something else was happening, and that something disposed it."""
    fired: list[float] = []

    class Noting(CountLogic):
        def on_timer(self, state: Quiet, now: float) -> Iterable[Any]:
            fired.append(now)
            return super().on_timer(state, now)

    line = Timeline()
    subscription = line.hub.pipe(ops.per_session(Noting())).subscribe()
    line.play((0, part("a")))

    def come_due_and_dispose(_: SessionEvent) -> None:
        line.advance_to(5)
        subscription.dispose()

    line.hub.of(ev.SessionIdle).subscribe(come_due_and_dispose)
    line.hub.on_next(idle("a"))

    assert fired == []


def test_work_that_is_settled_cancels_its_timer() -> None:
    """X11: at once, not when it would have been due."""

    class Settles(CountLogic):
        wants = (ev.PartUpdated, ev.SessionIdle)

        def on_event(self, state: Quiet, event: SessionEvent, now: float) -> Iterable[Any]:
            state.until = None if isinstance(event, ev.SessionIdle) else now + 60.0
            return ()

    line = Timeline()
    seen = line.watch(ops.per_session(Settles()))
    line.play(*((0, part(f"s{number}")) for number in range(1000)))
    assert line.scheduler.pending == 1
    line.play(*((1, idle(f"s{number}")) for number in range(1000)))

    assert line.scheduler.pending == 0
    line.advance_to(100)
    assert seen == []


def test_an_empty_stream_says_nothing_and_sets_no_timer() -> None:
    """E6: nothing is scheduled before the first event."""
    line = Timeline()
    seen = line.watch(counts())
    line.advance_to(100)
    assert line.scheduler.pending == 0
    line.hub.on_completed()

    assert seen == []


def test_an_event_at_the_deadline_finds_the_timer_run() -> None:
    """E8: the boundary instant: the timer first, then the event, on fresh terms."""
    line = Timeline()
    seen = line.watch(counts())
    hub, clock = line.hub, line.scheduler
    hub.on_next(part("a"))
    clock.schedule_absolute(5.0, lambda *_: hub.on_next(part("a")))  # set after the operator's own
    clock.advance_to(5.0)
    assert seen[1:] == [(5.0, ("a", "quiet", 1)), (5.0, ("a", "event", 2))]

    early = Timeline()
    early.scheduler.schedule_absolute(5.0, lambda *_: early.hub.on_next(part("a")))  # set before it
    seen = early.watch(counts())
    early.hub.on_next(part("a"))
    early.advance_to(5.0)
    assert seen[1:] == [(5.0, ("a", "quiet", 1)), (5.0, ("a", "event", 2))]


# --- deleted, expired, created --------------------------------------------------------------------


def test_stragglers_of_a_deleted_session_are_swallowed() -> None:
    """E5: deleted @10, a part @10.05: nothing; created @20, a part @21: counted from zero."""
    line = Timeline()
    seen = line.watch(counts())
    line.play(
        (9, part("s")),
        (10, deleted("s")),
        (10.05, part("s")),
        (11, deleted("s")),
        (20, created("s")),
        (21, part("s")),
    )

    assert [value for _, value in seen] == [
        ("s", "event", 1),
        ("s", "end", 1),
        ("s", "event", 1),
        ("s", "event", 2),
    ]


@pytest.mark.parametrize(("at", "swallowed"), [(69.9, True), (70.0, False)])
def test_a_tombstone_ends_by_itself_after_a_minute(at: float, swallowed: bool) -> None:
    """E5, E2: it needs no further event, its timer goes with it, and then a late event starts afresh."""
    line = Timeline()
    seen = line.watch(counts())
    line.play((9, part("s")), (10, deleted("s")))
    assert line.scheduler.pending == 1
    line.advance_to(at)
    line.play((at, part("s")))
    line.advance_to(200)

    assert seen[2:3] == ([] if swallowed else [(70.0, ("s", "event", 1))])
    assert line.scheduler.pending == 0


def test_a_session_deleted_before_it_was_heard_of_is_dead_too() -> None:
    """E5: the operator came late, and the stragglers come all the same."""
    assert outputs(counts(), [deleted("s"), part("s"), part("t")]) == [("t", "event", 1), ("t", "end", 1)]


def test_a_created_event_that_is_not_wanted_still_raises_the_session() -> None:
    """E5: the tombstone is the kernel's, whatever the logic wants."""

    class Parts(CountLogic):
        wants = (ev.PartUpdated,)

    events = [part("s"), deleted("s"), created("s"), part("s")]
    assert outputs(ops.per_session(Parts()), events)[2:] == [("s", "event", 1), ("s", "end", 1)]


def test_after_expiry_a_new_event_starts_fresh_state() -> None:
    """E5: expired is not deleted: there is no tombstone."""
    events = [part("s"), part("s"), ev.SessionExpired("s", idle=600.0), part("s")]

    assert outputs(counts(), events, complete=False) == [
        ("s", "event", 1),
        ("s", "event", 2),
        ("s", "end", 2),
        ("s", "event", 1),
    ]


def test_a_logic_that_wants_the_end_of_a_session_gets_it_before_the_state_goes() -> None:
    """on_event(SessionDeleted), then on_end; for a session it does not know, neither."""

    class Ends(CountLogic):
        wants = (ev.PartUpdated, ev.SessionDeleted, ev.SessionExpired)

    events = [part("s"), deleted("s"), part("t"), ev.SessionExpired("t"), deleted("unheard of")]
    assert outputs(ops.per_session(Ends()), events) == [
        ("s", "event", 1),
        ("s", "event", 2),
        ("s", "end", 2),
        ("t", "event", 1),
        ("t", "event", 2),
        ("t", "end", 2),
    ]


# --- which events ---------------------------------------------------------------------------------


def test_a_logic_is_called_for_what_it_wants() -> None:
    """A base class stands for all below it; nothing else starts a state."""
    events = [part("s"), created("s"), updated("s"), busy("s"), idle("t"), delta("t", "m", "p", "x")]

    assert [count for *_, count in outputs(counts(), events, complete=False)] == [1, 2, 3]


def test_an_event_of_the_stream_reaches_every_live_session() -> None:
    """A gap is everyone's, and nobody's beginning."""
    events = [ev.StreamGap(), part("a"), part("b"), deleted("a"), ev.StreamGap(), heartbeat()]

    assert outputs(counts(), events, complete=False)[3:] == [("b", "gap", 1)]


def test_an_event_of_no_session_is_nobody_s() -> None:
    """P11: an error of the server itself must not become every session's."""

    class Errors(CountLogic):
        wants = (ev.SessionError, ev.PartUpdated)

    events = [part("a"), part("b"), error("", "ServerError"), error("a", "APIError")]
    assert outputs(ops.per_session(Errors()), events, complete=False) == [
        ("a", "event", 1),
        ("b", "event", 1),
        ("a", "event", 2),
    ]


def test_a_logic_that_wants_everything_gets_everything() -> None:
    """SessionEvent: sessions' own events, and the stream's for each live session."""

    class Everything(CountLogic):
        wants = (SessionEvent,)

    events = [heartbeat(), part("a"), busy("b"), heartbeat(), ev.UnknownEvent(), ev.StreamGap()]
    assert outputs(ops.per_session(Everything()), events, complete=False) == [
        ("a", "event", 1),
        ("b", "event", 1),
        ("a", "event", 2),
        ("b", "event", 2),
        ("a", "gap", 2),
        ("b", "gap", 2),
    ]


# --- trouble --------------------------------------------------------------------------------------


class Broken(CountLogic):
    """Session ``bad`` raises in one method; every other is as it was."""

    def __init__(self, method: str, *, lazily: bool = False) -> None:
        self._method = method
        self._lazily = lazily

    def _break(self, method: str, session_id: str) -> Iterable[Any]:
        if self._method == method and session_id == "bad":
            raise LookupError(method)
        return ()

    def _maybe(self, method: str, state: Quiet, said: Iterable[Any]) -> Iterable[Any]:
        def lazily() -> Iterable[Any]:
            yield from said
            yield from self._break(method, state.session_id)

        if self._lazily:
            return lazily()
        said = list(said)
        return [*self._break(method, state.session_id), *said]

    def start(self, session_id: str, now: float) -> Quiet:
        self._break("start", session_id)
        return super().start(session_id, now)

    def on_event(self, state: Quiet, event: SessionEvent, now: float) -> Iterable[Any]:
        return self._maybe("on_event", state, super().on_event(state, event, now))

    def deadline(self, state: Quiet) -> float | None:
        self._break("deadline", state.session_id)
        return super().deadline(state)

    def on_timer(self, state: Quiet, now: float) -> Iterable[Any]:
        return self._maybe("on_timer", state, super().on_timer(state, now))

    def on_end(self, state: Quiet, now: float) -> Iterable[Any]:
        return self._maybe("on_end", state, super().on_end(state, now))


@pytest.mark.parametrize("lazily", [False, True])
@pytest.mark.parametrize("method", ["start", "on_event", "deadline", "on_timer", "on_end"])
def test_a_logic_that_raises_for_one_session_harms_no_other(method: str, lazily: bool) -> None:
    """S12, X10: one fault each time, in whatever method; every other session goes on."""

    def play(line: Timeline) -> None:
        line.play((0, part("good")), (0, part("bad")), (1, part("other")), (1, ev.StreamGap()))
        line.advance_to(10)
        line.play((10, deleted("bad")), (11, part("good")))
        line.hub.on_completed()

    line, healthy = Timeline(), Timeline()
    seen, expected = line.watch(ops.per_session(Broken(method, lazily=lazily))), healthy.watch(counts())
    play(line)
    play(healthy)

    assert [each for each in seen if each[1][0] != "bad"] == [
        each for each in expected if each[1][0] != "bad"
    ]
    assert {(fault.where, fault.session_id, str(fault.error)) for fault in line.faults} == {
        ("Broken", "bad", method)
    }
    times = {"start": [0], "on_event": [0, 1], "deadline": [0, 1], "on_timer": [5], "on_end": [10]}
    assert [fault.at for fault in line.faults] == times[method]
    assert line.scheduler.pending == 0


def test_what_was_said_before_it_raised_is_said() -> None:
    """X5: a generator's state is as it left it, so its outputs are too."""
    line = Timeline()
    seen = line.watch(ops.per_session(Broken("on_event", lazily=True)))
    line.play((0, part("bad")), (1, part("bad")))

    assert [said for _, said in seen] == [("bad", "event", 1), ("bad", "event", 2)]
    assert [(fault.session_id, fault.at) for fault in line.faults] == [("bad", 0.0), ("bad", 1.0)]


def test_a_fault_among_the_outputs_goes_to_the_errors() -> None:
    """It is no output, and what comes after it still is one."""
    fault = Fault("resolver", "s", 1.0, LookupError())

    class Faulty(CountLogic):
        def on_event(self, state: Quiet, event: SessionEvent, now: float) -> Iterable[Any]:
            yield fault
            yield from super().on_event(state, event, now)

    line = Timeline()
    seen = line.watch(ops.per_session(Faulty()))
    line.play((1, part("s")))

    assert line.faults == [fault]
    assert [value for _, value in seen] == [("s", "event", 1)]


@pytest.mark.parametrize("step", [0.0, -1.0])
def test_a_deadline_that_does_not_move_on_is_a_fault_and_no_endless_loop(step: float) -> None:
    """X10: what on_timer said is said, the others' timers run, and the next event sets it going again."""

    class Stuck(CountLogic):
        def on_timer(self, state: Quiet, now: float) -> Iterable[Any]:
            if state.session_id == "bad":
                state.until = now + step
                return ((state.session_id, "stuck", state.count),)
            return super().on_timer(state, now)

    line = Timeline()
    seen = line.watch(ops.per_session(Stuck()))
    line.play((0, part("bad")), (0, part("good")))
    line.advance_to(100)
    assert [value for _, value in seen[2:]] == [("bad", "stuck", 1), ("good", "quiet", 1)]
    assert [str(fault.error) for fault in line.faults] == [
        f"deadline(state) gave {5 + step} after on_timer at 5.0: not later"
    ]
    assert line.scheduler.pending == 0

    line.play((100, part("bad")))
    line.advance_to(200)
    assert seen[-1] == (105.0, ("bad", "stuck", 2))


@pytest.mark.parametrize("late", [-10.0, 0.0])
def test_a_deadline_in_the_past_is_met_at_once(late: float) -> None:
    """After the event that set it, at the same time."""

    class Past(CountLogic):
        def deadline(self, state: Quiet) -> float | None:
            return None if state.until is None else state.until - 5.0 + late

    line = Timeline()
    seen = line.watch(ops.per_session(Past()))
    line.play((20, part("s")))
    line.advance_to(20)

    assert seen == [(20.0, ("s", "event", 1)), (20.0, ("s", "quiet", 1))]
    assert line.faults == []


@pytest.mark.parametrize("never", [inf, nan])
def test_a_deadline_that_never_comes_sets_no_timer(never: float) -> None:
    """Infinite, or not a number at all: it harms no other session's."""

    class Never(CountLogic):
        def deadline(self, state: Quiet) -> float | None:
            return never if state.session_id == "never" else state.until

    line = Timeline()
    seen = line.watch(ops.per_session(Never()))
    line.play((0, part("never")), (1, part("s")), (2, part("never")))
    line.advance_to(100)

    assert seen[3:] == [(6.0, ("s", "quiet", 1))]
    assert line.scheduler.pending == 0


def test_a_subscriber_that_raises_gets_the_next_value() -> None:
    """S12: one fault; timers and other sessions go on."""
    line, seen = Timeline(), []

    def raises_once(value: tuple[str, str, int]) -> None:
        seen.append(value)
        if len(seen) == 1:
            raise LookupError

    line.hub.pipe(counts()).subscribe(raises_once)
    line.play((0, part("a")), (1, part("b")))
    line.advance_to(10)

    assert [kind for _, kind, _ in seen] == ["event", "event", "quiet", "quiet"]
    assert [(fault.where, fault.at) for fault in line.faults] == [("subscriber", 0.0)]


def test_a_fold_of_one_s_own_that_raises_is_a_fault_too() -> None:
    """S12: in a call, at its deadline, at the end: the stream still ends, the strand is not harmed."""

    class Bad(SessionFold[Quiet, Any]):
        def calls(self) -> Any:
            def call(event: SessionEvent, now: float) -> Any:
                self.deadlines.set("s", now + 1.0)
                raise LookupError("call")

            return {ev.PartUpdated: call}

        def fire(self, now: float) -> Any:
            list(self.deadlines.due(now))
            raise LookupError("fire")

        def end(self, now: float) -> Any:
            raise LookupError("end")

    line, seen = Timeline(), []
    line.hub.pipe(lift(lambda report: Bad(CountLogic(), report))).subscribe(
        seen.append, None, lambda: seen.append("|")
    )
    line.play((0, part("s")))
    line.advance_to(10)
    line.hub.on_completed()

    assert [(fault.where, fault.at, str(fault.error)) for fault in line.faults] == [
        ("Bad", 0.0, "call"),
        ("Bad", 1.0, "fire"),
        ("Bad", 10.0, "end"),
    ]
    assert seen == ["|"]


# --- order ----------------------------------------------------------------------------------------


def test_five_thousand_hops_of_feedback_through_an_operator() -> None:
    """X6: an output that causes an event is no recursion; order is kept."""
    line, seen = Timeline(), []

    def feed_back(value: tuple[str, str, int]) -> None:
        seen.append(value[2])
        if value[2] < 5000:
            line.hub.on_next(part("s"))

    line.hub.pipe(counts()).subscribe(feed_back)
    line.hub.on_next(part("s"))

    assert seen == list(range(1, 5001))


def test_an_event_published_by_a_timer_s_subscriber_is_not_lost() -> None:
    """X6: from inside a debounce's callback, say."""
    line, seen = Timeline(), []

    def answer(value: tuple[str, str, int]) -> None:
        seen.append((line.scheduler.seconds(), value[1]))
        if value[1] == "quiet" and len(seen) < 4:
            line.hub.on_next(part("s"))

    line.hub.pipe(counts()).subscribe(answer)
    line.hub.on_next(part("s"))
    line.advance_to(100)

    assert seen == [(0.0, "event"), (5.0, "quiet"), (5.0, "event"), (10.0, "quiet")]


def test_outputs_follow_the_state_they_come_from() -> None:
    """A generator is run to its end before anyone sees what it says."""
    states: list[int] = []

    class Two(CountLogic):
        def on_event(self, state: Quiet, event: SessionEvent, now: float) -> Iterable[Any]:
            yield (state.session_id, "first", 0)
            states.append(1)
            yield (state.session_id, "second", 0)
            states.append(2)

    line = Timeline()
    line.hub.pipe(ops.per_session(Two())).subscribe(lambda _: states.append(len(states)))
    line.play((0, part("s")))

    assert states == [1, 2, 2, 3]


# --- subscriptions and clocks ---------------------------------------------------------------------


def test_two_subscriptions_to_one_pipeline_share_nothing() -> None:
    """X12: each counts from when it came; ``scan`` with a mutable seed would not."""
    line = Timeline()
    derived = line.hub.pipe(counts())
    first, second = [], []
    derived.subscribe(first.append)
    line.play((0, part("s")), (1, part("s")))
    subscription = derived.subscribe(second.append)
    line.play((2, part("s")))
    subscription.dispose()
    line.play((3, part("s")))

    assert [count for *_, count in first] == [1, 2, 3, 4]
    assert [count for *_, count in second] == [1]


def test_one_logic_serves_many_pipelines() -> None:
    """X12: it keeps nothing itself."""
    logic = CountLogic()
    runs = [outputs(ops.per_session(logic), [part("s"), part("s")]) for _ in range(2)]

    assert runs[0] == runs[1] == [("s", "event", 1), ("s", "event", 2), ("s", "end", 2)]


def quiet_at(
    clock: Replay, derived: rx.Observable[Any], publish: Any, scheduler: Any = None
) -> list[float]:
    """When a session falls quiet, by this clock."""
    seen: list[float] = []
    derived.pipe(rxops.filter(lambda value: value[1] == "quiet")).subscribe(
        lambda _: seen.append(clock.seconds()), scheduler=scheduler
    )
    publish(part("s"))
    clock.advance_by(5.0)
    return seen


def test_the_clock_is_the_operator_s_else_the_subscription_s_else_the_source_s() -> None:
    """X8: timers and now alike come from one scheduler, in this order."""
    for chosen in ("operator", "subscription", "source"):
        clock, other = Replay(100.0), Replay(7.0)
        hub = EventHub(scheduler=clock if chosen == "source" else other)
        operator = ops.per_session(CountLogic(), scheduler=clock if chosen == "operator" else None)
        subscribed = {"operator": other, "subscription": clock, "source": None}[chosen]

        assert quiet_at(clock, hub.pipe(operator), hub.on_next, subscribed) == [105.0], chosen
        assert other.pending == 0


def each_value(source: rx.Observable[Any]) -> rx.Observable[Any]:
    return source.pipe(rxops.time_interval(), rxops.map(lambda each: each.value))


@pytest.mark.parametrize(
    "behind",
    [
        rxops.start_with(("", "", 0)),
        rxops.retry(2),
        rxops.catch(rx.never()),
        rxops.on_error_resume_next(rx.never()),
        rxops.share(),
        rxops.merge(rx.never()),
        each_value,
    ],
    ids=["start_with", "retry", "catch", "on_error_resume_next", "share", "merge", "time_interval"],
)
def test_what_rx_passes_on_when_nobody_chose_is_no_choice(behind: Any) -> None:
    """X1, X7: behind an operator that subscribes on the current thread, no timer blocks that thread."""
    clock = Replay(100.0)
    hub = EventHub(scheduler=clock)

    assert quiet_at(clock, hub.pipe(counts(), behind), hub.on_next) == [105.0]


@pytest.mark.parametrize("scheduler", [CurrentThreadScheduler(), ImmediateScheduler()])
def test_a_scheduler_that_waits_by_blocking_is_refused(scheduler: Any) -> None:
    """X7: at call time, with the argument's name."""
    with pytest.raises(ValueError, match="scheduler must wait without blocking"):
        ops.per_session(CountLogic(), scheduler=scheduler)


def test_with_a_clock_of_its_own_an_operator_s_timers_still_come_first() -> None:
    """E8: the hub's clock stands at 0; on the operator's the deadline has passed, its timer not yet run."""

    class Late(Replay):
        def schedule_at(self, due: float, action: Any, state: object) -> Any:
            return super().schedule_at(due + 1.0, action, state)

    clock, hub, seen = Late(100.0), EventHub(scheduler=Replay()), []
    hub.pipe(ops.per_session(CountLogic(), scheduler=clock)).subscribe(seen.append)
    hub.on_next(part("s"))
    clock.advance_to(105.5)
    hub.on_next(part("s"))

    assert [kind for _, kind, _ in seen] == ["event", "quiet", "event"]


def test_a_cold_source_plays_in_the_subscribing_thread() -> None:
    """As it does with any operator of Rx: subscribe returns when it is over."""
    seen: list[Any] = []
    rx.of(part("s"), part("s")).pipe(counts()).subscribe(seen.append, None, lambda: seen.append("|"))

    assert seen == [("s", "event", 1), ("s", "event", 2), ("s", "end", 2), "|"]


def test_a_source_that_is_no_hub_is_subscribed_once_and_let_go() -> None:
    """E6: disposing the derived stream disposes the source."""
    source = rx.Subject[SessionEvent]()
    seen: list[Any] = []
    subscription = source.pipe(counts()).subscribe(seen.append)
    source.on_next(part("s"))
    assert len(source.observers) == 1
    subscription.dispose()
    source.on_next(part("s"))

    assert seen == [("s", "event", 1)]
    assert source.observers == []


def test_faults_behind_several_operators_reach_the_hub_s_errors() -> None:
    """S12: expire_after, then a logic that raises: one place to listen."""
    line = Timeline()
    line.watch(lambda source: source.pipe(ops.expire_after(), ops.per_session(Broken("on_event"))))
    line.play((3, part("bad")))

    assert [(fault.where, fault.at) for fault in line.faults] == [("Broken", 3.0)]


# --- what is kept ---------------------------------------------------------------------------------


def fold(core: Any, events: Iterable[SessionEvent], now: float) -> list[Any]:
    """What a core gives for events at one time, as the lifting would call it."""
    said = list(core.fire(now)) if now >= core.deadlines.earliest else []
    calls = core.calls()
    for event in events:
        for kind in type(event).__mro__:
            if kind in calls:
                said += calls[kind](event, now)
                break
    return said


def test_a_hundred_thousand_sessions_leave_nothing() -> None:
    """E3: 100 000 ids with a time to live of 1 s: every container empty, memory as at the start."""

    class Idles(CountLogic):
        wants = (ev.SessionIdle,)

    expiry, counted, faults = Expiry(1.0, inf), SessionFold(Idles(), print), list[Fault]()
    now = ended = 0.0

    def live(number: int) -> None:
        nonlocal now, ended
        for hundreds in range(number // 100):
            names = [f"s{hundreds}-{each}" for each in range(100)]
            now += 0.1
            events = [*(idle(name) for name in names), *(deleted(name) for name in names[:5])]
            said = fold(counted, fold(expiry, events, now), now)
            ended += sum(kind == "end" for _, kind, _ in said)
        now += 61.0
        ended += sum(kind == "end" for _, kind, _ in fold(counted, fold(expiry, (), now), now))
        gc.collect()

    live(1000)
    before = sys.getallocatedblocks()
    live(100_000)
    grown = sys.getallocatedblocks() - before

    assert (ended, faults) == (101_000, [])
    assert expiry.states == counted.states == {}
    assert len(expiry.deadlines) == len(counted.deadlines) == len(counted.tombstones) == 0
    assert counted.deadlines._heap == expiry.deadlines._heap == []
    assert grown < 1000  # blocks; one left per session would be 100 000


def test_nothing_is_kept_after_the_end() -> None:
    """E3: neither states nor tombstones nor deadlines, of the sessions that were still there."""
    cores = [Expiry(600.0, inf), SessionFold(CountLogic(), print)]
    for core in cores:
        fold(core, [part("a"), part("b"), deleted("b")], 0.0)
        list(core.end(1.0))

    assert [(core.states, len(core.deadlines)) for core in cores] == [({}, 0)] * 2
    assert len(cores[1].tombstones) == 0


def test_a_dropped_state_is_freed() -> None:
    """R4: at deletion, not at the next collection of something else."""

    class Kept:
        pass

    alive: list[weakref.ref[Kept]] = []

    class Keeps(ops.Logic[Kept, int]):
        wants = (ev.PartUpdated,)

        def start(self, session_id: str, now: float) -> Kept:
            alive.append(weakref.ref(state := Kept()))
            return state

        def on_event(self, state: Kept, event: SessionEvent, now: float) -> Iterable[int]:
            return ()

    line = Timeline()
    line.watch(ops.per_session(Keeps()))
    line.play((0, part("a")), (0, part("b")), (0, part("c")))
    line.play((1, deleted("a")), (1, ev.SessionExpired("b")))
    gc.collect()
    assert [reference() is None for reference in alive] == [True, True, False]
    line.hub.on_completed()
    gc.collect()
    assert alive[2]() is None


def test_a_logic_without_deadlines_is_asked_for_none() -> None:
    """The hot path of most operators."""

    class Plain(ops.Logic[Quiet, int]):
        wants = (ev.SessionCompacted,)

        def start(self, session_id: str, now: float) -> Quiet:
            return Quiet(session_id)

        def on_event(self, state: Quiet, event: SessionEvent, now: float) -> Iterable[int]:
            return (1,)

    line = Timeline()
    seen = line.watch(ops.per_session(Plain()))
    line.play((0, compacted("s")), (1, ev.SessionExpired("s")))

    assert (len(seen), line.scheduler.pending) == (1, 0)


def test_a_state_is_started_at_the_time_of_its_first_event() -> None:
    """By the pipeline's clock, for every session its own."""

    class Born(CountLogic):
        def start(self, session_id: str, now: float) -> Quiet:
            born.append((session_id, now))
            return super().start(session_id, now)

    born: list[tuple[str, float]] = []
    line = Timeline()
    line.watch(ops.per_session(Born()))
    line.play((3, part("a")), (4, part("b")), (5, part("a")))
    assert born == [("a", 3.0), ("b", 4.0)]
