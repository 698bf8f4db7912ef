"""Sessions that nothing is heard of any more."""

import threading
from datetime import timedelta
from itertools import pairwise
from math import inf
from typing import Any

import pytest

import operators as ops
from operators.expire_after import Expiry
from streams import EventHub
from streams import events as ev
from streams.events import SessionEvent
from streams.schedulers import Replay, daemon
from streams.testing import (
    Timeline,
    busy,
    compacted,
    created,
    deleted,
    error,
    heartbeat,
    idle,
    outputs,
    permission,
    permission_reply,
    play_marbles,
    question,
    question_reply,
    retry,
    text,
    tool_before,
)

TIMEOUT = 10.0


def part(session_id: str) -> ev.PartUpdated:
    return text(session_id, "m", "p", "x")


def expiries(
    line: Timeline, *timed: tuple[float, SessionEvent], until: float = 0.0, **options: Any
) -> Any:
    """The sessions that expire, and when."""
    seen = line.watch(ops.expire_after(600, **options))
    line.play(*timed)
    line.advance_to(until)
    return [(at, each.session_id) for at, each in seen if isinstance(each, ev.SessionExpired)]


# --- expiry ---------------------------------------------------------------------------------------


def test_every_event_passes_as_it_is() -> None:
    """Also those of no session, of a deleted one, and an expiry that somebody else has found."""
    events = [heartbeat(), part("s"), ev.SessionExpired("t"), deleted("s"), part("s"), ev.UnknownEvent()]

    assert outputs(ops.expire_after(), [(0, each) for each in events]) == events


def test_a_silent_session_expires_once_and_needs_no_event_for_it() -> None:
    """E2: at its time to live; then there is neither state nor timer."""
    line = Timeline()

    assert expiries(line, (5, part("s")), until=604.9) == []
    assert line.scheduler.pending == 1
    line = Timeline()
    assert expiries(line, (5, part("s")), until=10_000) == [(605.0, "s")]
    assert line.scheduler.pending == 0


def test_the_expiry_says_for_how_long_nothing_was_heard() -> None:
    """By the pipeline's clock."""
    last = outputs(ops.expire_after(timedelta(minutes=1)), [(5, part("s"))], until=100)[-1]

    assert last == ev.SessionExpired("s", 65.0, idle=60.0)


def test_each_session_expires_by_its_own_silence() -> None:
    """Two sessions interleaved: earliest first."""
    line = Timeline()
    timed = ((0, part("a")), (100, part("b")), (200, part("a")), (650, part("c")))

    assert expiries(line, *timed, until=2000) == [(700.0, "b"), (800.0, "a"), (1250.0, "c")]


def test_activity_renews() -> None:
    """E4: an event every 500 s for 2 h, time to live 600 s: alive; then it expires."""
    line = Timeline()
    timed = [(at * 500.0, part("s")) for at in range(15)]

    assert expiries(line, *timed, until=20_000) == [(7600.0, "s")]


def test_heartbeats_are_not_activity() -> None:
    """S3: a stream that delivers only heartbeats keeps nobody alive."""
    line = Timeline()
    timed = [(0.0, part("s")), *((at * 10.0, heartbeat()) for at in range(1, 100))]

    assert expiries(line, *timed, until=2000) == [(600.0, "s")]


# --- silence that is explained --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (busy("s"), idle("s")),
        (busy("s"), ev.SessionStatus("s", status="idle")),
        (retry("s", 3, next=9e9), idle("s")),
        (permission("s", "r"), permission_reply("s", "r")),
        (permission("s", "r"), idle("s")),
        (question("s", "q"), question_reply("s", "q")),
        (question("s", "q"), ev.SessionStatus("s", status="idle")),
    ],
    ids=lambda event: type(event).__name__ + getattr(event, "status", ""),
)
def test_a_session_that_works_or_waits_for_a_human_does_not_expire(
    begin: SessionEvent, end: SessionEvent
) -> None:
    """E4: three hours of it; when it is over, the time to live begins."""
    line = Timeline()
    three_hours = 10_800.0

    assert expiries(line, (0, begin), (three_hours, end), until=20_000) == [(three_hours + 600, "s")]
    assert line.scheduler.pending == 0


def test_one_answer_of_two_is_not_enough() -> None:
    """P18: still waiting for the other; asked twice it is one question."""
    line = Timeline()
    asked = [
        permission("s", "r1"),
        question("s", "q1"),
        permission("s", "r1"),
        permission_reply("s", "r1"),
    ]
    timed = [(float(at), event) for at, event in enumerate(asked)]

    assert expiries(line, *timed, (5000, question_reply("s", "q1")), until=9000) == [(5600.0, "s")]


def test_other_events_of_a_busy_session_do_not_make_it_idle() -> None:
    """E4: a part in the middle of a long command, an error that it recovers from."""
    line = Timeline()
    timed = (
        (0, busy("s")),
        (10, part("s")),
        (20, error("s", "ContextOverflowError")),
        (30, compacted("s")),
    )

    assert expiries(line, *timed, until=50_000) == []


@pytest.mark.parametrize(
    ("busy_ttl", "expires"), [(3600.0, 3610.0), (60.0, 70.0), (timedelta(hours=2), 7210.0)]
)
def test_a_busy_session_may_have_a_time_to_live_of_its_own(busy_ttl: Any, expires: float) -> None:
    """Longer than the plain one or shorter; it counts for waiting too."""
    for begin in (busy("s"), permission("s", "r")):
        line = Timeline()
        assert expiries(line, (0, part("s")), (10, begin), until=9000, busy_ttl=busy_ttl) == [
            (expires, "s")
        ]


@pytest.mark.parametrize("gap", [ev.StreamGap(), ev.StreamConnected()])
def test_after_a_gap_the_plain_time_to_live_counts(gap: SessionEvent) -> None:
    """S1: what was busy may have ended unheard; what goes on will be heard of again."""
    line = Timeline()
    timed = ((0, busy("s")), (0, permission("t", "r")), (5000, gap), (5100, busy("s")))

    assert expiries(line, *timed, until=20_000) == [(5600.0, "t")]


# --- deleted, boundary ----------------------------------------------------------------------------


def test_a_deleted_session_does_not_expire_and_its_stragglers_do_not_bring_it_back() -> None:
    """E5: they pass, and leave no state; created anew it lives."""
    line = Timeline()
    timed = ((0, part("s")), (10, deleted("s")), (10.05, part("s")), (11, busy("s")), (12, idle("s")))
    assert expiries(line, *timed, until=5000) == []
    assert line.scheduler.pending == 0

    line = Timeline()
    timed = ((0, part("s")), (10, deleted("s")), (20, created("s")), (21, part("s")))
    assert expiries(line, *timed, until=5000) == [(621.0, "s")]


def test_an_event_at_the_very_instant_finds_the_session_expired_and_starts_it_afresh() -> None:
    """E8: an event @0 and @600: one expiry, one new session, both events accounted for."""
    for set_before in (True, False):
        line = Timeline()
        again = lambda *_: line.hub.on_next(part("s"))  # noqa: E731
        if set_before:
            line.scheduler.schedule_absolute(600.0, again)
        seen = line.watch(ops.expire_after(600))
        line.hub.on_next(part("s"))
        if not set_before:
            line.scheduler.schedule_absolute(600.0, again)
        line.advance_to(5000)

        assert [(at, type(each).__name__) for at, each in seen] == [
            (0.0, "PartUpdated"),
            (600.0, "SessionExpired"),
            (600.0, "PartUpdated"),
            (1200.0, "SessionExpired"),
        ]


def test_at_the_boundary_no_event_is_lost_whatever_the_threads_do() -> None:
    """E8: 1000 times with real threads: events and expiries alternate rightly, and all are there."""
    hub, seen, over = EventHub(), dict[str, list[str]](), threading.Event()
    sessions = [f"s{number}" for number in range(50)]
    last: set[str] = set()

    def note(event: SessionEvent) -> None:
        seen.setdefault(event.session_id, []).append(type(event).__name__)
        if event.event_id == "last":
            last.add(event.session_id)
            done.add(event.session_id)
        elif isinstance(event, ev.SessionExpired) and event.session_id in last:
            last.discard(event.session_id)
            if not last and len(done) == len(sessions):
                over.set()

    done: set[str] = set()
    hub.pipe(ops.expire_after(0.0005)).subscribe(note)
    for session_id in sessions:
        for number in range(20):
            hub.on_next(ev.SessionIdle(session_id, event_id="last" if number == 19 else ""))
    assert over.wait(TIMEOUT)

    for session_id in sessions:
        names = seen[session_id]
        assert names.count("SessionIdle") == 20
        assert names[-1] == "SessionExpired"
        assert ("SessionExpired", "SessionExpired") not in pairwise(names)


# --- the end, the arguments -----------------------------------------------------------------------


@pytest.mark.parametrize("end", ["|", "#"])
def test_the_end_adds_nothing(end: str) -> None:
    """Completion and error alike; no timer is left."""
    line, seen = Timeline(), []
    line.hub.pipe(ops.expire_after(600)).subscribe(
        seen.append, lambda _: seen.append("#"), lambda: seen.append("|")
    )
    line.play((0, part("s")))
    line.hub.on_completed() if end == "|" else line.hub.on_error(LookupError())
    line.advance_to(5000)

    assert [type(each).__name__ for each in seen] == ["PartUpdated", "str"]
    assert seen[-1] == end
    assert line.scheduler.pending == 0


def test_an_expiry_due_when_the_stream_ends_is_said() -> None:
    """E8: expiry first, then the end."""
    notes = play_marbles("a-----------|", {"a": part("s")}, ops.expire_after(600), step=50)

    assert [(at, each.kind) for at, each in notes] == [(0, "N"), (600, "N"), (600, "C")]


def test_disposing_cancels_the_timer() -> None:
    """E6: dispose midway, twice."""
    line, seen = Timeline(), []
    subscription = line.hub.pipe(ops.expire_after(600)).subscribe(seen.append)
    line.play((0, part("s")))
    subscription.dispose()
    subscription.dispose()
    line.advance_to(5000)

    assert (len(seen), line.scheduler.pending) == (1, 0)


def test_an_expired_session_may_be_used_at_once_by_who_is_told() -> None:
    """X6: an event published for it inside the callback follows, and starts it afresh."""
    line, seen = Timeline(), []

    def answer(event: SessionEvent) -> None:
        seen.append((line.scheduler.seconds(), type(event).__name__))
        if isinstance(event, ev.SessionExpired) and len(seen) < 4:
            line.hub.on_next(tool_before("s", "bash", "c"))

    line.hub.pipe(ops.expire_after(600)).subscribe(answer)
    line.play((0, part("s")))
    line.advance_to(5000)

    assert seen == [
        (0.0, "PartUpdated"),
        (600.0, "SessionExpired"),
        (600.0, "ToolExecuteBefore"),
        (1200.0, "SessionExpired"),
    ]


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "600", True, timedelta(0)])
@pytest.mark.parametrize("argument", ["ttl", "busy_ttl"])
def test_a_time_to_live_is_above_zero(argument: str, value: Any) -> None:
    """At call time, with the argument's name."""
    with pytest.raises(ValueError, match=rf"^{argument} must be seconds above 0"):
        ops.expire_after(**{argument: value})


# --- many -----------------------------------------------------------------------------------------


def test_ten_thousand_sessions_without_a_delete_are_gone_from_every_operator(every_operator: Any) -> None:
    """E1: one message each, no deletion: behind expire_after, no operator keeps any."""
    clock = Replay()
    source = EventHub(scheduler=clock)
    hub = EventHub(source.pipe(ops.expire_after(600)))
    cores: list[Any] = []
    for name, operator in every_operator(cores.append).items():
        hub.pipe(operator).subscribe(lambda _, name=name: None)
    hub.connect()
    for number in range(10_000):
        source.on_next(part(f"s{number}"))
        clock.advance_by(0.01)
    assert all(len(core.states) <= 10_000 for core in cores)
    clock.advance_by(600.0)

    assert len(cores) > 3
    assert {type(core).__name__: len(core.states) for core in cores if len(core.states)} == {}
    assert {type(core).__name__: len(core.deadlines) for core in cores if len(core.deadlines)} == {}
    assert clock.pending == 0


def test_a_thousand_live_sessions_are_one_timer(every_operator: Any) -> None:
    """X1: 1000 sessions in every operator: two threads more at most, one pending timer per operator."""
    threads, timers = threading.active_count(), daemon().pending
    hub = EventHub()
    operators = every_operator()
    subscriptions = [hub.pipe(operator).subscribe(lambda _: None) for operator in operators.values()]
    for _ in range(5):
        hub.on_batch(
            [each for number in range(1000) for each in (busy(f"s{number}"), part(f"s{number}"))]
        )

    assert threading.active_count() <= threads + 2
    assert daemon().pending - timers <= len(operators)
    for subscription in subscriptions:
        subscription.dispose()
    assert daemon().pending == timers


# --- what is created, and what is gone --------------------------------------------------------------


def test_a_created_session_passes_and_its_time_begins() -> None:
    """E1: it is an event like any other, and the first one of its session."""
    line = Timeline()
    seen = line.watch(ops.expire_after(600))
    line.play((5, created("s")))
    line.advance_to(700)

    assert [(at, type(each)) for at, each in seen] == [(5, ev.SessionCreated), (605, ev.SessionExpired)]
    assert line.faults == []


def test_what_was_deleted_can_be_heard_of_again_after_a_minute() -> None:
    """E5: a straggler begins nothing while the tombstone stands; afterwards the session is one as any."""
    assert expiries(Timeline(), (0, part("s")), (1, deleted("s")), (60, part("s")), until=2000) == []
    again = [(0, part("s")), (1, deleted("s")), (61, part("s"))]
    assert expiries(Timeline(), *again, until=2000) == [(661, "s")]


@pytest.mark.parametrize("gone", [ev.SessionExpired("s"), deleted("s")])
def test_what_is_gone_leaves_no_deadline(gone: SessionEvent, every_operator: Any) -> None:
    """E3: neither at the end of a tombstone's minute, nor when somebody else has found it expired."""
    line, cores = Timeline(), list[Any]()
    every_operator(cores.append)
    line.watch(ops.expire_after(600))
    line.play((0, part("s")), (1, gone))
    line.advance_to(62)

    (core,) = cores
    assert (len(core.deadlines), core.states) == (0, {})


class TestExpiry:
    """The fold alone."""

    def test_the_first_event_arms_the_time_to_live(self) -> None:
        """X11: at its end, not before: no timer fires that has nothing to do."""
        fold = Expiry(600.0, inf)
        fold.touch(part("s"), 5.0)
        assert fold.deadlines.armed == {"s": 605.0}

    def test_a_request_that_is_asked_twice_is_one(self) -> None:
        """R5: what is kept of it does not grow."""
        fold = Expiry(600.0, inf)
        asked = fold.calls()[ev.PermissionAsked]
        for at in range(9):
            asked(ev.PermissionAsked("s", request_id=f"r{at % 2}"), float(at))
        assert fold.states["s"].requests == ("r1", "r0")
        fold.calls()[ev.SessionIdle](ev.SessionIdle("s"), 9.0)
        assert fold.states["s"].requests == ()

    def test_its_snapshots_have_its_name(self) -> None:
        """What a checkpoint finds it by."""
        assert Expiry(600.0, inf).name == "Expiry"
