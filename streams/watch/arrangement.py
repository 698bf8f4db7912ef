"""Which sessions are shown, in what order, and which part of a list that is too long."""

from collections.abc import Iterable
from typing import Final

import msgspec

from streams.watch.board import SessionRow
from streams.watch.controls import Controls, Sort
from streams.watch.tree import most_recent, tree
from streams.watch.words import one_line

__all__ = ["Arrangement", "arrange"]

MODELESS: Final = Controls()


class Arrangement(msgspec.Struct, frozen=True):
    """The sessions to show.

    Attributes:
        shown: Those that there is room for, with their depths.
        order: The ids of all that the arrow keys go through.
        above: How many are hidden above them.
        below: How many are hidden below them, or anywhere.
        filtered: How many do not match the filter.
    """

    shown: list[tuple[int, SessionRow]]
    order: tuple[str, ...]
    above: int
    below: int
    filtered: int


def arrange(rows: Iterable[SessionRow], room: int, controls: Controls | None = None) -> Arrangement:
    """Sort, filter, and take the part around the selected session.

    By recency, and with none selected, there is no such part: those heard of last are shown, wherever
    they stand in the tree. Rows then keep their places; they would jump at every event otherwise.

    Args:
        rows: All sessions, in the order of their first events.
        room: How many there is room for.
        controls: What the person at the keyboard wants; None where there is no keyboard.
    """
    wanted = controls or MODELESS
    every = list(rows)
    matching = [row for row in every if _matches(row, wanted.filter)]
    filtered = len(every) - len(matching)
    if wanted.sort == "recent" and not wanted.selected:
        shown = tree(most_recent(matching, room))
        order = tuple(row.session_id for _, row in shown)
        return Arrangement(shown, order, 0, len(matching) - len(shown), filtered)
    ordered = _ordered(matching, wanted.sort)
    order = tuple(row.session_id for _, row in ordered)
    selected = order.index(wanted.selected) if wanted.selected in order else 0
    first = max(0, min(selected - room // 2, len(order) - room))
    shown = ordered[first : first + room]
    return Arrangement(shown, order, first, len(order) - first - len(shown), filtered)


def _matches(row: SessionRow, text: str) -> bool:
    searched = f"{row.title} {one_line(row.session_id)} {row.model} {row.status}"
    return not text or text.casefold() in searched.casefold()


def _ordered(rows: list[SessionRow], sort: Sort) -> list[tuple[int, SessionRow]]:
    """Families under their parents; in any other order a family is torn apart, and nothing indented."""
    match sort:
        case "recent":
            return tree(rows)
        case "fullest":
            ordered = sorted(rows, key=_fullness, reverse=True)
        case "tools":
            ordered = sorted(rows, key=_tool_calls, reverse=True)
        case "title":
            ordered = sorted(rows, key=_title)
    return [(0, row) for row in ordered]


def _fullness(row: SessionRow) -> tuple[float, int]:
    usage = row.measured
    return (0.0, 0) if usage is None else (usage.ratio or 0.0, usage.tokens or 0)


def _tool_calls(row: SessionRow) -> int:
    return 0 if row.overview is None else row.overview.tool_calls


def _title(row: SessionRow) -> str:
    return (row.title or row.session_id).casefold()
