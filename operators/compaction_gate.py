"""Whether a session may be compacted now: everything that speaks for it and against it.

What it holds true, and where it was learnt (ids of the field failures): the cooldown counts from the
beginning of an attempt (C1), somebody else's compaction counts as one (C10), too many failures in a row
stop attempts until a while has passed or the user writes (C7, C8), so do too many in an hour (C9), and
a veto is bounded by time and by how full the window is (C17).
"""

from collections.abc import Callable, Iterable
from typing import Final, Literal

import msgspec

from operators.breaker import Breaker, BreakerState
from operators.compaction_triggers import (
    Cause,
    CompactionTrigger,
    Pace,
    Pressure,
    TriggerState,
    is_compacting,
)
from streams.events import MessageUpdated, Part, PartUpdated, SessionEvent
from streams.faults import Fault

__all__ = ["Gate", "GateState", "Held", "Veto"]

Veto = Callable[[CompactionTrigger], bool | str]
"""Says whether to put an attempt off, and why."""

HARD_RATIO: Final = 0.95
"""Share of the limit from which no veto is heeded."""

LONGEST_DEFERRAL: Final = 300.0
"""Seconds after which a veto is no longer heeded."""


class Held(msgspec.Struct, frozen=True, gc=False):
    """An attempt that is not made yet; said once."""

    trigger: CompactionTrigger
    state: Literal["rate_limited", "deferred"]
    reason: str = ""


class GateState(TriggerState):
    """The pressure, and what keeps the next attempt back."""

    breaker: BreakerState = msgspec.field(default_factory=BreakerState)
    rate_limited: bool = False
    deferred: CompactionTrigger | None = None
    deferred_until: float | None = None
    prompt: str = ""
    prompt_created: float = -1.0


class Gate:
    """Takes events into a ``GateState`` and lets triggers through.

    Args:
        pressure: When a window is too full.
        pace: How often to try.
        breaker: When to stop trying.
        veto: What the user says against it.
    """

    def __init__(self, pressure: Pressure, pace: Pace, breaker: Breaker, veto: Veto | None) -> None:
        self._pressure = pressure
        self._pace = pace
        self._breaker = breaker
        self._veto = veto

    def take(self, state: GateState, event: SessionEvent, now: float) -> Cause | None:
        """Fold one event; says what to decide on, if anything."""
        if isinstance(event, MessageUpdated):
            _watch_prompts(state, event)
        elif state.prompt and isinstance(event, PartUpdated):
            self._prompted(state, event.part, now)
        return self._pressure.take(state, event, now)

    def ask(
        self, state: GateState, cause: Cause, now: float
    ) -> Iterable[CompactionTrigger | Held | Fault]:
        """The trigger to begin with now, or what holds it if that is new."""
        if is_compacting(state, now) or self._pace.is_cooling(state, now):
            return
        if not self._breaker.allows(state.breaker, now):
            return
        reading, faults = self._pressure.read(state, now)
        yield from faults
        trigger = self._pressure.find(state, cause, now, reading)
        if trigger is None:
            state.deferred = state.deferred_until = None
        elif not self._pace.is_used_up(state, now):
            yield from self._unless_vetoed(state, trigger, now)
        elif not state.rate_limited:
            state.rate_limited = True
            yield Held(trigger, "rate_limited")

    def ask_again(self, state: GateState, now: float) -> Iterable[CompactionTrigger | Held | Fault]:
        """The same, once ``deferred_until`` has come: the veto is not heeded any more."""
        deferred, state.deferred_until = state.deferred, None
        return self.ask(state, deferred.cause, now) if deferred else ()

    def begin(self, state: GateState, now: float) -> None:
        """An attempt begins."""
        self._pace.count(state, now)
        state.rate_limited, state.deferred, state.deferred_until = False, None, None

    def _unless_vetoed(
        self, state: GateState, trigger: CompactionTrigger, now: float
    ) -> Iterable[CompactionTrigger | Held | Fault]:
        vetoed: bool | str = False
        too_long = state.deferred is not None and now >= state.deferred.at + LONGEST_DEFERRAL
        if self._veto and not too_long and (trigger.ratio or 0.0) < HARD_RATIO:
            try:
                vetoed = self._veto(trigger)
            except Exception as error:  # a broken guard must not let the window overflow
                yield Fault("veto", state.session_id, now, error)
        if not vetoed:
            yield trigger
        elif state.deferred is None:
            state.deferred, state.deferred_until = trigger, now + LONGEST_DEFERRAL
            yield Held(trigger, "deferred", vetoed if isinstance(vetoed, str) else "")

    def _prompted(self, state: GateState, part: Part, now: float) -> None:
        """The first part says whether a human wrote the message: then a probe may go through."""
        if part.message_id != state.prompt:
            return
        state.prompt = ""
        if part.type != "compaction" and not part.synthetic:
            self._breaker.hurry(state.breaker, now)


def _watch_prompts(state: GateState, event: MessageUpdated) -> None:
    """Old messages are updated again, late: only a newer one is a prompt."""
    if event.role == "user" and event.created > state.prompt_created:
        state.prompt, state.prompt_created = event.message_id, event.created
