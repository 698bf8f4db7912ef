"""What the live view and the closing one are made of: pure functions to things rich can print.

Nothing is said by colour alone: a bar has its percent beside it, and ``!`` marks a session above the
warning threshold, ``!!`` one that should be compacted.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from rich.table import Table
from rich.text import Text

from operators import ContextUsage
from streams.watch.board import Board, SessionRow
from streams.watch.connection import Connection
from streams.watch.derivations import warning_threshold
from streams.watch.notes import Kind, Note
from streams.watch.words import counted, one_line, percent, tokens_of_limit

__all__ = [
    "Look",
    "add_gauge_columns",
    "bar",
    "bar_length",
    "connection",
    "gauge",
    "happened",
    "missing",
    "name",
    "table",
]

STYLES: Final[dict[Kind, str]] = {
    "compact": "bold cyan",
    "compacted": "cyan",
    "done": "green",
    "error": "bold red",
    "fault": "bold red",
    "gap": "magenta",
    "loop": "bold red",
    "resumed": "green",
    "stall": "bold yellow",
    "trigger": "bold magenta",
    "warning": "yellow",
}

SHORTEST_BAR: Final = 8
LONGEST_BAR: Final = 24


class Look(msgspec.Struct, frozen=True):
    """What is shown must fit this, and says this of the run as a whole.

    Attributes:
        name: What is watched.
        threshold: Fraction at which a session should be compacted.
        width: Characters a line.
        height: Lines of the terminal.
        ascii_only: Draw with ``#`` and ``-`` instead of blocks.
    """

    name: str
    threshold: float
    width: int = 80
    height: int = 24
    ascii_only: bool = False


def table(*, head: bool = True) -> Table:
    """A table without lines, as wide as the terminal."""
    return Table(
        box=None, expand=True, padding=(0, 1, 0, 0), pad_edge=False, show_header=head, header_style="dim"
    )


def name(depth: int, row: SessionRow) -> Text:
    """A session's title, indented by its depth."""
    return Text("  " * depth + (row.title or one_line(row.session_id)))


def connection(connection: Connection) -> Text:
    """How the connection to the server is doing, and what was missed."""
    if connection.status == "connected":
        said = Text("connected", "green", no_wrap=True, overflow="ellipsis")
    else:
        attempt = f", attempt {connection.attempt}" if connection.attempt > 1 else ""
        error = f": {one_line(connection.error)}" if connection.error else ""
        said = Text(f"{connection.status}{attempt}{error}", "bold red", no_wrap=True, overflow="ellipsis")
    missed = missing(connection)
    return said.append(f"   {missed}", "not bold yellow") if missed else said


def missing(connection: Connection) -> str:
    """What was missed, resumed, lost and dropped; empty for a connection that held."""
    counts = {
        "resumed": connection.resumed,
        "lost": connection.lost,
        "dropped": connection.dropped,
    }
    said = [counted(connection.gaps, "gap")] if connection.gaps else []
    return ", ".join([*said, *(f"{count:,} {what}" for what, count in counts.items() if count)])


def tools(row: SessionRow) -> str:
    """How many tools were called, and the last one."""
    overview = row.overview
    if overview is None or not overview.tool_calls:
        return ""
    return f"{overview.tool_calls} {one_line(overview.last_tool)}"


def todos(row: SessionRow) -> str:
    """How many todos are closed, of how many."""
    overview = row.overview
    return f"{overview.todos_closed}/{overview.todos}" if overview is not None and overview.todos else ""


def status(row: SessionRow) -> str:
    """A task that ended says how; one that a human must answer says so; else what the agent said last."""
    state = row.task.state if row.task is not None else ""
    if row.gone or state not in ("waiting", "completed", "aborted", "failed"):
        return row.status
    return state


def bar(ratio: float, length: int, *, ascii_only: bool = False) -> str:
    """A fraction as so many characters; above 1 it is full, and only 0 is empty."""
    filled = min(length, max(1 if ratio > 0 else 0, round(ratio * length)))
    full, empty = ("#", "-") if ascii_only else ("█", "░")
    return full * filled + empty * (length - filled)


def bar_length(room: int) -> int:
    """Half of the characters that bars share with titles; 0 when that is too little for a bar."""
    return 0 if room < 2 * SHORTEST_BAR else min(LONGEST_BAR, room // 2)


def add_gauge_columns(into: Table, title: str, length: int) -> None:
    """The columns of ``gauge``, wide enough from the start: columns that grow make the eye jump."""
    if length:
        into.add_column(title, no_wrap=True, min_width=length)
    into.add_column("" if length else title, justify="right", no_wrap=True, min_width=7)
    into.add_column("", no_wrap=True, min_width=2)
    into.add_column("tokens/limit", justify="right", no_wrap=True, min_width=13)


def gauge(usage: ContextUsage | None, length: int, look: Look) -> list[Text]:
    """A context window as cells: a bar (without a length none), its percent, its mark, its tokens."""
    tokens = Text(
        "" if usage is None or usage.tokens is None else tokens_of_limit(usage.tokens, usage.limit)
    )
    if usage is None or usage.ratio is None:
        said = Text(_without_ratio(usage, "limit unknown" if length else "limit ?"), "dim")
        return [said, Text(), Text(), tokens] if length else [said, Text(), tokens]
    style, mark = _level(usage.ratio, look.threshold)
    drawn = bar(usage.ratio, length, ascii_only=look.ascii_only)
    cells = [Text(drawn, style), Text(percent(usage.ratio)), Text(mark), tokens]
    return cells if length else cells[1:]


def _without_ratio(usage: ContextUsage | None, limit_unknown: str) -> str:
    """Why there is no percent: nothing was measured yet, or not since a compaction, or by no limit."""
    if usage is None:
        return ""
    return "unknown" if usage.tokens is None else limit_unknown


def _level(ratio: float, threshold: float) -> tuple[str, str]:
    """How full is too full, as colour and as characters."""
    if ratio >= threshold:
        return "bold magenta", "!!"
    if ratio >= warning_threshold(threshold):
        return "yellow", "!"
    return "cyan", ""


def happened(notes: Sequence[Note], board: Board, look: Look) -> Table:
    """Notes as lines: when, what, to which session, and the rest."""
    lines = table(head=False)
    lines.add_column(justify="right", no_wrap=True, min_width=7, style="dim")
    lines.add_column(no_wrap=True, min_width=9)
    lines.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    lines.add_column(no_wrap=True, overflow="ellipsis", max_width=max(20, look.width - 38))
    for note in notes:
        row = board.rows.get(note.session_id)
        session = Text(one_line(note.session_id)) if row is None else name(0, row)
        kind = Text(note.kind, STYLES[note.kind])
        lines.add_row(f"{note.at - board.first:.1f} s", kind, session, Text(note.text))
    return lines
