"""A store by its address."""

import re
from pathlib import Path
from typing import Final

from streams.checkpoints.checkpoint import CheckpointStore, MissingDriver
from streams.checkpoints.sqlite import Checkpoints

__all__ = ["open_store"]

SCHEME: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")

SQLITE: Final = "sqlite:///"


def open_store(url: str | Path) -> CheckpointStore:
    """Open a store of checkpoints, and make it where there is none.

    Args:
        url: For a file, its path or ``sqlite:///state.db`` (an absolute one: ``sqlite:////var/state.db``);
            for a server, ``postgresql://user:password@host:port/database``.

    Raises:
        ValueError: The address is of no store there is.
        MissingDriver: PostgreSQL, and psycopg is not installed.
        StoreRefused: What is there is not ours, of another format, or damaged. It is left as it is.
        OSError: The file cannot be opened, or the server not be reached.
    """
    address = str(url)
    scheme = SCHEME.match(address)
    if scheme is None:
        return Checkpoints(url)
    if address.startswith(SQLITE) and len(address) > len(SQLITE):
        return Checkpoints(address.removeprefix(SQLITE))
    if scheme[1] in ("postgresql", "postgres"):
        return _on_server(address)
    raise ValueError(
        f"a store of checkpoints is a path, {SQLITE}path or postgresql://user@host/database; "
        f"this address begins with {scheme[0]}"
    )


def _on_server(address: str) -> CheckpointStore:
    try:
        from streams.checkpoints.postgresql import PostgresqlCheckpoints
    except ImportError:
        raise MissingDriver(
            "checkpoints in PostgreSQL need psycopg: pip install 'sessionstreams[postgres]'"
        ) from None
    return PostgresqlCheckpoints(address)
