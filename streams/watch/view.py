"""The live view: how things stand now."""

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streams.watch import cells
from streams.watch.board import Board, SessionRow
from streams.watch.cells import Look
from streams.watch.tree import most_recent, tree
from streams.watch.words import counted, duration

__all__ = ["frame"]

NOTES: Final = 6
WIDE_ENOUGH: Final = 80
"""Characters below which tools and todos would leave no room for titles."""


def frame(board: Board, now: float, look: Look) -> RenderableType:
    """Sessions as a tree, and what happened lately. At most ``look.height - 1`` lines.

    Args:
        board: What is known.
        now: Seconds, by the clock of the events.
        look: What it must fit.
    """
    noted = min(NOTES, len(board.notes), max(0, look.height - 6) // 3)
    notes = list(board.notes)[len(board.notes) - noted :]
    # Beside them: title, table head, what does not fit, the end, and lines between.
    room = look.height - noted - 7 - (board.connection is not None)
    rows = most_recent(board.rows.values(), max(1, room))
    parts: list[RenderableType] = [_title(board, now, look)]
    if board.connection is not None:
        parts.append(cells.connection(board.connection))
    parts += ["", _sessions(rows, now, look)]
    if hidden := len(board.rows) - len(rows):
        parts.append(Text(f"and {counted(hidden, 'session')} more, silent for longer", "dim"))
    parts.append("")
    if notes:
        parts.append(cells.happened(notes, board, look))
    # Short, and last: the terminal echoes ^C here, and a full line would wrap and shift the view.
    parts.append(Text("Ctrl-C ends", "dim"))
    return Group(*parts)


def _title(board: Board, now: float, look: Look) -> Text:
    counts = (
        f"{now - board.first if board.events else 0:.1f} s",
        counted(board.sessions, "session"),
        counted(board.events, "event"),
        f"{board.malformed:,} malformed" if board.malformed else "",
    )
    title = Text(look.name, "bold", no_wrap=True, overflow="ellipsis")
    title.append("   ".join(("", *filter(None, counts))), "not bold dim")
    return title


def _sessions(rows: Sequence[SessionRow], now: float, look: Look) -> Table:
    work = look.width >= WIDE_ENOUGH and any(row.overview and row.overview.tool_calls for row in rows)
    length = cells.bar_length(look.width - (62 if work else 50))
    table = cells.table()
    table.add_column("session", ratio=1, no_wrap=True, overflow="ellipsis")
    cells.add_gauge_columns(table, "context", length)
    if work:
        table.add_column("tools", no_wrap=True, min_width=7, max_width=14, overflow="ellipsis")
        table.add_column("todos", no_wrap=True, justify="right")
    table.add_column("status", no_wrap=True, min_width=7)
    table.add_column("last", justify="right", no_wrap=True, min_width=6)
    for depth, row in tree(rows):
        table.add_row(
            cells.name(depth, row),
            *cells.gauge(row.measured, length, look),
            *((cells.tools(row), cells.todos(row)) if work else ()),
            cells.status(row),
            duration(now - row.last),
            style="dim" if row.gone else "",
        )
    return table
