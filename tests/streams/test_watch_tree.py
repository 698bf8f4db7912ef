"""Which sessions are shown, and where."""

from streams.watch.board import SessionRow
from streams.watch.tree import most_recent, tree


def row(session_id: str, parent_id: str = "", last: float = 0.0, *, gone: bool = False) -> SessionRow:
    return SessionRow(session_id, parent_id, last=last, gone=gone)


def shape(*rows: SessionRow) -> list[tuple[int, str]]:
    return [(depth, each.session_id) for depth, each in tree(rows)]


def ids(rows: list[SessionRow]) -> list[str]:
    return [each.session_id for each in rows]


def test_children_stand_under_their_parents() -> None:
    """Depth first, siblings in the order they came, whatever came in between."""
    rows = row("a"), row("b"), row("a1", "a"), row("b1", "b"), row("a2", "a"), row("a11", "a1")
    assert shape(*rows) == [(0, "a"), (1, "a1"), (2, "a11"), (1, "a2"), (0, "b"), (1, "b1")]


def test_a_child_may_be_heard_of_before_its_parent() -> None:
    """Order of arrival is not order of birth."""
    assert shape(row("a1", "a"), row("a")) == [(0, "a"), (1, "a1")]


def test_a_child_without_its_parent_stands_alone() -> None:
    """The parent was never heard of, or is long gone."""
    assert shape(row("a1", "a"), row("a11", "a1")) == [(0, "a1"), (1, "a11")]


def test_sessions_that_name_each_other_are_shown_once() -> None:
    """Nonsense from the wire neither hangs nor hides anything."""
    rows = row("a", "b"), row("b", "a"), row("c", "c")
    assert sorted(name for _, name in shape(*rows)) == ["a", "b", "c"]
    assert len(most_recent(rows, 2)) == 2


def test_the_most_recent_are_kept_in_their_order() -> None:
    """What was heard of last stays; those that are gone make room first."""
    rows = row("a", last=5), row("b", last=9, gone=True), row("c", last=1), row("d", last=7)
    assert ids(most_recent(rows, 4)) == ["a", "b", "c", "d"]
    assert ids(most_recent(rows, 3)) == ["a", "c", "d"]
    assert ids(most_recent(rows, 1)) == ["d"]


def test_a_child_is_not_shown_without_its_parent() -> None:
    """A parent waits silently for its children: it is as recent as they are."""
    rows = row("quiet", last=8), row("a", last=1), row("a1", "a", last=2), row("a11", "a1", last=9)
    assert ids(most_recent(rows, 3)) == ["a", "a1", "a11"]
    assert ids(most_recent(rows, 1)) == ["a"]
