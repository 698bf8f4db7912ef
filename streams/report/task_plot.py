"""Background tasks as a Gantt chart: a line of text and a bar per task."""

from collections.abc import Iterable, Sequence
from typing import Final
from xml.etree.ElementTree import Element

from operators import TaskProgress
from operators.task_counts import TaskState
from streams.report.markup import element
from streams.report.scale import Span, at_time
from streams.timelines import Stretch, stretches, tool_starts
from streams.watch.words import counted, duration

__all__ = ["legend", "task_rows"]

BARS: Final[dict[TaskState, tuple[int, int]]] = {
    "pending": (7, 2),
    "running": (2, 12),
    "waiting": (5, 6),
    "retrying": (2, 12),
    "idle": (3, 10),
}
"""Where a bar begins and how high it is, in pixels: states differ in shape, not in colour alone."""


def task_rows(tasks: Sequence[TaskProgress], span: Span) -> Element:
    """A list with an entry per task, in the order in which they came to be."""
    last = {task.session_id: task for task in tasks}
    drawn = stretches(tasks, span.end)
    starts = tool_starts(tasks)
    rows = element("ol", class_="tasks")
    for session_id, task in last.items():
        its_own = [each for each in drawn if each.task.session_id == session_id]
        calls = [each.at for each in starts if each.session_id == session_id]
        rows.append(_row(task, its_own, calls, span))
    return rows


def _row(task: TaskProgress, drawn: list[Stretch], calls: list[float], span: Span) -> Element:
    name = task.title or task.session_id
    told = element("p", element("strong", name), " ", element("span", _in_words(task)))
    bars = [_bar(each, span) for each in drawn]
    grid = [_upright(place, "grid") for place, _ in span.ticks()]
    ticks = [_upright(span.place(at), "call") for at in calls]
    label = f"{name}: " + ", ".join(_stretch_in_words(each, span) for each in drawn)
    chart = element("svg", *grid, *bars, *ticks, role="img", aria_label=label, class_="gantt")
    return element("li", told, chart)


def _in_words(task: TaskProgress) -> str:
    state = f"{task.state}, {task.error}" if task.error else task.state
    active = ""
    if task.started is not None and task.last_activity is not None:
        active = f"active for {duration(task.last_activity - task.started)}"
    parts = (state, active, counted(task.tool_calls, "tool call"), counted(task.tokens, "token"))
    return " · ".join(filter(None, parts))


def _stretch_in_words(stretch: Stretch, span: Span) -> str:
    begin, end = at_time(stretch.begin - span.begin), at_time(stretch.end - span.begin)
    return f"{stretch.state} from {begin} to {end}"


def _bar(stretch: Stretch, span: Span) -> Element:
    y, height = BARS[stretch.state]
    begin, end = span.place(stretch.begin), span.place(stretch.end)
    told = element("title", _stretch_in_words(stretch, span))
    width = f"{max(end - begin, 0.1):.2f}%"
    x = f"{begin:.2f}%"
    return element("rect", told, x=x, width=width, y=str(y), height=str(height), class_=stretch.state)


def _upright(place: float, kind: str) -> Element:
    x = f"{place:.2f}%"
    return element("line", x1=x, x2=x, y1="0", y2="16", class_=kind)


def legend(tasks: Iterable[TaskProgress]) -> Element:
    """What the bars mean: the states that occur, and a tool call."""
    seen = {task.state for task in tasks}
    entries = element("ul", class_="legend")
    for state, (y, height) in BARS.items():
        if state in seen:
            bar = element("rect", x="0", width="24", y=str(y), height=str(height), class_=state)
            entries.append(_entry(bar, state))
    entries.append(_entry(element("line", x1="12", x2="12", y1="0", y2="16", class_="call"), "tool call"))
    return entries


def _entry(mark: Element, name: str) -> Element:
    return element("li", element("svg", mark, width="24", height="16", aria_hidden="true"), name)
