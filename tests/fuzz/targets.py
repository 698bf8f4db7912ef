"""What is fuzzed: each reader of bytes from outside, as a function that must not raise.

The mutations are our own and come from one seed, so that a run can be repeated; half of them cut and mix
what was recorded, which gets deeper than bytes alone.
"""

import gzip
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from every_operator import every_operator, watch_cores

import operators as ops
from operators import Operator
from operators.snapshots import SnapshotRefused
from streams import ContextLimits, EventHub, TranscriptStore, recordings, transcripts
from streams.checkpoints import Checkpoint
from streams.checkpoints import checkpoint as checkpoints
from streams.events import MalformedEvent, SessionEvent
from streams.memory import Memory
from streams.opencode import answers, wire
from streams.opencode.errors import BadAnswer
from streams.opencode.framing import Frames, Oversized
from streams.opencode.log import event_of
from streams.schedulers import Replay

Target = Callable[[bytes], None]

CORPUS = Path(__file__).parent / "corpus"
RECORDINGS = Path(__file__).parents[1] / "recordings"

SCRAPS = (
    *(b"null", b"true", b"-1", b"1e999", b"0.5", b'""', b"[]", b"{}", b"[[[[", b'{"a":' * 40),
    *(b'"\\ud800"', b"\xff\xfe", b"\x00", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b"\n\n", b"data:"),
    *(b'"kind":"PartDelta"', b'"type":"sync"', b'"syncEvent":', b'"payload":', b'"properties":'),
    *(b'"data":', b'"id":7', b'"@at":1e400', b'"time":{"start":NaN}', b"9" * 400, b'{"at":', b"1" * 20),
    *(
        b"[" * 2_000,
        b'{"a":' * 2_000,
        b": ping\n\n",
        b"data: \n",
        b"event: x\n",
        b'{"parentUuid":',
        b'{"info":',
        b"\x91" * 2_000,
        b"\x81\xa1a" * 2_000,
    ),
)

FRAME = 1 << 10
"""Bytes that a payload may have where a stream is cut into payloads."""


# --- the targets ----------------------------------------------------------------------------------


def decoder(data: bytes) -> None:
    """Every payload is an event; what it is made of is no more than what came."""
    event = wire.decode(data, 1.0, max_bytes=1 << 16)
    assert isinstance(event, SessionEvent)
    assert len(event.raw) <= len(data)
    if not isinstance(event, MalformedEvent):
        again = wire.decode(wire.encode(event), 1.0)
        assert type(again) is type(event), f"{again!r} read back for {event!r}"
    repr(event)


def recording(data: bytes) -> None:
    """Any file is read to its end, or is said to be no recording; at most one line is torn."""
    with tempfile.NamedTemporaryFile(dir=_memory(), suffix=".jsonl") as file:
        file.write(data)
        file.flush()
        found = recordings.read(file.name)
        try:
            events = list(found)
        except recordings.NotARecording:
            return
        except OSError:  # what gzip calls a file that is no gzip after all
            if not data.startswith(b"\x1f\x8b"):
                raise
            return
        assert found.torn <= 1
        assert all(isinstance(event, SessionEvent) for event in events)


def framing(data: bytes) -> None:
    """However a stream is cut, the payloads are the same; no more is kept of one than is allowed."""
    whole = Frames(FRAME).feed(data)
    cut, pieces = Frames(FRAME), list[bytes | Oversized]()
    step = 1 + len(data) % 61
    for start in range(0, len(data), step):
        pieces += cut.feed(data[start : start + step])
        assert sum(map(len, (*cut._line, *cut._data))) <= FRAME + step
    assert [type(each) for each in pieces] == [type(each) for each in whole]
    for one, other in zip(pieces, whole, strict=True):
        if isinstance(one, bytes):
            assert one == other
            assert len(one) <= FRAME
        else:
            assert len(one.head) <= FRAME


def transcript(data: bytes) -> None:
    """Any file is read to its end; a line gives records, or is counted, and never raises."""
    with tempfile.NamedTemporaryFile(dir=_memory(), suffix=".jsonl") as file:
        file.write(data)
        file.flush()
        stored = transcripts.read(file.name)
        assert all(isinstance(record, dict) for record in stored)
        assert stored.torn <= data.count(b"\n") + 1
        kept = sum(map(len, stored.lines()))
        assert kept <= len(data)


def answer(data: bytes) -> None:
    """What a server answers is events, or is said to be none; whatever was asked."""
    readers: tuple[Callable[[], Iterable[object]], ...] = (
        lambda: answers.directory_of(data, "/"),
        lambda: [event_of(entry, 1.0) for entry in answers.entries_of(data, "/")],
        lambda: [
            answers.session_event(each, "session.updated", 1.0) for each in answers.listed_of(data, "/")
        ],
        lambda: answers.history_of(data, "/", "ses_1", 1.0, 1.0).events,
        lambda: answers.status_events(data, "/", 1.0).values(),
        lambda: [answers.todo_event(data, "/", "ses_1", 1.0)],
        lambda: answers.asked_events(data, "/", "permission.asked", 1.0),
    )
    for reader in readers:
        with suppress(BadAnswer):
            for event in reader():
                if not isinstance(event, str):
                    assert isinstance(event, SessionEvent)
                    assert len(event.raw) <= 2 * len(data) + 256  # a session is named beside its data


def checkpoint(data: bytes) -> None:
    """Any bytes are a checkpoint, or are refused; what is in one is written and read back."""
    with suppress(ValueError):
        checkpoints.decode(checkpoints.encode(checkpoints.decode(data)))


def snapshot(data: bytes) -> None:
    """Any bytes are what an operator kept, and it goes on from them; or they are refused."""
    for name, operator in _operators():
        if name.encode() not in data:
            continue
        memory, errors = Memory({name: data}), list[Exception]()
        EventHub(scheduler=Replay(), memory=memory).pipe(operator).subscribe(on_error=errors.append)
        assert all(isinstance(error, SnapshotRefused) for error in errors), errors
        if not errors:
            memory.take()


def limits(data: bytes) -> None:
    """Any bytes are limits, or no such file; a limit is a number of tokens."""
    with suppress(ValueError):
        found = ContextLimits.load(data, kind="usable").find("anthropic", "claude-x")
        assert found is None or found > 0


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


TARGETS: dict[str, Target] = {
    "answer": answer,
    "checkpoint": checkpoint,
    "decoder": decoder,
    "framing": framing,
    "limits": limits,
    "recording": recording,
    "snapshot": snapshot,
    "transcript": transcript,
}


# --- the inputs -----------------------------------------------------------------------------------


@cache
def seeds(name: str) -> tuple[bytes, ...]:
    """What the target reads when nothing is wrong, from the recordings."""
    makers = {
        **{"answer": _answers, "checkpoint": _checkpoints, "framing": _streams, "limits": _limits},
        **{"snapshot": _snapshots, "transcript": _transcripts},
    }
    return tuple(makers.get(name, _lines)())


def _lines() -> Iterator[bytes]:
    """Lines of every recording, and of each the payload alone."""
    for line in _recorded():
        yield line
        yield _payload(line)


def _streams() -> Iterator[bytes]:
    """Payloads as a server sends them: one, and several with a comment between them."""
    frames = [b"data: %s\n\n" % _payload(line) for line in _recorded()]
    yield from frames
    for start in range(0, len(frames) - 3, 3):
        yield b": hello\r\n\r\n".join(frames[start : start + 3])


def _answers() -> Iterator[bytes]:
    """What the server answered when the recordings had ended, a few things of each."""
    for path in sorted(RECORDINGS.glob("*.truth.json.gz")):
        with gzip.open(path) as file:
            truth = json.load(file)
        several = [truth["sessions"][:2], truth["status"], truth["permission"][:2], truth["question"][:2]]
        several += [each[:2] for of in ("messages", "todo") for each in list(truth[of].values())[:5]]
        texts = (json.dumps(each, separators=(",", ":")).encode() for each in several)
        yield from (text for text in texts if 2 < len(text) < 8192)
    yield b'{"home":"/home/dev","directory":"/home/dev/project"}'
    data = b'{"sessionID":"ses_1","info":{"id":"ses_1","title":"a","time":{"created":1,"updated":2}}}'
    entry = b'{"id":"evt_1","type":"session.updated.1","seq":3,"aggregate_id":"ses_1","data":%s}' % data
    yield b"[%s,%s]" % (entry, entry)


def _limits() -> Iterator[bytes]:
    model = b'{"limit":{"context":200000,"input":150000,"output":32000}}'
    yield b'{"providers":[{"id":"anthropic","models":{"claude-x":%s}}],"default":{}}' % model
    yield b'{"anthropic":{"id":"anthropic","models":{"claude-x":%s,"y":{}}}}' % model


def _transcripts() -> Iterator[bytes]:
    """A few lines of transcripts, in both formats, as a store writes them."""
    for path in sorted(RECORDINGS.glob("*.jsonl.gz"))[::3]:
        for shape in ("claude", "messages"):
            with tempfile.TemporaryDirectory(dir=_memory()) as folder:
                hub = EventHub(recordings.replay(path, speed=None))
                store = TranscriptStore(folder, format=shape, cap=1024)
                hub.pipe(ops.transcript_snapshots()).subscribe(store.write)
                hub.connect()
                for written in sorted(Path(folder).glob("*.jsonl"))[:3]:
                    lines = [each for each in written.read_bytes().splitlines(True) if len(each) < 4096]
                    yield from (b"".join(lines[start : start + 2]) for start in range(0, len(lines), 9))


def _checkpoints() -> Iterator[bytes]:
    """Checkpoints of one operator each, taken while recordings play."""
    for kept in _taken():
        for name, snapshot in kept.items():
            sequences = {name: {"ses_1": 3, "ses_2": 4}}
            positions = {"a.jsonl": 4096, "ses_1": 7}
            yield checkpoints.encode(Checkpoint(9.5, positions, {name: snapshot[:200]}, sequences))


def _snapshots() -> Iterator[bytes]:
    """What each operator kept meanwhile."""
    for kept in _taken():
        yield from (snapshot for snapshot in kept.values() if len(snapshot) < 2048)


@cache
def _taken() -> tuple[dict[str, bytes], ...]:
    """What every operator keeps, a few times while recordings play."""
    taken = list[dict[str, bytes]]()
    for name in ("subagents", "permission", "compaction"):
        events = list(recordings.read(RECORDINGS / f"{name}.jsonl.gz"))
        clock, memory = Replay(events[0].at), Memory()
        hub = EventHub(scheduler=clock, memory=memory)
        for operator in every_operator().values():
            hub.pipe(operator).subscribe()
        for number, event in enumerate(events):
            clock.advance_to(event.at)
            hub.on_next(event)
            if number % (len(events) // 4) == 1:
                taken.append(memory.take())
    return tuple(taken)


@cache
def _operators() -> tuple[tuple[str, Operator[Any]], ...]:
    """Every operator, by what its snapshots are stored under."""
    cores, made = list[Any](), list(every_operator().values())
    stop = watch_cores(cores.append)
    for operator in made:
        EventHub(scheduler=Replay()).pipe(operator).subscribe()
    stop()
    return tuple(zip((core.name for core in cores), made, strict=True))


def _recorded(lines_each: int = 25) -> Iterator[bytes]:
    """Short lines of every recording, a few from each."""
    for path in sorted(RECORDINGS.glob("*.jsonl.gz")):
        with gzip.open(path) as file:
            lines = [line for line in file if len(line) < 4096]
        yield from lines[:: max(1, len(lines) // lines_each)]


def _payload(line: bytes) -> bytes:
    return line.split(b'"event":', 1)[1].rstrip()[:-1]


def corpus() -> list[Path]:
    """Inputs that once failed."""
    return sorted(path for path in CORPUS.iterdir() if path.suffix == ".bin")


def inputs(name: str, number: int, seed: int) -> Iterator[bytes]:
    """So many inputs for a target, the same for the same seed."""
    dice = random.Random(seed)
    known = seeds(name)
    for _ in range(number):
        data = dice.choice(known)
        for _ in range(dice.randrange(1, 5)):
            data = _mutated(data, dice, known)
        yield data


def _mutated(data: bytes, dice: random.Random, known: tuple[bytes, ...]) -> bytes:
    here = dice.randrange(len(data) + 1)
    there = min(len(data), here + dice.randrange(1, 40))
    match dice.randrange(7):
        case 0:
            return data[:here] + dice.choice(SCRAPS) + data[there:]
        case 1:
            return data[:here] + dice.choice(SCRAPS) + data[here:]
        case 2:
            return data[:here] + data[there:]
        case 3:
            return data[:here]
        case 4:
            return data[:here] + bytes((dice.randrange(256),)) + data[here + 1 :]
        case 5:
            return data[:here] + dice.choice(known)[here:]
        case _:
            return _other_value(data, dice)


def _other_value(data: bytes, dice: random.Random) -> bytes:
    """Another value in the place of one: the JSON stays whole, its types do not."""
    colons = [place for place, byte in enumerate(data) if byte == 0x3A]
    if not colons:
        return data + data
    start = dice.choice(colons) + 1
    ends = [at for at in (data.find(mark, start) for mark in (b",", b"}")) if at >= 0]
    return data[:start] + dice.choice(SCRAPS) + data[min(ends, default=len(data)) :]
