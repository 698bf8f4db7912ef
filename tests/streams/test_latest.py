"""``streams.latest``: R4, X12."""

import gc
import threading
import weakref
from dataclasses import dataclass

import pytest
from reactivex import Subject

import operators as ops
import streams
from streams.events import SessionExpired
from streams.testing import Timeline, assistant, busy, deleted


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
    newest.changes.subscribe(lambda value: seen.append(value.number))
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
        newest.changes.subscribe(lambda value, mine=mine: mine.append(value.number))
        seen.append(mine)
    producer.join()
    for each in seen:
        assert each == list(range(each[0], 10_001))


def test_ends_as_the_observable_does_and_disposes() -> None:
    """Completion and errors pass; after dispose nothing is kept."""
    values: Subject[Value] = Subject()
    newest = streams.latest(values)
    ended: list[str] = []
    newest.changes.subscribe(on_completed=lambda: ended.append("completed"))
    values.on_next(Value("a", 1))
    values.on_completed()
    assert ended == ["completed"]
    newest.dispose()
    assert len(newest) == 0

    failing: Subject[Value] = Subject()
    errors: list[Exception] = []
    streams.latest(failing).changes.subscribe(on_error=errors.append)
    failing.on_error(RuntimeError("lost"))
    assert [str(each) for each in errors] == ["lost"]


def test_operator_output() -> None:
    """It takes any operator's output."""
    line = Timeline()
    usages = streams.latest(line.hub.pipe(ops.context_usage(streams.ContextLimits())), events=line.hub)
    line.play((0, assistant("s", "m1", input=1000)))
    assert usages["s"].tokens == 1000
