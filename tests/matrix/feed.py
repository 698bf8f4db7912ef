"""Agents at work: recorded sessions, played as if they happened now, in directories and on servers."""

import gzip
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
from loopback_server import LoopbackServer
from recorded_server import RecordedServer, as_global

from streams.logs import DirectoryLog
from streams.opencode import ServerLog
from streams.positions import Resumable

RECORDINGS = Path(__file__).parents[1] / "recordings"
SESSIONS = ("subagents", "todos", "tools", "permission")
EVENT_ID = re.compile(rb'"evt_[^"]*"')


class Line(msgspec.Struct):
    at: float
    event: msgspec.Raw


def payloads(place: int) -> Iterator[bytes]:
    """Recorded events without end: the same sessions again and again, under other ids each time."""
    texts = [
        bytes(msgspec.json.decode(line, type=Line).event)
        for line in gzip.decompress(
            (RECORDINGS / f"{SESSIONS[place % len(SESSIONS)]}.jsonl.gz").read_bytes()
        ).splitlines()
    ]
    number = 0
    while True:
        prefix = b"%d_%d_" % (place, number)
        for text in texts:
            for kind in (b"ses_", b"msg_", b"prt_", b"evt_"):
                text = text.replace(b'"' + kind, b'"' + kind + prefix)
            yield text
        number += 1


class Place(Protocol):
    """Where agents work."""

    def happen(self, at: float, payload: bytes) -> None:
        """Let an event happen."""
        ...

    def log(self) -> Resumable:
        """What the cluster reads."""
        ...

    def close(self) -> None:
        """Nothing happens here any more."""
        ...


class Directory:
    """A directory into which a recorder writes."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True)
        self._path = path
        self._file = (path / "events.jsonl").open("ab", buffering=0)

    def happen(self, at: float, payload: bytes) -> None:
        self._file.write(msgspec.json.encode(Line(at, msgspec.Raw(payload))) + b"\n")

    def log(self) -> Resumable:
        return DirectoryLog(self._path)

    def close(self) -> None:
        self._file.close()


class Server:
    """An opencode server on loopback: its stream of events, and its log."""

    def __init__(self) -> None:
        self._recorded = RecordedServer(())
        self._loopback = LoopbackServer(self._recorded)
        self._numbers: Counter[str] = Counter()
        self._happened = 0

    def happen(self, at: float, payload: bytes) -> None:
        self._happened += 1
        event_id = b'"evt_%012xRecordedEvents"' % self._stamp(at)
        told = list(as_global([EVENT_ID.sub(event_id, payload, count=1)], numbers=self._numbers))
        self._recorded.payloads += told
        self._loopback.happen(len(told))

    def log(self) -> Resumable:
        return ServerLog(self._loopback.url)

    def close(self) -> None:
        self._loopback.close()

    def _stamp(self, at: float) -> int:
        """The time, as opencode's ids have it: its lowest 48 bits, with a count within the millisecond."""
        return (round(at * 1000) * 4096 + self._happened % 4096) % (1 << 48)


class Feed:
    """Lets so many events a second happen at each place.

    Args:
        places: Where.
        rate: Events a second and place.
    """

    def __init__(self, places: Sequence[Place], rate: float) -> None:
        self._rate = rate
        self._places = places
        self._payloads = [payloads(number) for number in range(len(places))]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when the last event has happened."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(1 / self._rate):
            for place, some in zip(self._places, self._payloads, strict=True):
                place.happen(time.time(), next(some))
