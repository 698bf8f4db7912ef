"""The closing view: what stays on the screen when it is over."""

from collections.abc import Iterable
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streams.watch import cells
from streams.watch.board import Board
from streams.watch.cells import Look
from streams.watch.summary import Summary
from streams.watch.tree import most_recent, tree
from streams.watch.words import counted

__all__ = ["closing"]

NOTES: Final = 10
SESSIONS: Final = 50


def closing(board: Board, summary: Summary, look: Look) -> RenderableType:
    """What happened last, what every session came to, and the counts.

    Args:
        board: What is known.
        summary: The same, summed up.
        look: What it must fit; its height does not matter.
    """
    parts: list[RenderableType] = []
    if board.notes:
        parts += [cells.happened(list(board.notes)[-NOTES:], board, look), ""]
    if board.rows:
        parts.append(_sessions(board, look))
    if hidden := summary.sessions - min(len(board.rows), SESSIONS):
        parts.append(Text(f"and {counted(hidden, 'session')} more", "dim"))
    if board.rows:
        parts.append("")
    parts += [Text(line) for line in _counts(summary, look)]
    parts += [
        Text(f"limit unknown, give it: --limit {model}=N", "yellow") for model in summary.limits_unknown
    ]
    return Group(*parts)


def _sessions(board: Board, look: Look) -> Table:
    length = cells.bar_length(look.width - 78)
    table = cells.table()
    table.add_column("session", ratio=1, no_wrap=True, overflow="ellipsis")
    cells.add_gauge_columns(table, "fullest", length)
    table.add_column("warned", justify="right", no_wrap=True)
    table.add_column("trigger", justify="right", no_wrap=True)
    table.add_column("compacted", justify="right", no_wrap=True)
    for depth, row in tree(most_recent(board.rows.values(), SESSIONS)):
        counts = (str(count or "") for count in (row.warnings, row.triggers, row.compactions))
        table.add_row(cells.name(depth, row), *cells.gauge(row.fullest, length, look), *counts)
    return table


def _counts(summary: Summary, look: Look) -> Iterable[str]:
    sessions, events = counted(summary.sessions, "session"), counted(summary.events, "event")
    ended = "" if summary.outcome == "completed" else f", {summary.outcome}"
    yield f"{look.name}: {events} of {sessions} in {summary.seconds:.1f} s{ended}"
    yield "values: " + ", ".join(f"{name} {count:,}" for name, count in summary.values.items())
    if summary.connection is not None and (missed := cells.missing(summary.connection)):
        yield f"connection: {missed}"
    others = {
        "of types that nothing derives from": summary.unknown,
        "malformed": summary.malformed,
        "torn": summary.torn,
        "faults": summary.faults,
    }
    if said := ", ".join(f"{count:,} {what}" for what, count in others.items() if count):
        yield f"besides: {said}"
