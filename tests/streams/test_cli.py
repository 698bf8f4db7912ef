"""The command as a user runs it: a process of its own, its output, its exit status."""

import json
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams import cli, commands, recordings
from streams.events import SessionEvent
from streams.opencode import wire
from streams.testing import assistant, created

ROOT = Path(__file__).parents[2]
COMPACTION = ROOT / "tests/recordings/compaction.jsonl.gz"
LIMIT = ("--limit", "acme/kestrel-tight=32000")
SECONDS = 5

Run = Callable[..., subprocess.CompletedProcess[bytes]]
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def recorded_at(tmp_path: Path) -> Callable[..., Path]:
    """A recording of these ``(seconds, event)``."""

    def write(*timed: tuple[float, SessionEvent]) -> Path:
        path = tmp_path / "made.jsonl"
        lines = (
            b'{"at":%d,"event":%s}\n' % (at, wire.encode(msgspec.structs.replace(event, at=float(at))))
            for at, event in timed
        )
        path.write_bytes(b"".join(lines))
        return path

    return write


def lines_of(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


# --- JSON lines -----------------------------------------------------------------------------------


def test_json_prints_a_line_per_value_and_the_summary_last(run: Run) -> None:
    """One line per derived value with operator, time and fields; the last line sums up."""
    done = run("watch", COMPACTION, "--json", *LIMIT)
    lines = lines_of(done.stdout)
    assert (done.returncode, done.stderr) == (0, b"")
    assert all(list(line) == ["operator", "at", "value"] for line in lines)
    assert [(line["value"]["tokens"], line["value"]["ratio"]) for line in lines[:2]] == [
        (6060, 0.189375),
        (9260, 0.289375),
    ]
    assert {line["operator"] for line in lines[:-1]} == {
        "context_usage",
        "context_warnings",
        "compaction_triggers",
    }
    summary = lines[-1]["value"]
    assert lines[-1]["operator"] == "summary"
    assert summary["values"] == {
        "context_usage": 18,
        "context_warnings": 2,
        "compaction_triggers": 1,
        "task_progress": 0,
        "todo_progress": 0,
        "stalls": 0,
        "tool_loops": 0,
    }
    assert (summary["events"], summary["outcome"]) == (413, "completed")
    assert summary["by_session"][0]["compactions"] == 2
    assert summary["by_session"][0]["ratio"] == 29700 / 32000


def test_json_is_the_same_bytes_every_time(run: Run) -> None:
    """Virtual time: a recording gives the same bytes twice, from a file, plain, or standard input."""
    path = ROOT / "tests/recordings/many.jsonl.gz"
    first, second = (run("watch", path, "--json") for _ in range(2))
    piped = run("watch", "-", given=path.read_bytes())
    assert len(first.stdout.splitlines()) > 200
    assert first.stdout == second.stdout == piped.stdout


def test_without_a_terminal_json_is_the_default(run: Run) -> None:
    """A pipe gets lines for programs, at full speed."""
    assert run("watch", COMPACTION).stdout == run("watch", COMPACTION, "--json", "--speed", "0").stdout


def test_threshold_moves_the_trigger_and_the_warning_stays_before_it(run: Run) -> None:
    """A threshold below 0.70 warns no later than it triggers."""
    lines = lines_of(run("watch", COMPACTION, "--json", *LIMIT, "--threshold", "0.5").stdout)
    told = [(line["operator"], line["value"]["tokens"]) for line in lines[:-1] if line["at"] < 1795395512]
    assert [each for each in told if each[0] != "context_usage"] == [
        ("context_warnings", 16160),
        ("compaction_triggers", 16160),
    ]


def test_a_torn_last_line_is_counted(run: Run, recorded_at: Callable[..., Path]) -> None:
    """A recording whose writer was killed is watched to where it is whole, and says so."""
    path = recorded_at((1, created("s")), (2, assistant("s", "m", input=10, created=1)))
    with path.open("ab") as file:
        file.write(b'{"at":3,"eve')
    done = run("watch", path)
    summary = lines_of(done.stdout)[-1]["value"]
    assert (done.returncode, summary["torn"], summary["events"]) == (0, 1, 2)


def test_an_empty_recording_has_an_empty_summary(run: Run, tmp_path: Path) -> None:
    """A recording that has only just begun is no error."""
    path = tmp_path / "empty.jsonl"
    path.touch()
    done = run("watch", path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [line["operator"] for line in lines_of(done.stdout)] == ["summary"]


# --- how it ends ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_ctrl_c_ends_it_at_once_with_the_summary(
    start: Start, recorded_at: Callable[..., Path], name: str
) -> None:
    """In the middle of a replay as recorded, hours from its end: a clean end, and no traceback."""
    path = recorded_at(
        (100, assistant("s", "m1", input=10, created=1)),
        (9_999, assistant("s", "m2", input=20, created=2)),
    )
    process = start("watch", path, "--json", "--speed", "1")
    first = process.stdout.readline()
    process.send_signal(signal.Signals[name])
    out, err = process.communicate(timeout=SECONDS)
    (summary,) = lines_of(out)
    assert json.loads(first)["value"]["tokens"] == 10
    assert (process.returncode, err, summary["value"]["outcome"]) == (0, b"", "interrupted")


@pytest.mark.parametrize("speed", ["0", "1"])
def test_ctrl_c_ends_it_while_standard_input_is_silent(
    start: Start, recorded_at: Callable[..., Path], speed: str
) -> None:
    """A thread that waits in a read of standard input holds nothing that the process's end needs."""
    path = recorded_at((100, assistant("s", "m1", input=10, created=1)))
    process = start("watch", "-", "--speed", speed, stdin=subprocess.PIPE)
    process.stdin.write(path.read_bytes())
    process.stdin.flush()
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.wait(timeout=SECONDS)
    assert lines_of(process.stdout.read())[-1]["value"]["events"] == 1
    assert (process.returncode, process.stderr.read()) == (0, b"")


def test_a_reader_that_leaves_ends_it_quietly(start: Start) -> None:
    """``| head -1``. In development mode Python tells of errors that closing a file meets."""
    code = "from streams.cli import main; main()"
    recording = ROOT / "tests/recordings/many.jsonl.gz"
    process = start("watch", recording, python=("-X", "dev", "-c", code))
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=SECONDS) == 0
    assert process.stderr.read() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_in_one_line(run: Run) -> None:
    """Writing that fails ends it with status 1: what was derived did not arrive."""
    with Path("/dev/full").open("wb") as full:
        done = run("watch", COMPACTION, stdout=full)
    assert done.returncode == 1
    assert done.stderr == b"sessionstreams: standard output: No space left on device\n"


# --- what is refused ------------------------------------------------------------------------------

REFUSED = [
    (("watch", "missing.jsonl"), "missing.jsonl: No such file or directory"),
    (("watch", "tests"), "tests: Is a directory"),
    (("watch", "LICENSE"), "LICENSE is no recording: its first line is not"),
    (("watch", COMPACTION, "--bogus"), "No such option: --bogus"),
    (("watch",), "Missing argument 'SOURCE'"),
    (("watch", COMPACTION, "--speed", "-1"), "speed must be 0 (virtual time) or more, got -1.0"),
    (("watch", COMPACTION, "--speed", "nan"), "speed must be 0 (virtual time) or more, got nan"),
    (("watch", COMPACTION, "--speed", "fast"), "Invalid value for '--speed'"),
    (("watch", COMPACTION, "--limit", "acme=lots"), "limit must be PROVIDER/MODEL=N, N tokens, got"),
    (("watch", COMPACTION, "--limit", "a/b=0"), "limit of 'a/b' must be a positive number of tokens"),
    (("watch", COMPACTION, "--threshold", "78"), "threshold must be a fraction above 0 and at most 1"),
    (("record", "missing.jsonl", "copy.jsonl"), "missing.jsonl: No such file or directory"),
    (("record", COMPACTION, "copy.gz"), "path must not end in .gz"),
    (("bogus",), "No such command 'bogus'"),
]


@pytest.mark.parametrize(("arguments", "told"), REFUSED, ids=lambda each: str(each)[:40])
def test_what_cannot_be_done_is_told_in_one_line(
    arguments: tuple[str, ...],
    told: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wrong argument or file: one line that names it on stderr, status 2, nothing on stdout."""
    monkeypatch.chdir(ROOT)
    status = commands.run([str(each) for each in arguments])
    out, err = capfd.readouterr()
    assert (status, out) == (2, "")
    assert err.startswith(f"sessionstreams: {told}")
    assert err.count("\n") == 1


def test_a_process_refuses_with_status_2(run: Run) -> None:
    """The same, as the shell sees it."""
    done = run("watch", "missing.jsonl", "--json")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"sessionstreams: missing.jsonl: No such file or directory\n"


def test_a_bug_is_no_wrong_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what the user gave is told in one line; an error of ours keeps its traceback."""

    class Broken:
        def __init__(self, *_: object, **__: object) -> None:
            raise ValueError("ours")

    monkeypatch.setattr(commands, "Watching", Broken)
    with pytest.raises(ValueError, match="ours"):
        commands.run(["watch", str(COMPACTION), "--json"])


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_says_how_to_install_it(run: Run, missing: str) -> None:
    """The libraries of the command line are optional: one line, status 2."""
    code = f"import sys; sys.modules[{missing!r}] = None; from streams.cli import main; main()"
    done = run(python=("-c", code))
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"sessionstreams: the command line needs: pip install 'sessionstreams[cli]'\n"


def test_another_missing_module_is_not_blamed_on_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error of ours is not hidden behind advice."""
    monkeypatch.delitem(sys.modules, "streams.commands")
    monkeypatch.setitem(sys.modules, "streams.watch.lines", None)
    with pytest.raises(ModuleNotFoundError, match=r"streams\.watch\.lines"):
        cli.main()


# --- in a terminal --------------------------------------------------------------------------------


@pytest.fixture
def terminal() -> Any:
    """Both ends of a terminal of 80 by 24."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    yield ours, theirs
    os.close(ours)


def read_until_closed(terminal: int) -> str:
    shown = b""
    while True:
        try:
            some = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other end is closed
            some = b""
        if not some:
            return shown.decode()
        shown += some


def test_a_terminal_gets_the_view_and_keeps_the_summary(start: Start, terminal: Any) -> None:
    """The last thing on the screen is the summary, not JSON, and the cursor is back."""
    ours, theirs = terminal
    process = start("watch", COMPACTION, "--speed", "0", *LIMIT, stdout=theirs, stdin=theirs)
    os.close(theirs)
    shown = read_until_closed(ours)
    assert process.wait(timeout=SECONDS) == 0
    assert "compaction.jsonl.gz: 413 events of 1 session in 14.5 s" in shown
    assert "Through every file report" in shown
    assert '"operator"' not in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h")


def test_ctrl_c_in_a_terminal_leaves_the_summary(
    start: Start, terminal: Any, recorded_at: Callable[..., Path]
) -> None:
    """What was known until then stays on the screen."""
    ours, theirs = terminal
    path = recorded_at(
        (100, created("s", title="long talk")),
        (100, assistant("s", "m1", input=156_000, created=1)),
        (9_999, created("t")),
    )
    arguments = ("watch", path, "--limit", "anthropic/x=200000")
    process = start(*arguments, stdout=theirs, stdin=theirs)
    os.close(theirs)
    shown = b""
    while b"78.0 %" not in shown:
        shown += os.read(ours, 65536)
    process.send_signal(signal.SIGINT)
    rest = read_until_closed(ours)
    assert process.wait(timeout=SECONDS) == 0
    assert "made.jsonl: 2 events of 1 session in 0.0 s, interrupted" in rest
    assert "\x1b[?25h" in rest
    assert process.stderr.read() == b""


# --- the rest -------------------------------------------------------------------------------------


def test_record_copies_every_event(run: Run, tmp_path: Path) -> None:
    """Recording a recording gives the same events; a second time appends."""
    path = tmp_path / "copy.jsonl"
    done = run("record", COMPACTION, path)
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr == f"413 events written to {path}\n".encode()
    assert list(recordings.read(path)) == list(recordings.read(COMPACTION))
    assert run("record", COMPACTION, path).returncode == 0
    assert len(list(recordings.read(path))) == 2 * 413


def test_record_refuses_to_read_what_it_writes(run: Run, tmp_path: Path) -> None:
    """A recording appended to itself would never end."""
    path = tmp_path / "copy.jsonl"
    path.write_bytes(b'{"at":1,"event":{}}\n')
    done = run("record", path, path)
    assert done.returncode == 2
    assert done.stderr == f"sessionstreams: {path} cannot be recorded into itself\n".encode()


def test_record_leaves_no_file_of_what_is_no_recording(run: Run, tmp_path: Path) -> None:
    """What could not be read has nothing to be kept."""
    path = tmp_path / "copy.jsonl"
    done = run("record", "LICENSE", path)
    assert (done.returncode, path.exists()) == (2, False)
    assert done.stderr.startswith(b"sessionstreams: LICENSE is no recording")


def test_ctrl_c_ends_a_recording(start: Start, recorded_at: Callable[..., Path], tmp_path: Path) -> None:
    """What came until then is in the file."""
    source, path = recorded_at((100, created("s"))), tmp_path / "copy.jsonl"
    process = start("record", "-", path, stdin=subprocess.PIPE)
    process.stdin.write(source.read_bytes())
    process.stdin.flush()
    while not (path.exists() and path.stat().st_size):
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    process.wait(timeout=SECONDS)
    assert (process.returncode, process.stderr.read()) == (
        0,
        f"1 event written to {path}\n".encode(),
    )


def test_version(run: Run) -> None:
    """``--version`` names the program and its version."""
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"sessionstreams 0")


@pytest.mark.parametrize("arguments", [(), ("--help",), ("watch", "-h")])
def test_help(arguments: tuple[str, ...], run: Run) -> None:
    """Nothing asked is a question for help."""
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Usage: sessionstreams" in done.stdout
