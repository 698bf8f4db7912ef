"""What is heard of a message or a part: what the event says, and what was known before."""

import json

from msgspec.structs import replace

from operators.transcript_entry import TranscriptEntry
from operators.transcript_heard import body_of, heard_message, heard_part
from streams import events as ev
from streams.opencode import decode
from streams.testing import assistant, text, tool


def test_a_message_told_without_its_beginning_keeps_it() -> None:
    """The end of a step says how many tokens, and neither when it began nor by which model."""
    began = ev.MessageUpdated(
        "s",
        message_id="m",
        role="assistant",
        created=5.0,
        provider_id="anthropic",
        model_id="x",
        agent="plan",
        parent_id="u",
    )
    known = heard_message("m\0", began, 5.0, None).entry
    ended = ev.MessageUpdated("s", message_id="m", role="assistant", completed=9.0, finish="stop")
    entry = heard_message("m\0", ended, 9.0, known).entry
    assert entry.message == replace(began, completed=9.0, finish="stop")
    assert (entry.since, entry.at, entry.started, entry.ended) == (5.0, 9.0, 5.0, 9.0)
    info = json.loads(body_of("s", entry, b"", None))
    assert (info["time"], info["providerID"], info["modelID"], info["agent"], info["parentID"]) == (
        {"created": 5000, "completed": 9000},
        "anthropic",
        "x",
        "plan",
        "u",
    )


def test_a_message_told_anew_is_what_was_told_last() -> None:
    """Another model, another agent: what an event says counts."""
    before = heard_message("m\0", assistant("s", "m", model="a/b", agent="one"), 1.0, None).entry
    now = replace(assistant("s", "m", model="c/d", agent="two", created=2.0), parent_id="u")
    entry = heard_message("m\0", now, 2.0, before).entry
    assert entry.message == now


def test_what_is_no_entry_yet_is_its_own() -> None:
    """Nothing is known of the first: its times are its own."""
    entry = heard_message("m\0", assistant("s", "m", created=1.0), 7.0, None).entry
    assert (entry.since, entry.started) == (7.0, 1.0)
    part = heard_part("m\0p", text("s", "m", "p", "hi"), 8.0, None).entry
    assert (part.since, part.at, part.tool) == (8.0, 8.0, "")


def test_the_raw_is_kept_where_a_body_is_in_it() -> None:
    """It is taken out when it is asked for; of what came in no JSON, the body is made at once."""
    part = b'{"id":"p","sessionID":"s","messageID":"m","type":"text"}'
    raw = b'{"type":"message.part.updated","properties":{"part":%b}}' % part
    sent = decode(raw)
    assert isinstance(sent, ev.PartUpdated)
    heard = heard_part("m\0p", sent, 1.0, None)
    assert (heard.raw, heard.entry.body) == (raw, b"")
    assert body_of("s", heard.entry, heard.raw, None) == part
    made = heard_part("m\0p", tool("s", "c", "bash", "running"), 1.0, None)
    assert made.raw == b""
    assert json.loads(made.entry.body)["state"]["status"] == "running"
    message = heard_message("m\0", assistant("s", "m", created=1.0), 1.0, None)
    assert message.raw == b""


def test_what_has_no_body_at_all_gets_one() -> None:
    """A raw that holds no part, or a wrong one: the entry says what can be said."""
    part = TranscriptEntry("p", "m", "file", "m\0p", 0.0, 0.0, "", b"")
    said = json.loads(body_of("s", part, b'{"x":{"part":1}}', None))
    assert said == {"id": "p", "sessionID": "s", "messageID": "m", "type": "file"}
    message = assistant("s", "m", created=1.0)
    entry = TranscriptEntry("m", "m", "message", "m\0", 0.0, 0.0, "", b"", message=message)
    assert json.loads(body_of("s", entry, b'{"x":{"info":1}}', None))["id"] == "m"
