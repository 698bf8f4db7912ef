"""``watch`` as a person has it: a process in a terminal, keys typed, the screen read back."""

import gzip
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from terminal import Terminal

ROOT = Path(__file__).parents[2]
RECORDINGS = ROOT / "tests/recordings"
SUBAGENTS = RECORDINGS / "subagents.jsonl.gz"
TITLES = ["Survey this project with", "Survey source files", "Count the SKU rows", "Write a change note"]

Watch = Callable[..., Terminal]


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Start ``sessionstreams watch`` in a terminal of its own."""
    started: list[Terminal] = []

    def watch(*arguments: str | Path, python: tuple[str, ...] = (), **options: Any) -> Terminal:
        without = {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"}
        environment = {name: value for name, value in os.environ.items() if name not in without}
        environment |= {"PYTHONPATH": str(ROOT), "TERM": options.pop("term", "xterm-256color")}
        environment |= {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}
        command = [sys.executable, *(python or ("-m", "streams.cli")), "watch", *map(str, arguments)]
        terminal = Terminal(command, environment, **options)
        started.append(terminal)
        return terminal

    yield watch
    for terminal in started:
        terminal.close()


@pytest.fixture
def watched(watch: Watch) -> Watch:
    """Watch a recording that comes through a pipe, which stays open: it is not over until a key says so."""

    def watched(recording: str = "subagents", *arguments: str, **options: Any) -> Terminal:
        source, sink = os.pipe()
        terminal = watch("-", "--speed", "0", *arguments, stdin=source, **options)
        os.close(source)
        data = gzip.decompress((RECORDINGS / f"{recording}.jsonl.gz").read_bytes())
        writer = threading.Thread(target=_write, args=(sink, data, terminal), daemon=True)
        writer.start()
        return terminal

    return watched


def _write(sink: int, data: bytes, terminal: Terminal) -> None:
    try:
        while data:
            data = data[os.write(sink, data) :]
        terminal.process.wait()  # the pipe stays open until then
    except BrokenPipeError:
        return
    finally:
        os.close(sink)


def given_back(terminal: Terminal) -> None:
    """The first page, the cursor, and keys that are echoed."""
    assert not terminal.in_view
    assert not terminal.cursor_hidden
    assert terminal.modes == terminal.before


def row(terminal: Terminal, title: str) -> str:
    (found,) = (line for line in terminal.lines if title in line)
    return found


SIZES = pytest.mark.parametrize(("columns", "lines"), [(80, 24), (120, 40)])


@SIZES
def test_a_real_recording_is_seen(watched: Watch, columns: int, lines: int) -> None:
    """Sessions as a family with tools and states; within the screen, to its last line."""
    terminal = watched("subagents", columns=columns, lines=lines)
    terminal.until("297 events", "q quit  ? keys", lambda text: text.count("completed") >= 3)
    assert terminal.in_view
    assert terminal.lines[2].split() == ["session", "context", "tokens/limit", "tools", "status", "last"]
    assert [title for title in TITLES if any(title in line for line in terminal.lines)] == TITLES
    assert "  Survey source files" in row(terminal, TITLES[1])
    assert terminal.modes != terminal.before


@SIZES
def test_each_key(watched: Watch, columns: int, lines: int) -> None:
    """Select, open, go on to the next, back, filter, sort, help, pause, quit: the screen says so each time."""
    terminal = watched("subagents", columns=columns, lines=lines)
    terminal.until("297 events", lambda text: text.count("completed") >= 3)
    terminal.press("\x1b[B")
    terminal.until("> Survey this project")
    terminal.press("j")
    terminal.until(">   Survey source files")
    terminal.press("\r")
    shown = terminal.until("tool log", "transcript", "of Survey this project", "Esc back")
    assert re.search(r"completed +glob", shown)
    assert re.search(r"^(agent|tool|user) ", shown, re.MULTILINE)
    terminal.press("j")
    terminal.until(lambda text: text.startswith("Count the SKU rows"))
    terminal.press("\x1b")
    terminal.until(">   Count the SKU rows", "tokens/limit")
    terminal.press("\x1b")
    terminal.until(lambda text: "> " not in text)
    terminal.press("/")
    terminal.until("/_")
    terminal.press("NOTE")
    terminal.until("/NOTE_", lambda text: "SKU" not in text, "3 filtered out")
    terminal.press("\r")
    terminal.until(lambda text: text.startswith("/NOTE  standard input"))
    terminal.press("\x1b")
    terminal.until("SKU")
    for sort in ("by fullest", "by tools", "by title"):
        terminal.press("s")
        terminal.until(sort)
    by_title = ["Count", "Survey", "Survey", "Write"]
    terminal.until(lambda text: [line.split()[0] for line in text.splitlines()[3:7]] == by_title)
    terminal.press("?")
    terminal.until("q quit  space pause  s sort  / filter")
    terminal.press(" ")
    terminal.until("PAUSED")
    terminal.press("q")
    assert terminal.end() == 0
    terminal.until("standard input: 297 events of 4 sessions", ", interrupted")
    given_back(terminal)


def test_a_resize_in_between(watched: Watch) -> None:
    """Smaller, larger, smaller: each time the picture fits, and no rest of another size is left."""
    terminal = watched("many")
    terminal.until("q quit  ? keys")
    for columns, lines in ((120, 40), (60, 12), (80, 24)):
        terminal.resize(columns, lines)
        head = r"session +context +tokens/limit" + (r" tools" if columns >= 80 else "")
        widths = (columns - 1, columns)

        def fits(
            text: str, head: str = head, widths: tuple[int, int] = widths, lines: int = lines
        ) -> bool:
            drawn = text.splitlines()
            last = next((line for line in drawn if line.endswith(" last")), "")
            return bool(re.search(head, text)) and len(last) in widths and text.count("q quit") == 1

        terminal.until(fits)
        assert len(terminal.lines) == lines
    terminal.press("q")
    assert terminal.end() == 0
    given_back(terminal)


def test_paused_the_stream_goes_on_and_the_picture_stands(watch: Watch) -> None:
    """What came meanwhile is there when it goes on."""
    source, sink = os.pipe()
    terminal = watch("-", "--speed", "0", stdin=source)
    os.close(source)
    every = gzip.decompress(SUBAGENTS.read_bytes()).splitlines(keepends=True)
    os.write(sink, b"".join(every[:20]))
    terminal.until("20 events")
    terminal.press(" ")
    terminal.until("PAUSED", "20 events")
    for line in every[20:]:
        os.write(sink, line)
    terminal.press("j")  # drawn anew, from the same moment
    terminal.until("> ", "PAUSED", "20 events")
    terminal.press(" ")
    terminal.until("297 events", lambda text: "PAUSED" not in text)
    os.close(sink)
    assert terminal.end() == 0
    terminal.until("standard input: 297 events of 4 sessions")
    given_back(terminal)


@pytest.mark.parametrize("way", ["q", "\x03", "SIGTERM", "SIGINT"])
def test_the_terminal_is_given_back(watched: Watch, way: str) -> None:
    """By a key, by Ctrl-C, by a signal: cursor, page, echo, and the summary below what was there."""
    terminal = watched("subagents")
    terminal.until("297 events")
    if way in ("SIGTERM", "SIGINT"):
        terminal.process.send_signal(signal.Signals[way])
    else:
        terminal.press(way)
    assert terminal.end() == 0
    terminal.until("standard input: 297 events of 4 sessions", ", interrupted")
    given_back(terminal)


def test_it_is_given_back_after_an_exception(watched: Watch) -> None:
    """A bug of ours ends it with a traceback that can be read."""
    code = (
        "from streams.watch import screen\n"
        "def broken(*arguments): raise RuntimeError('a bug')\n"
        "screen.detail = broken\n"
        "from streams.cli import main; main()"
    )
    terminal = watched("subagents", python=("-c", code))
    terminal.until("297 events")
    terminal.press("j\r")
    assert terminal.end() == 1
    terminal.until("RuntimeError: a bug")
    given_back(terminal)


def test_keys_come_from_standard_input_where_that_is_the_terminal(watch: Watch) -> None:
    """A file is watched at the speed it was recorded with; q ends it long before."""
    terminal = watch(SUBAGENTS, "--speed", "0.001")
    terminal.until("subagents.jsonl.gz", "q quit")
    terminal.press("q")
    assert terminal.end() == 0
    terminal.until("interrupted")
    given_back(terminal)


def test_a_dumb_terminal_gets_the_summary_alone(watch: Watch) -> None:
    """No cursor movement, no keys: plain lines, as far as a dumb terminal goes."""
    terminal = watch(SUBAGENTS, "--speed", "0", term="dumb")
    assert terminal.end() == 0
    terminal.until("subagents.jsonl.gz: 297 events of 4 sessions", "values: ")
    given_back(terminal)
