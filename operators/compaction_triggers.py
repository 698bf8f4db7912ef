"""When a session should be compacted before its context window overflows."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from math import floor, inf
from typing import Any, ClassVar, Final, Literal

import msgspec
from reactivex import abc

from operators.gauge import Accounting, Gauge, GaugeState, Reading, Reason, Sample, is_compaction
from operators.lift import Operator
from operators.pending_output import PendingOutput
from operators.per_session import Logic, per_session
from operators.tool_states import ENDED
from streams import checks
from streams.events import (
    MessageUpdated,
    Part,
    PartUpdated,
    SessionCompacted,
    SessionEvent,
    ToolExecuteAfter,
)
from streams.faults import Fault
from streams.limits import ContextLimits, LimitKind

__all__ = ["CompactionTrigger", "compaction_triggers", "threshold_tokens"]

Cause = Reason | Literal["tool"]

HOUR: Final = 3600.0

CEILING: Final = 300.0
"""Seconds after which somebody else's compaction without an end no longer holds a trigger back."""


class CompactionTrigger(msgspec.Struct, frozen=True, gc=False):
    """A session that should be compacted now.

    Attributes:
        session_id: The session.
        at: Seconds, when it was decided.
        cause: What it was decided on: a new ``sample``, a settled ``tool`` call, another ``model``, …
        tokens: Tokens of the last prompt.
        pending: Estimated tokens of tool output that the measurement does not have in it yet.
        limit: The model's limit in tokens; None when an absolute threshold triggered without one.
        limit_kind: Which limit that is.
        ratio: ``tokens / limit``, not clamped; None without a limit.
        threshold: The fraction asked for.
        threshold_tokens: What the threshold comes to in tokens, rounded down.
        message_id: The answer that was measured.
        provider_id: Of the model in use now.
        model_id: Of the model in use now.
        number: Which trigger of the session this is, from 1.
    """

    session_id: str
    at: float
    cause: Cause
    tokens: int
    pending: int
    limit: int | None
    limit_kind: LimitKind
    ratio: float | None
    threshold: float
    threshold_tokens: int
    message_id: str
    provider_id: str
    model_id: str
    number: int


class TriggerState(GaugeState):
    """The gauge, what it does not know of yet, and what holds a trigger back."""

    session_id: str = ""
    triggered: tuple[float, ...] = ()
    number: int = 0
    compacting: float | None = None
    compaction_message: str = ""
    pending: PendingOutput = msgspec.field(default_factory=PendingOutput)


class Pressure:
    """Takes events into a ``TriggerState`` and finds a window that is too full.

    Args:
        gauge: What measures.
        threshold: Fraction of the limit.
        absolute: Tokens, whatever the limit.
        include_pending: Whether tool output counts that no measurement has in it yet.
    """

    wants: Final = (*Gauge.wants, PartUpdated, ToolExecuteAfter)

    def __init__(
        self,
        gauge: Gauge,
        threshold: float,
        absolute: int | None = None,
        *,
        include_pending: bool = False,
    ) -> None:
        self._gauge = gauge
        self._threshold = threshold
        self._absolute = absolute
        self._include_pending = include_pending

    def take(self, state: TriggerState, event: SessionEvent, now: float) -> Cause | None:
        """Fold one event; says what to decide on, if anything."""
        match event:
            case MessageUpdated():
                if is_compaction(event):
                    _watch_compaction(state, event, now)
            case PartUpdated():
                return take_part(state, event.part, now)
            case ToolExecuteAfter():
                state.pending.settled(event.call_id, "", len(event.output))
                return "tool"
            case SessionCompacted():
                state.compacting = None
            case _:
                pass
        reason = self._gauge.take(state, event)
        if reason is None:
            return None
        if reason == "sample":
            state.pending.measure(state.samples[-1].message_id)
        elif reason == "compacted":
            state.pending.clear()
        elif reason == "copied":
            return None
        return reason

    def void(self, state: TriggerState, now: float) -> None:
        """Forget what was measured before a compaction that its caller alone knows of."""
        state.void(now)
        state.pending.clear()

    def read(self, state: TriggerState, now: float) -> tuple[Reading, list[Fault]]:
        """How full the window is, and the fault of a limit lookup that raised."""
        return self._gauge.read(state, state.session_id, now)

    def find(
        self, state: TriggerState, cause: Cause, now: float, reading: Reading
    ) -> CompactionTrigger | None:
        """The session's next trigger, if its window is too full."""
        if reading.sample is None:
            return None
        tokens = reading.sample.tokens + (state.pending.tokens if self._include_pending else 0)
        if not self.is_full(tokens, reading.limit):
            return None
        return self._trigger(state, cause, now, reading.sample, reading.limit, state.pending.tokens)

    def is_full(self, tokens: int, limit: int | None) -> bool:
        """Compares the ratio itself, so that the gauge and the trigger never disagree (U14)."""
        if self._absolute is not None and tokens >= self._absolute:
            return True
        return limit is not None and tokens / limit >= self._threshold

    def _trigger(
        self,
        state: TriggerState,
        cause: Cause,
        now: float,
        sample: Sample,
        limit: int | None,
        pending: int,
    ) -> CompactionTrigger:
        by_limit = inf if limit is None else threshold_tokens(self._threshold, limit)
        return CompactionTrigger(
            state.session_id,
            now,
            cause,
            sample.tokens,
            pending,
            limit,
            self._gauge.kind,
            None if limit is None else sample.tokens / limit,
            self._threshold,
            int(min(by_limit, inf if self._absolute is None else self._absolute)),
            sample.message_id,
            state.provider_id,
            state.model_id,
            state.number + 1,
        )


class Pace:
    """How often a session may be triggered.

    Args:
        cooldown: Seconds between two triggers.
        max_per_hour: At most so many in any 3600 s.
    """

    def __init__(self, cooldown: float, max_per_hour: int | None) -> None:
        self._cooldown = cooldown
        self._max_per_hour = max_per_hour

    def holds(self, state: TriggerState, now: float) -> bool:
        """Whether it is too early for another trigger."""
        return self.is_cooling(state, now) or self.is_used_up(state, now)

    def is_cooling(self, state: TriggerState, now: float) -> bool:
        """Whether the last trigger was too recent (C1)."""
        return bool(state.triggered) and now < state.triggered[-1] + self._cooldown

    def is_used_up(self, state: TriggerState, now: float) -> bool:
        """Whether the last hour had its share (C9)."""
        triggered, most = state.triggered, self._max_per_hour
        return most is not None and len(triggered) >= most and now < triggered[-most] + HOUR

    def count(self, state: TriggerState, now: float) -> None:
        """One more trigger."""
        state.number += 1
        state.triggered = (*state.triggered, now)[-(self._max_per_hour or 1) :]


class CompactionTriggersLogic(Logic[TriggerState, CompactionTrigger]):
    """Decides at every measurement and every settled tool call (C12)."""

    wants: ClassVar[tuple[type[SessionEvent], ...]] = Pressure.wants

    resting: ClassVar[bool] = True
    version: ClassVar[int] = 2

    def __init__(self, pressure: Pressure, pace: Pace) -> None:
        self._pressure = pressure
        self._pace = pace

    def start(self, session_id: str, now: float) -> TriggerState:
        return TriggerState(session_id=session_id)

    def call_for(
        self, kind: type[SessionEvent]
    ) -> Callable[[TriggerState, Any, float], Iterable[CompactionTrigger | Fault]]:
        return self._on_part if kind is PartUpdated else self.on_event

    def on_event(
        self, state: TriggerState, event: SessionEvent, now: float
    ) -> Iterable[CompactionTrigger | Fault]:
        cause = self._pressure.take(state, event, now)
        return () if cause is None else self._consider(state, cause, now)

    def _on_part(
        self, state: TriggerState, event: PartUpdated, now: float
    ) -> Iterable[CompactionTrigger | Fault]:
        """Most parts settle nothing."""
        cause = take_part(state, event.part, now)
        return () if cause is None else self._consider(state, cause, now)

    def _consider(
        self, state: TriggerState, cause: Cause, now: float
    ) -> Iterable[CompactionTrigger | Fault]:
        if not state.samples or is_compacting(state, now) or self._pace.holds(state, now):
            return ()
        reading, faults = self._pressure.read(state, now)
        trigger = self._pressure.find(state, cause, now, reading)
        if trigger is None:
            return faults
        self._pace.count(state, now)
        return [*faults, trigger]


def is_compacting(state: TriggerState, now: float) -> bool:
    """Whether somebody's compaction is running (C10)."""
    return state.compacting is not None and now < state.compacting + CEILING


def threshold_tokens(threshold: float, limit: int) -> int:
    """A limit's fraction in whole tokens: at least 1, at most ``limit``, monotone (C13)."""
    return max(1, floor(threshold * limit + 1e-9))


def take_part(state: TriggerState, part: Part, now: float) -> Cause | None:
    """A compaction begins, or a tool call is settled: which is something to decide on."""
    if part.type == "compaction" and part.message_id != state.compaction_message:
        state.compaction_message = part.message_id
        state.compacting = now
    tool = part.state
    if tool is None or tool.status not in ENDED:
        return None
    size = len(tool.output) or len(tool.error)
    state.pending.settled(part.call_id or part.id, part.message_id, size)
    return "tool"


def _watch_compaction(state: TriggerState, event: MessageUpdated, now: float) -> None:
    """Somebody's compaction is running until its answer is over, well or not (C10)."""
    if event.finish or event.completed is not None or event.error is not None:
        state.compacting = None
    elif state.compacting is None and event.created > state.compacted:
        state.compacting = now


def compaction_triggers(
    limits: ContextLimits,
    *,
    threshold: float = 0.78,
    cooldown: float | timedelta = 60.0,
    absolute: int | None = None,
    include_pending: bool = False,
    max_per_hour: int | None = None,
    accounting: Accounting = "exclusive",
    scheduler: abc.SchedulerBase | None = None,
) -> Operator[CompactionTrigger]:
    """Emits a ``CompactionTrigger`` when a session should be compacted before its window overflows.

    Like ``filter`` and ``throttle_first`` on ``context_usage``, decided at every new measurement and at
    every settled tool call. A measurement from before a compaction never triggers, nor does anything
    while somebody's compaction is running.

    Marbles (10 s a character)::

        events  --a--t-----t--c--t--b--|
        compaction_triggers(limits)
        result  --x--------y--------z--|

        a = assistant("s", "m1", input=160_000)
        t = tool_after("s", "read", "call")
        c = compacted("s")
        b = assistant("s", "m2", input=156_000)
        x: tokens=160_000, cause="sample", number=1, threshold_tokens=156_000
        y: tokens=160_000, cause="tool", number=2
        z: tokens=156_000, cause="sample", number=3

    Args:
        limits: Who knows the models' limits. Without a limit only ``absolute`` can trigger.
        threshold: Fraction of the limit, above 0, at most 1. Default 0.78: opencode itself compacts
            when the answer's reserve is touched, at about 0.8 to 0.96.
        cooldown: Seconds after a trigger in which the session gets no other; 0 or more. Default 60.
        absolute: Tokens, at least 1, that trigger whatever the limit. Default None.
        include_pending: Add the estimated tokens of tool output that no measurement has in it yet
            (characters / 4). Default False: act on what was measured.
        max_per_hour: At most so many per session in any 3600 s, at least 1. Default None.
        accounting: Whether ``input`` includes cached tokens; ``exclusive`` is opencode's way.
        scheduler: The clock; see ``per_session``.

    Returns:
        An operator from events to ``CompactionTrigger``.

    Raises:
        ValueError: An argument is out of its range.

    Memory: as ``context_usage``, the times of the last ``max_per_hour`` triggers, and the sizes of up to
        256 tool outputs since the last measurement.
    Time: no timer; the cooldown is compared.
    On completion and error: nothing is pending.

    Example:
        >>> import operators as ops
        >>> from streams import ContextLimits
        >>> from streams.testing import assistant, outputs
        >>> limits = ContextLimits({"anthropic/x": 200_000})
        >>> events = [assistant("s", "m1", input=155_000), assistant("s", "m2", input=156_000)]
        >>> [(each.message_id, each.ratio) for each in outputs(ops.compaction_triggers(limits), events)]
        [('m2', 0.78)]

    Source: field failures C1, C2, C5, C9, C10, C12, C13, C14, U3.
    """
    pressure = Pressure(
        Gauge(limits, accounting),
        checks.fraction("threshold", threshold),
        None if absolute is None else checks.count("absolute", absolute),
        include_pending=include_pending,
    )
    pace = Pace(
        checks.seconds("cooldown", cooldown, zero=True),
        None if max_per_hour is None else checks.count("max_per_hour", max_per_hour),
    )
    return per_session(CompactionTriggersLogic(pressure, pace), scheduler=scheduler)
