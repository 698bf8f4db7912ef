"""A file of checkpoints: what happens to it outside, and what it refuses."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.checkpoints import Checkpoint, Checkpoints, Fenced, Output, StoreRefused

A = Checkpoint(at=1.5, positions={"file": 7}, snapshots={"Fold": b"\x01"}, sequences={"op": {"s": 1}})
ONE = Output("s", "op", 1, b"{}")
TWO = Output("s", "op", 2, b"{}")
THREE = Output("a", "op", 1, b"{}")

FORMAT_1 = """
    CREATE TABLE partition (name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, checkpoint BLOB);
    CREATE TABLE output (
        partition TEXT NOT NULL, session_id TEXT NOT NULL, operator TEXT NOT NULL,
        sequence INTEGER NOT NULL, value BLOB NOT NULL, delivered INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (partition, session_id, operator, sequence));
    PRAGMA application_id = 1397052243;
    PRAGMA user_version = 1;
    PRAGMA journal_mode = WAL;
"""


def executed(path: Path, *statements: str) -> None:
    """Somebody else's hand in the file."""
    with closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.executescript(statement)


def made(path: Path) -> None:
    with closing(Checkpoints(path)) as store:
        store.claim("p", "one")
        store.commit("p", 1, A, [TWO, ONE])


def made_by_format_1(path: Path, checkpoint: bytes | None = None) -> None:
    executed(path, FORMAT_1)
    with closing(sqlite3.connect(path)) as database:
        encoded = msgspec.msgpack.encode(A) if checkpoint is None else checkpoint
        database.execute("INSERT INTO partition VALUES ('p', 3, ?)", (encoded,))
        database.execute("INSERT INTO partition VALUES ('q', 1, NULL)")
        rows = [("p", "s", "op", 2, b"{}", 1), ("p", "s", "op", 1, b"{}", 0), ("q", "s", "op", 1, b"{}", 0),
                ("p", "a", "op", 1, b"{}", 0)]  # fmt: skip
        database.executemany("INSERT INTO output VALUES (?, ?, ?, ?, ?, ?)", rows)
        database.commit()


def test_an_older_store_is_migrated(tmp_path: Path) -> None:
    """What format 1 kept is kept, in the order in which it was written; the older version refuses it."""
    path = tmp_path / "state.db"
    made_by_format_1(path)
    with closing(Checkpoints(path)) as store:
        assert store.outputs("p") == [TWO, ONE, THREE]
        assert store.undelivered("p") == [ONE, THREE]
        assert store.outputs("q") == [ONE]
        assert [(each.name, each.epoch, each.at) for each in store.partitions()] == [
            ("p", 3, 1.5),
            ("q", 1, 0.0),
        ]
        assert store.claim("p", "new") == (4, A)
        store.commit("p", 4, A, [Output("s", "op", 3, b"")])
    with closing(Checkpoints(path)) as store:
        assert store.outputs("p")[-1] == Output("s", "op", 3, b"")


def test_a_migration_is_all_or_nothing(tmp_path: Path) -> None:
    """One that cannot be done leaves the file to the version that made it, byte for byte."""
    path = tmp_path / "state.db"
    made_by_format_1(path, b"\xc1")
    before = path.read_bytes()
    with pytest.raises(StoreRefused, match="the checkpoint of the partition p cannot be read"):
        Checkpoints(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_one_of_many_migrates(tmp_path: Path) -> None:
    """Whoever opens an older file meanwhile finds it migrated."""
    path = tmp_path / "state.db"
    made_by_format_1(path)
    barrier = threading.Barrier(6)

    def work(name: str) -> int:
        barrier.wait(20)
        with closing(Checkpoints(path, patience=30)) as store:
            return store.claim("p", name)[0]

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(work, "abcdef")) == [4, 5, 6, 7, 8, 9]


def test_processes_make_one_file(tmp_path: Path) -> None:
    """As the threads of the contract do, with the locks of the system between them."""
    script = (
        "import sys; from streams.checkpoints import *; sys.stdout.write('.'); sys.stdout.flush(); sys.stdin.read(1);"
        "store = Checkpoints(sys.argv[1], patience=30); store.claim(sys.argv[2]); store.close()"
    )
    root = Path(__file__).parents[3]
    pipes: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    command = [sys.executable, "-c", script, str(tmp_path / "state.db")]
    running = [subprocess.Popen([*command, name], cwd=root, **pipes) for name in "abcd"]
    for process in running:
        assert process.stdout
        assert process.stdout.read(1) == b"."
    for process in running:
        assert process.stdin
        process.stdin.write(b"x")
        process.stdin.flush()
    for process in running:
        assert (process.communicate(timeout=60)[1], process.returncode) == (b"", 0)
    with closing(Checkpoints(tmp_path / "state.db")) as store:
        assert [each.name for each in store.partitions()] == ["a", "b", "c", "d"]


def foreign(path: Path) -> None:
    executed(path, "CREATE TABLE theirs (x)")


def foreign_in_wal(path: Path) -> None:
    executed(path, "PRAGMA journal_mode = WAL; CREATE TABLE theirs (x)")


def of_format(number: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        made(path)
        executed(path, f"PRAGMA user_version = {number}")

    return make


def text(path: Path) -> None:
    path.write_text("no database at all, but a text that is long enough " * 20)


def cut(path: Path) -> None:
    made(path)
    path.write_bytes(path.read_bytes()[:-4096])


def without_a_table(path: Path) -> None:
    made(path)
    executed(path, "DROP TABLE output")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (of_format(0), "is a checkpoint store of format 0; this version reads 2"),
        (of_format(-1), "is a checkpoint store of format -1; this version reads 2"),
        (of_format(3), "is a checkpoint store of format 3; this version reads 2"),
        (foreign, "is another program's database, not a checkpoint store"),
        (foreign_in_wal, "is another program's database, not a checkpoint store"),
        (lambda path: path.write_bytes(b"x"), "cannot be read as a checkpoint store: file is not a database"),
        (text, "cannot be read as a checkpoint store: file is not a database"),
        (cut, "database disk image is malformed|is damaged"),
    ],
)  # fmt: skip
def test_what_is_not_ours_is_left_alone(make: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    """A foreign, newer, older or damaged file is refused in one line, and not one byte of it changes."""
    path = tmp_path / "state.db"
    make(path)
    before = path.read_bytes()
    with pytest.raises(StoreRefused, match=words) as refused:
        Checkpoints(path)
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == before
    assert all(each.stat().st_size == 0 for each in tmp_path.glob("*-wal"))


def test_what_another_program_left_in_its_wal_stays_there(tmp_path: Path) -> None:
    """A foreign database whose program was killed is not even checkpointed."""
    path, copy = tmp_path / "theirs.db", tmp_path / "copy.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA wal_checkpoint")
        database.execute("CREATE TABLE theirs (x)")
        copy.write_bytes(path.read_bytes())
        wal = path.with_name("theirs.db-wal").read_bytes()
    copy.with_name("copy.db-wal").write_bytes(wal)
    before = copy.read_bytes()
    with pytest.raises(StoreRefused, match="another program's"):
        Checkpoints(copy)
    assert copy.read_bytes() == before
    assert copy.with_name("copy.db-wal").read_bytes() == wal


def test_a_table_that_is_missing_is_said(tmp_path: Path) -> None:
    """By the first statement that needs it."""
    without_a_table(tmp_path / "state.db")
    with (
        closing(Checkpoints(tmp_path / "state.db")) as store,
        pytest.raises(StoreRefused, match="cannot be read as a checkpoint store: no such table"),
    ):
        store.outputs("p")


def test_an_empty_file_is_a_new_store(tmp_path: Path) -> None:
    """It holds nothing that could be lost."""
    path = tmp_path / "state.db"
    path.touch()
    made(path)
    with closing(Checkpoints(path)) as store:
        assert store.outputs("p") == [TWO, ONE]


def left_in_the_midst_of_being_made(path: Path, pages_before: int = 0) -> bytes:
    """The first page is written, and the journal that would undo it is still there."""
    executed(path, "PRAGMA user_version = 0; CREATE TABLE x (y); DROP TABLE x; VACUUM")
    header = bytes.fromhex("d9d505f920a163d7") + b"".join(
        number.to_bytes(4, "big") for number in (0, 7, pages_before, 512, 4096)
    )
    path.with_name(f"{path.name}-journal").write_bytes(header.ljust(512, b"\0"))
    return path.read_bytes()


def test_a_maker_that_was_killed_leaves_no_ruin(tmp_path: Path) -> None:
    """kill -9 between the first page and the end of the journal: the next one makes the file."""
    path = tmp_path / "state.db"
    left_in_the_midst_of_being_made(path)
    made(path)
    with closing(Checkpoints(path)) as store:
        assert store.outputs("p") == [TWO, ONE]


def test_what_another_program_left_unfinished_is_its_own(tmp_path: Path) -> None:
    """To undo its write would change its file."""
    path = tmp_path / "theirs.db"
    foreign(path)
    before = path.read_bytes()
    left_in_the_midst_of_being_made(tmp_path / "other.db", pages_before=2)
    (tmp_path / "other.db-journal").rename(tmp_path / "theirs.db-journal")
    with pytest.raises(OSError, match=r"theirs.db cannot be read or written: ") as refused:
        Checkpoints(path)
    assert path.read_bytes() == before, refused.value
    assert (tmp_path / "theirs.db-journal").exists()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE partition SET checkpoint = x'81a2617400'",
        "UPDATE partition SET checkpoint = x''",
        "UPDATE partition SET epoch = 7",
        "UPDATE partition SET owner = 'two'",
    ],
)
def test_a_partition_with_a_wrong_checksum_is_refused(statement: str, tmp_path: Path) -> None:
    """It is named, and nothing is written, neither the claim nor the refusal."""
    path = tmp_path / "state.db"
    made(path)
    executed(path, statement)
    before = path.read_bytes()
    with (
        closing(Checkpoints(path)) as store,
        pytest.raises(StoreRefused, match="the partition p has a wrong checksum"),
    ):
        store.claim("p")
    assert path.read_bytes() == before


@pytest.mark.parametrize("column", ["value = x'7b'", "sequence = 7", "session_id = 'x'", "emission = 9"])
def test_an_output_with_a_wrong_checksum_is_refused(column: str, tmp_path: Path) -> None:
    """A sink gets what was derived, or nothing."""
    path = tmp_path / "state.db"
    made(path)
    executed(path, f"UPDATE output SET {column} WHERE emission = 2")  # noqa: S608
    with closing(Checkpoints(path)) as store:
        with pytest.raises(StoreRefused, match="is damaged: output"):
            store.outputs("p")
        with pytest.raises(StoreRefused, match="is damaged: output"):
            store.undelivered("p")


def test_an_output_that_is_gone_is_missed(tmp_path: Path) -> None:
    """What was emitted is numbered without a gap."""
    path = tmp_path / "state.db"
    made(path)
    executed(path, "DELETE FROM output WHERE emission = 2")
    with (
        closing(Checkpoints(path)) as store,
        pytest.raises(StoreRefused, match="outputs of the partition p are missing"),
    ):
        store.outputs("p")


def test_a_lock_that_stays_is_no_damage(tmp_path: Path) -> None:
    """Nor does it hang: the error says who is at it, and for how long we waited."""
    path = tmp_path / "state.db"
    made(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(
            TimeoutError, match=r"state.db is locked by another process for more than 0.05 s"
        ):
            Checkpoints(path, patience=0.05)
        other.execute("ROLLBACK")
        with closing(Checkpoints(path, patience=0.05)) as store:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(TimeoutError, match="is locked by another process"):
                store.claim("p")
            other.execute("ROLLBACK")
            assert store.claim("p") == (2, A)


def test_a_lock_that_goes_is_waited_for(tmp_path: Path) -> None:
    """From the first statement on."""
    path = tmp_path / "state.db"
    made(path)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.2, other.execute, ["ROLLBACK"])
    timer.start()
    with closing(Checkpoints(path, patience=30)) as store:
        assert store.claim("p") == (2, A)
    timer.join()
    other.close()


def test_a_place_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Not as an error of SQLite's."""
    with pytest.raises(FileNotFoundError, match=r"no such directory for a checkpoint store: '.*missing'"):
        Checkpoints(tmp_path / "missing" / "state.db")
    with pytest.raises(IsADirectoryError, match="a checkpoint store is a file"):
        Checkpoints(tmp_path)


def test_a_commit_that_the_database_refuses_is_undone(tmp_path: Path) -> None:
    """The COMMIT itself can fail; the store goes on from the commit before."""
    with closing(Checkpoints(tmp_path / "state.db")) as store:
        store.claim("p")

        def refuse(action: int, argument: str | None, *_: object) -> int:
            wrong = action == sqlite3.SQLITE_TRANSACTION and argument == "COMMIT"
            return sqlite3.SQLITE_DENY if wrong else sqlite3.SQLITE_OK

        store._connection.set_authorizer(refuse)
        with pytest.raises(OSError, match="cannot be read or written: not authorized"):
            store.commit("p", 1, A, [ONE])
        store._connection.set_authorizer(None)
        assert store.outputs("p") == []
        store.commit("p", 1, A, [ONE])
        assert store.claim("p") == (2, A)


def test_a_refusal_that_cannot_be_counted_is_one(tmp_path: Path) -> None:
    """Who lost the partition must stop, whatever else is wrong."""
    with closing(Checkpoints(tmp_path / "state.db")) as store:
        store.claim("p")
        store.claim("p", "two")

        def refuse(action: int, *_: object) -> int:
            return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_UPDATE else sqlite3.SQLITE_OK

        store._connection.set_authorizer(refuse)
        with pytest.raises(Fenced, match="is owned by two since epoch 2"):
            store.commit("p", 1, A)
        store._connection.set_authorizer(None)
        assert [each.refused for each in store.partitions()] == [0]


def test_when_a_commit_was_is_the_wall_clock(tmp_path: Path) -> None:
    """And not the record's."""
    with closing(Checkpoints(tmp_path / "state.db", wall=lambda: 1_700_000_000.25)) as store:
        store.claim("p")
        store.commit("p", 1, A)
        assert [(each.at, each.committed_at) for each in store.partitions()] == [(1.5, 1_700_000_000.25)]


def test_a_bad_argument_is_said(tmp_path: Path) -> None:
    """And no file is made."""
    with pytest.raises(ValueError, match="patience must be seconds above 0"):
        Checkpoints(tmp_path / "state.db", patience=0)
    assert list(tmp_path.iterdir()) == []
