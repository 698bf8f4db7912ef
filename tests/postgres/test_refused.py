"""What a PostgreSQL store does not touch, and what its errors say."""

from contextlib import closing
from typing import Any

import pytest
from postgres_server import PASSWORD, QUOTED, PostgresServer

from streams.checkpoints import Checkpoint, Output, StoreRefused, open_store
from streams.checkpoints.postgresql import PostgresqlCheckpoints

A = Checkpoint(at=1.5, positions={"file": 7})
ONE, TWO = Output("s", "op", 1, b"{}"), Output("s", "op", 2, b"{}")

EVERYTHING = """
    SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns
    WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2, ordinal_position
"""
MARKER = "CREATE TABLE sessionstreams.store (application text, format integer)"
OURS = "SELECT xmin::text, * FROM sessionstreams.store"


def made(url: str) -> None:
    with closing(open_store(url)) as store:
        store.claim("p", "one")
        store.commit("p", 1, A, [TWO, ONE])


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE sessionstreams.theirs (x integer)"],
        ["CREATE VIEW sessionstreams.theirs AS SELECT 1 AS x"],
        ["CREATE TABLE sessionstreams.store (x integer)"],
        [MARKER],
        [MARKER, "INSERT INTO sessionstreams.store VALUES ('theirs', 1)"],
    ],
)
def test_another_programs_schema_is_left_alone(statements: list[str], url: str, sql: Any) -> None:
    """One that only has our schema's name."""
    sql(url, "CREATE SCHEMA sessionstreams", *statements)
    before = sql(url, EVERYTHING)
    with pytest.raises(
        StoreRefused, match=r"the schema sessionstreams of PostgreSQL at .* is another program's"
    ):
        open_store(url)
    assert sql(url, EVERYTHING) == before


@pytest.mark.parametrize("number", [0, 2])
def test_another_format_is_left_alone(number: int, url: str, sql: Any) -> None:
    """A newer or older version's store is not even written to."""
    made(url)
    sql(url, f"UPDATE sessionstreams.store SET format = {number}")  # noqa: S608
    before = sql(url, EVERYTHING), sql(url, OURS)
    with pytest.raises(
        StoreRefused, match=f"is a checkpoint store of format {number}; this version reads 1"
    ):
        open_store(url)
    assert (sql(url, EVERYTHING), sql(url, OURS)) == before


def test_an_empty_schema_is_taken(url: str, sql: Any) -> None:
    """Somebody has made it who may."""
    sql(url, "CREATE SCHEMA sessionstreams")
    made(url)


def test_a_database_of_another_encoding_is_refused(url: str, sql: Any, running: PostgresServer) -> None:
    """It could not keep every name."""
    sql(url, "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(StoreRefused, match="is in LATIN1; a checkpoint store needs UTF8"):
        open_store(running.url("latin"))
    assert sql(running.url("latin"), EVERYTHING) == []


def test_who_may_not_is_told(url: str, sql: Any, running: PostgresServer) -> None:
    """Neither make nor read."""
    sql(url, f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
    guest = running.url(url.rsplit("/", 1)[1], user="guest")
    with pytest.raises(
        PermissionError, match=r"PostgreSQL at .* does not allow it: permission denied for database"
    ):
        open_store(guest)
    made(url)
    with pytest.raises(PermissionError, match="permission denied for schema sessionstreams"):
        open_store(guest)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sessionstreams.partition SET checkpoint = ''",
        "UPDATE sessionstreams.partition SET epoch = 7",
        "UPDATE sessionstreams.partition SET owner = 'two'",
    ],
)
def test_a_partition_with_a_wrong_checksum_is_refused(statement: str, url: str, sql: Any) -> None:
    """It is named, and stays as it is."""
    made(url)
    sql(url, statement)
    before = sql(url, "SELECT xmin::text, * FROM sessionstreams.partition")
    with (
        closing(open_store(url)) as store,
        pytest.raises(StoreRefused, match="the partition p has a wrong checksum"),
    ):
        store.claim("p")
    assert sql(url, "SELECT xmin::text, * FROM sessionstreams.partition") == before


@pytest.mark.parametrize("column", ["value = '{'", "sequence = 7", "emission = 9"])
def test_an_output_with_a_wrong_checksum_is_refused(column: str, url: str, sql: Any) -> None:
    """A sink gets what was derived, or nothing."""
    made(url)
    sql(url, f"UPDATE sessionstreams.output SET {column} WHERE emission = 2")  # noqa: S608
    with closing(open_store(url)) as store:
        for read in (store.outputs, store.undelivered):
            with pytest.raises(StoreRefused, match="is damaged: output"):
                read("p")


def test_a_table_that_is_gone_is_said(url: str, sql: Any) -> None:
    """By the first statement that needs it."""
    made(url)
    with closing(open_store(url)) as store:
        sql(url, "DROP TABLE sessionstreams.output")
        with pytest.raises(StoreRefused, match="cannot be read as a checkpoint store: relation"):
            store.outputs("p")


def test_an_address_that_is_wrong_is_said_at_once(url: str, running: PostgresServer) -> None:
    """With host, port and database, and never the password."""
    name = url.rsplit("/", 1)[1]
    wrong = {
        "password authentication failed": running.url(name, password="Wr0ng%2Fsecret"),
        'database "nowhere" does not exist': running.url("nowhere"),
    }
    for words, address in wrong.items():
        with pytest.raises(ConnectionError, match=words) as refused:
            open_store(address)
        assert f"PostgreSQL at 127.0.0.1:{running.port}, database" in str(refused.value)
        assert "secret" not in str(refused.value)
        assert PASSWORD not in str(refused.value)
        assert refused.value.__suppress_context__


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:pa@secret@127.0.0.1:1/db",
        "postgresql://me:pa/secret@127.0.0.1:1/db",
        "postgresql://me:secret%zz@127.0.0.1:1/db",
        "postgresql://me:secret@127.0.0.1:1/db?nonsense=1",
    ],
)
def test_an_address_that_cannot_be_read_is_not_repeated(address: str) -> None:
    """A part of the password may be anywhere in it."""
    with pytest.raises(
        ValueError, match=r"cannot be read: it is postgresql://user:password@host"
    ) as refused:
        open_store(address)
    assert "secret" not in str(refused.value)


def test_a_server_that_is_not_there_is_waited_for_a_bounded_time(running: PostgresServer) -> None:
    """And then the error says where it was looked for."""
    address = f"postgresql://postgres:{QUOTED}@127.0.0.1:1/db"
    with pytest.raises(
        ConnectionError, match=r"PostgreSQL at 127.0.0.1:1, database db cannot be reached: "
    ) as refused:
        PostgresqlCheckpoints(address, patience=0.2)
    assert PASSWORD not in str(refused.value)


def test_a_bad_argument_is_said() -> None:
    """Before anything is connected to."""
    with pytest.raises(ValueError, match="patience must be seconds above 0"):
        PostgresqlCheckpoints("postgresql://127.0.0.1:1/db", patience=0)
