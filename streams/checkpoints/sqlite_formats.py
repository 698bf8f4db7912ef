"""How a checkpoint store's file is made, and how an older one becomes one of today."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from zlib import crc32

import msgspec

from streams.checkpoints.checkpoint import Output, StoredPartition, StoreRefused, decode
from streams.checkpoints.tables import OUTPUT, checksum_of, checksum_of_output

__all__ = [
    "APPLICATION",
    "FORMAT",
    "MIGRATIONS",
    "Migration",
    "begins_as_it_should",
    "create",
    "is_left_unfinished",
]

APPLICATION: Final = 0x53455353
"""SQLite's ``application_id``: says whose file it is ("SESS")."""

FORMAT: Final = 2
"""SQLite's ``user_version``: the format of the tables."""

TABLES: Final = (
    """CREATE TABLE partition (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, epoch INTEGER NOT NULL,
        at REAL NOT NULL, committed_at REAL, commits INTEGER NOT NULL, refused INTEGER NOT NULL,
        emitted INTEGER NOT NULL, checkpoint BLOB NOT NULL DEFAULT x'',
        checkpoint_checksum INTEGER NOT NULL DEFAULT 0, checksum INTEGER NOT NULL)""",
    """CREATE TABLE output (
        partition INTEGER NOT NULL, emission INTEGER NOT NULL, session_id TEXT NOT NULL,
        operator TEXT NOT NULL, sequence INTEGER NOT NULL, value BLOB NOT NULL,
        checksum INTEGER NOT NULL, delivered INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (partition, emission),
        UNIQUE (partition, session_id, operator, sequence)) WITHOUT ROWID""",
    "CREATE INDEX undelivered ON output (partition, emission) WHERE delivered = 0",
)

MAGIC: Final = b"SQLite format 3\0"

VERSIONS: Final = frozenset({1, 2})
"""With a journal that undoes, with a WAL: how the file can be written and read."""

JOURNAL: Final = bytes.fromhex("d9d505f920a163d7")
"""How a journal begins that SQLite has to undo."""

Migration = Callable[[sqlite3.Connection], None]


def create(database: sqlite3.Connection) -> None:
    """Make the tables of today's format."""
    for table in TABLES:
        database.execute(table)
    database.execute(f"PRAGMA application_id = {APPLICATION}")


def begins_as_it_should(path: Path) -> bool:
    """Whether SQLite reads and writes such a file; it takes one of a single byte for an empty one."""
    with path.open("rb") as file:
        header = file.read(100)
    return header.startswith(MAGIC) and set(header[18:20]) <= VERSIONS


def is_left_unfinished(path: Path) -> bool:
    """Whether a file was left in the midst of a write that is ours to undo.

    Either it is one of ours, or nothing was in it before, and its maker was killed while making it.
    """
    try:
        with path.open("rb") as file:
            application = file.read(100)[68:72]
        with path.with_name(f"{path.name}-journal").open("rb") as file:
            header = file.read(28)
    except FileNotFoundError:
        return False
    was_empty = int.from_bytes(header[16:20], "big") == 0
    return header.startswith(JOURNAL) and (was_empty or application == APPLICATION.to_bytes(4, "big"))


def _from_1(database: sqlite3.Connection) -> None:
    """Format 1 kept neither owners, nor the order of emission but by rowid, nor any checksum."""
    partitions = database.execute("SELECT name, epoch, checkpoint FROM partition").fetchall()
    outputs = database.execute(
        "SELECT partition, session_id, operator, sequence, value, delivered FROM output ORDER BY rowid"
    ).fetchall()
    database.execute("DROP TABLE partition")
    database.execute("DROP TABLE output")
    create(database)
    for name, epoch, checkpoint in partitions:
        said = [each[1:] for each in outputs if each[0] == name]
        _add_partition(database, name, epoch, checkpoint or b"", len(said))
        _add_outputs(database, name, said)


def _add_partition(
    database: sqlite3.Connection, name: str, epoch: int, checkpoint: bytes, emitted: int
) -> None:
    try:
        at = decode(checkpoint).at if checkpoint else 0.0
    except ValueError as error:
        raise StoreRefused(f"the checkpoint of the partition {name} cannot be read: {error}") from None
    row = StoredPartition(name, epoch=epoch, at=at, emitted=emitted)
    values = (*msgspec.structs.astuple(row), checkpoint, crc32(checkpoint))
    database.execute(
        "INSERT INTO partition (name, owner, epoch, at, committed_at, commits, refused, emitted, "
        "checkpoint, checkpoint_checksum, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*values, checksum_of(row, crc32(checkpoint))),
    )


def _add_outputs(database: sqlite3.Connection, name: str, said: list[tuple[Any, ...]]) -> None:
    id_ = database.execute("SELECT id FROM partition WHERE name = ?", (name,)).fetchone()[0]
    for emission, (*values, delivered) in enumerate(said, 1):
        checksum = checksum_of_output(name, emission, Output(*values))
        database.execute(OUTPUT, (id_, emission, *values, checksum))
        database.execute(
            "UPDATE output SET delivered = ? WHERE partition = ? AND emission = ?",
            (delivered, id_, emission),
        )


MIGRATIONS: Final = MappingProxyType({1: _from_1})
