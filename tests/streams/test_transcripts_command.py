"""``sessionstreams transcripts``: a recording's transcripts, as files."""

import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from streams import TranscriptStore, commands, transcripts


class Result(NamedTuple):
    exit_code: int
    stdout: str
    stderr: str


def run(*arguments: object) -> Result:
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        status = commands.run(["transcripts", *map(str, arguments)])
    return Result(status, out.getvalue(), err.getvalue())


@pytest.mark.parametrize("name", ["claude", "messages"])
def test_every_session_is_written(recorded_truth: Any, tmp_path: Path, name: Any) -> None:
    """A line per session written; the files say what the server says. Where the recording has a gap,
    nobody can be asked."""
    done = run(recorded_truth.path, "--out", tmp_path, "--format", name)
    assert (done.exit_code, done.stderr) == (0, "")
    store = TranscriptStore(tmp_path, format=name)
    lines = [line.split("  ") for line in done.stdout.splitlines()]
    files = {str(path) for path in tmp_path.iterdir()}
    assert {path for *_, path in lines} == files
    assert [session_id for session_id, *_ in lines] == sorted(session_id for session_id, *_ in lines)
    for session_id, records, size, path in lines:
        assert records == f"{len(list(transcripts.read(path)))} records"
        assert size == f"{Path(path).stat().st_size} bytes"
        assert store.path(session_id) == Path(path)
    if name == "messages" and str(recorded_truth) not in ("restart", "abort"):
        for session_id, messages in recorded_truth.truth["messages"].items():
            if messages:
                assert list(transcripts.read(store.path(session_id))) == messages


def test_a_gap_is_all_that_is_missing(recording_of: Any, tmp_path: Path) -> None:
    """``restart``: three messages that came while the client itself was away."""
    recorded = recording_of("restart")
    run(recorded.path, "--out", tmp_path, "--format", "messages")
    session_id, messages = max(recorded.truth["messages"].items(), key=lambda each: len(each[1]))
    stored = list(transcripts.read(TranscriptStore(tmp_path, format="messages").path(session_id)))
    missed = [message for message in messages if message not in stored]
    assert [message for message in messages if message in stored] == stored
    assert len(missed) == 3


def test_standard_input(recording_of: Any, tmp_path: Path) -> None:
    """``-``, which tells nobody how long it is."""
    program = [sys.executable, "-m", "streams.cli", "transcripts", "-", "--out", str(tmp_path)]
    with recording_of("basic").path.open("rb") as piped:
        subprocess.run(program, stdin=piped, check=True)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_progress_bar_on_a_terminal(
    recording_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On standard error, so that what is written can be piped on."""
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "100", "NO_COLOR": ""}.items():
        monkeypatch.setenv(name, value)
    done = run(recording_of("basic").path, "--out", tmp_path)
    assert "117/117" in done.stderr
    assert "━" not in done.stdout


def test_a_cap(recording_of: Any, tmp_path: Path) -> None:
    """Of what a call says."""
    run(recording_of("long").path, "--out", tmp_path, "--cap", 1024)
    assert "characters cut]" in next(tmp_path.iterdir()).read_text(encoding="utf-8")


def test_twice_is_once(recording_of: Any, tmp_path: Path) -> None:
    """What is there already is gone on with."""
    first = run(recording_of("todos").path, "--out", tmp_path)
    again = run(recording_of("todos").path, "--out", tmp_path)
    assert first.stdout == again.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl: No such file or directory"),
        ([__file__], "is no recording"),
        ([__file__, "--cap", "7"], "cap must be a whole number of at least 1024"),
        ([__file__, "--format", "xml"], "xml"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    tmp_path: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback, status 2, nothing made."""
    monkeypatch.setenv("TERMINAL_WIDTH", "400")
    out = tmp_path / "out"
    done = run(*arguments, "--out", out)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert not out.exists()


def test_a_disk_that_fails(recording_of: Any, tmp_path: Path) -> None:
    """Told per session, status 1."""
    (tmp_path / "file").write_text("")
    done = run(recording_of("basic").path, "--out", tmp_path / "file")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("sessionstreams: transcript ses_")
    assert "NotADirectoryError" in done.stderr


def test_a_torn_recording(recording_of: Any, tmp_path: Path) -> None:
    """What can be read is written."""
    torn = tmp_path / "torn.jsonl.gz"
    torn.write_bytes(recording_of("tools").path.read_bytes()[:-500])
    done = run(torn, "--out", tmp_path / "out")
    assert done.exit_code == 0
    (stored,) = (transcripts.read(path) for path in (tmp_path / "out").iterdir())
    assert all(json.dumps(record) for record in stored)
