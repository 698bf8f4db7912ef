"""Background tasks: how many are in which state now, and how they ended."""

from typing import Final

from operators import TaskProgress
from operators.task_counts import TaskState
from streams.metrics.instruments import Instrument, Instruments

__all__ = ["Tasks"]

ACTIVE: Final = Instrument("sessionstreams.tasks", "updown", "{task}", "Background tasks not ended yet.")
OVER: Final = Instrument("sessionstreams.tasks.ended", "counter", "{task}", "Background tasks ended.")
ENDED: Final = ("completed", "aborted", "failed", "gone")


class Tasks:
    """Moves each task from state to state.

    Memory: one entry per task that has not ended.
    """

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._states: dict[str, TaskState] = {}

    def take(self, task: TaskProgress) -> None:
        """Follow one task. What is said again of one that has ended is no end of its own."""
        before = self._states.pop(task.session_id, None)
        if before is not None:
            self._move(before, -1)
        if task.state not in ENDED:
            self._states[task.session_id] = task.state
            self._move(task.state, 1)
        elif before is not None:
            self._instruments.count(OVER, {"sessionstreams.state": task.state})

    def close(self) -> None:
        """Nobody follows them any more: none is active as far as this says."""
        for state in self._states.values():
            self._move(state, -1)
        self._states.clear()

    def _move(self, state: TaskState, number: int) -> None:
        self._instruments.count(ACTIVE, {"sessionstreams.state": state}, number)
