"""When an idle session with open todos could be told to go on, and why not otherwise."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Final, Literal, cast

import msgspec
from reactivex import abc

from operators import continuation_state
from operators.continuation_rules import Obstacle, Policy, obstacle
from operators.continuation_state import ContinuationState
from operators.family import ACTIVE, FamilyFold
from operators.lift import Call, Operator, lift
from operators.todo_list import incomplete
from streams import checks
from streams.events import (
    ContinuationReplied,
    MessageUpdated,
    PartUpdated,
    PermissionAsked,
    PermissionReplied,
    QuestionAsked,
    QuestionReplied,
    SessionCompacted,
    SessionError,
    SessionEvent,
    SessionIdle,
    SessionInfo,
    SessionStatus,
    Todo,
    TodosUpdated,
)
from streams.faults import Report

__all__ = ["Continuation", "continuations"]

Reason = Literal["ready"] | Obstacle

Take = Callable[[ContinuationState, SessionEvent, float], Iterable["Continuation"]]

CHANGES: Final = (
    PartUpdated,
    MessageUpdated,
    TodosUpdated,
    SessionError,
    SessionCompacted,
    SessionInfo,
)
"""What only changes what stands for or against going on."""

REQUESTS: Final = (PermissionAsked, PermissionReplied, QuestionAsked, QuestionReplied)


class Continuation(msgspec.Struct, frozen=True, gc=False):
    """An idle session with open todos: it could go on, or something stands against it.

    Attributes:
        session_id: The session.
        at: Seconds, when it was judged.
        reason: ``ready``: tell it to go on. Else what stands against it: a human ``stopped`` it for
            good, or ``aborted`` its turn and has not spoken since; ``overflow``: its context is too
            full; ``waiting``: it asked a human; ``compacted``: nothing but a compaction has happened
            since the last one; ``children`` of it still work; ``stagnated``: going on brought no
            progress; ``failing``: attempts fail, the next one comes at ``until``.
        todos: What is left to be done.
        number: Which ``ready`` of the session this is, or was last, from 1.
        stagnation: Turns in a row that were continued and changed no todo's status.
        failures: Failures in a row.
        until: Seconds, when ``failing`` is over; else None.
    """

    session_id: str
    at: float
    reason: Reason
    todos: tuple[Todo, ...]
    number: int
    stagnation: int
    failures: int
    until: float | None = None

    @property
    def ready(self) -> bool:
        """Whether to tell the session to go on."""
        return self.reason == "ready"


class ContinuationsFold(FamilyFold[ContinuationState, Continuation]):
    """Judges idle sessions: once things have settled, and again when the countdown is over."""

    def __init__(self, policy: Policy, report: Report) -> None:
        super().__init__(report)
        self._policy = policy

    def takes(self) -> Mapping[type[SessionEvent], Take]:
        return {
            **dict.fromkeys(CHANGES, self._take),
            SessionStatus: self._status,
            SessionIdle: self._idle,
            ContinuationReplied: self._came_of_it,
        }

    def calls(self) -> Mapping[type[SessionEvent], Call[Continuation]]:
        """Who was asked stays asked when the session goes idle (D6): requests are not the family's."""
        own = {kind: self._taking(self._take) for kind in REQUESTS}
        return {**super().calls(), **own}

    def start(self, session_id: str, now: float) -> ContinuationState:
        return ContinuationState(session_id)

    def deadline(self, state: ContinuationState) -> float | None:
        return state.due

    def on_timer(self, state: ContinuationState, now: float) -> Iterable[Continuation]:
        return self._judge(state, now)

    def reconnected(self, now: float) -> Iterable[Continuation]:
        for state in self.states.values():
            continuation_state.reconnect(state)
        return ()

    def gone(
        self, state: ContinuationState, event: SessionEvent | None, now: float
    ) -> Iterable[Continuation]:
        if event is not None:
            self._rested(state, now)
        return ()

    def _take(self, state: ContinuationState, event: SessionEvent, now: float) -> Iterable[Continuation]:
        continuation_state.take(state, event, now)
        return ()

    def _status(
        self, state: ContinuationState, event: SessionEvent, now: float
    ) -> Iterable[Continuation]:
        if not isinstance(event, SessionStatus) or event.status not in ACTIVE:
            return self._idle(state, event, now)
        state.working = True
        continuation_state.goes_on(state)
        return ()

    def _idle(self, state: ContinuationState, event: SessionEvent, now: float) -> Iterable[Continuation]:
        self._rested(state, now)
        return self._wait(state, now)

    def _rested(self, state: ContinuationState, now: float) -> None:
        """It works no more: that may have been all that stood against its ancestors (D12)."""
        if not state.working:
            return
        state.working = False
        for session_id in self.tree.ancestors(state.session_id):
            ancestor = self.states.get(session_id)
            if ancestor and ancestor.idle_at is not None and ancestor.due is None:
                ancestor.idle_at, ancestor.due = now, now + self._policy.settle
                self.deadlines.set(session_id, ancestor.due)

    def _works_below(self, session_id: str) -> bool:
        below = (self.states.get(each) for each in self.tree.descendants(session_id))
        return any(state is not None and state.working for state in below)

    def _wait(self, state: ContinuationState, now: float) -> Iterable[Continuation]:
        """The session is idle: judge it once things have settled, unless that is under way."""
        if state.due is not None:
            return ()
        state.idle_at, state.due = now, now + self._policy.settle
        return self._judge(state, now) if state.due <= now else ()

    def _came_of_it(
        self, state: ContinuationState, event: SessionEvent, now: float
    ) -> Iterable[Continuation]:
        reply = cast(ContinuationReplied, event).reply
        if reply == "failed" and state.offered:
            continuation_state.fail(state, now)
        elif reply in ("stop", "resume"):
            state.stopped = reply == "stop"
        else:  # said twice, or not known
            return ()
        return self._wait(state, now) if state.idle_at is not None else ()

    def _judge(self, state: ContinuationState, now: float) -> Iterable[Continuation]:
        """Every guard is asked, at the end of the countdown again (D8)."""
        state.due = None
        continuation_state.look(state)
        if state.idle_at is None or not incomplete(state.todos):
            state.said, state.epoch = "", None
            return ()
        works = self._works_below(state.session_id)
        reason = obstacle(state, self._policy, now, children_work=works)
        if reason is not None:
            return self._hold(state, reason, now)
        if state.offered:
            return ()
        over = state.idle_at + self._policy.countdown
        if now < over:
            state.due, state.epoch = over, state.compactions
            return ()
        return self._offer(state, now)

    def _hold(self, state: ContinuationState, reason: Obstacle, now: float) -> Iterable[Continuation]:
        """Say what stands against it, unless that was the last thing said."""
        state.epoch = None
        state.due = self._policy.retry_at(state) if reason == "failing" else None
        if state.said == reason:
            return ()
        state.said = reason
        return [_value(state, reason, now)]

    def _offer(self, state: ContinuationState, now: float) -> Iterable[Continuation]:
        if state.failures >= self._policy.max_failures:
            state.failures = 0
        state.number += 1
        state.offered, state.failed = True, False
        state.said, state.epoch = "", None
        return [_value(state, "ready", now)]


def _value(state: ContinuationState, reason: Reason, now: float) -> Continuation:
    return Continuation(
        state.session_id,
        now,
        reason,
        incomplete(state.todos),
        state.number,
        state.stagnation,
        state.failures,
        state.due,
    )


def continuations(
    *,
    settle: float | timedelta = 0.15,
    countdown: float | timedelta = 2.0,
    max_stagnation: int = 3,
    backoff: float | timedelta = 5.0,
    max_failures: int = 5,
    reset: float | timedelta = 300.0,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator[Continuation]:
    """Emits a ``Continuation`` when an idle session with open todos could go on, or why it should not.

    Like ``debounce`` after each idle, with every guard asked again when it fires. The value is a
    suggestion: whoever prompts the session publishes ``ContinuationReplied(session_id, reply="failed")``
    when that did not work, and nothing when it did: the session is seen to go on.

    Marbles (1 s a character)::

        events  -t-i--b-i--b--e-i--|
        continuations(settle=0)
        result  -----x----y-----z--|

        t = todos("s", "in_progress", "pending")
        i = idle("s")
        b = busy("s")
        e = error("s", "MessageAbortedError")
        x: reason="ready", number=1, stagnation=0
        y: reason="ready", number=2, stagnation=1
        z: reason="aborted", ready=False

    Args:
        settle: Seconds after a session became idle until it is judged at all, 0 or more: the todo list
            may come after the idle. Default 0.15.
        countdown: Seconds after it became idle until ``ready`` is said, 0 or more, so that a human can
            come first. Default 2.
        max_stagnation: Turns in a row, at least 1, that were continued without any todo's status
            changing, until it is ``stagnated``. Default 3; 1 is strict.
        backoff: Seconds, above 0: after n failures in a row the next attempt waits ``backoff * 2**n``.
            Default 5: 10, 20, 40, 80.
        max_failures: Failures in a row, at least 1, after which it waits ``reset`` instead and counts
            from none again. Default 5.
        reset: Seconds, above 0. Default 300.
        scheduler: Clock and timer; see ``per_session``.

    Returns:
        An operator from events to ``Continuation``.

    Raises:
        ValueError: An argument is out of its range.

    Memory: per session about 1 kB, its todos, its open questions and tasks, and an entry with its
        parent. Dropped with the session; a todo list known before is then unknown, so nothing is
        suggested until the next one.
    Time: one pending timer, while a session settles, counts down or backs off.
    On completion and error: a countdown that runs says nothing.

    Example:
        >>> import operators as ops
        >>> from streams.testing import idle, outputs, todos
        >>> seen = outputs(ops.continuations(), [todos("s", "completed", "pending"), idle("s")], until=3)
        >>> [(each.at, each.reason, len(each.todos)) for each in seen]
        [(3.0, 'ready', 1)]

    Source: field failures D1 to D14.
    """
    policy = Policy(
        checks.seconds("settle", settle, zero=True),
        checks.seconds("countdown", countdown, zero=True),
        checks.count("max_stagnation", max_stagnation),
        checks.seconds("backoff", backoff),
        checks.count("max_failures", max_failures),
        checks.seconds("reset", reset),
    )
    return lift(lambda report: ContinuationsFold(policy, report), scheduler)
