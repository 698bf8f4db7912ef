"""Who runs a partition: on a thread, again and again, until told to stop or replaced by another."""

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final, Literal

import msgspec

from streams.checkpoints import CheckpointStore, Fenced, open_store
from streams.faults import Fault, log_fault
from streams.partition import Partition, PartitionStatus
from streams.positions import Resumable

__all__ = ["MakePartition", "Owner", "OwnerStatus", "State"]

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
"""Seconds between two attempts; each failure in a row doubles them."""

State = Literal["running", "failing", "ended", "replaced", "drained"]

MakePartition = Callable[[str, Sequence[Resumable], CheckpointStore, str], Partition]
"""Makes a partition from its name, its sources, the store and its owner's name."""


class OwnerStatus(msgspec.Struct, frozen=True):
    """How an owner is doing.

    Attributes:
        partition: What the partition says of itself.
        state: ``failing`` tries again after a while, see ``error``; ``replaced`` was refused a commit,
            since somebody else has claimed the partition, and does nothing any more.
        error: Why the last attempt failed; empty when it has not.
        attempts: How often it was begun.
        node: The machine.
        process: The process.
    """

    partition: PartitionStatus
    state: State
    error: str = ""
    attempts: int = 0
    node: str = ""
    process: int = 0


class Owner:
    """Runs a partition on a daemon thread. What fails is tried again: a source, the store, an operator.

    Args:
        name: The partition.
        sources: What it reads.
        store: The address of the store; opened anew with each attempt.
        make: Makes the partition.
        node: The machine, for people to read.

    Memory: the partition's. Time: one thread; pauses of 0.5 s to 30 s between failing attempts.
    """

    def __init__(
        self, name: str, sources: Sequence[Resumable], store: str, make: MakePartition, node: str = ""
    ) -> None:
        self._name = name
        self._sources = sources
        self._store = store
        self._make = make
        self._node = node
        self._stop = threading.Event()
        self._partition: Partition | None = None
        self._state: State = "running"
        self._error = ""
        self._attempts = 0
        self._thread = threading.Thread(target=self._run, name=f"partition {name}", daemon=True)
        self._thread.start()

    def status(self) -> OwnerStatus:
        """How it is doing, from any thread."""
        running = self._partition
        status = PartitionStatus(self._name) if running is None else running.status
        return OwnerStatus(status, self._state, self._error, self._attempts, self._node, os.getpid())

    def drain(self, timeout: float = 30.0) -> bool:
        """Commit what was taken in, and do nothing any more.

        Args:
            timeout: Seconds to wait for that.

        Returns:
            Whether it has.
        """
        self._stop.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            self._attempts += 1
            try:
                self._once()
            except Fenced as error:
                self._failed("replaced", error)
                return
            except Exception as error:
                self._failed("failing", error)
                if self._partition is not None and self._partition.status.commits:
                    pause = FIRST_PAUSE
                self._stop.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._state = "drained" if self._stop.is_set() else "ended"
                return
        self._state = "drained"

    def _once(self) -> None:
        with closing(open_store(self._store)) as store:
            owner = f"{self._node} {os.getpid()}".strip()
            self._partition = self._make(self._name, self._sources, store, owner)
            self._state = "running"
            self._partition.run(self._stop)

    def _failed(self, state: State, error: Exception) -> None:
        self._state = state
        self._error = f"{type(error).__name__}: {error}"
        log_fault(Fault(f"partition {self._name}", "", 0.0, error))
