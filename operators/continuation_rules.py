"""What stands against telling a session to go on, in the order in which it is said."""

from typing import Literal

import msgspec

from operators.continuation_state import ContinuationState

__all__ = ["Obstacle", "Policy", "obstacle"]

Obstacle = Literal[
    "stopped", "aborted", "overflow", "waiting", "compacted", "children", "stagnated", "failing"
]


class Policy(msgspec.Struct, frozen=True):
    """The arguments of ``continuations``, checked."""

    settle: float
    countdown: float
    max_stagnation: int
    backoff: float
    max_failures: int
    reset: float

    def retry_at(self, state: ContinuationState) -> float:
        """When a failure is forgiven: later with each one, and after too many, much later (D11)."""
        if state.failures == 0:
            return state.failed_at
        if state.failures >= self.max_failures:
            return state.failed_at + self.reset
        return state.failed_at + self.backoff * 2**state.failures


def obstacle(
    state: ContinuationState, policy: Policy, now: float, *, children_work: bool
) -> Obstacle | None:
    """The first thing that stands against going on, or None.

    A countdown that runs since before a compaction is not held by it (D7): it is asked for the epoch
    that it knew of.
    """
    epoch = state.compactions if state.epoch is None else state.epoch
    if state.stopped:
        return "stopped"
    if state.halt:
        return state.halt
    if state.waiting:
        return "waiting"
    if state.acknowledged < epoch:
        return "compacted"
    if children_work or state.tasks:
        return "children"
    if state.stagnation >= policy.max_stagnation:
        return "stagnated"
    return "failing" if now < policy.retry_at(state) else None
