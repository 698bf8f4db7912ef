"""``lift``: where a fold meets Rx: sources that are no hub, batches, faults, clocks."""

from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec
import pytest
from reactivex import Observable, Subject, abc
from reactivex.disposable import Disposable

from operators.per_session import Logic, per_session
from streams import events as ev
from streams.events import SessionEvent
from streams.hub import EventHub
from streams.memory import Memory
from streams.schedulers import Replay
from streams.testing import Timeline, text


class State(msgspec.Struct):
    session_id: str
    due: float | None = None


class EchoLogic(Logic[State, ev.SessionError]):
    """Repeats each part at once, again after 5 s, and at the end; the text "bad" raises."""

    wants: ClassVar[tuple[type[SessionEvent], ...]] = (ev.PartUpdated,)

    def start(self, session_id: str, now: float) -> State:
        return State(session_id)

    def on_event(self, state: State, event: SessionEvent, now: float) -> Iterable[ev.SessionError]:
        assert isinstance(event, ev.PartUpdated)
        if event.part.text == "bad":
            raise RuntimeError("bad")
        state.due = now + 5
        yield ev.SessionError(state.session_id, now, error=ev.AgentError(event.part.text))

    def deadline(self, state: State) -> float | None:
        return state.due

    def on_timer(self, state: State, now: float) -> Iterable[ev.SessionError]:
        state.due = None
        yield ev.SessionError(state.session_id, now, error=ev.AgentError("timer"))

    def on_end(self, state: State, now: float) -> Iterable[ev.SessionError]:
        yield ev.SessionError(state.session_id, now, error=ev.AgentError("end"))


def part(words: str, session_id: str = "s") -> ev.PartUpdated:
    return text(session_id, "m", "p", words)


def refuse(value: object) -> None:
    raise LookupError("no")


def test_a_subscriber_s_faults_have_the_session_and_the_time() -> None:
    """S12: of a value for an event, at a timer, and at the end."""
    line = Timeline()
    line.hub.pipe(per_session(EchoLogic())).subscribe(refuse)
    line.play((1, part("a")))
    line.advance_to(7)
    line.hub.on_completed()
    assert [(each.where, each.session_id, each.at, str(each.error)) for each in line.faults] == [
        ("subscriber", "s", 1.0, "no"),
        ("subscriber", "s", 6.0, "no"),
        ("subscriber", "s", 7.0, "no"),
    ]


def test_a_fault_of_a_value_of_no_session_has_none() -> None:
    """What has no ``session_id`` is nobody's."""

    class Numbers(EchoLogic):
        def on_event(self, state: State, event: SessionEvent, now: float) -> Any:
            return (7,)

    line = Timeline()
    line.hub.pipe(per_session(Numbers())).subscribe(refuse)
    line.play((1, part("a")))
    assert [(each.where, each.session_id) for each in line.faults] == [("subscriber", "")]


def test_a_source_that_is_no_hub_logs_its_faults_and_goes_on(log: list[str]) -> None:
    """S12: it has no ``errors``; the log has them, in one line each."""
    source, seen, clock = Subject[SessionEvent](), list[ev.SessionError](), Replay()
    source.pipe(per_session(EchoLogic(), scheduler=clock)).subscribe(seen.append)
    source.on_next(part("bad"))
    source.on_next(part("good"))
    assert [each.error.name for each in seen] == ["good"]
    assert len(log) == 1
    assert "RuntimeError: bad" in log[0]


def test_the_scheduler_of_subscribe_reaches_the_source() -> None:
    """Whoever subscribes with one means the whole chain."""
    given: list[object] = []

    def subscribe(
        observer: abc.ObserverBase[SessionEvent], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        given.append(scheduler)
        return Disposable()

    clock = Replay()
    Observable(subscribe).pipe(per_session(EchoLogic())).subscribe(lambda value: None, scheduler=clock)
    assert given == [clock]


def test_a_batch_goes_to_a_hub_as_one() -> None:
    """All that the events of a batch gave rise to, in order, and nothing between."""
    batches: list[list[str]] = []

    class Watched(EventHub):
        def on_batch(self, events: Iterable[SessionEvent]) -> None:
            taken = list(events)
            batches.append([each.error.name for each in taken if isinstance(each, ev.SessionError)])
            super().on_batch(taken)

    line = Timeline()
    hub = Watched(line.hub.pipe(per_session(EchoLogic())), scheduler=line.scheduler)
    seen: list[str] = []
    hub.of(ev.SessionError).subscribe(lambda event: seen.append(event.session_id))
    hub.connect()
    line.hub.on_batch([part("a"), part("b", "t"), part("c")])
    line.advance_to(9)
    assert batches == [["a", "b", "c"], ["timer", "timer"]]
    assert seen == ["s", "t", "s", "s", "t"]


def test_a_scheduler_that_refuses_a_timer_is_a_fault() -> None:
    """X10: as a closed loop does; the event itself was taken, and the next one finds the timer due."""

    class Closed(Replay):
        def schedule_relative(self, *arguments: Any, **more: Any) -> Any:
            raise RuntimeError("closed")

    clock = Closed()
    hub = EventHub(scheduler=clock)
    faults: list[tuple[str, str, float, str]] = []
    hub.errors.subscribe(
        lambda each: faults.append((each.where, each.session_id, each.at, str(each.error)))
    )
    seen: list[str] = []
    hub.pipe(per_session(EchoLogic())).subscribe(lambda value: seen.append(value.error.name))
    clock.advance_to(2)
    hub.on_next(part("a"))
    assert (seen, faults) == (["a"], [("SessionFold", "", 2.0, "closed")])
    clock.advance_to(9)
    hub.on_next(part("b", "t"))
    assert seen == ["a", "timer", "b"]


def test_an_operator_behind_an_operator_is_remembered_too() -> None:
    """What takes the snapshots of the hub takes those of all that is piped from it."""
    memory = Memory()
    hub = EventHub(scheduler=Replay(), memory=memory)
    chain = hub.pipe(per_session(EchoLogic()), per_session(EchoLogic()))
    chain.subscribe(lambda value: None)
    assert sorted(memory.take()) == ["EchoLogic", "EchoLogic/2"]


@pytest.mark.parametrize("ends", [True, False])
def test_what_is_due_comes_before_the_end(ends: bool) -> None:
    """A timer that comes due at the very time of the end fires first."""
    line = Timeline()
    seen: list[tuple[str, float]] = []
    line.hub.pipe(per_session(EchoLogic())).subscribe(
        lambda value: seen.append((value.error.name, value.at)), on_error=lambda error: None
    )
    line.play((1, part("a")))
    line.scheduler.advance_to(6.0)
    _ = line.hub.on_completed() if ends else line.hub.on_error(RuntimeError("lost"))
    assert seen == [("a", 1.0), ("timer", 6.0), ("end", 6.0)]
