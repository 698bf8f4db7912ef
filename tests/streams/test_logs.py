"""Recordings read again from a position: a file, a directory, finished or still growing."""

import gzip
import random
from pathlib import Path
from typing import Any

import pytest

from streams.events import MalformedEvent
from streams.logs import DirectoryLog, RecordingLog
from streams.positions import Positioned, Reader, Resumable


def all_of(reader: Reader) -> list[Positioned]:
    """What there is now."""
    found: list[Positioned] = []
    while more := reader.read(0):
        found += more
    return found


def positions_after(read: list[Positioned]) -> dict[str, int]:
    return {each.key: each.after for each in read}


def line(at: float, session_id: str = "s") -> str:
    event = {"type": "session.idle", "properties": {"sessionID": session_id}}
    return f'{{"at": {at}, "event": {str(event).replace(chr(39), chr(34))}}}\n'


def times(read: list[Positioned]) -> list[float]:
    return [each.event.at for each in read]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "recordings"
    path.mkdir()
    return path


@pytest.fixture
def several(directory: Path, recording_of: Any) -> Path:
    """Three recordings of about the same time, one of them gzipped."""
    for name in ("basic", "subagents", "compaction"):
        text = gzip.decompress(recording_of(name).path.read_bytes())
        path = directory / f"{name}.jsonl"
        path.write_bytes(text)
    (directory / "basic.jsonl.gz").write_bytes(gzip.compress((directory / "basic.jsonl").read_bytes()))
    (directory / "basic.jsonl").unlink()
    return directory


def test_from_any_position_comes_what_came_after_it(several: Path, recording_of: Any) -> None:
    """The two readings together are the one that was not interrupted: a file, a gzipped file, a directory."""
    chosen = random.Random(3)
    logs: list[Resumable] = [
        RecordingLog(several / "compaction.jsonl"),
        RecordingLog(recording_of("compaction").path),
        DirectoryLog(several, follow=False),
    ]
    for log in logs:
        whole = all_of(log.open({}))
        assert len(whole) > 300
        for _ in range(30):
            cut = chosen.randrange(len(whole))
            assert whole[:cut] + all_of(log.open(positions_after(whole[:cut]))) == whole


def test_a_directory_is_in_the_order_of_its_records(directory: Path) -> None:
    """Of equal times the first file's come first; a file is never re-ordered."""
    (directory / "a.jsonl").write_text(line(1) + line(5) + line(2) + line(6))
    (directory / "b.jsonl").write_text(line(2) + line(3) + line(5))
    (directory / "notes.txt").write_text("no recording\n")
    read = all_of(DirectoryLog(directory, follow=False).open({}))
    expected = [("a", 1.0), ("b", 2.0), ("b", 3.0), ("a", 5.0), ("a", 2.0), ("b", 5.0), ("a", 6.0)]
    assert [(each.key, each.event.at) for each in read] == [
        (f"{name}.jsonl", at) for name, at in expected
    ]


def test_a_log_that_is_not_followed_ends(directory: Path) -> None:
    """It ends when all was read, not before."""
    (directory / "a.jsonl").write_text(line(1))
    for log in (RecordingLog(directory / "a.jsonl"), DirectoryLog(directory, follow=False)):
        reader = log.open({})
        assert (reader.caught_up, reader.ended) == (False, False)
        assert times(reader.read(0)) == [1.0]
        assert reader.read(0) == []
        assert reader.caught_up
        assert reader.ended


def test_what_is_appended_follows(directory: Path) -> None:
    """Lines that are appended while we wait, a line in two parts, and a new file; each once."""
    file = directory / "a.jsonl"
    file.write_text(line(1))
    for log_of in (RecordingLog, DirectoryLog):
        appended = [line(2), line(3)[:20], line(3)[20:], ""]
        file.write_text(line(1))

        def sleep(_: float, appended: list[str] = appended) -> None:
            with file.open("a") as out:
                out.write(appended.pop(0))

        reader = log_of(file if log_of is RecordingLog else directory, follow=True, sleep=sleep).open({})
        assert times(reader.read(1)) == [1.0]
        assert [times(reader.read(1)) for _ in range(4)] == [[2.0], [], [3.0], []]
        assert reader.caught_up
        assert not reader.ended
    (directory / "b.jsonl").write_text(line(9))
    assert [(each.key, each.event.at) for each in reader.read(0)] == [("b.jsonl", 9.0)]


def test_a_line_without_its_line_feed_is_told_once(directory: Path) -> None:
    """Its writer was killed just before the line feed, and the next one wrote it."""
    file = directory / "a.jsonl"
    file.write_text(line(1) + line(2).rstrip("\n"))
    log = RecordingLog(file, follow=True)
    read = all_of(log.open({}))
    assert times(read) == [1.0, 2.0]
    assert all_of(log.open(positions_after(read))) == []
    file.write_text(line(1) + line(2) + line(3))
    assert times(all_of(log.open(positions_after(read)))) == [3.0]


def test_a_file_that_is_gzipped_keeps_its_position(directory: Path) -> None:
    """T5: a finished recording is gzipped by whoever keeps them, at any moment of our reading."""
    file, zipped = directory / "a.jsonl", directory / "a.jsonl.gz"
    file.write_text(line(1) + line(2))
    log = DirectoryLog(directory)
    reader = log.open({})
    read = all_of(reader)
    file.write_text(line(1) + line(2) + line(3))
    zipped.write_bytes(gzip.compress(file.read_bytes()))
    assert times(all_of(reader)) == [3.0]
    file.unlink()
    assert all_of(reader) == []
    assert times(all_of(log.open(positions_after(read)))) == [3.0]


@pytest.mark.parametrize("zipped", [False, True])
def test_a_file_that_was_cut_or_replaced_is_refused(zipped: bool, directory: Path) -> None:
    """A position that is none says so, and nothing is told twice or skipped in silence."""
    file = directory / "a.jsonl"

    def write(text: str) -> None:
        file.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())

    write(line(1) + line(2))
    position = positions_after(all_of(RecordingLog(file).open({})))
    for other in (line(1), line(1) + "x" * 200 + "\n"):
        write(other)
        with pytest.raises(ValueError, match=r"a\.jsonl has no line that ends at byte \d+: it was cut"):
            RecordingLog(file).open(position).read(0)


def test_what_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    """By the error of the system, which names the file."""
    with pytest.raises(FileNotFoundError, match="none"):
        RecordingLog(tmp_path / "none.jsonl").open({})
    with pytest.raises(FileNotFoundError, match="none"):
        DirectoryLog(tmp_path / "none").open({})


def test_a_bad_line_is_an_event_of_its_own(directory: Path) -> None:
    """S12: it has a position too, so that it is told once."""
    (directory / "a.jsonl").write_text(line(1) + "{\n" + line(3))
    log = RecordingLog(directory / "a.jsonl")
    read = all_of(log.open({}))
    assert [type(each.event) is MalformedEvent for each in read] == [False, True, False]
    assert times(all_of(log.open(positions_after(read[:2])))) == [3.0]


def test_closing_lets_go(directory: Path) -> None:
    """A closed reader reads nothing and may be closed again."""
    (directory / "a.jsonl").write_text(line(1) + line(2))
    reader = DirectoryLog(directory).open({})
    reader.close()
    reader.close()
    assert reader.read(5) == []
