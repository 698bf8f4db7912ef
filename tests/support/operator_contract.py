"""What every operator keeps to, whatever it derives: one function per rule, for whoever wants to know.

Each takes what makes the operator, and raises ``AssertionError`` for one that breaks the rule.
"""

import asyncio
import gc
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from itertools import combinations
from typing import Any

import msgspec
import pytest
from every_operator import watch_cores
from reactivex import Subject, abc
from reactivex.scheduler.eventloop import AsyncIOScheduler
from session_script import SESSIONS, STRAGGLES_AT, Timed, dated, script, wrong_events
from strict_observer import TIMEOUT, Strict, threads

import operators as ops
from streams import EventHub
from streams.events import SessionEvent
from streams.schedulers import DaemonScheduler, Replay, Scaled, calling, daemon, seconds_of
from streams.testing import Timeline, deleted, heartbeat, text

Make = Callable[[], ops.Operator[Any]]
Rule = Callable[[Make], None]

LONG = 100_000.0
"""Virtual seconds that no default duration is longer than."""

SPEED = 300_000.0
"""Virtual seconds per second, where time runs."""

HOPS = 5000

TURNS = 4
"""How often each of several threads plays the script."""

RULES: dict[str, Rule] = {}
"""Every rule by its name."""


def rule(function: Rule) -> Rule:
    RULES[function.__name__] = function
    return function


# --- playing --------------------------------------------------------------------------------------


def nothing(hub: EventHub) -> None:
    """The stream goes on for ever."""


def complete(hub: EventHub) -> None:
    hub.on_completed()


def fail(hub: EventHub) -> None:
    hub.on_error(RuntimeError("broken"))


def played(
    operator: ops.Operator[Any],
    events: Iterable[Timed],
    end: Callable[[EventHub], None] = nothing,
    *,
    until: float = 0.0,
) -> Strict:
    """What an operator does with events in virtual time, and that it left nothing behind after the end."""
    line = Timeline()
    seen = Strict().follow(line.hub.pipe(operator), line.scheduler)
    line.play(*events)
    line.advance_to(until)
    end(line.hub)
    if end is not nothing:
        assert line.scheduler.pending == 0, "a timer outlives the stream"
        assert line.hub._attached == (), "a subscriber outlives the stream"
        line.hub.on_next(heartbeat())
        line.advance_to(LONG)
    assert line.faults == []
    assert seen.wrong == []
    return seen


@contextmanager
def noted_cores() -> Iterator[list[Any]]:
    """The folds of the subscriptions made inside."""
    cores: list[Any] = []
    stop = watch_cores(cores.append)
    try:
        yield cores
    finally:
        stop()


# --- grammar, and what is pending at the end ------------------------------------------------------


@rule
def speaks(make: Make) -> None:
    """What says nothing proves nothing: the operator emits while the script plays."""
    assert played(make(), script(), until=LONG).values, (
        "the script does not make it emit: extend the script"
    )


@rule
def ends_once_after_what_was_pending(make: Make) -> None:
    """T4: completion and error flush the same values, then end once; no timer and no value after."""
    operator, timed = make(), script()
    for place in range(0, len(timed), 9):
        completed, failed = (played(operator, timed[:place], end) for end in (complete, fail))
        assert (completed.end, failed.end) == ("completed", "error broken")
        assert completed.values == failed.values
        unended = played(operator, timed[:place]).values
        assert completed.values[: len(unended)] == unended


@rule
def stays_over(make: Make) -> None:
    """X12: whoever subscribes after the end is told of it at once, and of nothing else."""
    for end, how in ((complete, "completed"), (fail, "error broken")):
        line = Timeline()
        end(line.hub)
        late = Strict().follow(line.hub.pipe(make()), line.scheduler)
        line.play(*script())
        assert (late.values, late.end, late.wrong) == ([], how, [])
        assert line.scheduler.pending == 0


# --- dispose --------------------------------------------------------------------------------------


@rule
def dispose_is_total(make: Make) -> None:
    """E6, R2: anywhere in the script: no timer, no subscriber, no value any more; all of it is freed."""
    timed = script()
    gone: list[weakref.ref[Any]] = []
    for place in range(0, len(timed), 5):
        line = Timeline()
        with noted_cores() as cores:
            seen = Strict().follow(line.hub.pipe(make()), line.scheduler)
        line.play(*timed[:place])
        seen.dispose()
        seen.dispose()
        assert line.scheduler.pending == 0, "a timer outlives dispose"
        assert line.hub._attached == (), "a subscriber outlives dispose"
        line.play(*timed[place:])
        line.advance_to(LONG)
        assert seen.wrong == []
        gone += map(weakref.ref, [*cores, seen])
    del cores, seen, line
    gc.collect()
    assert [each() for each in gone if each() is not None] == [], "kept alive after dispose"


def timers_are_over() -> None:
    """The daemon's thread is there, and through with what was due."""
    through = threading.Event()
    daemon().schedule(calling(through.set))
    assert through.wait(TIMEOUT)


@rule
def needs_no_thread_of_its_own(make: Make) -> None:
    """X1, E6: on the real clock there is the daemon's thread and no other; disposed, no timer is left."""
    timers_are_over()
    before, timers = set(threading.enumerate()), daemon().pending
    hub = EventHub()
    seen = Strict().follow(hub.pipe(make()))
    now = daemon().seconds()
    for _, event in script():
        hub.on_next(dated(event, now))
    assert set(threading.enumerate()) <= before
    assert daemon().pending <= timers + 2, "a timer per session"
    seen.dispose()
    assert daemon().pending <= timers, "a timer outlives dispose"
    assert hub._attached == ()


Play = Callable[[abc.SchedulerBase], threading.Event]
"""Schedules the script on a clock; the event is set when it is over."""


def on_the_source_s_thread(play: Play) -> None:
    """Events come, and virtual time is advanced, on a thread of their own."""
    clock = Replay()
    over = play(clock)
    with threads(partial(clock.advance_to, LONG)):
        assert over.wait(TIMEOUT)


def on_a_timer_s_thread(play: Play) -> None:
    """Events come where timers fire, on the daemon's thread."""
    assert play(Scaled(daemon(), speed=SPEED)).wait(TIMEOUT)


def on_a_loop_s_thread(play: Play) -> None:
    """Events and timers come on the loop's thread."""

    async def main() -> None:
        over = play(Scaled(AsyncIOScheduler(asyncio.get_running_loop()), speed=SPEED))
        assert await asyncio.to_thread(over.wait, TIMEOUT)

    asyncio.run(main())


def on_next_may_do_anything(
    make: Make, on_thread: Callable[[Play], None], patience: float = TIMEOUT
) -> None:
    """X7: dispose, feed and subscribe from inside the first value, and wait for another thread that does."""
    for leaves_itself in (True, False):
        leave_inside(make, on_thread, patience, leaves_itself=leaves_itself)


def leave_inside(
    make: Make, on_thread: Callable[[Play], None], patience: float, *, leaves_itself: bool
) -> None:
    """Who disposes first is the subscriber itself, or another thread that it waits for."""
    hubs: list[EventHub] = []
    finished: list[bool] = []

    def act(value: Any) -> None:
        if leaves_itself:
            seen.dispose()
            use(hubs[0])
        another = threading.Thread(target=lambda: (seen.dispose(), use(hubs[0])), daemon=True)
        another.start()
        another.join(patience)
        finished.append(not another.is_alive())

    def use(hub: EventHub) -> None:
        hub.on_next(heartbeat())
        hub.pipe(make()).subscribe(lambda value: None).dispose()

    seen = Strict(act)

    def play(clock: abc.SchedulerBase) -> threading.Event:
        hub, over = EventHub(scheduler=clock), threading.Event()
        hubs.append(hub)
        seen.follow(hub.pipe(make()), clock)
        start = seconds_of(clock)()
        for at, event in script():
            clock.schedule_relative(at, calling(partial(hub.on_next, dated(event, start + at))))
        clock.schedule_relative(script()[-1][0] + 1.0, calling(lambda: (hub.on_completed(), over.set())))
        return over

    on_thread(play)
    assert finished == [True], "a lock is held downstream"
    assert len(seen.values) == 1
    assert (seen.wrong, seen.end) == ([], None)


@rule
def may_be_left_on_the_source_s_thread(make: Make) -> None:
    """X7: see ``on_next_may_do_anything``."""
    on_next_may_do_anything(make, on_the_source_s_thread)


@rule
def may_be_left_on_a_timer_s_thread(make: Make) -> None:
    """X7: see ``on_next_may_do_anything``."""
    on_next_may_do_anything(make, on_a_timer_s_thread)


@rule
def may_be_left_on_a_loop_s_thread(make: Make) -> None:
    """X7: see ``on_next_may_do_anything``."""
    on_next_may_do_anything(make, on_a_loop_s_thread)


# --- threads --------------------------------------------------------------------------------------


@contextmanager
def impatient_threads() -> Iterator[None]:
    """Threads take turns a hundred times as often, so that what may overlap does."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(interval / 100)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def let_others(value: object) -> None:
    """Let another thread run, from inside ``on_next``."""
    getattr(os, "sched_yield", lambda: None)()


@rule
def never_overlaps(make: Make) -> None:
    """X4: 4 producers and live timers; completed while all of that goes on."""
    timers = daemon().pending
    clock = Scaled(daemon(), speed=1_000_000.0)
    hub = EventHub(scheduler=clock)
    seen = Strict(let_others).follow(hub.pipe(make()))

    def feed(thread: int) -> None:
        for turn in range(TURNS):
            for _, event in script(f"{thread}.{turn}."):
                hub.on_next(dated(event, clock.seconds()))
            if thread == 0 and turn == TURNS // 2:
                patience_is_over = threading.Event()  # its sessions fall silent, and timers tell of it
                clock.schedule_relative(20_000.0, calling(patience_is_over.set))
                assert patience_is_over.wait(TIMEOUT)
                hub.on_completed()

    with impatient_threads(), threads(*(partial(feed, number) for number in range(4))):
        assert seen.over.wait(TIMEOUT)
    assert daemon().pending <= timers, "a timer outlives the stream"
    timers_are_over()  # the one that is not pending any more may be running
    assert seen.wrong == []
    assert seen.end == "completed"
    assert seen.values


@rule
def loses_nothing_between_threads(make: Make) -> None:
    """X5: what 4 threads say of 4 families at once comes out as if each had spoken alone: no more, no less."""
    families = [f"{number}." for number in range(4)]
    events = {family: [dated(event, 0.0) for _, event in script(family)] for family in families}

    def run(*families: str) -> list[Any]:
        clock = Replay()
        hub = EventHub(scheduler=clock)
        seen = Strict(let_others).follow(hub.pipe(make()), clock)

        def feed(family: str) -> None:
            for event in events[family]:
                hub.on_next(event)

        with impatient_threads(), threads(*(partial(feed, family) for family in families)):
            pass
        hub.on_completed()
        assert (seen.wrong, seen.end) == ([], "completed")
        return seen.values

    together = run(*families)
    for family in families:
        mine, alone = (
            [value for value in values if value.session_id.startswith(family)]
            for values in (together, run(family))
        )
        assert mine == alone


# --- re-entrancy ----------------------------------------------------------------------------------


@rule
def takes_feedback_flat(make: Make) -> None:
    """X6: 5000 hops, each event published from inside the one before or from inside an output."""
    copies = range(HOPS // len(script()) + 1)
    events = [dated(event, 0.0) for copy in copies for _, event in script(f"{copy}.")][:HOPS]
    flat = fed(make(), events, feed_back=False)
    nested = fed(make(), events, feed_back=True)
    assert nested.values == flat.values
    assert nested.wrong == []
    assert nested.end == "completed"


def fed(operator: ops.Operator[Any], events: list[SessionEvent], *, feed_back: bool) -> Strict:
    """All events at one instant: one after the other, or each from inside what its predecessor caused."""
    clock, source = Replay(), Subject[SessionEvent]()
    left = deque(events)

    def feed(value: object = None) -> None:
        if left:
            source.on_next(left.popleft())

    seen = Strict(feed if feed_back else None).follow(source.pipe(operator), clock)
    while left:
        feed()
    source.on_completed()
    return seen


# --- subscriptions of their own -------------------------------------------------------------------


def subscriptions_share_nothing(make: Make, *, shared: bool = False) -> None:
    """X12: two subscriptions to one pipeline say the same; one that comes late, or leaves, changes nothing."""
    timed = script()
    alone = played(make(), timed, complete).values
    for place in range(0, len(timed), 13):
        line = Timeline()
        pipeline = line.hub.pipe(make())
        first, twin, leaver = (Strict().follow(pipeline, line.scheduler) for _ in range(3))
        line.play(*timed[:place])
        leaver.dispose()
        late = Strict().follow(pipeline, line.scheduler)
        line.play(*timed[place:])
        line.hub.on_completed()
        assert first.values == twin.values == alone
        assert [*first.wrong, *twin.wrong, *leaver.wrong, *late.wrong] == []
        if not shared:
            assert late.values == played(make(), timed[place:], complete).values


@rule
def starts_afresh(make: Make) -> None:
    """X12: an operator is a recipe: applied again, or subscribed again, it has forgotten everything."""
    operator = make()
    first = played(operator, script(), complete)
    assert played(operator, script(), complete).values == first.values
    line = Timeline()
    pipeline = line.hub.pipe(operator)
    Strict().follow(pipeline, line.scheduler).dispose()
    again = Strict().follow(pipeline, line.scheduler)
    line.play(*script())
    line.hub.on_completed()
    assert again.values == first.values


@rule
def runs_have_no_state_in_common(make: Make) -> None:
    """X12: the states of two subscriptions are objects of their own, each and every part of them."""
    line, operator = Timeline(), make()
    with noted_cores() as cores:
        kept = [Strict().follow(line.hub.pipe(operator), line.scheduler) for _ in range(2)]
    assert len(cores) == len(kept)
    for event in script():
        line.play(event)
        for one, other in combinations(cores, 2):
            assert not mutable_parts(one.states) & mutable_parts(other.states)


def mutable_parts(value: Any) -> set[int]:
    """The identities of everything inside that was changed: what is empty may be everybody's."""
    if isinstance(value, msgspec.Struct):
        inside = [getattr(value, field) for field in value.__struct_fields__]
        own = set() if value.__struct_config__.frozen else {id(value)}
    elif isinstance(value, dict):
        inside, own = [*value.values()], {id(value)}
    elif isinstance(value, list | set | deque):
        inside, own = [*value], {id(value)}
    else:
        inside, own = [*value] if isinstance(value, tuple) else [], set()
    return own.union(*map(mutable_parts, inside)) if inside else set()


# --- one bad thing harms itself -------------------------------------------------------------------


@rule
def a_bad_session_harms_no_other(make: Make) -> None:
    """S12: wrong types in every field of every event of one session: faults of that one, if any."""
    good, bad = script(), deque(wrong_events("bad"))
    each_time = len(bad) // len(good) + 1
    line = Timeline()
    seen = Strict().follow(line.hub.pipe(make()), line.scheduler)
    for at, event in good:
        line.play((at, event))
        for _ in range(min(each_time, len(bad))):
            line.play((at, bad.popleft()))
    line.hub.on_completed()
    assert not bad
    assert (seen.wrong, seen.end) == ([], "completed")
    assert of_the_script(seen.values) == of_the_script(played(make(), good, complete).values)
    assert {fault.session_id for fault in line.faults} <= {"bad"}


def of_the_script(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if value.session_id in list(SESSIONS)]


@rule
def a_raising_subscriber_harms_no_other(make: Make) -> None:
    """S12: each of its exceptions is one fault; siblings, other operators and the producer notice nothing."""
    line = Timeline()
    pipeline = line.hub.pipe(make())

    def raising(value: Any) -> None:
        raise LookupError("mine")

    before = Strict().follow(pipeline, line.scheduler)
    bad = Strict(raising).follow(pipeline, line.scheduler)
    after = Strict().follow(pipeline, line.scheduler)
    line.play(*script())
    line.hub.on_completed()
    alone = played(make(), script(), complete)
    assert before.values == after.values == bad.values == alone.values
    assert before.end == after.end == bad.end == "completed"
    assert [type(fault.error) for fault in line.faults] == [LookupError] * len(bad.values)


# --- virtual time ---------------------------------------------------------------------------------


@rule
def virtual_time_is_all_it_needs(make: Make) -> None:
    """X8: with a virtual scheduler, a thread, a clock or a sleep is an error; twice gives twice the same."""
    with no_real_time():
        first, again = (played(make(), script(), complete) for _ in range(2))
    assert first.values == again.values
    assert first.end == again.end == "completed"


@contextmanager
def no_real_time() -> Iterator[None]:
    """Threads cannot be started, and clocks not read."""

    def never(*arguments: object, **named: object) -> Any:
        raise AssertionError("virtual time has no business here")

    class NoNow(datetime):
        now = utcnow = never

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(threading.Thread, "start", never)
        for clock in ("time", "monotonic", "perf_counter", "time_ns", "monotonic_ns", "sleep"):
            patched.setattr(time, clock, never)
        for method in ("seconds", "schedule_at"):
            patched.setattr(DaemonScheduler, method, never)
        for name, module in list(sys.modules.items()):
            if name.startswith(("streams", "operators")) and hasattr(module, "datetime"):
                patched.setattr(module, "datetime", NoNow)
        yield


# --- what is kept ---------------------------------------------------------------------------------


@rule
def what_is_deleted_is_forgotten(make: Make) -> None:
    """E3, E5, R5: after all sessions were deleted, and their stragglers, nothing and no timer is left."""
    line = Timeline()
    with noted_cores() as cores:
        seen = Strict().follow(line.hub.pipe(make()), line.scheduler)
    line.play(*script())
    for session_id in SESSIONS:
        line.play((10_010, deleted(session_id)))
    line.play(*((10_011, text(session_id, "m", "p", "late")) for session_id in SESSIONS))
    line.advance_to(LONG)
    line.play((LONG, deleted("z")))  # some look at what is buried when the next one is
    line.advance_to(2 * LONG)
    assert seen.wrong == []
    assert line.scheduler.pending == 0
    for core in cores:
        assert core.states == {}
        assert len(core.deadlines) == 0
        assert left_in(core) == {}


def left_in(part: Any) -> dict[str, Any]:
    """Whatever collection in a fold knows one of the script's sessions, by attribute."""
    left: dict[str, Any] = {}
    for attribute, value in vars(part).items():
        if isinstance(value, dict | list | set | deque) and any(each in value for each in SESSIONS):
            left[attribute] = value
        elif type(value).__module__.startswith("operators.") and hasattr(value, "__dict__"):
            left |= left_in(value)
    return left


# --- rules that need to know more of the operator -------------------------------------------------


def counts_every_event(make: Make) -> None:
    """T4, X5: of an operator that counts: all are told of, by a timer, a deletion or the end."""
    timed = script()
    for end in (complete, fail):
        for place in range(0, len(timed), 3):
            told = played(make(), timed[:place], end).values
            heard = [at for at, event in timed[:place] if event.session_id and at != STRAGGLES_AT]
            assert sum(count.events for count in told) == len(heard)


def keeps_its_word_at_the_end(make: Make, docstring: str) -> None:
    """T4: the end adds values if, and only if, the docstring says that something is pending then."""
    _, said, rest = docstring.partition("On completion and error:")
    assert said, "the docstring does not say what comes on completion and error"
    promise = rest.partition("\n\n")[0]
    silent = any(words in promise for words in ("nothing is pending", "nothing is added", "says nothing"))
    timed = script()
    added = 0
    for place in (*range(0, len(timed), 4), len(timed)):
        ended, unended = played(make(), timed[:place], complete), played(make(), timed[:place])
        added += len(ended.values) - len(unended.values)
    assert (added == 0) is silent, f"{added} values are added at the end; documented: {promise.strip()}"


def plays_a_recording(make: Make, timed: list[Timed]) -> None:
    """X4, T4: a real server's events, ended by completion and by error: one end, equal values."""
    completed, failed = (played(make(), timed, end) for end in (complete, fail))
    assert completed.values == failed.values
    assert (completed.end, failed.end) == ("completed", "error broken")
