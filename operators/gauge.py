"""The fold behind every operator that asks how full a session's context window is.

The newest finished answer with tokens is the measurement, the limit is looked up each time, for the
model that the session uses now. What each rule was learnt from is said where it is (ids of the field
failures).
"""

from sys import intern
from typing import Final, Literal

import msgspec

from operators.measurements import Measurements, Sample, created_at, is_finished
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
Reason = Literal["sample", "copied", "unmeasured", "compacted", "removed", "reverted", "limit", "model"]
"""Why a reading changed. ``copied``: a sample of the session that this one was forked from."""


class Reading(msgspec.Struct, frozen=True, gc=False):
    """How full the window is now. ``sample`` is None while that is not known."""

    sample: Sample | None
    limit: int | None

    @property
    def ratio(self) -> float | None:
        """Tokens by limit, not clamped; None while either is not known (U10, U13)."""
        if self.sample is None or self.limit is None:
            return None
        return self.sample.tokens / self.limit


class GaugeState(Measurements):
    """What is kept per session: what was measured, and the model in use.

    Attributes:
        provider_id: Of the model in use now.
        model_id: Of the model in use now.
        model_created: When the message that named this model was made.
        session_model: The model that the session itself named last.
        session_created: When the session came to be; what is older was copied into it.
        limit_failed: Whether looking up the limit raised the last time.
    """

    provider_id: str = ""
    model_id: str = ""
    model_created: float = -1.0
    session_model: tuple[str, str] = ("", "")
    session_created: float = 0.0
    limit_failed: bool = False


class Gauge:
    """Takes events into a ``GaugeState`` and reads it.

    Args:
        limits: Who knows the limits.
        accounting: ``exclusive``: cached tokens are not in ``input``, nor reasoning in ``output``
            (opencode); ``inclusive``: they are (raw OpenAI counts). Declared, never guessed from
            magnitudes (U4).

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
            case MessageUpdated():
                return self._message(state, event)
            case SessionCompacted():
                return "compacted" if state.announce(event.at) else None
            case MessageRemoved():
                return "removed" if state.remove(event.message_id) else None
            case SessionInfo():
                return _session_changed(state, event)
            case _:
                return "limit"

    def read(self, state: GaugeState, session_id: str, now: float) -> tuple[Reading, list[Fault]]:
        """The reading, and the fault of a limit lookup that raised: once, until it works again (U11)."""
        limit: int | None = None
        faults: list[Fault] = []
        try:
            if state.model_id:
                limit = self._limits.find(state.provider_id, state.model_id)
            state.limit_failed = False
        except Exception as error:
            if not state.limit_failed:
                faults = [Fault("ContextLimits", session_id, now, error)]
            state.limit_failed = True
        return Reading(state.visible(), limit), faults

    def _message(self, state: GaugeState, event: MessageUpdated) -> Reason | None:
        """An answer measures; any newer message may name another model."""
        if is_compaction(event):
            return "compacted" if state.summarise(event) else None
        created = created_at(event)
        switched = _model_of_message(state, event, created)
        if event.role != "assistant" or not is_finished(event) or created <= state.compacted:
            return switched
        return self._answer(state, event, created) or switched

    def _answer(self, state: GaugeState, event: MessageUpdated, created: float) -> Reason | None:
        """Only a finished answer with tokens is a measurement (U2)."""
        tokens, projected = self._counts(event.tokens)
        if tokens <= 0:
            return "unmeasured" if state.add_unmeasured(event) else None
        sample = Sample(created, event.message_id, event.at, tokens, projected)
        if not state.add(sample):
            return None
        return "sample" if created >= state.session_created else "copied"

    def _counts(self, tokens: Tokens | None) -> tuple[int, int]:
        """The prompt, and the prompt with its answer (U5)."""
        if tokens is None:
            return 0, 0
        if self.accounting == "inclusive":
            return tokens.input, tokens.input + tokens.output
        prompt = tokens.input + tokens.cache.read + tokens.cache.write
        return prompt, prompt + tokens.output + tokens.reasoning


def is_compaction(event: MessageUpdated) -> bool:
    """Whether a message is the summary that a compaction wrote (U1)."""
    if event.role != "assistant":
        return False
    agent = event.agent
    return event.summary or (len(agent) >= len("compaction") and agent.strip().lower() == "compaction")


def _model_of_message(state: GaugeState, event: MessageUpdated, created: float) -> Reason | None:
    """Only a newer message changes the model: old ones are updated again, late (U12)."""
    if created <= state.model_created or not event.model_id:
        return None
    state.model_created = created
    return _switch(state, event.provider_id, event.model_id)


def _session_changed(state: GaugeState, event: SessionInfo) -> Reason | None:
    reason: Reason | None = None
    state.session_created = event.created
    if event.revert != state.revert:
        state.revert = event.revert
        reason = "reverted"
    model = (event.provider_id, event.model_id)
    if event.model_id and model != state.session_model:
        state.session_model = model
        reason = _switch(state, event.provider_id, event.model_id) or reason
    return reason


def _switch(state: GaugeState, provider_id: str, model_id: str) -> Reason | None:
    if (provider_id, model_id) == (state.provider_id, state.model_id):
        return None
    state.provider_id, state.model_id = intern(provider_id), intern(model_id)
    return "model"
