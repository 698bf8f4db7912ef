"""Whether a session still speaks after it was compacted."""

from collections.abc import Iterable
from datetime import timedelta
from typing import ClassVar, Final

import msgspec
from reactivex import abc

from operators.gauge import is_compaction
from operators.lift import Operator
from operators.per_session import Logic, per_session
from streams import checks
from streams.events import (
    MessageUpdated,
    Part,
    PartUpdated,
    SessionCompacted,
    SessionEvent,
    StreamGap,
)

__all__ = ["CompactionHealth", "compaction_health"]

BOOKKEEPING: Final = ("step-start", "step-finish", "snapshot", "patch")
"""Types of part that say nothing."""

HEARD: Final = 16
"""Messages per session of which it is kept whether they said something."""


class CompactionHealth(msgspec.Struct, frozen=True, gc=False):
    """A session that has answered with nothing, again and again, since it was compacted.

    Attributes:
        session_id: The session.
        at: Seconds, when it was noticed.
        compacted: Seconds, when the session was compacted.
        message_ids: The answers without a word, oldest first.
        recovery: Which call for a recovery of the session this is, from 1.
        recoveries_left: How many more there will be at the most.
    """

    session_id: str
    at: float
    compacted: float
    message_ids: tuple[str, ...]
    recovery: int
    recoveries_left: int


class HealthState(msgspec.Struct):
    """What is kept per session.

    Attributes:
        session_id: The session.
        compacted: When the compaction was announced that is being watched; None while none is.
        since: Only answers made after this count.
        summary: When the newest compaction's answer was made.
        spoke: Whether a message has said anything, for the newest messages.
        judged: The newest answer that has been looked at: when it was made, and its id.
        silent: Answers without a word, in a row.
        recoveries: Calls for a recovery so far.
        recovered: When the last of them was.
    """

    session_id: str
    compacted: float | None = None
    since: float = -1.0
    summary: float = -1.0
    spoke: dict[str, bool] = {}
    judged: tuple[float, str] = (-1.0, "")
    silent: list[str] = []
    recoveries: int = 0
    recovered: float | None = None


class CompactionHealthLogic(Logic[HealthState, CompactionHealth]):
    """Counts answers without a word, from a compaction on."""

    wants: ClassVar[tuple[type[SessionEvent], ...]] = (
        MessageUpdated,
        PartUpdated,
        SessionCompacted,
        StreamGap,
    )

    def __init__(self, answers: int, recoveries: int, settle: float) -> None:
        self._answers = answers
        self._recoveries = recoveries
        self._settle = settle

    def start(self, session_id: str, now: float) -> HealthState:
        return HealthState(session_id)

    def on_event(self, state: HealthState, event: SessionEvent, now: float) -> Iterable[CompactionHealth]:
        match event:
            case PartUpdated():
                if state.compacted is not None:
                    _heard(state, event.part)
            case MessageUpdated(role="assistant"):
                return self._answer(state, event, now)
            case SessionCompacted():
                self._watch(state, event, now)
            case StreamGap():
                state.spoke.clear()
                state.silent.clear()
            case _:
                pass
        return ()

    def _watch(self, state: HealthState, event: SessionEvent, now: float) -> None:
        """Start afresh, unless the compaction is what a recovery has just started (C15)."""
        if state.recovered is not None and now <= state.recovered + self._settle:
            return
        if state.recoveries >= self._recoveries:
            return
        state.since = state.summary if state.summary > state.since else event.at
        state.compacted = now
        state.silent.clear()

    def _answer(
        self, state: HealthState, event: MessageUpdated, now: float
    ) -> Iterable[CompactionHealth]:
        if is_compaction(event):
            state.summary = max(state.summary, event.created)
            return ()
        place = (event.created, event.message_id)
        over = event.finish or event.completed is not None
        if state.compacted is None or not over or event.created <= state.since:
            return ()
        if event.error is not None or place <= state.judged:
            return ()
        state.judged = place
        # An answer of which no part was heard (a late joiner, a fork) is not known to be empty.
        if state.spoke.get(event.message_id, True):
            state.silent.clear()
            return ()
        state.silent.append(event.message_id)
        return self._recover(state, now) if len(state.silent) >= self._answers else ()

    def _recover(self, state: HealthState, now: float) -> Iterable[CompactionHealth]:
        health = CompactionHealth(
            state.session_id,
            now,
            state.compacted or 0.0,
            tuple(state.silent),
            state.recoveries + 1,
            self._recoveries - state.recoveries - 1,
        )
        state.recoveries, state.recovered, state.compacted = health.recovery, now, None
        state.silent.clear()
        state.spoke.clear()
        return (health,)


def _heard(state: HealthState, part: Part) -> None:
    """Text counts when there is any; so does whatever is no bookkeeping, a tool call above all."""
    words = part.type not in BOOKKEEPING and (part.type != "text" or bool(part.text.strip()))
    state.spoke[part.message_id] = words or state.spoke.get(part.message_id, False)
    if words and part.message_id in state.silent:  # it came after its message's end
        del state.silent[: state.silent.index(part.message_id) + 1]
    if len(state.spoke) > HEARD:
        del state.spoke[next(iter(state.spoke))]


def compaction_health(
    *,
    answers: int = 3,
    recoveries: int = 3,
    settle: float | timedelta = 5.0,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator[CompactionHealth]:
    """Emits a ``CompactionHealth`` when a compacted session answers with nothing several times in a row.

    Like ``buffer_with_count`` on the answers since a compaction, emptied by every answer that says
    something. A summary can lose what the model needs to go on; it then ends its steps without a word.

    Marbles (1 s a character)::

        events  --c-a-A-b-B-d-D--f-F--|
        compaction_health()
        result  --------------x-------|

        c = compacted("s")
        a = step_finish("s", "m1")
        A = assistant("s", "m1")
        b = step_finish("s", "m2")
        B = assistant("s", "m2")
        d = step_finish("s", "m3")
        D = assistant("s", "m3")
        f = step_finish("s", "m4")
        F = assistant("s", "m4")
        x: message_ids=("m1", "m2", "m3"), recovery=1, recoveries_left=2

    Args:
        answers: Answers in a row without a word, at least 1. Default 3. Answers that failed or were
            aborted do not count; tool calls and reasoning are words.
        recoveries: At most so many values per session, at least 1, over all its compactions. Default 3:
            what three recoveries did not heal, a fourth does not.
        settle: Seconds after a value in which a compaction counts as part of the recovery, and is not
            watched; 0 or more. Default 5.
        scheduler: The clock; see ``per_session``.

    Returns:
        An operator from events to ``CompactionHealth``.

    Raises:
        ValueError: An argument is out of its range.

    Memory: per session about 0.5 kB, and whether the last 16 messages said anything while a compaction is
        watched. Dropped with the session.
    Time: none.
    On completion and error: nothing is pending.

    Example:
        >>> import operators as ops
        >>> from streams.testing import assistant, compacted, outputs, step_finish
        >>> events = [compacted("s")]
        >>> for message in ("m1", "m2", "m3"):
        ...     events += [step_finish("s", message), assistant("s", message)]
        >>> [health.message_ids for health in outputs(ops.compaction_health(), events)]
        [('m1', 'm2', 'm3')]

    Source: field failure C15.
    """
    logic = CompactionHealthLogic(
        checks.count("answers", answers),
        checks.count("recoveries", recoveries),
        checks.seconds("settle", settle, zero=True),
    )
    return per_session(logic, scheduler=scheduler)
