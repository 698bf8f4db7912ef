"""Which sessions are shown, and in what order."""

from collections.abc import Callable
from typing import Any

import pytest

from operators import SessionOverview
from streams.limits import ContextLimits
from streams.testing import Timeline, assistant, created, tool
from streams.watch.arrangement import Arrangement, arrange
from streams.watch.board import Board, SessionRow
from streams.watch.controls import Controls
from streams.watch.derivations import Derived, derivations
from streams.watch.still import still


@pytest.fixture
def rows() -> list[SessionRow]:
    """A parent with a child between two others, each with something that it is first in."""
    board, line = Board(), Timeline()
    line.hub.subscribe(board.take)
    limits = ContextLimits({"anthropic/x": 200_000})
    usages: Any = line.hub.pipe(derivations(limits, threshold=0.78)["context_usage"])
    usages.subscribe(lambda value: board.derived(Derived("context_usage", 0.0, value)))
    line.play(
        (0, created("m", title="Middle")),
        (1, created("a", title="alpha")),
        (2, created("c", "m", title="child")),
        (3, created("z", title="Zulu")),
        (4, assistant("c", "m1", input=150_000)),
        (5, assistant("a", "m1", input=100_000)),
        (6, assistant("z", "m1", input=10)),
        (7, tool("z", "c1", "bash", "running")),
    )
    board.rows["z"].overview = _overview(calls=3)
    board.rows["m"].overview = _overview(calls=1)
    return list(board.rows.values())


def _overview(*, calls: int) -> SessionOverview:
    blank: dict[str, Any] = dict.fromkeys(SessionOverview.__struct_fields__, "")
    return SessionOverview(**{**blank, "tool_calls": calls})


def names(arrangement: Arrangement) -> str:
    return " ".join("." * depth + row.session_id for depth, row in arrangement.shown)


@pytest.mark.parametrize(
    ("controls", "shown"),
    [
        (None, "m .c a z"),
        (Controls(), "m .c a z"),
        (Controls(selected="a"), "m .c a z"),
        (Controls(sort="fullest"), "c a z m"),
        (Controls(sort="tools"), "z m a c"),
        (Controls(sort="title"), "a c m z"),
        (Controls(filter="ZU"), "z"),
        (Controls(filter="child"), "c"),
        (Controls(filter="anthropic/"), "a c z"),
        (Controls(filter="nothing"), ""),
    ],
)
def test_orders(rows: list[SessionRow], controls: Controls | None, shown: str) -> None:
    """Families by default; every other order tears them apart; a filter looks at what is shown."""
    arrangement = arrange(rows, 10, controls)
    assert sorted(names(arrangement).split()) == sorted(shown.split())
    if controls is None or not controls.filter:
        assert names(arrangement) == shown
    assert arrangement.filtered == 4 - len(arrangement.shown)


@pytest.mark.parametrize(
    ("selected", "shown", "above", "below"),
    [("", "m z", 0, 2), ("m", "m .c", 0, 2), ("c", "m .c", 0, 2), ("a", "c a", 1, 1), ("z", "a z", 2, 0)],
)
def test_the_selected_session_is_always_seen(
    rows: list[SessionRow], selected: str, shown: str, above: int, below: int
) -> None:
    """Two lines of room: the part around it; with none selected, those heard of last."""
    arrangement = arrange(rows, 2, Controls(selected=selected))
    if selected:
        assert names(arrangement).replace(".", "") == shown.replace(".", "")
    assert len(arrangement.shown) == 2
    assert (arrangement.above, arrangement.below) == (above, below)
    assert len(arrangement.order) == (4 if selected else 2)


def test_a_still_is_not_changed_by_what_comes_after(rows: list[SessionRow]) -> None:
    """The picture stands while the board goes on."""
    board = Board()
    take: Callable[..., None] = board.take
    take(created("s", title="before"))
    picture = still(board)
    take(created("s", title="after"))
    take(created("t"))
    assert [row.title for row in picture.rows.values()] == ["before"]
    assert (picture.events, board.events) == (1, 3)
