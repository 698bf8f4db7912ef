"""Stops trying what keeps failing, and tries it once more after a while."""

import msgspec

__all__ = ["Breaker", "BreakerState"]


class BreakerState(msgspec.Struct, gc=False):
    """What is kept per session.

    Attributes:
        failures: Failures since the last success.
        probe_from: While open, from when one more try is allowed; None while closed.
    """

    failures: int = 0
    probe_from: float | None = None


class Breaker:
    """A circuit breaker: open after so many failures in a row, half-open after a while.

    Args:
        failures: Failures in a row that open it.
        reset: Seconds after which an open one lets a probe through.
    """

    def __init__(self, failures: int, reset: float) -> None:
        self._failures = failures
        self._reset = reset

    def allows(self, state: BreakerState, now: float) -> bool:
        """Whether to try: always while closed; a probe at a time once the reset is over."""
        return state.probe_from is None or now >= state.probe_from

    def is_open(self, state: BreakerState) -> bool:
        """Whether the next try is a probe."""
        return state.probe_from is not None

    def failed(self, state: BreakerState, now: float) -> bool:
        """Count a failure; says whether that opened it. A probe's failure opens it again."""
        state.failures += 1
        if state.failures < self._failures and state.probe_from is None:
            return False
        state.probe_from = now + self._reset
        return True

    def succeeded(self, state: BreakerState) -> None:
        """Close it and forget the failures."""
        state.failures, state.probe_from = 0, None

    def hurry(self, state: BreakerState, now: float) -> None:
        """Let a probe through from now on, if it is open."""
        if state.probe_from is not None:
            state.probe_from = min(now, state.probe_from)
