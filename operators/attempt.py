"""One attempt to compact a session, from its beginning to the measurement that judges it.

What it holds true, and where it was learnt (ids of the field failures): it has exactly one end (C16),
giving up waiting is not knowing that it failed (C3), a call that returned proves nothing until the next
measurement (C6), an empty answer is no success (C15), and a user's abort is no failure (C8).
"""

from typing import Final, Literal

import msgspec

from operators.actions import ActionEnded
from operators.compaction_triggers import CompactionTrigger

__all__ = ["ABORTED", "Attempt", "AttemptState", "Finding", "Judge"]

AttemptState = Literal[
    "succeeded",
    "failed",
    "empty",
    "timed_out",
    "superseded",
    "late_success",
    "late_failure",
    "effective",
    "ineffective",
]

ABORTED: Final = "MessageAbortedError"


class Finding(msgspec.Struct, frozen=True, gc=False):
    """Something that became known of an attempt.

    Attributes:
        state: What to say; None when there is nothing to say.
        reason: Why.
        error: What it failed with.
        after: What was measured.
        over: Whether nothing more is to be learnt of the attempt.
        counts: Whether that is a failure.
    """

    state: AttemptState | None
    reason: str = ""
    error: str = ""
    after: int | None = None
    over: bool = False
    counts: bool = False


class Judge(msgspec.Struct, frozen=True, gc=False):
    """How long an attempt is waited for, and what makes it effective.

    Attributes:
        timeout: Seconds until it has timed out.
        ceiling: Seconds after that in which it may still end.
        min_reclaim: Share of the tokens that it must free.
    """

    timeout: float
    ceiling: float
    min_reclaim: float


class Attempt(msgspec.Struct):
    """An attempt that something is still to be learnt of.

    Attributes:
        trigger: Why it was begun.
        before: Tokens of the last measurement before the compaction.
        probe: Whether an open breaker let it through.
        due: When to look at it if nothing has happened.
        stage: ``running`` until its end; ``overdue`` after it has timed out, while it may go on;
            ``unmeasured`` once the session should be compacted.
        compacted: Whether the server said that the session was compacted.
    """

    trigger: CompactionTrigger
    before: int
    probe: bool
    due: float | None
    stage: Literal["running", "overdue", "unmeasured"] = "running"
    compacted: bool = False

    @property
    def occupied(self) -> bool:
        """Whether something may be going on: no other attempt may begin (C3, C10)."""
        return self.stage != "unmeasured"

    def is_mine(self, event: ActionEnded) -> bool:
        """Whether a result is this attempt's, and not one's before it."""
        return event.number == self.trigger.number and event.began == self.trigger.at

    def answered(self, event: ActionEnded, judge: Judge, now: float) -> Finding | None:
        """Its action has ended."""
        if event.only_waiting:
            return self.time_up(judge, now) if self.stage == "running" else None
        if event.error:
            return self.aborted() if ABORTED in event.error else self.failed(event.error)
        if event.answered:
            return self._succeeded()
        if self.stage == "overdue":
            return Finding("late_failure", reason="empty", over=True, counts=True)
        return Finding("empty", over=True, counts=True)

    def failed(self, error: str) -> Finding:
        """It is known to have failed; if the session was compacted all the same, that is measured."""
        if self.stage == "overdue":
            return Finding("late_failure", error=error, over=True, counts=True)
        if self.compacted:
            self._measure_next()
            return Finding("failed", error=error)
        return Finding("failed", error=error, over=True, counts=True)

    def server_compacted(self) -> Finding | None:
        """The server said that the session was compacted. The action's own answer is due any moment."""
        self.compacted = True
        return self._succeeded() if self.stage == "overdue" else None

    def time_up(self, judge: Judge, now: float) -> Finding:
        """``due`` has come."""
        if self.stage == "overdue":
            return Finding(None, reason="timed_out", over=True, counts=True)
        if self.compacted:
            return self._succeeded()
        self.stage, self.due = "overdue", now + judge.ceiling
        return Finding("timed_out")

    def aborted(self) -> Finding | None:
        """The user has aborted what the session did; what it had done before stays done."""
        return None if self.compacted else self.superseded("aborted")

    def superseded(self, reason: str) -> Finding:
        """Nothing more will be heard of it."""
        return Finding("superseded" if self.stage == "running" else None, reason, over=True)

    def measured(self, tokens: int, judge: Judge, *, full: bool) -> list[Finding]:
        """An ordinary answer was measured: if the session was compacted before, that judges it (C6)."""
        if self.occupied and not self.compacted:
            self.before = tokens
            return []
        ended = [self._succeeded()] if self.stage == "running" else []
        return [*ended, self._verdict(tokens, judge, full=full)]

    def _verdict(self, tokens: int, judge: Judge, *, full: bool) -> Finding:
        if full:
            reason = "above_threshold"
        elif self.before - tokens < judge.min_reclaim * self.before:
            reason = "reclaimed_too_little"
        else:
            return Finding("effective", after=tokens, over=True)
        return Finding("ineffective", reason, after=tokens, over=True, counts=True)

    def _succeeded(self) -> Finding:
        state: AttemptState = "late_success" if self.stage == "overdue" else "succeeded"
        self._measure_next()
        return Finding(state)

    def _measure_next(self) -> None:
        self.stage, self.due = "unmeasured", None
