"""How full each session's context window is."""

from collections.abc import Iterable
from html import escape
from typing import ClassVar

import msgspec
from reactivex import abc

from operators.gauge import Accounting, Gauge, GaugeState, Reading, Reason
from operators.lift import Operator
from operators.per_session import Logic, per_session
from streams.events import SessionEvent
from streams.faults import Fault
from streams.limits import ContextLimits, LimitKind

__all__ = ["ContextUsage", "context_usage"]


class ContextUsage(msgspec.Struct, frozen=True, gc=False):
    """A reading of one session's context window.

    Attributes:
        session_id: The session.
        tokens: Tokens of the last prompt; None while not known (after a compaction, say).
        limit: The model's limit in tokens; None while not known.
        limit_kind: Which limit that is.
        ratio: ``tokens / limit``, not clamped; None while either is not known.
        projected: The prompt with its answer and reasoning: what the next prompt starts from.
        provider_id: Of the model in use now.
        model_id: Of the model in use now.
        message_id: The answer that was measured; empty while there is none.
        at: Seconds, when the measurement was received; of this event while there is none.
        messages_since: Answers finished since then that measured nothing: the window is fuller.
        accounting: How ``tokens`` was counted.
        reason: What changed.
    """

    session_id: str
    tokens: int | None
    limit: int | None
    limit_kind: LimitKind
    ratio: float | None
    projected: int | None
    provider_id: str
    model_id: str
    message_id: str
    at: float
    messages_since: int
    accounting: Accounting
    reason: Reason

    @property
    def used_percent(self) -> float | None:
        """For display: 0 to 100."""
        return None if self.ratio is None else min(100.0, max(0.0, self.ratio * 100))

    @property
    def remaining_percent(self) -> float | None:
        """For display: 100 to 0."""
        return None if self.used_percent is None else 100.0 - self.used_percent

    def _repr_html_(self) -> str:
        used = self.used_percent
        bar = "" if used is None else f'<progress max="100" value="{used:.1f}"></progress> {used:.1f} %'
        return f"<div><code>{escape(self.session_id)}</code> {bar} {escape(self._counts())}</div>"

    def _counts(self) -> str:
        tokens = "unknown" if self.tokens is None else f"{self.tokens:_}"
        limit = "unknown" if self.limit is None else f"{self.limit:_}"
        return f"{tokens}/{limit}"

    def __str__(self) -> str:
        percent = "" if self.ratio is None else f", {self.ratio:.1%}".replace("%", " %")
        return f"ContextUsage({self.session_id}, {self._counts()}{percent})"


class Told(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What was said last: of a reading, what can change."""

    tokens: int | None
    projected: int | None
    limit: int | None
    provider_id: str
    model_id: str
    message_id: str
    messages_since: int


class UsageState(GaugeState):
    """The gauge, and what was said last."""

    session_id: str = ""
    told: Told | None = None


class ContextUsageLogic(Logic[UsageState, ContextUsage]):
    """Says a reading whenever it differs from the last one said."""

    wants: ClassVar[tuple[type[SessionEvent], ...]] = Gauge.wants

    resting: ClassVar[bool] = True
    version: ClassVar[int] = 2

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge

    def start(self, session_id: str, now: float) -> UsageState:
        return UsageState(session_id=session_id)

    def on_event(
        self, state: UsageState, event: SessionEvent, now: float
    ) -> Iterable[ContextUsage | Fault]:
        reason = self._gauge.take(state, event)
        if reason is None:
            return ()
        reading, faults = self._gauge.read(state, state.session_id, now)
        told = state.told
        if told is None and reading.sample is None and reason != "compacted":
            return faults
        telling = _telling(state, reading)
        if told == telling:
            return faults
        state.told = telling
        return [*faults, self._usage(state.session_id, telling, reading, reason, event.at)]

    def _usage(
        self, session_id: str, told: Told, reading: Reading, reason: Reason, at: float
    ) -> ContextUsage:
        return ContextUsage(
            session_id,
            told.tokens,
            told.limit,
            self._gauge.kind,
            reading.ratio,
            told.projected,
            told.provider_id,
            told.model_id,
            told.message_id,
            at if reading.sample is None else reading.sample.at,
            told.messages_since,
            self._gauge.accounting,
            reason,
        )


def _telling(state: UsageState, reading: Reading) -> Told:
    sample, provider_id, model_id = reading.sample, state.provider_id, state.model_id
    if sample is None:
        return Told(None, None, reading.limit, provider_id, model_id, "", 0)
    tokens, projected, message_id = sample.tokens, sample.projected, sample.message_id
    return Told(tokens, projected, reading.limit, provider_id, model_id, message_id, state.unmeasured)


def context_usage(
    limits: ContextLimits,
    *,
    accounting: Accounting = "exclusive",
    scheduler: abc.SchedulerBase | None = None,
) -> Operator[ContextUsage]:
    """Emits a ``ContextUsage`` whenever how full a session's context window is has changed.

    Like ``scan`` followed by ``distinct_until_changed``, per session.

    Marbles (1 s a character)::

        events  --a---c-----b--|
        context_usage(limits)
        result  --x---u-----y--|

        a = assistant("s", "m1", input=150_000, cache_read=10_000)
        c = compacted("s")
        b = assistant("s", "m2", input=9_000, cache_read=14_000)
        x: tokens=160_000, ratio=0.8
        u: tokens=None, ratio=None, reason="compacted"
        y: tokens=23_000, ratio=0.115

    Args:
        limits: Who knows the models' limits; an unknown limit gives ``limit`` and ``ratio`` None.
        accounting: Whether ``input`` includes cached tokens and ``output`` reasoning; ``exclusive``, that
            they do not, is opencode's way.
        scheduler: The clock; see ``per_session``.

    Returns:
        An operator from events to ``ContextUsage``.

    Raises:
        ValueError: ``accounting`` is not one of the two.

    Memory: per session about 0.4 kB while it is idle, else 0.7 kB, its id included; and up to 0.25 kB
        for each further measurement, of which up to 64 are kept, so that undoing messages finds an
        earlier one. Dropped with the session.
    Time: none.
    On completion and error: nothing is pending. A limit lookup that raises counts as unknown and is
        one ``Fault`` until it works again.

    Example:
        >>> import operators as ops
        >>> from streams import ContextLimits
        >>> from streams.testing import assistant, outputs
        >>> limits = ContextLimits({"anthropic/x": 200_000})
        >>> for usage in outputs(ops.context_usage(limits), [assistant("s", "m1", input=156_000)]):
        ...     print(usage)
        ContextUsage(s, 156_000/200_000, 78.0 %)

    Source: field failures U1 to U15.
    """
    return per_session(ContextUsageLogic(Gauge(limits, accounting)), scheduler=scheduler)
