"""The comparisons: alternating rounds in one process tree, CPU time, the minimum, printed as ratios.

``run.py`` prints the table of targets and exits 1 where one is missed; ``run.py --quick`` takes fewer
events and slackens every target by half, for a regression check on a noisy machine.
"""

import gzip
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import figures
import msgspec
import ours
import peers
import workload
from peers import Answer

HERE = Path(__file__).parent
QUICK = "--quick" in sys.argv
ROUNDS = 3
EVENTS = 10_000 if QUICK else 40_000
FEW = 2_000
"""Events for those that take a thousand times as long."""

SLACK = 1.5 if QUICK else 1.0


class Bun:
    """The JavaScript baseline: one process for all rounds, which times itself."""

    def __init__(self, payloads: list[bytes]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        lines = Path(self._folder.name) / "payloads"
        lines.write_bytes(b"\n".join(payloads) + b"\n")
        program = [str(bun_binary()), str(HERE / "baseline.js"), str(lines)]
        self._process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.round()  # the first one compiles

    def round(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate("stop\n")
        self._folder.cleanup()


def bun_binary() -> Path:
    """bun from npm, kept in a cache of this folder."""
    binary = HERE / ".cache" / "node_modules" / "bun" / "bin" / "bun.exe"
    if not binary.exists():
        npm = shutil.which("npm") or sys.exit("the bun baseline needs npm")
        (HERE / ".cache").mkdir(exist_ok=True)
        subprocess.run([npm, "install", "--silent", "--prefix", str(HERE / ".cache"), "bun"], check=True)
    return binary


def recorded() -> list[bytes]:
    """The payloads of the two largest recordings of a real server."""
    payloads: list[bytes] = []
    for name in ("long", "many"):
        with gzip.open(HERE.parent / "recordings" / f"{name}.jsonl.gz") as file:
            payloads += [
                bytes(msgspec.json.decode(line, type=dict[str, msgspec.Raw])["event"]) for line in file
            ]
    return payloads


def per_event(run: Callable[[list[bytes]], Answer], payloads: list[bytes]) -> float:
    """CPU microseconds per event of one run."""
    before = time.process_time()
    run(payloads)
    return (time.process_time() - before) / len(payloads) * 1e6


def compare(payloads: list[bytes], runs: dict[str, Callable[[list[bytes]], Answer]]) -> dict[str, float]:
    """The minimum per contestant over alternating rounds; slow ones get fewer of the same events."""
    best = dict.fromkeys([*runs, "bun"], float("inf"))
    bun = Bun(payloads)
    for _ in range(ROUNDS):
        for name, run in runs.items():
            share = payloads[:FEW] if name in SLOW else payloads
            best[name] = min(best[name], per_event(run, share))
        best["bun"] = min(best["bun"], bun.round()["cpu"] / len(payloads))
    bun.close()
    return best


SLOW = ("reactivex, EventLoopScheduler", "reactivex, default scheduler")

RUNS: dict[str, Callable[[list[bytes]], Answer]] = {
    "decode alone": peers.decode_alone,
    "ours, usage + triggers + tools": ours.same_as_peers,
    "ours, all operators": ours.all_operators,
    "orjson loop": peers.plain_loop,
    "reactivex, one scan": peers.rx_one_scan,
    "reactivex, EventLoopScheduler": peers.rx_eventloop,
    "reactivex, default scheduler": peers.rx_default,
    "streamz": peers.streamz_accumulate,
    "bytewax": peers.bytewax_stateful,
}
PEERS = [name for name in RUNS if name not in ("decode alone", "ours, all operators")]


def check_equal(payloads: list[bytes]) -> None:
    """Nobody is timed before all give the same answer."""
    expected = peers.plain_loop(payloads)
    for name in PEERS:
        answer = RUNS[name](payloads)
        if (dict(answer.tokens), answer.samples, dict(answer.tools), answer.triggered) != (
            dict(expected.tokens),
            expected.samples,
            dict(expected.tools),
            expected.triggered,
        ):
            sys.exit(f"{name} answers otherwise than the plain loop: its time would mean nothing")


def main() -> None:
    delta_heavy, churned, real = workload.alive(EVENTS, 100), workload.churn(EVENTS), recorded()
    for payloads in (delta_heavy[:FEW], churned[:FEW], real[:FEW]):
        check_equal(payloads)
    measured = {
        "100 sessions": compare(delta_heavy, RUNS),
        "churn of 20-event sessions": compare(churned, RUNS),
        "recordings": compare(real, RUNS),
    }
    targets = figures.targets(measured, quick=QUICK)
    print(figures.tables(measured, targets, SLACK))
    missed = [target for target in targets if not target.reached(SLACK)]
    if "--write" in sys.argv:
        figures.write(HERE, measured, targets)
    print(f"{len(targets) - len(missed)} passed, {len(missed)} failed")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
