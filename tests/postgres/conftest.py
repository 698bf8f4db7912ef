"""A real server, and a database of it for each test. `make postgres` gets what they need."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from typing import Any

import pytest
from postgres_server import PostgresServer, programs

NAMES = count(1)


def _missing(what: str) -> None:
    """On a developer's machine a reason to skip; in CI a failure."""
    reason = f"{what} is missing: make postgres"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def _server() -> Iterator[PostgresServer]:
    found = programs()
    if found is None:
        _missing("PostgreSQL's server")
    elif find_spec("psycopg") is None:
        _missing("psycopg")
    else:
        server = PostgresServer(found)
        try:
            server.start()
            yield server
        finally:
            server.close()


@pytest.fixture(scope="session")
def running() -> Iterator[PostgresServer]:
    """A server for all tests that do not kill it."""
    with _server() as server:
        yield server


@pytest.fixture
def mortal() -> Iterator[PostgresServer]:
    """A server of one test, to be killed."""
    with _server() as server:
        yield server


@pytest.fixture
def sql(running: PostgresServer) -> Any:
    """Somebody else's hand in a database: ``sql(url, statement, ...)`` returns the rows of the last one."""
    import psycopg

    def execute(url: str, *statements: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(url, autocommit=True) as connection:
            cursors = [connection.execute(statement.encode()) for statement in statements]
            return cursors[-1].fetchall() if cursors[-1].description else []

    return execute


@pytest.fixture
def url(running: PostgresServer, sql: Any) -> str:
    """An empty database."""
    name = f"test_{next(NAMES)}"
    sql(running.url(), f"CREATE DATABASE {name}")
    return running.url(name)
