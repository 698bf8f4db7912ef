"""``FamilyFold``: states that know each other, requests, links, and what raises."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

import operators as ops
from operators.family import FamilyFold
from operators.tombstones import TOMBSTONE
from streams import events as ev
from streams.events import SessionEvent
from streams.faults import Fault
from streams.testing import (
    Timeline,
    busy,
    created,
    deleted,
    idle,
    permission,
    permission_reply,
    question,
    question_reply,
    text,
    updated,
)


@dataclass
class State:
    session_id: str
    since: float
    due: float | None = None


class Diary(FamilyFold[State, str]):
    """Says everything that it is asked."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.broken = ""
        super().__init__(self.faults.append)

    def takes(self) -> Mapping[type[SessionEvent], Callable[[State, SessionEvent, float], Iterable[str]]]:
        return {
            ev.PartUpdated: self._take,
            ev.SessionStatus: self._take,
            ev.SessionIdle: self._take,
        }

    def start(self, session_id: str, now: float) -> State:
        return State(session_id, now)

    def deadline(self, state: State) -> float | None:
        return state.due

    def on_timer(self, state: State, now: float) -> Iterable[str]:
        state.due = None
        yield self._said(f"timer of {state.session_id} at {now}", "timer")

    def linked(self, session_id: str, now: float) -> Iterable[str]:
        yield self._said(f"{session_id} is below {self.tree.parent(session_id)}", "linked")

    def described(self, session_id: str, now: float) -> Iterable[str]:
        yield self._said(f"{session_id} described", "described")

    def waiting_changed(self, session_ids: Iterable[str], now: float) -> Iterable[str]:
        for each in session_ids:
            yield self._said(f"{each} {'waits' if each in self.waiting else 'waits no more'}", "waiting")

    def gone(self, state: State, event: SessionEvent | None, now: float) -> Iterable[str]:
        yield self._said(f"{state.session_id} gone", "gone")

    def reconnected(self, now: float) -> Iterable[str]:
        for each in self.states.values():
            each.due = now + 1
        yield self._said("connected", "reconnected")

    def _take(self, state: State, event: SessionEvent, now: float) -> Iterable[str]:
        state.due = None if isinstance(event, ev.SessionIdle) else now + 10
        yield self._said(f"{state.session_id} {type(event).__name__}", "take")

    def _said(self, words: str, what: str) -> str:
        if self.broken == what:
            raise RuntimeError(words)
        return words

    def play(self, *rows: tuple[float, SessionEvent]) -> list[str]:
        """All that is said; the nearest ancestor's call is made, as by the hub."""
        calls, said = self.calls(), list[str]()
        for now, event in rows:
            kind = next((each for each in type(event).__mro__ if each in calls), None)
            said += () if kind is None else calls[kind](event, now)
        return said


@pytest.fixture
def diary() -> Diary:
    return Diary()


FAMILY = [(0.0, created("p")), (0.0, created("c", "p")), (0.0, created("d", "c"))]


def test_waiting_is_told_to_all_above_when_it_begins_and_ends(diary: Diary) -> None:
    """I5: of two requests the second changes nothing, and the first answer neither."""
    diary.play(*FAMILY)
    assert diary.play((1, permission("d", "r1"))) == ["d waits", "c waits", "p waits"]
    assert diary.play((2, question("d", "r2"))) == []
    assert diary.play((3, permission_reply("d", "r1"))) == []
    assert diary.play((4, question_reply("d", "unknown"))) == []
    assert sorted(diary.play((5, question_reply("d", "r2")))) == [
        "c waits no more",
        "d waits no more",
        "p waits no more",
    ]
    assert (diary.requests, diary.waiting) == ({}, {})


def test_an_idle_ends_only_its_own_waiting(diary: Diary) -> None:
    """I5: an aborted turn drops its requests without a word; its parent's and its child's stay."""
    diary.play(
        *FAMILY, (1, permission("c", "r1")), (1, permission("d", "r2")), (1, permission("p", "r3"))
    )
    said = diary.play((2, idle("c")))
    assert said == ["c SessionIdle"]
    assert diary.requests == {"r2": "d", "r3": "p"}
    assert diary.play((3, idle("d"))) == ["d waits no more", "c waits no more", "d SessionIdle"]
    assert diary.play((4, busy("p"))) == ["p SessionStatus"]
    assert list(diary.waiting) == ["p"]
    assert diary.play((5, ev.SessionStatus("p", status="idle"))) == ["p waits no more", "p SessionStatus"]


def test_what_is_no_request_asks_nothing(diary: Diary) -> None:
    """A reply of a session that nobody heard of, an event of none, a deleted session's request."""
    asked = ev.PermissionAsked("", request_id="r")
    assert diary.play((0, asked), (0, created("s")), (1, deleted("s")), (2, permission("s", "r"))) == [
        "s described",
        "s gone",
    ]
    assert diary.requests == {}


def test_a_session_that_is_made_by_its_request_has_the_time_of_it(diary: Diary) -> None:
    """And waits at once; a link that comes later reaches those above."""
    assert diary.play((7.0, permission("d", "r"))) == ["d waits"]
    assert diary.states["d"].since == 7.0
    assert diary.play((8.0, created("c")), (9.0, created("d", "c"))) == [
        "c described",
        "d is below c",
        "c waits",
    ]


def test_the_end_of_one_that_waits_ends_waiting_above(diary: Diary) -> None:
    """I5, E1: with its request, its deadline and its link."""
    diary.play(*FAMILY, (1, text("d", "m", "x", "hi")), (1, permission("d", "r")))
    assert diary.deadlines.armed == {"d": 11.0}
    assert sorted(diary.play((2, deleted("d")))) == ["c waits no more", "d gone", "p waits no more"]
    assert (diary.requests, diary.waiting, diary.tree.children("c")) == ({}, {}, ())
    assert diary.deadlines.armed == {"d": 2 + TOMBSTONE}
    assert diary.play((3, updated("d", parent_id="c")), (3, text("d", "m", "x", "hi"))) == []


@pytest.mark.parametrize(
    ("broken",      "event",                         "session", "words"),
    [
        ("take",        text("c", "m", "x", "hi"),       "c",       "c PartUpdated"),
        ("described",   updated("c", parent_id="p"),     "c",       "c described"),
        ("linked",      created("d", "c"),               "d",       "d is below c"),
        ("waiting",     permission("c", "r"),            "",        "c waits"),
        ("gone",        deleted("c"),                    "c",       "c gone"),
        ("reconnected", ev.StreamConnected(),            "",        "connected"),
    ],
)  # fmt: skip
def test_what_raises_is_one_fault(
    diary: Diary, broken: str, event: SessionEvent, session: str, words: str
) -> None:
    """S12: who, when and what; the others go on."""
    diary.play((0, created("p")), (0, created("c", "p")), (0, created("d")))
    diary.broken = broken
    assert diary.play((4.5, event)) == []
    ((name, at_session, at, error),) = [
        (each.where, each.session_id, each.at, each.error) for each in diary.faults
    ]
    assert (name, at_session, at, str(error)) == ("Diary", session, 4.5, words)
    diary.broken = ""
    assert diary.play((5, text("p", "m", "x", "hi"))) == ["p PartUpdated"]


def test_a_fault_of_a_timer_and_of_the_end(diary: Diary) -> None:
    """S12: each of its session; the others' are said."""
    diary.play((0, text("a", "m", "x", "hi")), (1, text("b", "m", "x", "hi")))
    diary.broken = "timer"
    assert diary.fire(10.0) == []
    diary.broken = ""
    assert diary.fire(11.0) == ["timer of b at 11.0"]
    diary.broken = "gone"
    assert diary.end(12.0) == []
    assert [(each.session_id, each.at) for each in diary.faults] == [
        ("a", 10.0),
        ("a", 12.0),
        ("b", 12.0),
    ]
    assert not diary.states


def test_a_deadline_that_moved_is_looked_at_again(diary: Diary) -> None:
    """X11: later than it was armed, it fires later; taken away, never."""
    diary.play(
        (0, text("a", "m", "x", "hi")), (0, text("b", "m", "x", "hi")), (4, text("a", "m", "x", "!"))
    )
    diary.play((5, idle("b")))
    assert diary.deadlines.armed == {"a": 10}
    assert diary.fire(10.0) == []
    assert diary.deadlines.armed == {"a": 14.0}
    assert diary.fire(14.0) == ["timer of a at 14.0"]
    assert len(diary.deadlines) == 0


def test_a_reconnect_sets_every_session_s_deadline(diary: Diary) -> None:
    """S1: what was pending before may have ended unheard."""
    diary.play((0, idle("a")), (0, idle("b")))
    assert diary.play((3, ev.StreamConnected())) == ["connected"]
    assert diary.deadlines.armed == {"a": 4, "b": 4}
    assert diary.play((5, ev.StreamGap())) == ["connected"]


def test_a_tombstone_comes_due(diary: Diary) -> None:
    """E5: a deleted session's name is forgotten in time, and nothing is left of it."""
    diary.play((0, created("a")), (1, deleted("a")))
    (due,) = diary.deadlines.armed.values()
    assert diary.fire(due) == []
    assert diary.deadlines.armed == {}
    assert diary.play((due + 1, text("a", "m", "x", "hi"))) == ["a PartUpdated"]


def test_a_session_created_anew_is_heard_again(diary: Diary) -> None:
    """E5: and only that one."""
    diary.play((0, created("a")), (0, created("b")), (1, deleted("a")), (1, deleted("b")))
    assert diary.play((2, updated("a"))) == []
    diary.play((3, created("a")))
    said: Any = diary.play((4, text("a", "m", "x", "hi")), (4, text("b", "m", "x", "hi")))
    assert said == ["a PartUpdated"]


def test_data_without_a_parent_unlinks_nobody(diary: Diary) -> None:
    """S10: an update that does not say it; and a fold's name is its class's, for its snapshots."""
    diary.play(*FAMILY)
    assert diary.play((1, updated("c"))) == ["c described"]
    assert diary.tree.parent("c") == "p"
    assert diary.name == "Diary"


@pytest.mark.parametrize(
    ("operator",           "where"),
    [
        (ops.continuations,    "ContinuationsFold"),
        (ops.session_overview, "OverviewFold"),
        (ops.stalls,           "StallsFold"),
        (ops.task_progress,    "TaskProgressFold"),
    ],
)  # fmt: skip
def test_every_family_reports_to_its_source(operator: Callable[[], Any], where: str) -> None:
    """S12: an event of no shape that was ever promised is one fault, of its session and its time."""
    line = Timeline()
    line.watch(operator())
    broken: Any = None
    line.play((3, ev.PartUpdated("s", part=broken)), (4, busy("s")))
    (fault,) = line.faults
    assert (fault.where, fault.session_id, fault.at) == (where, "s", 3.0)
    assert isinstance(fault.error, AttributeError), "the fold's own error, not one of telling it"


def test_who_takes_no_idle_hears_that_waiting_is_over() -> None:
    """I5: of a fold that does not care for statuses."""

    class Careless(Diary):
        def takes(self) -> Any:
            return {ev.PartUpdated: self._take}

    diary = Careless()
    diary.play((0, created("s")), (1, permission("s", "r")))
    assert diary.play((2, busy("s")), (3, ev.SessionStatus("s", status="idle"))) == ["s waits no more"]
    assert diary.play((4, idle("s"))) == []
