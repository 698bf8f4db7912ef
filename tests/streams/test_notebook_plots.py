"""What the plots draw, by the data that is in them."""

from typing import Any

import pytest

import operators as ops
from streams import ContextLimits
from streams.notebook import plot_tasks, plot_triggers, plot_usage
from streams.testing import assistant, busy, compacted, created, idle, outputs, text, tool

LIMITS = ContextLimits({"anthropic/x": 200_000})


def layers(chart: Any) -> list[dict[str, Any]]:
    """Each with its mark and its rows; altair keeps equal data sets once, by name."""
    drawn = chart.to_dict()
    found = []
    for layer in drawn["layer"]:
        data = layer.get("data", drawn.get("data"))
        rows = data["values"] if "values" in data else drawn["datasets"][data["name"]]
        found.append({"mark": layer["mark"]["type"], "rows": rows})
    return found


def marks(chart: Any) -> list[str]:
    return [layer["mark"] for layer in layers(chart)]


def test_usage_is_a_line_that_breaks_where_it_is_unknown() -> None:
    """A compaction is a triangle, and what comes after it another segment of the line."""
    usages = outputs(
        ops.context_usage(LIMITS),
        [
            (0, assistant("s", "m1", input=100_000)),
            (1, assistant("t", "m1", input=50_000)),
            (2, compacted("s")),
            (3, assistant("s", "m2", input=20_000)),
        ],
    )
    chart = plot_usage(usages, threshold=0.75)
    assert marks(chart) == ["rule", "text", "rule", "text", "line", "point"]
    limit, _, threshold, _, line, compactions = layers(chart)
    assert limit["rows"] == [{"tokens": 200_000, "line": "limit 200,000"}]
    assert threshold["rows"] == [{"tokens": 150_000.0, "line": "threshold 75%"}]
    drawn = {(each["segment"], each["tokens"], each["percent"]) for each in line["rows"]}
    assert drawn == {("s/0", 100_000, 50.0), ("s/1", 20_000, 10.0), ("t/0", 50_000, 25.0)}
    assert [(each["session"], each["at"]) for each in compactions["rows"]] == [
        ("s", "1970-01-01T00:00:02+00:00")
    ]


def test_what_is_not_known_is_not_drawn() -> None:
    """No line without a limit, and none for a threshold that is not given."""
    unlimited = outputs(ops.context_usage(ContextLimits()), [assistant("s", "m1", input=1000)])
    assert marks(plot_usage(unlimited, threshold=0.5)) == ["line", "point"]
    assert layers(plot_usage(unlimited))[0]["rows"][0]["percent"] is None
    limited = outputs(ops.context_usage(LIMITS), [assistant("s", "m1", input=1000)])
    assert marks(plot_usage(limited)) == ["rule", "text", "line", "point"]


def test_triggers_are_points_over_their_thresholds() -> None:
    """Each at its fraction of the limit, with its cause."""
    triggers = outputs(ops.compaction_triggers(LIMITS), [assistant("s", "m1", input=190_000)])
    rule, points = layers(plot_triggers(triggers))
    assert rule["rows"] == [{"ratio": 0.78}]
    [point] = points["rows"]
    assert (point["session"], point["ratio"], point["tokens"]) == ("s", 0.95, 190_000)


def test_tasks_are_bars_with_a_tick_per_call() -> None:
    """A bar per state, to the next one or to the end of what is drawn; by title, else by id."""
    tasks = outputs(
        ops.task_progress(),
        [
            (0, created("a")),
            (1, created("b", "a", title="build")),
            (1, created("c", "a")),
            (2, busy("b")),
            (3, tool("b", "c1", "bash", "running", input={"command": "make"})),
            (4, busy("c")),
            (9, text("b", "m", "p", "done")),
            (10, idle("b")),
            (20, tool("c", "c2", "read", "running", input={})),
        ],
    )
    bars, ticks = layers(plot_tasks(tasks))
    drawn = {(bar["task"], bar["state"], bar["from"][-8:-6], bar["to"][-8:-6]) for bar in bars["rows"]}
    assert drawn == {
        ("build", "pending", "01", "02"),
        ("build", "running", "02", "10"),
        ("c", "pending", "01", "04"),
        ("c", "running", "04", "20"),
    }
    assert [(tick["task"], tick["tool"]) for tick in ticks["rows"]] == [("build", "bash"), ("c", "read")]


@pytest.mark.parametrize("plot", [plot_usage, plot_triggers, plot_tasks])
def test_nothing_cannot_be_drawn(plot: Any) -> None:
    """The message names the operator whose values are missing."""
    with pytest.raises(ValueError, match=r"at least one value of (context_usage|compaction_t|task_p)"):
        plot([])
