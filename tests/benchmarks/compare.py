"""The comparisons: everyone gets the same bytes, in alternating rounds, and CPU time is what counts."""

import gzip
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import ours
import peers
from peers import Answer

HERE = Path(__file__).parent
BUN = HERE.parents[1] / ".cache" / "bun"
BUN_VERSION = "1.4.5"

DECODE, SAME, EVERY = "decode alone", "ours, usage + triggers + tools", "ours, all operators"
LOOP, SCAN, GROUPS = "orjson loop", "reactivex, one scan", "reactivex, EventLoopScheduler"
TIMEOUTS, STREAMZ, BYTEWAX = "reactivex, default scheduler", "streamz", "bytewax"
BUN_NAME = "JavaScript under bun"

Run = Callable[[list[bytes]], Answer]

RUNS: dict[str, Run] = {
    DECODE: peers.decode_alone,
    SAME: ours.same_as_peers,
    EVERY: ours.all_operators,
    LOOP: peers.plain_loop,
    SCAN: peers.rx_one_scan,
    GROUPS: peers.rx_eventloop,
    TIMEOUTS: peers.rx_default,
    STREAMZ: peers.streamz_accumulate,
    BYTEWAX: peers.bytewax_stateful,
}

FEW = 2_000
"""Events for the default scheduler, which starts a thread per event; and to compare the answers."""


def contestants(*, quick: bool) -> dict[str, Run]:
    """Everyone whose package is installed; for the regression check only the nearest."""
    names = [DECODE, SAME, EVERY, LOOP, SCAN] if quick else list(RUNS)
    return {name: RUNS[name] for name in names if name != BYTEWAX or find_spec("bytewax")}


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
        self.answer = self.round()["answer"]  # the first one compiles

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
    """bun from npm, kept in the cache of the checkout."""
    binary = BUN / "node_modules" / "bun" / "bin" / "bun.exe"
    if not binary.exists():
        npm = shutil.which("npm") or sys.exit("the JavaScript baseline needs npm, to install bun")
        BUN.mkdir(parents=True, exist_ok=True)
        subprocess.run([npm, "install", "--silent", "--prefix", BUN, f"bun@{BUN_VERSION}"], check=True)
    return binary


def recorded() -> list[bytes]:
    """The payloads of the two largest recordings of a real server."""
    payloads: list[bytes] = []
    for name in ("long", "many"):
        with gzip.open(HERE.parent / "recordings" / f"{name}.jsonl.gz") as file:
            lines = (msgspec.json.decode(line, type=dict[str, msgspec.Raw]) for line in file)
            payloads += [bytes(line["event"]) for line in lines]
    return payloads


def compare(payloads: list[bytes], runs: dict[str, Run], *, rounds: int, bun: bool) -> dict[str, float]:
    """The least CPU microseconds per event of each."""
    check_equal(payloads, runs)
    best = dict.fromkeys(runs, float("inf"))
    script = Bun(payloads) if bun else None
    if script is not None:
        best[BUN_NAME] = float("inf")
        check_bun(payloads, script)
    for _ in range(rounds):
        for name, run in runs.items():
            share = payloads[:FEW] if name == TIMEOUTS else payloads
            best[name] = min(best[name], per_event(run, share))
        if script is not None:
            best[BUN_NAME] = min(best[BUN_NAME], script.round()["cpu"] / len(payloads))
    if script is not None:
        script.close()
    return best


def per_event(run: Run, payloads: list[bytes]) -> float:
    before = time.process_time()
    run(payloads)
    return (time.process_time() - before) / len(payloads) * 1e6


def check_equal(payloads: list[bytes], runs: dict[str, Run]) -> None:
    """Nobody is timed before all give the same answer."""
    for name, run in runs.items():
        if name in (DECODE, EVERY):
            continue
        share = payloads[:FEW] if name == TIMEOUTS else payloads
        answer, expected = said(run(share)), said(peers.plain_loop(share))
        if answer != expected:
            sys.exit(f"{name} answers otherwise than the plain loop, so its time would mean nothing")


def check_bun(payloads: list[bytes], script: Bun) -> None:
    expected = peers.plain_loop(payloads)
    sums = {
        "sum": sum(expected.tokens.values()),
        "sessions": len(expected.tokens),
        "measured": len(expected.measured),
        "calls": sum(expected.tools.values()),
        "triggered": len(expected.triggered),
    }
    if script.answer != sums:
        sys.exit(f"{BUN_NAME} answers {script.answer}, not {sums}: its time would mean nothing")


def said(answer: Answer) -> tuple[object, ...]:
    return dict(answer.tokens), answer.measured, dict(answer.tools), answer.triggered
