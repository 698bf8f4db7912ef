"""The hand-off to a slow consumer."""

import threading
import tracemalloc
from typing import Any

import pytest
from loguru import logger
from reactivex import Subject

import streams
from streams import EventHub
from streams import events as ev
from streams.backlog import Backlog, Overflow, Overflowed
from streams.schedulers import Replay
from streams.testing import (
    assistant,
    busy,
    deleted,
    delta,
    error,
    heartbeat,
    idle,
    permission,
    text,
    todos,
    tool,
    updated,
    user,
)


class Line:
    """A hub, a hand-off that delivers when the clock says so, and what has been delivered."""

    def __init__(self, **arguments: Any) -> None:
        self.clock = Replay()
        self.hub = EventHub(scheduler=self.clock)
        self.seen: list[Any] = []
        self.errors: list[Exception] = []
        self.completed = 0
        self.handed = self.hub.pipe(streams.bounded(scheduler=self.clock, **arguments))
        self.following = self.handed.subscribe(self.seen.append, self.errors.append, self._complete)

    def _complete(self) -> None:
        self.completed += 1

    def feed(self, *events: ev.SessionEvent) -> None:
        for event in events:
            self.hub.on_next(event)

    def deliver(self) -> list[Any]:
        self.clock.advance_by(1)
        return self.seen


def text_of(events: list[Any], part_id: str) -> str:
    """The text of a part as a consumer folds it."""
    told = ""
    for event in events:
        if isinstance(event, ev.PartUpdated) and event.part.id == part_id:
            told = event.part.text
        elif isinstance(event, ev.PartDelta) and event.part_id == part_id:
            told += event.delta
    return told


def test_in_order_and_all_of_it() -> None:
    """While there is room nothing is given up, and nothing is delivered in the producer's call."""
    line = Line()
    events = [busy("s"), delta("s", "m", "p", "a"), delta("s", "m", "p", "b"), idle("s")]
    line.feed(*events)
    assert line.seen == []
    assert line.deliver() == events
    assert line.handed.dropped == 0


def test_a_storm_before_a_stalled_consumer() -> None:
    """S8: 100 000 deltas of 1 KB, a finished message and idle: bounded, and what matters is delivered."""
    line = Line(max_bytes=4 * 1024 * 1024)
    for number in range(100_000):
        line.feed(delta("s", "m", "p", f"{number:06}" + "x" * 1018))
    line.feed(assistant("s", "m", input=5), idle("s"))
    seen = line.deliver()
    assert sum(len(event.delta) for event in seen if isinstance(event, ev.PartDelta)) < 4 * 1024 * 1024
    assert [type(event) for event in seen[-2:]] == [ev.MessageUpdated, ev.SessionIdle]
    assert line.handed.dropped > 0
    line.feed(
        delta("s", "m", "p", "more"), text("s", "m", "p", "the whole"), delta("s", "m", "p", " text")
    )
    assert text_of(line.deliver(), "p") == "the whole text"


def test_memory_while_it_stalls() -> None:
    """R1: what waits takes no more than its bound, by the allocator's own count."""
    backlog: Backlog[Any] = Backlog(10_000, 1024 * 1024, "shed")
    most = 0
    tracemalloc.start()
    for number in range(10_000):
        backlog.offer(delta("s", "m", f"p{number // 50}", f"{number:06}" + "x" * 1018))
        most = max(most, backlog.bytes)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most <= 1024 * 1024
    assert peak < 4 * 1024 * 1024


def test_no_garbled_text() -> None:
    """T11: after a dropped delta no more of that part comes until the whole part does."""
    line = Line(capacity=8, max_bytes=3_000)
    line.feed(text("s", "m", "p", ""), *(delta("s", "m", "p", "x" * 900) for _ in range(10)))
    line.feed(delta("s", "m", "other", "fine"))
    assert text_of(line.deliver(), "p") == ""
    assert text_of(line.seen, "other") == "fine"
    line.feed(delta("s", "m", "p", "tail"), text("s", "m", "p", "all"), delta("s", "m", "p", "!"))
    assert text_of(line.deliver(), "p") == "all!"


def test_deltas_are_joined_first() -> None:
    """S8: many small deltas become few: no character is lost, and whole parts are barriers (T11)."""
    line = Line(capacity=20)
    line.feed(text("s", "m", "p", ""))
    for number in range(500):
        line.feed(delta("s", "m", "p", f"{number}."), delta("s", "m", "q", "-"))
        if number == 250:
            line.feed(text("s", "m", "q", "so far:"))
    seen = line.deliver()
    assert line.handed.dropped == 0
    assert text_of(seen, "p") == "".join(f"{number}." for number in range(500))
    assert text_of(seen, "q") == "so far:" + "-" * 249
    assert len(seen) < 30


def test_only_the_last_word_is_kept() -> None:
    """S8: of a part, a message, a session and a todo list the last word says it all."""
    line = Line(capacity=40)
    for number in range(200):
        line.feed(
            tool("s", "c", "bash", "running", metadata={"output": "x" * number}),
            assistant("s", "m", input=number, finish=""),
            updated("s", title=str(number)),
            todos("s", *["pending"] * (number % 3)),
            heartbeat(),
        )
    line.feed(tool("s", "c", "bash", "completed", output="done"), assistant("s", "m", input=7))
    seen = line.deliver()
    assert line.handed.dropped == 0
    state = [event.part.state.status for event in seen if isinstance(event, ev.PartUpdated)]
    assert state[-1] == "completed"
    messages = [event for event in seen if isinstance(event, ev.MessageUpdated)]
    assert (messages[-1].finish, messages[-1].tokens.input) == ("stop", 7)
    assert len(seen) <= 40


@pytest.mark.parametrize(
    "kept",
    [
        idle("s"),
        busy("s"),
        deleted("s"),
        error("s", "APIError"),
        permission("s", "r"),
        user("s", "m"),
        assistant("s", "m"),
        ev.StreamGap(),
        ev.StreamResumed(),
    ],
)
def test_what_is_never_dropped(kept: ev.SessionEvent) -> None:
    """S8: among any number of deltas, what ends or begins something comes through."""
    line = Line(capacity=10, max_bytes=5_000)
    line.feed(*(delta("s", "m", f"p{number}", "x" * 100) for number in range(500)))
    line.feed(kept)
    line.feed(*(delta("s", "m", f"q{number}", "x" * 100) for number in range(500)))
    assert kept in line.deliver()
    assert line.handed.dropped > 900


def test_what_may_not_be_dropped_ends_it() -> None:
    """R1, S8: full of what must not be lost: all that waits is delivered, and then a typed error."""
    line = Line(capacity=100)
    events = [idle(f"s{number}") for number in range(200)]
    line.feed(*events)
    seen = line.deliver()
    assert seen == events[:101]
    (raised,) = line.errors
    assert isinstance(raised, Overflowed)
    assert "at most 100" in str(raised)


@pytest.mark.parametrize(("overflow", "expected"), [("oldest", 100), ("error", 101)])
def test_other_policies(overflow: Overflow, expected: int) -> None:
    """``oldest`` keeps the newest and counts the rest; ``error`` gives up nothing and ends."""
    line = Line(capacity=100, overflow=overflow)
    events = [delta("s", "m", "p", str(number)) for number in range(1_000)]
    line.feed(*events)
    seen = line.deliver()
    assert seen == (events[-100:] if overflow == "oldest" else events[:101])
    assert len(seen) == expected
    assert line.handed.dropped == (900 if overflow == "oldest" else 0)
    assert bool(line.errors) is (overflow == "error")


def test_values_that_are_no_events() -> None:
    """A decision is never dropped: any other value is kept, or ends it."""
    clock, source, seen, errors = Replay(), Subject[int](), [], []
    source.pipe(streams.bounded(capacity=10, scheduler=clock)).subscribe(seen.append, errors.append)
    for number in range(10):
        source.on_next(number)
    clock.advance_by(1)
    assert seen == list(range(10))
    for number in range(20):
        source.on_next(number)
    clock.advance_by(1)
    assert isinstance(errors[0], Overflowed)


def test_the_end_comes_last() -> None:
    """Completion and error come after all that waits."""
    line = Line()
    line.feed(busy("s"))
    line.hub.on_completed()
    assert line.completed == 0
    assert line.deliver() == [busy("s")]
    assert line.completed == 1
    failing = Line()
    failing.feed(busy("s"))
    mine = RuntimeError("mine")
    failing.hub.on_error(mine)
    assert (failing.deliver(), failing.errors) == ([busy("s")], [mine])


def test_dispose_midway() -> None:
    """After dispose nothing is delivered, and nothing waits on the scheduler for it."""
    line = Line()
    line.feed(busy("s"))
    line.following.dispose()
    line.feed(idle("s"))
    assert line.deliver() == []
    assert line.completed == 0


def test_a_consumer_that_raises() -> None:
    """S12: one fault, and the next value."""
    clock = Replay()
    hub = EventHub(scheduler=clock)
    faults: list[Any] = []
    hub.errors.subscribe(faults.append)
    seen: list[Any] = []

    def consume(event: Any) -> None:
        seen.append(event)
        if len(seen) == 1:
            raise RuntimeError("mine")

    hub.pipe(streams.bounded(scheduler=clock)).subscribe(consume)
    hub.on_next(busy("a"))
    hub.on_next(busy("b"))
    clock.advance_by(1)
    assert [event.session_id for event in seen] == ["a", "b"]
    assert [str(fault.error) for fault in faults] == ["mine"]


def test_feedback_from_inside() -> None:
    """X6: a value published by the consumer waits its turn."""
    line = Line()
    line.handed.subscribe(
        lambda event: line.feed(idle("s")) if isinstance(event, ev.SessionStatus) else None
    )
    line.feed(busy("s"))
    line.deliver()
    assert line.deliver() == [busy("s"), idle("s")]


def test_on_a_thread_of_its_own() -> None:
    """By default a daemon thread delivers: a stalled consumer does not hold the producer (R1)."""
    hub, released, done = EventHub(), threading.Event(), threading.Event()
    seen: list[ev.SessionEvent] = []
    threads: set[threading.Thread] = set()

    def consume(event: ev.SessionEvent) -> None:
        threads.add(threading.current_thread())
        released.wait(30)
        seen.append(event)
        if isinstance(event, ev.SessionIdle):
            done.set()

    handed = hub.pipe(streams.bounded(capacity=1_000))
    following = handed.subscribe(consume)
    for number in range(50_000):
        hub.on_next(delta("s", "m", f"p{number}", "x"))
    hub.on_next(idle("s"))
    assert seen == []
    released.set()
    assert done.wait(30)
    assert handed.dropped > 40_000
    (thread,) = threads
    assert thread.daemon
    following.dispose()
    thread.join(10)
    assert not thread.is_alive()


def test_drops_are_seen() -> None:
    """S8: drops are counted on the result, told to a live source, and warned of once."""

    class Source(EventHub):
        told = 0

        def count_dropped(self, number: int) -> None:
            self.told += number

    warnings: list[str] = []
    sink = logger.add(lambda message: warnings.append(str(message)), level="WARNING", format="{message}")
    clock = Replay()
    hub = Source(scheduler=clock)
    handed = hub.pipe(streams.bounded(capacity=10, scheduler=clock))
    handed.subscribe(lambda event: None)
    for number in range(1_000):
        hub.on_next(delta("s", "m", f"p{number}", "x"))
    logger.remove(sink)
    assert hub.told == handed.dropped > 900
    assert len(warnings) == 1


def test_operators_behind_it_keep_the_clock() -> None:
    """An operator behind a hand-off follows the source's clock."""
    line = Line()
    assert line.handed.scheduler is line.clock
    assert line.handed.report == line.hub.report


def test_a_full_backlog_costs_little() -> None:
    """R1: making room frees an eighth at least, so that a full backlog is not looked through each time."""
    backlog: Backlog[Any] = Backlog(800, 10**9, "shed")
    looks = 0
    keep = backlog._keep

    def counted(select: Any) -> int:
        nonlocal looks
        looks += 1
        return keep(select)

    backlog._keep = counted  # type: ignore[method-assign]
    for number in range(10_000):
        backlog.offer(delta("s", "m", f"p{number}", "x"))
    assert looks <= 3 * 100


@pytest.mark.parametrize(
    ("arguments",                "said"),
    [
        ({"capacity": 0},        "capacity must be a whole number of at least 1, got 0"),
        ({"capacity": 1.5},      "capacity must be a whole number of at least 1, got 1.5"),
        ({"max_bytes": True},    "max_bytes must be a whole number of at least 1, got True"),
        ({"overflow": "block"},  "overflow must be 'shed', 'oldest' or 'error', got 'block'"),
    ],
)  # fmt: skip
def test_arguments_are_checked(arguments: Any, said: str) -> None:
    """A bad argument is a ValueError at the call."""
    with pytest.raises(ValueError, match=said):
        streams.bounded(**arguments)
    with pytest.raises(ValueError, match=said):
        streams.aiter(EventHub(), **arguments)
