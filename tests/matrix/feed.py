"""Agents at work: recorded sessions, played as if they happened now, into a directory each."""

import gzip
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

RECORDINGS = Path(__file__).parents[1] / "recordings"
SESSIONS = ("subagents", "todos", "tools", "permission")


class Line(msgspec.Struct):
    at: float
    event: msgspec.Raw


def payloads(server: int) -> Iterator[bytes]:
    """Recorded events without end: the same sessions again and again, under other ids each time."""
    texts = [
        bytes(msgspec.json.decode(line, type=Line).event)
        for line in gzip.decompress(
            (RECORDINGS / f"{SESSIONS[server % len(SESSIONS)]}.jsonl.gz").read_bytes()
        ).splitlines()
    ]
    number = 0
    while True:
        prefix = b"%d_%d_" % (server, number)
        for text in texts:
            for kind in (b"ses_", b"msg_", b"prt_", b"evt_"):
                text = text.replace(b'"' + kind, b'"' + kind + prefix)
            yield text
        number += 1


class Feed:
    """Writes so many events a second into each directory, at the times at which they happen.

    Args:
        directories: One for each server.
        rate: Events a second and server.
    """

    def __init__(self, directories: list[Path], rate: float) -> None:
        self.written = 0
        self._rate = rate
        self._files = [(directory / "events.jsonl").open("ab", buffering=0) for directory in directories]
        self._payloads = [payloads(server) for server in range(len(directories))]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when the last event is written."""
        self._stop.set()
        self._thread.join()
        for file in self._files:
            file.close()

    def _run(self) -> None:
        while not self._stop.wait(1 / self._rate):
            for file, some in zip(self._files, self._payloads, strict=True):
                file.write(msgspec.json.encode(Line(time.time(), msgspec.Raw(next(some)))) + b"\n")
                self.written += 1
