"""What is fuzzed: each reader of bytes from outside, as a function that must not raise.

A target whose module does not exist (yet) is left out. The mutations are our own and come from one seed,
so that a run can be repeated; half of them cut and mix real payloads, which gets deeper than bytes alone.
"""

import gzip
import random
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from streams import recordings
from streams.events import MalformedEvent, SessionEvent
from streams.opencode import wire

Target = Callable[[bytes], None]

CORPUS = Path(__file__).parent / "corpus"
RECORDINGS = Path(__file__).parents[1] / "recordings"

SCRAPS = (
    *(b"null", b"true", b"-1", b"1e999", b"0.5", b'""', b"[]", b"{}", b"[[[[", b'{"a":' * 40),
    *(b'"\\ud800"', b"\xff\xfe", b"\x00", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b"\n\n", b"data:"),
    *(b'"kind":"PartDelta"', b'"type":"sync"', b'"syncEvent":', b'"payload":', b'"properties":'),
    *(b'"data":', b'"id":7', b'"@at":1e400', b'"time":{"start":NaN}', b"9" * 400, b'{"at":', b"1" * 20),
)


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
    """However a stream is cut, the payloads are the same; none is larger than allowed."""
    frames = import_module("streams.opencode.framing").Frames
    limit = 1024
    whole = frames(limit).feed(data)
    cut = frames(limit)
    step = 1 + len(data) % 7
    pieces = [each for i in range(0, len(data), step) for each in cut.feed(data[i : i + step])]
    assert [type(each) for each in pieces] == [type(each) for each in whole]
    for one, other in zip(pieces, whole, strict=True):
        if isinstance(one, bytes):
            assert one == other
            assert len(one) <= limit


def transcript(data: bytes) -> None:
    """Any file is read to its end."""
    read = import_module("streams.transcripts.reader").read
    with tempfile.NamedTemporaryFile(dir=_memory(), suffix=".jsonl") as file:
        file.write(data)
        file.flush()
        assert all(isinstance(record, dict) for record in read(file.name))


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def targets() -> dict[str, Target]:
    """The targets that exist, by name."""
    found: dict[str, Target] = {"decoder": decoder, "recording": recording}
    later = {
        "framing": ("streams.opencode.framing", framing),
        "transcript": ("streams.transcripts.reader", transcript),
    }
    for name, (module, target) in later.items():
        package = module.rpartition(".")[0]
        if find_spec(package) and find_spec(module):
            found[name] = target
    return found


# --- the inputs -----------------------------------------------------------------------------------


def seeds(lines_each: int = 25) -> list[bytes]:
    """Lines of every recording, a few from each, and of each the payload alone."""
    found: list[bytes] = []
    for path in sorted(RECORDINGS.glob("*.jsonl.gz")):
        with gzip.open(path) as file:
            lines = [line for line in file if len(line) < 4096]
        for line in lines[:: max(1, len(lines) // lines_each)]:
            payload = line.split(b'"event":', 1)[1].rstrip()[:-1]
            found += [line, payload, b"data: " + payload + b"\n\n"]
    return found


def corpus() -> list[Path]:
    """Inputs that once failed."""
    return sorted(path for path in CORPUS.iterdir() if path.suffix == ".bin")


def inputs(number: int, seed: int) -> Iterator[bytes]:
    """So many inputs, the same for the same seed."""
    dice = random.Random(seed)
    known = seeds()
    for _ in range(number):
        data = dice.choice(known)
        for _ in range(dice.randrange(1, 5)):
            data = _mutated(data, dice, known)
        yield data


def _mutated(data: bytes, dice: random.Random, known: list[bytes]) -> bytes:
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
