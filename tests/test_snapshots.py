"""Every operator goes on from a snapshot as if nothing had happened."""

import random
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest

from operators.per_session import Logic, SessionFold
from operators.snapshots import Kept, SnapshotRefused, encode, state_type
from streams import events as ev
from streams import recordings
from streams import testing as say
from streams.events import SessionEvent
from streams.hub import EventHub
from streams.memory import Memory
from streams.schedulers import Replay

Said = list[tuple[str, float, Any]]


class Pipeline:
    """All operators on one hub, in virtual time, from a snapshot or from nothing."""

    def __init__(self, operators: dict[str, Any], start: float, snapshots: dict[str, bytes]) -> None:
        self.clock = Replay(start)
        self.memory = Memory(snapshots)
        self.hub = EventHub(scheduler=self.clock, memory=self.memory)
        self.said: Said = []
        for name, operator in operators.items():
            self.hub.pipe(operator).subscribe(self._note(name))

    def _note(self, name: str) -> Callable[[Any], None]:
        return lambda value: self.said.append((name, self.clock.seconds(), value))

    def feed(self, events: Iterable[SessionEvent]) -> None:
        for event in events:
            self.clock.advance_to(event.at)
            self.hub.on_next(event)


def continued(make: Callable[[], dict[str, Any]], events: list[SessionEvent], cuts: set[int]) -> Said:
    """The outputs of a run that is stopped and started anew at each cut."""
    pipeline = Pipeline(make(), 0.0, {})
    said: Said = []
    for number, event in enumerate(events):
        pipeline.feed([event])
        if number in cuts:
            said += pipeline.said
            pipeline = Pipeline(make(), pipeline.clock.seconds(), pipeline.memory.take())
    pipeline.clock.advance_by(20_000)
    return said + pipeline.said


def same(one: Said, other: Said) -> None:
    """Equal as a subscriber of each operator sees them: order between operators is no promise."""
    for name in {each[0] for each in [*one, *other]}:
        assert [each for each in one if each[0] == name] == [each for each in other if each[0] == name]


@pytest.mark.parametrize("name", ["basic", "subagents", "compaction", "permission", "nextgen", "abort"])
def test_a_recording_goes_on(name: str, recording_of: Any, every_operator: Any) -> None:
    """Stopped every few events, the outputs and the timers of quiet sessions are the same (engine 6)."""
    events = list(recordings.read(recording_of(name).path))[:600]
    whole = continued(every_operator, events, set())
    assert whole
    step = max(1, len(events) // 8)
    same(whole, continued(every_operator, events, set(range(0, len(events), step))))


def test_each_boundary_alone(recording_of: Any, every_operator: Any) -> None:
    """One stop, wherever it is, changes nothing that is said before or after it."""
    events = list(recordings.read(recording_of("basic").path))
    whole = continued(every_operator, events, set())
    for cut in range(0, len(events), 11):
        same(whole, continued(every_operator, events, {cut}))


def history(seed: int) -> list[SessionEvent]:
    """Three sessions, a child among them, doing what sessions do at odd times."""
    chosen = random.Random(seed)
    names = ["a", "b", "c"]
    events: list[SessionEvent] = [say.created("a"), say.created("b", "a"), say.created("c")]
    for number in range(60):
        session, message = chosen.choice(names), f"m{number // 6}"
        kinds: list[Callable[[], SessionEvent]] = [
            lambda: say.busy(session),
            lambda: say.idle(session),
            lambda: say.user(session, message),
            lambda: say.assistant(session, message, input=chosen.choice([1, 150_000, 190_000])),
            lambda: say.delta(session, message, f"p{message}", "word "),
            lambda: say.tool(session, f"call{number // 9}", "task", "running"),
            lambda: say.tool(session, f"call{number // 9}", "task", "completed"),
            lambda: say.permission(session, f"r{number // 9}"),
            lambda: say.permission_reply(session, f"r{number // 9}"),
            lambda: say.todos(session, "pending", "completed"),
            lambda: say.compacted(session),
            lambda: say.deleted(session),
            lambda: say.created(session, "a" if session == "b" else ""),
        ]
        events.append(chosen.choice(kinds)())
    at, timed = 0.0, list[SessionEvent]()
    for event in events:
        at += chosen.choice([0.0, 0.2, 1.0, 7.0, 61.0, 700.0])
        timed.append(msgspec.structs.replace(event, at=at))
    return timed


@pytest.mark.parametrize("seed", range(4))
def test_random_histories_go_on(seed: int, every_operator: Any) -> None:
    """Stopped after every single event of a random history, everything is said that would be."""
    events = history(seed)
    same(
        continued(every_operator, events, set()),
        continued(every_operator, events, set(range(len(events)))),
    )


def test_every_operator_is_in_memory(every_operator: Any) -> None:
    """None is left out, not even one behind a hub of its own (``compact``)."""
    cores: list[Any] = []
    pipeline = Pipeline(every_operator(cores.append), 0.0, {})
    assert len(pipeline.memory.take()) == len(cores) == len(every_operator())


class Count(msgspec.Struct):
    number: int = 0


class Counting(Logic[Count, int]):
    wants = (ev.SessionIdle,)

    def start(self, session_id: str, now: float) -> Count:
        return Count()

    def on_event(self, state: Count, event: SessionEvent, now: float) -> Iterable[int]:
        state.number += 1
        return (state.number,)


class Newer(Counting):
    version = 2


def fold(logic: Logic[Any, Any]) -> SessionFold[Any, Any]:
    return SessionFold(logic, lambda fault: None)


def test_what_is_of_another_is_refused() -> None:
    """Another operator's, a newer format's and damaged bytes are refused, and change nothing."""
    taken = fold(Counting())
    list(taken.on_event(say.idle("s"), 1.0))
    good = taken.snapshot()
    for logic, data, words in [
        (Newer(), good, "a snapshot of Counting, format 1, cannot be restored into Newer, format 2"),
        (Counting(), good[:-3], "not a snapshot of Counting"),
        (Counting(), b"", "not a snapshot of Counting"),
        (
            Counting(),
            good.replace(b"number", b"numbex").replace(b"\x01", b"\xa0"),
            "snapshot of Counting",
        ),
    ]:
        fresh = fold(logic)
        with pytest.raises(SnapshotRefused, match=words):
            fresh.restore(data)
        assert not fresh.states


def test_what_is_damaged_says_where() -> None:
    """By the operator's name, and in the words of whoever could not read it."""
    damaged = encode("Counting", 1, Kept({"s": Count("many")}, {}))  # pyright: ignore[reportArgumentType]
    with pytest.raises(SnapshotRefused) as refused:
        fold(Counting()).restore(damaged)
    assert str(refused.value) == (
        "the snapshot of Counting is damaged: Expected `int`, got `str` - at `$.states[...].number`"
    )


def test_a_logic_that_does_not_say_what_it_keeps_is_refused() -> None:
    """Its states could be written down, and not read back."""

    class Silent(Counting):
        def start(self, session_id, now):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            return Count()

    with pytest.raises(
        SnapshotRefused, match=r"start.* must say in its annotation what it returns, got None"
    ):
        fold(Silent()).restore(fold(Counting()).snapshot())
    with pytest.raises(SnapshotRefused, match=r"must say in its annotation what it returns, got ~_State"):
        state_type(Logic.start)
