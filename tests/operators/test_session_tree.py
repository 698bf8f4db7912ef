"""``session_tree``: S10."""

import pytest

import operators as ops
from operators.session_tree import SessionTree, TreeFold
from streams import events as ev
from streams.testing import Timeline, busy, created, deleted, delta, outputs, updated


def test_any_order_of_arrival() -> None:
    """S10: a grandchild first, its parents later: the last values agree with the natural order."""
    natural = [created("r"), created("a", "r"), created("b", "a")]
    expected = {each.session_id: each for each in outputs(ops.session_tree(), natural)}
    for order in ((2, 1, 0), (1, 0, 2), (2, 0, 1)):
        seen = outputs(ops.session_tree(), [natural[n] for n in order])
        assert {each.session_id: each for each in seen} == expected
    assert (expected["b"].root_id, expected["b"].depth) == ("r", 2)


def test_parent_learned_from_an_update() -> None:
    """S10: a session whose parent is said later is linked later."""
    seen = outputs(ops.session_tree(), [created("c"), updated("c", parent_id="p")])
    assert [(each.parent_id, each.depth) for each in seen] == [("", 0), ("p", 1)]


def test_repeated_data_says_nothing_new() -> None:
    """Updates without news emit nothing."""
    assert len(outputs(ops.session_tree(), [created("c", "p"), updated("c", parent_id="p")] * 3)) == 1


@pytest.mark.parametrize(
    "links", [[("a", "b"), ("b", "a")], [("a", "a")], [("a", "b"), ("b", "c"), ("c", "a")]]
)
def test_cycles_terminate(links: list[tuple[str, str]]) -> None:
    """S10: a cycle has a root, a depth and an end."""
    tree = SessionTree()
    for child, parent in links:
        tree.link(child, parent)
    for session_id in {each for link in links for each in link}:
        assert len(list(tree.ancestors(session_id))) < 3
        assert len(list(tree.descendants(session_id))) < 3
        assert tree.root(session_id) == "a"
    assert outputs(ops.session_tree(), [created(*link) for link in links])


def test_a_link_is_news_once() -> None:
    """The same parent again, none, or the session itself: all of that is no news."""
    tree = SessionTree()
    assert tree.link("c", "p") is True
    assert tree.link("c", "p") is False
    assert tree.link("c", "") is False
    assert tree.link("c", "c") is False
    assert tree.link("c", "q") is True
    assert (tree.parent("c"), tree.children("p"), tree.children("q")) == ("q", (), ("c",))


def test_each_is_told_once_in_a_cycle_below_and_above() -> None:
    """S10: a cycle that the session asked for is not part of ends too."""
    tree = SessionTree()
    for child, parent in (("a", "b"), ("b", "a"), ("c", "a"), ("d", "c"), ("e", "d")):
        tree.link(child, parent)
    assert list(tree.ancestors("e")) == ["d", "c", "a", "b"]
    assert list(tree.descendants("b")) == ["a", "c", "d", "e"]
    loop = SessionTree()
    for child, parent in (("x", "top"), ("y", "x"), ("x", "y")):
        loop.link(child, parent)
    assert list(loop.descendants("y")) == ["x"]
    assert list(loop.descendants("top")) == []


def test_what_was_below_a_deleted_session_says_its_new_root() -> None:
    """S10: and below it, each in turn."""
    events = [created("r"), created("a", "r"), created("b", "a"), created("c", "b"), deleted("a")]
    seen = outputs(ops.session_tree(), events)
    assert {each.session_id: (each.root_id, each.depth) for each in seen}["c"] == ("a", 2)
    assert {each.session_id: (each.root_id, each.depth) for each in seen}["b"] == ("a", 1)


def test_a_session_that_nobody_heard_of_goes_without_a_word() -> None:
    """S12: and harms nothing."""
    assert (
        outputs(ops.session_tree(), [deleted("s"), ev.SessionExpired("t"), created("s")])[-1].depth == 0
    )


def test_deleted_and_expired_sessions_go() -> None:
    """A session that is gone says so once, leaves its parent, and stragglers do not bring it back."""
    line = Timeline()
    seen = line.watch(ops.session_tree())
    line.play((0, created("p")), (0, created("a", "p")), (0, created("b", "p")))
    line.play((1, deleted("a")), (2, updated("a", parent_id="p")), (3, ev.SessionExpired("b")))
    assert [(each.session_id, each.gone) for _, each in seen[-4:]] == [
        ("a", True),
        ("p", False),
        ("b", True),
        ("p", False),
    ]
    assert seen[-1][1].children == ()
    line.play((4, created("a", "p")))
    assert seen[-2][1].session_id == "a"


def test_links_that_change() -> None:
    """A session that moves to another parent leaves the first."""
    seen = outputs(
        ops.session_tree(), [created("p"), created("q"), created("c", "p"), updated("c", parent_id="q")]
    )
    last = {each.session_id: each for each in seen}
    assert (last["p"].children, last["q"].children, last["c"].parent_id) == ((), ("c",), "q")


def test_other_events_and_an_empty_stream() -> None:
    """Only what a session says of itself makes links."""
    assert outputs(ops.session_tree(), []) == []
    assert outputs(ops.session_tree(), [busy("s"), delta("s", "m", "x", "hi")]) == []


def test_a_deleted_session_that_is_created_anew_is_heard_again() -> None:
    """E5: at once; an update alone is a straggler's for a minute, and then a session's like any."""
    anew = outputs(ops.session_tree(), [(0, created("a")), (1, deleted("a")), (2, created("a"))])
    assert [(each.session_id, each.gone) for each in anew] == [("a", False), ("a", True), ("a", False)]
    moved = [(0, created("a")), (1, deleted("a")), (2, created("a")), (3, updated("a", parent_id="p"))]
    assert outputs(ops.session_tree(), moved)[-1].parent_id == "p"
    late = [(0, created("a")), (1, deleted("a")), (30, updated("a")), (100, updated("a", parent_id="p"))]
    assert [each.parent_id for each in outputs(ops.session_tree(), late)] == ["", "", "p"]


def test_its_snapshots_have_its_name() -> None:
    """What a checkpoint finds it by."""
    assert TreeFold().name == "TreeFold"
