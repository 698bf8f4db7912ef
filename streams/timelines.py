"""Derived values as what is drawn of them over time: stretches of a state, unbroken readings."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

import msgspec

from operators import ContextUsage, TaskProgress
from operators.task_counts import TaskState

__all__ = ["Stretch", "readings", "stretches", "tool_starts"]

ENDED: Final = ("completed", "aborted", "failed", "gone")


class Stretch(msgspec.Struct):
    """A time in which a task was in one state.

    Attributes:
        state: The state.
        begin: Seconds, when it came to be in it.
        end: Seconds, when it left it; the end of what is drawn if it did not.
        task: The last value of the task within.
    """

    state: TaskState
    begin: float
    end: float
    task: TaskProgress


def stretches(tasks: Sequence[TaskProgress], end: float | None = None) -> list[Stretch]:
    """From each value to the next one of the same task that is in another state, in order of beginning.

    Args:
        tasks: What ``task_progress`` emitted, in order.
        end: Seconds, where what has no end is drawn to; by default the last value's time.
    """
    last = max((each.at for each in tasks), default=0.0) if end is None else end
    current: dict[str, Stretch] = {}
    found: list[Stretch] = []
    for task in tasks:
        stretch = current.get(task.session_id)
        if stretch is not None and stretch.state == task.state:
            stretch.task = task
            continue
        if stretch is not None:
            stretch.end = task.at
        if task.state in ENDED:
            current.pop(task.session_id, None)
            continue
        stretch = current[task.session_id] = Stretch(task.state, task.at, last, task)
        found.append(stretch)
    return found


def tool_starts(tasks: Iterable[TaskProgress]) -> list[TaskProgress]:
    """The values that count a tool call more than the one before."""
    counted: dict[str, int] = {}
    found: list[TaskProgress] = []
    for task in tasks:
        if task.tool_calls > counted.get(task.session_id, 0):
            found.append(task)
        counted[task.session_id] = task.tool_calls
    return found


def readings(usages: Iterable[ContextUsage]) -> list[list[ContextUsage]]:
    """One session's known readings, parted wherever usage was unknown in between."""
    parts = groupby(usages, lambda usage: usage.tokens is not None)
    return [list(part) for known, part in parts if known]
