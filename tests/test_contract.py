"""What every operator keeps to, whatever it derives: the contract, once, over all that is exported.

An operator is covered from the moment it stands in ``operators.__all__``. The script below is made of
every builder of ``streams.testing``, so nearly everything that a session can do happens in it.
"""

import asyncio
import gc
import inspect
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, ClassVar, get_args, get_type_hints

import msgspec
import pytest
from reactivex import Observable, abc
from reactivex.scheduler.eventloop import AsyncIOScheduler

import operators as ops
from operators import lift
from streams import ContextLimits, EventHub, recordings, testing
from streams import events as ev
from streams.events import SessionEvent
from streams.faults import Fault
from streams.schedulers import DaemonScheduler, Replay, Scaled, calling
from streams.testing import (
    Timeline,
    assistant,
    busy,
    compacted,
    created,
    deleted,
    delta,
    error,
    heartbeat,
    idle,
    permission,
    permission_reply,
    question,
    question_reply,
    removed,
    retry,
    text,
    todos,
    tool,
    tool_after,
    tool_before,
    updated,
    user,
)

TIMEOUT = 30.0
"""Seconds after which a thread counts as hung. Nothing waits this long unless something is broken."""

LONG = 100_000.0
"""Virtual seconds that no default duration is longer than."""

Timed = tuple[float, SessionEvent]


# --- every operator -------------------------------------------------------------------------------


class Counted(msgspec.Struct):
    """How many events are not yet told of, and since when."""

    session_id: str
    events: int = 0
    due: float | None = None


class Count(msgspec.Struct, frozen=True):
    """So many events of a session."""

    session_id: str
    events: int
    why: str


class CountLogic(ops.Logic[Counted, Count]):
    """The kernel's own part in the contract: something is always pending for 10 s, nothing may be lost."""

    wants: ClassVar[tuple[type[SessionEvent], ...]] = (SessionEvent,)

    def start(self, session_id: str, now: float) -> Counted:
        return Counted(session_id)

    def on_event(self, state: Counted, event: SessionEvent, now: float) -> Iterable[Count]:
        if event.session_id:
            state.events += 1
            state.due = state.due or now + 10.0
        return ()

    def deadline(self, state: Counted) -> float | None:
        return state.due

    def on_timer(self, state: Counted, now: float) -> Iterable[Count]:
        return self._tell(state, "timer")

    def on_end(self, state: Counted, now: float) -> Iterable[Count]:
        return self._tell(state, "end") if state.events else ()

    def _tell(self, state: Counted, why: str) -> Iterable[Count]:
        counted = Count(state.session_id, state.events, why)
        state.events, state.due = 0, None
        return (counted,)


ARGUMENTS: dict[str, Callable[[], Any]] = {
    "limits": lambda: ContextLimits({"anthropic/x": 200_000, "acme/kestrel-tight": 32_000}),
    "action": lambda: lambda trigger: True,
    "logic": CountLogic,
}
"""What a parameter without a default is given, by its name."""

SHARED = {"compact": "its subscribers share one run, so that nothing is compacted twice"}
"""Whose subscriptions are not independent of each other, and why."""

PASSES_EVENTS_ON = {"expire_after"}
"""Whose values are the events themselves: what is bad in them comes out as it went in."""


def makes_operator(function: Callable[..., Any]) -> bool:
    """Whether what it returns takes the event stream."""
    parameters = get_args(get_type_hints(function).get("return"))[:1]
    return parameters == ([Observable[SessionEvent]],)


PUBLIC = {
    name: function
    for name in ops.__all__
    if inspect.isfunction(function := getattr(ops, name)) and makes_operator(function)
}
"""Every operator by name."""

each_operator = pytest.mark.parametrize("name", PUBLIC)


def make(name: str) -> ops.Operator[Any]:
    """The operator with its defaults, and with what ``ARGUMENTS`` has for those that have none."""
    needed = [
        each.name
        for each in inspect.signature(PUBLIC[name]).parameters.values()
        if each.default is each.empty and each.kind is not each.VAR_KEYWORD
    ]
    for parameter in needed:
        assert parameter in ARGUMENTS, f"say in ARGUMENTS what {name}({parameter}=…) is to be given"
    return PUBLIC[name](**{parameter: ARGUMENTS[parameter]() for parameter in needed})


# --- a script -------------------------------------------------------------------------------------


def script(prefix: str = "") -> list[Timed]:
    """Three sessions, a parent, its child and a stranger, do in 3 hours whatever a session may do."""
    a, b, c = (prefix + each for each in "abc")
    looping = [
        (60 + n, tool(a, f"loop{n}", "bash", status, input={"command": "ls"}, output="same"))
        for n in range(25)
        for status in ("running", "completed")
    ]
    return [
        (0, heartbeat()),
        (1, created(a, title="parent")),
        (2, busy(a)),
        (2, user(a, "u1")),
        (3, text(a, "u1", "p0", "do it")),
        (4, assistant(a, "m1", finish="")),
        (4, text(a, "m1", "p1", "")),
        (5, delta(a, "m1", "p1", "I shall")),
        (5, delta(a, "m1", "p1", " do it")),
        (6, created(b, a, title="child")),
        (6, tool(a, "call1", "task", "pending")),
        (7, tool(a, "call1", "task", "running", input={"prompt": "p"}, metadata={"sessionId": b})),
        (7, busy(b)),
        (8, user(b, "u2")),
        (9, todos(b, "in_progress", "pending")),
        (10, tool_before(b, "bash", "call2", {"command": "make"})),
        (10, tool(b, "call2", "bash", "running", input={"command": "make"})),
        (11, permission(b, "per1", "call2")),
        (12, text(c, "m9", "p9", "heard of late")),
        (13, assistant(c, "m9", input=150_000, cache_read=20_000)),
        (20, permission_reply(b, "per1")),
        (21, tool_after(b, "bash", "call2", "made")),
        (21, tool(b, "call2", "bash", "completed", input={"command": "make"}, output="made")),
        (22, assistant(b, "m2", input=120_000, output=900)),
        (23, todos(b, "completed", "pending")),
        (24, idle(b)),
        (24, tool(a, "call1", "task", "completed", input={"prompt": "p"}, output="done")),
        (25, question(a, "que1")),
        (30, question_reply(a, "que1")),
        (31, retry(a, 1, next=40.0)),
        (40, assistant(a, "m1", input=100_000, output=2000, reasoning=300, cache_write=60_000)),
        *looping,
        (90, assistant(a, "m3", input=185_000, output=100)),
        (91, todos(a, "pending", "pending")),
        (92, compacted(a)),
        (93, assistant(a, "m4", input=185_000, summary=True, agent="compaction")),
        (95, text(a, "m4", "p4", "a summary", synthetic=True)),
        (96, assistant(a, "m5", input=9000, cache_read=14_000)),
        (97, removed(a, "m5")),
        (98, updated(a, revert="m3", model="anthropic/x", title="another")),
        (99, idle(a)),
        (110, error(c, "ProviderAuthError", "no")),
        (111, tool(c, "call9", "bash", "running", input={})),
        (112, tool(c, "call9", "bash", "error", error="no")),
        (4000, busy(a)),
        (4001, tool(a, "call10", "bash", "running", input={"command": "sleep"})),
        (10_000, text(a, "m6", "p6", "alive")),
        (10_000, deleted(b)),
        (10_001, text(b, "m2", "p2", "a straggler")),
        (10_002, busy(c)),
        (10_002, assistant(c, "m10", input=190_000)),
        (10_003, todos(c, "pending")),
        (10_003, text(c, "m10", "p10", "pending at the end")),
    ]


def test_the_script_has_every_builder_in_it() -> None:
    """A new builder of ``streams.testing`` comes into the script, and so before every operator."""
    kinds = {type(event) for _, event in script()}
    for name in testing.__all__:
        builder = getattr(testing, name)
        kind = get_type_hints(builder).get("return") if inspect.isfunction(builder) else None
        if inspect.isclass(kind) and issubclass(kind, SessionEvent):
            assert kind in kinds, f"the script has no {name}(…)"


@each_operator
def test_the_script_makes_every_operator_speak(name: str) -> None:
    """What says nothing proves nothing: each operator emits while the script plays."""
    assert played(make(name), script()).values


# --- an observer that believes nothing ------------------------------------------------------------


class Strict(abc.ObserverBase[Any]):
    """Holds what it is subscribed to to Rx's grammar; subscribed raw, so that nothing is hidden from it."""

    def __init__(self, then: Callable[[Any], None] | None = None) -> None:
        self.values: list[Any] = []
        self.wrong: list[str] = []
        self.end: str | None = None
        self.over = threading.Event()
        self.closed = False
        self.disposable: abc.DisposableBase | None = None
        self._then = then
        self._inside = threading.Lock()

    def follow(
        self, observable: Observable[Any], scheduler: abc.SchedulerBase | None = None
    ) -> "Strict":
        """Subscribe without the observer that reactivex puts between, which would swallow what is wrong."""
        self.disposable = observable._subscribe_core(self, scheduler)
        return self

    def dispose(self) -> None:
        if self.disposable is not None:
            self.disposable.dispose()
        self.closed = True

    def on_next(self, value: Any) -> None:
        with self._alone(f"on_next({value!r})"):
            self.values.append(value)
            if self._then is not None:
                self._then(value)

    def on_error(self, error: Exception) -> None:
        with self._alone("on_error"):
            self._finish(f"error {error}")

    def on_completed(self) -> None:
        with self._alone("on_completed"):
            self._finish("completed")

    def _finish(self, how: str) -> None:
        self.end = how
        self.over.set()

    def _alone(self, what: str) -> Any:
        if self.closed:
            self.wrong.append(f"{what} after dispose")
        if self.end is not None:
            self.wrong.append(f"{what} after the end")
        return _Alone(self._inside, lambda: self.wrong.append(f"{what} overlaps"))


class _Alone:
    """Notes whoever comes in while another is inside."""

    def __init__(self, inside: threading.Lock, complain: Callable[[], None]) -> None:
        self._inside = inside
        self._complain = complain

    def __enter__(self) -> None:
        self._entered = self._inside.acquire(blocking=False)
        if not self._entered:
            self._complain()

    def __exit__(self, *raised: object) -> None:
        if self._entered:
            self._inside.release()


def complete(hub: EventHub) -> None:
    hub.on_completed()


def fail(hub: EventHub) -> None:
    hub.on_error(RuntimeError("broken"))


def nothing(hub: EventHub) -> None:
    """The stream goes on for ever."""


def played(
    operator: ops.Operator[Any],
    events: Iterable[Timed],
    end: Callable[[EventHub], None] = nothing,
    *,
    until: float = LONG,
) -> Strict:
    """What an operator does with events in virtual time, and that it left nothing behind after the end."""
    line = Timeline()
    seen = Strict().follow(line.hub.pipe(operator), line.scheduler)
    line.play(*events)
    end(line.hub)
    if end is not nothing:
        assert line.scheduler.pending == 0, "a timer outlives the stream"
    line.advance_to(until)
    assert line.faults == []
    assert seen.wrong == []
    return seen


def recorded_script(recorded: Any) -> list[Timed]:
    """A recording as a script. Its times are made monotonic, as a clock's are."""
    events: list[SessionEvent] = recorded.events()
    return [(event.at - events[0].at, event) for event in events]


RECORDED = ["subagents", "compaction", "lifecycle"]


# --- grammar, and what is pending at the end ------------------------------------------------------


@each_operator
def test_the_end_comes_once_and_what_was_pending_before_it(name: str) -> None:
    """T4: completion and error both flush, the same values, then end once; no timer, no value after."""
    operator = make(name)
    timed = script()
    for place in range(0, len(timed), 7):
        completed = played(operator, timed[:place], complete)
        failed = played(operator, timed[:place], fail)
        assert (completed.end, failed.end) == ("completed", "error broken")
        assert completed.values == failed.values
        unended = played(operator, timed[:place], until=0.0).values
        assert completed.values[: len(unended)] == unended


def test_the_kernel_loses_nothing_at_the_end() -> None:
    """T4, X5: the counts of all events come out, whether told by a timer, a deletion or the end."""
    timed = script()
    for end in (complete, fail):
        for place in range(len(timed)):
            told = played(make("per_session"), timed[:place], end).values
            heard = [event for _, event in timed[:place] if event.session_id]
            stragglers = [event for at, event in timed[:place] if at == 10_001]
            assert sum(count.events for count in told) == len(heard) - len(stragglers)


@each_operator
@pytest.mark.parametrize("recording", RECORDED)
def test_a_recording_keeps_the_grammar(name: str, recording: str, recording_of: Any) -> None:
    """X4, T4: a real server's events, ended by completion and by error: one end, equal values."""
    timed = recorded_script(recording_of(recording))
    completed, failed = played(make(name), timed, complete), played(make(name), timed, fail)
    assert completed.values == failed.values
    assert (completed.end, failed.end) == ("completed", "error broken")


@each_operator
def test_a_stream_that_is_over_stays_over(name: str) -> None:
    """Whoever subscribes after the end is told of it at once, and of nothing else."""
    for end, how in ((complete, "completed"), (fail, "error broken")):
        line = Timeline()
        end(line.hub)
        late = Strict().follow(line.hub.pipe(make(name)), line.scheduler)
        line.play(*script())
        assert (late.values, late.end, late.wrong) == ([], how, [])
        assert line.scheduler.pending == 0


# --- dispose --------------------------------------------------------------------------------------


@each_operator
def test_dispose_is_total(name: str) -> None:
    """E6, R2: wherever in the script: no timer, no attachment, no value any more, and all of it is freed."""
    timed = script()
    for place in range(0, len(timed), 5):
        line = Timeline()
        cores: list[Any] = []
        with noted_cores(cores):
            seen = Strict().follow(line.hub.pipe(make(name)), line.scheduler)
        line.play(*timed[:place])
        seen.dispose()
        seen.dispose()
        assert line.scheduler.pending == 0
        assert line.hub._attached == ()
        line.play(*timed[place:])
        line.advance_to(LONG)
        assert seen.wrong == []
        run, seen = weakref.ref(cores.pop()), weakref.ref(seen)
        gc.collect()
        assert (run(), seen()) == (None, None)


class noted_cores:
    """Puts the fold of every subscription made inside into a list."""

    def __init__(self, cores: list[Any]) -> None:
        self._cores = cores
        self._original = lift._Run.start

    def __enter__(self) -> None:
        original, cores = self._original, self._cores

        def start(run: Any, *arguments: Any) -> Any:
            cores.append(run._core)
            return original(run, *arguments)

        lift._Run.start = start

    def __exit__(self, *raised: object) -> None:
        lift._Run.start = self._original


def on_the_source_s_thread(go: Callable[[abc.SchedulerBase, Callable[[], None]], None]) -> None:
    """Events come on a thread of their own; time is virtual."""
    feeding: list[threading.Thread] = []

    def start(feed: Callable[[], None]) -> None:
        feeding.append(threading.Thread(target=feed, daemon=True))
        feeding[0].start()

    go(Replay(), start)
    feeding[0].join(TIMEOUT)
    assert not feeding[0].is_alive()


def on_a_timer_s_thread(go: Callable[[abc.SchedulerBase, Callable[[], None]], None]) -> None:
    """Events come where timers fire, on the daemon's thread."""
    clock, fed = DaemonScheduler(), threading.Event()

    def start(feed: Callable[[], None]) -> None:
        clock.schedule(calling(lambda: (feed(), fed.set())))

    go(clock, start)
    assert fed.wait(TIMEOUT)


def on_a_loop_s_thread(go: Callable[[abc.SchedulerBase, Callable[[], None]], None]) -> None:
    """Events come on the loop's thread; timers are the loop's."""

    async def main() -> None:
        loop, fed = asyncio.get_running_loop(), asyncio.Event()
        go(AsyncIOScheduler(loop), lambda feed: loop.call_soon(lambda: (feed(), fed.set())))
        await asyncio.wait_for(fed.wait(), TIMEOUT)

    asyncio.run(main())


@each_operator
@pytest.mark.parametrize("thread", [on_the_source_s_thread, on_a_timer_s_thread, on_a_loop_s_thread])
def test_on_next_may_dispose_and_call_back(name: str, thread: Any) -> None:
    """X7: from inside the first on_next, on any thread: no lock is held, and nothing comes after."""
    hubs: list[EventHub] = []
    finished: list[bool] = []

    def act(value: Any) -> None:
        hub = hubs[0]
        seen.dispose()

        def other() -> None:
            seen.dispose()
            hub.on_next(heartbeat())
            hub.pipe(make(name)).subscribe(lambda value: None).dispose()

        thread = threading.Thread(target=other, daemon=True)
        thread.start()
        thread.join(TIMEOUT)
        finished.append(not thread.is_alive())

    seen = Strict(act)

    def go(clock: abc.SchedulerBase, start: Callable[[Callable[[], None]], None]) -> None:
        hub = EventHub(scheduler=clock)
        hubs.append(hub)
        seen.follow(hub.pipe(make(name)), clock)

        def feed() -> None:
            for at, event in script():
                hub.on_next(msgspec.structs.replace(event, at=at))
            hub.on_completed()

        start(feed)

    thread(go)
    assert finished == [True]
    assert len(seen.values) == 1
    assert seen.wrong == []
    assert seen.end is None


# --- threads --------------------------------------------------------------------------------------


@pytest.fixture
def impatient_threads() -> Iterator[None]:
    """Threads take turns a hundred times as often, so that what may overlap does."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(interval / 100)
    yield
    sys.setswitchinterval(interval)


@each_operator
@pytest.mark.usefixtures("impatient_threads")
def test_outputs_never_overlap_whatever_threads_feed_and_fire(name: str) -> None:
    """X4: 4 producers and live timers, an hour in a third of a second, ended in the middle of it."""
    clock = Scaled(DaemonScheduler(), speed=12_000.0)
    hub = EventHub(scheduler=clock)
    seen = Strict().follow(hub.pipe(make(name)))
    hour = threading.Event()
    clock.schedule_relative(3600.0, calling(hour.set))
    stopped = threading.Event()

    def feed(thread: int) -> None:
        turn = 0
        while not stopped.is_set():
            for _, event in script(f"{thread}.{turn % 8}."):
                hub.on_next(msgspec.structs.replace(event, at=clock.seconds()))
            turn += 1

    threads = [threading.Thread(target=feed, args=(number,), daemon=True) for number in range(4)]
    for each in threads:
        each.start()
    assert hour.wait(TIMEOUT)
    hub.on_completed()
    assert seen.over.wait(TIMEOUT)
    stopped.set()
    for each in threads:
        each.join(TIMEOUT)
        assert not each.is_alive()

    assert seen.wrong == []
    assert seen.end == "completed"
    assert seen.values
    assert clock._base.pending == 0


# --- re-entrancy ----------------------------------------------------------------------------------

HOPS = 5000


@each_operator
def test_feedback_is_queued_and_flat(name: str) -> None:
    """X6: 5000 hops, each event published from inside the one before or from inside an output."""
    copies = range(HOPS // len(script()) + 1)
    events = [event for copy in copies for _, event in script(f"{copy}.")][:HOPS]

    flat = fed(name, events, feed_back=False)
    nested = fed(name, events, feed_back=True)

    assert nested.values == flat.values
    assert nested.wrong == []
    assert nested.end == "completed"


def fed(name: str, events: list[SessionEvent], *, feed_back: bool) -> Strict:
    """All events at one instant: one after the other, or each from inside what its predecessor caused."""
    line = Timeline()
    left = deque(events)

    def feed(value: object = None) -> None:
        if left:
            line.hub.on_next(left.popleft())

    seen = Strict(feed if feed_back else None).follow(line.hub.pipe(make(name)), line.scheduler)
    if feed_back:
        line.hub.subscribe(feed)
    while left:
        feed()
    line.hub.on_completed()
    assert line.faults == []
    return seen


# --- subscriptions of their own -------------------------------------------------------------------


@each_operator
def test_subscriptions_share_nothing(name: str) -> None:
    """X12: two subscriptions to one pipeline say the same; one that comes late, or leaves, changes nothing."""
    timed = script()
    alone = played(make(name), timed, complete).values
    for place in range(0, len(timed), 9):
        line = Timeline()
        pipeline = line.hub.pipe(make(name))
        first = Strict().follow(pipeline, line.scheduler)
        twin = Strict().follow(pipeline, line.scheduler)
        leaver = Strict().follow(pipeline, line.scheduler)
        line.play(*timed[:place])
        leaver.dispose()
        late = Strict().follow(pipeline, line.scheduler)
        line.play(*timed[place:])
        line.hub.on_completed()

        assert first.values == twin.values == alone
        assert [*first.wrong, *twin.wrong, *leaver.wrong, *late.wrong] == []
        if name not in SHARED:
            assert late.values == played(make(name), timed[place:], complete).values


@each_operator
def test_a_second_run_of_one_operator_starts_afresh(name: str) -> None:
    """X12: an operator is a recipe: applied again, it has forgotten everything."""
    operator = make(name)
    first = played(operator, script(), complete)
    assert played(operator, script(), complete).values == first.values


@each_operator
def test_no_two_runs_have_a_state_in_common(name: str) -> None:
    """X12: the states of two subscriptions are objects of their own, each and every part of them."""
    line, cores = Timeline(), []
    pipeline = line.hub.pipe(make(name))
    with noted_cores(cores):
        kept = [Strict().follow(pipeline, line.scheduler) for _ in range(2)]
    line.play(*script())
    assert len(cores) == (1 if name in SHARED else 2)
    for one, other in pairwise(cores):
        assert not mutable_parts(one.states) & mutable_parts(other.states)
    assert len(kept) == 2


def mutable_parts(value: Any) -> set[int]:
    """The identities of everything inside that can be changed."""
    if isinstance(value, msgspec.Struct):
        inside = [getattr(value, field) for field in value.__struct_fields__]
        own = set() if value.__struct_config__.frozen else {id(value)}
    elif isinstance(value, dict):
        inside, own = [*value.values()], {id(value)}
    elif isinstance(value, list | set | deque):
        inside, own = [*value], {id(value)}
    else:
        inside, own = [*value] if isinstance(value, tuple) else [], set()
    return own.union(*map(mutable_parts, inside))


# --- one bad thing harms itself -------------------------------------------------------------------


def wrong_events(session_id: str) -> list[SessionEvent]:
    """Every kind of event, with a value of a wrong type in each of its fields in turn."""
    base = SessionEvent.__struct_fields__
    return [
        kind(session_id, **{field: wrong})
        for kind in ev.KINDS
        for field in kind.__struct_fields__
        if field not in base
        for wrong in (None, 7, [])
    ]


def of_others(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if value.session_id not in ("bad", "")]


@each_operator
def test_a_bad_session_harms_no_other(name: str) -> None:
    """S12: wrong types in every field of every event of one session: faults of that one, if any."""
    good, bad = script(), deque(wrong_events("bad"))
    each_time = len(bad) // len(good) + 1
    line = Timeline()
    seen = Strict().follow(line.hub.pipe(make(name)), line.scheduler)
    for at, event in good:
        line.play((at, event))
        for _ in range(min(each_time, len(bad))):
            line.play((at, bad.popleft()))
    line.hub.on_completed()

    assert not bad
    assert seen.wrong == []
    assert seen.end == "completed"
    assert of_others(seen.values) == of_others(played(make(name), good, complete).values)
    assert {fault.session_id for fault in line.faults} <= {"bad"}


@each_operator
def test_a_raising_subscriber_harms_no_other(name: str) -> None:
    """S12: each of its exceptions is one fault; siblings, other operators and the producer notice nothing."""
    line = Timeline()
    pipeline = line.hub.pipe(make(name))

    def raising(value: Any) -> None:
        raise LookupError("mine")

    before = Strict().follow(pipeline, line.scheduler)
    bad = Strict(raising).follow(line.hub.pipe(make(name)), line.scheduler)
    after = Strict().follow(pipeline, line.scheduler)
    line.play(*script())
    line.hub.on_completed()

    alone = played(make(name), script(), complete, until=10_003.0)
    assert before.values == after.values == bad.values == alone.values
    assert before.end == after.end == bad.end == "completed"
    assert [type(fault.error) for fault in line.faults] == [LookupError] * len(bad.values)


# --- virtual time ---------------------------------------------------------------------------------


@each_operator
def test_virtual_time_needs_no_thread_and_no_clock(
    name: str, recording_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X8: with a virtual scheduler, a thread, a clock or a sleep is an error; twice gives twice the same."""
    timed = [script(), recorded_script(recording_of("subagents"))]

    def never(*arguments: object, **named: object) -> Any:
        raise AssertionError("virtual time has no business here")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", never)
        for clock in ("time", "monotonic", "perf_counter", "time_ns", "monotonic_ns", "sleep"):
            patched.setattr(time, clock, never)
        patched.setattr(DaemonScheduler, "seconds", never)
        first = [played(make(name), each, complete) for each in timed]
        again = [played(make(name), each, complete) for each in timed]

    assert [each.values for each in first] == [each.values for each in again]


# --- what is kept ---------------------------------------------------------------------------------


@each_operator
@pytest.mark.parametrize("recording", [None, *RECORDED])
def test_every_state_can_be_stored(name: str, recording: str | None, recording_of: Any) -> None:
    """What is kept of a session is encoded and read back as it was, at any time."""
    timed = recorded_script(recording_of(recording)) if recording else script()
    line, cores = Timeline(), []
    with noted_cores(cores):
        seen = Strict().follow(line.hub.pipe(make(name)), line.scheduler)
    stored = 0
    for number, each in enumerate(timed):
        line.play(each)
        if number % 10 and number != len(timed) - 1:
            continue
        for state in cores[0].states.values():
            assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=type(state)) == state
            stored += 1
    assert stored
    assert seen.wrong == []


@each_operator
def test_what_is_deleted_is_forgotten(name: str) -> None:
    """E3, E5, R5: after all sessions were deleted, and their stragglers, nothing and no timer is left."""
    line, cores = Timeline(), []
    with noted_cores(cores):
        seen = Strict().follow(line.hub.pipe(make(name)), line.scheduler)
    line.play(*script())
    for session_id in "abc":
        line.play((10_010, deleted(session_id)))
    line.play(*((10_011, text(session_id, "m", "p", "late")) for session_id in "abc"))
    line.advance_to(LONG)

    assert cores[0].states == {}
    assert len(cores[0].deadlines) == 0
    assert line.scheduler.pending == 0
    assert left_in(cores[0]) == {}
    assert seen.wrong == []


def left_in(core: Any) -> dict[str, Any]:
    """Whatever collection of a fold still has something in it, by attribute."""
    return {
        attribute: value
        for attribute, value in vars(core).items()
        if isinstance(value, dict | list | set | deque) and value and attribute != "_takes"
    }


# --- sources --------------------------------------------------------------------------------------


def at_once(path: Any) -> tuple[recordings.Replayed, Callable[[], None], Callable[[], int]]:
    """In virtual time: all of it while subscribing."""
    clock = Replay()
    return recordings.replay(path, speed=None, scheduler=clock), lambda: None, lambda: clock.pending


def on_time(path: Any) -> tuple[recordings.Replayed, Callable[[], None], Callable[[], int]]:
    """On a running clock, which a virtual one drives: event by event, each by a timer."""
    clock = Replay()
    source = recordings.replay(path, speed=1.0, scheduler=Scaled(clock, speed=1.0))
    return source, lambda: clock.advance_by(LONG), lambda: clock.pending


each_replay = pytest.mark.parametrize("replay", [at_once, on_time])


@each_replay
def test_a_replay_keeps_the_grammar(replay: Any, recorded: Any) -> None:
    """S11: every recording: its events in their order, then one completion, and no timer left."""
    source, run, pending = replay(recorded.path)
    seen = Strict().follow(source)
    run()
    assert seen.values == recorded.events()
    assert (seen.end, seen.wrong, pending()) == ("completed", [], 0)


@each_replay
def test_a_replay_disposed_of_is_silent(replay: Any, recording_of: Any) -> None:
    """E6, X7: disposed of from inside on_next: no further event, no end, no timer."""
    recorded = recording_of("compaction")
    for place in (1, 2, 50):

        def leave(value: Any, place: int = place) -> None:
            if len(seen.values) == place:
                holder[0].dispose()
                seen.closed = True

        source, run, pending = replay(recorded.path)
        seen = Strict(leave)
        holder = Holder()
        holder.take(seen, source)
        run()
        assert len(seen.values) == place
        assert (seen.end, seen.wrong, pending()) == (None, [], 0)


class Holder:
    """The disposable of a subscription that may want to dispose of it before it has it."""

    def __init__(self) -> None:
        self._disposables: list[abc.DisposableBase] = []

    def take(self, seen: Strict, source: Observable[Any]) -> None:
        """The subscription begins inside a trampoline, as every cold source's does."""
        from reactivex.scheduler import CurrentThreadScheduler

        trampoline = CurrentThreadScheduler.singleton()
        trampoline.schedule(calling(lambda: self._disposables.append(source._subscribe_core(seen))))

    def __getitem__(self, index: int) -> abc.DisposableBase:
        return self._disposables[index]


@each_replay
def test_replays_are_independent(replay: Any, recording_of: Any) -> None:
    """X12: each subscription plays from the start; one that leaves early takes nothing from another."""
    recorded = recording_of("lifecycle")
    source, run, pending = replay(recorded.path)
    first, second = Strict().follow(source), Strict().follow(source)
    leaver = Strict().follow(source)
    leaver.dispose()
    run()
    third = Strict().follow(source)
    run()
    assert first.values == second.values == third.values == recorded.events()
    assert first.end == second.end == third.end == "completed"
    assert [*first.wrong, *second.wrong, *third.wrong, *leaver.wrong] == []
    assert pending() == 0


def test_a_fault_names_who_raised() -> None:
    """S12: what the contract counts as a fault says where it happened."""
    assert str(Fault("here", "s", 0.0, LookupError("mine"))) == "here [s]: LookupError: mine"
