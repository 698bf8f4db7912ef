"""What a todo list says: the one place that knows which todos are open, and what counts as progress."""

from typing import Final

from streams.events import Todo

__all__ = ["Statuses", "incomplete", "is_incomplete", "statuses_of", "unknown_statuses"]

CLOSED: Final = frozenset({"completed", "cancelled", "blocked", "deleted"})
OPEN: Final = frozenset({"pending", "in_progress"})

Statuses = tuple[tuple[str, str], ...]
"""What progress is a change of. Wording, priority and order are not in it."""


def is_incomplete(todo: Todo) -> bool:
    """Whether something is left to be done about it. A status nobody knows counts as open (D5)."""
    return todo.status not in CLOSED


def incomplete(todos: tuple[Todo, ...]) -> tuple[Todo, ...]:
    """The todos that something is left to be done about: none are those closed or blocked (D5)."""
    return tuple(todo for todo in todos if is_incomplete(todo))


def unknown_statuses(todos: tuple[Todo, ...]) -> tuple[str, ...]:
    """Statuses that are neither open nor closed by name, sorted."""
    return tuple(sorted({todo.status for todo in todos} - CLOSED - OPEN))


def statuses_of(todos: tuple[Todo, ...]) -> Statuses:
    """Each id's status; for todos without ids, as opencode's are, how many have which status (D3).

    Never the contents: a todo worded anew would count as progress. Two todos may well be equal (D13).
    """
    return tuple(sorted((todo.id, todo.status) for todo in todos))
