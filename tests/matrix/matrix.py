"""What breaks in a cluster, broken: one line per case, with what was lost, doubled, and how long it took.

``python tests/matrix/matrix.py [case ...]``: three nodes of Ray and a PostgreSQL on this machine. Agents
work on four opencode servers, and into two directories of recordings; in their midst something is killed.
What the cluster has put into the store must be what one process that was never interrupted derives from
the same servers and directories.

    lost      values of the uninterrupted run that are not in the store
    doubled   values in the store that the uninterrupted run has not
    changed   values that are others, or out of order
    recovery  seconds from the failure until all that had happened before it was committed
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, redirect_stdout
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, TextIO

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PATHS = [str(ROOT), str(HERE), str(HERE.parent / "support")]
os.environ["PYTHONPATH"] = os.pathsep.join([*PATHS, os.environ.get("PYTHONPATH", "")])
os.environ |= {"RAY_DEDUP_LOGS": "0", "RAY_DISABLE_IMPORT_WARNING": "1", "RAY_USAGE_STATS_ENABLED": "0"}
sys.path[:0] = PATHS

import psutil  # noqa: E402 - it comes with Ray
import psycopg  # noqa: E402
import ray  # noqa: E402
from feed import Directory, Feed, Place, Server  # noqa: E402
from pipeline import GRACE, Repeating, build  # noqa: E402
from postgres_server import PostgresServer, programs  # noqa: E402
from ray.cluster_utils import Cluster as RayCluster  # noqa: E402
from uninterrupted import compare, until  # noqa: E402

from streams.checkpointed import log_of  # noqa: E402
from streams.checkpoints import StoredPartition, open_store  # noqa: E402
from streams.cluster import Cluster, Placed, ScaleOut  # noqa: E402
from streams.cluster.placement import by_partition  # noqa: E402
from streams.positions import Resumable  # noqa: E402

SERVERS, DIRECTORIES = 4, 2
PARTITIONS = 16
RATE = 40.0
BEFORE, AFTER, QUIET = 3.0, 4.0, 5.0
"""Seconds of work before the failure and after the recovery, and of quiet at the end."""

HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 4,
}
"""A node that is silent for about three seconds is dead; Ray's own default is about half a minute."""

QUIETLY: Mapping[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}


class World:
    """The nodes, the database server, and the case that runs."""

    def __init__(self) -> None:
        found = programs()
        if found is None:
            raise SystemExit("the matrix needs PostgreSQL: apt-get install postgresql")
        self.postgres = PostgresServer(found)
        self.postgres.start()
        head = {"num_cpus": 1, "include_dashboard": False, "_system_config": HEALTH}
        self.ray = RayCluster(
            initialize_head=True, connect=False, head_node_args=head, shutdown_at_exit=True
        )
        ray.init(address=self.ray.address, namespace="sessionstreams", **QUIETLY)
        self.nodes = [self.ray.add_node(num_cpus=1) for _ in range(2)]
        self.ray.wait_for_nodes()
        self.numbers = count(1)
        self.folder = Path(tempfile.mkdtemp(prefix="sessionstreams-cluster-"))

    def close(self) -> None:
        ray.shutdown()
        self.ray.shutdown()
        self.postgres.close()

    def database(self, name: str) -> str:
        with psycopg.connect(self.postgres.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.postgres.url(name)


class Run:
    """One deployment over four servers and two directories.

    Args:
        world: Where.
        name: The case, and its number.
        wrap: What the cluster reads instead of each log.
    """

    def __init__(self, world: World, name: str, wrap: Callable[[Resumable], Resumable]) -> None:
        self.world = world
        self.name = name
        self.url = world.database(name)
        self.places: list[Place] = [Server() for _ in range(SERVERS)]
        self.places += [
            Directory(world.folder / name / f"directory-{number}") for number in range(DIRECTORIES)
        ]
        self._wrap = wrap
        self.driver: subprocess.Popen[bytes] | None = None
        self.note = ""

    def close(self) -> None:
        for place in self.places:
            place.close()

    def logs(self) -> list[Resumable]:
        return [place.log() for place in self.places]

    def sources(self) -> list[Resumable]:
        return [self._wrap(log) for log in self.logs()]

    def scale_out(self) -> Cluster:
        return ScaleOut(self.sources(), build, self.url, PARTITIONS, name=self.name, grace=GRACE).start()

    def cluster(self) -> Cluster:
        return Cluster.named(self.name)

    def rows(self) -> list[StoredPartition]:
        with closing(open_store(self.url)) as store:
            return store.partitions()

    def logs_of(self, partition: str) -> list[Resumable]:
        return by_partition(self.logs(), PARTITIONS)[partition]

    def placed(self) -> list[Placed]:
        """What the supervisor says, once it can be asked."""
        return until(lambda: attempt(lambda: self.cluster().status()), "the supervisor")

    def busiest(self) -> Any:
        """The node with most owners, but the head: waits until the owners have spread."""

        def found() -> Any:
            ours = {node.node_id: node for node in self.world.nodes}
            placed = [each.node for each in self.placed() if each.node in ours]
            return ours[max(sorted(placed), key=placed.count)] if placed else None

        return until(found, "an owner on another node than the head")


def attempt(call: Callable[[], Any]) -> Any:
    """None while it cannot be had: the supervisor is being started anew, or the database."""
    try:
        return call()
    except (ray.exceptions.RayError, OSError):
        return None


# --- what breaks ----------------------------------------------------------------------------------


def nothing(run: Run) -> float:
    return time.time()


def kill_an_owner(run: Run) -> float:
    os.kill(next(each.process for each in run.placed() if each.process), signal.SIGKILL)
    return time.time()


def kill_the_supervisor(run: Run) -> float:
    supervisor = ray.get_actor(f"{run.name}/supervisor", namespace="sessionstreams")
    ray.kill(supervisor, no_restart=False)
    return time.time()


def remove_a_node(run: Run) -> float:
    node = run.busiest()
    run.world.nodes.remove(node)
    moment = time.time()
    run.world.ray.remove_node(node, allow_graceful=False)
    return moment


def add_a_node(run: Run) -> float:
    """Also waits until the load has moved."""
    moment = time.time()
    node = run.world.ray.add_node(num_cpus=1)
    run.world.nodes.append(node)
    until(lambda: node.node_id in {each.node for each in run.placed()}, "a partition on the new node")
    return moment


def move_a_partition(run: Run) -> float:
    """Drained first: for a second nobody owns it."""
    first = run.placed()[0]
    moment = time.time()
    assert run.cluster().drain(first.name)
    until(lambda: run.placed()[0].state == "stopped", "a partition that nobody owns")
    time.sleep(1)
    others = [node.node_id for node in run.world.nodes if node.node_id != first.node]
    run.cluster().move(first.name, others[0])
    until(lambda: run.placed()[0].node == others[0], "the partition on the other node")
    return moment


def freeze_a_node(run: Run) -> float:
    """Its owners wake up and would go on; what they commit must be refused."""
    node = run.busiest()
    run.world.nodes.remove(node)
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    frozen = [raylet, *raylet.children(recursive=True)]
    moment = time.time()
    for process in frozen:
        process.suspend()
    time.sleep(10)
    for process in reversed(frozen):
        process.resume()
    refused = until(lambda: sum(each.refused for each in run.rows()), "a refused commit")
    run.note = f"{refused} commits refused"
    run.world.ray.remove_node(node, allow_graceful=False)
    run.world.nodes.append(run.world.ray.add_node(num_cpus=1))
    return moment


def kill_the_database(run: Run) -> float:
    run.world.postgres.kill()
    moment = time.time()
    time.sleep(2)
    run.world.postgres.start()
    run.note = f"the database was away for {time.time() - moment:.1f} s"
    return moment


def kill_the_driver(run: Run) -> float:
    assert run.driver is not None
    run.driver.kill()
    run.driver.wait()
    return time.time()


CASES: Mapping[str, tuple[str, Callable[[Run], float]]] = {
    "nothing": ("nothing fails", nothing),
    "owner": ("kill -9 an owner", kill_an_owner),
    "supervisor": ("kill the supervisor", kill_the_supervisor),
    "driver": ("kill -9 the driver", kill_the_driver),
    "twice": ("every 7th event delivered twice", nothing),
    "database": ("kill -9 PostgreSQL, start it after 2 s", kill_the_database),
    "frozen": ("freeze a node for 10 s, thaw it", freeze_a_node),
    "removed": ("remove a node ungracefully", remove_a_node),
    "added": ("add a node", add_a_node),
    "moved": ("drain a partition, move it", move_a_partition),
}


# --- one case -------------------------------------------------------------------------------------


class Result(NamedTuple):
    values: int
    lost: int
    doubled: int
    changed: int
    recovery: float
    note: str

    @property
    def is_right(self) -> bool:
        return self.values > 0 and not (self.lost or self.doubled or self.changed)


def play(world: World, name: str) -> Result:
    """Break something, and compare."""
    of_its_own = f"{name}_{next(world.numbers)}"
    with closing(Run(world, of_its_own, Repeating if name == "twice" else lambda log: log)) as run:
        start_driver(run) if name == "driver" else run.scale_out()
        until(lambda: all(each.state == "running" for each in run.placed()), "all owners")
        feed = Feed(run.places, RATE)
        time.sleep(BEFORE)
        watch = Watch(run)
        failed_at = CASES[name][1](run)
        recovery = until(lambda: watch.passed(failed_at), "all partitions") - failed_at
        time.sleep(AFTER)
        feed.stop()
        fed = time.time()
        until(lambda: watch.passed(fed), "the last events")
        watch.stop()
        time.sleep(QUIET)
        run.cluster().down()
        with closing(open_store(run.url)) as store:
            values, differences = compare(store, build, run.logs_of, GRACE)
        return Result(values, *differences, recovery, run.note)


class Watch:
    """Notes when the partitions' clocks passed which moment, as the store has it."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._seen: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def passed(self, moment: float) -> float | None:
        """When the last partition had committed all that had happened before that moment."""
        return next((when for when, at in self._seen if at > moment), None)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        count = len(by_partition(self._run.sources(), PARTITIONS))
        while not self._stop.wait(0.1):
            rows = attempt(self._run.rows)
            if rows and len(rows) == count:
                self._seen.append((time.time(), min(each.at for each in rows)))


def start_driver(run: Run) -> None:
    """A process of its own starts the cluster, and waits to be killed."""
    command = [
        sys.executable,
        str(Path(__file__)),
        "--drive",
        run.name,
        run.url,
        *(log.name for log in run.logs()),
    ]
    run.driver = subprocess.Popen(command, env={**os.environ, "RAY_ADDRESS": run.world.ray.address})
    until(lambda: attempt_named(run), "the driver's cluster")


def attempt_named(run: Run) -> Any:
    try:
        return run.cluster()
    except ValueError:
        return None


def drive(name: str, url: str, *sources: str) -> None:
    ray.init(namespace="sessionstreams", **QUIETLY)
    logs = [log_of(source, None) for source in sources]
    ScaleOut(logs, build, url, PARTITIONS, name=name, grace=GRACE).start()
    threading.Event().wait()


def main(names: list[str], table: TextIO) -> int:
    """Run these cases, or all; how many are wrong."""
    world = World()
    wrong = 0
    heads = f"{'case':<40} {'values':>7} {'lost':>5} {'doubled':>8} {'changed':>8} {'recovery':>9}"
    print(heads, file=table, flush=True)
    try:
        for name in names or CASES:
            result = play(world, name)
            wrong += not result.is_right
            row = (
                f"{CASES[name][0]:<40} {result.values:>7} {result.lost:>5} {result.doubled:>8} "
                f"{result.changed:>8} {result.recovery:>7.1f} s  {result.note}"
            )
            print(row.rstrip(), file=table, flush=True)
    finally:
        world.close()
    return wrong


if __name__ == "__main__":
    if sys.argv[1:2] == ["--drive"]:
        drive(*sys.argv[2:])
    else:
        with redirect_stdout(sys.stderr):  # what Ray prints of dead processes is no row of the table
            wrong = main(sys.argv[1:], sys.__stdout__ or sys.stderr)
        sys.exit(min(wrong, 1))
