"""A day of sessions that are born and abandoned, in virtual time: memory, states and timers stay flat.

    python tests/soak.py                      # 24 virtual hours, 5000 sessions, 5 million events
    python tests/soak.py --events 500000      # the same day with a tenth of the talk

Every session goes through ``expire_after`` into a hub, and from there through every operator that the
package exports, and each operator has something to say. Of four sessions one ends well and falls silent, one
is deleted, one is left with a question open and one in the middle of a command; every fourth was started by
the one before it, and many of those outlive their parent. Exit status 1 when anything is kept that belongs to no living session,
when there are more timers than operators, or when the process has grown after the first hour.

Measured, the first command, Python 3.11 on one core of a machine at ten times its load: 5 077 395 events of
5000 sessions through 14 operators in 1513 s; 58.1 MiB after an hour, 58.4 MiB at the end; 116 sessions alive
and 116 kept; 3 to 15 timers.

Source: field failure R6.
"""

import argparse
import gc
import heapq
import inspect
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec.structs import replace

import operators as ops
from streams import ContextLimits, EventHub
from streams import events as ev
from streams import testing as say
from streams.events import SessionEvent
from streams.faults import Fault
from streams.schedulers import Replay

HOURS = 24
SESSIONS = 5_000
EVENTS = 5_000_000

TTL = 600.0
BUSY_TTL = 1_200.0
LIFE = 1_200.0
"""Seconds from a session's first event to its last. With BUSY_TTL, an hour sees whole lives."""

GROWTH = 1.10
SLACK = 8 * 1024 * 1024
"""What the process may grow after the first hour: a tenth, or 8 MiB, for the allocator's own."""

STALE = 240.0
TOOL_STALE = 600.0
"""Seconds that a session may say nothing, and a tool: less than those after which it expires."""

TEXT = "the order book total rows every invoice stock parser "


def resident() -> int:
    """Bytes of memory that the process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- the talk -------------------------------------------------------------------------------------


def parent_of(session: str) -> str:
    """Who started a session: of every fourth, the one before it."""
    number = int(session.removeprefix("ses_"))
    return f"ses_{number - 1:06}" if number % 4 == 3 else ""


def life(number: int, events: int) -> Iterator[SessionEvent]:
    """All that one session says: about ``events`` events, 80 % of them deltas."""
    session = f"ses_{number:06}"
    dice = random.Random(number)
    said = 2
    turn = 0
    yield say.created(session, parent_of(session), title=f"session {number}")
    yield say.busy(session)
    while said < events - 2:
        turn += 1
        for event in _turn(session, turn, dice):
            said += 1
            yield event
    yield from _end(session, turn, number // 2 % 4)  # children too end in every way


def _turn(session: str, turn: int, dice: random.Random) -> Iterator[SessionEvent]:
    """One answer with its text and one call, twenty to forty events."""
    message, part, call = (f"{kind}_{session}_{turn:06}" for kind in ("msg", "prt", "call"))
    if turn % 5 == 1:
        yield say.user(session, f"{message}a")
    message += "b"
    yield say.assistant(session, message, finish="", tokens=False)
    yield say.text(session, message, part, "")
    for _ in range(dice.randrange(16, 32)):
        yield say.delta(session, message, part, TEXT[: dice.randrange(4, len(TEXT))])
    yield say.text(session, message, part, TEXT * 4)
    arguments = {"filePath": f"/src/{dice.randrange(20)}.py"}
    for status, output in (("pending", None), ("running", None), ("completed", TEXT * 20)):
        yield say.tool(session, call, "read", status, message_id=message, input=arguments, output=output)
    if turn % 7 == 0:
        yield say.todos(session, *dice.choices(("pending", "in_progress", "completed"), k=5))
    yield say.assistant(session, message, input=20_000 * (1 + turn % 9), output=90, finish="tool-calls")
    if turn % 11 == 0:
        yield say.compacted(session)
        for number in range(3):
            yield from _without_a_word(session, f"{message}{number}")
    if turn % 13 == 0:
        for number in range(20):
            yield say.tool(session, f"{call}{number}", "bash", "completed", input=arguments, output="")


def _without_a_word(session: str, message: str) -> Iterator[SessionEvent]:
    """An answer that only begins and ends its step."""
    yield say.assistant(session, message, finish="", tokens=False)
    yield say.step_start(session, message)
    yield say.step_finish(session, message)
    yield say.assistant(session, message, input=30_000, output=0, completed=1.0)


def _end(session: str, turn: int, way: int) -> Iterator[SessionEvent]:
    if way == 0:
        yield say.idle(session)
    elif way == 1:
        yield say.deleted(session)
        yield say.delta(session, "msg_late", "prt_late", "a straggler")
    else:
        call = f"call_{session}_open"
        yield say.busy(session)
        yield say.tool(session, call, "bash", "running", message_id=f"msg_{session}_{turn:06}b")
        if way == 2:
            yield say.permission(session, f"per_{session}", call)


def day(sessions: int, events: int) -> Iterator[tuple[float, SessionEvent]]:
    """All sessions' talk in the order of time, born evenly over the day."""
    between = HOURS * 3600.0 / sessions
    each = events // sessions
    step = LIFE / each
    running: list[tuple[float, int, Iterator[SessionEvent]]] = []
    for number in range(sessions):
        born = number * between
        while running and running[0][0] <= born:
            yield from _one(running, step)
        heapq.heappush(running, (born, number, life(number, each)))
    while running:
        yield from _one(running, step)


def _one(
    running: list[tuple[float, int, Iterator[SessionEvent]]], step: float
) -> Iterator[tuple[float, SessionEvent]]:
    """The first event of all; its session is put back with the time of its next."""
    at, number, talk = running[0]
    event = next(talk, None)
    if event is None:
        heapq.heappop(running)
        return
    heapq.heapreplace(running, (at + step, number, talk))
    yield at, event


# --- the pipeline ---------------------------------------------------------------------------------


def every_operator() -> dict[str, Any]:
    """Every operator that is exported, with the defaults it has: what is stale is so before it expires."""
    options = {"stalls": {"stale": STALE, "tool_stale": TOOL_STALE}}
    given = {"limits": ContextLimits({"anthropic/x": 200_000}), "action": lambda trigger: None}
    found: dict[str, Any] = {}
    for name in ops.__all__:
        make = getattr(ops, name)
        if not inspect.isfunction(make) or name in ("expire_after", "per_session"):
            continue
        arguments = inspect.signature(make).parameters.values()
        needs = [each.name for each in arguments if each.default is inspect.Parameter.empty]
        found[name] = make(*(given[each] for each in needs), **options.get(name, {}))
    return found


def folds() -> list[Any]:
    """Whatever in this process keeps states per session."""
    return [
        each
        for each in gc.get_objects()
        if hasattr(type(each), "fire") and isinstance(getattr(each, "states", None), dict)
    ]


class Soak:
    """The pipeline of one run, and what is looked at each hour."""

    def __init__(self) -> None:
        before = {id(each) for each in folds()}
        self.clock = Replay()
        self.source = EventHub(scheduler=self.clock)
        self.hub = EventHub(self.source.pipe(ops.expire_after(TTL, busy_ttl=BUSY_TTL)))
        self.faults: list[Fault] = []
        self.said: dict[str, int] = {}
        for hub in (self.source, self.hub):
            hub.errors.subscribe(self.faults.append)
        for name, operator in every_operator().items():
            self.said[name] = 0
            self.hub.pipe(operator).subscribe(lambda value, name=name: self._count(name))
        self.hub.connect()
        mine = [each for each in folds() if id(each) not in before]
        self.alive = next(each for each in mine if type(each).__name__ == "Expiry").states
        self.kept = [(_name_of(each), each) for each in mine if each.states is not self.alive]

    def _count(self, name: str) -> None:
        self.said[name] += 1

    def play(self, at: float, event: SessionEvent) -> None:
        self.clock.advance_to(at)
        created = {"created": at} if isinstance(event, ev.MessageUpdated) else {}
        self.source.on_next(replace(event, at=at, **created))

    def complaints(self) -> Iterator[str]:
        """What is kept and should not be. A task that lives may keep the name of who started it."""
        known = {*self.alive, *filter(None, map(parent_of, self.alive))}
        for name, fold in self.kept:
            stale = sorted(_kept_by(fold) - known)
            if stale:
                yield f"{name} keeps {len(stale)} sessions that are gone, such as {stale[0]}"
        if self.clock.pending > len(self.kept) + 1:
            yield f"{self.clock.pending} timers for {len(self.kept) + 1} operators"
        for fault in self.faults[:5]:
            yield f"a fault: {fault}"


def _kept_by(fold: Any) -> set[str]:
    resting = getattr(fold, "resting", None)
    return {*fold.states, *(resting.kept if resting else ())}


def _name_of(fold: Any) -> str:
    logic = getattr(fold, "_logic", None)
    return type(fold if logic is None else logic).__name__


def soak(sessions: int, events: int) -> list[str]:
    """Play the day; prints a line per virtual hour, returns what is wrong."""
    run = Soak()
    wrong: list[str] = []
    sizes: list[int] = []
    played = last = 0
    started = hour_started = time.perf_counter()
    print(
        f"{'hour':>4} {'events':>9} {'events/s':>9} {'MiB':>7} {'alive':>6} {'kept, at most':>14} {'timers':>7}"
    )
    for at, event in day(sessions, events):
        while at >= (len(sizes) + 1) * 3600.0:
            gc.collect()
            sizes.append(resident())
            now = time.perf_counter()
            most = max(len(_kept_by(fold)) for _, fold in run.kept)
            print(
                f"{len(sizes):>4} {played:>9} {(played - last) / (now - hour_started):>9.0f}"
                f" {sizes[-1] / 2**20:>7.1f} {len(run.alive):>6} {most:>14} {run.clock.pending:>7}",
                flush=True,
            )
            wrong += [f"hour {len(sizes)}: {each}" for each in run.complaints()]
            last, hour_started = played, now
        run.play(at, event)
        played += 1
    seconds = time.perf_counter() - started
    allowed = max(sizes[0] * GROWTH, sizes[0] + SLACK)
    if max(sizes[1:]) > allowed:
        wrong.append(f"grew from {sizes[0] / 2**20:.1f} MiB to {max(sizes[1:]) / 2**20:.1f} MiB")
    run.clock.advance_by(TTL + BUSY_TTL)
    wrong += [f"after the last: {each}" for each in run.complaints()]
    wrong += [
        f"{name} keeps {len(left)} sessions for ever"
        for name, fold in run.kept
        if (left := _kept_by(fold))
    ]
    if run.alive:
        wrong.append(f"{len(run.alive)} sessions never expire")
    if events >= EVENTS // 10:  # in shorter ones no session lives long enough to loop
        wrong += [f"{name} never said anything" for name, said in run.said.items() if not said]
    print(f"{played} events of {sessions} sessions through {len(run.said)} operators in {seconds:.1f} s:")
    print("values: " + ", ".join(f"{name} {said}" for name, said in run.said.items()))
    print(f"{played / seconds:.0f} events/s; {sizes[0] / 2**20:.1f} MiB after an hour,", end=" ")
    print(f"{sizes[-1] / 2**20:.1f} MiB at the end")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--events", type=int, default=EVENTS, help="events in all, at least 20 a session")
    parser.add_argument("--sessions", type=int, default=SESSIONS, help="sessions in all")
    arguments = parser.parse_args()
    wrong = soak(arguments.sessions, max(arguments.events, 20 * arguments.sessions))
    for each in wrong:
        print(each, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
