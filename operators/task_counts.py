"""How the tasks of one parent stand: what a progress bar needs."""

from typing import Literal

import msgspec

__all__ = ["TaskCounts", "TaskState"]

TaskState = Literal[
    "pending", "running", "waiting", "retrying", "idle", "completed", "aborted", "failed", "gone"
]


class TaskCounts(msgspec.Struct, frozen=True, gc=False):
    """How many tasks of one parent are in which state. ``pending`` counts those without a session too."""

    pending: int = 0
    running: int = 0
    waiting: int = 0
    retrying: int = 0
    idle: int = 0
    completed: int = 0
    aborted: int = 0
    failed: int = 0
    gone: int = 0

    @property
    def total(self) -> int:
        """All tasks of the parent."""
        return sum(getattr(self, name) for name in self.__struct_fields__)

    @property
    def ended(self) -> int:
        """Those that are over."""
        return self.completed + self.aborted + self.failed + self.gone
