"""How far each session is with its todo list."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal

import msgspec
from reactivex import abc

from operators.lift import Operator
from operators.per_session import Logic, per_session
from operators.todo_list import incomplete, statuses_of, unknown_statuses
from streams.events import SessionEvent, Todo, TodosUpdated

__all__ = ["TodoProgress", "todo_progress"]

Change = Literal["started", "progressed", "edited", "cleared"]


class TodoProgress(msgspec.Struct, frozen=True, gc=False):
    """A session's todo list, as it is now.

    Attributes:
        session_id: The session.
        at: Seconds, when the list was received.
        todos: The list.
        counts: How many todos have which status.
        total: How many there are.
        incomplete: How many of them are still to be done: those neither completed, cancelled, blocked
            nor deleted.
        ratio: The share that is not, 0 to 1; None for an empty list.
        change: What is new: ``started``: the first list. ``progressed``: statuses changed. ``edited``:
            only wording, priority or order did. ``cleared``: the list is empty.
        moved: By how much each status's count changed since the list before.
        unknown: Statuses that opencode does not document; they count as incomplete.
    """

    session_id: str
    at: float
    todos: tuple[Todo, ...]
    counts: Mapping[str, int]
    total: int
    incomplete: int
    ratio: float | None
    change: Change
    moved: Mapping[str, int]
    unknown: tuple[str, ...]


class TodosState(msgspec.Struct):
    """What is kept per session: the last list, and when it came."""

    session_id: str
    todos: tuple[Todo, ...] | None = None
    at: float = 0.0


class TodoProgressLogic(Logic[TodosState, TodoProgress]):
    """Says a list that differs from the last one."""

    wants: ClassVar[tuple[type[SessionEvent], ...]] = (TodosUpdated,)

    def start(self, session_id: str, now: float) -> TodosState:
        return TodosState(session_id)

    def on_event(self, state: TodosState, event: SessionEvent, now: float) -> Iterable[TodoProgress]:
        if not isinstance(event, TodosUpdated):
            return ()
        before, todos = state.todos, event.todos
        if todos == before or event.at < state.at:  # said again, or late
            return ()
        state.todos, state.at = todos, event.at
        return [_progress(state.session_id, event.at, before, todos)] if todos or before else ()


def _progress(
    session_id: str, at: float, before: tuple[Todo, ...] | None, todos: tuple[Todo, ...]
) -> TodoProgress:
    left = len(incomplete(todos))
    counts = Counter(todo.status for todo in todos)
    moved = Counter(counts)
    moved.subtract(Counter(todo.status for todo in before or ()))
    return TodoProgress(
        session_id,
        at,
        todos,
        dict(counts),
        len(todos),
        left,
        1 - left / len(todos) if todos else None,
        _change(before, todos),
        {status: by for status, by in moved.items() if by},
        unknown_statuses(todos),
    )


def _change(before: tuple[Todo, ...] | None, todos: tuple[Todo, ...]) -> Change:
    if not todos:
        return "cleared"
    if not before:
        return "started"
    return "edited" if statuses_of(before) == statuses_of(todos) else "progressed"


def todo_progress(*, scheduler: abc.SchedulerBase | None = None) -> Operator[TodoProgress]:
    """Emits a ``TodoProgress`` whenever a session's todo list has changed.

    Like ``distinct_until_changed`` per session, with what changed.

    Marbles (1 s a character)::

        events  --a--a--b----c--|
        todo_progress()
        result  --x-----y----z--|

        a = todos("s", "in_progress", "pending")
        b = todos("s", "completed", "in_progress")
        c = todos("s")
        x: change="started", counts={"in_progress": 1, "pending": 1}, incomplete=2, ratio=0.0
        y: change="progressed", moved={"completed": 1, "pending": -1}, incomplete=1, ratio=0.5
        z: change="cleared", total=0, ratio=None

    Args:
        scheduler: The clock; see ``per_session``.

    Returns:
        An operator from events to ``TodoProgress``.

    Raises:
        Nothing.

    Memory: per session its list. Dropped with the session.
    Time: none.
    On completion and error: nothing is pending.

    Example:
        >>> import operators as ops
        >>> from streams.testing import outputs, todos
        >>> [progress] = outputs(ops.todo_progress(), [todos("s", "completed", "pending")])
        >>> progress.incomplete, progress.ratio
        (1, 0.5)

    Source: field failures D3, D5, D13.
    """
    return per_session(TodoProgressLogic(), scheduler=scheduler)
