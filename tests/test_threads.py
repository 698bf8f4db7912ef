"""Real threads: outputs never overlap, nobody waits for anybody, and virtual time needs none."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, ClassVar

import msgspec
import pytest
import reactivex as rx
from reactivex import operators as rxops
from reactivex.scheduler.eventloop import AsyncIOScheduler

import operators as ops
from streams import EventHub, recordings
from streams import events as ev
from streams.events import SessionEvent
from streams.schedulers import DaemonScheduler, daemon
from streams.testing import idle

TIMEOUT = 20.0


class Ticks(msgspec.Struct):
    """How many events came, and when to say so."""

    events: int = 0
    next: float | None = None


class TickLogic(ops.Logic[Ticks, str]):
    """Says each event, and again a moment later."""

    wants: ClassVar[tuple[type[SessionEvent], ...]] = (ev.SessionIdle,)

    def __init__(self, moment: float) -> None:
        self._moment = moment

    def start(self, session_id: str, now: float) -> Ticks:
        return Ticks()

    def on_event(self, state: Ticks, event: SessionEvent, now: float) -> Iterable[str]:
        state.events += 1
        state.next = now + self._moment
        return ("event",)

    def deadline(self, state: Ticks) -> float | None:
        return state.next

    def on_timer(self, state: Ticks, now: float) -> Iterable[str]:
        state.next = None
        return ("timer",)

    def on_end(self, state: Ticks, now: float) -> Iterable[str]:
        return ("end",)


class Strict:
    """An observer that holds its source to Rx's grammar."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.wrong: list[str] = []
        self.over = threading.Event()
        self._inside = threading.Lock()

    def _once(self, call: Callable[[], None]) -> None:
        if not self._inside.acquire(blocking=False):
            self.wrong.append("overlap")
            return
        if self.over.is_set():
            self.wrong.append("after the end")
        call()
        self._inside.release()

    def on_next(self, value: Any) -> None:
        self._once(lambda: self.values.append(value))

    def on_error(self, error: Exception) -> None:
        self.wrong.append(repr(error))

    def on_completed(self) -> None:
        self._once(self.over.set)


def test_outputs_never_overlap_whatever_threads_feed_and_fire() -> None:
    """X4: 4 producers, live timers, 10 000 events, completed in the middle of it."""
    hub = EventHub()
    single, merged, plain = Strict(), Strict(), Strict()
    one, other = (
        hub.pipe(ops.per_session(TickLogic(0.0005))),
        hub.pipe(ops.per_session(TickLogic(0.0003))),
    )
    one.subscribe(single)
    rx.merge(one, other, hub).subscribe(merged)
    hub.subscribe(plain)
    fed = threading.Barrier(5)

    def feed(thread: int) -> None:
        for number in range(2500):
            hub.on_next(idle(f"s{thread}-{number % 50}"))
        fed.wait(TIMEOUT)

    threads = [threading.Thread(target=feed, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    fed.wait(TIMEOUT)
    late = threading.Thread(target=lambda: [hub.on_next(idle("late")) for _ in range(1000)])
    late.start()
    hub.on_completed()
    for each in (single, merged, plain):
        assert each.over.wait(TIMEOUT)
    for thread in [*threads, late]:
        thread.join(TIMEOUT)

    assert [*single.wrong, *merged.wrong, *plain.wrong] == []
    assert 10_000 <= len(plain.values) <= 11_000
    assert single.values.count("event") == len(plain.values)
    assert "timer" in single.values
    assert single.values.count("end") == 200 + (len(plain.values) > 10_000)


# --- nobody waits for anybody ---------------------------------------------------------------------


def on_the_source_s_thread(
    make: Callable[[EventHub], rx.Observable[Any]], act: Callable[[Any], None]
) -> None:
    hub = EventHub()
    make(hub)
    hub.pipe(rxops.take(1)).subscribe(lambda _: act(hub))
    feeding = threading.Thread(target=hub.on_next, args=(idle("s"),))
    feeding.start()
    feeding.join(TIMEOUT)
    assert not feeding.is_alive()


def on_a_timer_s_thread(
    make: Callable[[EventHub], rx.Observable[Any]], act: Callable[[Any], None]
) -> None:
    hub, done = EventHub(), threading.Event()

    def note(value: Any) -> None:
        if value == "timer" and not done.is_set():
            assert threading.current_thread().name == "sessionstreams"
            act(hub)
            done.set()

    make(hub).subscribe(note)
    hub.on_next(idle("s"))
    assert done.wait(TIMEOUT)


def on_a_loop_s_thread(
    make: Callable[[EventHub], rx.Observable[Any]], act: Callable[[Any], None]
) -> None:
    async def main() -> None:
        done = asyncio.Event()
        hub = EventHub(scheduler=AsyncIOScheduler(asyncio.get_running_loop()))

        def note(value: Any) -> None:
            if value == "timer" and not done.is_set():
                act(hub)
                done.set()

        subscription = make(hub).subscribe(note)
        hub.on_next(idle("s"))
        await asyncio.wait_for(done.wait(), TIMEOUT)
        subscription.dispose()

    asyncio.run(main())


@pytest.mark.parametrize("thread", [on_the_source_s_thread, on_a_timer_s_thread, on_a_loop_s_thread])
def test_a_subscriber_may_do_anything_on_any_thread(thread: Any) -> None:
    """X7: no lock is held downstream: dispose, subscribe, feed, and wait for another thread that does."""
    seen: list[Any] = []
    subscriptions: list[Any] = []

    def make(hub: EventHub) -> rx.Observable[str]:
        derived = hub.pipe(ops.per_session(TickLogic(0.001)))
        subscriptions.extend([derived.subscribe(), hub.subscribe()])
        return derived

    def act(hub: EventHub) -> None:
        for each in subscriptions:
            each.dispose()
        hub.pipe(ops.per_session(TickLogic(1000.0))).subscribe(seen.append)
        hub.on_next(idle("t"))
        other = threading.Thread(
            target=lambda: (
                hub.on_next(idle("u")),
                hub.subscribe(seen.append).dispose(),
                daemon().pending,
            )
        )
        other.start()
        other.join(TIMEOUT)
        assert not other.is_alive()
        seen.append("acted")

    thread(make, act)

    assert seen[0] == "acted"
    assert "event" in seen


# --- one clock ------------------------------------------------------------------------------------


def test_virtual_time_needs_no_thread_and_no_clock(
    every_operator: Any, recording_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X8: every operator, on a recording: with threads and real clocks made to raise, twice the same."""

    def never(*arguments: object, **named: object) -> Any:
        raise AssertionError("virtual time has no business here")

    def run() -> dict[str, list[Any]]:
        hub = EventHub(recordings.replay(recording_of("subagents").path, speed=None))
        hub.errors.subscribe(lambda fault: faults.append(fault))
        seen: dict[str, list[Any]] = {}
        for name, operator in every_operator().items():
            hub.pipe(operator).subscribe(seen.setdefault(name, []).append)
        hub.connect()
        hub.scheduler.advance_by(100_000.0)
        assert hub.scheduler.pending == 0
        return seen

    class NoNow(datetime):
        now = never

    faults: list[Any] = []
    with monkeypatch.context() as patched:
        for where, what in (
            (threading.Thread, "start"),
            (time, "time"),
            (time, "monotonic"),
            (DaemonScheduler, "seconds"),
            (DaemonScheduler, "schedule_at"),
        ):
            patched.setattr(where, what, never)
        for name, module in list(sys.modules.items()):
            if name.startswith(("streams", "operators")) and hasattr(module, "datetime"):
                patched.setattr(module, "datetime", NoNow)
        first, second = run(), run()

    assert first == second
    assert faults == []
    assert sum(map(bool, first.values())) >= 3
