"""Loops are found where there are some, and nowhere else."""

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

import operators as ops
from operators.call_signatures import WINDOW
from operators.per_session import SessionFold
from operators.tool_loops import CALLS, LoopState, ToolLoop, ToolLoopsLogic
from streams.events import PartUpdated, SessionEvent, SessionExpired
from streams.testing import (
    Timeline,
    deleted,
    idle,
    outputs,
    text,
    tool,
    tool_after,
    tool_before,
)

X = {"path": "a"}


def call(number: int, *, tool_name: str = "read", arguments: object = X) -> PartUpdated:
    """A call that runs, its input known."""
    return tool("s", f"c{number}", tool_name, "running", input=arguments)


def done(number: int, output: str, *, tool_name: str = "read", arguments: object = X) -> PartUpdated:
    return tool("s", f"c{number}", tool_name, "completed", input=arguments, output=output)


def loops(events: Iterable[SessionEvent], **arguments: Any) -> list[tuple[str, int, str]]:
    """What is said: the kind, the length, at which call."""
    line = Timeline()
    seen = line.watch(ops.tool_loops(**arguments))
    line.play(*enumerate(events))
    assert line.faults == []
    return [(loop.kind, loop.length, loop.call_id) for _, loop in seen]


class TestCounting:
    """P12: tool calls are distinct call ids, whatever is said of them and in what order."""

    def test_each_call_once(self) -> None:
        """P12: pending, running x3, completed of c1 are 1 call; an error alone is c2: 2."""
        states = ["pending", "running", "running", "running", "completed"]
        events = [tool("s", "c1", "bash", status) for status in states]
        assert loops(events, max_calls=1) == [("calls", 1, "c1")]
        assert loops([*events, tool("s", "c2", "bash", "error")], max_calls=2) == [("calls", 2, "c2")]

    def test_hook_and_part_are_one_call(self) -> None:
        """P12: before, the parts and after of one call id are 1 call."""
        events = [
            tool_before("s", "mcp_read", "c1", X),
            call(1),
            tool_after("s", "read", "c1"),
            done(1, ""),
        ]
        assert loops(events, max_calls=1) == [("calls", 1, "c1")]

    @pytest.mark.parametrize(
        "last",
        [
            call(2),
            done(2, ""),
            tool_before("s", "read", "c2", X),
            tool_after("s", "read", "c2"),
        ],
    )
    def test_all_that_is_said_of_too_many(self, last: SessionEvent) -> None:
        said = outputs(ops.tool_loops(max_calls=2, repeats=None), [(1, call(1)), (7, last)])
        assert said == [ToolLoop("s", 7.0, "calls", (), 2, 2, "c2")]

    @pytest.mark.parametrize(
        "last",
        [call(3), done(3, ""), tool_before("s", "read", "c3", X)],
    )
    def test_all_that_is_said_of_a_loop(self, last: SessionEvent) -> None:
        first = [(0, call(0, tool_name="bash")), (1, call(1)), (2, call(2))]
        said = outputs(ops.tool_loops(repeats=3), [*first, (7, last)])
        assert said == [ToolLoop("s", 7.0, "repeat", ("read",), 3, 4, "c3")]

    def test_defaults(self) -> None:
        """Twenty in a row, in rounds of two at the most; 4000 in all."""
        rounds = [call(number, tool_name=name) for number, name in enumerate("ab" * 10)]
        assert loops(rounds) == [("cycle", 20, "c19")]
        assert loops([call(number, tool_name=name) for number, name in enumerate("abc" * 20)]) == []
        many = [call(number, arguments={"number": number}) for number in range(4000)]
        assert loops(many) == [("calls", 4000, "c3999")]

    def test_an_after_alone(self) -> None:
        """P12: a call that only its after tells of is a call; a hook that names none is not."""
        assert loops([tool_after("s", "read", "c1")], max_calls=1) == [("calls", 1, "c1")]
        assert loops([tool_after("s", "read", ""), tool_before("s", "read", "", X)], max_calls=1) == []

    def test_without_a_cap(self) -> None:
        """P12: without a cap no number is too many."""
        assert loops((call(n, arguments=n) for n in range(5_000)), max_calls=None) == []

    def test_without_any_id(self) -> None:
        """P12: the part's id stands in for a call id; without either it is not counted."""
        nameless = tool("s", "", "bash", "completed")
        bare = msgspec.structs.replace(nameless, part=msgspec.structs.replace(nameless.part, id=""))
        events = [bare, bare, nameless, nameless]
        assert loops(events, max_calls=1) == [("calls", 1, "prt_")]


class TestFalsePositives:
    """P13: what only looks like a loop."""

    def test_other_inputs(self) -> None:
        """P13: 25 reads of 25 files are none."""
        assert loops(call(n, arguments={"path": f"{n}"}) for n in range(25)) == []

    @pytest.mark.parametrize("status", ["pending", "running", "completed", "error"])
    def test_unknown_input_equals_nothing(self, status: str) -> None:
        """P13: 25 calls with no input are none, in whatever state."""
        assert loops(tool("s", f"c{n}", "read", status) for n in range(25)) == []
        assert loops(tool_before("s", "read", f"c{n}") for n in range(25)) == []

    def test_a_different_call_resets(self) -> None:
        """P13: 19 equal, 1 other, 19 equal are none; so are they around one of unknown input."""
        before, after = [call(n) for n in range(19)], [call(n) for n in range(20, 39)]
        assert loops([*before, call(19, arguments={"path": "b"}), *after]) == []
        assert loops([*before, tool("s", "c19", "read", "error"), *after]) == []
        assert loops([*before, call(19, tool_name="glob"), *after]) == []

    def test_key_order(self) -> None:
        """P13: {a: 1, b: 2} and {b: 2, a: 1} are one input, nested ones too."""
        one, other = {"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}
        events = (call(n, arguments=one if n % 2 else other) for n in range(20))
        assert loops(events) == [("repeat", 20, "c19")]

    def test_two_sessions(self) -> None:
        """10 calls in each of two sessions, interleaved, are no 20."""
        events = [tool(f"s{n % 2}", f"c{n}", "read", "running", input=X) for n in range(38)]
        assert loops(events) == []


class TestFalseNegatives:
    """P14: what is a loop although it does not look like one at first."""

    def test_input_known_late(self) -> None:
        """P14: 20 calls, each pending without input, then running with it: a loop at call 20."""
        events = [
            event
            for n in range(25)
            for event in (tool("s", f"c{n}", "read", "pending", input={}), call(n))
        ]
        assert loops(events) == [("repeat", 20, "c19")]

    def test_status_updates_neither_add_nor_reset(self) -> None:
        """P14: each call said five times over, the next one pending in between: still call 20."""
        events = [
            event
            for n in range(20)
            for event in (
                call(n),
                tool("s", f"c{n + 1}", "read", "pending"),
                call(n),
                done(n, "-"),
                done(n, "-"),
            )
        ]
        assert loops(events) == [("repeat", 20, "c19")]

    def test_cycle_of_two(self) -> None:
        """P14: A, B ten times over is a loop of 20; without looking for cycles it is none."""
        events = [call(n, arguments={"path": "ab"[n % 2]}) for n in range(20)]
        assert loops(events) == [("cycle", 20, "c19")]
        assert loops(events, cycles=1) == []

    def test_cycle_of_three(self) -> None:
        """P14: longer rounds are found when they are looked for, with their tools in order."""
        names = ["glob", "read", "edit"]
        events = [call(n, tool_name=names[n % 3]) for n in range(12)]
        assert loops(events, repeats=9, cycles=2) == []
        [loop] = outputs(ops.tool_loops(repeats=9, cycles=3), events)
        assert (loop.kind, loop.length, loop.tools) == ("cycle", 9, ("glob", "read", "edit"))

    def test_a_cycle_takes_two_rounds(self) -> None:
        """P14: two different calls are no cycle of two, even where 2 in a row are a loop."""
        events = [call(n, arguments={"path": "ab"[n % 2]}) for n in range(4)]
        assert loops(events, repeats=2) == [("cycle", 4, "c3")]

    def test_the_cap_alone(self) -> None:
        """P14: a cap of 3 works at call 3 with detection off, and again at each multiple."""
        events = [call(n) for n in range(7)]
        assert loops(events, repeats=None, max_calls=3) == [("calls", 3, "c2"), ("calls", 6, "c5")]

    def test_said_again_at_each_multiple(self) -> None:
        """A loop that goes on is said again, at 40 calls, at 60, …"""
        assert [length for _, length, _ in loops(call(n) for n in range(65))] == [20, 40, 60]

    def test_hooks_alone(self) -> None:
        """An integrator's hooks are enough."""
        assert loops(tool_before("s", "read", f"c{n}", X) for n in range(20)) == [("repeat", 20, "c19")]


class TestResults:
    """P15: with results known, equal input and another output is progress."""

    def test_differing_output(self) -> None:
        """P15: 25 times `pytest` with differing output are none, neither alone nor as a cycle."""
        events = [event for n in range(25) for event in (call(n), done(n, f"{n} failed"))]
        assert loops(events) == []

    def test_identical_output(self) -> None:
        """P15: with identical output they are a loop, at 20."""
        events = [event for n in range(25) for event in (call(n), done(n, "3 failed"))]
        assert loops(events) == [("repeat", 20, "c19")]

    def test_identical_errors(self) -> None:
        """P15: an error is a result too."""
        failed = [tool("s", f"c{n}", "read", "error", input=X, error=f"no file {n}") for n in range(25)]
        assert loops(failed) == []
        failed = [tool("s", f"c{n}", "read", "error", input=X, error="no file") for n in range(25)]
        assert loops(failed) == [("repeat", 20, "c19")]

    def test_counted_from_the_change(self) -> None:
        """P15: the run starts anew with the call whose output changed."""
        events = [done(n, "3 failed" if n < 10 else "2 failed") for n in range(40)]
        assert loops(events) == [("repeat", 20, "c29")]

    def test_results_of_parallel_calls(self) -> None:
        """P15: results that come late, and in any order, count where the calls were made."""
        started = [call(n) for n in range(10)]
        results = [done(n, "1" if n < 5 else "2") for n in (7, 3, 5, 4, 6, 9, 8, 2, 1, 0)]
        assert loops([*started, *results, *(call(n) for n in range(10, 30))]) == [("repeat", 20, "c24")]

    def test_results_of_hooks(self) -> None:
        """P15: an after's output is a result; the part that follows says the same one again."""

        def ran(n: int, output: str) -> list[SessionEvent]:
            return [
                tool_before("s", "read", f"c{n}", X),
                tool_after("s", "read", f"c{n}", output),
                done(n, output),
            ]

        assert loops(event for n in range(25) for event in ran(n, f"{n} failed")) == []
        assert loops(event for n in range(25) for event in ran(n, "failed")) == [("repeat", 20, "c19")]

    def test_the_first_two_differ(self) -> None:
        """P15: the very first call's result counts as any other's."""
        assert loops([done(0, "1"), done(1, "2"), done(2, "2")], repeats=3) == []
        assert loops([done(0, "1"), done(1, "2"), done(2, "2"), done(3, "2")], repeats=3) == [
            ("repeat", 3, "c3")
        ]

    def test_the_first_result_counts(self) -> None:
        """P15: of a call's after and its part, what was said first is its result."""
        events = [event for n in range(20) for event in (done(n, "same"), done(n, f"{n}"))]
        assert loops(events) == [("repeat", 20, "c19")]

    def test_the_earlier_result_comes_last(self) -> None:
        """P15: two calls at once whose results differ, the second one's first, are no start of a loop."""
        events = [call(0), call(1), done(1, "2"), done(0, "1"), call(2)]
        assert loops(events, repeats=3) == []
        before = [done(n, "-", arguments={"path": f"{n}"}) for n in range(100, 200)]
        assert loops([*before, *events], repeats=3) == []
        assert loops([*before, *events, call(3)], repeats=3) == [("repeat", 3, "c3")]

    def test_two_outputs_in_turn(self) -> None:
        """P15: a test that fails and passes in turn is no loop, and no cycle of one call with itself."""
        assert loops(done(n, ["failed", "passed"][n % 2]) for n in range(40)) == []

    def test_late_in_a_session(self) -> None:
        """P15: results are compared with the right calls when older ones have been let go."""
        before = [done(n, "-", arguments={"path": f"{n}"}) for n in range(1_000)]
        assert loops([*before, *(done(n, f"{n}") for n in range(1_000, 1_040))]) == []

    def test_a_cycle_that_gets_somewhere(self) -> None:
        """P15: edit, test, edit, test … with another result of each test is no cycle."""
        events = [
            done(n, "ok" if n % 2 else f"{n} failed", tool_name=["test", "edit"][n % 2])
            for n in range(40)
        ]
        assert loops(events) == []


class TestStream:
    def test_nothing(self) -> None:
        """No events, or none of a tool, give nothing."""
        assert loops([]) == []
        assert loops([text("s", "m", "p", "hi"), idle("s")]) == []

    def test_completion_and_error(self) -> None:
        """Nothing is pending: the stream's end goes through as it is."""
        line = Timeline()
        notes: list[object] = []
        line.hub.pipe(ops.tool_loops()).subscribe(notes.append, notes.append)
        line.play(*((n, call(n)) for n in range(19)))
        broken = RuntimeError("broken")
        line.hub.on_error(broken)
        assert notes == [broken]

    def test_disposed_midway(self) -> None:
        """After dispose the 20th call says nothing."""
        line = Timeline()
        seen: list[ToolLoop] = []
        running = line.hub.pipe(ops.tool_loops()).subscribe(seen.append)
        line.play(*((n, call(n)) for n in range(19)))
        running.dispose()
        line.play((19, call(19)))
        assert seen == []

    @pytest.mark.parametrize("end", [deleted("s"), SessionExpired("s")])
    def test_a_session_that_ends(self, end: SessionEvent) -> None:
        """What is kept of a session goes with it; stragglers of a deleted one count for nothing."""
        events = [*(call(n) for n in range(19)), end, call(19)]
        assert loops(events) == []

    def test_an_event_from_inside_a_subscriber(self) -> None:
        """X6: a subscriber may publish; the event follows."""
        line = Timeline()
        seen: list[int] = []

        def answer(loop: ToolLoop) -> None:
            seen.append(loop.calls)
            if loop.calls == 2:
                line.hub.on_next(call(2))
                line.hub.on_next(call(3))

        line.hub.pipe(ops.tool_loops(repeats=2)).subscribe(answer)
        line.play((0, call(0)), (1, call(1)))
        assert seen == [2, 4]

    @pytest.mark.parametrize(
        ("argument", "value", "least"),
        [
            ("repeats", 1, 2),
            ("max_calls", 0, 1),
            ("cycles", 0, 1),
            ("cycles", 1.5, 1),
            ("repeats", True, 2),
        ],
    )
    def test_bad_arguments(self, argument: str, value: Any, least: int) -> None:
        """A bad argument is refused at once, by name, value and range."""
        with pytest.raises(
            ValueError, match=rf"{argument} must be a whole number of at least {least}, got"
        ):
            ops.tool_loops(**{argument: value})


class TestMemory:
    def test_a_million_calls(self) -> None:
        """R5: 10^6 calls in one session: counted exactly, 256 ids kept; after DEL nothing is."""
        fold = SessionFold(ToolLoopsLogic(None, 250_000, 2), report=pytest.fail)
        take, part = fold.on_event, call(0).part
        said: list[ToolLoop] = []
        for number in range(1_000_000):
            event = PartUpdated("s", part=msgspec.structs.replace(part, call_id=f"c{number}"))
            said += take(event, 0.0)
            if number % 10 == 0:
                said += take(event, 0.0)
        assert [loop.calls for loop in said] == [250_000, 500_000, 750_000, 1_000_000]
        assert len(fold.states["s"].numbers) == CALLS
        list(fold.calls()[type(deleted("s"))](deleted("s"), 0.0))
        assert fold.states == {}

    def test_the_pattern_is_bounded(self) -> None:
        """R5: of 5000 calls, 32 and the longest round are kept; an older one's result is let go."""
        fold = SessionFold(ToolLoopsLogic(20, 4000, 2), report=pytest.fail)
        said = [loop for n in range(5_000) for loop in fold.on_event(call(n), 0.0)]
        assert [loop.length for loop in said if loop.kind == "repeat"] == list(range(20, 5_001, 20))
        assert len(fold.states["s"].pattern.calls) == WINDOW + 2
        assert list(fold.on_event(done(4_800, "late"), 0.0)) == []
        assert fold.states["s"].pattern.lengths[0] == 5_000

    def test_the_state_can_be_stored(self) -> None:
        """A session's state comes back from JSON as it was, and goes on counting."""
        fold = SessionFold(ToolLoopsLogic(20, 4000, 2), report=pytest.fail)
        for number in range(19):
            list(fold.on_event(done(number, "same"), 0.0))
        state = fold.states["s"]
        fold.states["s"] = msgspec.json.decode(msgspec.json.encode(state), type=LoopState)
        assert fold.states["s"] == state
        assert [loop.length for loop in fold.on_event(call(19), 0.0)] == [20]
