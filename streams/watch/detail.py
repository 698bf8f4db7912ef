"""One session in detail: how it stands, its tool log, and the tail of its transcript."""

from collections.abc import Iterable
from typing import Final

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from operators import ToolCall
from streams.watch import cells
from streams.watch.board import Board, SessionRow
from streams.watch.cells import Look
from streams.watch.controls import Controls
from streams.watch.hints import heading, hint
from streams.watch.journal import Journal, Said
from streams.watch.words import counted, duration, one_line

__all__ = ["detail"]

AROUND: Final = 9
"""Lines that are neither of the tool log nor of the transcript."""

NAMES: Final = {"text": "agent", "reasoning": "thinks", "tool": "tool"}
NAME_WIDTH: Final = 8


def detail(
    board: Board, row: SessionRow, journal: Journal, now: float, look: Look, controls: Controls
) -> RenderableType:
    """One session. At most ``look.height - 1`` lines.

    Args:
        board: What is known of all.
        row: What is known of this one.
        journal: What it said and did last.
        now: Seconds, by the clock of the events.
        look: What it must fit.
        controls: What the person at the keyboard wants.
    """
    room = max(2, look.height - AROUND)
    calls = list(journal.calls)[-max(1, room // 3) :]
    tail = _transcript(journal, look.width, room - max(1, len(calls)))
    return Group(
        _title(row, now, controls),
        _gauge(row, look),
        _counts(board, row),
        "",
        Text("tool log", "dim"),
        _log(calls, board, look) if calls else Text("  nothing yet", "dim"),
        "",
        Text("transcript", "dim"),
        *(tail or [Text("  nothing yet", "dim")]),
        hint(controls),
    )


def _title(row: SessionRow, now: float, controls: Controls) -> Text:
    title = Text(no_wrap=True, overflow="ellipsis")
    if said := heading(controls):
        title.append(said, "bold reverse")
        title.append("  ")
    title.append(row.title or one_line(row.session_id), "bold")
    last = f"last heard of {duration(now - row.last)} ago"
    title.append("   ".join(("", *filter(None, (cells.status(row), row.model, last)))), "dim")
    return title


def _gauge(row: SessionRow, look: Look) -> Table:
    length = cells.bar_length(look.width - 28)
    gauge = cells.table(head=False)
    cells.add_gauge_columns(gauge, "", length)
    gauge.add_column(ratio=1)
    gauge.add_row(*cells.gauge(row.measured, length, look), "")
    return gauge


def _counts(board: Board, row: SessionRow) -> Text:
    overview, parent = row.overview, board.rows.get(row.parent_id)
    said = (
        "" if parent is None else f"of {parent.title or one_line(parent.session_id)}",
        counted(0 if overview is None else overview.tool_calls, "tool call"),
        f"todos {cells.todos(row)}" if cells.todos(row) else "",
        counted(row.compactions, "compaction") if row.compactions else "",
        counted(row.stalls, "stall") if row.stalls else "",
        counted(row.loops, "loop") if row.loops else "",
        "" if overview is None or not overview.error else overview.error,
    )
    return Text("   ".join(filter(None, map(one_line, said))), no_wrap=True, overflow="ellipsis")


def _log(calls: Iterable[ToolCall], board: Board, look: Look) -> Table:
    log = cells.table(head=False)
    log.add_column(justify="right", no_wrap=True, min_width=8, style="dim")
    log.add_column(no_wrap=True, min_width=9)
    log.add_column(no_wrap=True, min_width=8, max_width=14, overflow="ellipsis")
    log.add_column(justify="right", no_wrap=True, min_width=6)
    log.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for call in calls:
        log.add_row(
            f"{call.at - board.first:.1f} s",
            Text(call.outcome, "" if call.outcome == "completed" else "yellow"),
            Text(one_line(call.tool)),
            "" if call.duration is None else duration(call.duration),
            Text(_told(call, look.width)),
        )
    return log


def _told(call: ToolCall, width: int) -> str:
    """Why it failed, else what it was called with."""
    return one_line(call.error[:width] or (call.input or b"")[:width].decode("utf-8", "replace"))


def _transcript(journal: Journal, width: int, room: int) -> list[Text]:
    """The last lines, wrapped, each part beginning with who speaks."""
    lines: list[Text] = []
    for said in reversed(journal.said.values()):
        if len(lines) >= room:
            break
        lines[:0] = _lines(said, journal, width)
    return lines[-room:]


def _lines(said: Said, journal: Journal, width: int) -> list[Text]:
    name = "user" if said.message_id in journal.users else NAMES[said.kind]
    wrapped = [
        line
        for paragraph in said.text.splitlines()
        for line in _wrapped(one_line(paragraph), max(8, width - NAME_WIDTH - 1))
    ]
    style = "dim" if said.kind == "reasoning" else ""
    return [
        Text.assemble(((name if first else "").ljust(NAME_WIDTH), "dim"), (line, style), no_wrap=True)
        for first, line in zip((True, *(False for _ in wrapped)), wrapped, strict=False)
    ]


def _wrapped(text: str, width: int) -> list[str]:
    """Words in lines of so many cells; what is longer than a line is cut where the line ends."""
    lines = [""]
    for word in text.split():
        while cell_len(word) > width:
            cut = next(n for n in range(len(word), 0, -1) if cell_len(word[:n]) <= width)
            lines += [word[:cut]]
            word = word[cut:]
        if lines[-1] and cell_len(lines[-1]) + 1 + cell_len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return [line for line in lines if line]
