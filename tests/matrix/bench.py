"""How fast one process is, and how many owners overtake it.

``python tests/matrix/bench.py``: four directories of recorded sessions, derived from by one process, then by
one, two and four owners in Ray, each from an empty PostgreSQL; twice, in turns, the faster counts. The time
is from the moment at which the files appear until the last event is taken in.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PATHS = [str(HERE.parents[1]), str(HERE), str(HERE.parent / "support")]
os.environ["PYTHONPATH"] = os.pathsep.join([*PATHS, os.environ.get("PYTHONPATH", "")])
os.environ |= {"RAY_DISABLE_IMPORT_WARNING": "1", "RAY_USAGE_STATS_ENABLED": "0"}
sys.path[:0] = PATHS

import msgspec  # noqa: E402
import psycopg  # noqa: E402
import ray  # noqa: E402
from feed import Line, payloads  # noqa: E402
from pipeline import build  # noqa: E402
from postgres_server import PostgresServer, programs  # noqa: E402

from streams.checkpoints import open_store  # noqa: E402
from streams.cluster import ScaleOut, partition_of  # noqa: E402
from streams.logs import DirectoryLog  # noqa: E402
from streams.partition import Partition  # noqa: E402

DIRECTORIES = 4
EVENTS = 30_000
ROUNDS = 2


def directories(folder: Path, partitions: int) -> list[Path]:
    """Four empty directories, as many in each partition."""
    found: dict[int, list[Path]] = {number: [] for number in range(partitions)}
    for number in count():
        path = (folder / f"server-{number}").resolve()
        some = found[partition_of(str(path), partitions)]
        if len(some) < DIRECTORIES // partitions:
            some.append(path)
            path.mkdir(parents=True)
        if sum(map(len, found.values())) == DIRECTORIES:
            return [path for some in found.values() for path in some]
    raise AssertionError


def prepared(folder: Path) -> list[Path]:
    """What the directories will have."""
    files: list[Path] = []
    for server in range(DIRECTORIES):
        files.append(folder / f"{server}.jsonl")
        texts = payloads(server)
        with files[-1].open("wb") as file:
            for number in range(EVENTS):
                line = Line(1_700_000_000 + number / 50, msgspec.Raw(next(texts)))
                file.write(msgspec.json.encode(line) + b"\n")
    return files


def timed(taken_in: Callable[[], int], files: list[Path], places: list[Path]) -> float:
    """Seconds from when the files are there until all was taken in."""
    begun = time.perf_counter()
    for file, place in zip(files, places, strict=True):
        os.link(file, place / "events.jsonl")
    while taken_in() < DIRECTORIES * EVENTS:
        time.sleep(0.02)
    return time.perf_counter() - begun


def alone(url: str, files: list[Path], folder: Path) -> float:
    """One process, which has nothing else to do."""
    command = [sys.executable, str(Path(__file__)), "--alone", url, str(folder), *map(str, files)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run_alone(url: str, folder: str, *files: str) -> None:
    places = directories(Path(folder), 1)
    with closing(open_store(url)) as store:
        partition = Partition("all", [DirectoryLog(place) for place in places], build, store)
        stop = threading.Event()
        thread = threading.Thread(target=partition.run, args=(stop,))
        thread.start()
        while not partition.status.caught_up:
            time.sleep(0.02)
        print(timed(lambda: partition.status.events, [Path(file) for file in files], places))
        stop.set()
        thread.join()


def spread(url: str, files: list[Path], folder: Path, owners: int) -> float:
    """So many owners in Ray."""
    places = directories(folder, owners)
    name = folder.name
    cluster = ScaleOut([DirectoryLog(place) for place in places], build, url, owners, name=name).start()
    while not all(each.state == "running" and each.commits for each in cluster.status()):
        time.sleep(0.2)
    actors = [
        ray.get_actor(f"{name}/{each.name}", namespace="sessionstreams") for each in cluster.status()
    ]

    def taken_in() -> int:
        statuses: list[Any] = ray.get([actor.status.remote() for actor in actors])
        return sum(each.partition.events for each in statuses)

    seconds = timed(taken_in, files, places)
    cluster.down()
    return seconds


def main() -> None:
    found = programs()
    if found is None:
        raise SystemExit("the benchmark needs PostgreSQL: apt-get install postgresql")
    postgres = PostgresServer(found, "fsync=on")
    postgres.start()
    ray.init(num_cpus=DIRECTORIES, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    best: dict[int, float] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="sessionstreams-bench-") as temporary:
            files = prepared(Path(temporary))
            for number in range(ROUNDS):
                for owners in (0, 1, 2, 4):
                    database = f"bench_{number}_{owners}"
                    with psycopg.connect(postgres.url(), autocommit=True) as connection:
                        connection.execute(f"CREATE DATABASE {database}".encode())
                    url, folder = postgres.url(database), Path(temporary) / database
                    seconds = spread(url, files, folder, owners) if owners else alone(url, files, folder)
                    best[owners] = min(seconds, best.get(owners, seconds))
    finally:
        ray.shutdown()
        postgres.close()
    print(f"{DIRECTORIES * EVENTS} events of {DIRECTORIES} servers, {os.cpu_count()} cores")
    for owners, seconds in best.items():
        what = f"{owners} owner{'s' * (owners > 1)}" if owners else "one process"
        print(f"{what:<12} {DIRECTORIES * EVENTS / seconds:>8.0f} events/s {best[0] / seconds:>6.2f}x")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--alone"]:
        run_alone(*sys.argv[2:])
    else:
        main()
