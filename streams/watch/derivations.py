"""What is derived while watching: one operator per name. A new one is one line here."""

from collections.abc import Mapping
from typing import Final

import msgspec

import operators as ops
from operators import Operator
from streams.limits import ContextLimits

__all__ = ["Derivations", "Derived", "derivations", "warning_threshold"]

Derivations = Mapping[str, Operator[msgspec.Struct]]

WARNING: Final = 0.70


class Derived(msgspec.Struct, frozen=True, gc=False):
    """One value that an operator emitted.

    Attributes:
        operator: Its name.
        at: Seconds, by the pipeline's clock, to the millisecond.
        value: What it emitted.
    """

    operator: str
    at: float
    value: msgspec.Struct


def derivations(
    limits: ContextLimits, *, threshold: float, compaction: Operator[msgspec.Struct] | None = None
) -> Derivations:
    """The operators, by name, in the order in which they say something about the same event.

    Args:
        limits: Who knows the models' limits.
        threshold: Fraction of the limit at which a session should be compacted; above 0, at most 1.
        compaction: What compacts sessions, or says when it would; None where nothing can be.

    Raises:
        ValueError: ``threshold`` is out of its range.
    """
    table = {
        "context_usage": ops.context_usage(limits),
        "context_warnings": ops.context_warnings(limits, threshold=warning_threshold(threshold)),
        "compaction_triggers": ops.compaction_triggers(limits, threshold=threshold),
        "task_progress": ops.task_progress(),
        "todo_progress": ops.todo_progress(),
        "stalls": ops.stalls(),
        "tool_loops": ops.tool_loops(),
    }
    return table if compaction is None else {**table, "compact": compaction}


def warning_threshold(threshold: float) -> float:
    """Where a session is warned of: before it should be compacted, never after."""
    return min(WARNING, threshold)
