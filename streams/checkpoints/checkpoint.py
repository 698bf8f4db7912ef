"""What every store of checkpoints keeps, and what it answers."""

from collections.abc import Iterable
from typing import Protocol

import msgspec

__all__ = [
    "Checkpoint",
    "CheckpointStore",
    "Fenced",
    "MissingDriver",
    "Output",
    "StoreRefused",
    "StoredPartition",
    "decode",
    "encode",
]


class StoreRefused(ValueError):
    """What is there is no store of ours, of another format, or damaged. It was not changed."""


class Fenced(RuntimeError):
    """Somebody else has claimed the partition since: what we derive is theirs to say now."""


class MissingDriver(ImportError):
    """The store needs a package that is not installed."""


class Output(msgspec.Struct, frozen=True, gc=False):
    """One derived value. ``(session_id, operator, sequence)`` is the same however often it is made."""

    session_id: str
    operator: str
    sequence: int
    value: bytes


class Checkpoint(msgspec.Struct, frozen=True):
    """One moment between two events.

    Attributes:
        at: What the pipeline's clock showed.
        positions: How far each source was read, in its own measure.
        snapshots: What each operator kept.
        sequences: How many values each operator had emitted for each session.
        ended: Whether the sources were over and all was said.
    """

    at: float = 0.0
    positions: dict[str, int] = {}
    snapshots: dict[str, bytes] = {}
    sequences: dict[str, dict[str, int]] = {}
    ended: bool = False


class StoredPartition(msgspec.Struct, frozen=True):
    """What a store says of a partition, besides its checkpoint.

    Attributes:
        name: The partition.
        owner: Who claimed it last, as they called themselves.
        epoch: How often it was claimed; only the last one's commits are taken.
        at: What the pipeline's clock showed at the last commit; 0 before the first.
        committed_at: The last commit by the store's clock, in seconds since 1970; None before the first.
        commits: How many there were.
        refused: Commits that came after somebody else had claimed it.
        emitted: Outputs committed.
    """

    name: str
    owner: str = ""
    epoch: int = 0
    at: float = 0.0
    committed_at: float | None = None
    commits: int = 0
    refused: int = 0
    emitted: int = 0


encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Checkpoint).decode


def decode(encoded: bytes) -> Checkpoint:
    """Read back what ``encode`` wrote.

    Raises:
        ValueError: It is no checkpoint, or a damaged one.
    """
    try:
        return _decode(encoded)
    except RecursionError as error:
        raise ValueError(str(error)) from None


class CheckpointStore(Protocol):
    """Checkpoints and outputs, by partition. Any thread may use it; calls wait for each other.

    Every method raises:
        StoreRefused: What it reads is damaged. Nothing is written then.
        OSError: The store cannot be reached, written, or had for itself within a bounded time.
        ValueError: The store was closed.
    """

    def claim(self, partition: str, owner: str = "") -> tuple[int, Checkpoint]:
        """Become the partition's owner: whoever was before cannot commit any more.

        Args:
            partition: Its name; made if there is none.
            owner: Who claims it, for people to read.

        Returns:
            The epoch to commit with, and where to go on.
        """
        ...

    def commit(
        self, partition: str, epoch: int, checkpoint: Checkpoint, outputs: Iterable[Output] = ()
    ) -> None:
        """Write a checkpoint and the outputs since the one before: all of it, or nothing.

        Args:
            partition: Its name.
            epoch: As ``claim`` returned it.
            checkpoint: Where to go on from.
            outputs: In the order in which they were emitted.

        Raises:
            Fenced: The partition's epoch has moved on. The store counts it.
            ValueError: One of the outputs is in the store already.

        Time: Linear in what is written, however much was written before.
        """
        ...

    def undelivered(self, partition: str) -> list[Output]:
        """Outputs that no sink has confirmed, in the order in which they were emitted."""
        ...

    def delivered(self, partition: str, outputs: Iterable[Output]) -> None:
        """A sink has these. A kill before this call makes it get them again, under the same keys."""
        ...

    def outputs(self, partition: str) -> list[Output]:
        """All outputs, in the order in which they were emitted."""
        ...

    def partitions(self) -> list[StoredPartition]:
        """Every partition that was ever claimed, by name."""
        ...

    def close(self) -> None:
        """Let go of the store. What was committed stays; once is enough."""
        ...
