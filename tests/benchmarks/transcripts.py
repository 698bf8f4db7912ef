"""What transcripts cost: one tool call at 50 and at 5 000, one text of many pieces, and how much is kept."""

import gc
import json
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from targets import Target, at_most

import operators as ops
from streams import EventHub, TranscriptStore, opencode
from streams.events import PartDelta, SessionEvent
from streams.schedulers import Replay
from streams.testing import text

ROUNDS = 5
CALLS = 100
"""Tool calls measured in one round."""


def call_events(number: int) -> list[SessionEvent]:
    """One step of an agent with one tool call, as opencode sends it: 8 events, 5 kB of output."""
    message, at = f"msg_{number:026}", 1_795_000_000_000 + number * 1000

    def part(kind: str, place: int, **fields: object) -> bytes:
        body = {"id": f"prt_{number * 10 + place:026}", "messageID": message, "sessionID": "ses_1"}
        return payload("message.part.updated", part=body | {"type": kind} | fields)

    def info(**fields: object) -> bytes:
        body = {
            "id": message,
            "sessionID": "ses_1",
            "role": "assistant",
            "modelID": "x",
            "agent": "build",
        }
        tokens = {"input": 9_000, "output": 80, "reasoning": 0, "cache": {"read": 0, "write": 0}}
        return payload(
            "message.updated", info=body | {"time": {"created": at}, "tokens": tokens} | fields
        )

    def tool(**state: object) -> bytes:
        return part("tool", 2, tool="bash", callID=f"call_{number}", state=state)

    given = {"command": "pytest -q", "description": "Run the tests"}
    times = {"start": at + 100, "end": at + 200}
    payloads = [
        info(),
        part("step-start", 0),
        part("text", 1, text=f"Step {number}.", time=times),
        tool(status="pending", input={}),
        tool(status="running", input=given, time={"start": at + 300}),
        tool(status="completed", input=given, output="passed\n" * 700, time=times),
        part("step-finish", 3, reason="tool-calls"),
        info(finish="tool-calls", time={"created": at, "completed": at + 900}),
    ]
    return [opencode.decode(each, at / 1000) for each in payloads]


def payload(kind: str, **properties: object) -> bytes:
    event = {"type": kind, "properties": {"sessionID": "ses_1", **properties}}
    return json.dumps(event, separators=(",", ":")).encode()


class Stage:
    """A store that follows a hub in virtual time."""

    def __init__(self, directory: Path, name: str) -> None:
        self.clock = Replay()
        self.hub = EventHub(scheduler=self.clock)
        self.store = TranscriptStore(directory, format=name).follow(self.hub)  # type: ignore[arg-type]
        self.number = 0

    def make(self, calls: int) -> float:
        """So many calls, a snapshot after each; returns CPU seconds, without making the events."""
        events = [call_events(number) for number in range(self.number, self.number + calls)]
        self.number += calls
        start = time.process_time()
        for each in events:
            self.hub.on_batch(each)
            self.clock.advance_by(1.0)
        return time.process_time() - start


def least(*measures: Callable[[], float]) -> list[float]:
    """The least of each, rounds alternating so that a busy machine harms all alike."""
    rounds = []
    for _ in range(ROUNDS):
        gc.collect()
        rounds.append([measure() for measure in measures])
    return [min(each) for each in zip(*rounds, strict=True)]


def appending(name: str) -> float:
    """One tool call, appended to a transcript of 50 and of 5 000."""
    with tempfile.TemporaryDirectory() as directory:
        long = Stage(Path(directory) / "long", name)
        long.make(5_000)

        def short() -> float:
            stage = Stage(Path(directory) / f"short{time.perf_counter_ns()}", name)
            stage.make(50)
            return stage.make(CALLS) / CALLS

        at_50, at_5000 = least(short, lambda: long.make(CALLS) / CALLS)
    return at_5000 / at_50


def pieces(count: int) -> float:
    """CPU seconds for one text of so many pieces of 10 characters, a snapshot each 1 000."""
    clock = Replay()
    hub = EventHub(scheduler=clock)
    hub.pipe(ops.transcript_snapshots(quiet=0.5, at_most=5.0)).subscribe(lambda each: None)
    piece = PartDelta("s", message_id="m", part_id="p", field="text", delta="0123456789")
    hub.on_next(text("s", "m", "p", ""))
    start = time.process_time()
    for number in range(count):
        hub.on_next(piece)
        if number % 1_000 == 999:
            clock.advance_by(1.0)
    return time.process_time() - start


def growing() -> float:
    """T12: 100 000 pieces cost twice as much as 50 000."""
    half, whole = least(lambda: pieces(50_000), lambda: pieces(100_000))
    return whole / half


def kept(*, snapshots: int) -> float:
    """T12: peak memory of one text of 200 000 pieces, in lengths of the text."""
    clock = Replay()
    hub = EventHub(scheduler=clock)
    sizes: list[int] = []

    def look(snapshot: ops.TranscriptSnapshot) -> None:
        sizes.extend(len(entry.json) for entry in snapshot.changed)

    hub.pipe(ops.transcript_snapshots()).subscribe(look)
    hub.on_next(text("s", "m", "p", ""))
    piece = PartDelta("s", message_id="m", part_id="p", field="text", delta="0123456789")
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(200_000):
        hub.on_next(piece)
        if number % (200_000 // snapshots) == 0:
            clock.advance_by(1.0)
    clock.advance_by(10.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (peak - before) / max(sizes)


def many_entries() -> float:
    """Bytes kept per tool call beyond its JSON."""
    clock = Replay()
    hub = EventHub(scheduler=clock)
    held: list[ops.TranscriptSnapshot] = []

    def hold(snapshot: ops.TranscriptSnapshot) -> None:
        held[:] = [snapshot]

    hub.pipe(ops.transcript_snapshots()).subscribe(hold)
    gc.collect()
    tracemalloc.start()
    for number in range(2_000):
        hub.on_batch(call_events(number))
        clock.advance_by(1.0)
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    whole = held[0].whole
    return (used - sum(len(entry.body) for entry in whole)) / len(whole)


def ratios() -> list[Target]:
    """What is asked of transcripts."""
    return [
        at_most("append a tool call at 5000 by at 50 calls, claude", appending("claude"), 1.3),
        at_most("append a tool call at 5000 by at 50 calls, messages", appending("messages"), 1.3),
        at_most("a text of 100 000 by one of 50 000 pieces, time", growing(), 2.5),
        at_most("a text of 2 MB in 1 snapshot, peak memory in texts", kept(snapshots=1), 3),
        at_most("a text of 2 MB in 10 snapshots, peak memory in texts", kept(snapshots=10), 3),
        at_most("transcript entry, beyond its JSON", many_entries(), 1_000, "B"),
    ]
