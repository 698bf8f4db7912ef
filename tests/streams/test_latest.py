"""``streams.latest``: R4, X12."""

import gc
import threading
import weakref
from dataclasses import dataclass
from typing import Any

import pytest
from reactivex import Subject
from reactivex import operators as rx

import operators as ops
import streams
from streams.events import SessionExpired
from streams.testing import Timeline, assistant, busy, created, deleted, idle, text, tool


@dataclass
class Value:
    session_id: str
    number: int


def test_reads_like_a_mapping() -> None:
    """Item, get, length, membership and iteration; an unknown session is a KeyError."""
    values: Subject[Value] = Subject()
    newest = streams.latest(values)
    for session_id, number in (("a", 1), ("b", 1), ("a", 2)):
        values.on_next(Value(session_id, number))
    assert (newest["a"].number, newest["b"].number, len(newest)) == (2, 1, 2)
    assert [each.number for each in newest] == [2, 1]
    assert "a" in newest
    assert newest.get("c") is None
    with pytest.raises(KeyError, match="c"):
        newest["c"]


def test_expired_values_are_freed() -> None:
    """R4: one value per live session; after expiry nothing holds it."""
    line = Timeline()
    newest = streams.latest(line.hub.pipe(ops.session_overview(at_most=0)), events=line.hub)
    line.play((0, busy("a")), (0, busy("b")))
    line.advance_to(1)
    assert len(newest) == 2
    line.play((2, SessionExpired("a")), (3, deleted("b")))
    line.advance_to(4)
    assert len(newest) == 0

    values: Subject[Value] = Subject()
    events: Subject[SessionExpired] = Subject()
    kept = streams.latest(values, events=events)
    value = Value("a", 1)
    gone = weakref.ref(value)
    values.on_next(value)
    del value
    events.on_next(SessionExpired("a"))
    gc.collect()
    assert gone() is None
    assert len(kept) == 0


def test_late_subscriber_gets_what_is_known_then_what_comes() -> None:
    """X12: the newest of every session once, then every new value."""
    values: Subject[Value] = Subject()
    newest = streams.latest(values)
    for session_id, number in (("a", 1), ("a", 2), ("b", 3)):
        values.on_next(Value(session_id, number))
    seen: list[int] = []
    newest.subscribe(lambda value: seen.append(value.number))
    values.on_next(Value("a", 4))
    assert seen == [2, 3, 4]


def test_concurrent_subscribers_see_a_contiguous_suffix() -> None:
    """X12: subscribed in the middle of a running stream, 100 times: no gap, no repeat."""
    values: Subject[Value] = Subject()
    newest = streams.latest(values)
    seen: list[list[int]] = []
    running = threading.Event()

    def produce() -> None:
        for number in range(1, 10_001):
            values.on_next(Value("s", number))
            if number == 10:
                running.set()

    producer = threading.Thread(target=produce)
    producer.start()
    running.wait(10)
    for _ in range(100):
        mine: list[int] = []
        newest.subscribe(lambda value, mine=mine: mine.append(value.number))
        seen.append(mine)
    producer.join()
    for each in seen:
        assert each == list(range(each[0], 10_001))


def test_ends_as_the_observable_does_and_disposes() -> None:
    """Completion and errors pass; after dispose nothing is kept."""
    values: Subject[Value] = Subject()
    newest = streams.latest(values)
    ended: list[str] = []
    newest.subscribe(on_completed=lambda: ended.append("completed"))
    values.on_next(Value("a", 1))
    values.on_completed()
    assert ended == ["completed"]
    newest.dispose()
    assert len(newest) == 0

    failing: Subject[Value] = Subject()
    errors: list[Exception] = []
    streams.latest(failing).subscribe(on_error=errors.append)
    failing.on_error(RuntimeError("lost"))
    assert [str(each) for each in errors] == ["lost"]


def test_operator_output() -> None:
    """It takes any operator's output."""
    line = Timeline()
    usages = streams.latest(line.hub.pipe(ops.context_usage(streams.ContextLimits())), events=line.hub)
    line.play((0, assistant("s", "m1", input=1000)))
    assert usages["s"].tokens == 1000


def test_finished_task_still_answers() -> None:
    """P20: a task done at 0 whose session went at 600 answers at 601; 101 more push it out (omo#3895)."""
    line = Timeline()
    newest = streams.latest(line.hub.pipe(ops.task_progress()), events=line.hub, archive=100)

    def finish(session_id: str, at: float) -> None:
        line.play((at, created(session_id, "p")), (at, busy(session_id)))
        line.play((at + 6, text(session_id, "m", "x", "found it")), (at + 7, idle(session_id)))

    finish("first", 0)
    line.play((600, deleted("first")))
    line.advance_to(601)
    assert (newest["first"].state, newest["first"].last_text) == ("completed", "found it")
    assert "first" in newest
    assert len(newest) == 0
    assert list(newest) == []
    for n in range(100):
        finish(f"c{n}", 700 + 10 * n)
        line.play((708 + 10 * n, SessionExpired(f"c{n}")))
    assert newest.get("first") is None
    assert sum(newest.get(f"c{n}") is not None for n in range(100)) == 100


def test_a_session_that_lives_again_is_no_longer_archived() -> None:
    """A value of a session that was gone counts as a living one's, and is there once."""
    values: Subject[Value] = Subject()
    events: Subject[SessionExpired] = Subject()
    newest = streams.latest(values, events=events, archive=1)
    values.on_next(Value("a", 1))
    events.on_next(SessionExpired("a"))
    values.on_next(Value("a", 2))
    assert ([each.number for each in newest], newest["a"].number) == ([2], 2)


def test_by_default_nothing_is_archived() -> None:
    """R4: without an archive a session that is gone is unknown."""
    line = Timeline()
    newest = streams.latest(line.hub.pipe(ops.session_overview(at_most=0)), events=line.hub, archive=0)
    line.play((0, busy("a")), (1, deleted("a")))
    assert newest.get("a") is None
    assert "a" not in newest


def test_raising_subscriber_harms_no_other() -> None:
    """S12: each raise of a subscriber is a fault; its sibling gets every value, and the reader too."""
    line = Timeline()
    newest = streams.latest(line.hub.pipe(ops.session_overview(at_most=0)), events=line.hub)

    def broken(value: ops.SessionOverview) -> None:
        raise RuntimeError("no")

    calls: list[int] = []
    newest.subscribe(broken)
    newest.subscribe(lambda value: calls.append(value.tool_calls))
    for n in range(1, 4):
        line.play((n, tool("a", f"c{n}", "bash", "running")))
        line.advance_to(n + 0.5)
    assert calls == [1, 2, 3]
    assert newest["a"].tool_calls == 3
    assert [(fault.where, fault.session_id) for fault in line.faults] == [("subscriber", "a")] * 3


def test_it_is_an_observable() -> None:
    """Operators of reactivex apply to it as to any other stream."""
    values: Subject[Value] = Subject()
    numbers: list[int] = []
    streams.latest(values).pipe(rx.map(lambda value: value.number)).subscribe(numbers.append)
    values.on_next(Value("a", 7))
    assert numbers == [7]


@pytest.mark.parametrize("value", [-1, 1.5, True, None])
def test_bad_archive(value: Any) -> None:
    """The error names the argument, the value and the range."""
    with pytest.raises(ValueError, match="archive must be a whole number of at least 0, got "):
        streams.latest(Subject[Value](), archive=value)
