"""Every recording: what ``transcript_snapshots`` has at the end is what a fetch from the server says."""

import json
from typing import Any

import operators as ops
from streams import opencode
from streams.testing import Timeline

Message = dict[str, Any]


def played(recorded: Any) -> dict[str, ops.TranscriptSnapshot]:
    """The last snapshot of each session. Where the recording was taken with gaps, its fetches are
    put in where they were made."""
    line = Timeline()
    last: dict[str, ops.TranscriptSnapshot] = {}
    line.hub.pipe(ops.transcript_snapshots()).subscribe(lambda each: last.update({each.session_id: each}))
    gaps = {} if recorded.stem.endswith(".global") else fetches(recorded)
    for number, event in enumerate(recorded.events(), 1):
        line.play((event.at, event))
        for session_id, messages in gaps.get(number, {}).items():
            line.scheduler.advance_by(0.001)
            asked = line.scheduler.seconds()
            line.hub.on_next(opencode.history(session_id, json.dumps(messages).encode(), asked=asked))
    line.hub.on_completed()
    assert line.faults == []
    assert line.scheduler.pending == 0
    return last


def fetches(recorded: Any) -> dict[int, dict[str, list[Message]]]:
    return {each["events_seen"]: each["messages"] for each in recorded.truth.get("resync", ())}


def messages_of(snapshot: ops.TranscriptSnapshot | None) -> list[Message]:
    """The transcript in the shape of the server's answer."""
    messages: list[Message] = []
    for entry in snapshot.whole if snapshot else ():
        if entry.message is not None:
            messages.append({"info": json.loads(entry.json), "parts": []})
        else:
            messages[-1]["parts"].append(json.loads(entry.json))
    return messages


def stored(messages: list[Message]) -> list[Message]:
    """The one field that an event has and the server does not keep: a tool's raw input, unread."""
    for message in messages:
        for part in message["parts"]:
            part.get("state", {}).pop("raw", None)
    return messages


def preview_sessions(recorded: Any) -> set[str]:
    return {event.session_id for event in recorded.events() if b'"type":"session.next.' in event.raw}


def test_the_transcript_is_what_the_server_says(recorded_truth: Any) -> None:
    """Deep equality, in order, of every message and every part of every session. Of a session of the
    preview dialect this API knows nothing."""
    last = played(recorded_truth)
    preview = preview_sessions(recorded_truth)
    for session_id, messages in recorded_truth.truth["messages"].items():
        if session_id not in preview:
            assert stored(messages_of(last.get(session_id))) == stored(messages), session_id


def test_the_preview_dialect_gives_the_same_shape(recording_of: Any) -> None:
    """Its text, its calls and its messages, made of many small events."""
    recorded = recording_of("nextgen")
    (preview,) = preview_sessions(recorded)
    snapshot = played(recorded)[preview]
    call = next(entry for entry in snapshot.whole if entry.kind == "tool")
    state = json.loads(call.json)["state"]
    assert [entry.kind for entry in snapshot.whole].count("message") == 3
    assert all(entry.text for entry in snapshot.whole if entry.kind == "text")
    assert (call.tool, call.status, state["status"]) == ("bash", "completed", "completed")
    assert state["input"]["command"] == "head -n 7 /home/dev/project/src/pricing.py"
    assert "round_price" in json.dumps(state["output"])


def test_every_version_is_the_one_before_and_what_changed(recorded: Any) -> None:
    """Whoever only takes in ``changed`` and ``removed`` has the whole."""
    folded: dict[str, dict[str, bytes]] = {}
    versions: dict[str, int] = {}

    def take(snapshot: ops.TranscriptSnapshot) -> None:
        entries = folded.setdefault(snapshot.session_id, {})
        for entry in snapshot.removed:
            del entries[entry.key]
        entries.update((entry.key, entry.json) for entry in snapshot.changed)
        assert [(entry.key, entry.json) for entry in snapshot.whole] == sorted(entries.items())
        assert len(snapshot.whole) == len(entries)
        versions[snapshot.session_id] = versions.get(snapshot.session_id, 0) + 1
        assert snapshot.version == versions[snapshot.session_id]

    line = Timeline()
    line.hub.pipe(ops.transcript_snapshots()).subscribe(take)
    for event in recorded.events():
        line.play((event.at, event))
    line.hub.on_completed()
    assert line.faults == []
