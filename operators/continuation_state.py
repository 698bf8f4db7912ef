"""The fold behind ``continuations``: what a session waits for, and what stands against going on.

What it holds true, and where it was learnt (ids of the field failures): a human's abort holds until a
human speaks (D1), so does a full context unless it is compacted (D10); synthetic messages are nobody's
words (D6, D9) and a message known already says nothing new; a compaction holds until an ordinary answer
made after it (D7); progress is a change of statuses (D3), and only turns that brought none are counted
against a session (D4).
"""

from typing import Final, Literal

import msgspec

from operators.gauge import is_compaction
from operators.todo_list import Statuses, statuses_of
from operators.tool_states import key_of, last_word
from streams.events import (
    AgentError,
    MessageUpdated,
    Part,
    PartUpdated,
    PermissionAsked,
    PermissionReplied,
    QuestionAsked,
    QuestionReplied,
    SessionCompacted,
    SessionCreated,
    SessionError,
    SessionEvent,
    Todo,
    TodosUpdated,
)

__all__ = ["ContinuationState", "Halt", "take"]

Halt = Literal["", "aborted", "overflow"]

TASK: Final = "task"
QUESTION: Final = "question"


class ContinuationState(msgspec.Struct):
    """What is kept per session.

    ``idle_at`` is None while it works or a human has just spoken; ``due`` is when to judge it next, and
    ``epoch`` the compactions that a running countdown knows of, None while none runs. ``offered``: a
    continuation was emitted and nothing came of it yet. ``went_on``: the session did go on since.
    """

    session_id: str
    created: bool = False
    working: bool = False
    todos: tuple[Todo, ...] = ()
    todos_at: float = 0.0
    idle_at: float | None = None
    due: float | None = None
    epoch: int | None = None
    said: str = ""

    stopped: bool = False
    halt: Halt = ""
    waiting: dict[str, str] = {}
    tasks: dict[str, None] = {}
    compactions: int = 0
    acknowledged: int = 0
    compacted: float = -1.0
    newest: float = -1.0
    user: str = ""
    user_created: float = -1.0
    user_heard: str = ""

    offered: bool = False
    went_on: bool = False
    number: int = 0
    statuses: Statuses = ()
    stagnation: int = 0
    failures: int = 0
    failed_at: float = 0.0
    failed: bool = False


def take(state: ContinuationState, event: SessionEvent, now: float) -> None:
    """Take in one event that only changes what stands for or against going on."""
    match event:
        case PartUpdated():
            _part(state, event.part)
        case MessageUpdated(role="user"):
            _prompt(state, event)
        case MessageUpdated():
            _answer(state, event, now)
        case TodosUpdated() if event.at >= state.todos_at:
            state.todos, state.todos_at = event.todos, event.at
        case PermissionAsked() | QuestionAsked():
            state.waiting[event.request_id] = event.call_id
        case PermissionReplied() | QuestionReplied():
            state.waiting.pop(state.waiting.pop(event.request_id, ""), None)
        case SessionError():
            _error(state, event.error, now)
        case SessionCompacted():
            state.compactions += 1
            state.compacted = state.newest
            state.halt = "" if state.halt == "overflow" else state.halt
        case SessionCreated() if not state.created:
            state.created, state.working = True, bool(event.parent_id)  # a child is made to work (D12)
        case _:
            pass


def look(state: ContinuationState) -> None:
    """See whether the todos have moved since they were last looked at (D3, D4)."""
    statuses = statuses_of(state.todos)
    if statuses != state.statuses:
        state.statuses, state.stagnation = statuses, 0
    elif state.went_on:
        state.stagnation += 1
    state.went_on = False


def stop_waiting(state: ContinuationState) -> None:
    """The session is not idle, as far as is known: nothing is to be judged."""
    state.idle_at = state.due = state.epoch = None


def reconnect(state: ContinuationState) -> None:
    """Whatever was under way may have ended unheard; what a human decided holds."""
    stop_waiting(state)
    state.tasks.clear()
    state.working = state.offered = state.went_on = False


def goes_on(state: ContinuationState) -> None:
    """The session works again: what was offered has been taken up."""
    stop_waiting(state)
    state.went_on = state.went_on or state.offered
    state.offered = state.failed = False


def fail(state: ContinuationState, now: float) -> None:
    """An attempt, or a turn, failed; told twice, it counts once."""
    if not state.failed:
        state.failures += 1
        state.failed_at = now
    state.failed = True
    state.offered = state.went_on = False


def _part(state: ContinuationState, part: Part) -> None:
    if part.state is None:
        spoken = part.type == "text" and not part.synthetic and part.message_id == state.user
        if spoken and state.user_heard != state.user:
            _user_spoke(state)
        return
    key = key_of(part)
    if last_word(part, part.state) is not None:
        state.tasks.pop(key, None)
        state.waiting = {each: call for each, call in state.waiting.items() if key not in (each, call)}
    elif part.tool == TASK:
        state.tasks[key] = None
    elif part.tool == QUESTION:
        state.waiting[key] = key


def _user_spoke(state: ContinuationState) -> None:
    """A human's own words end every hold but the one that only they can lift."""
    goes_on(state)
    state.user_heard = state.user
    state.halt = ""
    state.waiting.clear()


def _prompt(state: ContinuationState, event: MessageUpdated) -> None:
    """User messages are updated again for long after: only a newer one is news, and only its text
    tells whether a human wrote it (D9)."""
    if event.created >= state.user_created:
        state.user, state.user_created = event.message_id, event.created


def _answer(state: ContinuationState, event: MessageUpdated, now: float) -> None:
    current = event.created >= max(state.newest, state.user_created)
    state.newest = max(state.newest, event.created)
    if not current:
        return
    if event.error is not None:
        _error(state, event.error, now)
    elif event.finish and not is_compaction(event):  # an overflowed one completes without (D10)
        state.went_on = state.went_on or state.offered
        state.offered = False
        state.failures = 0
        if event.created > state.compacted:
            state.acknowledged = state.compactions


def _error(state: ContinuationState, error: AgentError, now: float) -> None:
    if error.name == "MessageAbortedError":
        state.halt = "aborted"
    elif error.name == "ContextOverflowError" or "prompt is too long" in error.message.lower():
        state.halt = state.halt or "overflow"
    else:
        fail(state, now)
    state.offered = state.went_on = False
