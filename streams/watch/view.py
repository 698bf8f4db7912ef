"""The live view: how things stand now."""

from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streams.watch import cells
from streams.watch.arrangement import Arrangement, arrange
from streams.watch.board import Board
from streams.watch.cells import Look
from streams.watch.controls import Controls
from streams.watch.hints import heading, hint
from streams.watch.words import counted, duration

__all__ = ["arrange_for", "frame"]

NOTES: Final = 6
WIDE_ENOUGH: Final = 80
"""Characters below which tools and todos would leave no room for titles."""

BARS_BESIDE_WORK: Final = 40
"""Characters that titles and bars must have for themselves where tools are shown, or bars are not."""


def frame(board: Board, now: float, look: Look, controls: Controls | None = None) -> RenderableType:
    """Sessions as a tree, and what happened lately. At most ``look.height - 1`` lines.

    Args:
        board: What is known.
        now: Seconds, by the clock of the events.
        look: What it must fit.
        controls: What the person at the keyboard wants; None where there is no keyboard.
    """
    noted = _noted(board, look)
    notes = list(board.notes)[len(board.notes) - noted :]
    sessions = arrange_for(board, look, controls)
    parts: list[RenderableType] = [_title(board, now, look, controls)]
    if board.connection is not None:
        parts.append(cells.connection(board.connection))
    parts += ["", _sessions(sessions, now, look, "" if controls is None else controls.selected)]
    if hidden := _hidden(sessions):
        parts.append(Text(hidden, "dim", no_wrap=True, overflow="ellipsis"))
    parts.append("")
    if notes:
        parts.append(cells.happened(notes, board, look))
    parts.append(hint(controls))
    return Group(*parts)


def arrange_for(board: Board, look: Look, controls: Controls | None) -> Arrangement:
    """The sessions that ``frame`` shows."""
    # Beside them: title, table head, what does not fit, the end, and lines between.
    room = look.height - _noted(board, look) - 7 - (board.connection is not None)
    return arrange(board.rows.values(), max(1, room), controls)


def _noted(board: Board, look: Look) -> int:
    return min(NOTES, len(board.notes), max(0, look.height - 6) // 3)


def _hidden(sessions: Arrangement) -> str:
    if sessions.above or sessions.filtered:
        places = {"above": sessions.above, "below": sessions.below, "filtered out": sessions.filtered}
        said = ", ".join(f"{count:,} {place}" for place, count in places.items() if count)
        return f"and sessions more: {said}"
    return f"and {counted(sessions.below, 'session')} more, silent for longer" if sessions.below else ""


def _title(board: Board, now: float, look: Look, controls: Controls | None) -> Text:
    counts = (
        f"{now - board.first if board.events else 0:.1f} s",
        counted(board.sessions, "session"),
        counted(board.events, "event"),
        f"{board.malformed:,} malformed" if board.malformed else "",
    )
    title = Text(no_wrap=True, overflow="ellipsis")
    if said := heading(controls):  # first: a long name must not push it out
        title.append(said, "bold reverse")
        title.append("  ")
    title.append(look.name, "bold")
    title.append("   ".join(("", *filter(None, counts))), "dim")
    return title


def _sessions(sessions: Arrangement, now: float, look: Look, selected: str) -> Table:
    rows = [row for _, row in sessions.shown]
    work = look.width >= WIDE_ENOUGH and any(row.overview and row.overview.tool_calls for row in rows)
    todos = work and any(row.overview and row.overview.todos for row in rows)
    length = _bar_length(look, work=work)
    table = cells.table()
    table.add_column("session", ratio=1, no_wrap=True, overflow="ellipsis")
    cells.add_gauge_columns(table, "context", length)
    if work:
        widest = 14 if length else 8
        table.add_column("tools", no_wrap=True, min_width=7, max_width=widest, overflow="ellipsis")
    if todos:
        table.add_column("todos", no_wrap=True, justify="right")
    table.add_column("status", no_wrap=True, min_width=7)
    table.add_column("last", justify="right", no_wrap=True, min_width=6)
    for depth, row in sessions.shown:
        marked = row.session_id == selected
        name = cells.name(depth, row)
        table.add_row(
            Text.assemble("> " if marked else "  ", name) if selected else name,
            *cells.gauge(row.measured, length, look),
            *((cells.tools(row),) if work else ()),
            *((cells.todos(row),) if todos else ()),
            cells.status(row),
            duration(now - row.last),
            style="bold" if marked else "dim" if row.gone else "",
        )
    return table


def _bar_length(look: Look, *, work: bool) -> int:
    """Titles come before bars: a bar has its percent beside it, a title has nothing."""
    if not work:
        return cells.bar_length(look.width - 50)
    room = look.width - 62
    return 0 if room < BARS_BESIDE_WORK else cells.bar_length(room)
