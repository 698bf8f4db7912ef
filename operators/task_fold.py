"""The fold behind every operator that asks how a task is doing: turns, ends, and the tasks below."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Generic, Literal, TypeVar, cast

import msgspec

from operators.family import ACTIVE, FamilyFold
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

__all__ = ["TaskCounts", "TaskFold", "TaskState"]

TaskState = Literal[
    "pending", "running", "waiting", "retrying", "idle", "completed", "aborted", "failed", "gone"
]

ARCHIVE: Final = 100
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


_State = TypeVar("_State", bound=Task)
_Out = TypeVar("_Out")


class TaskFold(FamilyFold[_State, _Out], Generic[_State, _Out]):
    """Follows every session as a task. A subclass says what to emit when one may have changed.

    Args:
        minimum_runtime: Seconds within which an idle is not believed at once (P1).
        report: Where faults go.
    """

    def __init__(self, minimum_runtime: float, report: Report) -> None:
        super().__init__(report)
        self._minimum_runtime = minimum_runtime

    def takes(
        self,
    ) -> Mapping[type[SessionEvent], Callable[[_State, SessionEvent, float], Iterable[_Out]]]:
        return {
            PartDelta: self._delta,
            PartUpdated: self._part,
            MessageUpdated: self._answer,
            SessionStatus: self._status,
            SessionIdle: self._idle,
            SessionError: self._error,
            SessionInfo: self._described,
        }

    @abstractmethod
    def say(self, state: _State, now: float) -> Iterable[_Out]:
        """The task may have changed."""

    def deadline(self, state: _State) -> float | None:
        return state.idle_at

    def on_timer(self, state: _State, now: float) -> Iterable[_Out]:
        """The idle that came too early to be believed was not followed by anything (P1)."""
        state.idle_at = None
        return self._turn_over(state, now)

    def linked(self, session_id: str, now: float) -> Iterable[_Out]:
        parent = self.parent_of(session_id, now)
        if parent is not None:
            parent.announced = False
        return self.say(self.states[session_id], now)

    def waiting_changed(self, session_ids: Iterable[str], now: float) -> Iterable[_Out]:
        for session_id in session_ids:
            yield from self.say(self.states[session_id], now)

    def gone(self, state: _State, event: SessionEvent | None, now: float) -> Iterable[_Out]:
        if event is None:
            return
        if state.outcome not in TERMINAL:
            state.outcome, state.finished = "gone", now
        yield from self.say(state, now)
        parent = self.states.get(self.tree.parent(state.session_id))
        if parent is not None:
            parent.ended_children[state.session_id] = state.outcome
            if len(parent.ended_children) > ARCHIVE:
                del parent.ended_children[next(iter(parent.ended_children))]

    def state_name(self, state: _State) -> TaskState:
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

    def _delta(self, state: _State, event: SessionEvent, now: float) -> Iterable[_Out]:
        was_active = state.active
        state.take_delta(cast(PartDelta, event), now)
        return () if was_active else self.say(state, now)

    def _part(self, state: _State, event: SessionEvent, now: float) -> Iterable[_Out]:
        part = cast(PartUpdated, event).part
        state.take_part(part, now)
        outputs: list[_Out] = []
        child = child_of(part)
        if child and self.named(child, now) and self.tree.link(child, state.session_id):
            outputs += self.linked(child, now)
        return [*outputs, *self.say(state, now)]

    def _answer(self, state: _State, event: SessionEvent, now: float) -> Iterable[_Out]:
        message = cast(MessageUpdated, event)
        unfinished = message.role == "assistant" and not message.finish and message.completed is None
        if unfinished and not state.is_copy(message):
            state.begin(now)
        state.take_answer(message)
        return self.say(state, now)

    def _described(self, state: _State, event: SessionEvent, now: float) -> Iterable[_Out]:
        state.take_info(cast(SessionInfo, event))
        return ()

    def _status(self, state: _State, event: SessionEvent, now: float) -> Iterable[_Out]:
        status = cast(SessionStatus, event)
        if status.status not in ACTIVE:
            return self._idle(state, event, now)
        state.take_status(status, now)
        return self.say(state, now)

    def _error(self, state: _State, event: SessionEvent, now: float) -> Iterable[_Out]:
        """An error that the agent does not recover from ends the task, even without an idle (P19)."""
        name = cast(SessionError, event).error.name
        state.error = name
        if name in TRANSIENT or (state.outcome in TERMINAL and not state.active):
            return ()
        return self._end(state, "failed", now)

    def _idle(self, state: _State, event: SessionEvent, now: float) -> Iterable[_Out]:
        """Both idle signals are one, and two without work between them are one (P3, P5)."""
        if not state.active and not (state.error and not state.outcome):
            return ()
        state.active = state.retry = False
        state.open_calls.clear()
        state.launches.clear()
        if not state.error and not state.output:
            return self.say(state, now)
        earliest = (state.turn or 0.0) + self._minimum_runtime
        if not state.error and now < earliest:
            state.idle_at = earliest
            return self.say(state, now)
        return self._turn_over(state, now)

    # --- ends ---------------------------------------------------------------------------------------

    def _turn_over(self, state: _State, now: float) -> Iterable[_Out]:
        """A turn that ended is not a task that is done: not while a task of its own lives (P6)."""
        if state.error:
            return self._end(state, "aborted" if state.error == ABORT else "failed", now)
        if self._live(self.tree.children(state.session_id)) or state.wake_owed:
            return self.say(state, now)
        return self._end(state, "completed", now)

    def _end(self, state: _State, outcome: str, now: float) -> Iterable[_Out]:
        state.outcome, state.finished, state.active = outcome, now, False
        parent = self.states.get(self.tree.parent(state.session_id))
        if parent is not None and not parent.active and not parent.outcome:
            parent.wake_owed = True
        return self.say(state, now)

    def parent_of(self, session_id: str, now: float) -> _State | None:
        return self.named(self.tree.parent(session_id), now)
