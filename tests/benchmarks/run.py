"""All benchmarks: prints the table of targets, and exits 1 where one is missed.

``run.py`` measures everything and writes ``RESULTS.md`` with its plots; ``run.py --quick`` is the
regression check: ratios only, with slack for a noisy machine.
"""

import sys
import time
from pathlib import Path

import transcripts
import workload
from compare import compare, contestants, recorded
from history import ORIGIN, deciles, tool_calls
from memory import OPERATORS, bytes_per_session, memory_table, pending_deadlines, pending_timers
from report import (
    calls_table,
    costs_table,
    memory_rows,
    plot_calls,
    plot_costs,
    plot_deciles,
    targets_table,
)
from targets import Costs, Target, against_peers, at_most, guards
from timers import re_arm, schedule_and_cancel

HERE = Path(__file__).parent
EVENTS = 20_000
LONG = 100_000
SIZES = [1_000, 10_000, 100_000]
ROUNDS = 7


def quick() -> list[Target]:
    """The regression check."""
    alive = compare(workload.alive(10_000, 100), contestants(quick=True), rounds=5, bun=False)
    decile = deciles(10_000, rounds=3)
    calls = tool_calls(rounds=5)
    idle = bytes_per_session(list(OPERATORS.values()), 2_000)
    return guards(alive, decile[-1] / decile[0], calls[5000][0] / calls[50][0], idle)


def measured_costs() -> dict[str, Costs]:
    loads = {
        "100 sessions": workload.alive(EVENTS, 100),
        "churn of 20-event sessions": workload.churn(EVENTS),
        "recordings": recorded(),
    }
    runs = contestants(quick=False)
    return {name: compare(load, runs, rounds=ROUNDS, bun=True) for name, load in loads.items()}


def full() -> list[Target]:
    """Everything, and the page."""
    began = time.process_time()
    costs = measured_costs()
    tell("comparisons", began)
    memory = memory_table(SIZES)
    tell("memory", began)
    pending = {size: (*pending_deadlines(size), *pending_timers(size)) for size in (10_000, 100_000)}
    tenths = deciles(LONG, ROUNDS)
    tell("deciles", began)
    calls = tool_calls(rounds=10)
    scripts = transcripts.ratios()
    tell("transcripts", began)
    targets = [
        *against_peers(*costs.values()),
        *memory_targets(memory),
        at_most("timer threads at 100,000 deadlines", pending[100_000][0], 1, "thread"),
        Target("timer schedule + cancel", schedule_and_cancel() / 1000, 500, unit="k/s"),
        Target("deadline re-arm", re_arm() / 1e6, 5, unit="M/s"),
        at_most("cost per event, last by first decile", tenths[-1] / tenths[0], 1.3),
        at_most("cost per tool call, 5000 by 50 messages", calls[5000][0] / calls[50][0], 1.3),
        *scripts,
    ]
    for number, (name, each) in enumerate(costs.items(), 1):
        plot_costs(each, name, HERE / f"results-{number}.svg")
    plot_calls(calls, HERE / "results-calls.svg")
    plot_deciles(tenths, LONG, HERE / "results-deciles.svg")
    sections = {
        "Targets": targets_table(targets),
        "What stands in the way": (HERE / "missed.md").read_text("utf-8").strip(),
        "Comparisons": costs_table(costs) + "\n\n" + images(costs),
        "Memory": memory_rows(SIZES, memory) + "\n\n" + pending_table(pending),
        "A long history": calls_table(calls, ORIGIN) + "\n\n"
        "![A tool call](results-calls.svg)\n\n![Cost per event by tenth](results-deciles.svg)",
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    (HERE / "RESULTS.md").write_text(f"{head()}\n{body}\n", "utf-8")
    print(costs_table(costs), memory_rows(SIZES, memory), calls_table(calls, ORIGIN), sep="\n\n")
    return targets


def head() -> str:
    return f"""# Results

Made by `make bench`, in one run on one machine, CPython {sys.version.split()[0]}: {EVENTS:,} events a load, a
session of {LONG:,} events, {ROUNDS} alternating rounds. Times are CPU time, the minimum of the rounds, so that
a busy machine harms all alike; what counts are the ratios. All contestants gave the same answers before
they were timed.
"""


def tell(what: str, began: float) -> None:
    print(f"{what} measured, {time.process_time() - began:.0f} s of CPU so far", file=sys.stderr)


def images(costs: dict[str, Costs]) -> str:
    return "\n\n".join(f"![{name}](results-{number}.svg)" for number, name in enumerate(costs, 1))


def memory_targets(memory: dict[str, list[float]]) -> list[Target]:
    together = memory["the first four together"]
    return [
        at_most("idle session: usage + triggers + tasks + expiry", max(together), 900, "B"),
        *(at_most(f"idle session: {name} alone", max(memory[name]), 400, "B") for name in OPERATORS),
    ]


def pending_table(pending: dict[int, tuple[int, float, int, float]]) -> str:
    rows = ["| pending | of expire_after | timers of the scheduler |", "|--:|--:|--:|"]
    for size, (threads, each, timer_threads, timer) in pending.items():
        cells = f"{threads} thread, {each:.0f} B each | {timer_threads} thread, {timer:.0f} B each"
        rows.append(f"| {size:,} | {cells} |")
    return "\n".join(rows)


def main() -> None:
    targets = quick() if "--quick" in sys.argv else full()
    print("", targets_table(targets), "", sep="\n")
    missed = sum(not target.reached for target in targets)
    print(f"{len(targets) - missed} reached, {missed} missed")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
