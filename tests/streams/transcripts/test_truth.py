"""Every recording: the files that are written say what a fetch from the server says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams import TranscriptStore, opencode, recordings, transcripts
from streams.testing import Timeline

Message = dict[str, Any]


def preview_sessions(recorded: Any) -> set[str]:
    """Those of the preview dialect, of which this API knows nothing."""
    return {event.session_id for event in recorded.events() if b'"type":"session.next.' in event.raw}


def written(recorded: Any, directory: Path, name: Any) -> TranscriptStore:
    """A store at the end of a recording; where that was taken with gaps, primed as it was fetched."""
    line = Timeline()
    store = TranscriptStore(directory, format=name).follow(line.hub)
    gaps = recorded.truth.get("resync", ()) if recorded.stem == recorded.name else ()
    fetched = {each["events_seen"]: each["messages"] for each in gaps}
    for number, event in enumerate(recorded.events(), 1):
        line.play((event.at, event))
        for session_id, messages in fetched.get(number, {}).items():
            line.scheduler.advance_by(0.001)
            store.prime(session_id, lambda _, messages=messages: json.dumps(messages).encode())
    line.hub.on_completed()
    assert store.close()
    assert line.faults == []
    assert line.scheduler.pending == 0
    return store


def stored(messages: list[Message]) -> list[Message]:
    """The one field that an event has and the server does not keep: a tool's raw input, unread."""
    for message in messages:
        for part in message["parts"]:
            part.get("state", {}).pop("raw", None)
    return messages


def records(store: TranscriptStore, session_id: str) -> list[Any]:
    path = store.path(session_id)
    return list(transcripts.read(path, strict=True)) if path.exists() else []


def test_messages(recorded_truth: Any, tmp_path: Path) -> None:
    """``format="messages"``: each line is what the server says of the message, in its order."""
    store = written(recorded_truth, tmp_path, "messages")
    preview = preview_sessions(recorded_truth)
    for session_id, messages in recorded_truth.truth["messages"].items():
        if session_id not in preview:
            assert stored(records(store, session_id)) == stored(messages), session_id


def contents(lines: list[Any], of: str) -> Iterator[Any]:
    """The blocks of all lines of a type; a text alone is one."""
    for line in lines:
        if line["type"] == of and "isApiErrorMessage" not in line:
            content = line["message"]["content"]
            yield from [{"type": "text", "text": content}] if isinstance(content, str) else content


def parts(messages: list[Message], kind: str) -> Iterator[Any]:
    return (part for message in messages for part in message["parts"] if part["type"] == kind)


def test_claude(recorded_truth: Any, tmp_path: Path) -> None:
    """``format="claude"``: every text, every call with its input, every result, in the server's order."""
    store = written(recorded_truth, tmp_path, "claude")
    preview = preview_sessions(recorded_truth)
    for session_id, messages in recorded_truth.truth["messages"].items():
        if session_id in preview:
            continue
        lines = records(store, session_id)
        said = [block for of in ("user", "assistant") for block in contents(lines, of)]
        texts = sorted(block["text"] for block in said if block["type"] == "text")
        assert texts == sorted(part["text"] for part in parts(messages, "text") if part["text"])
        thoughts = [block["thinking"] for block in said if block["type"] == "thinking"]
        assert thoughts == [part["text"] for part in parts(messages, "reasoning") if part["text"]]
        calls = {part["callID"]: part for part in parts(messages, "tool")}
        uses = [block for block in said if block["type"] == "tool_use"]
        assert [use["id"] for use in uses] == list(calls)
        for use in uses:
            call = calls[use["id"]]
            assert (use["name"], use["input"]) == (call["tool"], call["state"]["input"])
        results = {block["tool_use_id"]: block for block in said if block["type"] == "tool_result"}
        ended = {
            name: part["state"] for name, part in calls.items() if "end" in part["state"].get("time", ())
        }
        assert results.keys() == ended.keys()
        for name, state in ended.items():
            failed = state["status"] == "error"
            assert results[name]["is_error"] == failed
            assert results[name]["content"] == state["error" if failed else "output"]


def test_claude_says_what_was_used(recorded_truth: Any, tmp_path: Path) -> None:
    """Once per answer, and as much as the server says."""
    store = written(recorded_truth, tmp_path, "claude")
    preview = preview_sessions(recorded_truth)
    for session_id, messages in recorded_truth.truth["messages"].items():
        if session_id in preview:
            continue
        used: dict[str, Any] = {}
        for line in records(store, session_id):
            if line["type"] == "assistant" and "usage" in line["message"]:
                assert line["message"]["id"] not in used, "once"
                used[line["message"]["id"]] = line["message"]["usage"]
        expected = {
            message["info"]["id"]: {
                "input_tokens": tokens["input"],
                "cache_creation_input_tokens": tokens["cache"]["write"],
                "cache_read_input_tokens": tokens["cache"]["read"],
                "output_tokens": tokens["output"] + tokens["reasoning"],
            }
            for message in messages
            if (tokens := message["info"].get("tokens"))
            and tokens["input"] + tokens["output"]
            and not (message["info"].get("summary") and "error" not in message["info"])
        }
        assert used == expected


def test_lines_are_chained(recorded: Any, tmp_path: Path) -> None:
    """Each line's parent is the line before it; no line comes twice; all have all that readers want."""
    with TranscriptStore(tmp_path) as store:
        store.follow(recordings.replay(recorded.path, speed=None))
    for path in tmp_path.iterdir():
        before = None
        seen: set[str] = set()
        for line in transcripts.read(path, strict=True):
            assert line["parentUuid"] == before
            before = str(line["uuid"])
            assert before not in seen
            seen.add(before)
            wanted = {"sessionId", "timestamp", "cwd", "version", "type", "userType", "isSidechain"}
            assert wanted <= line.keys()


@pytest.mark.parametrize("name", ["claude", "messages"])
def test_the_same_recording_gives_the_same_bytes(recording_of: Any, tmp_path: Path, name: Any) -> None:
    """Byte for byte; and a second time into the same directory changes nothing."""
    recorded = recording_of("subagents")
    for directory in ("one", "two", "two"):
        with TranscriptStore(tmp_path / directory, format=name) as store:
            store.follow(recordings.replay(recorded.path, speed=None))
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / each).iterdir()} for each in ("one", "two")
    )
    assert one == two
    assert len(one) == 4


def test_a_fetch_says_what_was_followed(recording_of: Any, tmp_path: Path) -> None:
    """A session that is only fetched gives the same file as one that was followed."""
    recorded = recording_of("many")
    followed = written(recorded, tmp_path / "followed", "messages")
    line = Timeline()
    store = TranscriptStore(tmp_path / "fetched", format="messages").follow(line.hub)
    for session_id, messages in recorded.truth["messages"].items():
        line.hub.on_next(opencode.history(session_id, json.dumps(messages).encode(), asked=1.0))
    store.close()
    for session_id in recorded.truth["messages"]:
        assert records(store, session_id) == records(followed, session_id)
