"""A session that is idle is kept encoded, and nobody notices but the memory."""

from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec
import pytest

import operators as ops
from operators.per_session import SessionFold
from streams import ContextLimits, Fault
from streams import events as ev
from streams.events import SessionEvent
from streams.testing import assistant, busy, deleted, idle, outputs, text


class Count(msgspec.Struct):
    session_id: str
    events: int = 0
    until: float | None = None


class CountLogic(ops.Logic[Count, tuple[str, int]]):
    """Says how many parts came; after a part of the text "wait" it has a deadline."""

    wants: ClassVar[tuple[type[SessionEvent], ...]] = (ev.PartUpdated, ev.StreamGap)
    resting: ClassVar[bool] = True

    def start(self, session_id: str, now: float) -> Count:
        return Count(session_id)

    def on_event(self, state: Count, event: SessionEvent, now: float) -> Iterable[Any]:
        if isinstance(event, ev.PartUpdated):
            state.events += 1
            state.until = now + 9 if event.part.text == "wait" else None
        return ((state.session_id, state.events),)

    def deadline(self, state: Count) -> float | None:
        return state.until

    def on_timer(self, state: Count, now: float) -> Iterable[Any]:
        state.until = None
        return ((state.session_id, -1),)

    def on_end(self, state: Count, now: float) -> Iterable[Any]:
        return ((state.session_id, 100 + state.events),)


class Folded:
    """The fold alone, fed by hand."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.fold = SessionFold(CountLogic(), self.faults.append)
        self.calls = self.fold.calls()

    def feed(self, *events: SessionEvent) -> list[Any]:
        said: list[Any] = []
        for event in events:
            call = next((self.calls[kind] for kind in type(event).__mro__ if kind in self.calls), None)
            said += call(event, 1.0) if call else ()
        return said

    @property
    def awake(self) -> list[str]:
        return list(self.fold.states)

    @property
    def resting(self) -> list[str]:
        assert self.fold.resting is not None
        return list(self.fold.resting.kept)


@pytest.fixture
def folded() -> Folded:
    return Folded()


def test_an_idle_session_rests_until_it_is_heard_of_again(folded: Folded) -> None:
    """Either word of idle will do; a status that is none of it changes nothing."""
    part = text("s", "m", "p", "hi")
    assert folded.feed(part, busy("s")) == [("s", 1)]
    assert (folded.awake, folded.resting) == (["s"], [])
    for word in (idle("s"), ev.SessionStatus("s", status="idle")):
        assert folded.feed(word) == []
        assert (folded.awake, folded.resting) == ([], ["s"])
        ((_, count),) = folded.feed(part)
        assert (folded.awake, folded.resting) == (["s"], [])
    assert count == 3


def test_a_session_with_a_deadline_does_not_rest(folded: Folded) -> None:
    """Its timer needs its state."""
    folded.feed(text("s", "m", "p", "wait"), idle("s"))
    assert (folded.awake, folded.resting) == (["s"], [])
    assert folded.fold.fire(10.0) == [("s", -1)]


def test_a_session_that_nobody_knows_does_not_come_to_be(folded: Folded) -> None:
    """Idle is no beginning for a logic that does not want it."""
    assert folded.feed(idle("s")) == []
    assert (folded.awake, folded.resting) == ([], [])


def test_the_end_of_a_session_at_rest_is_its_end(folded: Folded) -> None:
    """Deleted, expired, and the end of the stream: ``on_end`` has the state that rested."""
    for name in ("a", "b", "c"):
        folded.feed(text(name, "m", "p", "hi"), idle(name))
    assert folded.feed(deleted("a"), ev.SessionExpired("b")) == [("a", 101), ("b", 101)]
    assert folded.feed(text("a", "m", "p", "late")) == []  # a straggler
    assert folded.resting == ["c"]
    assert folded.fold.end(2.0) == [("c", 101)]
    assert (folded.awake, folded.resting) == ([], [])


def test_an_event_of_the_stream_reaches_those_at_rest(folded: Folded) -> None:
    """And they go on resting."""
    folded.feed(text("a", "m", "p", "hi"), idle("a"), text("b", "m", "p", "hi"))
    assert sorted(folded.feed(ev.StreamGap())) == [("a", 1), ("b", 1)]
    assert (folded.awake, folded.resting) == (["b"], ["a"])


def test_a_snapshot_has_those_at_rest(folded: Folded) -> None:
    """What is restored is awake, and as it was."""
    folded.feed(text("a", "m", "p", "hi"), idle("a"), text("b", "m", "p", "hi"))
    other = Folded()
    other.fold.restore(folded.fold.snapshot())
    assert sorted(other.awake) == ["a", "b"]
    assert folded.resting == ["a"]
    assert other.feed(text("a", "m", "p", "more")) == [("a", 2)]


def test_readings_go_on_after_a_rest() -> None:
    """Usage and triggers say the same whether the session was idle in between or not."""
    limits = ContextLimits({"anthropic/x": 200_000})
    answers = [assistant("s", f"m{number}", input=50_000 * number) for number in range(1, 5)]
    for operator in (ops.context_usage(limits), ops.compaction_triggers(limits, cooldown=0)):
        plain = outputs(operator, [(100 * n, each) for n, each in enumerate(answers)])
        rested = [
            (100 * n + k, each) for n, one in enumerate(answers) for k, each in ((0, one), (9, idle("s")))
        ]
        assert outputs(operator, rested) == plain != []


class Idles(CountLogic):
    """Says something when the session is idle, too."""

    wants: ClassVar[tuple[type[SessionEvent], ...]] = (ev.SessionIdle, ev.SessionStatus)

    def on_event(self, state: Count, event: SessionEvent, now: float) -> Iterable[Any]:
        state.events += 1
        return ((type(event).__name__, state.events, now),)


def test_what_is_said_of_the_idle_is_said_before_the_rest() -> None:
    """A logic that wants the very event that puts its state away."""
    fold = SessionFold(Idles(), lambda fault: None)
    calls = fold.calls()
    assert fold.resting is not None
    assert list(calls[ev.SessionStatus](busy("s"), 1.0)) == [("SessionStatus", 1, 1.0)]
    assert (list(fold.states), list(fold.resting.kept)) == (["s"], [])
    assert list(calls[ev.SessionStatus](ev.SessionStatus("s", status="idle"), 2.0)) == [
        ("SessionStatus", 2, 2.0)
    ]
    assert (list(fold.states), list(fold.resting.kept)) == ([], ["s"])
    assert list(calls[ev.SessionIdle](idle("s"), 3.0)) == [("SessionIdle", 3, 3.0)]
    assert (list(fold.states), list(fold.resting.kept)) == ([], ["s"])
