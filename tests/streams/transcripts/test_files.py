"""Appending, replacing, repairing and sweeping: a file is never left torn."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.transcripts import files, read
from streams.transcripts.files import TEMPORARY, append, replace, signature, sweep
from streams.transcripts.locks import sole_writer

ONE, TWO, THREE = b'{"type":"1"}', b'{"type":"2"}', b'{"type":"3"}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "transcripts" / "s.jsonl"


def full(error: int = errno.ENOSPC) -> OSError:
    return OSError(error, os.strerror(error))


def test_appending(path: Path) -> None:
    """T13: a file is made, for its owner alone in a directory for its owner alone, and grows."""
    first = append(path, [ONE], None)
    second = append(path, [TWO, THREE], first)
    assert path.read_bytes() == ONE + b"\n" + TWO + b"\n" + THREE + b"\n"
    assert second == signature(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_appending_to_a_file_cut_anywhere(path: Path) -> None:
    """T5: at every byte offset: what a killed writer left of a line is taken off, a whole one ended."""
    whole = ONE + b"\n" + TWO + b"\n"
    path.parent.mkdir()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        append(path, [THREE], signature(path))
        kept = [line for line, end in ((ONE, len(ONE)), (TWO, len(whole) - 1)) if size >= end]
        assert path.read_bytes().splitlines() == [*kept, THREE]


def test_a_long_torn_line_is_taken_off(path: Path) -> None:
    """Longer than what is looked at first."""
    path.parent.mkdir()
    path.write_bytes(ONE + b"\n" + b'{"type":"' + b"x" * 100_000)
    append(path, [THREE], signature(path))
    assert path.read_bytes() == ONE + b"\n" + THREE + b"\n"


def test_what_cannot_be_written_whole_is_taken_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T5: the disk is full in the middle of a record: the file is as it was."""
    known = append(path, [ONE], None)
    write = os.write
    monkeypatch.setattr(os, "write", disk_of(5, write))
    with pytest.raises(OSError, match="No space left"):
        append(path, [TWO, THREE], known)
    assert path.read_bytes() == ONE + b"\n"
    monkeypatch.setattr(os, "write", write)
    append(path, [TWO], signature(path))
    assert list(read(path)) == [{"type": "1"}, {"type": "2"}]


def disk_of(size: int, write: object) -> object:
    """A ``write`` with room for so many bytes."""
    room = [size]

    def limited(file: int, text: bytes) -> int:
        if room[0] == 0:
            raise full()
        count = min(room[0], len(text))
        room[0] -= count
        return write(file, text[:count])  # type: ignore[operator]

    return limited


def test_a_write_may_take_several_calls(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short write is gone on with."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, text: write(file, text[:3]))
    append(path, [ONE, TWO], None)
    assert path.read_bytes() == ONE + b"\n" + TWO + b"\n"


@pytest.mark.parametrize("known", ["nothing", "old"])
def test_another_writer_is_noticed(path: Path, known: str) -> None:
    """T7: nothing is written to a file that is not the one that was known."""
    old = append(path, [ONE], None)
    append(path, [TWO], old)
    before = path.read_bytes()
    assert append(path, [THREE], None if known == "nothing" else old) is None
    assert known == "nothing" or replace(path, [THREE], old) is None
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["s.jsonl"]


def test_one_writer_at_a_time(path: Path) -> None:
    """T7: while one has the file, another is told to come again."""
    known = append(path, [ONE], None)
    with sole_writer(path):
        for change in (append, replace):
            with pytest.raises(BlockingIOError):
                change(path, [TWO], known)
    assert append(path, [TWO], known) is not None
    assert [each.name for each in path.parent.iterdir()] == ["s.jsonl"]


def test_replacing(path: Path) -> None:
    """A new file at once, for its owner alone; the old one can be read to its end."""
    known = append(path, [ONE, TWO], None)
    with path.open("rb") as old:
        assert replace(path, iter([THREE]), known) == signature(path)
        assert old.read() == ONE + b"\n" + TWO + b"\n"
    assert path.read_bytes() == THREE + b"\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["s.jsonl"]


def test_replacing_nothing(path: Path) -> None:
    """Where there was no file."""
    assert replace(path, [ONE], None) == signature(path)


@pytest.mark.parametrize("failing", ["write", "fsync", "replace", "open"])
def test_a_failed_replacement_leaves_no_trace(
    path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """T5: disk full, permission, whatever: the old file is intact, no temporary one is left."""
    known = append(path, [ONE], None)

    def fail(*_: object, **__: object) -> None:
        raise full()

    def lines() -> Iterator[bytes]:
        yield TWO
        if failing == "write":
            raise full()

    if failing != "write":
        monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="No space left"):
        replace(path, lines(), known)
    monkeypatch.undo()
    assert path.read_bytes() == ONE + b"\n"
    assert [each.name for each in path.parent.iterdir()] == ["s.jsonl"]


def test_the_sweep_takes_old_temporary_files_of_ours(tmp_path: Path) -> None:
    """T9: by name and by age; all others survive."""
    old, young = (tmp_path / f"{name}{TEMPORARY}" for name in ("a", "b"))
    foreign, transcript = tmp_path / "foreign.tmp", tmp_path / "s.jsonl"
    for each in (old, young, foreign, transcript):
        each.write_bytes(b"x")
    for each in (old, foreign, transcript):
        os.utime(each, (0, 0))
    assert sweep(tmp_path) == 1
    assert sorted(tmp_path.iterdir()) == sorted([young, foreign, transcript])
    assert sweep(tmp_path / "absent") == 0


def test_directories_that_exist_keep_their_mode(path: Path) -> None:
    """They are the user's."""
    path.parent.mkdir(mode=0o755)
    files.make_directory(path.parent)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
