"""What is drawn of tasks and readings over time."""

from operators import context_usage, task_progress
from streams import ContextLimits
from streams.testing import assistant, busy, compacted, created, idle, outputs, text, tool
from streams.timelines import readings, stretches, tool_starts

LIMITS = ContextLimits({"anthropic/x": 200_000})

TALK = [
    (0.0, created("a", "p")),
    (1.0, busy("a")),
    (2.0, created("b", "p")),
    (3.0, tool("a", "c1", "bash", "running")),
    (4.0, busy("b")),
    (5.0, tool("a", "c2", "read", "running")),
    (6.0, text("a", "m", "x", "done")),
    (9.0, idle("a")),
]

TASKS = outputs(task_progress(minimum_runtime=0), TALK, complete=False)


def test_a_stretch_per_state() -> None:
    """From each value to the next in another state; an end ends it, and what has none goes on to the end."""
    drawn = [(each.task.session_id, each.state, each.begin, each.end) for each in stretches(TASKS, 20.0)]
    assert drawn == [
        ("a", "pending", 0.0, 1.0),
        ("a", "running", 1.0, 9.0),
        ("b", "pending", 2.0, 4.0),
        ("b", "running", 4.0, 20.0),
    ]


def test_the_last_value_is_the_end_by_default() -> None:
    """Where nobody says how far to draw."""
    assert stretches(TASKS)[-1].end == 9.0
    assert stretches([]) == []


def test_a_stretch_has_its_last_value() -> None:
    """So that what was counted within it is known."""
    assert [each.task.tool_calls for each in stretches(TASKS)] == [0, 2, 0, 0]


def test_tool_starts() -> None:
    """One value for each call that was counted, whichever other session speaks in between."""
    assert [(each.at, each.last_tool) for each in tool_starts(TASKS)] == [(3.0, "bash"), (5.0, "read")]


def test_readings_are_parted_where_usage_is_unknown() -> None:
    """U1: a line through a compaction would tell of a usage that nobody measured."""
    values = [
        (0.0, assistant("s", "m1", input=10_000)),
        (1.0, assistant("s", "m2", input=20_000)),
        (2.0, compacted("s")),
        (3.0, assistant("s", "m3", input=5_000)),
    ]
    parts = readings(outputs(context_usage(LIMITS), values))
    assert [[usage.tokens for usage in part] for part in parts] == [[10_000, 20_000], [5_000]]
