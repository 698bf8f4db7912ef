"""Each tool call is settled once, with its input, however it ended."""

import json
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

import operators as ops
from operators.open_calls import OPEN, SETTLED, CallsState
from operators.per_session import SessionFold
from operators.tombstones import TOMBSTONE
from operators.tool_calls import ToolCall, ToolCallsLogic
from streams.events import (
    PartUpdated,
    SessionEvent,
    SessionExpired,
    SessionStatus,
    StreamConnected,
    ToolExecuteBefore,
)
from streams.testing import (
    Timeline,
    busy,
    created,
    deleted,
    error,
    idle,
    outputs,
    permission,
    permission_reply,
    question,
    question_reply,
    text,
    tool,
    tool_after,
    tool_before,
)

Timed = tuple[float, SessionEvent]

X = {"command": "make"}
REJECTED = "The user rejected permission to use this specific tool call"
X_JSON = b'{"command":"make"}'


def before(call: str, arguments: object = X, *, session: str = "s", name: str = "bash") -> SessionEvent:
    return tool_before(session, name, call, arguments)


def after(call: str, output: str = "done", *, session: str = "s", name: str = "bash") -> SessionEvent:
    return tool_after(session, name, call, output)


def part(call: str, status: str, **fields: Any) -> SessionEvent:
    return tool("s", call, "bash", status, **fields)


def played(
    *timed: tuple[float, SessionEvent], until: float | None = None
) -> list[tuple[float, ToolCall]]:
    line = Timeline()
    seen = line.watch(ops.tool_calls())
    line.play(*timed)
    if until is not None:
        line.advance_to(until)
    assert line.faults == []
    assert all(call.at == at for at, call in seen)
    return seen


def told(seen: list[tuple[float, ToolCall]]) -> list[tuple[float, str, str, bytes | None]]:
    return [(at, call.call_id, call.outcome, call.input) for at, call in seen]


class TestOneEndForEachBeginning:
    """I1: an `after` may never come, and still every `before` is settled, with its input."""

    def test_a_failing_part_settles(self) -> None:
        """I1: `TP(c1, error)` settles c1 as failed, with the input of its before."""
        seen = played((0, before("c1")), (2, part("c1", "error", error="no such file")))
        assert told(seen) == [(2, "c1", "failed", X_JSON)]
        assert seen[0][1].error == "no such file"

    def test_an_abort_settles(self) -> None:
        """I1: an abort settles what is open as aborted, and the idle after it adds nothing."""
        seen = played((0, before("c2")), (3, error("s", "MessageAbortedError")), (3, idle("s")))
        assert told(seen) == [(3, "c2", "aborted", X_JSON)]

    def test_silence_settles(self) -> None:
        """I1: with nothing at all, the call expires at its TTL, and nothing of it stays open."""
        fold = SessionFold(ToolCallsLogic(60.0), report=pytest.fail)
        take = fold.calls()[ToolExecuteBefore]
        assert list(take(before("c3"), 0.0)) == []
        assert fold.fire(59.9) == []
        assert fold.deadlines.earliest == 60.0
        assert [(call.outcome, call.input) for call in fold.fire(60.0)] == [("expired", X_JSON)]
        assert fold.states["s"].open == {}
        assert len(fold.deadlines) == 0

    def test_other_errors_leave_calls_to_the_idle_after_them(self) -> None:
        """I1: an error that a turn may recover from (a full context) settles nothing by itself."""
        seen = played(
            (0, before("c1")),
            (1, error("s", "ContextOverflowError")),
            (2, error("", "MessageAbortedError")),
            (9, idle("s")),
        )
        assert told(seen) == [(9, "c1", "abandoned", X_JSON)]

    def test_the_same_end_told_thrice_is_one(self) -> None:
        """I1: after, completed part and a repeated part of one call are one settlement."""
        done = part("c1", "completed", output="done")
        seen = played((0, before("c1")), (1, after("c1")), (1, done), (1, done))
        assert told(seen) == [(1, "c1", "completed", X_JSON)]

    def test_each_in_its_own_time(self) -> None:
        """I1: each call has its own TTL; one that a part shows running is not settled by another's."""
        seen = played(
            (0, before("c1")),
            (10, part("c3", "running")),
            (30, before("c2")),
            until=100,
        )
        assert told(seen) == [(60, "c1", "expired", X_JSON), (90, "c2", "expired", X_JSON)]

    def test_a_hook_without_a_call_id(self) -> None:
        """I3: hooks that name no call are nobody's."""
        assert played((0, before("")), (1, after("")), until=100) == []


class TestWaiting:
    """I2: `before` comes ahead of the permission, and the permission may take its time."""

    def test_a_denial_after_the_ttl(self) -> None:
        """I2: asked @0.1, rejected @200: denied, with the input; the tool's own error adds nothing."""
        seen = played(
            (0.0, before("c1")),
            (0.1, permission("s", "p1", "c1")),
            (200, permission_reply("s", "p1", "reject")),
            (
                200,
                part("c1", "error", error=REJECTED),
            ),
        )
        assert told(seen) == [(200, "c1", "denied", X_JSON)]

    def test_a_tool_that_runs_for_an_hour(self) -> None:
        """I2: a running part holds the TTL off: after @3600 still finds its input."""
        seen = played((0, before("c2")), (1, part("c2", "running")), (3600, after("c2")))
        assert told(seen) == [(3600, "c2", "completed", X_JSON)]

    def test_the_ttl_starts_anew_when_leave_is_given(self) -> None:
        """I2: leave given @200 and nothing more: expired @260, not before."""
        seen = played(
            (0, before("c1")),
            (1, permission("s", "p1", "c1")),
            (200, permission_reply("s", "p1")),
            until=300,
        )
        assert told(seen) == [(260, "c1", "expired", X_JSON)]

    def test_a_request_that_nobody_answered(self) -> None:
        """I2: idle drops requests without a word: what they were about can expire again."""
        asked = [(0, permission("s", "p1", "c1")), (1, idle("s"))]
        assert told(played(*asked, (2, before("c1")), until=99)) == [(62, "c1", "expired", X_JSON)]

    def test_a_question_dismissed_is_a_denial(self) -> None:
        """I2: a rejected question denies the call that asked it; an answered one goes on."""
        ask = tool("s", "q1", "question", "running", input={"questions": []})
        seen = played(
            (0, ask), (1, question("s", "r1", "q1")), (9, question_reply("s", "r1", rejected=True))
        )
        assert [(at, call.outcome) for at, call in seen] == [(9, "denied")]
        assert played((0, ask), (1, question("s", "r1", "q1")), (9, question_reply("s", "r1"))) == []

    @pytest.mark.parametrize(
        ("said", "outcome"),
        [
            (
                "The user rejected permission to use this specific tool call with the following feedback",
                "denied",
            ),
            ("The user dismissed this question", "denied"),
            ("Tool execution aborted", "aborted"),
            ("Task cancelled", "aborted"),
            ("The read tool was called with invalid arguments", "failed"),
        ],
    )
    def test_an_error_says_what_it_is(self, said: str, outcome: str) -> None:
        """I2: who joined too late for the request still learns from the error that it was denied."""
        [(_, call)] = played((0, part("c1", "running", input=X)), (1, part("c1", "error", error=said)))
        assert (call.outcome, call.error) == (outcome, said)


class TestKey:
    """I3: a call is told by its session and its call id, by nothing else."""

    def test_parallel_calls_end_in_any_order(self) -> None:
        """I3: BEF c1, c2, c3 of one tool, AFT c2, c3, c1: each with its own input."""
        begun = [(0, before(f"c{n}", {"n": n})) for n in (1, 2, 3)]
        seen = played(*begun, (1, after("c2")), (2, after("c3")), (3, after("c1")))
        assert [(call.call_id, call.input) for _, call in seen] == [
            ("c2", b'{"n":2}'),
            ("c3", b'{"n":3}'),
            ("c1", b'{"n":1}'),
        ]

    def test_the_same_call_id_in_two_sessions(self) -> None:
        """I3: clearing `ses_1` leaves `ses_10`, and its call of the same id."""
        seen = played(
            (0, before("c1", 1, session="ses_1")),
            (0, before("c1", 10, session="ses_10")),
            (1, deleted("ses_1")),
            (2, after("c1", session="ses_10")),
        )
        assert [(at, call.session_id, call.outcome, call.input) for at, call in seen] == [
            (1, "ses_1", "abandoned", b"1"),
            (2, "ses_10", "completed", b"10"),
        ]

    def test_tool_names_need_not_agree(self) -> None:
        """I3: `before mcp_x` and `after x` of one call id are a pair."""
        seen = played((0, before("c1", name="mcp_x")), (1, after("c1", name="x")))
        assert [(call.tool, call.outcome, call.input) for _, call in seen] == [
            ("mcp_x", "completed", X_JSON)
        ]

    def test_a_part_without_any_id_is_no_call(self) -> None:
        """P12: a part that cannot be told from its repetition is nobody's call; a part id is enough."""
        nameless = tool("s", "", "bash", "completed", part_id="")
        bare = msgspec.structs.replace(nameless.part, id="")
        seen = played(
            (0, msgspec.structs.replace(nameless, part=bare)),
            (1, msgspec.structs.replace(nameless, part=msgspec.structs.replace(bare, id="prt_1"))),
        )
        assert [call.call_id for _, call in seen] == ["prt_1"]


class TestOrphans:
    """I4: an `after` whose `before` was missed."""

    def test_nothing_known(self) -> None:
        """I4: `AFT c9` alone is an orphan with input None, never `{}`."""
        [(_, call)] = played((5, after("c9", "four")))
        assert (call.outcome, call.input, call.duration, call.output_size) == ("orphan", None, None, 4)

    def test_told_again(self) -> None:
        """I4: an after told twice, or after the part has ended the call, is no orphan."""
        assert len(played((5, after("c9")), (5, after("c9")))) == 1
        seen = played((4, part("c1", "running", input=X)), (5, part("c1", "completed")), (5, after("c1")))
        assert told(seen) == [(5, "c1", "completed", X_JSON)]

    def test_input_of_the_part(self) -> None:
        """I4: after `TP(c9, running, input=X)` the orphan has X."""
        seen = played((4, part("c9", "running", input=X)), (5, after("c9")))
        assert told(seen) == [(5, "c9", "orphan", X_JSON)]

    def test_a_pending_part_has_no_input_yet(self) -> None:
        """I4: the `{}` of a pending part, and of one aborted while pending, is no input."""
        seen = played(
            (0, part("c1", "pending", input={})),
            (1, part("c1", "error", input={}, error="Tool execution aborted")),
            (2, part("c2", "running", input={})),
            (3, part("c2", "completed", input={})),
        )
        assert told(seen) == [(1, "c1", "aborted", None), (3, "c2", "completed", b"{}")]


class TestStuckAndCorrected:
    """I5: a part that stays `running` for ever, and the one that speaks after all."""

    def test_idle_abandons_and_the_tool_corrects_once(self) -> None:
        """I5: running, idle: abandoned; completed later: corrected once, and once only."""
        done = part("c1", "completed", output="late")
        seen = played((0, part("c1", "running", input=X)), (2, idle("s")), (3, done), (4, done))
        assert [(at, call.outcome, call.corrects, call.input) for at, call in seen] == [
            (2, "abandoned", None, X_JSON),
            (3, "completed", "abandoned", X_JSON),
        ]

    @pytest.mark.parametrize(
        "end", [idle("s"), SessionStatus("s", status="idle"), StreamConnected(), deleted("s")]
    )
    def test_what_ends_it(self, end: SessionEvent) -> None:
        """I5: idle, of either kind, deletion and a new server connection abandon open calls."""
        seen = played((0, part("c1", "running", input=X)), (1, busy("s")), (7, end))
        assert told(seen) == [(7, "c1", "abandoned", X_JSON)]

    def test_still_running_is_no_correction(self) -> None:
        """I5: an update of a running part after the connection came back opens nothing twice."""
        running = part("c1", "running", input=X)
        seen = played(
            (0, running), (5, StreamConnected()), (6, running), (7, idle("s")), (8, deleted("s"))
        )
        assert told(seen) == [(5, "c1", "abandoned", X_JSON)]

    def test_the_order_of_a_real_abort(self) -> None:
        """I5: error and idle come before the aborted tool's last word; bash then says `completed`."""
        seen = played(
            (0, part("c1", "running", input=X)),
            (0, part("c2", "running", input=X)),
            (1, error("s", "MessageAbortedError")),
            (1, idle("s")),
            (2, part("c1", "error", error="Tool execution aborted")),
            (2, part("c2", "completed", output="User aborted the command", metadata={"exit": None})),
            (3, idle("s")),
        )
        assert [(call.call_id, call.outcome, call.corrects) for _, call in seen] == [
            ("c1", "aborted", None),
            ("c2", "aborted", None),
            ("c2", "completed", "aborted"),
        ]

    def test_a_stopped_tool_may_fail_in_its_own_words(self) -> None:
        """I5: an error after an abort or a denial is how the stopped tool ends, whatever it says."""
        stopped = [(0, part("c1", "running", input=X)), (1, error("s", "MessageAbortedError"))]
        assert len(played(*stopped, (2, part("c1", "error", error="killed")))) == 1
        denied = [
            (0, part("c1", "running", input=X)),
            (0, permission("s", "p", "c1")),
            (1, permission_reply("s", "p", "reject")),
        ]
        assert len(played(*denied, (2, part("c1", "error", error="no leave")))) == 1

    def test_the_hook_corrects_too(self) -> None:
        """I5: an after that comes past the TTL corrects the expiry, with the input still there."""
        seen = played((0, before("c1")), (100, after("c1")))
        assert [(at, call.outcome, call.corrects, call.input) for at, call in seen] == [
            (60, "expired", None, X_JSON),
            (100, "completed", "expired", X_JSON),
        ]


class TestCopy:
    """I6: the captured input is a copy."""

    def test_mutated_arguments(self) -> None:
        """I6: arguments changed in place after the before do not change what was captured."""
        arguments = {"path": "a"}
        buffer = bytearray(b'{"path":"a"}')
        first = before("c1", arguments)
        second = ToolExecuteBefore("s", call_id="c2", tool="bash", input=msgspec.Raw(buffer))
        line = Timeline()
        seen = line.watch(ops.tool_calls())
        line.play((0, first), (0, second))
        arguments["path"] = buffer[9:10] = b"b"
        line.play((1, after("c1")), (1, after("c2")))
        assert [call.input for _, call in seen] == [b'{"path":"a"}', b'{"path":"a"}']

    def test_before_said_twice(self) -> None:
        """I6: BEF twice is one settlement, and the first input counts, even after the end."""
        seen = played(
            (0, before("c1")), (1, before("c1", 2)), (2, after("c1")), (3, before("c1")), until=99
        )
        assert told(seen) == [(2, "c1", "completed", X_JSON)]


class TestWhatIsMeasured:
    def test_times_of_the_agent(self) -> None:
        """The duration is the agent's own when it gives both times: events arrive bunched."""
        done = part("c1", "completed", output="né", started=100.0, ended=107.5)
        [(_, call)] = played((0, part("c1", "running", input=X, started=100.0)), (0, done))
        assert (call.duration, call.output_size) == (7.5, 2)

    def test_times_of_the_clock(self) -> None:
        """Without them it is counted from the first sight of it running."""
        seen = played(
            (0, part("c1", "pending")),
            (4, part("c1", "running")),
            (6, part("c1", "running")),
            (9, idle("s")),
        )
        assert [call.duration for _, call in seen] == [5]

    def test_one_time_of_the_agent_is_none(self) -> None:
        """A call that says only when it began is timed by the clock, corrected or not."""
        begun = part("c1", "running", input=X, started=100.0)
        done = part("c1", "completed", started=100.0)
        assert [each.duration for _, each in played((4, begun), (9, done))] == [5]
        assert [each.duration for _, each in played((4, begun), (6, idle("s")), (9, done))] == [2, 5]

    def test_repeated_states(self) -> None:
        """A pending state said again does not begin the call anew; hooks are timed too."""
        pending = part("c1", "pending")
        assert [each.duration for _, each in played((0, pending), (4, pending), (9, idle("s")))] == [9]
        assert [each.duration for _, each in played((2, before("c1")), (5, after("c1")))] == [3]

    def test_names_that_are_not_repeated(self) -> None:
        """session.next.* names the tool and the message at first only."""
        done = tool("s", "c1", "", "completed", message_id="")
        [(_, each)] = played((0, part("c1", "running", message_id="m1")), (1, done))
        assert (each.tool, each.message_id) == ("bash", "m1")

    def test_joined_at_the_end(self) -> None:
        """A call first seen completed (a late join, a fork's copy) has a duration only if it says so."""
        seen = played((0, part("c1", "completed")), (0, part("c2", "completed", started=1.0, ended=3.0)))
        assert [(call.outcome, call.duration) for _, call in seen] == [
            ("completed", None),
            ("completed", 2),
        ]

    def test_invalid_is_a_failure_that_looks_like_success(self) -> None:
        """recordings: bad JSON turns `bash` into `invalid`, which completes; the error is its input's."""
        asked = {"tool": "bash", "error": "Invalid input for tool bash"}
        seen = played(
            (0, part("c1", "pending", input={})),
            (1, tool("s", "c1", "invalid", "running", input=asked)),
            (2, tool("s", "c1", "invalid", "completed", input=asked, output="The arguments …")),
        )
        assert [(call.tool, call.outcome, call.error) for _, call in seen] == [
            ("invalid", "failed", "Invalid input for tool bash")
        ]

    def test_whose_error_it_is(self) -> None:
        """Only of ``invalid`` is the input's ``error`` the call's; and its own error comes first."""
        odd = {"error": "an argument"}
        assert [each.error for _, each in played((0, part("c1", "completed", input=odd)))] == [""]
        broken = tool("s", "c1", "invalid", "error", input=odd, error="crashed")
        assert [each.error for _, each in played((0, broken))] == ["crashed"]

    @pytest.mark.parametrize(
        ("metadata", "code"),
        [
            ({"exit": 2, "output": "…"}, 2),
            ({"exit": None}, None),
            ({"exit": "killed"}, None),
            (None, None),
        ],
    )
    def test_exit_code(self, metadata: object, code: int | None) -> None:
        """recordings: a command that failed is `completed`; its exit code says so, if there is one."""
        [(_, call)] = played((0, part("c1", "completed", metadata=metadata)))
        assert (call.outcome, call.exit) == ("completed", code)

    def test_output_that_is_no_text(self) -> None:
        """session.next.* gives a list of contents: its JSON is measured."""
        done = part("c1", "completed", output="x")
        state = msgspec.structs.replace(done.part.state, output=msgspec.Raw(b'[{"type":"text"}]'))
        done = msgspec.structs.replace(done, part=msgspec.structs.replace(done.part, state=state))
        assert [call.output_size for _, call in played((0, done))] == [17]


class TestStream:
    def test_nothing(self) -> None:
        """No events, or none of a tool, give nothing."""
        assert outputs(ops.tool_calls(), []) == []
        assert (
            outputs(ops.tool_calls(), [created("s"), text("s", "m", "p", "hi"), busy("s"), idle("s")])
            == []
        )

    def test_completion_settles_what_is_open(self) -> None:
        """The end of the stream is the end of what can be heard of a call."""
        seen = outputs(ops.tool_calls(), [before("c1"), before("c1", session="t")])
        assert [(call.session_id, call.outcome) for call in seen] == [
            ("s", "abandoned"),
            ("t", "abandoned"),
        ]

    def test_an_error_settles_what_is_open_first(self) -> None:
        """So does an error, which then goes on."""
        line = Timeline()
        notes: list[object] = []
        line.hub.pipe(ops.tool_calls()).subscribe(lambda call: notes.append(call.outcome), notes.append)
        line.play((0, before("c1")))
        broken = RuntimeError("broken")
        line.hub.on_error(broken)
        assert notes == ["abandoned", broken]

    def test_disposed_midway(self) -> None:
        """After dispose nothing comes, and no timer is left."""
        line = Timeline()
        seen: list[ToolCall] = []
        running = line.hub.pipe(ops.tool_calls()).subscribe(seen.append, scheduler=line.scheduler)
        line.play((0, before("c1")))
        assert line.scheduler.pending == 1
        running.dispose()
        assert line.scheduler.pending == 0
        line.advance_to(100)
        assert seen == []

    def test_expiry_of_the_session(self) -> None:
        """A session that expires takes its open calls with it, as expired."""
        seen = played((0, part("c1", "running", input=X)), (600, SessionExpired("s", idle=600)))
        assert told(seen) == [(600, "c1", "expired", X_JSON)]

    def test_stragglers_of_a_deleted_session(self) -> None:
        """E5: what a deleted session still says settles nothing."""
        assert played((0, deleted("s")), (1, part("c1", "completed"))) == []

    def test_two_sessions(self) -> None:
        """Two sessions, interleaved: an idle settles its own session's calls alone."""
        seen = played(
            (0, before("a", session="s")),
            (1, before("b", session="t")),
            (2, idle("s")),
            (3, after("b", session="t")),
        )
        assert [(call.session_id, call.call_id, call.outcome) for _, call in seen] == [
            ("s", "a", "abandoned"),
            ("t", "b", "completed"),
        ]

    def test_an_event_from_inside_a_subscriber(self) -> None:
        """X6: a subscriber may publish; the event follows the one that is being told."""
        line = Timeline()
        seen: list[str] = []

        def answer(call: ToolCall) -> None:
            seen.append(call.call_id)
            if call.call_id == "c1":
                line.hub.on_next(after("c2"))

        line.hub.pipe(ops.tool_calls()).subscribe(answer, scheduler=line.scheduler)
        line.play((0, before("c1")), (0, before("c2")), (1, after("c1")))
        assert seen == ["c1", "c2"]

    @pytest.mark.parametrize("ttl", [0, -1, float("inf"), float("nan"), True, "60"])
    def test_bad_ttl(self, ttl: Any) -> None:
        """A bad TTL is refused at once, by name, value and range."""
        with pytest.raises(ValueError, match=r"ttl must be seconds above 0 .* got "):
            ops.tool_calls(ttl=ttl)


class TestMemory:
    def test_bounded_and_exact(self) -> None:
        """R5: 100 000 calls in one session, each told thrice: counted exactly, and 256 ids are kept."""
        fold = SessionFold(ToolCallsLogic(60.0), report=pytest.fail)
        take = fold.on_event
        settled = 0
        for number in range(100_000):
            done = part(f"c{number}", "completed")
            settled += len([*take(done, 0.0), *take(done, 0.0), *take(done, 0.0)])
        assert settled == 100_000
        assert len(fold.states["s"].settled) == SETTLED
        assert fold.states["s"].open == {}

    def test_calls_that_never_end(self) -> None:
        """R5: of more open calls than are kept the oldest count as abandoned, and may be corrected."""
        seen = played(
            *((0, part(f"c{n}", "running", input=n)) for n in range(OPEN + 2)),
            (1, part("c0", "completed")),
        )
        assert [(call.call_id, call.outcome, call.corrects) for _, call in seen] == [
            ("c0", "abandoned", None),
            ("c1", "abandoned", None),
            ("c0", "completed", "abandoned"),
        ]

    def test_deletion_empties_everything(self) -> None:
        """R5: after DEL every structure is empty."""
        fold = SessionFold(ToolCallsLogic(60.0), report=pytest.fail)
        calls = fold.calls()
        for event in (before("c1"), part("c2", "completed"), permission("s", "p", "c1"), deleted("s")):
            list(calls[type(event)](event, 0.0))
        assert fold.states == {}
        assert len(fold.deadlines) == len(fold.tombstones) == 1
        fold.fire(TOMBSTONE)
        assert len(fold.deadlines) == len(fold.tombstones) == 0

    def test_the_state_can_be_stored(self) -> None:
        """A session's state comes back from JSON as it was."""
        fold = SessionFold(ToolCallsLogic(60.0), report=pytest.fail)
        for event in (before("c1"), part("c2", "completed"), permission("s", "p", "c1")):
            list(fold.on_event(event, 0.0))
        state = fold.states["s"]
        assert msgspec.json.decode(msgspec.json.encode(state), type=CallsState) == state
        assert json.loads(msgspec.json.encode(state))["settled"] == {"c2": None}


def test_an_end_without_a_beginning_says_all_there_is() -> None:
    """I1: an orphan has its name, its tool, its time and its output's size; how long it took is not known."""
    assert played((9, after("c1", "12345"))) == [
        (9, ToolCall("s", "c1", "", "bash", "orphan", None, 9, None, None, 5, None, ""))
    ]


def test_a_call_that_only_hooks_speak_of_says_all_there_is() -> None:
    """I1, I6: its input as first seen, how long it took, and its output's size."""
    assert played((3, before("c1")), (9, after("c1", "12345"))) == [
        (9, ToolCall("s", "c1", "", "bash", "completed", None, 9, X_JSON, 6.0, 5, None, ""))
    ]


def test_one_call_too_many_ends_the_oldest_then() -> None:
    """I1: the time at which a hook opened one more is the time at which the oldest was given up."""
    opened = [(number / 64, before(f"c{number}")) for number in range(OPEN + 1)]
    ((at, call),) = played(*opened)
    assert (at, call.at, call.call_id, call.outcome) == (4.0, 4.0, "c0", "abandoned")
    assert call.duration == 4.0


def test_a_call_that_expires_says_when() -> None:
    """I1: at the end of its time to live, which is when it is said."""
    ((at, call),) = played((3, before("c1")), until=100_000)
    assert (call.at, call.outcome) == (at, "expired")


def test_an_input_that_comes_while_it_runs_is_learnt() -> None:
    """I4: a part that shows a running call before its input is known says it later."""
    running = tool("s", "c1", "bash", "running")
    assert isinstance(running, PartUpdated)
    assert running.part.state is not None
    silent = replace(running.part.state, input=msgspec.Raw(b""))
    first = replace(running, part=replace(running.part, state=silent))
    seen = played((0, first), (1, part("c1", "running", input=X)), (9, part("c1", "completed", input=X)))
    assert told(seen) == [(9, "c1", "completed", X_JSON)]
    aborted = played((0, first), (1, part("c1", "running", input=X)), (9, idle("s")))
    assert told(aborted) == [(9, "c1", "abandoned", X_JSON)]


@pytest.mark.parametrize("metadata", [{"error": 7}, [], "no"])
def test_a_call_that_could_not_be_read_may_say_no_reason(metadata: Any) -> None:
    """P13: its input tells it, where it does; anything else there is no reason."""
    invalid = tool("s", "c1", "invalid", "completed", input=metadata, output="The arguments were invalid")
    ((_, call),) = played((0, invalid))
    assert (call.outcome, call.error) == ("failed", "")
    ((_, said),) = played((0, tool("s", "c1", "invalid", "completed", input={"error": "no path"})))
    assert said.error == "no path"


def test_each_of_two_questions_has_its_call() -> None:
    """I2: both asked before either is answered; the first one is refused."""
    seen = played(
        (0, part("c1", "running", input=X)),
        (0, part("c2", "running", input=X)),
        (1, permission("s", "r1", call_id="c1")),
        (1, permission("s", "r2", call_id="c2")),
        (2, permission_reply("s", "r1", reply="reject")),
    )
    assert told(seen) == [(2, "c1", "denied", X_JSON)]
