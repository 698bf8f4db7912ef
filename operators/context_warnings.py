"""A warning, once, when a session's context window fills up."""

from collections.abc import Iterable
from typing import ClassVar

import msgspec
from reactivex import abc

from operators.gauge import Accounting, Gauge, GaugeState
from operators.lift import Operator
from operators.per_session import Logic, per_session
from streams import checks
from streams.events import SessionEvent
from streams.faults import Fault
from streams.limits import ContextLimits, LimitKind

__all__ = ["ContextWarning", "context_warnings"]


class ContextWarning(msgspec.Struct, frozen=True, gc=False):
    """A session's context window has become fuller than the threshold.

    Attributes:
        session_id: The session.
        at: Seconds, when it was noticed.
        tokens: Tokens of the last prompt.
        limit: The model's limit in tokens.
        limit_kind: Which limit that is.
        ratio: ``tokens / limit``, not clamped.
        threshold: What was crossed.
        message_id: The answer that was measured.
    """

    session_id: str
    at: float
    tokens: int
    limit: int
    limit_kind: LimitKind
    ratio: float
    threshold: float
    message_id: str


class WarningState(GaugeState):
    """The gauge, and whether this crossing was said."""

    session_id: str = ""
    warned: bool = False


class ContextWarningsLogic(Logic[WarningState, ContextWarning]):
    """Watches the ratio cross the threshold upwards."""

    version: ClassVar[int] = 2
    wants: ClassVar[tuple[type[SessionEvent], ...]] = Gauge.wants

    def __init__(self, gauge: Gauge, threshold: float) -> None:
        self._gauge = gauge
        self._threshold = threshold

    def start(self, session_id: str, now: float) -> WarningState:
        return WarningState(session_id=session_id)

    def on_event(
        self, state: WarningState, event: SessionEvent, now: float
    ) -> Iterable[ContextWarning | Fault]:
        reason = self._gauge.take(state, event)
        if reason is None or reason == "copied":
            return
        reading, faults = self._gauge.read(state, state.session_id, now)
        yield from faults
        sample, limit, ratio = reading.sample, reading.limit, reading.ratio
        if sample is None:
            state.warned = False
        if sample is None or limit is None or ratio is None:
            return
        crossed = ratio >= self._threshold
        if crossed and not state.warned:
            yield ContextWarning(
                state.session_id,
                now,
                sample.tokens,
                limit,
                self._gauge.kind,
                ratio,
                self._threshold,
                sample.message_id,
            )
        state.warned = crossed


def context_warnings(
    limits: ContextLimits,
    *,
    threshold: float = 0.70,
    accounting: Accounting = "exclusive",
    scheduler: abc.SchedulerBase | None = None,
) -> Operator[ContextWarning]:
    """Emits one ``ContextWarning`` when a session's context window becomes fuller than a threshold.

    Like ``pairwise`` and ``filter`` on ``context_usage``: one value per upward crossing.

    Marbles (1 s a character)::

        events  --a--b--c--d--e--|
        context_warnings(limits)
        result  -----x--------y--|

        a = assistant("s", "m1", input=100_000)
        b = assistant("s", "m2", input=150_000)
        c = assistant("s", "m3", input=160_000)
        d = compacted("s")
        e = assistant("s", "m4", input=145_000)
        x: tokens=150_000, ratio=0.75
        y: tokens=145_000, ratio=0.725

    Args:
        limits: Who knows the models' limits; without a limit there is no warning.
        threshold: Fraction above 0, at most 1. Default 0.70: time to act before 0.78.
        accounting: Whether ``input`` includes cached tokens; ``exclusive`` is opencode's way.
        scheduler: The clock; see ``per_session``.

    Returns:
        An operator from events to ``ContextWarning``.

    Raises:
        ValueError: ``threshold`` or ``accounting`` is out of range.

    Memory: as ``context_usage``.
    Time: none.
    On completion and error: nothing is pending.

    Example:
        >>> import operators as ops
        >>> from streams import ContextLimits
        >>> from streams.testing import assistant, outputs
        >>> limits = ContextLimits({"anthropic/x": 200_000})
        >>> events = [assistant("s", "m1", input=150_000), assistant("s", "m2", input=160_000)]
        >>> [warning.ratio for warning in outputs(ops.context_warnings(limits), events)]
        [0.75]

    Source: field failures U1, U12, C5.
    """
    gauge = Gauge(limits, accounting)
    logic = ContextWarningsLogic(gauge, checks.fraction("threshold", threshold))
    return per_session(logic, scheduler=scheduler)
