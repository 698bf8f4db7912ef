"""``sessionstreams cluster``: up, status, down, on this machine and in a Ray cluster that is there."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster as RayCluster
from uninterrupted import Differences, compare, until

from streams import ContextLimits
from streams.checkpointed import build_of
from streams.checkpoints import open_store
from streams.logs import DirectoryLog
from streams.watch.derivations import derivations

RECORDINGS = Path(__file__).parents[1] / "recordings"
COMMAND = (sys.executable, "-m", "streams.cli", "cluster")
LIMIT = ("--limit", "acme/kestrel-large=5000")
GRACE = 0.5


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A directory with two recordings."""
    directory = tmp_path / "work"
    directory.mkdir()
    for stem in ("todos", "compaction"):
        shutil.copy(RECORDINGS / f"{stem}.jsonl.gz", directory)
    return directory


@pytest.fixture
def address() -> Iterator[str]:
    """A Ray cluster of one node."""
    cluster = RayCluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield cluster.address
    cluster.shutdown()


def run(*arguments: Any) -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=100, check=False)


def is_all_there(store: Path, work: Path) -> None:
    """The store has what one process says."""
    build = build_of(derivations(ContextLimits({"acme/kestrel-large": 5000}), threshold=0.78))
    with closing(open_store(str(store))) as opened:
        values, differences = compare(opened, build, lambda name: [DirectoryLog(work)], GRACE)
    assert values > 20
    assert differences == Differences(0, 0, 0)


def test_up_on_this_machine_until_ctrl_c(work: Path, tmp_path: Path) -> None:
    """It shows a table, commits, and ends with Ctrl-C; the next run has nothing to say again."""
    store = tmp_path / "state.db"
    for epoch in ("1", "2"):
        process = subprocess.Popen(
            [*COMMAND, "up", str(work), "--store", str(store), *LIMIT],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        table: list[list[str]] = []
        while not table or table[-1][5:6] != [epoch]:
            table.append(process.stdout.readline().decode().split())
            assert table[-1], process.communicate()[1].decode()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
        assert (process.returncode, error) == (0, b"")
        is_all_there(store, work)


def test_up_status_down_in_a_cluster(work: Path, tmp_path: Path, address: str) -> None:
    """up returns, the owners stay; status tells of them; after down there is nobody, and nothing is lost."""
    store = tmp_path / "state.db"
    up = run("up", work, "--store", store, "--address", address, *LIMIT)
    assert (up.returncode, up.stderr) == (0, b"")

    def status() -> dict[str, Any]:
        shown = run("status", "--address", address, "--json")
        assert (shown.returncode, shown.stderr) == (0, b"")
        return json.loads(shown.stdout)

    placed = until(lambda: (row := status())["commits"] > 1 and row, "the first commit")
    assert placed["state"] == "running"
    assert placed["sources"] == [str(work)]
    assert (placed["epoch"], placed["refused"], placed["error"]) == (1, 0, "")
    os.kill(placed["process"], 0)
    shown = run("status", "--address", address).stdout.decode()
    assert f"{placed['name']}  running" in shown
    again = run("up", work, "--store", store, "--address", address, *LIMIT)
    assert again.returncode == 2
    assert b"a cluster of the name 'sessionstreams' runs already" in again.stderr
    assert run("down", "--address", address).returncode == 0
    is_all_there(store, work)
    gone = run("status", "--address", address)
    assert gone.returncode == 2
    assert b"no cluster of the name 'sessionstreams' runs here" in gone.stderr
