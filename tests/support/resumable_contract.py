"""What every source that can be read again from a position keeps to, and the sources."""

import gzip
import json
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from loopback_server import LoopbackServer
from recorded_server import RecordedServer, as_global

from streams.logs import DirectoryLog, RecordingLog
from streams.opencode import ServerLog
from streams.positions import Positioned, Resumable

RECORDINGS = Path(__file__).parents[1] / "recordings"
Row = tuple[str, int, float, object]


def payloads_of(stem: str) -> list[bytes]:
    """A recording's payloads, as they came."""
    with gzip.open(RECORDINGS / f"{stem}.jsonl.gz") as file:
        return [json.dumps(json.loads(line)["event"], separators=(",", ":")).encode() for line in file]


@contextmanager
def a_server(stem: str) -> Generator[Resumable]:
    """An opencode server to which all of a recording has happened."""
    server = RecordedServer(as_global(payloads_of(stem)))
    server.play(len(server.payloads))
    loopback = LoopbackServer(server)
    try:
        yield ServerLog(loopback.url, wall=lambda: 1_795_500_000.0)
    finally:
        loopback.close()


@contextmanager
def a_recording(stem: str) -> Generator[Resumable]:
    """A recording, compressed as it is."""
    yield RecordingLog(RECORDINGS / f"{stem}.jsonl.gz")


@contextmanager
def a_directory(*stems: str) -> Generator[Resumable]:
    """A directory of recordings that nobody writes any more."""
    with tempfile.TemporaryDirectory() as folder:
        for stem in stems:
            shutil.copy(RECORDINGS / f"{stem}.jsonl.gz", folder)
        yield DirectoryLog(folder)


SOURCES: dict[str, Callable[[], AbstractContextManager[Resumable]]] = {
    "a server": lambda: a_server("subagents"),
    "a server of many sessions": lambda: a_server("many"),
    "a recording": lambda: a_recording("subagents"),
    "a directory": lambda: a_directory("subagents", "todos", "tools"),
}
"""By name: a source that does not change any more, for as long as the context is open."""


def read_all(source: Resumable, positions: dict[str, int]) -> list[Positioned]:
    """All that there is after these positions."""
    reader = source.open(positions)
    read: list[Positioned] = []
    while not (reader.caught_up or reader.ended):
        read += reader.read(0.05)
    read += reader.read(0)
    reader.close()
    return read


def rows(read: list[Positioned]) -> list[Row]:
    """What must be the same at every reading."""
    return [(each.key, each.after, each.event.at, each.event) for each in read]


def moved(positions: dict[str, int], read: list[Positioned]) -> dict[str, int]:
    """The positions once this is taken in."""
    after = positions | {each.key: each.after for each in read}
    return {key: position for key, position in after.items() if position >= 0}


def is_read_alike_from_any_position(source: Resumable, starts: list[float]) -> None:
    """From the position of each event on comes what the reading from the beginning had after it.

    Args:
        source: What is under contract.
        starts: Where to begin: 0 is the beginning, 1 the end.
    """
    whole = read_all(source, {})
    assert whole
    for part in starts:
        start = round(part * len(whole))
        given = moved({}, whole[:start])
        kept = dict(given)
        assert rows(read_all(source, given)) == rows(whole[start:]), start
        assert given == kept, "open must not change what it was given"


def is_read_alike_in_pieces(source: Resumable, pieces: list[float]) -> None:
    """Read a piece, closed and opened again, piece after piece: together it is one reading."""
    whole = read_all(source, {})
    read: list[Positioned] = []
    positions: dict[str, int] = {}
    for part in pieces:
        piece = read_all(source, positions)[: 1 + round(part * len(whole))]
        read += piece
        positions = moved(positions, piece)
    read += read_all(source, positions)
    assert rows(read) == rows(whole)


def positions_ascend(source: Resumable) -> None:
    """Within a log, each position is above the one before; only the end of a log has one below 0."""
    last: dict[str, int] = {}
    for each in read_all(source, {}):
        assert each.key not in last or each.after < 0 or each.after > last[each.key] >= 0
        last[each.key] = each.after


def readers_know_nothing_of_each_other(source: Resumable) -> None:
    """Two at once are told the same; what is closed twice is closed, and reads nothing."""
    first, second = source.open({}), source.open({})
    read: tuple[list[Positioned], list[Positioned]] = ([], [])
    for reader, into in ((first, read[0]), (second, read[1])):
        while not (reader.caught_up or reader.ended):
            into += reader.read(0.05)
        into += reader.read(0)
    first.close()
    first.close()
    assert rows(read[0]) == rows(read[1])
    second.close()


def is_named_alike(source: Resumable) -> None:
    """The name does not change by being read, and says something."""
    name = source.name
    source.open({}).close()
    assert source.name == name != ""
