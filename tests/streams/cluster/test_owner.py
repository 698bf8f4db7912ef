"""An owner runs its partition again and again, until told to stop or replaced."""

import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from scripted_log import ScriptedLog, World, at

import operators as ops
from streams.checkpoints import Checkpoints, CheckpointStore
from streams.cluster import owner as module
from streams.cluster.owner import Owner
from streams.partition import Partition
from streams.testing import text

ENTRIES = [(0.0, at(1, text("s", "m", "p", "hi")))]


def make(name: str, sources: Any, store: CheckpointStore, owner: str) -> Partition:
    def build(hub: Any) -> Mapping[str, Any]:
        return {"tasks": hub.pipe(ops.task_progress())}

    return Partition(name, sources, build, store, owner=owner)


class Gate(ScriptedLog):
    """Fails to open as often as it is told; then waits, in real time, for somebody."""

    def __init__(self, failures: int = 0, **options: Any) -> None:
        super().__init__("gate", World(), ENTRIES, waits=False, **options)
        self.failures = failures
        self.read = threading.Event()

    def open(self, positions: Mapping[str, int]) -> Any:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("nobody listens")
        reader = super().open(positions)
        plain = reader.read

        def read(wait: float) -> Any:
            found = plain(wait)
            if not found:
                self.read.set()
                threading.Event().wait(0.001)
            return found

        reader.read = read  # type: ignore[method-assign]
        return reader


@pytest.fixture
def owned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    owners: list[Owner] = []

    def owned(source: Any) -> Owner:
        owners.append(Owner("p", [source], str(tmp_path / "state.db"), make, "here"))
        return owners[-1]

    yield owned
    for each in owners:
        assert each.drain(20)


def state_is(owner: Owner, *states: str) -> Callable[[], bool]:
    return lambda: owner.status().state in states


def wait_for(found: Callable[[], bool]) -> None:
    pause = threading.Event()
    assert any(found() or pause.wait(0.01) for _ in range(2000))


def test_draining_commits(owned: Any, tmp_path: Path) -> None:
    """What was taken in is in the store, and the next owner goes on there."""
    gate = Gate()
    owner = owned(gate)
    assert gate.read.wait(20)
    assert owner.drain(20)
    assert owner.status().state == "drained"
    with closing(Checkpoints(tmp_path / "state.db")) as store:
        (row,) = store.partitions()
        assert (row.name, row.epoch) == ("p", 1)
        assert row.owner.startswith("here ")
        assert store.claim("p")[1].positions == {"gate\ts": 1}


def test_what_fails_is_tried_again(owned: Any) -> None:
    """A source that is not there yet: the status says why, until it is."""
    gate = Gate(failures=3)
    owner = owned(gate)
    assert gate.read.wait(20)
    assert (owner.status().state, owner.status().attempts) == ("running", 4)
    assert owner.status().partition.epoch == 4


def test_why_it_fails_is_said(owned: Any) -> None:
    """By the error's type and words."""
    owner = owned(Gate(failures=10**9))
    wait_for(state_is(owner, "failing"))
    assert owner.status().error == "ConnectionError: nobody listens"


def test_who_is_replaced_stays_away(owned: Any) -> None:
    """Two that claim in turn would make no progress: the one that is refused ends for good."""
    first = Gate()
    one = owned(first)
    assert first.read.wait(20)
    two = owned(Gate())
    wait_for(lambda: two.status().partition.epoch == 2)
    first.entries = [*ENTRIES, (0.0, at(2, text("s", "m", "p2", "more")))]
    wait_for(state_is(one, "replaced"))
    assert "owned by here" in one.status().error
    assert two.status().state == "running"


def test_what_is_over_is_over(owned: Any) -> None:
    """A finished recording needs no owner any more."""
    owner = owned(Gate(ends=True))
    wait_for(state_is(owner, "ended"))
    assert owner.status().partition.ended
