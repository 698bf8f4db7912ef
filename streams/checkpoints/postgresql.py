"""Checkpoints on a server."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from streams.checkpoints.checkpoint import StoreRefused
from streams.checkpoints.tables import SqlCheckpoints, Statements
from streams.checks import seconds

__all__ = ["PostgresqlCheckpoints"]

Result = TypeVar("Result")
Connection = psycopg.Connection[tuple[Any, ...]]
Cursor = psycopg.Cursor[tuple[Any, ...]]

APPLICATION: Final = "sessionstreams checkpoints"
"""Says whose tables these are."""

FORMAT: Final = 1
"""The format of the tables."""

MAKING: Final = 0x53455353
"""The advisory lock of who makes the tables."""

TABLES: Final = (
    "CREATE SCHEMA IF NOT EXISTS sessionstreams",
    "CREATE TABLE sessionstreams.store (application text NOT NULL, format integer NOT NULL)",
    """CREATE TABLE sessionstreams.partition (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE,
        owner text NOT NULL, epoch bigint NOT NULL, at double precision NOT NULL,
        committed_at double precision, commits bigint NOT NULL, refused bigint NOT NULL,
        emitted bigint NOT NULL, checkpoint bytea NOT NULL DEFAULT '',
        checkpoint_checksum bigint NOT NULL DEFAULT 0, checksum bigint NOT NULL)""",
    """CREATE TABLE sessionstreams.output (
        partition bigint NOT NULL, emission bigint NOT NULL,
        session_id text NOT NULL, operator text NOT NULL, sequence bigint NOT NULL, value bytea NOT NULL,
        checksum bigint NOT NULL, delivered smallint NOT NULL DEFAULT 0,
        PRIMARY KEY (partition, emission), UNIQUE (partition, session_id, operator, sequence))""",
    """CREATE INDEX undelivered ON sessionstreams.output (partition, emission) WHERE delivered = 0""",
)

BEGIN: Final = (
    "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT extract(epoch FROM clock_timestamp())::float8"
)

SESSION: Final = """
    SET search_path TO sessionstreams;
    SET idle_in_transaction_session_timeout TO '10s';
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') = 'off'
"""
"""A frozen owner does not keep its partition locked, and what was committed is on the disk."""

PATIENT: Final[Mapping[str, str]] = {
    "application_name": "sessionstreams",
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}
"""A server that is gone without a word is given up in 25 s; an address may say otherwise."""

PAUSE: Final = 0.1
"""Seconds between two tries to reach the server."""

HOPELESS: Final = (
    "authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
    "no password supplied",
)
"""What a server says of an address that is wrong, not of itself."""

AGAIN: Final = frozenset({"40001", "40P01"})
"""SQLSTATEs of a transaction that the server has undone, and that can be tried again."""

ESCAPED: Final = {"\0": "\\0", "\\": "\\\\"}
UNESCAPED: Final = {escaped: text for text, escaped in ESCAPED.items()}


class PostgresqlCheckpoints(SqlCheckpoints):
    """A store of checkpoints and outputs in the schema ``sessionstreams`` of a PostgreSQL database.

    For any number of machines: each partition's row is locked by whoever claims it or commits to it, so a
    commit is taken only while the epoch is the one that it was claimed with. An owner that was frozen in
    the midst of a transaction loses it after 10 s.

    When the connection is lost, it is made again, and what was under way is done again; a commit only if
    the server had not done it before its answer was lost. A claim may take two epochs then.

    Args:
        url: ``postgresql://user:password@host:port/database``; any parameter of libpq may be given.
        patience: How long to wait for a server that cannot be reached, or for somebody who has the
            partition locked; seconds, 30 by default.

    Raises:
        StoreRefused: The schema is another program's, of another format, or damaged. It is left as it is.
        PermissionError: The user may not read, write, or make the schema.
        ConnectionError: The server cannot be reached, or does not let the user in.
        ValueError: The address cannot be read.

    Memory: one connection. Time: a commit takes five round trips, and waits for the server's disk.
    """

    locking: ClassVar[str] = " FOR UPDATE"

    def __init__(self, url: str, *, patience: float = 30.0) -> None:
        self._patience = seconds("patience", patience)
        self._parameters = {**PATIENT, **_parameters(url), "client_encoding": "UTF8"}
        self.where = _where(self._parameters)
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        self._closed = False
        self._persistently(lambda connection: None)

    def close(self) -> None:
        """Let go of the server. What was committed stays; once is enough."""
        with self._lock:
            self._closed = True
            self._disconnect()

    def _write(self, work: Callable[[Statements], Result]) -> Result:
        return self._persistently(lambda connection: _in_transaction(connection, work))

    def _read(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self._persistently(
            lambda connection: _Statements(connection.cursor(binary=True), 0.0).rows(statement, *values)
        )

    def _now(self, statements: Statements) -> float:
        assert isinstance(statements, _Statements)  # noqa: S101
        return statements.begun

    def _persistently(self, work: Callable[[Connection], Result]) -> Result:
        """Do it, over as many connections as it takes."""
        until: float | None = None
        with self._lock:
            while True:
                try:
                    return work(self._connected())
                except psycopg.Error as error:
                    if not self._may_try_again(error):
                        raise self._explained(error) from None
                    now = time.monotonic()
                    until = now + self._patience if until is None else until
                    if now >= until:
                        raise self._unreachable(error) from None
                time.sleep(PAUSE)

    def _connected(self) -> Connection:
        if self._closed:
            raise ValueError(f"{self.where} was closed")
        if self._connection is None:
            connection: Connection = psycopg.connect(make_conninfo(**self._parameters), autocommit=True)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _prepare(self, connection: Connection) -> None:
        connection.execute(SESSION)
        patience = f"{max(1.0, self._patience * 1000):.0f}ms"
        connection.execute("SELECT set_config('lock_timeout', %s, false)", (patience,))
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise StoreRefused(f"{self.where} is in {encoding}; a checkpoint store needs UTF8")
        if not self._found(connection):
            _in_transaction(connection, lambda statements: self._make(connection, statements))

    def _make(self, connection: Connection, statements: Statements) -> None:
        """Who else connects now may have been faster: look again while nobody else can make it."""
        statements.rows("SELECT pg_advisory_xact_lock(?)", MAKING)
        if not self._found(connection):
            for table in TABLES:
                statements.rows(table)
            statements.rows("INSERT INTO sessionstreams.store VALUES (?, ?)", APPLICATION, FORMAT)

    def _found(self, connection: Connection) -> bool:
        """Whether our tables are there; without writing anything.

        Raises:
            StoreRefused: Others are, or of another format.
        """
        tables = connection.execute(
            "SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
            "WHERE nspname = 'sessionstreams'"
        ).fetchall()
        if not tables:
            return False
        columns = connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('sessionstreams.store') "
            "AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        ).fetchall()
        ours = [("application",), ("format",)]
        marker = "SELECT application, format FROM sessionstreams.store"
        rows = connection.execute(marker).fetchall() if columns == ours else []
        if [row[0] for row in rows] != [APPLICATION]:
            raise StoreRefused(
                f"the schema sessionstreams of {self.where} is another program's, not a checkpoint store"
            )
        if rows[0][1] != FORMAT:
            raise StoreRefused(
                f"{self.where} is a checkpoint store of format {rows[0][1]}; this version reads {FORMAT}"
            )
        return True

    def _may_try_again(self, error: psycopg.Error) -> bool:
        """Whether it was the connection's fault, or nobody's. What is broken is thrown away."""
        if self._connection is None:  # not even connected
            return isinstance(error, psycopg.OperationalError) and not _is_hopeless(error)
        if self._connection.closed:
            self._disconnect()
            return True
        return error.sqlstate in AGAIN

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _explained(self, error: psycopg.Error) -> Exception:
        """PostgreSQL's errors in our words."""
        said = self._said(error)
        match error:
            case psycopg.IntegrityError():
                return ValueError(f"{self.where} has one of these outputs already: {said}")
            case psycopg.errors.LockNotAvailable():
                waited = f"for more than {self._patience:g} s"
                return TimeoutError(f"{self.where}: the partition is locked by another process {waited}")
            case psycopg.errors.InsufficientPrivilege():
                return PermissionError(f"{self.where} does not allow it: {said}")
            case (
                psycopg.ProgrammingError()
                | psycopg.errors.DataCorrupted()
                | psycopg.errors.IndexCorrupted()
            ):
                return StoreRefused(f"{self.where} cannot be read as a checkpoint store: {said}")
            case psycopg.DataError():
                return ValueError(f"{self.where} cannot keep this: {said}")
            case psycopg.OperationalError() if self._connection is None:
                return self._unreachable(error)
            case _:
                return OSError(f"{self.where} cannot be read or written: {said}")

    def _unreachable(self, error: psycopg.Error) -> ConnectionError:
        return ConnectionError(f"{self.where} cannot be reached: {self._said(error)}")

    def _said(self, error: psycopg.Error) -> str:
        """In one line, and never the password."""
        said = " ".join(str(error).split()) or type(error).__name__
        password = str(self._parameters.get("password") or "")
        return said.replace(password, "***") if password else said


class _Statements:
    def __init__(self, cursor: Cursor, begun: float) -> None:
        self._cursor = cursor
        self.begun = begun

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        self._cursor.execute(_query(statement), _escaped(values))
        return [_unescaped(row) for row in self._cursor] if self._cursor.description else []

    def each(self, statement: str, values: Iterable[Sequence[object]]) -> None:
        self._cursor.executemany(_query(statement), [_escaped(row) for row in values])


def _in_transaction(connection: Connection, work: Callable[[Statements], Result]) -> Result:
    """All of it, or nothing."""
    begun = connection.execute(BEGIN)
    begun.nextset()
    (now,) = begun.fetchall()[0]
    try:
        result = work(_Statements(connection.cursor(binary=True), now))
        connection.execute("COMMIT")
    except BaseException:
        with suppress(psycopg.Error):  # a connection that is lost has undone it
            connection.rollback()
        raise
    return result


def _query(statement: str) -> bytes:
    return statement.replace("?", "%s").encode()


def _escaped(values: Sequence[object]) -> list[object]:
    """PostgreSQL's text has no NUL; a name that comes from outside may have."""
    return [
        re.sub(r"[\0\\]", lambda found: ESCAPED[found[0]], each) if isinstance(each, str) else each
        for each in values
    ]


def _unescaped(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        re.sub(r"\\.", lambda found: UNESCAPED.get(found[0], found[0]), each)
        if isinstance(each, str)
        else each
        for each in row
    )


def _is_hopeless(error: psycopg.Error) -> bool:
    return any(words in str(error) for words in HOPELESS)


def _parameters(url: str) -> dict[str, Any]:
    """What an address says. One that cannot be read is not repeated: its password is somewhere in it."""
    try:
        found = {name: value for name, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.ProgrammingError:
        found = {"host": "@"}
    if "@" in str(found.get("host", "")) or not str(found.get("port", "0")).replace(",", "").isdigit():
        raise ValueError(
            "the address of the PostgreSQL server cannot be read: it is "
            "postgresql://user:password@host:port/database, with : / @ ? # % in the password written as "
            "%3A %2F %40 %3F %23 %25"
        )
    return found


def _where(parameters: Mapping[str, Any]) -> str:
    """Host, port and database, for messages."""
    host = parameters.get("host") or os.environ.get("PGHOST", "localhost")
    port = parameters.get("port") or os.environ.get("PGPORT", "5432")
    database = parameters.get("dbname") or os.environ.get("PGDATABASE") or parameters.get("user", "")
    return f"PostgreSQL at {host}:{port}, database {database}"
