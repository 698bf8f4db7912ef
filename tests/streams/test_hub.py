"""Multicasting: each subscriber gets what it wants, and no subscriber harms another."""

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rxops

import operators as ops
from streams import EventHub, Fault
from streams import events as ev
from streams.events import SessionEvent
from streams.schedulers import Replay
from streams.testing import busy, compacted, created, delta, heartbeat, idle, text, updated

TIMEOUT = 10.0


@pytest.fixture
def hub() -> EventHub:
    return EventHub(scheduler=Replay())


def listen(source: rx.Observable[Any]) -> list[Any]:
    """Everything a source says, its end too."""
    seen: list[Any] = []
    source.subscribe(seen.append, lambda error: seen.append(error), lambda: seen.append("|"))
    return seen


# --- who gets what --------------------------------------------------------------------------------


def test_each_subscriber_gets_the_types_it_named(hub: EventHub) -> None:
    """A base class stands for all below it; without types it is everything."""
    everything, sessions = listen(hub), listen(hub.of(ev.SessionInfo))
    two, stream = listen(hub.of(ev.SessionIdle, ev.PartUpdated)), listen(hub.of(ev.StreamEvent))
    events = [created("s"), updated("s"), idle("s"), text("s", "m", "p", "x"), heartbeat(), busy("s")]
    hub.on_batch(events)

    assert everything == events
    assert sessions == events[:2]
    assert two == events[2:4]
    assert stream == [events[4]]
    assert all(a is b for a, b in zip(everything, events, strict=True))


def test_of_several_types_that_fit_the_nearest_counts_and_an_event_comes_once(hub: EventHub) -> None:
    """Naming a class and its base is not getting twice."""
    seen: list[str] = []
    calls = {
        SessionEvent: lambda _: seen.append("any"),
        ev.SessionInfo: lambda _: seen.append("info"),
        ev.SessionCreated: lambda _: seen.append("created"),
    }
    hub.attach(calls, print, print)
    for event in (created("s"), updated("s"), idle("s")):
        hub.on_next(event)
    assert seen == ["created", "info", "any"]

    twice = listen(hub.of(SessionEvent, ev.SessionIdle))
    hub.on_next(idle("s"))
    assert twice == [idle("s")]


def test_a_type_of_the_user_s_own_is_multicast_too(hub: EventHub) -> None:
    """Routes are found by class, not by a list."""

    class Deployed(SessionEvent, frozen=True):
        where: str = ""

    seen, everything = listen(hub.of(Deployed)), listen(hub)
    hub.on_next(Deployed("s", where="here"))

    assert seen == everything == [Deployed("s", where="here")]


def test_what_is_derived_from_part_of_a_hub_keeps_its_clock_and_its_errors(hub: EventHub) -> None:
    """X8: ``hub.of(...)`` between a hub and an operator changes neither."""
    faults, seen = listen(hub.errors), listen(hub.of(ev.PartUpdated).pipe(ops.expire_after(600)))
    hub.on_next(text("s", "m", "p", "x"))
    hub.scheduler.advance_to(600.0)
    assert seen[1:] == [ev.SessionExpired("s", 600.0, idle=600.0)]

    class Broken(ops.Logic[None, int]):
        wants = (ev.PartUpdated,)

        def start(self, session_id: str, now: float) -> None:
            raise LookupError

    hub.of(ev.PartUpdated).pipe(ops.per_session(Broken())).subscribe(print)
    hub.on_next(text("s", "m", "p", "x"))
    assert [(fault.where, fault.at) for fault in faults] == [("Broken", 600.0)]


# --- coming and going while it happens ------------------------------------------------------------


def test_who_subscribes_inside_a_subscriber_gets_the_next_event(hub: EventHub) -> None:
    """X7: not the current one, and not the next but one."""
    late: list[SessionEvent] = []

    def subscribe_once(event: SessionEvent) -> None:
        if event == idle("1"):
            hub.of(ev.SessionIdle).subscribe(late.append)

    hub.subscribe(subscribe_once)
    hub.on_batch([idle("1"), idle("2"), idle("3")])

    assert late == [idle("2"), idle("3")]


def test_who_is_disposed_inside_a_subscriber_gets_nothing_more(hub: EventHub) -> None:
    """X7: not even the current event; those beside it miss nothing."""
    before, victim, after = [], [], []

    def dispose(event: SessionEvent) -> None:
        before.append(event)
        subscription.dispose()

    hub.subscribe(dispose)
    subscription = hub.subscribe(victim.append)
    hub.subscribe(after.append)
    hub.on_batch([idle("1"), idle("2")])

    assert victim == []
    assert before == after == [idle("1"), idle("2")]


def test_an_operator_disposed_inside_a_subscriber_emits_nothing_more(hub: EventHub) -> None:
    """X7: the same, for what is derived."""
    seen: list[SessionEvent] = []
    hub.subscribe(lambda _: subscription.dispose())
    subscription = hub.pipe(ops.expire_after()).subscribe(seen.append)
    hub.on_next(idle("1"))

    assert seen == []
    assert hub.scheduler.pending == 0


def test_who_disposes_itself_is_gone(hub: EventHub) -> None:
    """take(1) on a hub gets one event and leaves nothing behind."""
    seen = listen(hub.pipe(rxops.take(1)))
    hub.on_batch([idle("1"), idle("2")])

    assert seen == [idle("1"), "|"]
    assert hub._attached == ()


def test_what_is_published_inside_a_subscriber_follows_for_everyone(hub: EventHub) -> None:
    """X6: no subscriber sees the answer before the question."""
    first, second = [], []

    def answer(event: SessionEvent) -> None:
        first.append(event)
        if isinstance(event, ev.SessionIdle):
            hub.on_batch([busy("a"), busy("b")])
            hub.on_next(compacted("c"))

    hub.subscribe(answer)
    hub.subscribe(second.append)
    hub.on_batch([idle("s"), heartbeat()])

    assert first == second == [idle("s"), heartbeat(), busy("a"), busy("b"), compacted("c")]


def test_five_thousand_hops_of_feedback_keep_their_order(hub: EventHub) -> None:
    """X6: a Subject hits RecursionError at depth 198."""
    seen: list[str] = []

    def feed_back(event: SessionEvent) -> None:
        seen.append(event.session_id)
        if int(event.session_id) < 5000:
            hub.on_next(idle(str(int(event.session_id) + 1)))

    hub.subscribe(feed_back)
    hub.on_next(idle("1"))

    assert seen == [str(number) for number in range(1, 5001)]


def test_a_batch_is_the_list_as_it_was(hub: EventHub) -> None:
    """Its owner may fill the same list again before the batch has its turn, or have it computed."""
    seen: list[SessionEvent] = []
    buffer = [idle("1"), idle("2")]

    def refill(event: SessionEvent) -> None:
        seen.append(event)
        if event == busy("s"):
            hub.on_batch(buffer)
            buffer.clear()

    hub.subscribe(refill)
    hub.on_next(busy("s"))
    assert seen == [busy("s"), idle("1"), idle("2")]
    with pytest.raises(ZeroDivisionError):
        hub.on_batch(idle(str(1 // 0)) for _ in range(1))
    hub.on_next(idle("3"))
    assert seen[-1] == idle("3")


# --- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [None, LookupError("gone")])
def test_a_hub_that_has_ended_stays_so(hub: EventHub, error: Exception | None) -> None:
    """Like a Subject: nothing after the end, and late subscribers are told it, once."""
    end = error or "|"
    early, derived = listen(hub), listen(hub.pipe(ops.expire_after()))
    finish: Callable[[], None] = hub.on_completed if error is None else lambda: hub.on_error(error)
    hub.on_next(idle("1"))
    finish()
    hub.on_next(idle("2"))
    hub.on_completed()
    hub.on_error(ValueError())

    assert early == derived == [idle("1"), end]
    assert listen(hub) == listen(hub.of(ev.SessionIdle)) == listen(hub.pipe(ops.expire_after())) == [end]
    assert hub._attached == ()


def test_an_end_inside_a_subscriber_comes_after_the_event(hub: EventHub) -> None:
    """X6: everyone gets the event, then everyone the end."""
    first: list[Any] = []
    hub.subscribe(
        lambda event: (first.append(event), hub.on_completed()), None, lambda: first.append("|")
    )
    second = listen(hub)
    hub.on_batch([idle("1"), idle("2")])

    assert first == second == [idle("1"), idle("2"), "|"]


def test_who_raises_at_the_end_harms_no_other(hub: EventHub) -> None:
    """S12: one fault for it, and the end for everyone else."""
    faults = listen(hub.errors)
    hub.subscribe(print, None, lambda: 1 / 0)
    seen = listen(hub)
    hub.on_completed()

    assert seen == ["|"]
    assert [type(fault.error) for fault in faults] == [ZeroDivisionError]


def test_an_error_that_a_subscriber_does_not_handle_is_a_fault(hub: EventHub) -> None:
    """S12: Rx raises it into the producer; here the producer notices nothing."""
    faults = listen(hub.errors)
    hub.subscribe(print)
    seen = listen(hub)
    error = LookupError("gone")
    hub.on_error(error)

    assert seen == [error]
    assert [fault.error for fault in faults] == [error]


# --- faults ---------------------------------------------------------------------------------------


def test_a_subscriber_that_raises_harms_only_itself(hub: EventHub) -> None:
    """S12: 1 raises on its second value: one fault; 2 gets 1, 2, 3, and 1 goes on with 3."""
    faults, first = listen(hub.errors), []

    def raises(event: SessionEvent) -> None:
        if event.session_id == "2":
            raise LookupError
        first.append(event)

    hub.subscribe(raises)
    second = listen(hub)
    hub.scheduler.advance_to(5.0)
    for number in "123":
        hub.on_next(idle(number))

    assert second == [idle("1"), idle("2"), idle("3")]
    assert first == [idle("1"), idle("3")]
    assert [(f.where, f.session_id, f.at, type(f.error)) for f in faults] == [
        ("subscriber", "2", 5.0, LookupError)
    ]


def test_faults_that_nobody_hears_are_logged(hub: EventHub, log: list[str]) -> None:
    """X10: one line each, with where and what."""
    hub.subscribe(lambda _: {}["missing"])
    hub.on_next(idle("s"))

    assert log == ["subscriber [s]: KeyError: 'missing'"]


def test_a_listener_of_faults_that_raises_harms_no_other(hub: EventHub, log: list[str]) -> None:
    """S12: the others hear the fault; it is logged, and so is what the listener raised."""

    def raises(fault: Fault) -> None:
        raise TypeError("no good")

    hub.errors.subscribe(raises)
    heard = listen(hub.errors)
    hub.subscribe(lambda _: 1 / 0)
    hub.on_batch([idle("s"), idle("s")])

    assert [type(fault.error) for fault in heard] == [ZeroDivisionError] * 2
    assert [line.split(": ")[0] for line in log] == ["subscriber [s]", "EventHub.errors [s]"] * 2


def test_a_listener_of_faults_may_publish(hub: EventHub) -> None:
    """X6: what it publishes follows, even when that is a fault again."""
    faults: list[Fault] = []

    def answer(fault: Fault) -> None:
        faults.append(fault)
        if len(faults) < 3:
            hub.on_next(idle(f"{len(faults)}"))

    hub.errors.subscribe(answer)
    hub.subscribe(lambda _: 1 / 0)
    hub.on_next(idle("0"))

    assert [fault.session_id for fault in faults] == ["0", "1", "2"]


def test_faults_of_several_threads_come_one_after_the_other(hub: EventHub) -> None:
    """X4: the errors stream keeps Rx's grammar as well."""
    seen: list[str] = []

    def note(fault: Fault) -> None:
        seen.append(f"begin {fault.where}")
        if fault.where == "first":
            other = threading.Thread(target=hub.report, args=(Fault("other", "s", 0.0, LookupError()),))
            other.start()
            other.join(TIMEOUT)
            assert not other.is_alive()
        seen.append(f"end {fault.where}")

    hub.errors.subscribe(note)
    hub.report(Fault("first", "s", 0.0, LookupError()))

    assert seen == ["begin first", "end first", "begin other", "end other"]


def test_a_hub_behind_a_hub_passes_on_the_faults_nobody_hears(log: list[str]) -> None:
    """S12: expire_after in front of a hub: one place to listen for everything."""
    outer = EventHub(scheduler=Replay())
    inner = EventHub(outer.pipe(ops.expire_after()))
    inner.connect()
    outside = listen(outer.errors)
    inner.subscribe(lambda _: 1 / 0)
    outer.on_next(idle("1"))
    inside = listen(inner.errors)
    outer.on_next(idle("2"))

    assert [fault.session_id for fault in outside] == ["1"]
    assert [fault.session_id for fault in inside] == ["2"]
    assert log == []


def test_a_scheduler_that_sets_no_timer_is_a_fault_of_that_operator(hub: EventHub) -> None:
    """X10: a loop that is closed already: the producer and the others notice nothing."""

    class Closed(Replay):
        def schedule_at(self, due: float, action: object, state: object) -> Any:
            raise RuntimeError("Event loop is closed")

    faults, seen, expiring = listen(hub.errors), listen(hub), []
    hub.pipe(ops.expire_after(600, scheduler=Closed())).subscribe(expiring.append)
    after = listen(hub.pipe(ops.expire_after(600)))
    hub.on_next(idle("s"))
    hub.scheduler.advance_to(600.0)

    assert seen == expiring == [idle("s")]
    assert after == [idle("s"), ev.SessionExpired("s", 600.0, idle=600.0)]
    assert [(fault.where, str(fault.error)) for fault in faults] == [("Expiry", "Event loop is closed")]


# --- connecting -----------------------------------------------------------------------------------


def test_a_hub_is_connected_once() -> None:
    """Connecting again gives the running connection, so no event comes twice; after dispose, anew."""
    source = rx.Subject[SessionEvent]()
    hub = EventHub(source)
    seen = listen(hub)
    connection = hub.connect()
    assert hub.connect() is connection
    source.on_next(idle("1"))
    connection.dispose()
    source.on_next(idle("2"))
    hub.connect()
    source.on_next(idle("3"))

    assert seen == [idle("1"), idle("3")]
    assert len(source.observers) == 1


def test_a_hub_that_has_ended_does_not_connect_again() -> None:
    """Nobody would get what it subscribes to."""
    subscribed: list[int] = []
    source = rx.defer(lambda _: subscribed.append(1) or rx.of(idle("1")))
    hub = EventHub(source)
    seen = listen(hub)
    hub.connect().dispose()
    hub.connect()

    assert seen == [idle("1"), "|"]
    assert subscribed == [1]


def test_without_a_source_there_is_nothing_to_connect(hub: EventHub) -> None:
    """The message says what to do instead."""
    with pytest.raises(ValueError, match="EventHub\\(source\\)"):
        hub.connect()


def test_a_hub_takes_its_clock_from_its_source() -> None:
    """X8: a replay's hub runs on the replay's time, unless another is given."""
    clock, other = Replay(), Replay()
    source = EventHub(scheduler=clock)

    assert EventHub(source).scheduler is clock
    assert EventHub(source.pipe(ops.expire_after())).scheduler is clock
    assert EventHub(source.of(ev.SessionIdle)).scheduler is clock
    assert EventHub(source, scheduler=other).scheduler is other
    assert EventHub(rx.never()).scheduler is None


# --- threads and memory ---------------------------------------------------------------------------


def test_subscribers_come_and_go_while_four_threads_publish(hub: EventHub) -> None:
    """X5: a subscriber that stays gets every event of each thread, in that thread's order."""
    stays: list[str] = []
    hub.subscribe(lambda event: stays.append(event.session_id))
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            hub.of(ev.PartDelta).subscribe(print).dispose()

    def publish(thread: int) -> None:
        for number in range(2500):
            hub.on_next(
                delta(f"{thread}-{number}", "m", "p", "x") if number % 2 else idle(f"{thread}-{number}")
            )

    others = [threading.Thread(target=come_and_go) for _ in range(2)]
    producers = [threading.Thread(target=publish, args=(thread,)) for thread in range(4)]
    hub.of(ev.PartDelta).subscribe(lambda _: None)
    for thread in [*others, *producers]:
        thread.start()
    for thread in producers:
        thread.join(TIMEOUT)
    stop.set()
    for thread in others:
        thread.join(TIMEOUT)

    assert len(stays) == 10_000
    for thread in range(4):
        mine = [name for name in stays if name.startswith(f"{thread}-")]
        assert mine == [f"{thread}-{number}" for number in range(2500)]


def test_a_thousand_subscriptions_leave_nothing_behind(hub: EventHub) -> None:
    """R2: subscribed, fed and disposed 1000 times: no subscriber, no route, no timer, no object."""
    alive = []
    for _ in range(1000):
        seen: list[SessionEvent] = []
        for operator in (ops.expire_after(), rxops.map(lambda event: event)):
            observer = seen.append
            subscription = hub.pipe(operator).subscribe(observer)
            hub.on_next(idle("s"))
            subscription.dispose()
            subscription.dispose()
            alive.append(weakref.ref(subscription))
        assert len(seen) == 2
    del subscription
    gc.collect()

    assert hub._attached == ()
    assert hub._routes == {}
    assert hub.scheduler.pending == 0
    assert not any(reference() for reference in alive)
