"""``streams.opencode.connect`` over a real socket: sharing, threads, slow subscribers, exit."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from loopback_server import LoopbackServer
from recorded_server import RecordedServer, as_global

import operators as ops
import streams
from streams import ContextLimits
from streams import events as ev
from streams.opencode import ConnectionState, NotOpencode, Unauthorized, Unreachable


def reading_threads() -> int:
    return sum(thread.name == "sessionstreams opencode" for thread in threading.enumerate())


def test_the_first_subscriber_connects_and_the_last_one_disconnects(
    loopback: Any, collected: Any
) -> None:
    """Nothing happens before somebody listens; two listeners share one connection; then it is let go."""
    events = streams.opencode.connect(loopback.url)
    states = collected()
    events.state.subscribe(states.add)
    assert (loopback.seen, [state.status for state in states]) == ([], ["idle"])
    seen = collected(), collected()
    following = [events.subscribe(each.add) for each in seen]
    loopback.wait_for_streams(1)
    loopback.happen(20)
    for each in seen:
        each.wait_for_type(ev.MessageUpdated)
    assert loopback.seen.count("/global/event") == 1
    assert seen[0][0] is seen[1][0]
    following[0].dispose()
    loopback.happen(10)
    assert len(loopback.streams) == 1
    following[1].dispose()
    states.wait_for(lambda each: each[-1].status == "closed")
    again = collected()
    events.subscribe(again.add)
    again.wait_for_type(ev.StreamConnected)
    loopback.happen(100)
    again.wait_for_type(ev.PartUpdated)
    assert not any(isinstance(event, ev.StreamGap) for event in again)
    events.close()


def test_connected_without_subscribers(loopback: Any, collected: Any) -> None:
    """``connect()`` keeps it connected until it is disposed."""
    events = streams.opencode.connect(loopback.url)
    kept = events.connect()
    loopback.wait_for_streams(1)
    seen = collected()
    events.subscribe(seen.add).dispose()
    assert len(loopback.streams) == 1
    states = collected()
    events.state.subscribe(states.add)
    kept.dispose()
    states.wait_for(lambda each: each[-1].status == "closed")


def test_closing_completes(loopback: Any, collected: Any) -> None:
    """``close`` completes every subscriber, so that what is pending is flushed, and ends the thread."""
    with streams.opencode.connect(loopback.url) as events:
        done = threading.Event()
        events.subscribe(lambda event: None, on_completed=done.set)
        loopback.wait_for_streams(1)
    assert done.wait(10)
    states = collected()
    events.state.subscribe(states.add)
    states.wait_for(lambda each: each[-1].status == "closed")
    late = threading.Event()
    events.subscribe(lambda event: None, on_completed=late.set)
    assert late.is_set()
    assert loopback.seen.count("/global/event") == 1


@pytest.mark.parametrize(
    ("prepare",                                               "error"),
    [
        (lambda loopback: setattr(loopback, "password", "x"), Unauthorized),
        (lambda loopback: setattr(loopback, "redirect", "/"), NotOpencode),
        (lambda loopback: loopback.close(),                   Unreachable),
    ],
)  # fmt: skip
def test_a_first_failure_is_told_by_type(
    loopback: LoopbackServer, collected: Any, prepare: Callable[[LoopbackServer], None], error: type
) -> None:
    """A server that is not there, that wants a password, or that is something else ends the stream."""
    prepare(loopback)
    events, errors = streams.opencode.connect(loopback.url), collected()
    events.subscribe(lambda event: None, errors.add)
    errors.wait_for_type(error)
    assert isinstance(events.state.value.error, error)
    assert events.state.value.status == "closed"


def test_waiting_for_a_server(collected: Any, recording_of: Any) -> None:
    """With ``wait`` it connects as soon as the server is there."""
    payloads = [event.raw for event in recording_of("basic.global").events()]
    first = LoopbackServer(RecordedServer(payloads))
    port = int(first.url.rpartition(":")[2])
    first.close()
    events, seen, states = streams.opencode.connect(first.url, wait=True), collected(), collected()
    events.state.subscribe(states.add)
    events.subscribe(seen.add)
    states.wait_for(lambda each: any(isinstance(state.error, Unreachable) for state in each))
    second = LoopbackServer(RecordedServer(payloads), port=port)
    seen.wait_for_type(ev.StreamConnected)
    events.close()
    second.close()


def test_cut_and_ended_lines(loopback: Any, collected: Any) -> None:
    """S1: over a real socket too: whether cut or ended, what was missed comes, once, and in order."""
    events, seen = streams.opencode.connect(loopback.url), collected()
    events.subscribe(seen.add)
    total = len(loopback.server.payloads)
    for end in (loopback.cut, loopback.end, loopback.cut):
        loopback.wait_for_streams(1)
        loopback.happen(40)
        end()
        loopback.happen(20)
    loopback.wait_for_streams(1)
    loopback.happen(total)
    seen.wait_for_type(ev.StreamResumed, 3)
    last_id = json.loads(loopback.server.payloads[-2])["payload"].get("id")
    seen.wait_for(lambda each: last_id in [event.event_id for event in each])
    states = collected()
    events.state.subscribe(states.add)
    states.wait_for(lambda each: each[-1].counts.gaps == 3)
    logged = [row["id"] for row in loopback.server.log]
    ids = [event.event_id for event in seen if event.event_id in set(logged)]
    assert ids == logged
    events.close()


def test_500_tool_calls_without_a_request(recording_of: Any, collected: Any) -> None:
    """T10: every operator at work on 592 tool calls: no request for messages, none for anything else."""
    raws = [event.raw for stem in ("long", "many") for event in recording_of(stem).events()]
    loopback = LoopbackServer(RecordedServer(as_global(raws)))
    events, seen = streams.opencode.connect(loopback.url), collected()
    limits = ContextLimits({"acme/kestrel-large": 200_000})
    for operator in (
        ops.context_usage(limits),
        ops.compaction_triggers(limits),
        ops.task_progress(),
        ops.expire_after(600),
    ):
        events.pipe(operator).subscribe(lambda value: None)
    events.of(ev.PartUpdated).subscribe(seen.add)
    loopback.wait_for_streams(1)
    calls: set[str] = set()
    while loopback.server.played < len(loopback.server.payloads):
        loopback.happen(500)
    last = next(
        event
        for event in reversed(list(recording_of("many").events()))
        if isinstance(event, ev.PartUpdated)
    )
    seen.wait_for(lambda each: any(event.event_id == last.event_id for event in each[-5:]))
    calls = {event.part.id for event in seen if event.part.type == "tool"}
    assert len(calls) >= 500
    assert sorted(loopback.seen) == ["/experimental/session", "/global/event", "/path"]
    assert events.state.value.counts.gaps == 0
    events.close()
    loopback.close()


def test_a_slow_subscriber_slows_the_reading(loopback: Any, collected: Any) -> None:
    """R1, S8: while a subscriber is busy nothing piles up here: what is not read stays with the sender."""
    released, seen = threading.Event(), collected()

    def slow(event: ev.SessionEvent) -> None:
        seen.add(event)
        if isinstance(event, ev.SessionCreated):
            released.wait(30)

    events = streams.opencode.connect(loopback.url)
    events.subscribe(slow)
    loopback.wait_for_streams(1)
    loopback.happen(4)
    seen.wait_for_type(ev.SessionCreated)
    big = b'{"directory":"/home/dev/project","payload":{"id":"evt_x%d","type":"x.y","properties":{"a":"%s"}}}'
    loopback.send([big % (number, b"x" * 100_000) for number in range(200)])
    before = events.state.value.counts.bytes
    assert before < 2_000_000
    assert len(events.strand._calls) <= 2  # a batch, and who waits for its end
    released.set()
    seen.wait_for(
        lambda each: sum(isinstance(one, ev.UnknownEvent) and one.type == "x.y" for one in each) == 200
    )
    events.close()


def test_a_subscriber_that_blocks_another_thread(loopback: Any, collected: Any) -> None:
    """R1: the strand is taken by another thread: the reader waits for its turn, it does not queue up."""
    entered, released, seen = threading.Event(), threading.Event(), collected()

    def slow(event: ev.SessionEvent) -> None:
        seen.add(event)
        if isinstance(event, ev.LimitsChanged):
            entered.set()
            released.wait(30)

    events = streams.opencode.connect(loopback.url)
    events.subscribe(slow)
    loopback.wait_for_streams(1)
    seen.wait_for_type(ev.StreamConnected)
    threading.Thread(target=events.on_next, args=(ev.LimitsChanged(),), daemon=True).start()
    assert entered.wait(10)
    total = len(loopback.server.payloads)
    for _ in range(total):
        loopback.happen(1)
    assert len(events.strand._calls) <= 2  # a batch, and who waits for its end
    released.set()
    last_id = json.loads(loopback.server.payloads[-2])["payload"].get("id")
    seen.wait_for(lambda each: last_id in [event.event_id for event in each])
    events.close()


def test_ending_it_from_inside(loopback: Any, collected: Any) -> None:
    """X7: a subscriber may dispose, subscribe or close from inside a call, on the reader's own thread."""
    events, states = streams.opencode.connect(loopback.url), collected()
    events.state.subscribe(states.add)
    seen = collected()

    def once(event: ev.SessionEvent) -> None:
        events.of(ev.PartUpdated).subscribe(seen.add)
        following.dispose()

    following = events.of(ev.SessionCreated).subscribe(once)
    loopback.wait_for_streams(1)
    loopback.happen(60)
    seen.wait_for_type(ev.PartUpdated)
    events.of(ev.SessionStatus).subscribe(lambda event: events.close())
    loopback.happen(200)
    states.wait_for(lambda each: each[-1].status == "closed")


def test_one_thread_whatever_the_number_of_subscribers(loopback: Any, collected: Any) -> None:
    """X1: a hundred subscribers: one thread reads; after close there is none."""
    before = reading_threads()
    events, seen = streams.opencode.connect(loopback.url), collected()
    for _ in range(100):
        events.subscribe(lambda event: None)
    events.subscribe(seen.add)
    loopback.wait_for_streams(1)
    seen.wait_for_type(ev.StreamConnected)
    assert reading_threads() == before + 1
    states = collected()
    events.state.subscribe(states.add)
    events.close()
    states.wait_for(lambda each: each[-1].status == "closed")


def test_inside_a_running_loop(loopback: Any) -> None:
    """Notebooks: used inside a running asyncio loop it neither blocks it nor needs it."""

    async def use() -> list[ev.SessionEvent]:
        seen: list[ev.SessionEvent] = []
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        events = streams.opencode.connect(loopback.url)

        def take(event: ev.SessionEvent) -> None:
            seen.append(event)
            if isinstance(event, ev.MessageUpdated):
                loop.call_soon_threadsafe(done.set)

        events.subscribe(take)
        await loop.run_in_executor(None, loopback.wait_for_streams)
        loopback.happen(20)
        await asyncio.wait_for(done.wait(), 20)
        events.close()
        return seen

    assert type(asyncio.run(use())[0]) is ev.StreamConnected


@pytest.mark.parametrize(
    "ending", ["pass", "raise KeyboardInterrupt", "events.close()", "loopback.cut()"]
)
def test_it_never_keeps_the_process(loopback: Any, ending: str) -> None:
    """X2: with a connection and 600 s timers pending, the process ends when its program does."""
    program = f"""
import threading, streams, operators as ops
from streams.opencode import connect
ready = threading.Event()
events = connect({loopback.url!r})
events.pipe(ops.expire_after(600)).subscribe(lambda event: ready.set())
class loopback:
    cut = staticmethod(lambda: None)
assert ready.wait(30)
print("ready", flush=True)
{ending}
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "ready\n"
        started = time.monotonic()
        code = process.wait(20)
        assert code == (1 if "Keyboard" in ending else 0) or code == -2
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("arguments",                                  "said"),
    [
        ({"scope": "all"},                         "scope must be 'server' or 'global', got 'all'"),
        ({"scope": "global", "directory": "/d"},   "directory must be None with scope='global', got '/d'"),
        ({"silence": 0},                           "silence must be seconds above 0"),
        ({"silence": -1.0},                        "silence must be seconds above 0"),
    ],
)  # fmt: skip
def test_arguments_are_checked(arguments: Any, said: str) -> None:
    """A bad argument is a ValueError at the call, naming it and what is allowed."""
    with pytest.raises(ValueError, match=said):
        streams.opencode.connect("http://127.0.0.1:1", **arguments)


def test_a_subscriber_to_the_state_that_raises(loopback: Any, collected: Any) -> None:
    """S12: it harms neither the connection nor the other subscribers to the state."""
    events, states, seen = streams.opencode.connect(loopback.url), collected(), collected()
    faults = collected()
    events.errors.subscribe(faults.add)

    def fail(state: ConnectionState) -> None:
        raise RuntimeError("mine")

    events.state.subscribe(fail)
    events.state.subscribe(states.add)
    events.subscribe(seen.add)
    seen.wait_for_type(ev.StreamConnected)
    states.wait_for(lambda each: each[-1].status == "connected")
    assert len(faults) >= 2
    events.close()
