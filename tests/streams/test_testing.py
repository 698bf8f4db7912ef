"""For tests of events: builders, virtual time and marbles do what they say."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from reactivex import operators as rxops

import operators as ops
from streams import events as ev
from streams import testing
from streams.events import SessionEvent
from streams.testing import Timeline, marbles, outputs, play_marbles

EVENTS: list[tuple[SessionEvent, SessionEvent]] = [
    (testing.busy("s"), ev.SessionStatus("s", status="busy")),
    (testing.retry("s", 2, next=9.0), ev.SessionStatus("s", status="retry", attempt=2, next=9.0)),
    (testing.idle("s"), ev.SessionIdle("s")),
    (testing.compacted("s"), ev.SessionCompacted("s")),
    (testing.created("s", "p", title="t"), ev.SessionCreated("s", parent_id="p", title="t")),
    (
        testing.updated("s", revert="m", model="a/x/y", title="t", parent_id="p"),
        ev.SessionUpdated("s", parent_id="p", title="t", provider_id="a", model_id="x/y", revert="m"),
    ),
    (testing.deleted("s"), ev.SessionDeleted("s")),
    (testing.error("s", "APIError", "no"), ev.SessionError("s", error=ev.AgentError("APIError", "no"))),
    (testing.removed("s", "m"), ev.MessageRemoved("s", message_id="m")),
    (testing.text("s", "m", "p", "x"), ev.PartUpdated("s", part=ev.Part("p", "m", "text", "x"))),
    (
        testing.text("s", "m", "p", "x", synthetic=True),
        ev.PartUpdated("s", part=ev.Part("p", "m", "text", "x", synthetic=True)),
    ),
    (
        testing.delta("s", "m", "p", "x"),
        ev.PartDelta("s", message_id="m", part_id="p", field="text", delta="x"),
    ),
    (
        testing.tool("s", "c", "bash", "completed", input={"a": 1}, output="o", metadata={"exit": 0}),
        ev.PartUpdated(
            "s",
            part=ev.Part(
                "prt_c",
                "m",
                "tool",
                tool="bash",
                call_id="c",
                state=ev.ToolState(
                    "completed", msgspec.Raw(b'{"a":1}'), msgspec.Raw(b'"o"'), msgspec.Raw(b'{"exit":0}')
                ),
            ),
        ),
    ),
    (
        testing.tool("s", "c", "bash", "error", error="no", message_id="n", part_id="q"),
        ev.PartUpdated(
            "s",
            part=ev.Part(
                "q", "n", "tool", tool="bash", call_id="c", state=ev.ToolState("error", error="no")
            ),
        ),
    ),
    (
        testing.tool_before("s", "bash", "c", {"a": 1}),
        ev.ToolExecuteBefore("s", call_id="c", tool="bash", input=msgspec.Raw(b'{"a":1}')),
    ),
    (
        testing.tool_after("s", "bash", "c", "o"),
        ev.ToolExecuteAfter("s", call_id="c", tool="bash", output="o"),
    ),
    (
        testing.todos("s", "completed", "pending"),
        ev.TodosUpdated("s", todos=(ev.Todo("todo 1", "completed"), ev.Todo("todo 2", "pending"))),
    ),
    (testing.permission("s", "r", "c"), ev.PermissionAsked("s", request_id="r", call_id="c")),
    (testing.permission_reply("s", "r"), ev.PermissionReplied("s", request_id="r", reply="once")),
    (testing.question("s", "q", "c"), ev.QuestionAsked("s", request_id="q", call_id="c")),
    (
        testing.question_reply("s", "q", rejected=True),
        ev.QuestionReplied("s", request_id="q", rejected=True),
    ),
    (testing.heartbeat(), ev.Heartbeat()),
]


@pytest.mark.parametrize(("built", "event"), EVENTS, ids=lambda event: type(event).__name__)
def test_a_builder_makes_the_event_it_names(built: SessionEvent, event: SessionEvent) -> None:
    """With no more said than it was told."""
    assert built == event


def played(event: SessionEvent, at: float = 3.0) -> Any:
    """The event as an operator gets it."""
    line = Timeline()
    seen = line.watch(lambda source: source)
    line.play((at, event))
    return seen[0][1]


def test_a_message_was_made_when_it_is_played_unless_it_says_when() -> None:
    """``created`` is what orders messages, so a table of events need not repeat its times."""
    made = played(
        testing.assistant("s", "m", input=1, output=2, cache_read=3, cache_write=4, reasoning=5)
    )
    assert (made.at, made.created, made.finish, made.role) == (3.0, 3.0, "stop", "assistant")
    assert made.tokens == ev.Tokens(1, 2, 5, ev.Cache(3, 4))
    assert (made.provider_id, made.model_id) == ("anthropic", "x")

    dated = played(
        testing.assistant("s", "m", created=1.0, completed=2.0, tokens=False, error="APIError")
    )
    assert (dated.created, dated.completed, dated.tokens) == (1.0, 2.0, None)
    assert dated.error == ev.AgentError("APIError")
    said = played(testing.user("s", "u", model="acme/y"))
    assert (said.created, said.role, said.provider_id, said.model_id) == (3.0, "user", "acme", "y")
    assert played(testing.user("s", "u", created=1.0)).created == 1.0


def test_a_timeline_plays_events_at_their_times_into_each_operator() -> None:
    """The clock moves to each event; timers between run; every fault is kept."""
    line = Timeline()
    assert line.scheduler.seconds() == 0.0
    seen = line.watch(ops.expire_after(2), ops.expire_after(5))
    line.play((1, testing.idle("s")), (4, testing.idle("s")))
    line.advance_to(20)

    names = [(at, type(event).__name__, event.at) for at, event in seen]
    assert names == [
        (1.0, "SessionIdle", 1.0),
        (1.0, "SessionIdle", 1.0),
        (3.0, "SessionExpired", 3.0),
        (4.0, "SessionIdle", 4.0),
        (4.0, "SessionIdle", 4.0),
        (6.0, "SessionExpired", 6.0),
        (9.0, "SessionExpired", 9.0),
    ]
    assert line.scheduler.pending == 0
    line.hub.subscribe(lambda _: 1 / 0)
    line.play((30, testing.idle("s")))
    assert [(fault.at, type(fault.error)) for fault in line.faults] == [(30.0, ZeroDivisionError)]


def test_outputs_hide_no_fault() -> None:
    """A logic that raises fails the test that did not expect it, and says with what."""

    class Broken(ops.Logic[list[str], str]):
        wants = (ev.SessionIdle,)

        def start(self, session_id: str, now: float) -> list[str]:
            return []

        def on_event(self, state: list[str], event: SessionEvent, now: float) -> Any:
            raise LookupError("no such thing")

    with pytest.raises(AssertionError, match=r"^Broken \[s\]: LookupError: no such thing$") as raised:
        outputs(ops.per_session(Broken()), [testing.idle("s")])
    assert isinstance(raised.value.__cause__, LookupError)


def test_outputs_are_what_an_operator_emits() -> None:
    """Events without a time come one second apart; ``until`` lets time pass; then the end, or not."""
    stamp = rxops.map(lambda event: (type(event).__name__, event.at))

    def stamped(source: Any) -> Any:
        return source.pipe(ops.expire_after(2), stamp)

    assert outputs(stamped, [testing.idle("a"), testing.idle("b")]) == [
        ("SessionIdle", 0.0),
        ("SessionIdle", 1.0),
    ]
    assert outputs(stamped, [(5, testing.idle("a"))], until=100) == [
        ("SessionIdle", 5.0),
        ("SessionExpired", 7.0),
    ]
    assert outputs(stamped, []) == []

    def ended(source: Any) -> Any:
        return source.pipe(rxops.count())

    assert outputs(ended, [testing.idle("a")]) == [1]
    assert outputs(ended, [testing.idle("a")], complete=False) == []


def test_marbles_are_read_in_reactivex_s_notation() -> None:
    """A character is a step; values in brackets come at one time; ``|`` and ``#`` end it."""
    notes = marbles("--a-(b,c)-|", {"a": 1, "b": 2, "c": 3}, step=10)

    assert [(at, each.kind, getattr(each, "value", None)) for at, each in notes] == [
        (20.0, "N", 1),
        (40.0, "N", 2),
        (40.0, "N", 3),
        (100.0, "C", None),
    ]
    assert [(at, each.kind) for at, each in marbles("a-#", {"a": 1})] == [(0.0, "N"), (2.0, "E")]
    with pytest.raises(ValueError, match=r"'b' in 'a-b-\|' stands for nothing; known: a, c"):
        marbles("a-b-|", {"a": 1, "c": 2})


@pytest.mark.parametrize(
    ("diagram", "expected"),
    [
        ("a-b--|", [(0, "N"), (2, "N"), (2, "N"), (4, "N"), (5, "C")]),
        ("a--#", [(0, "N"), (2, "N"), (3, "E")]),
        ("(a,b)-|", [(0, "N"), (0, "N"), (2, "N"), (2, "N"), (6, "C")]),
        ("a--", [(0, "N"), (2, "N")]),
        ("--", []),
    ],
)
def test_marbles_are_played_through_an_operator(diagram: str, expected: list[tuple[float, str]]) -> None:
    """Every notification with its time; the clock goes on to the diagram's end."""
    lookup = {"a": testing.idle("s"), "b": testing.idle("t")}
    notes = play_marbles(diagram, lookup, ops.expire_after(2))

    assert [(at, each.kind) for at, each in notes] == expected


def test_every_name_is_there() -> None:
    """``__all__`` is sorted and complete: nothing public is missing from it."""
    public = {
        name
        for name, value in vars(testing).items()
        if isinstance(value, Callable | type)
        and not name.startswith("_")
        and value.__module__ == testing.__name__
    }

    assert sorted(public) == sorted(testing.__all__)
