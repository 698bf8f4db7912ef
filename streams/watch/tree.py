"""Which sessions to show, and in what order: children under their parents."""

from collections.abc import Iterable
from typing import Final

from streams.watch.board import SessionRow

__all__ = ["most_recent", "tree"]

DEEPEST: Final = 16
"""Generations looked at: sessions that name each other as parents have no end of them."""


def most_recent(rows: Iterable[SessionRow], count: int) -> list[SessionRow]:
    """The sessions heard of last, those that are gone after all others; in the order given.

    A parent is as recent as the most recent of its children, and comes before them: none is shown
    without the session that it belongs to.
    """
    by_id = {row.session_id: row for row in rows}
    ages = {session_id: (row.gone, -row.last, 0) for session_id, row in by_id.items()}
    for row in by_id.values():
        gone, age, above = ages[row.session_id]
        parent_id = row.parent_id
        while parent_id in ages and above < DEEPEST:
            above += 1
            ages[parent_id] = min(ages[parent_id], (gone, age, -above))
            parent_id = by_id[parent_id].parent_id
    kept = set(sorted(by_id, key=ages.__getitem__)[:count])
    return [row for row in by_id.values() if row.session_id in kept]


def tree(rows: Iterable[SessionRow]) -> list[tuple[int, SessionRow]]:
    """Every row once, with its depth; one whose parent is not among the rows stands at depth 0."""
    left = {row.session_id: row for row in rows}
    children: dict[str, list[SessionRow]] = {}
    for row in left.values():
        children.setdefault(row.parent_id if row.parent_id in left else "", []).append(row)
    ordered: list[tuple[int, SessionRow]] = []
    # After the roots only sessions that name each other as parents are left: they stand as roots.
    for root in (*children.get("", ()), *left.values()):
        waiting = [(0, root)]
        while waiting:
            depth, row = waiting.pop()
            if left.pop(row.session_id, None) is None:
                continue
            ordered.append((depth, row))
            waiting += [(depth + 1, child) for child in reversed(children.get(row.session_id, ()))]
    return ordered
