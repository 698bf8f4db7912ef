"""What a checkpoint costs: CPU time of a run with commits every 100 ms, by one that commits at its end.

``PYTHONPATH=.:tests/support python tests/benchmarks/bench_checkpoints.py [recording]``. The recording is
played as many times over as makes the run last for seconds; rounds alternate, the minimum counts.
"""

import gzip
import sys
import tempfile
import threading
import time
from math import inf
from pathlib import Path

import msgspec

from streams import ContextLimits
from streams.checkpoints import Checkpoints
from streams.logs import RecordingLog
from streams.partition import Partition
from streams.watch.derivations import derivations

ROUNDS = 3
TARGET = 1.5


class Line(msgspec.Struct):
    at: float
    event: msgspec.Raw


def longer(source: Path, target: Path, times: int) -> int:
    """The same sessions again and again, under other ids, a second later each time: all live at once."""
    lines = gzip.decompress(source.read_bytes()).splitlines()
    with target.open("wb") as file:
        for number in range(times):
            for text in lines:
                line = msgspec.json.decode(text, type=Line)
                event = bytes(line.event).replace(b'"ses_', b'"ses_%d_' % number)
                moved = Line(line.at + number, msgspec.Raw(event))
                file.write(msgspec.json.encode(moved) + b"\n")
    return times * len(lines)


def spent(source: Path, every: float) -> float:
    with tempfile.TemporaryDirectory() as folder:
        store = Checkpoints(Path(folder) / "state.db")
        table = derivations(ContextLimits(lambda provider_id, model_id: 200_000), threshold=0.78)
        build = lambda hub: {name: hub.pipe(operator) for name, operator in table.items()}  # noqa: E731
        partition = Partition("p", [RecordingLog(source)], build, store, lambda output: None, every)
        begun = time.process_time()
        partition.run(threading.Event())
        taken = time.process_time() - begun
        store.close()
        return taken


def main(source: Path) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "longer.jsonl"
        events = longer(source, path, 200)
        pairs = [(spent(path, inf), spent(path, 0.1)) for _ in range(ROUNDS)]
    without, with_them = (min(times) for times in zip(*pairs, strict=True))
    ratio = with_them / without
    per_event = 1e6 * without / events, 1e6 * with_them / events
    print(f"{events} events: {per_event[0]:.1f} us without, {per_event[1]:.1f} us with: {ratio:.2f}x")
    return int(ratio > TARGET)


if __name__ == "__main__":
    given = sys.argv[1] if len(sys.argv) > 1 else "tests/recordings/subagents.jsonl.gz"
    sys.exit(main(Path(given)))
