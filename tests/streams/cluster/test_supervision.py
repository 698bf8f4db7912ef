"""Owners are started, watched, moved and ended; what starts them is not here."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streams.checkpoints import Checkpoint, Checkpoints, Output
from streams.cluster.owner import OwnerStatus
from streams.cluster.supervision import SETTLING, Supervision
from streams.partition import PartitionStatus

SOURCES = {name: [f"http://{name}"] for name in ("a", "b", "c")}


class FakeEngine:
    """Owners that are where they were put, and answer if they are told to."""

    def __init__(self) -> None:
        self.alive = ["one", "two"]
        self.owners: dict[str, str] = {}
        self.silent: set[str] = set()
        self.did: list[str] = []

    def nodes(self) -> Sequence[str]:
        return self.alive

    def ensure(self, partition: str, node: str | None = None) -> None:
        if partition not in self.owners:
            self.owners[partition] = node or self.alive[0]
            self.did.append(f"{partition} on {self.owners[partition]}")

    def statuses(self, partitions: Sequence[str]) -> Mapping[str, OwnerStatus]:
        return {
            name: OwnerStatus(
                PartitionStatus(name, at=90.0), "running", node=self.owners[name], process=7
            )
            for name in partitions
            if name not in self.silent
        }

    def stop(self, partition: str) -> bool:
        self.did.append(f"{partition} ends")
        return self.owners.pop(partition, None) is not None and partition not in self.silent


class Room:
    """A supervision, its engine, and its clock."""

    def __init__(self, path: Path) -> None:
        self.now = 0.0
        self.path = path
        self.engine = FakeEngine()
        self.supervision = Supervision(
            self.engine, SOURCES, str(path), seconds=lambda: self.now, wall=lambda: 100.0
        )

    def look_until(self, end: float) -> list[str]:
        """What was done."""
        self.engine.did.clear()
        while self.now < end:
            self.supervision.look()
            self.now += 1.0
        return list(self.engine.did)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path / "state.db")


def test_each_partition_has_an_owner(room: Room) -> None:
    """Started at the first look, and again when they are missing."""
    assert room.look_until(1) == ["a on one", "b on one", "c on one"]
    del room.engine.owners["b"]
    assert room.look_until(2) == ["b on one"]


def test_a_node_that_has_more_gives_one(room: Room) -> None:
    """Once all is quiet: one at a time, and each lets all settle anew."""
    assert room.look_until(SETTLING + 1)[3:] == ["a ends", "a on two"]
    assert room.look_until(4 * SETTLING) == []
    room.engine.alive.append("three")
    assert room.look_until(4 * SETTLING + 5) == []
    assert room.look_until(8 * SETTLING) == ["b ends", "b on three"]


def test_nothing_moves_while_somebody_is_silent(room: Room) -> None:
    """A partition that is being started somewhere must not be moved too."""
    room.engine.silent = {"c"}
    assert room.look_until(10 * SETTLING)[3:] == []
    room.engine.silent = set()
    assert room.look_until(12 * SETTLING) == ["a ends", "a on two"]


def test_what_is_drained_stays_so_until_it_is_moved(room: Room) -> None:
    """For work on a server: no owner, and its state says so."""
    room.look_until(1)
    assert room.supervision.drain("b")
    assert room.look_until(3) == []
    assert [each.state for each in room.supervision.placed()] == ["running", "stopped", "running"]
    assert not room.supervision.move("b", "two")
    assert room.engine.owners["b"] == "two"
    room.look_until(4)
    assert {each.state for each in room.supervision.placed()} == {"running"}


def test_what_is_not_there_is_named(room: Room) -> None:
    """Neither a partition nor a node is guessed."""
    with pytest.raises(ValueError, match="partition must be one of a, b, c; got 'x'"):
        room.supervision.drain("x")
    with pytest.raises(ValueError, match="partition must be one of"):
        room.supervision.move("x")
    with pytest.raises(ValueError, match="node must be one that is alive, got 'nine'"):
        room.supervision.move("a", "nine")


def test_the_end_drains_all(room: Room) -> None:
    """Those that do not answer are ended too."""
    room.look_until(1)
    room.engine.silent = {"a"}
    room.supervision.end()
    assert room.engine.owners == {}


def test_the_status_has_what_the_store_says(room: Room) -> None:
    """Owner, epoch, lag, rates and refused commits, also while nobody answers."""
    with closing(Checkpoints(room.path)) as store:
        epoch, _ = store.claim("a", "somebody")
        room.look_until(1)
        for number in range(1, 5):
            store.commit("a", epoch, Checkpoint(at=80.0 + number), [Output("s", "x", number, b"1")])
    room.engine.silent = {"a"}
    room.look_until(3)
    a, b, _ = room.supervision.placed()
    assert (a.owner, a.epoch, a.commits, a.emitted, a.refused) == ("somebody", 1, 4, 4, 0)
    assert (a.state, a.node, a.lag) == ("starting", "", 16.0)
    assert (b.state, b.node, b.process, b.lag, b.sources) == ("running", "one", 7, 10.0, ("http://b",))


def test_rates_are_per_second(room: Room) -> None:
    """Between two looks."""
    with closing(Checkpoints(room.path)) as store:
        epoch, _ = store.claim("a")
        room.look_until(1)
        for number in range(1, 5):
            store.commit("a", epoch, Checkpoint(at=float(number)))
        room.look_until(2)
    assert room.supervision.placed()[0].commits_per_second == 4.0


def test_a_store_that_cannot_be_reached_says_nothing_new(room: Room, monkeypatch: Any) -> None:
    """The owners are looked after even so; the fault is told."""

    def refuse(_: str) -> Any:
        raise OSError("the database is away")

    monkeypatch.setattr("streams.cluster.supervision.open_store", refuse)
    assert room.look_until(1) == ["a on one", "b on one", "c on one"]
    assert room.supervision.placed()[0].lag == 10.0
