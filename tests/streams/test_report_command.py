"""``sessionstreams report``: a recording as one page, and one clear line where that cannot be."""

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streams import commands

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run ``sessionstreams report`` with these arguments: its status, and what it said."""

    def run(*arguments: object) -> tuple[int, str]:
        status = commands.run(["report", *map(str, arguments)])
        out, err = capfd.readouterr()
        assert out == ""
        return status, err

    return run


def test_a_page_is_written(run: Run, recording_of: Any, tmp_path: Path) -> None:
    """One line on standard error says where; what was there is replaced."""
    page = tmp_path / "report.html"
    page.write_text("old")
    assert run(recording_of("subagents").path, "-o", page) == (0, f"written to {page}\n")
    text = page.read_text("utf-8")
    assert text.startswith("<!doctype html>")
    assert "<h1>subagents.jsonl.gz</h1>" in text
    assert text.count("subagent)</h3>") == 3


def test_limits_and_threshold_are_given(run: Run, recording_of: Any, tmp_path: Path) -> None:
    """As for ``watch``."""
    page = tmp_path / "report.html"
    arguments = ("--limit", "acme/kestrel-tight=32000", "--threshold", "0.9")
    run(recording_of("compaction").path, "-o", page, *arguments)
    text = page.read_text("utf-8")
    assert "limit 32,000" in text
    assert "90.0 % full or more" in text


def test_standard_input(recording_of: Any, tmp_path: Path) -> None:
    """``-``, plain or gzipped."""
    page = tmp_path / "report.html"
    program = [sys.executable, "-m", "streams.cli", "report", "-", "-o", str(page)]
    with recording_of("basic").path.open("rb") as piped:
        subprocess.run(program, stdin=piped, check=True)
    assert "<h1>standard input</h1>" in page.read_text("utf-8")


def test_an_empty_recording(run: Run, tmp_path: Path) -> None:
    """A page that says so."""
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes(b"")
    page = tmp_path / "report.html"
    assert run(empty, "-o", page)[0] == 0
    assert "The recording has no events." in page.read_text("utf-8")


def test_a_torn_recording(run: Run, recording_of: Any, tmp_path: Path) -> None:
    """What can be read is in the report."""
    torn = tmp_path / "torn.jsonl.gz"
    torn.write_bytes(recording_of("tools").path.read_bytes()[:-500])
    page = tmp_path / "report.html"
    assert run(torn, "-o", page)[0] == 0
    assert "Tool calls" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl: No such file or directory"),
        ([__file__], f'{__file__} is no recording: its first line is not {{"at": …, "event": …}}'),
        ([__file__, "--limit", "x"], "limit must be PROVIDER/MODEL=N, N tokens, got 'x'"),
        ([__file__, "--threshold", "7"], "threshold must be"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    run: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    """No traceback, status 2, no file."""
    page = tmp_path / "report.html"
    status, said = run(*arguments, "-o", page)
    assert status == 2
    assert said.startswith(f"sessionstreams: {message}")
    assert said.count("\n") == 1
    assert not page.exists()


def test_a_page_that_cannot_be_written(run: Run, recording_of: Any, tmp_path: Path) -> None:
    """Told by its name, in one line."""
    page = tmp_path / "nowhere" / "report.html"
    assert run(recording_of("basic").path, "-o", page) == (
        2,
        f"sessionstreams: {page}: No such file or directory\n",
    )


def test_a_recording_is_never_replaced(run: Run, recording_of: Any, tmp_path: Path) -> None:
    """By its own report, whatever name it is given by."""
    recording = tmp_path / "talk.jsonl"
    content = gzip.decompress(recording_of("basic").path.read_bytes())
    recording.write_bytes(content)
    (tmp_path / "link.jsonl").symlink_to(recording)
    status, said = run(recording, "-o", tmp_path / "link.jsonl")
    assert status == 2
    assert "cannot be replaced by its report" in said
    assert recording.read_bytes() == content
