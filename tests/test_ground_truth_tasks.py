"""Tasks at the end of every recording are what the server says of its sessions."""

import random
from typing import Any

import msgspec
import pytest

import operators as ops
from streams import events as ev
from streams import recordings
from streams.events import SessionEvent
from streams.testing import Timeline


def last_values(recorded: Any) -> dict[str, ops.TaskProgress]:
    last: dict[str, ops.TaskProgress] = {}
    events = recordings.replay(recorded.path, speed=None)
    events.pipe(ops.task_progress()).subscribe(lambda value: last.__setitem__(value.session_id, value))
    return last


def test_parents_calls_and_tokens_equal_the_truth(recorded_truth: Any) -> None:
    """Every child in the truth is a task with its parent, its calls and its tokens, as fetched."""
    truth, last = recorded_truth.truth, last_values(recorded_truth)
    children = {each["id"]: each for each in truth["sessions"] if each.get("parentID")}
    for session_id, session in children.items():
        messages = truth["messages"][session_id]
        calls = {
            part["id"] for message in messages for part in message["parts"] if part["type"] == "tool"
        }
        tokens = sum((message["info"].get("tokens") or {}).get("total") or 0 for message in messages)
        value = last[session_id]
        assert (value.parent_id, value.tool_calls, value.tokens) == (
            session["parentID"],
            len(calls),
            tokens,
        )
    assert {each for each, value in last.items() if value.state != "gone"} == set(children)


def test_states_equal_the_truth(recorded_truth: Any) -> None:
    """A child that the status answer does not name is not at work; its last answer says how it ended."""
    truth, last = recorded_truth.truth, last_values(recorded_truth)
    for session_id, value in last.items():
        if value.state == "gone":
            assert session_id not in truth["messages"]
            continue
        assert session_id not in truth["status"]
        answers = [
            each["info"] for each in truth["messages"][session_id] if each["info"]["role"] == "assistant"
        ]
        error = (answers[-1].get("error") or {}).get("name", "") if answers else ""
        expected = {"": "completed", "MessageAbortedError": "aborted"}.get(error, "failed")
        assert value.state == expected


def test_subagents_are_named_with_parent_count_and_end(recording_of: Any) -> None:
    """The recording of three subagents: all under one parent, all completed, complete once."""
    recorded = recording_of("subagents")
    last = last_values(recorded)
    assert sorted(each.tool_calls for each in last.values()) == [1, 3, 3]
    assert {each.state for each in last.values()} == {"completed"}
    assert len({each.parent_id for each in last.values()}) == 1
    assert sum(each.all_complete for each in last.values()) == 1


def ends(messages: list[Any]) -> tuple[str, ...]:
    """What a session that is at rest ended as, by its last answer."""
    answers = [each["info"] for each in messages if each["info"]["role"] == "assistant"]
    if not answers:
        return ("pending", "failed")  # a prompt that waits, or one whose model does not exist
    if error := (answers[-1].get("error") or {}).get("name", ""):
        return ("aborted",) if error == "MessageAbortedError" else ("failed",)
    if "finish" not in answers[-1]:
        return ("aborted", "pending")  # between two attempts; or a fork's copy of an unfinished answer
    return ("completed",)


def test_every_session_of_the_truth_has_an_overview(recorded_truth: Any) -> None:
    """The last overview of each session agrees with the fetched calls, todos and status."""
    truth = recorded_truth.truth
    last: dict[str, ops.SessionOverview] = {}
    events = recordings.replay(recorded_truth.path, speed=None)
    events.pipe(ops.session_overview()).subscribe(lambda value: last.__setitem__(value.session_id, value))
    removed = {
        event.session_id
        for event in recorded_truth.events()
        if isinstance(event, ev.MessageRemoved | ev.PartRemoved)
    }
    for session_id, messages in truth["messages"].items():
        calls = {part["id"] for each in messages for part in each["parts"] if part["type"] == "tool"}
        if recorded_truth.stem == "restart" or not messages:
            continue  # the client was away for a whole turn by design; a preview session has no messages
        value = last[session_id]
        assert value.state in ends(messages)
        assert value.todos == len(truth["todo"][session_id])
        # A call that was made stays made, though its message was taken out of the history.
        assert value.tool_calls == len(calls) or (session_id in removed and value.tool_calls > len(calls))


def finals(events: list[SessionEvent]) -> dict[str, tuple[str, str, int, int]]:
    """How each session stands half an hour after these events."""
    line = Timeline()
    last: dict[str, ops.SessionOverview] = {}
    line.hub.pipe(ops.session_overview()).subscribe(
        lambda value: last.__setitem__(value.session_id, value)
    )
    line.play(*((event.at, event) for event in events))
    line.advance_to(events[-1].at + 1800)
    return {
        each.session_id: (each.parent_id, each.state, each.tool_calls, each.used_tokens)
        for each in last.values()
    }


def test_every_event_twice_changes_nothing(recorded_truth: Any) -> None:
    """S4: each event delivered twice: the same states, parents, calls and tokens."""
    events = recorded_truth.events()
    assert finals([event for event in events for _ in range(2)]) == finals(events)


@pytest.mark.parametrize("name", ["subagents", "many", "long", "permission", "nextgen", "todos"])
def test_shuffled_a_little_changes_nothing(name: str, recording_of: Any) -> None:
    """S4: a recording shuffled within windows of five ends as it did."""
    events = recording_of(name).events()
    expected = finals(events)
    for seed in range(3):
        shuffled: list[SessionEvent] = []
        for start in range(0, len(events), 5):
            window = events[start : start + 5]
            times = [event.at for event in window]
            random.Random(seed + start).shuffle(window)
            shuffled += [
                msgspec.structs.replace(event, at=at) for event, at in zip(window, times, strict=True)
            ]
        assert finals(shuffled) == expected
