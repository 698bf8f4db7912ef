"""What one process derives that is never interrupted, and in what other outputs differ from it."""

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from streams.checkpoints import Checkpoints, CheckpointStore, Output
from streams.partition import Partition
from streams.pipeline import Build
from streams.positions import Resumable

PATIENCE = 90.0

Key = tuple[str, str, int]


class Differences(NamedTuple):
    """How many outputs are lost, doubled (none such is expected, or twice), and others or out of order."""

    lost: int
    doubled: int
    changed: int


def until(found: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """What is found, as soon as it is."""
    end = time.monotonic() + patience
    while not (value := found()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {patience:.0f} s")
        time.sleep(0.1)
    return value


def uninterrupted(logs: Sequence[Resumable], build: Build, at: float, grace: float) -> list[Output]:
    """Read these logs from the beginning up to a moment."""
    stop = threading.Event()
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Checkpoints(Path(folder) / "state.db")) as store,
    ):
        partition = Partition("p", logs, build, store, grace=grace, wall=lambda: at + grace)
        thread = threading.Thread(target=partition.run, args=(stop,), daemon=True)
        thread.start()
        until(lambda: partition.status.caught_up and partition.status.at >= at, "the uninterrupted run")
        stop.set()
        thread.join()
        return store.outputs("p")


def compare(
    store: CheckpointStore,
    build: Build,
    logs_of: Callable[[str], Sequence[Resumable]],
    grace: float,
) -> tuple[int, Differences]:
    """What is in the store, beside what uninterrupted runs say up to the same moments.

    Args:
        store: What was derived.
        build: By what.
        logs_of: The logs of each partition.
        grace: By what the clock is behind, in seconds.

    Returns:
        How many outputs are expected, and the differences; the first five are printed.
    """
    got: list[Output] = []
    expected: list[Output] = []
    for row in store.partitions():
        got += store.outputs(row.name)
        expected += uninterrupted(logs_of(row.name), build, row.at, grace)
    return len(expected), differences(got, expected)


def differences(got: list[Output], expected: list[Output]) -> Differences:
    mine, whole = _by_key(got), _by_key(expected)
    changed = sorted(key for key in mine.keys() & whole.keys() if mine[key] != whole[key])
    for key in [*changed, *sorted(mine.keys() ^ whole.keys())][:5]:
        print(f"    {key}\n      is     {mine.get(key)!r}\n      not    {whole.get(key)!r}")
    out_of_order = sum(each.sequence != number for each, number in zip(got, _numbers(got), strict=True))
    return Differences(
        lost=len(whole.keys() - mine.keys()),
        doubled=len(mine.keys() - whole.keys()) + len(got) - len(mine),
        changed=len(changed) + out_of_order,
    )


def _by_key(outputs: list[Output]) -> dict[Key, bytes]:
    return {(each.session_id, each.operator, each.sequence): each.value for each in outputs}


def _numbers(outputs: list[Output]) -> list[int]:
    """What the sequences would be, by the order in the store."""
    counts: dict[tuple[str, str], int] = {}
    found: list[int] = []
    for each in outputs:
        whose = each.session_id, each.operator
        counts[whose] = counts.get(whose, 0) + 1
        found.append(counts[whose])
    return found
