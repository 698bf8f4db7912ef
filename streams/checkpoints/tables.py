"""What the stores have in common: two tables, and what is read from and written to them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from math import isnan
from typing import Any, ClassVar, Final, Protocol, TypeVar
from zlib import crc32

import msgspec

from streams.checkpoints.checkpoint import (
    Checkpoint,
    Fenced,
    Output,
    StoredPartition,
    StoreRefused,
    decode,
    encode,
)

__all__ = ["OUTPUT", "SqlCheckpoints", "Statements", "checksum_of", "checksum_of_output"]

Result = TypeVar("Result")

PARTITION: Final = ", ".join(StoredPartition.__struct_fields__)
"""The columns that are a ``StoredPartition``; a row has its id, checkpoint and two checksums too."""

INSERT: Final = (
    f"INSERT INTO partition ({PARTITION}, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608
    "ON CONFLICT (name) DO NOTHING"
)
UPDATE: Final = (
    "UPDATE partition SET (owner, epoch, at, committed_at, commits, refused, emitted, "
    "checkpoint_checksum, checksum) = (?, ?, ?, ?, ?, ?, ?, ?, ?) WHERE id = ?"
)
COMMIT: Final = (
    "UPDATE partition SET (owner, epoch, at, committed_at, commits, refused, emitted, "
    "checkpoint_checksum, checksum, checkpoint) = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) WHERE id = ?"
)
PARTITIONS: Final = f"SELECT {PARTITION}, checkpoint_checksum, checksum FROM partition ORDER BY name"  # noqa: S608
LOCKED: Final = f"SELECT {PARTITION}, checkpoint_checksum, checksum, id FROM partition WHERE name = ?"  # noqa: S608
CHECKPOINT: Final = "SELECT checkpoint FROM partition WHERE id = ?"

OUTPUT: Final = (
    "INSERT INTO output (partition, emission, session_id, operator, sequence, value, checksum) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
OUTPUTS: Final = (
    "SELECT emitted, emission, session_id, operator, sequence, value, output.checksum "
    "FROM partition LEFT JOIN output ON output.partition = id WHERE name = ? ORDER BY emission"
)
UNDELIVERED: Final = (
    "SELECT emission, session_id, operator, sequence, value, checksum FROM output "
    "WHERE partition = (SELECT id FROM partition WHERE name = ?) AND delivered = 0 ORDER BY emission"
)
DELIVERED: Final = (
    "UPDATE output SET delivered = 1 WHERE partition = (SELECT id FROM partition WHERE name = ?) "
    "AND session_id = ? AND operator = ? AND sequence = ?"
)

_packed = msgspec.msgpack.Encoder().encode


class Statements(Protocol):
    """A transaction that has begun."""

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What a statement answers; ``?`` stands for a value."""
        ...

    def each(self, statement: str, values: Iterable[Sequence[object]]) -> None:
        """A statement for each of them."""
        ...


def checksum_of(row: StoredPartition, checkpoint_checksum: int) -> int:
    """It is wrong if a bit of any of it is."""
    return crc32(_packed((*msgspec.structs.astuple(row), checkpoint_checksum)))


def checksum_of_output(partition: str, emission: int, output: Output) -> int:
    """Of one output, and of where it belongs."""
    return crc32(_packed((partition, emission, *msgspec.structs.astuple(output))))


def _values_of(row: StoredPartition, checkpoint_checksum: int) -> tuple[object, ...]:
    """What ``UPDATE`` writes."""
    values = msgspec.structs.astuple(row)[1:]
    return (*values, checkpoint_checksum, checksum_of(row, checkpoint_checksum))


class SqlCheckpoints(ABC):
    """Checkpoints and outputs in a database that understands transactions.

    A partition has one row. Whoever claims it or commits to it locks the row, looks, and writes; so a
    commit is taken only while the epoch is the one that it was claimed with.
    """

    where: str
    """What messages call the store."""

    locking: ClassVar[str] = ""
    """What makes a SELECT lock its rows, where the transaction does not lock all of them."""

    @abstractmethod
    def _write(self, work: Callable[[Statements], Result]) -> Result:
        """Do it in one transaction; whatever it raises, nothing of it is done."""

    @abstractmethod
    def _read(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What one statement answers."""

    @abstractmethod
    def _now(self, statements: Statements) -> float:
        """The store's clock, in seconds since 1970."""

    def claim(self, partition: str, owner: str = "") -> tuple[int, Checkpoint]:
        """Become the partition's owner: whoever was before cannot commit any more.

        Args:
            partition: Its name; made if there is none.
            owner: Who claims it, for people to read.

        Returns:
            The epoch to commit with, and where to go on.

        Raises:
            StoreRefused: The partition is damaged. It is left as it is, with its owner.
            OSError: The store cannot be reached, written, or had for itself.
        """
        unclaimed = StoredPartition(partition)

        def work(statements: Statements) -> tuple[int, Checkpoint]:
            values = msgspec.structs.astuple(unclaimed)
            statements.rows(INSERT, *values, checksum_of(unclaimed, 0))
            id_, row, checksum = self._locked(statements, partition)
            checkpoint = self._checkpoint(partition, statements.rows(CHECKPOINT, id_)[0][0], checksum)
            claimed = msgspec.structs.replace(row, owner=owner, epoch=row.epoch + 1)
            statements.rows(UPDATE, *_values_of(claimed, checksum), id_)
            return claimed.epoch, checkpoint

        return self._write(work)

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
            ValueError: One of the outputs is in the store already, or the checkpoint's time is no number.
            StoreRefused: The partition is damaged.
            OSError: The store cannot be reached, written, or had for itself.

        Memory: the outputs and the encoded checkpoint, until they are written.
        Time: linear in what is written, however much was written before.
        """
        if isnan(checkpoint.at):
            raise ValueError(
                f"the checkpoint of the partition {partition} is at no time: {checkpoint.at}"
            )
        encoded, said = encode(checkpoint), tuple(outputs)
        before: int | None = None

        def work(statements: Statements) -> None:
            nonlocal before
            id_, row, _ = self._locked(statements, partition)
            if row.epoch != epoch:
                raise Fenced(_says_who(row, epoch))
            if before is not None and row.commits == before + 1:
                return  # done before; only the answer was lost
            before = row.commits
            committed = msgspec.structs.replace(
                row,
                at=checkpoint.at + 0.0,  # neither 0 nor -0.0: databases keep one zero
                committed_at=self._now(statements),
                commits=row.commits + 1,
                emitted=row.emitted + len(said),
            )
            statements.rows(COMMIT, *_values_of(committed, crc32(encoded)), encoded, id_)
            _say(statements, partition, id_, row.emitted, said)

        try:
            self._write(work)
        except Fenced:
            with suppress(Fenced, StoreRefused, OSError):  # who lost the partition hears that, above all
                self._count_refusal(partition)
            raise

    def undelivered(self, partition: str) -> list[Output]:
        """Outputs that no sink has confirmed, in the order in which they were emitted.

        Raises:
            StoreRefused: One of them is damaged.

        Memory: all of them. Time: linear in their number; those that were delivered cost nothing.
        """
        return [self._output(partition, row) for row in self._read(UNDELIVERED, partition)]

    def delivered(self, partition: str, outputs: Iterable[Output]) -> None:
        """A sink has these. A kill before this call makes it get them again, under the same keys."""
        keys = [(partition, each.session_id, each.operator, each.sequence) for each in outputs]
        self._write(lambda statements: statements.each(DELIVERED, keys))

    def outputs(self, partition: str) -> list[Output]:
        """All outputs, in the order in which they were emitted.

        Raises:
            StoreRefused: One of them is damaged or missing.

        Memory and time: linear in their number.
        """
        rows = self._read(OUTPUTS, partition)
        said = [row[1:] for row in rows if row[1] is not None]
        if rows and [row[0] for row in said] != list(range(1, rows[0][0] + 1)):
            raise StoreRefused(
                f"{self.where} is damaged: outputs of the partition {partition} are missing"
            )
        return [self._output(partition, row) for row in said]

    def partitions(self) -> list[StoredPartition]:
        """Every partition that was ever claimed, by name.

        Raises:
            StoreRefused: One of them is damaged.
        """
        return [self._verified(row[0], row) for row in self._read(PARTITIONS)]

    def _count_refusal(self, partition: str) -> None:
        """In a transaction of its own, since the one that was refused is undone."""

        def work(statements: Statements) -> None:
            id_, row, checksum = self._locked(statements, partition)
            refused = msgspec.structs.replace(row, refused=row.refused + 1)
            statements.rows(UPDATE, *_values_of(refused, checksum), id_)

        self._write(work)

    def _locked(self, statements: Statements, partition: str) -> tuple[int, StoredPartition, int]:
        """The partition's id, row, and checkpoint's checksum; nobody else can change them now."""
        found = statements.rows(LOCKED + self.locking, partition)
        if not found:
            raise Fenced(f"the partition {partition} was never claimed in {self.where}")
        *row, id_ = found[0]
        return id_, self._verified(partition, row), row[-2]

    def _verified(self, partition: str, found: Sequence[Any]) -> StoredPartition:
        *values, checkpoint_checksum, checksum = found
        row = StoredPartition(*values)
        if checksum_of(row, checkpoint_checksum) != checksum:
            raise StoreRefused(f"{self.where} is damaged: the partition {partition} has a wrong checksum")
        return row

    def _checkpoint(self, partition: str, encoded: bytes, checksum: int) -> Checkpoint:
        if crc32(encoded) != checksum:
            raise StoreRefused(
                f"{self.where} is damaged: the checkpoint of the partition {partition} "
                "has a wrong checksum"
            )
        try:
            return decode(encoded) if encoded else Checkpoint()
        except ValueError as error:
            raise StoreRefused(
                f"{self.where}: the checkpoint of the partition {partition} cannot be read: {error}"
            ) from None

    def _output(self, partition: str, row: Sequence[Any]) -> Output:
        emission, *values, checksum = row
        output = Output(*values)
        if checksum_of_output(partition, emission, output) != checksum:
            raise StoreRefused(
                f"{self.where} is damaged: output {emission} of the partition {partition} "
                "has a wrong checksum"
            )
        return output


def _says_who(row: StoredPartition, epoch: int) -> str:
    owner = row.owner or "another process"
    return (
        f"the partition {row.name} is owned by {owner} since epoch {row.epoch}: "
        f"what was derived in epoch {epoch} is not committed"
    )


def _say(
    statements: Statements, partition: str, id_: int, emitted: int, outputs: Sequence[Output]
) -> None:
    """Write outputs, numbered in the order in which they were emitted."""
    statements.each(
        OUTPUT,
        [
            (id_, emission, *msgspec.structs.astuple(each), checksum_of_output(partition, emission, each))
            for emission, each in enumerate(outputs, emitted + 1)
        ],
    )
