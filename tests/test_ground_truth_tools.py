"""What the tool and todo operators say at the end of each recording, and what a fetch answered then."""

import json
from typing import Any

import operators as ops
from operators.tool_calls import ToolCall
from operators.tool_loops import ToolLoop
from streams import recordings
from streams.events import MessageRemoved, MessageUpdated, PartUpdated, Todo

STATUS = {"completed": "completed", "failed": "error", "denied": "error", "aborted": "error"}
"""What the server calls an outcome."""

AWAY = {"restart"}
"""Recordings whose client was away for a turn, by design: what that turn did is in the truth alone.
``restart.global`` has its own connection, which stayed."""

Call = dict[str, Any]


def replayed(recorded: Any, operator: Any) -> list[Any]:
    seen: list[Any] = []
    recordings.replay(recorded.path, speed=None).pipe(operator).subscribe(seen.append)
    return seen


def last_words(recorded: Any) -> dict[tuple[str, str], ToolCall]:
    """The last word on each call of the messages that the truth still has."""
    truth = recorded.truth["messages"]
    removed = {event.message_id for event in recorded.events() if isinstance(event, MessageRemoved)}
    return {
        (call.session_id, call.call_id): call
        for call in replayed(recorded, ops.tool_calls())
        if truth.get(call.session_id) and call.message_id not in removed
    }


def fetched(recorded: Any) -> dict[tuple[str, str], Call]:
    """The tool calls that the fetched messages have, without those of messages no event spoke of."""
    seen = {event.message_id for event in recorded.events() if isinstance(event, MessageUpdated)}
    messages = [message for each in recorded.truth["messages"].values() for message in each]
    away = {message["info"]["id"] for message in messages} - seen
    assert bool(away) == (recorded.stem in AWAY)
    return {
        (part["sessionID"], part["callID"]): part
        for message in messages
        for part in message["parts"]
        if part["type"] == "tool" and part["messageID"] not in away
    }


def status_of(call: ToolCall) -> str:
    """``invalid`` is a failure that the server calls completed. A call whose server was killed stays
    ``running`` in its truth for ever, and no event ever corrects it: here it is abandoned (I5)."""
    if call.tool == "invalid" and call.outcome == "failed":
        return "completed"
    return "running" if call.outcome == "abandoned" else STATUS[call.outcome]


def test_tools_and_statuses(recorded_truth: Any) -> None:
    """Distinct calls, by tool and final status, are those of the fetched messages."""
    said = {key: (call.tool, status_of(call)) for key, call in last_words(recorded_truth).items()}
    truth = fetched(recorded_truth)
    assert said == {key: (part["tool"], part["state"]["status"]) for key, part in truth.items()}


def test_inputs_times_and_outputs(recorded_truth: Any) -> None:
    """So are each ended call's input, duration, exit code, and the length of its output."""
    truth = fetched(recorded_truth)
    for key, call in last_words(recorded_truth).items():
        state = truth[key]["state"]
        assert call.input is None or json.loads(call.input) == state["input"]
        assert call.input is not None or state["input"] == {}
        if call.outcome == "completed":
            times = state["time"]
            assert call.duration == (times["end"] - times["start"]) / 1000
            assert call.output_size == len(state["output"])
            assert call.exit == state["metadata"].get("exit")


def test_each_call_once(recorded: Any) -> None:
    """I1: no call is settled twice; one that is corrected says so."""
    firsts = [call for call in replayed(recorded, ops.tool_calls()) if call.corrects is None]
    assert len(firsts) == len({(call.session_id, call.call_id) for call in firsts})


def test_crashed_tools_are_abandoned(recording_of: Any) -> None:
    """I5: the call that ran when the server was killed is abandoned, with its input."""
    for stem in ("restart", "restart.global"):
        [call] = [
            each for each in replayed(recording_of(stem), ops.tool_calls()) if each.outcome == "abandoned"
        ]
        assert call.tool == "bash"
        assert json.loads(call.input)["command"].startswith("echo tick")


def test_aborted_and_denied(recording_of: Any) -> None:
    """I1, I2: what was stopped, and what was refused, in the recordings of just that."""
    aborted = replayed(recording_of("abort"), ops.tool_calls())
    assert sorted(
        (call.tool, call.outcome, call.corrects) for call in aborted if call.corrects is None
    ) == [
        ("bash", "aborted", None),
        ("bash", "aborted", None),
        ("task", "aborted", None),
        ("task", "aborted", None),
        ("write", "aborted", None),
    ]
    assert [(call.tool, call.outcome) for call in aborted if call.corrects] == [("bash", "completed")] * 2
    refused = replayed(recording_of("permission"), ops.tool_calls())
    assert sorted((call.tool, call.outcome) for call in refused if call.outcome != "completed") == [
        ("bash", "aborted"),
        ("bash", "denied"),
        ("bash", "denied"),
        ("question", "denied"),
    ]


def test_no_loop_in_ordinary_work(recorded: Any) -> None:
    """P13: no recording has a loop of 20; the number of calls is that of distinct ids (P12)."""
    distinct = {
        (event.session_id, event.part.call_id)
        for event in recorded.events()
        if isinstance(event, PartUpdated) and event.part.state is not None
    }
    assert replayed(recorded, ops.tool_loops()) == []
    counted: list[ToolLoop] = replayed(recorded, ops.tool_loops(repeats=None, max_calls=1))
    assert len(counted) == len(distinct)


def test_the_doom_loop(recording_of: Any) -> None:
    """P15: five equal commands with equal output, which opencode itself let pass, are a loop of 5."""
    [loop] = replayed(recording_of("errors"), ops.tool_loops(repeats=5))
    assert (loop.kind, loop.tools, loop.length) == ("repeat", ("bash",), 5)


def test_todos(recorded_truth: Any) -> None:
    """The last list of each session is the fetched one."""
    truth = {
        session_id: tuple(Todo(**each) for each in entries)
        for session_id, entries in recorded_truth.truth["todo"].items()
        if entries
    }
    said = {each.session_id: each.todos for each in replayed(recorded_truth, ops.todo_progress())}
    if recorded_truth.stem in AWAY:  # todo.updated is not durable: a list changed meanwhile is lost
        assert said.keys() == truth.keys()
    else:
        assert {session_id: todos for session_id, todos in said.items() if todos} == truth


def test_continuations(recorded_truth: Any) -> None:
    """D2: what could go on at the end are the sessions that the truth has open todos of.

    A client that was away when a list was finished cannot know that it was.
    """
    seen = replayed(recorded_truth, ops.continuations())
    assert all(each.ready for each in seen)
    if recorded_truth.stem not in AWAY:
        assert {each.session_id for each in seen} == {
            session_id
            for session_id, entries in recorded_truth.truth["todo"].items()
            if any(entry["status"] in ("pending", "in_progress") for entry in entries)
        }
