"""What is to be reached, what was measured, and how both are shown."""

import gc
import threading
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ours
import workload

import operators as ops
import streams
from operators.deadlines import Deadlines
from streams.opencode import decode
from streams.schedulers import DaemonScheduler

Measured = dict[str, dict[str, float]]


@dataclass
class Target:
    """One line of the table."""

    what: str
    value: float
    bound: float
    at_least: bool = True
    unit: str = "x"

    def reached(self, slack: float = 1.0) -> bool:
        if self.at_least:
            return self.value >= self.bound / slack
        return self.value <= self.bound * slack

    def row(self, slack: float) -> tuple[str, str, str, str]:
        sign = "≥" if self.at_least else "≤"
        verdict = "reached" if self.reached() else "within slack" if self.reached(slack) else "MISSED"
        return self.what, f"{sign} {self.bound:g} {self.unit}", f"{self.value:.3g} {self.unit}", verdict


def targets(measured: Measured, *, quick: bool) -> list[Target]:
    """Ratios of the comparisons, then what only concerns us."""
    alive, churned, real = measured.values()
    same, every = "ours, usage + triggers + tools", "ours, all operators"
    return [
        _faster(
            "idiomatic reactivex, EventLoopScheduler, 100 sessions",
            alive,
            "reactivex, EventLoopScheduler",
            20,
        ),
        _faster("same, churn of 20-event sessions", churned, "reactivex, EventLoopScheduler", 80),
        _faster("reactivex, one scan over a dict", alive, "reactivex, one scan", 2.5),
        _faster("streamz", alive, "streamz", 8),
        _faster("bytewax", alive, "bytewax", 2.5),
        _faster("bun baseline, delta-heavy", alive, "bun", 1.5),
        _faster("bun baseline, recordings", real, "bun", 1.2),
        Target("all operators by decode alone", alive[every] / alive["decode alone"], 3, at_least=False),
        Target("three operators by decode alone", alive[same] / alive["decode alone"], 3, at_least=False),
        *_alone(quick=quick),
    ]


def _faster(what: str, measured: dict[str, float], peer: str, bound: float) -> Target:
    return Target(f"vs {what}", measured[peer] / measured["ours, usage + triggers + tools"], bound)


def _alone(*, quick: bool) -> list[Target]:
    sessions = 10_000 if quick else 100_000
    four = [ops.context_usage, ops.compaction_triggers]
    factories: list[Callable[[], Any]] = [
        *(lambda make=make: make(ours.LIMITS) for make in four),
        ops.task_progress,
        lambda: ops.expire_after(600),
    ]
    each = [bytes_per_session([factory], sessions // 10) for factory in factories]
    scheduled, armed = timer_rates()
    return [
        Target(
            "idle session: usage + triggers + tasks + expiry",
            bytes_per_session(factories, sessions // 10),
            900,
            at_least=False,
            unit="B",
        ),
        Target("idle session: the largest single operator", max(each), 400, at_least=False, unit="B"),
        Target(
            f"threads at {sessions:,} sessions",
            threads_at(sessions),
            1,
            at_least=False,
            unit="timer threads",
        ),
        Target("timer schedule + cancel", scheduled / 1000, 500, unit="k/s"),
        Target("deadline re-arm", armed / 1e6, 5, unit="M/s"),
        Target(
            "cost per event, last by first decile",
            decile_ratio(20_000 if quick else 100_000),
            1.3,
            at_least=False,
        ),
        Target("cost per tool call, 5000 by 50 messages", tool_call_ratio(), 1.3, at_least=False),
    ]


def bytes_per_session(factories: list[Callable[[], Any]], sessions: int) -> float:
    """Traced bytes per session that has said one thing and then nothing."""
    opening = [
        next(workload.Session(f"ses_{n:06}", workload.random.Random(n)).payloads())
        for n in range(sessions)
    ]
    answers = [workload.Session(f"ses_{n:06}", workload.random.Random(n)) for n in range(sessions)]
    hub = streams.EventHub(scheduler=DaemonScheduler())
    for factory in factories:
        hub.pipe(factory()).subscribe(lambda value: None)
    ours.feed(hub, [b'{"type":"session.created","properties":{"info":{"id":"warm"}}}'])
    gc.collect()
    tracemalloc.start()
    for payload in opening:
        hub.on_next(decode(payload, 1.0))
    for session in answers:
        hub.on_next(decode(session.answer(finished=True), 1.0))
    gc.collect()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    hub.on_completed()
    return used / sessions


def threads_at(sessions: int) -> int:
    """Threads that appear when so many sessions have a deadline."""
    before = threading.active_count()
    hub = streams.EventHub(scheduler=DaemonScheduler())
    seen: list[Any] = []
    subscription = hub.pipe(ops.expire_after(600)).subscribe(seen.append)
    for number in range(sessions):
        hub.on_next(streams.events.SessionIdle(f"ses_{number}", 1.0))
    after = threading.active_count()
    subscription.dispose()
    return after - before


def timer_rates(rounds: int = 3, count: int = 100_000) -> tuple[float, float]:
    """Timers scheduled and cancelled per second; deadlines moved later per second."""
    best_timer = best_deadline = float("inf")
    for _ in range(rounds):
        scheduler = DaemonScheduler()
        action = streams.schedulers.calling(lambda: None)
        before = time.process_time()
        for _ in range(count):
            scheduler.schedule_relative(600.0, action).dispose()
        best_timer = min(best_timer, time.process_time() - before)
        deadlines = Deadlines()
        keys = [f"ses_{n}" for n in range(1000)]
        for key in keys:
            deadlines.set(key, 1.0)
        before = time.process_time()
        for at in range(count // 1000):
            later = 2.0 + at
            for key in keys:
                deadlines.set(key, later)
        best_deadline = min(best_deadline, time.process_time() - before)
    return count / best_timer, count / best_deadline


def decile_ratio(events: int, rounds: int = 3) -> float:
    """CPU of the last tenth of one long session by that of the first, all operators subscribed."""
    payloads = workload.one_long(events)
    tenth = len(payloads) // 10
    first = last = float("inf")
    for _ in range(rounds):
        hub = streams.EventHub()
        ours.subscribe(hub, *ours.everything())
        costs: list[float] = []
        for number in range(10):
            share = payloads[number * tenth : (number + 1) * tenth]
            before = time.process_time()
            ours.feed(hub, share, at=1.0)
            costs.append(time.process_time() - before)
        first, last = min(first, costs[0]), min(last, costs[-1])
        hub.on_completed()
    return last / first


def tool_call_ratio(rounds: int = 5, calls: int = 200) -> float:
    """CPU of a tool call in a session of 5000 messages by that in one of 50, all operators subscribed."""
    cost = {size: min(_tool_calls(size, calls) for _ in range(rounds)) for size in (50, 5000)}
    return cost[5000] / cost[50]


def _tool_calls(messages: int, calls: int) -> float:
    hub = streams.EventHub()
    ours.subscribe(hub, *ours.everything())
    session = workload.Session("ses_tool", workload.random.Random(1))
    for _ in range(messages):
        session.message += 1
        ours.feed(hub, [session.answer(finished=True)])
    payloads: list[bytes] = []
    for _ in range(calls):
        session.call += 1
        payloads += [session.tool("running"), session.tool("completed")]
    before = time.process_time()
    ours.feed(hub, payloads)
    used = time.process_time() - before
    hub.on_completed()
    return used


def tables(measured: Measured, reached: list[Target], slack: float) -> str:
    """Markdown: what each contestant costs, then the targets."""
    lines = [
        "| CPU, ours (three operators) = 1 | " + " | ".join(measured) + " |",
        "|---|" + "--:|" * len(measured),
    ]
    for name in next(iter(measured.values())):
        cells = [
            f"{costs[name] / costs['ours, usage + triggers + tools']:.2f} ({costs[name]:.2f} µs)"
            for costs in measured.values()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "| what | to reach | measured | |", "|---|--:|--:|---|"]
    lines += ["| " + " | ".join(target.row(slack)) + " |" for target in reached]
    return "\n".join(lines)


def write(folder: Path, measured: Measured, reached: list[Target]) -> None:
    """The results page, and a bar chart per workload."""
    import altair as alt

    text = [
        "# Results",
        "",
        "Made by `make bench`; every figure of this page comes from one run on one machine (2 cores,",
        "CPython 3.11). Times are CPU microseconds per event, the minimum of alternating rounds; what",
        "counts are the ratios. All contestants gave the same answers before they were timed.",
        "",
        tables(measured, reached, 1.0),
        "",
    ]
    for number, (name, costs) in enumerate(measured.items(), 1):
        rows = [{"contestant": key, "µs per event": value} for key, value in costs.items()]
        chart = (
            alt.Chart(alt.InlineData(values=rows), title=name)
            .mark_bar()
            .encode(
                x=alt.X("µs per event:Q", scale=alt.Scale(type="log"), title="CPU µs per event (log)"),
                y=alt.Y("contestant:N", sort=None, title=None),
                color=alt.condition(
                    "indexof(datum.contestant, 'ours') == 0", alt.value("#D55E00"), alt.value("#0072B2")
                ),
            )
            .properties(width=520)
        )
        chart.save(folder / f"results-{number}.svg")
        text += [f"![{name}](results-{number}.svg)", ""]
    (folder / "RESULTS.md").write_text("\n".join(text), "utf-8")
