"""How far each background task is."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Literal, cast

import msgspec
from reactivex import abc

from operators import checks
from operators.family import ACTIVE, FamilyFold
from operators.lift import Operator, lift
from operators.task_state import ABORT, TERMINAL, TRANSIENT, Task, child_of
from streams.events import (
    MessageUpdated,
    PartDelta,
    PartUpdated,
    SessionError,
    SessionEvent,
    SessionIdle,
    SessionInfo,
    SessionStatus,
)
from streams.faults import Report

__all__ = ["TaskCounts", "TaskFold", "TaskProgress", "TaskState", "task_progress"]

TaskState = Literal[
    "pending", "running", "waiting", "retrying", "idle", "completed", "aborted", "failed", "gone"
]

ARCHIVE = 100
"""Ended children that a parent still counts one by one (P20)."""


class TaskCounts(msgspec.Struct, frozen=True, gc=False):
    """How many tasks of one parent are in which state. ``pending`` counts those without a session too."""

    pending: int = 0
    running: int = 0
    waiting: int = 0
    retrying: int = 0
    idle: int = 0
    completed: int = 0
    aborted: int = 0
    failed: int = 0
    gone: int = 0

    @property
    def total(self) -> int:
        """All tasks of the parent."""
        return sum(getattr(self, name) for name in self.__struct_fields__)

    @property
    def ended(self) -> int:
        """Those that are over."""
        return self.completed + self.aborted + self.failed + self.gone


class TaskProgress(msgspec.Struct, frozen=True, gc=False):
    """How far a background task, a session started by another one, is.

    Attributes:
        session_id: The task's session.
        parent_id: The session that started it.
        root_id: The topmost session known above it.
        depth: How many sessions are above it; at least 1.
        title: What the task is called.
        agent: Who works on it.
        state: ``pending`` (nothing heard of it but its name), ``running``, ``waiting`` (for a human, it
            or a task of its own), ``retrying``, ``idle`` (its turn ended, but not the task), or how it
            ended: ``completed``, ``aborted``, ``failed``, ``gone`` (deleted or expired before its end).
        tool_calls: Distinct tool calls so far.
        last_tool: The tool called last.
        last_text: The end of the last text, at most 200 characters.
        tokens: Tokens that its answers have used, all kinds together.
        cost: What they cost, USD.
        started: Seconds, the first sign of work; None when there was none.
        last_activity: Seconds, the last one.
        finished: Seconds, when it ended; None while it has not.
        error: The name of the error it ended with, or is retrying after.
        siblings: The parent's tasks by state, this one among them.
        all_complete: True on the one value that makes all the parent's tasks ended.
    """

    session_id: str
    parent_id: str
    root_id: str
    depth: int
    title: str
    agent: str
    state: TaskState
    tool_calls: int
    last_tool: str
    last_text: str
    tokens: int
    cost: float
    started: float | None
    last_activity: float | None
    finished: float | None
    error: str
    siblings: TaskCounts
    all_complete: bool


class Told(Task):
    """A task, and what was said of it last."""

    said: tuple[object, ...] = ()


_Outputs = Iterable[TaskProgress]
_Take = Callable[[Told, SessionEvent, float], _Outputs]


class TaskFold(FamilyFold[Told, TaskProgress]):
    """Follows every session as a task, and speaks of those that have a parent."""

    def __init__(self, minimum_runtime: float, report: Report) -> None:
        super().__init__(report)
        self._minimum_runtime = minimum_runtime

    def takes(self) -> Mapping[type[SessionEvent], _Take]:
        return {
            PartDelta: self._delta,
            PartUpdated: self._part,
            MessageUpdated: self._answer,
            SessionStatus: self._status,
            SessionIdle: self._idle,
            SessionError: self._error,
            SessionInfo: self._described,
        }

    def start(self, session_id: str, now: float) -> Told:
        return Told(session_id)

    def deadline(self, state: Told) -> float | None:
        return state.idle_at

    def on_timer(self, state: Told, now: float) -> _Outputs:
        """The idle that came too early to be believed was not followed by anything (P1)."""
        state.idle_at = None
        return self._turn_over(state, now)

    def linked(self, session_id: str, now: float) -> _Outputs:
        parent = self._parent_of(session_id, now)
        if parent is not None:
            parent.announced = False
        return self._say(self.states[session_id], now)

    def waiting_changed(self, session_ids: Iterable[str], now: float) -> _Outputs:
        for session_id in session_ids:
            yield from self._say(self.states[session_id], now)

    def gone(self, state: Told, event: SessionEvent | None, now: float) -> _Outputs:
        if event is None:
            return
        if state.outcome not in TERMINAL:
            state.outcome, state.finished = "gone", now
        yield from self._say(state, now)
        parent = self.states.get(self.tree.parent(state.session_id))
        if parent is not None:
            parent.ended_children[state.session_id] = state.outcome
            if len(parent.ended_children) > ARCHIVE:
                del parent.ended_children[next(iter(parent.ended_children))]

    def state_name(self, state: Told) -> TaskState:
        """What to call the state the task is in."""
        if state.outcome:
            return cast(TaskState, state.outcome)
        if self.requests and self.is_waiting(state.session_id):
            return "waiting"
        if state.retry:
            return "retrying"
        if state.active:
            return "running"
        return "pending" if state.started is None else "idle"

    def counts(self, parent_id: str) -> TaskCounts:
        """The tasks of one parent by state; a launch without a session yet is a pending task (P6)."""
        counted: dict[str, int] = {}
        children = self.tree.children(parent_id)
        parent = self.states.get(parent_id)
        ended = {} if parent is None else parent.ended_children
        for child in {*children, *ended}:
            state = self.states.get(child)
            name = ended.get(child, "pending") if state is None else self.state_name(state)
            counted[name] = counted.get(name, 0) + 1
        if parent is not None and parent.launches:
            unlinked = sum(not child for child in parent.launches.values())
            unclaimed = sum(child not in parent.launches.values() for child in self._live(children))
            counted["pending"] = counted.get("pending", 0) + max(0, unlinked - unclaimed)
        return TaskCounts(**counted)

    def _live(self, children: Iterable[str]) -> list[str]:
        states = (self.states.get(child) for child in children)
        return [each.session_id for each in states if each is not None and not each.outcome]

    # --- events -------------------------------------------------------------------------------------

    def _delta(self, state: Told, event: SessionEvent, now: float) -> _Outputs:
        was_active = state.active
        state.take_delta(cast(PartDelta, event), now)
        return () if was_active else self._say(state, now)

    def _part(self, state: Told, event: SessionEvent, now: float) -> _Outputs:
        part = cast(PartUpdated, event).part
        state.take_part(part, now)
        outputs: list[TaskProgress] = []
        child = child_of(part)
        if child and self.tree.link(child, state.session_id):
            if child not in self.states:
                self.states[child] = self.start(child, now)
            outputs += self.linked(child, now)
        return [*outputs, *self._say(state, now)]

    def _answer(self, state: Told, event: SessionEvent, now: float) -> _Outputs:
        message = cast(MessageUpdated, event)
        if message.role == "assistant" and not message.finish and message.completed is None:
            state.begin(now)
        state.take_answer(message)
        return self._say(state, now)

    def _described(self, state: Told, event: SessionEvent, now: float) -> _Outputs:
        state.take_info(cast(SessionInfo, event))
        return ()

    def _status(self, state: Told, event: SessionEvent, now: float) -> _Outputs:
        status = cast(SessionStatus, event)
        if status.status not in ACTIVE:
            return self._idle(state, event, now)
        state.take_status(status, now)
        return self._say(state, now)

    def _error(self, state: Told, event: SessionEvent, now: float) -> _Outputs:
        """An error that the agent does not recover from ends the task, even without an idle (P19)."""
        name = cast(SessionError, event).error.name
        state.error = name
        if name in TRANSIENT or (state.outcome in TERMINAL and not state.active):
            return ()
        return self._end(state, "failed", now)

    def _idle(self, state: Told, event: SessionEvent, now: float) -> _Outputs:
        """Both idle signals are one, and two without work between them are one (P3, P5)."""
        if not state.active and not (state.error and not state.outcome):
            return ()
        state.active = state.retry = False
        state.open_calls.clear()
        state.launches.clear()
        if not state.error and not state.output:
            return self._say(state, now)
        earliest = (state.turn or 0.0) + self._minimum_runtime
        if not state.error and now < earliest:
            state.idle_at = earliest
            return self._say(state, now)
        return self._turn_over(state, now)

    # --- ends ---------------------------------------------------------------------------------------

    def _turn_over(self, state: Told, now: float) -> _Outputs:
        """A turn that ended is not a task that is done: not while a task of its own lives (P6)."""
        if state.error:
            return self._end(state, "aborted" if state.error == ABORT else "failed", now)
        if self._live(self.tree.children(state.session_id)) or state.wake_owed:
            return self._say(state, now)
        return self._end(state, "completed", now)

    def _end(self, state: Told, outcome: str, now: float) -> _Outputs:
        state.outcome, state.finished, state.active = outcome, now, False
        parent = self.states.get(self.tree.parent(state.session_id))
        if parent is not None and not parent.active and not parent.outcome:
            parent.wake_owed = True
        return self._say(state, now)

    def _parent_of(self, session_id: str, now: float) -> Told | None:
        parent_id = self.tree.parent(session_id)
        if parent_id and parent_id not in self.states:
            self.states[parent_id] = self.start(parent_id, now)
        return self.states.get(parent_id)

    def _say(self, state: Told, now: float) -> _Outputs:
        """The task's value if anything but text and times has changed, and it is known to be a task."""
        parent_id = self.tree.parent(state.session_id)
        if not parent_id:
            return ()
        name = self.state_name(state)
        said = (name, parent_id, state.calls, state.last_tool, state.tokens, state.title)
        if said == state.said:
            return ()
        state.said = said
        parent = self._parent_of(state.session_id, now)
        counts = self._with(state, self.counts(parent_id), name)
        complete = counts.ended == counts.total
        news = parent is not None and complete and not parent.announced
        if parent is not None:
            parent.announced = complete
        return (self._value(state, name, parent_id, counts, news),)

    def _with(self, state: Told, counts: TaskCounts, name: TaskState) -> TaskCounts:
        """A session that is being dropped is no longer among the states, but still counts."""
        if state.session_id in self.states or name != "gone":
            return counts
        return msgspec.structs.replace(counts, pending=max(0, counts.pending - 1), gone=counts.gone + 1)

    def _value(
        self, state: Told, name: TaskState, parent_id: str, counts: TaskCounts, news: bool
    ) -> TaskProgress:
        return TaskProgress(
            state.session_id,
            parent_id,
            self.tree.root(state.session_id),
            self.tree.depth(state.session_id),
            state.title,
            state.agent,
            name,
            state.calls,
            state.last_tool,
            state.last_text(),
            state.tokens,
            state.cost,
            state.started,
            state.last,
            state.finished,
            state.error,
            counts,
            news,
        )


def task_progress(
    *, minimum_runtime: float | timedelta = 5.0, scheduler: abc.SchedulerBase | None = None
) -> Operator[TaskProgress]:
    """Emits a ``TaskProgress`` when a background task changes its state, calls a tool or spends tokens.

    Like ``scan`` over all sessions, emitting the ones that were started by another.

    Marbles (1 s a character)::

        events  -c-b-t--i----|
        task_progress(minimum_runtime=0)
        result  -x-y-z--d----|

        c = created("child", "parent")
        b = busy("child")
        t = tool("child", "call_1", "bash", "running")
        i = idle("child")
        x: session_id="child", parent_id="parent", state="pending"
        y: state="running", started=3.0
        z: state="running", tool_calls=1, last_tool="bash"
        d: state="completed", finished=8.0, all_complete=True

    Args:
        minimum_runtime: Seconds from a turn's start within which an idle is not believed at once: it
            counts when they are over, unless work is seen before. 0 or more. Default 5.
        scheduler: Clock and timer; see ``per_session``.

    Returns:
        An operator from events to ``TaskProgress``. ``siblings`` counts the parent's tasks by state, and
        ``all_complete`` is true on exactly one value per batch of them.

    Raises:
        ValueError: ``minimum_runtime`` is below 0.

    Memory: per session about 1 kB: the end of its text, the last 256 calls' and 16 answers' ids, the
        states of 100 ended tasks. Dropped with the session.
    Time: one pending timer, while an early idle waits.
    On completion and error: nothing is emitted; a task without an end has none.

    Example:
        >>> import operators as ops
        >>> from streams.testing import busy, created, idle, outputs, text
        >>> events = [created("c", "p"), busy("c"), text("c", "m", "p", "hi"), (9, idle("c"))]
        >>> [each.state for each in outputs(ops.task_progress(), events)]
        ['pending', 'running', 'completed']

    Source: field failures P1 to P7, P12, P16 to P20, S10, S11.
    """
    seconds = checks.seconds("minimum_runtime", minimum_runtime, zero=True)
    return lift(lambda report: TaskFold(seconds, report), scheduler)
