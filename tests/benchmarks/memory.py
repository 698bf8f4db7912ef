"""What a session costs that has said a few things and now rests: bytes, and threads."""

import gc
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, Final

import ours
import workload

import operators as ops
import streams
from streams.opencode import decode
from streams.schedulers import DaemonScheduler, Replay, calling

Factory = Callable[[], Any]

OPERATORS: dict[str, Factory] = {
    "context_usage": lambda: ops.context_usage(ours.LIMITS),
    "compaction_triggers": lambda: ops.compaction_triggers(ours.LIMITS),
    "task_progress": ops.task_progress,
    "expire_after": lambda: ops.expire_after(600),
}
"""Those that the targets speak of."""

OTHERS: dict[str, Factory] = {
    "tool_calls": ops.tool_calls,
    "transcript_snapshots": ops.transcript_snapshots,
}
"""What these keep is what was said: open calls, and the transcript."""

OTHERS_UP_TO: Final = 10_000
"""Sessions; a transcript costs the same in each, and 100,000 of them half a minute to make."""


def bytes_per_session(factories: list[Factory], sessions: int) -> float:
    """Traced bytes per session that was created, has answered, and has been idle for a minute."""
    clock = Replay()
    hub = streams.EventHub(scheduler=clock)
    for factory in factories:
        hub.pipe(factory()).subscribe(lambda value: None)
    for payload in _said(f"ses_{10**9:026}"):
        hub.on_next(decode(payload, 1.0))
    gc.collect()
    tracemalloc.start()
    for number in range(sessions):
        for payload in _said(f"ses_{number:026}"):
            hub.on_next(decode(payload, 1.0))
    clock.advance_by(60.0)
    gc.collect()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    hub.on_completed()
    return used / sessions


TEMPLATE = f"ses_{1234:026}"


def _template() -> list[bytes]:
    session = workload.Session(TEMPLATE, workload.random.Random(1))
    idle = session.event("session.idle", {"sessionID": session.id})
    return [session.created(), session.answer(finished=False), session.answer(finished=True), idle]


_SAID = _template()


def _said(session_id: str) -> Iterator[bytes]:
    """Its own ids end like the session's, so every id is its own."""
    return (payload.replace(b"00000000001234", session_id[-14:].encode()) for payload in _SAID)


def memory_table(sizes: list[int]) -> dict[str, list[float]]:
    """Bytes per session of each operator alone, and of the four together, by number of sessions."""
    table = {
        name: [bytes_per_session([factory], size) for size in sizes]
        for name, factory in OPERATORS.items()
    }
    for name, factory in OTHERS.items():
        table[name] = [bytes_per_session([factory], size) for size in sizes if size <= OTHERS_UP_TO]
    together = list(OPERATORS.values())
    table["the first four together"] = [bytes_per_session(together, size) for size in sizes]
    return table


def pending_deadlines(sessions: int) -> tuple[int, float]:
    """Threads that so many pending deadlines take, and bytes each, with the state of the session."""
    scheduler = DaemonScheduler()
    before = threading.active_count()
    hub = streams.EventHub(scheduler=scheduler)
    subscription = hub.pipe(ops.expire_after(600)).subscribe(lambda value: None)
    names = [f"ses_{number}" for number in range(sessions)]
    tracemalloc.start()
    for name in names:
        hub.on_next(streams.events.SessionIdle(name, 1.0))
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    threads = threading.active_count() - before
    subscription.dispose()
    return threads, used / sessions


def pending_timers(timers: int) -> tuple[int, float]:
    """The same for timers of the scheduler, one each, as reactivex's own operators take them."""
    scheduler = DaemonScheduler()
    before = threading.active_count()
    action = calling(lambda: None)
    tracemalloc.start()
    pending = [scheduler.schedule_relative(600.0, action) for _ in range(timers)]
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    threads = threading.active_count() - before
    for timer in pending:
        timer.dispose()
    return threads, used / timers
