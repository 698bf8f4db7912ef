"""``session_overview``: one value per session, at a bounded rate."""

from typing import Any

import pytest

import operators as ops
from streams import ContextLimits
from streams import events as ev
from streams.testing import (
    Timeline,
    assistant,
    busy,
    compacted,
    created,
    deleted,
    delta,
    idle,
    outputs,
    removed,
    text,
    todos,
    tool,
    updated,
)

LIMITS = ContextLimits({"anthropic/x": 200_000})


def test_everything_in_one_value() -> None:
    """Usage, state, tools, todos, tasks and cost of a session, together."""
    events = [
        created("p", title="Fix the parser"),
        busy("p"),
        tool("p", "c1", "bash", "completed", output="ok"),
        todos("p", "completed", "cancelled", "pending"),
        created("c", "p"),
        busy("c"),
        assistant("p", "m1", input=50_000, output=100, cost=0.25),
    ]
    last = {each.session_id: each for each in outputs(ops.session_overview(LIMITS), events)}["p"]
    assert (last.title, last.state, last.tool_calls, last.last_tool) == (
        "Fix the parser",
        "running",
        1,
        "bash",
    )
    assert (last.todos, last.todos_closed, last.tasks.running, last.cost) == (3, 2, 1, 0.25)
    assert (last.tokens, last.limit, last.ratio, last.used_tokens) == (50_000, 200_000, 0.25, 50_100)


def test_at_most_one_value_per_period_and_the_last_one_comes() -> None:
    """A thousand changes in 10 s are eleven values, the last with the last state."""
    line = Timeline()
    seen = line.watch(ops.session_overview(at_most=1.0))
    line.play(*[(n / 100, tool("s", f"c{n}", "bash", "running")) for n in range(1000)])
    line.advance_to(60)
    assert [at for at, _ in seen] == [float(n) for n in range(11)]
    assert seen[-1][1].tool_calls == 1000
    assert line.scheduler.pending == 0


def test_nothing_changes_nothing_comes() -> None:
    """Deltas change the text, which is no reason to speak."""
    line = Timeline()
    seen = line.watch(ops.session_overview())
    line.play((0, busy("s")), (0, delta("s", "m", "x", "a")))
    line.play(*[(5.0 + n, delta("s", "m", "x", "b")) for n in range(50)])
    line.advance_to(100)
    assert len(seen) == 1


def test_compaction_makes_usage_unknown() -> None:
    """U1: after a compaction tokens and ratio are None."""
    seen = outputs(ops.session_overview(LIMITS), [assistant("s", "m1", input=1000), (5, compacted("s"))])
    assert (seen[-1].tokens, seen[-1].ratio) == (None, None)


def test_a_childs_change_is_its_parents_too() -> None:
    """The parent's counts are said anew when a child ends."""
    rows = [
        (0, created("p")),
        (0, created("c", "p")),
        (0, busy("c")),
        (6, text("c", "m", "x", "ok")),
        (20, idle("c")),
    ]
    seen = outputs(ops.session_overview(), rows, until=30)
    assert [each.tasks.completed for each in seen if each.session_id == "p"][-1] == 1


def test_gone_is_the_last_value() -> None:
    """A deleted session is said once more, as gone; stragglers say nothing."""
    seen = outputs(
        ops.session_overview(), [busy("s"), (5, deleted("s")), (6, delta("s", "m", "x", "late"))]
    )
    assert [each.gone for each in seen] == [False, True]


def test_completion_says_what_waited() -> None:
    """A change that waited for its turn is said at the end of the stream."""
    seen = outputs(
        ops.session_overview(at_most=100), [(0, busy("s")), (1, idle("s")), (2, todos("s", "pending"))]
    )
    assert [each.todos for each in seen] == [0, 1]


def test_a_limit_lookup_that_raises_is_one_fault() -> None:
    """U11: the overview goes on without a limit."""

    def broken(provider_id: str, model_id: str) -> int:
        raise RuntimeError("no table")

    line = Timeline()
    seen = line.watch(ops.session_overview(ContextLimits(broken), at_most=0))
    line.play((0, assistant("s", "m1", input=1000)), (1, assistant("s", "m2", input=2000)))
    line.advance_to(9)
    assert [each.tokens for _, each in seen] == [1000, 2000]
    ((where, session_id, at, error),) = [
        (each.where, each.session_id, each.at, str(each.error)) for each in line.faults
    ]
    assert (where, session_id, at, error) == ("ContextLimits", "s", 0.0, "no table")


def test_a_removal_that_takes_nothing_away_says_nothing() -> None:
    """U1: of a message that was never measured."""
    events = [(0, assistant("s", "m1", input=1000)), (5, removed("s", "m9"))]
    assert len(outputs(ops.session_overview(LIMITS), events, until=20)) == 1


@pytest.mark.parametrize("value", [-1, float("inf"), None])
def test_bad_rate(value: Any) -> None:
    """The error names the argument, the value and the range."""
    with pytest.raises(ValueError, match="at_most must be seconds 0 or more"):
        ops.session_overview(at_most=value)


def test_title_and_limit_that_change_are_said() -> None:
    """U10: a limit that becomes known measures an idle session anew; a new title is news too."""
    known: dict[str, int] = {}
    line = Timeline()
    seen = line.watch(ops.session_overview(ContextLimits(lambda _, model_id: known.get(model_id))))
    line.play((0, assistant("s", "m1", input=1000)), (5, updated("s", title="Fix the parser")))
    line.advance_to(9)
    known["x"] = 4000
    line.play((10, ev.LimitsChanged()))
    line.advance_to(20)
    assert [(at, each.title, each.ratio) for at, each in seen] == [
        (0.0, "", None),
        (5.0, "Fix the parser", None),
        (10.0, "Fix the parser", 0.25),
    ]


def test_two_sessions_have_rates_of_their_own_and_one_timer() -> None:
    """Interleaved sessions: each is said in its own time."""
    line = Timeline()
    seen = line.watch(ops.session_overview(at_most=10))
    line.play((0, busy("a")), (3, busy("b")), (4, idle("a")), (5, idle("b")))
    assert line.scheduler.pending == 1
    line.advance_to(60)
    assert [(at, each.session_id) for at, each in seen] == [(0, "a"), (3, "b"), (10, "a"), (13, "b")]


def test_error_comes_after_what_waited_and_dispose_leaves_nothing() -> None:
    """On an error the pending value goes first; after dispose nothing is pending."""
    line = Timeline()
    told: list[object] = []
    line.hub.pipe(ops.session_overview(at_most=10)).subscribe(
        lambda value: told.append(value.state), on_error=lambda error: told.append(str(error))
    )
    disposed = line.hub.pipe(ops.session_overview()).subscribe(told.append)
    line.play((0, busy("a")))
    line.advance_to(1)
    disposed.dispose()
    told.clear()
    line.play((2, idle("a")))
    line.hub.on_error(RuntimeError("lost"))
    assert (told, line.scheduler.pending) == (["idle", "lost"], 0)


def test_expired_sessions_are_gone_too() -> None:
    """E1: a session of which nothing is heard any more is said once more, and dropped."""
    seen = outputs(ops.session_overview(), [(0, busy("s")), (600, ev.SessionExpired("s", idle=600))])
    assert [(each.state, each.gone) for each in seen] == [("running", False), ("gone", True)]
    assert outputs(ops.session_overview(), []) == []
