"""What every source of values keeps to: one function per rule, and the sources with their producers."""

import gc
import inspect
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from loopback_server import LoopbackServer
from operator_contract import impatient_threads, let_others, no_real_time
from reactivex import Observable
from reactivex.scheduler import CurrentThreadScheduler
from recorded_server import RecordedServer
from session_script import dated, script
from strict_observer import TIMEOUT, Strict, threads

import operators as ops
import streams
from streams import ContextLimits, EventHub, events, opencode, recordings
from streams.events import SessionEvent
from streams.schedulers import Replay, Scaled, calling
from streams.testing import assistant

RECORDINGS = Path(__file__).parents[1] / "recordings"
LONG = 100_000.0
HOPS = 5000


class Running:
    """A source and who feeds it.

    Attributes:
        observable: What is under contract.
        real: Whether threads and sockets are in it.
        cold: Whether every subscriber gets a run of its own.
        whole: Whether every event that is fed comes out.
        remembers: Whether who comes late gets what was said last.
        feed: Publishes one event; None for a source that has its own.
        faults: What its subscribers raised.
        wanted: The values that must come, where that is known.
    """

    real = cold = whole = remembers = False
    feed: Callable[[SessionEvent], None] | None = None
    wanted: list[Any] | None = None

    def __init__(self) -> None:
        self.observable: Observable[Any]
        self.faults: list[Any] = []
        self.closing = ExitStack()

    def play(self) -> None:
        """Let everything come, to whoever is subscribed by now."""

    def complete(self) -> None:
        """End it."""

    def fail(self) -> bool:
        """End it with an error ``broken``; false if nobody can."""
        return False

    def settle(self) -> None:
        """Let what waits come."""

    def left(self) -> list[Any]:
        """Timers, subscribers and threads that are left."""
        return []


class Fed(Running):
    """What a hub feeds, in virtual time."""

    def __init__(self, derive: Callable[[EventHub, Replay], Observable[Any]]) -> None:
        super().__init__()
        self.clock = Replay()
        self.hub = EventHub(scheduler=self.clock)
        self.hub.errors.subscribe(self.faults.append)
        self.feed = self.hub.on_next
        self.observable = derive(self.hub, self.clock)

    def play(self) -> None:
        for at, event in script():
            self.clock.advance_to(at)
            self.hub.on_next(dated(event, at))
        self.settle()

    def settle(self) -> None:
        self.clock.advance_by(1.0)

    def complete(self) -> None:
        self.hub.on_completed()
        self.settle()

    def fail(self) -> bool:
        self.hub.on_error(RuntimeError("broken"))
        self.settle()
        return True

    def left(self) -> list[Any]:
        return [*self.hub._attached, *["a timer"] * self.clock.pending]


class TheHub(Fed):
    whole = True

    def __init__(self) -> None:
        super().__init__(lambda hub, clock: hub)
        self.wanted = [dated(event, at) for at, event in script()]


class ABranch(TheHub):
    """A branch that is ended alone; the hub goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.observable = self.branch = self.hub.branch()

    def complete(self) -> None:
        self.branch.on_completed()

    def fail(self) -> bool:
        self.branch.on_error(RuntimeError("broken"))
        return True


class SomeTypes(Fed):
    def __init__(self) -> None:
        wanted = (events.MessageUpdated, events.PartDelta)
        super().__init__(lambda hub, clock: hub.of(*wanted))
        self.wanted = [dated(event, at) for at, event in script() if isinstance(event, wanted)]


class TheLatest(Fed):
    remembers = True

    def __init__(self) -> None:
        limits = ContextLimits({"anthropic/x": 200_000})
        super().__init__(
            lambda hub, clock: streams.latest(hub.pipe(ops.context_usage(limits)), events=hub)
        )

    def left(self) -> list[Any]:
        """It follows for as long as it is not disposed of, whoever reads it."""
        self.observable.dispose()  # type: ignore[attr-defined]
        return super().left()


class HandedOver(Fed):
    whole = True

    def __init__(self) -> None:
        super().__init__(lambda hub, clock: hub.pipe(streams.bounded(scheduler=clock)))
        self.wanted = [dated(event, at) for at, event in script()]


class OnAThreadOfItsOwn(Fed):
    real = whole = True

    def __init__(self) -> None:
        super().__init__(lambda hub, clock: hub.pipe(streams.bounded()))
        self.wanted = [dated(event, at) for at, event in script()]

    def left(self) -> list[Any]:
        return [*super().left(), *own_threads()]


class AtOnce(Running):
    """A recording in virtual time: all of it while subscribing."""

    cold = True

    def __init__(self) -> None:
        super().__init__()
        self.clock = Replay()
        path = RECORDINGS / "lifecycle.jsonl.gz"
        self.wanted = list(recordings.read(path))
        self.observable = self.replay(path)

    def replay(self, path: Path) -> Observable[SessionEvent]:
        return recordings.replay(path, speed=None, scheduler=self.clock)

    def play(self) -> None:
        self.clock.advance_by(LONG)

    def left(self) -> list[Any]:
        return ["a timer"] * self.clock.pending


class OnTime(AtOnce):
    """A recording on a running clock, which a virtual one drives: event by event, each by a timer."""

    def replay(self, path: Path) -> Observable[SessionEvent]:
        return recordings.replay(path, speed=1.0, scheduler=Scaled(self.clock, speed=1.0))


class Live(Running):
    """A running server, behind a socket."""

    real = True

    def __init__(self) -> None:
        super().__init__()
        recorded = recordings.read(RECORDINGS / "basic.global.jsonl.gz")
        self.server = LoopbackServer(RecordedServer([event.raw for event in recorded]))
        self.closing.callback(self.server.close)
        self.observable = self.events = opencode.connect(self.server.url, scope="global")
        self.events.errors.subscribe(self.faults.append)

    def play(self) -> None:
        """The last event comes last to whoever subscribed last."""
        self.server.wait_for_streams(1)
        over = threading.Event()
        payloads = self.server.server.payloads
        *_, last = (payload for payload in payloads if b'"type":"sync"' not in payload)

        def look(event: SessionEvent) -> None:
            if event.raw and last.endswith(event.raw + b"}"):
                over.set()

        probe = self.events.subscribe(look)
        self.server.happen(len(payloads))
        assert over.wait(TIMEOUT), "the last event did not come"
        probe.dispose()

    def complete(self) -> None:
        self.events.close()

    def left(self) -> list[Any]:
        return [*self.events._attached, *own_threads()]


def own_threads() -> list[threading.Thread]:
    """Threads of ours, but the daemon's, that do not come to an end by themselves."""
    mine = [each for each in threading.enumerate() if each.name.startswith("sessionstreams ")]
    for each in mine:
        each.join(TIMEOUT)
    return [each for each in mine if each.is_alive()]


Make = Callable[[], Running]

SOURCES: dict[str, Make] = {
    "EventHub": TheHub,
    "EventHub.of": SomeTypes,
    "EventHub.branch": ABranch,
    "latest": TheLatest,
    "bounded": HandedOver,
    "bounded on a thread": OnAThreadOfItsOwn,
    "replay at once": AtOnce,
    "replay on time": OnTime,
    "connect": Live,
}
"""Every source by name; the first word is what is exported."""

RULES: dict[str, Callable[[Make], None]] = {}


def rule(function: Callable[[Make], None]) -> Callable[[Make], None]:
    RULES[function.__name__] = function
    return function


def exported_sources() -> set[str]:
    """The names of everything exported that is, or makes, an Observable of its own."""
    found: set[str] = set()
    for module in (streams, opencode, recordings):
        for name in module.__all__:
            exported = getattr(module, name)
            if (inspect.isclass(exported) and issubclass(exported, EventHub)) or (
                inspect.isfunction(exported) and is_observable(get_type_hints(exported).get("return"))
            ):
                found.add(name)
    return found - {"LiveEvents"}  # what ``connect`` returns


def is_observable(hint: Any) -> bool:
    """Whether this is an Observable, or what makes one in ``pipe``."""
    origin = get_origin(hint) or hint
    if inspect.isclass(origin) and issubclass(origin, Observable):
        return True
    return any(is_observable(each) for each in get_args(hint)[-1:])


# --- following ------------------------------------------------------------------------------------


def following(running: Running, then: Callable[[Any], object] | None = None) -> Strict:
    """Within the trampoline in which a cold source plays, the subscriber has its disposable first."""
    seen = Strict(then)
    CurrentThreadScheduler.singleton().schedule(calling(partial(seen.follow, running.observable)))
    return seen


def ended(*observers: Strict) -> None:
    """Wait until the end has come to all of them, and leave, as reactivex's own observers do then."""
    for each in observers:
        assert each.over.wait(TIMEOUT), "the end does not come"
        each.dispose()
        assert each.wrong == []


# --- rules ----------------------------------------------------------------------------------------


@rule
def keeps_the_grammar(make: Make) -> None:
    """X4: every value, then one completion, and nothing that is left behind."""
    running = make()
    with running.closing:
        seen = following(running)
        running.play()
        running.complete()
        ended(seen)
        assert seen.end == "completed"
        assert seen.values
        assert running.wanted is None or seen.values == running.wanted
        assert running.left() == []


@rule
def passes_an_error_on(make: Make) -> None:
    """T4: the values that came before it, then the error, once."""
    running = make()
    with running.closing:
        seen = following(running)
        running.play()
        if running.fail():
            ended(seen)
            assert seen.end == "error broken"
            assert seen.values
            assert running.wanted is None or seen.values == running.wanted
        seen.dispose()
        assert running.left() == []


@rule
def may_be_left_from_inside(make: Make) -> None:
    """E6, X7: disposed of from inside ``on_next``: no further value, no end, no timer, no thread."""
    for place in (1, 2, 5):
        running, gone = make(), threading.Event()
        with running.closing:

            def leave(value: Any, place: int = place, gone: threading.Event = gone) -> None:
                if len(seen.values) == place:
                    seen.dispose()
                    gone.set()

            seen, sibling = Strict(leave), Strict()
            for each in (seen, sibling):
                subscribe = partial(each.follow, running.observable)
                CurrentThreadScheduler.singleton().schedule(calling(subscribe))
            running.play()
            running.complete()
            ended(sibling)
            assert gone.wait(TIMEOUT), "too few values came"
            assert len(seen.values) == place
            assert (seen.end, seen.wrong) == (None, [])
            assert running.left() == []


@rule
def frees_who_leaves(make: Make) -> None:
    """R2: who has left, or has been told the end, is not kept alive."""
    running = make()
    with running.closing:
        leaver, stayer = following(running), following(running)
        running.play()
        leaver.dispose()
        running.complete()
        ended(stayer)
        assert running.left() == []
        gone = [weakref.ref(leaver), weakref.ref(stayer)]
        del leaver, stayer
        gc.collect()
        assert [each() for each in gone] == [None, None]


@rule
def siblings_notice_nothing(make: Make) -> None:
    """S12, X12: all get the same, whoever of them leaves; one that raises is a fault for each value."""
    running = make()
    with running.closing:

        def raising(value: Any) -> None:
            raise LookupError("mine")

        first = following(running)
        others = [] if running.cold else [following(running, raising)]
        following(running).dispose()
        last = following(running)
        running.play()
        running.complete()
        ended(first, last, *others)
        assert first.values
        assert first.values == last.values
        assert running.wanted is None or first.values == running.wanted
        for bad in others:
            assert bad.values == first.values
            assert [type(fault.error) for fault in running.faults] == [LookupError] * len(bad.values)
        assert running.left() == []


@rule
def tells_who_comes_late(make: Make) -> None:
    """X12: after the end, the end; of what remembers, first what was said last; a recording plays anew."""
    running = make()
    with running.closing:
        first = following(running)
        running.play()
        running.complete()
        ended(first)
        late = following(running)
        running.play() if running.cold else running.settle()
        ended(late)
        assert late.end == first.end
        if running.cold:
            assert late.values == first.values
        elif running.remembers:
            newest = {value.session_id: value for value in first.values}
            assert late.values == [value for key, value in newest.items() if key != "b"]  # was deleted
        else:
            assert late.values == []


@rule
def never_overlaps(make: Make) -> None:
    """X4, X5: 4 producers: one call at a time, and all that each of them said, in its order."""
    running = make()
    with running.closing:
        feed = running.feed
        if feed is None:
            return
        seen = following(running, let_others)
        sent = [[dated(event, 0.0) for _, event in script(f"{number}.")] for number in range(4)]
        with impatient_threads(), threads(*(partial(deque, map(feed, mine), 0) for mine in sent)):
            pass
        running.complete()
        ended(seen)
        for number, mine in enumerate(sent):
            heard = [value for value in seen.values if value.session_id.startswith(f"{number}.")]
            assert heard
            if running.whole:
                assert heard == [event for event in mine if event.session_id]


@rule
def takes_feedback_flat(make: Make) -> None:
    """X6: 5000 events, each published from inside the one before: in order, and none nests."""
    running = make()
    with running.closing:
        feed = running.feed
        if feed is None:
            return
        left = iter([assistant(f"s{number}", "m", input=1000, created=0.0) for number in range(HOPS)])
        fed = threading.Event()

        def publish(value: object = None) -> None:
            event = next(left, None)
            fed.set() if event is None else feed(event)

        seen = following(running, publish)
        publish()
        running.settle()
        assert fed.wait(TIMEOUT)
        running.complete()
        ended(seen)
        assert [value.session_id for value in seen.values] == [f"s{number}" for number in range(HOPS)]


@rule
def virtual_time_is_all_it_needs(make: Make) -> None:
    """X8: in virtual time no thread is started, and no clock read."""
    if getattr(make, "real", False):
        return
    with no_real_time():
        running = make()
        seen = following(running)
        running.play()
        running.complete()
    ended(seen)
    assert seen.values
