"""Checkpoints: committed with their outputs or not at all, by the owner or not at all."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.checkpoints import Checkpoint, Checkpoints, Fenced, Output, StoreRefused

A = Checkpoint(at=1.5, positions={"file": 7}, snapshots={"Fold": b"\x01"}, sequences={"op": {"s": 1}})
ONE = Output("s", "op", 1, b"{}")
TWO = Output("s", "op", 2, b"{}")


def test_what_was_committed_is_found_again(tmp_path: Path) -> None:
    """A store that is opened anew goes on where the last commit was, under the next epoch."""
    store = Checkpoints(tmp_path / "state.db")
    assert store.claim("p") == (1, Checkpoint())
    store.commit("p", 1, A, [ONE])
    store.close()
    again = Checkpoints(tmp_path / "state.db")
    assert again.claim("p") == (2, A)
    assert again.outputs("p") == list(again.undelivered("p")) == [ONE]
    again.delivered("p", [ONE])
    assert (again.outputs("p"), list(again.undelivered("p"))) == ([ONE], [])
    again.close()


def test_who_was_frozen_is_refused(tmp_path: Path) -> None:
    """An owner that wakes up after another has claimed the partition commits nothing (engine 4)."""
    frozen, other = Checkpoints(tmp_path / "state.db"), Checkpoints(tmp_path / "state.db")
    epoch, _ = frozen.claim("p")
    assert other.claim("p")[0] == epoch + 1
    with pytest.raises(Fenced, match="the partition p was claimed by another since epoch 1"):
        frozen.commit("p", epoch, A, [ONE])
    assert other.outputs("p") == []
    other.commit("p", epoch + 1, A, [ONE])
    frozen.close()
    other.close()


def test_a_commit_is_all_or_nothing(tmp_path: Path) -> None:
    """An output said twice refuses the whole commit, the checkpoint too."""
    store = Checkpoints(tmp_path / "state.db")
    store.claim("p")
    store.commit("p", 1, A, [ONE])
    with pytest.raises(sqlite3.IntegrityError):
        store.commit("p", 1, Checkpoint(at=9.0), [TWO, ONE])
    assert store.claim("p")[1] == A
    assert store.outputs("p") == [ONE]
    store.close()


class Next(Checkpoints):
    """A later version, whose outputs say when they were committed."""

    format = 2
    migrations = {1: ("ALTER TABLE output ADD COLUMN committed REAL",)}


class Broken(Next):
    migrations = {1: ("ALTER TABLE output ADD COLUMN committed REAL", "ALTER TABLE nowhere ADD COLUMN x")}


def test_an_older_store_is_migrated(tmp_path: Path) -> None:
    """One version's step is one transaction; what was kept is kept, and the older version refuses it."""
    path = tmp_path / "state.db"
    old = Checkpoints(path)
    old.claim("p")
    old.commit("p", 1, A, [ONE])
    old.close()
    with pytest.raises(StoreRefused):
        Broken(path)
    unchanged = Checkpoints(path)
    assert unchanged.outputs("p") == [ONE]
    unchanged.close()
    new = Next(path)
    assert new.claim("p") == (2, A)
    assert new.outputs("p") == [ONE]
    new.close()
    with pytest.raises(StoreRefused, match="is a checkpoint store of format 2; this version reads 1"):
        Checkpoints(path)


def foreign(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE theirs (x)")
    database.close()


def of_format(number: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        Checkpoints(path).close()
        database = sqlite3.connect(path)
        database.execute(f"PRAGMA user_version = {number}")
        database.close()

    return make


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (of_format(0), "is a checkpoint store of format 0; this version reads 1"),
        (foreign, "is another program's database, not a checkpoint store"),
        (of_format(2), "is a checkpoint store of format 2; this version reads 1"),
        (lambda path: path.write_text("no database at all, but a text that is long enough " * 20), "cannot be read"),
    ],
)  # fmt: skip
def test_what_is_not_ours_is_left_alone(make: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    """A foreign, newer or damaged file is refused in one line, and not one byte of it changes."""
    path = tmp_path / "state.db"
    make(path)
    before = path.read_bytes()
    with pytest.raises(StoreRefused, match=words):
        Checkpoints(path)
    assert path.read_bytes() == before
