"""Checkpoints in a file."""

import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, contextmanager
from errno import EISDIR, ENOENT
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from streams.checkpoints import sqlite_formats
from streams.checkpoints.checkpoint import StoreRefused
from streams.checkpoints.sqlite_formats import APPLICATION, FORMAT, Migration
from streams.checkpoints.tables import SqlCheckpoints, Statements
from streams.checks import seconds

__all__ = ["Checkpoints"]

Result = TypeVar("Result")

PAUSE: Final = 0.01
"""Seconds between two tries of what SQLite does not wait for by itself."""

REFUSED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
"""What SQLite says of a file's content; the rest it says of the disk."""

LOCKED: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})

UNFINISHED: Final = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})
"""What SQLite says of a file that must be written before it can be read."""


class Checkpoints(SqlCheckpoints):
    """A store of checkpoints and outputs in one SQLite file, for any number of threads and processes.

    A checkpoint and the outputs up to it are committed in one transaction (WAL, ``synchronous=FULL``), so
    whatever kills the process, or takes the machine's power, leaves both or neither.

    A file is looked at before anything is written: what is refused stays as it is, byte for byte (SQLite
    may leave its empty ``-wal`` beside it). An empty file is a new store. A bit that changed on the disk
    is noticed: by SQLite's own check when the file is opened, and by checksums whenever it is read.

    Args:
        path: The file; made if it does not exist.
        patience: How long to wait for another process that has the file locked; seconds, 5 by default.
        wall: The clock that says when a commit was; seconds since 1970.

    Raises:
        StoreRefused: The file is another program's, of another format, or damaged. It is left as it is.
        FileNotFoundError: Its directory does not exist.
        TimeoutError: Another process has it locked, and does not let go.
        OSError: It cannot be opened or written.

    Memory: a few MB of SQLite's cache. Time: opening reads the whole file (a million outputs take about
    3 s); a commit waits for the disk.
    """

    format: ClassVar[int] = FORMAT
    migrations: ClassVar[Mapping[int, Migration]] = sqlite_formats.MIGRATIONS
    """By format, what makes it the next one."""

    def __init__(
        self, path: str | Path, *, patience: float = 5.0, wall: Callable[[], float] = time.time
    ) -> None:
        self.path = Path(path)
        self.where = str(path)
        self._patience = seconds("patience", patience)
        self._wall = wall
        self._lock = threading.RLock()
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                ENOENT, "no such directory for a checkpoint store", str(self.path.parent)
            )
        if self.path.is_dir():
            raise IsADirectoryError(EISDIR, "a checkpoint store is a file", self.where)
        with self._explained():
            self._look()
            self._connection = self._connect(self.where)
            try:
                self._open()
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Let go of the file. What was committed stays; once is enough."""
        with self._lock:
            self._connection.close()

    def _write(self, work: Callable[[Statements], Result]) -> Result:
        with self._lock, self._explained(), self._transaction() as statements:
            return work(statements)

    def _read(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock, self._explained():
            return self._connection.execute(statement, values).fetchall()

    def _now(self, statements: Statements) -> float:
        return self._wall()

    def _connect(self, name: str, *, uri: bool = False) -> sqlite3.Connection:
        """SQLite waits for locks from the first statement on."""
        return sqlite3.connect(
            name, timeout=self._patience, isolation_level=None, check_same_thread=False, uri=uri
        )

    def _look(self) -> None:
        """Without writing to it, see whether the file is ours, of a format we can read, and whole."""
        if not self.path.exists() or not self.path.stat().st_size:
            return
        if not sqlite_formats.begins_as_it_should(self.path):
            raise StoreRefused(
                f"{self.where} cannot be read as a checkpoint store: file is not a database"
            )
        name = f"{self.path.absolute().as_uri()}?mode=ro"
        with closing(self._connect(name, uri=True)) as database:
            try:
                self._known(database)
            except sqlite3.OperationalError as error:
                if not (_code(error) in UNFINISHED and sqlite_formats.is_left_unfinished(self.path)):
                    raise
                return  # SQLite finishes or undoes it when the file is opened
            found = database.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if found != "ok":
                raise StoreRefused(f"{self.where} is damaged: {found}")

    def _known(self, database: sqlite3.Connection) -> range:
        """The steps from the file's format to ours; from 0 where there is nothing yet.

        Raises:
            StoreRefused: It is not ours, or there are no such steps.
        """
        application = database.execute("PRAGMA application_id").fetchone()[0]
        version = database.execute("PRAGMA user_version").fetchone()[0]
        tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not (application or version or tables):
            return range(self.format)
        if application != APPLICATION:
            raise StoreRefused(f"{self.where} is another program's database, not a checkpoint store")
        steps = range(version, self.format)
        if version > self.format or any(each not in self.migrations for each in steps):
            raise StoreRefused(
                f"{self.where} is a checkpoint store of format {version}; "
                f"this version reads {self.format}"
            )
        return steps

    def _open(self) -> None:
        """Who else opens it now may have been faster: look again while nobody else can write."""
        database = self._connection
        self._wait_for("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        with self._transaction():
            steps = self._known(database)
            if not steps:
                return
            if steps.start == 0:
                sqlite_formats.create(database)
            else:
                for step in steps:
                    self.migrations[step](database)
            database.execute(f"PRAGMA user_version = {self.format}")

    def _wait_for(self, statement: str) -> None:
        """For the statements that SQLite gives up at once when another process is at it."""
        until = time.monotonic() + self._patience
        while True:
            try:
                self._connection.execute(statement)
            except sqlite3.OperationalError as error:
                if _code(error) not in LOCKED or time.monotonic() >= until:
                    raise
                time.sleep(PAUSE)
            else:
                return

    @contextmanager
    def _transaction(self) -> Generator[Statements]:
        """All of it, or nothing; also when it is the COMMIT that fails."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield _Statements(self._connection)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # SQLite has undone it itself if the disk is full
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Generator[None]:
        """SQLite's errors in our words."""
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise ValueError(f"{self.where} has one of these outputs already: {error}") from None
        except sqlite3.ProgrammingError as error:
            raise ValueError(f"{self.where} cannot be used any more: {error}") from None
        except UnicodeDecodeError as error:  # Python's, for a name or a message that is no text
            raise StoreRefused(f"{self.where} cannot be read as a checkpoint store: {error}") from None
        except sqlite3.DatabaseError as error:
            code = _code(error)
            if code in LOCKED:
                raise TimeoutError(
                    f"{self.where} is locked by another process for more than {self._patience:g} s"
                ) from None
            if code in REFUSED:
                raise StoreRefused(
                    f"{self.where} cannot be read as a checkpoint store: {error}"
                ) from None
            raise OSError(f"{self.where} cannot be read or written: {error}") from None


class _Statements:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, values).fetchall()

    def each(self, statement: str, values: Iterable[Sequence[object]]) -> None:
        self._connection.executemany(statement, values)


def _code(error: sqlite3.DatabaseError) -> int:
    """SQLite's primary result code; text that is no UTF-8 is found by Python and has none."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
