"""The fold behind every operator that asks how a task is doing: turns, ends, and the tasks below."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Generic, TypeVar, cast

from operators.family import FamilyFold
from operators.lift import Call
from operators.sparse import put
from operators.task_counts import TaskCounts, TaskState
from operators.task_state import ABORT, TERMINAL, TRANSIENT, Task, child_of
from operators.tool_states import key_of
from operators.turn import ACTIVE, LATE, is_final, is_over
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

__all__ = ["TaskFold"]

ARCHIVE: Final = 100
"""Ended children that a parent still counts one by one (P20)."""


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
            PartDelta: self._begun_by_delta,
            PartUpdated: self._part,
            MessageUpdated: self._answer,
            SessionStatus: self._status,
            SessionIdle: self._idle,
            SessionError: self._error,
            SessionInfo: self._described,
        }

    def calls(self) -> Mapping[type[SessionEvent], Call[_Out]]:
        calls = super().calls()
        get, otherwise = self.states.get, calls[PartDelta]

        def delta(event: SessionEvent, now: float) -> Iterable[_Out]:
            """To a session at work, as nearly always, a piece of text brings no news and no deadline."""
            state = get(event.session_id)
            if state is None or not state.active:
                return otherwise(event, now)
            state.take_delta(cast(PartDelta, event), now)
            return ()

        return {**calls, PartDelta: delta}

    @abstractmethod
    def say(self, state: _State, now: float) -> Iterable[_Out]:
        """The task may have changed."""

    def deadline(self, state: _State) -> float | None:
        return state.idle_at

    def on_timer(self, state: _State, now: float) -> Iterable[_Out]:
        """The idle that came too early to be believed was not followed by anything (P1)."""
        state.idle_at = None
        return self._turn_over(state, now)

    def end(self, now: float) -> list[_Out]:
        """Nothing will follow any more, so the idles that wait to be believed are."""
        outputs: list[_Out] = []
        for state in [each for each in self.states.values() if each.idle_at is not None]:
            state.idle_at = None
            outputs += self._guarded(state.session_id, self._turn_over, state, now)
        return outputs + super().end(now)

    def linked(self, session_id: str, now: float) -> Iterable[_Out]:
        return self.say(self.states[session_id], now)

    def described(self, session_id: str, now: float) -> Iterable[_Out]:
        return self.say(self.states[session_id], now)

    def batch_over(self, parent: _State, now: float) -> Iterable[_Out]:
        """A launch is over without a session of its own, so its siblings may be all there is (P7)."""
        return ()

    def waiting_changed(self, session_ids: Iterable[str], now: float) -> Iterable[_Out]:
        for session_id in session_ids:
            yield from self.say(self.states[session_id], now)

    def gone(self, state: _State, event: SessionEvent | None, now: float) -> Iterable[_Out]:
        if event is None:
            return
        if state.outcome not in TERMINAL:
            state.outcome, state.finished = "gone", now
        yield from self.say(state, now)
        self._forget_launches(state, state.launches)
        parent = self.states.get(self.tree.parent(state.session_id))
        if parent is not None:
            parent.ended_children = put(parent.ended_children, state.session_id, state.outcome)
            if len(parent.ended_children) > ARCHIVE:
                del parent.ended_children[next(iter(parent.ended_children))]
            yield from self._settle(parent, now)
            self.deadlines.set(parent.session_id, self.deadline(parent))

    def state_name(self, state: _State) -> TaskState:
        """What to call the state the task is in."""
        if state.outcome:
            return cast(TaskState, state.outcome)
        if state.session_id in self.waiting:
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

    def _begun_by_delta(self, state: _State, event: SessionEvent, now: float) -> Iterable[_Out]:
        state.take_delta(cast(PartDelta, event), now)
        return [*self._settle(state, now), *self.say(state, now)]

    def _part(self, state: _State, event: SessionEvent, now: float) -> Iterable[_Out]:
        update = cast(PartUpdated, event)
        part, outputs = update.part, list[_Out]()
        launched = state.launches.get(key_of(part))
        state.take_part(update, now)
        child = child_of(part) if state.is_own(part) else ""
        if child and not self.tree.parent(child):
            heard, ended = child in self.states, child in state.ended_children
            if heard or (not ended and child in state.launches.values()):
                outputs += self.link(child, state.session_id, now)
        outputs += [*self._settle(state, now), *self.say(state, now)]
        if launched is not None and is_over(part):
            self._forget_launches(state, {"": launched})
            outputs += self.batch_over(state, now)
        return outputs

    def _answer(self, state: _State, event: SessionEvent, now: float) -> Iterable[_Out]:
        message = cast(MessageUpdated, event)
        if state.is_answering(message, now):
            state.begin(now)
        state.take_answer(message, now)
        if state.is_late(event, now):
            return self._corrected(state, now)
        if state.active and not state.has_status and is_final(message):
            state.rest(event, now)
            state.idle_at = max(self._earliest(state), now + LATE)
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
        if state.active and "" < event.event_id < state.idle_event:
            return ()  # of a turn that was over before this one began
        name = cast(SessionError, event).error.name
        state.error, state.error_event = name, event.event_id
        if state.is_late(event, now):
            return self._corrected(state, now)
        if name in TRANSIENT or (state.outcome in TERMINAL and not state.active):
            return ()
        state.rest(event, now)
        return self._end(state, "failed", now)

    def _idle(self, state: _State, event: SessionEvent, now: float) -> Iterable[_Out]:
        """Both idle signals are one, and two without work between them are one (P3, P5)."""
        was_active, was_retrying = state.active, state.retry
        state.rest(event, now)
        state.retry = False
        if not was_active and not (state.error and not state.outcome):
            return ()
        self._forget_launches(state, state.launches)
        state.launches.clear()
        if was_retrying and not state.error:  # given up between two attempts, and nothing says why
            outputs = self._end(state, "aborted", now)
        elif state.error:
            outputs = self._turn_over(state, now)
        else:
            outputs = [*self._settle(state, now), *self.say(state, now)]
        return [*outputs, *self.batch_over(state, now)]

    def _corrected(self, state: _State, now: float) -> Iterable[_Out]:
        """What the idle overtook may tell another end than the one that was believed (S4)."""
        if state.error and state.outcome in ("", "completed", "aborted"):
            return self._turn_over(state, now)
        return [*self._settle(state, now), *self.say(state, now)]

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

    def _earliest(self, state: _State) -> float:
        """Before this an idle is not believed (P1)."""
        return (state.turn or 0.0) + self._minimum_runtime

    def _settle(self, state: _State, now: float) -> Iterable[_Out]:
        """End the task if its turn is over, has brought something, and nothing is owed."""
        if not state.rests():
            return ()
        if now < self._earliest(state):
            state.idle_at = self._earliest(state)
            return ()
        return self._turn_over(state, now)

    def _forget_launches(self, state: _State, launches: Mapping[str, str]) -> None:
        """A launch that is over no longer speaks for a session that nobody has heard of."""
        for child in launches.values():
            if child not in self.states and self.tree.parent(child) == state.session_id:
                self.tree.forget(child)
