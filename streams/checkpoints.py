"""Where a pipeline goes on after it was killed: how far it had read, what it kept, what it had said."""

import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final

import msgspec

__all__ = ["Checkpoint", "Checkpoints", "Fenced", "Output", "StoreRefused"]

APPLICATION: Final = 0x53455353
"""SQLite's ``application_id``: says whose file it is ("SESS")."""

FORMAT: Final = 1
"""SQLite's ``user_version``: the format of the tables."""

TABLES: Final = (
    "CREATE TABLE partition (name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, checkpoint BLOB)",
    """CREATE TABLE output (
        partition TEXT NOT NULL, session_id TEXT NOT NULL, operator TEXT NOT NULL,
        sequence INTEGER NOT NULL, value BLOB NOT NULL, delivered INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (partition, session_id, operator, sequence))""",
)


class StoreRefused(ValueError):
    """The file is no store of ours, of a newer version, or damaged. It was not changed."""


class Fenced(RuntimeError):
    """Somebody else has claimed the partition since: what we derive is theirs to say now."""


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


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Checkpoint).decode


class Checkpoints:
    """A store of checkpoints and outputs in one SQLite file.

    A checkpoint and the outputs up to it are committed in one transaction (WAL, ``synchronous=FULL``), so
    whatever kills the process leaves both or neither.

    Args:
        path: The file; made if it does not exist.

    Raises:
        StoreRefused: The file is another program's, of a newer version, or damaged. It is left as it is.
    """

    format: ClassVar[int] = FORMAT
    migrations: ClassVar[Mapping[int, tuple[str, ...]]] = {}
    """By format, the statements that make it the next one."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise StoreRefused(f"{self.path} cannot be read as a checkpoint store: {error}") from None
        except StoreRefused:
            self._connection.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def claim(self, partition: str) -> tuple[int, Checkpoint]:
        """Become the partition's owner: whoever was before cannot commit any more.

        Returns:
            The epoch to commit with, and where to go on.

        Raises:
            StoreRefused: The checkpoint cannot be read.
        """
        with self._transaction() as database:
            database.execute(
                "INSERT INTO partition VALUES (?, 1, NULL) "
                "ON CONFLICT (name) DO UPDATE SET epoch = epoch + 1",
                (partition,),
            )
            query = "SELECT epoch, checkpoint FROM partition WHERE name = ?"
            epoch, found = database.execute(query, (partition,)).fetchone()
            try:
                return epoch, Checkpoint() if found is None else _decode(found)
            except msgspec.MsgspecError as error:
                raise StoreRefused(f"the checkpoint of {partition} is damaged: {error}") from None

    def commit(
        self, partition: str, epoch: int, checkpoint: Checkpoint, outputs: Iterable[Output] = ()
    ) -> None:
        """Write a checkpoint and the outputs since the one before: all of it, or nothing.

        Raises:
            Fenced: The partition's epoch has moved on.
        """
        with self._transaction() as database:
            changed = database.execute(
                "UPDATE partition SET checkpoint = ? WHERE name = ? AND epoch = ?",
                (_encode(checkpoint), partition, epoch),
            )
            if changed.rowcount != 1:
                raise Fenced(f"the partition {partition} was claimed by another since epoch {epoch}")
            database.executemany(
                "INSERT INTO output VALUES (?, ?, ?, ?, ?, 0)",
                [(partition, o.session_id, o.operator, o.sequence, o.value) for o in outputs],
            )

    def undelivered(self, partition: str) -> Iterator[Output]:
        """Outputs that no sink has confirmed, in the order in which they were emitted."""
        query = (
            "SELECT session_id, operator, sequence, value FROM output "
            "WHERE partition = ? AND delivered = 0 ORDER BY rowid"
        )
        return (Output(*row) for row in self._connection.execute(query, (partition,)).fetchall())

    def delivered(self, partition: str, outputs: Iterable[Output]) -> None:
        """A sink has these. A kill before this call makes it get them again, under the same keys."""
        with self._transaction() as database:
            database.executemany(
                "UPDATE output SET delivered = 1 "
                "WHERE partition = ? AND session_id = ? AND operator = ? AND sequence = ?",
                [(partition, o.session_id, o.operator, o.sequence) for o in outputs],
            )

    def outputs(self, partition: str) -> list[Output]:
        """All outputs, in the order in which they were emitted."""
        query = (
            "SELECT session_id, operator, sequence, value FROM output WHERE partition = ? ORDER BY rowid"
        )
        return [Output(*row) for row in self._connection.execute(query, (partition,))]

    def _open(self) -> None:
        """Look before anything is written: SQLite itself refuses what is no database at all."""
        database = self._connection
        application = database.execute("PRAGMA application_id").fetchone()[0]
        version = database.execute("PRAGMA user_version").fetchone()[0]
        tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if (tables or application) and application != APPLICATION:
            raise StoreRefused(f"{self.path} is another program's database, not a checkpoint store")
        steps = range(version, self.format)
        if application and (version > self.format or any(each not in self.migrations for each in steps)):
            raise StoreRefused(
                f"{self.path} is a checkpoint store of format {version}; this version reads {self.format}"
            )
        if application:
            check = database.execute("PRAGMA quick_check").fetchone()[0]
            if check != "ok":
                raise StoreRefused(f"{self.path} is damaged: {check}")
            self._migrate(steps)
        else:
            self._create()
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA busy_timeout = 5000")

    def _create(self) -> None:
        with self._transaction() as database:
            for table in TABLES:
                database.execute(table)
            database.execute(f"PRAGMA application_id = {APPLICATION}")
            database.execute(f"PRAGMA user_version = {self.format}")

    def _migrate(self, steps: range) -> None:
        """All steps, or none."""
        if not steps:
            return
        with self._transaction() as database:
            for step in steps:
                for statement in self.migrations[step]:
                    database.execute(statement)
            database.execute(f"PRAGMA user_version = {self.format}")

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
