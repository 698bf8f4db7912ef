"""Plots of derived values, on altair: what was emitted, drawn over the recorded time."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import altair as alt

from operators.compaction_triggers import CompactionTrigger
from operators.context_usage import ContextUsage
from operators.stalls import StallReport
from operators.task_progress import TaskProgress
from streams.timelines import Stretch, readings, stretches, tool_starts

__all__ = ["plot_tasks", "plot_triggers", "plot_usage"]

_T = TypeVar("_T")

Row = dict[str, Any]

PALETTE: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
"""Okabe and Ito's colours, which people with colour blindness tell apart."""

STATES: Final = {
    "pending": "#BBBBBB",
    "running": "#0072B2",
    "waiting": "#E69F00",
    "retrying": "#CC79A7",
    "idle": "#56B4E9",
}
"""Colours of the states that last; a task that has ended is drawn up to its end."""

ROOM_FOR_A_WORD: Final = 0.08
"""Fraction of a chart's width that the name of a state takes."""

LIMIT_COLOUR: Final = "#444444"
TIME_AXIS: Final = alt.Axis(format="%H:%M:%S", labelOverlap=True)
WIDTH: Final = 640
HEIGHT: Final = 260
ROW_HEIGHT: Final = 44


def plot_usage(
    values: Iterable[ContextUsage],
    *,
    threshold: float | None = None,
    title: str = "Context window in use",
) -> alt.LayerChart:
    """Draw the tokens of each session over time, with the limit, a threshold and the compactions.

    Args:
        values: What ``context_usage`` emitted, in order.
        threshold: Fraction of the limit to draw a line at; None draws none.
        title: The plot's title.

    Returns:
        An altair chart: one line per session, broken where usage is unknown; a grey line at the limit,
        a dashed one at the threshold, and a triangle on the axis at each compaction.

    Raises:
        ValueError: There are no values.
    """
    usages = _some(values, "context_usage")
    x = alt.X("at:T", title="time", axis=TIME_AXIS)
    line = (
        alt.Chart(_data(_segments(usages)))
        .mark_line(point=True, interpolate="step-after")
        .encode(
            x=x,
            y=alt.Y("tokens:Q", title="tokens", axis=alt.Axis(format="~s")),
            color=_by("session"),
            detail="segment:N",
            tooltip=["session:N", "tokens:Q", "percent:Q", "message:N"],
        )
    )
    compactions = (
        alt.Chart(_data([_row(each) for each in usages if each.reason == "compacted"]))
        .mark_point(shape="triangle-down", size=120, filled=True, opacity=1)
        .encode(x=x, y=alt.value(8), color=_by("session"), tooltip=["session:N", "at:T"])
    )
    layers = [*_limits(usages, threshold), line, compactions]
    return _layered(layers, title)


def plot_triggers(
    values: Iterable[CompactionTrigger], *, title: str = "Compaction triggers"
) -> alt.LayerChart:
    """Draw when each session should have been compacted, and how full it was.

    Args:
        values: What ``compaction_triggers`` emitted, in order.
        title: The plot's title.

    Returns:
        An altair chart: a point per trigger at its fraction of the limit, shaped by its cause, with the
        threshold as a dashed line.

    Raises:
        ValueError: There are no values.
    """
    triggers = _some(values, "compaction_triggers")
    rows = [
        {
            "session": each.session_id,
            "at": _time(each.at),
            "ratio": each.ratio,
            "tokens": each.tokens,
            "cause": each.cause,
        }
        for each in triggers
    ]
    points = (
        alt.Chart(_data(rows))
        .mark_point(size=90, filled=True)
        .encode(
            x=alt.X("at:T", title="time", axis=TIME_AXIS),
            y=alt.Y("ratio:Q", title="fraction of the limit", axis=alt.Axis(format="%")),
            color=_by("session"),
            shape=alt.Shape("cause:N", title="decided on"),
            tooltip=["session:N", "at:T", "tokens:Q", "ratio:Q", "cause:N"],
        )
    )
    thresholds = _data([{"ratio": each} for each in sorted({each.threshold for each in triggers})])
    rule = alt.Chart(thresholds).mark_rule(strokeDash=[6, 4], color=LIMIT_COLOUR).encode(y="ratio:Q")
    return _layered([rule, points], title)


def _layered(layers: list[alt.Chart], title: str) -> alt.LayerChart:
    chart = alt.LayerChart(layer=layers)
    return chart.properties(width=WIDTH, height=HEIGHT, title=title)


def _limits(usages: list[ContextUsage], threshold: float | None) -> list[alt.Chart]:
    """A line for each limit that was ever in force, and for the threshold of each."""
    limits = sorted({each.limit for each in usages if each.limit is not None})
    solid = [{"tokens": limit, "line": f"limit {limit:,}"} for limit in limits]
    dashed = [
        {"tokens": limit * threshold, "line": f"threshold {threshold:.0%}"}
        for limit in limits
        if threshold is not None
    ]
    return [
        layer
        for rows, dash in ((solid, [1, 0]), (dashed, [6, 4]))
        if rows
        for layer in _labelled_rules(rows, dash)
    ]


def _labelled_rules(rows: list[Row], dash: list[int]) -> list[alt.Chart]:
    base = alt.Chart(_data(rows)).encode(y="tokens:Q")
    text = base.mark_text(align="left", dx=4, dy=-6, color=LIMIT_COLOUR)
    return [
        base.mark_rule(color=LIMIT_COLOUR, strokeDash=dash),
        text.encode(x=alt.value(0), text="line:N"),
    ]


def _segments(usages: list[ContextUsage]) -> list[Row]:
    """Rows of known usage; a new segment begins wherever usage was unknown in between."""
    by_session: dict[str, list[ContextUsage]] = {}
    for usage in usages:
        by_session.setdefault(usage.session_id, []).append(usage)
    return [
        {**_row(usage), "segment": f"{session_id}/{number}"}
        for session_id, its_own in by_session.items()
        for number, part in enumerate(readings(its_own))
        for usage in part
    ]


def _row(usage: ContextUsage) -> Row:
    return {
        "session": usage.session_id,
        "at": _time(usage.at),
        "tokens": usage.tokens,
        "percent": None if usage.ratio is None else round(usage.ratio * 100, 1),
        "message": usage.message_id,
    }


def _by(name: str) -> alt.Color:
    return alt.Color(f"{name}:N", scale=alt.Scale(range=list(PALETTE)), title=name)


def _data(rows: list[Row]) -> alt.InlineData:
    return alt.InlineData(values=rows)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat()


def _some(values: Iterable[_T], source: str) -> list[_T]:
    found = list(values)
    if not found:
        raise ValueError(f"values must have at least one value of {source}, got none")
    return found


def plot_tasks(
    values: Iterable[TaskProgress],
    *,
    stalls: Iterable[StallReport] = (),
    title: str = "Background tasks",
) -> alt.LayerChart:
    """Draw when each background task was in which state, as a Gantt chart.

    Args:
        values: What ``task_progress`` emitted, in order.
        stalls: What ``stalls`` reported, to be marked; of sessions that are no task, nothing is drawn.
        title: The plot's title.

    Returns:
        An altair chart: a row per task, a bar per state it was in, coloured by the state and, where there
        is room, with its name below; tool calls are ticks, stalls are triangles.

    Raises:
        ValueError: There are no values.
    """
    tasks = _some(values, "task_progress")
    names = _names(tasks)
    y = alt.Y("task:N", title=None, sort=None, axis=alt.Axis(labelLimit=260))
    bars = (
        alt.Chart(_data([_bar(each, names) for each in stretches(tasks)]))
        .mark_bar(height=16)
        .encode(
            x=alt.X("from:T", title="time", axis=TIME_AXIS),
            x2="to:T",
            y=y,
            color=alt.Color(
                "state:N",
                scale=alt.Scale(domain=list(STATES), range=list(STATES.values())),
                title="state",
            ),
            tooltip=["task:N", "state:N", "tool calls:Q", "last tool:N", "tokens:Q"],
        )
    )
    labels = (
        alt.Chart(_data(_labels(tasks, names)))
        .mark_text(align="left", fontSize=9, dy=14, color="#333333")
        .encode(x="from:T", y=y, text="state:N")
    )
    ticks = (
        alt.Chart(_data([_tick(each, names) for each in tool_starts(tasks)]))
        .mark_tick(color="#000000", thickness=1.5, height=16)
        .encode(x="at:T", y=y, tooltip=["task:N", "tool:N"])
    )
    marks = (
        alt.Chart(_data(_stalls(stalls, names)))
        .mark_point(shape="triangle-down", size=90, filled=True, opacity=1, color="#D55E00", yOffset=-14)
        .encode(x="at:T", y=y, tooltip=["task:N", "stall:N", "age:Q"])
    )
    chart = _layered([bars, labels, ticks, marks], title)
    return chart.properties(height=max(80, ROW_HEIGHT * len(names)))


def _bar(stretch: Stretch, names: dict[str, str]) -> Row:
    times = {"from": _time(stretch.begin), "to": _time(stretch.end)}
    task = stretch.task
    return {"task": names[task.session_id], "state": stretch.state} | times | _counts(task)


def _labels(tasks: list[TaskProgress], names: dict[str, str]) -> list[Row]:
    """The bars that are wide enough for a word: who cannot tell the colours apart reads the state."""
    drawn = list(stretches(tasks))
    if not drawn:
        return []
    width = max(each.end for each in drawn) - min(each.begin for each in drawn)
    return [_bar(each, names) for each in drawn if each.end - each.begin >= width * ROOM_FOR_A_WORD]


def _tick(task: TaskProgress, names: dict[str, str]) -> Row:
    return {"task": names[task.session_id], "at": _time(task.at), "tool": task.last_tool}


def _stalls(stalls: Iterable[StallReport], names: dict[str, str]) -> list[Row]:
    return [
        {"task": names[each.session_id], "at": _time(each.at), "stall": each.kind, "age": each.age}
        for each in stalls
        if each.session_id in names
    ]


def _counts(task: TaskProgress) -> Row:
    return {"tool calls": task.tool_calls, "last tool": task.last_tool, "tokens": task.tokens}


def _names(tasks: list[TaskProgress]) -> dict[str, str]:
    """What each task was called last; of tasks with one name, each has the end of its id beside it."""
    last = {each.session_id: each.title or each.session_id for each in tasks}
    shared = Counter(last.values())
    return {
        session_id: f"{name} (…{session_id[-6:]})" if shared[name] > 1 else name
        for session_id, name in last.items()
    }
