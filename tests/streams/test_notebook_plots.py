"""Values to charts: what is drawn, read out of the chart's own specification."""

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("altair")

import operators as ops
from operators import Operator
from streams import ContextLimits
from streams.events import SessionEvent
from streams.notebook import plot_tasks, plot_triggers, plot_usage
from streams.testing import (
    Timeline,
    assistant,
    busy,
    compacted,
    created,
    idle,
    permission,
    permission_reply,
    tool,
)

LIMITS = ContextLimits({"anthropic/x": 200_000})

TALK: tuple[tuple[float, SessionEvent], ...] = (
    (1, assistant("a", "m1", input=100_000)),
    (2, assistant("b", "m1", input=10_000)),
    (3, assistant("a", "m2", input=160_000)),
    (4, compacted("a")),
    (5, assistant("a", "m3", input=20_000)),
)

TASKS: tuple[tuple[float, SessionEvent], ...] = (
    (0, busy("p")),
    (0, created("a", "p")),
    (0, created("b", "p", title="Look")),
    (1, busy("a")),
    (2, created("a", "p", title="Look")),
    (3, tool("a", "c1", "bash", "running")),
    (4, permission("a", "r1", "c1")),
    (6, permission_reply("a", "r1")),
    (6, tool("a", "c1", "bash", "completed")),
    (7, busy("b")),
    (8, idle("a")),
    (30, idle("b")),
    (60, idle("p")),
)


def values(operator: Operator[Any], timed: tuple[tuple[float, SessionEvent], ...]) -> list[Any]:
    line = Timeline()
    seen = line.watch(operator)
    line.play(*timed)
    return [value for _, value in seen]


def layers(chart: Any) -> list[dict[str, Any]]:
    """The rows of each layer, with its mark."""
    specification = chart.to_dict()
    return [
        {"mark": layer["mark"]["type"], "rows": _rows(specification, layer["data"])}
        for layer in specification["layer"]
    ]


def _rows(specification: dict[str, Any], data: dict[str, Any]) -> list[dict[str, Any]]:
    """Altair moves larger data to the top, under a name."""
    return specification["datasets"][data["name"]] if "name" in data else data["values"]


def rows(chart: Any, mark: str) -> list[dict[str, Any]]:
    return [row for layer in layers(chart) if layer["mark"] == mark for row in layer["rows"]]


def test_usage_limit_threshold_and_compactions() -> None:
    """A line per session, broken at the compaction, a triangle there, a rule at limit and threshold."""
    chart = plot_usage(values(ops.context_usage(LIMITS), TALK), threshold=0.78)
    drawn = [
        (row["segment"], row["at"][-14:-6], row["tokens"], row["percent"]) for row in rows(chart, "line")
    ]
    assert sorted(drawn, key=lambda row: row[1]) == [
        ("a/0", "00:00:01", 100_000, 50.0),
        ("b/0", "00:00:02", 10_000, 5.0),
        ("a/0", "00:00:03", 160_000, 80.0),
        ("a/1", "00:00:05", 20_000, 10.0),
    ]
    assert [(row["session"], row["at"][-14:-6]) for row in rows(chart, "point")] == [("a", "00:00:04")]
    assert [row["tokens"] for row in rows(chart, "rule")] == [200_000, 156_000.0]
    assert [row["line"] for row in rows(chart, "text")] == ["limit 200,000", "threshold 78%"]


def test_usage_without_a_limit_has_no_rules() -> None:
    """One value of a model that nobody knows is a point, and no error."""
    chart = plot_usage(values(ops.context_usage(ContextLimits()), TALK[:1]), threshold=0.78)
    assert len(rows(chart, "line")) == 1
    assert rows(chart, "rule") == []


def test_a_session_that_is_only_unknown() -> None:
    """Listened to from its compaction on: nothing to draw but the mark."""
    usages = values(ops.context_usage(LIMITS), TALK[2:4])[1:]
    chart = plot_usage(usages)
    assert (rows(chart, "line"), len(rows(chart, "point"))) == ([], 1)


def test_triggers() -> None:
    """A point per trigger by its cause, a rule per threshold."""
    triggers = values(ops.compaction_triggers(LIMITS), TALK)
    chart = plot_triggers(triggers)
    drawn = [(row["session"], row["ratio"], row["cause"]) for row in rows(chart, "point")]
    assert drawn == [("a", 0.8, "sample")]
    assert rows(chart, "rule") == [{"ratio": 0.78}]


def test_tasks_as_a_gantt_chart() -> None:
    """A bar per state from its beginning to the next, a tick per call, a row per task."""
    chart = plot_tasks(values(ops.task_progress(), TASKS))
    bars = [
        (row["task"], row["state"], row["from"][-14:-6], row["to"][-14:-6]) for row in rows(chart, "bar")
    ]
    assert [bar for bar in bars if bar[0].endswith("a)")] == [
        ("Look (…a)", "pending", "00:00:00", "00:00:01"),
        ("Look (…a)", "running", "00:00:01", "00:00:04"),
        ("Look (…a)", "waiting", "00:00:04", "00:00:06"),
        ("Look (…a)", "running", "00:00:06", "00:00:08"),
    ]
    assert [(row["task"], row["tool"]) for row in rows(chart, "tick")] == [("Look (…a)", "bash")]
    named = {row["state"] for row in rows(chart, "text")}
    assert named  # where there is room: not by colour alone
    assert named <= {row["state"] for row in rows(chart, "bar")}


def test_tasks_of_one_name_are_two_rows_and_a_new_name_is_no_new_row() -> None:
    """A row is a session, whatever it is called, and is called what it was called last."""
    chart = plot_tasks(values(ops.task_progress(), TASKS))
    assert {row["task"] for row in rows(chart, "bar")} == {"Look (…a)", "Look (…b)"}
    assert {row["task"] for row in rows(plot_tasks(values(ops.task_progress(), TASKS[:2])), "bar")} == {
        "a"
    }


def test_stalls_are_marked_on_their_tasks() -> None:
    """Those of the parent, which is no task, have no row to be marked on."""
    tasks, stalls = values(ops.task_progress(), TASKS), values(ops.stalls(stale=5, tool_stale=5), TASKS)
    chart = plot_tasks(tasks, stalls=stalls)
    assert {report.session_id for report in stalls} >= {"p", "b"}
    assert {(row["task"], row["stall"]) for row in rows(chart, "point")} == {("Look (…b)", "stale")}
    assert all(set(row) == {"task", "at", "stall", "age"} for row in rows(chart, "point"))


@pytest.mark.parametrize(
    ("plot", "of"),
    [
        (plot_usage, "context_usage"),
        (plot_triggers, "compaction_triggers"),
        (plot_tasks, "task_progress"),
    ],
)
def test_nothing_to_draw_is_said(plot: Callable[..., Any], of: str) -> None:
    """An empty chart would look as if all was well."""
    with pytest.raises(ValueError, match=f"values must have at least one value of {of}, got none"):
        plot([])


def test_a_chart_is_a_picture() -> None:
    """As a code host shows it: drawn here, not by a script of the page."""
    convert = pytest.importorskip("vl_convert")
    for chart in (
        plot_usage(values(ops.context_usage(LIMITS), TALK), threshold=0.78),
        plot_tasks(values(ops.task_progress(), TASKS), stalls=values(ops.stalls(stale=5), TASKS)),
        plot_triggers(values(ops.compaction_triggers(LIMITS), TALK)),
    ):
        assert "<svg" in convert.vegalite_to_svg(chart.to_json())


# --- values as HTML -------------------------------------------------------------------------------

EVIL = "<script>&\"'"


def test_a_reading_as_html() -> None:
    """A bar, its percent, and the counts; without a limit no bar."""
    known, unknown = (
        values(ops.context_usage(limits), ((0, assistant(EVIL, "m1", input=50_000)),))[0]._repr_html_()
        for limits in (LIMITS, ContextLimits())
    )
    assert '<progress max="100" value="25.0"></progress> 25.0 %' in known
    assert "50_000/200_000" in known
    assert "50_000/unknown" in unknown
    assert "<progress" not in unknown
    assert "<script" not in known + unknown


def test_an_overview_as_html() -> None:
    """Name, state, how full, calls; what an agent calls itself is text."""
    timed = (
        (0, created("s", title=EVIL)),
        (1, busy("s")),
        (2, tool("s", "c1", EVIL, "running")),
        (3, assistant("s", "m1", input=250_000)),
        (4, idle("s")),
    )
    html = values(ops.session_overview(LIMITS, at_most=0.1), timed)[-1]._repr_html_()
    assert "&lt;script&gt;" in html
    assert "125.0 % full, 1 calls" in html
    assert "running" in html
    assert "<script" not in html


def test_a_task_as_html() -> None:
    """Name, state, calls and a bar of its siblings."""
    timed = (
        (0, created("a", "p", title=EVIL)),
        (0, created("b", "p")),
        (1, busy("a")),
        (1, busy("b")),
        (2, tool("a", "c1", EVIL, "running")),
        (3, idle("a")),
        (20, idle("p")),
    )
    shown = [each._repr_html_() for each in values(ops.task_progress(), timed) if each.session_id == "a"]
    assert "&lt;script&gt;" in shown[-1]
    assert 'max="2"' in shown[-1]
    assert 'value="1"' in shown[-1]
    assert all("<script" not in each for each in shown)
