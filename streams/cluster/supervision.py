"""Keeps one owner of each partition alive, and moves them to where there are fewest."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from streams.checkpoints import CheckpointStore, StoredPartition, open_store
from streams.cluster.owner import OwnerStatus
from streams.cluster.placement import next_move
from streams.faults import Fault, log_fault

__all__ = ["Engine", "Placed", "Supervision"]

TICK: Final = 1.0
"""Seconds between two looks."""

SETTLING: Final = 5.0
"""Seconds for which the nodes and the owners must be the same before anything is moved."""


class Engine(Protocol):
    """What starts processes on nodes; Ray, and in tests none."""

    def nodes(self) -> Sequence[str]:
        """The nodes that are alive."""
        ...

    def ensure(self, partition: str, node: str | None = None) -> None:
        """Have an owner of the partition: the one there is, or a new one, on that node if it can be."""
        ...

    def statuses(self, partitions: Sequence[str]) -> Mapping[str, OwnerStatus]:
        """How the owners are doing, of those that answer within a second."""
        ...

    def stop(self, partition: str) -> bool:
        """Let the owner commit and end it; false when it does not answer. It is ended in any case."""
        ...


class Placed(msgspec.Struct, frozen=True):
    """A partition, where it is, and how it is doing.

    Attributes:
        name: The partition.
        sources: What it reads.
        state: The owner's state; ``starting`` while no owner answers, ``stopped`` once it was drained.
        node: The owner's node; empty while none answers.
        process: The owner's process.
        owner: Who claimed it last, as the store says.
        epoch: How often it was claimed.
        lag: Seconds by which what it has derived is behind the wall clock; None before it was begun.
        commits: Commits so far, of all owners.
        commits_per_second: Between the last two looks.
        refused: Commits that were refused, since another had claimed it.
        emitted: Outputs in the store.
        error: Why its owner is failing.
    """

    name: str
    sources: tuple[str, ...] = ()
    state: str = "starting"
    node: str = ""
    process: int = 0
    owner: str = ""
    epoch: int = 0
    lag: float | None = None
    commits: int = 0
    commits_per_second: float = 0.0
    refused: int = 0
    emitted: int = 0
    error: str = ""


class Supervision:
    """Looks every second whether each partition has an owner, and where the owners are.

    It holds nothing that cannot be found again: who supervises may be killed and started anew.

    Args:
        engine: What starts owners.
        sources: The names of the sources of each partition.
        store: The address of the store, for what it says of the partitions.
        seconds: A clock that nobody sets.
        wall: The clock that the records' times are of.

    Memory: a row for each partition. Time: one look a second on a thread of its own, once started.
    """

    def __init__(
        self,
        engine: Engine,
        sources: Mapping[str, Sequence[str]],
        store: str,
        *,
        seconds: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._sources = sources
        self._address = store
        self._seconds = seconds
        self._wall = wall
        self._changing = threading.RLock()
        self._stopped: set[str] = set()
        self._store: CheckpointStore | None = None
        self._rows: Mapping[str, StoredPartition] = {}
        self._rates: dict[str, float] = {}
        self._looked_at = seconds()
        self._statuses: Mapping[str, OwnerStatus] = {}
        self._arrangement: object = None
        self._settled_at = seconds()

    def start(self, stop: threading.Event) -> None:
        """Look every second, on a daemon thread, until ``stop`` is set."""

        def run() -> None:
            while not stop.wait(TICK):
                try:
                    self.look()
                except Exception as error:
                    log_fault(Fault("supervision", "", self._wall(), error))

        threading.Thread(target=run, name="supervision", daemon=True).start()

    def look(self) -> None:
        """Start owners that are missing, and move one if a node has two more than another."""
        with self._changing:
            wanted = [name for name in self._sources if name not in self._stopped]
            for name in wanted:
                self._engine.ensure(name)
            self._statuses = self._engine.statuses(wanted)
            self._look_into_the_store()
            nodes = self._engine.nodes()
            placed = {name: status.node for name, status in self._statuses.items()}
            if self._is_settled((tuple(sorted(nodes)), placed), len(wanted)):
                move = next_move(nodes, placed)
                if move is not None:
                    self.move(*move)

    def placed(self) -> list[Placed]:
        """How each partition is doing, as of the last look."""
        return [self._placed(name) for name in self._sources]

    def drain(self, partition: str) -> bool:
        """Let its owner commit and end, and start no other; whether the owner answered.

        Raises:
            ValueError: There is no such partition.
        """
        with self._changing:
            self._check(partition)
            self._stopped.add(partition)
            return self._engine.stop(partition)

    def move(self, partition: str, node: str | None = None) -> bool:
        """Let its owner commit and end, and start another, on that node if it can be.

        A partition that was drained is taken up again. Returns whether the old owner answered.

        Raises:
            ValueError: There is no such partition or node.
        """
        with self._changing:
            self._check(partition)
            if node is not None and node not in self._engine.nodes():
                raise ValueError(f"node must be one that is alive, got {node!r}")
            answered = self._engine.stop(partition)
            self._stopped.discard(partition)
            self._engine.ensure(partition, node)
            return answered

    def end(self) -> None:
        """Drain all partitions."""
        for name in self._sources:
            if name not in self._stopped:
                self.drain(name)

    def _check(self, partition: str) -> None:
        if partition not in self._sources:
            raise ValueError(f"partition must be one of {', '.join(self._sources)}; got {partition!r}")

    def _is_settled(self, arrangement: object, wanted: int) -> bool:
        """Whether nothing has changed for a while, and everybody answers."""
        now = self._seconds()
        if arrangement != self._arrangement or len(self._statuses) < wanted:
            self._arrangement, self._settled_at = arrangement, now
        return now - self._settled_at >= SETTLING

    def _look_into_the_store(self) -> None:
        """What the store says; a store that cannot be reached says nothing new."""
        try:
            if self._store is None:
                self._store = open_store(self._address)
            rows = {row.name: row for row in self._store.partitions()}
        except OSError as error:
            log_fault(Fault("supervision", "", self._wall(), error))
            return
        now = self._seconds()
        passed = max(now - self._looked_at, 1e-3)
        for name, row in rows.items():
            before = self._rows.get(name, row)
            self._rates[name] = (row.commits - before.commits) / passed
        self._rows, self._looked_at = rows, now

    def _placed(self, name: str) -> Placed:
        row, status = self._rows.get(name, StoredPartition(name)), self._statuses.get(name)
        at = max(row.at, status.partition.at if status else 0.0)
        return Placed(
            name=name,
            sources=tuple(self._sources[name]),
            state="stopped" if name in self._stopped else status.state if status else "starting",
            node=status.node if status else "",
            process=status.process if status else 0,
            owner=row.owner,
            epoch=row.epoch,
            lag=max(0.0, self._wall() - at) if at else None,
            commits=row.commits,
            commits_per_second=round(self._rates.get(name, 0.0), 1),
            refused=row.refused,
            emitted=row.emitted,
            error=status.error if status else "",
        )
