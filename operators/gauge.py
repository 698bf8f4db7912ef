"""The fold behind every operator that asks how full a session's context window is.

What it holds true, and where it was learnt (ids of the field failures): the newest finished answer
with tokens is the measurement (U2, U6, U8), a compaction's own answer never is (U1), a compaction
voids all that was measured before (C2), undone messages fall away (U9), and the limit is looked up
each time, for the model the session uses now (U11, U12).
"""

from bisect import insort
from typing import Final, Literal

import msgspec

from streams.events import (
    LimitsChanged,
    MessageRemoved,
    MessageUpdated,
    SessionCompacted,
    SessionEvent,
    SessionInfo,
    Tokens,
)
from streams.faults import Fault
from streams.limits import ContextLimits, LimitKind

__all__ = ["Accounting", "Gauge", "GaugeState", "Reading", "Reason", "Sample", "is_compaction"]

Accounting = Literal["exclusive", "inclusive"]
Reason = Literal["sample", "compacted", "removed", "reverted", "limit", "model"]

SAMPLES: Final = 64
"""Measurements kept per session, so that undoing messages falls back to an earlier one."""


class Sample(msgspec.Struct, frozen=True, gc=False, order=True):
    """What one answer measured. Ordered by when the message was made."""

    created: float
    message_id: str
    at: float
    tokens: int
    projected: int


class Reading(msgspec.Struct, frozen=True, gc=False):
    """How full the window is now. ``sample`` is None while that is not known."""

    sample: Sample | None
    limit: int | None

    @property
    def ratio(self) -> float | None:
        """Tokens by limit, not clamped; None while either is not known."""
        if self.sample is None or self.limit is None:
            return None
        return self.sample.tokens / self.limit


class GaugeState(msgspec.Struct):
    """What is kept per session."""

    samples: list[Sample] = []
    unmeasured: int = 0
    last_unmeasured: str = ""
    summary_created: float = -1.0
    compacted: float = -1.0
    revert: str = ""
    provider_id: str = ""
    model_id: str = ""
    model_created: float = -1.0
    session_model: str = ""
    limit_failed: bool = False


class Gauge:
    """Takes events into a ``GaugeState`` and reads it.

    Args:
        limits: Who knows the limits.
        accounting: ``exclusive``: cached tokens are not in ``input`` (opencode, Anthropic);
            ``inclusive``: they are (raw OpenAI counts). Declared, never guessed from magnitudes.

    Raises:
        ValueError: ``accounting`` is neither.
    """

    wants: Final = (MessageUpdated, SessionInfo, SessionCompacted, MessageRemoved, LimitsChanged)

    def __init__(self, limits: ContextLimits, accounting: Accounting) -> None:
        if accounting not in ("exclusive", "inclusive"):
            raise ValueError(f"accounting must be 'exclusive' or 'inclusive', got {accounting!r}")
        self._limits = limits
        self.kind: LimitKind = limits.kind
        self.accounting: Accounting = accounting

    def take(self, state: GaugeState, event: SessionEvent) -> Reason | None:
        """Fold one event; says why the reading may have changed."""
        match event:
            case MessageUpdated(role="assistant"):
                return self._answer(state, event)
            case MessageUpdated():
                return _model_of_message(state, event)
            case SessionCompacted():
                return _compacted(state, event)
            case MessageRemoved():
                return _removed(state, event)
            case SessionInfo():
                return _session_changed(state, event)
            case _:
                return "limit"

    def read(self, state: GaugeState, session_id: str, now: float) -> tuple[Reading, list[Fault]]:
        """The reading, and the fault of a limit lookup that raised (once, until it works again)."""
        try:
            limit = self._limits.find(state.provider_id, state.model_id)
        except Exception as error:
            already, state.limit_failed = state.limit_failed, True
            faults = [] if already else [Fault("ContextLimits", session_id, now, error)]
            return Reading(_visible(state), None), faults
        state.limit_failed = False
        return Reading(_visible(state), limit), []

    def _answer(self, state: GaugeState, event: MessageUpdated) -> Reason | None:
        if is_compaction(event):
            state.summary_created = max(state.summary_created, event.created)
            return None
        changed = _model_of_message(state, event)
        if not event.finish and event.completed is None:
            return changed
        created = event.created or event.completed or event.at
        tokens = self._prompt(event.tokens)
        if created <= state.compacted:
            return changed
        if event.tokens is None or tokens <= 0:
            _count_unmeasured(state, created, event.message_id)
            return changed
        projected = tokens + event.tokens.output + event.tokens.reasoning
        _insert(state, Sample(created, event.message_id, event.at, tokens, projected))
        return "sample"

    def _prompt(self, tokens: Tokens | None) -> int:
        if tokens is None:
            return 0
        if self.accounting == "inclusive":
            return tokens.input
        return tokens.input + tokens.cache_read + tokens.cache_write


def is_compaction(event: MessageUpdated) -> bool:
    """Whether an answer is the summary that a compaction wrote."""
    return event.summary or event.agent.strip().lower() == "compaction"


def _visible(state: GaugeState) -> Sample | None:
    """The newest sample that no pending revert hides."""
    for sample in reversed(state.samples):
        if not state.revert or sample.message_id < state.revert:
            return sample
    return None


def _insert(state: GaugeState, sample: Sample) -> None:
    """Place a measurement by when its message was made; a repeated report replaces the earlier."""
    samples = state.samples
    newest = samples[-1] if samples else None
    for index in range(len(samples) - 1, -1, -1):
        if samples[index].message_id == sample.message_id:
            if samples[index].tokens == sample.tokens:
                sample = msgspec.structs.replace(sample, at=samples[index].at)
            del samples[index]
            break
    insort(samples, sample)
    del samples[:-SAMPLES]
    if newest is None or samples[-1].message_id != newest.message_id:
        state.unmeasured = 0


def _count_unmeasured(state: GaugeState, created: float, message_id: str) -> None:
    """One more finished answer that the measurement does not know of."""
    newest = state.samples[-1] if state.samples else None
    if message_id != state.last_unmeasured and (newest is None or created >= newest.created):
        state.unmeasured += 1
        state.last_unmeasured = message_id


def _model_of_message(state: GaugeState, event: MessageUpdated) -> Reason | None:
    """Only a newer message changes the model: old ones are updated again, late."""
    if not event.model_id or event.created < state.model_created:
        return None
    state.model_created = event.created
    return _switch(state, event.provider_id, event.model_id)


def _switch(state: GaugeState, provider_id: str, model_id: str) -> Reason | None:
    if (provider_id, model_id) == (state.provider_id, state.model_id):
        return None
    state.provider_id, state.model_id = provider_id, model_id
    return "model"


def _compacted(state: GaugeState, event: SessionEvent) -> Reason | None:
    """Only what was made after the summary counts from now on; without one, after the event."""
    if state.summary_created >= 0 and state.summary_created == state.compacted:
        return None
    newer = state.summary_created > state.compacted
    state.compacted = state.summary_created if newer else event.at
    state.samples[:] = [each for each in state.samples if each.created > state.compacted]
    state.unmeasured = 0
    return "compacted"


def _removed(state: GaugeState, event: MessageRemoved) -> Reason | None:
    before = len(state.samples)
    state.samples[:] = [each for each in state.samples if each.message_id != event.message_id]
    return "removed" if len(state.samples) < before else None


def _session_changed(state: GaugeState, event: SessionInfo) -> Reason | None:
    reason: Reason | None = None
    if event.revert != state.revert:
        state.revert = event.revert
        reason = "reverted"
    model = f"{event.provider_id}/{event.model_id}"
    if event.model_id and model != state.session_model:
        state.session_model = model
        reason = _switch(state, event.provider_id, event.model_id) or reason
    return reason
