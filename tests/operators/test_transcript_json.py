"""The JSON of entries: taken out, made, cut."""

import json

import pytest

from operators.transcript_json import (
    capped,
    completed_by,
    info_json,
    part_json,
    sent_info,
    sent_part,
    with_text,
)
from streams import events as ev
from streams.opencode import decode
from streams.testing import assistant, text, tool, user

PART = {"id": "p", "sessionID": "s", "messageID": "m", "type": "text", "text": "hi", "new": {"x": [1]}}


@pytest.mark.parametrize(
    "payload",
    [
        {"id": "e", "type": "message.part.updated", "properties": {"sessionID": "s", "part": PART}},
        {"id": "e", "type": "message.part.updated", "data": {"part": PART}},
        {"directory": "/d", "payload": {"type": "message.part.updated", "properties": {"part": PART}}},
    ],
)
def test_a_part_is_taken_as_it_was_sent(payload: object) -> None:
    """From every dialect, with fields that nobody knows."""
    raw = json.dumps(payload, separators=(",", ":")).encode()
    assert json.loads(sent_part(raw)) == PART
    assert sent_info(raw) == b""


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"part":', b'"part":', b'{"x":{"part":1}}'])
def test_what_has_no_part_gives_none(raw: bytes) -> None:
    """Neither junk nor another shape raises."""
    assert sent_part(raw) == b""


def test_a_made_part_reads_back_as_the_same() -> None:
    """What came from no wire has opencode's shape: its own decoder reads it."""
    for event in (
        text("s", "m", "p", "hi", synthetic=True),
        tool("s", "c", "bash", "completed", input={"a": 1}, output="done", metadata={"exit": 0}),
        tool("s", "c", "bash", "error", error="no"),
    ):
        payload = b'{"type":"message.part.updated","properties":{"part":%b}}'
        read = decode(payload % part_json("s", event.part))
        assert isinstance(read, ev.PartUpdated)
        assert part_json("s", read.part) == part_json("s", event.part)


def test_a_made_message_reads_back_as_the_same() -> None:
    """So does a message."""
    for event in (
        user("s", "m", created=5.0),
        assistant("s", "m", input=7, cache_read=2, created=5.0, completed=6.5, cost=0.1),
        assistant("s", "m", error="APIError", created=5.0, summary=True),
    ):
        payload = b'{"type":"message.updated","properties":{"info":%b}}'
        read = decode(payload % info_json(event))
        assert isinstance(read, ev.MessageUpdated)
        assert info_json(read) == info_json(event)


def test_lone_surrogates_do_not_raise() -> None:
    """T6: in a text, in an error."""
    assert json.loads(part_json("s", text("s", "m", "p", "a\ud800").part))["text"] == "a\ufffd"
    failed = tool("s", "c", "bash", "error", error="\udfff!")
    assert json.loads(part_json("s", failed.part))["state"]["error"] == "\ufffd!"


def test_a_part_keeps_what_an_event_does_not_repeat() -> None:
    """The preview dialect says a tool's input once."""
    known = b'{"tool":"bash","state":{"status":"running","input":{"a":1}},"time":{"start":1}}'
    body = completed_by(b'{"state":{"status":"completed"},"time":{"end":2}}', known)
    assert json.loads(body) == {
        "tool": "bash",
        "state": {"status": "completed", "input": {"a": 1}},
        "time": {"start": 1, "end": 2},
    }


def test_another_text() -> None:
    """Only the text differs."""
    body = b'{"id":"p","text":"","x":{"y":1}}'
    assert json.loads(with_text(body, (b'"n', b'ew"'))) == {"id": "p", "text": "new", "x": {"y": 1}}
    assert with_text(b'{"text":""}', (b'"new"',)) == b'{"text":"new"}'


def test_what_fits_is_not_touched() -> None:
    """Not even decoded."""
    assert capped(b"no json", 7) == b"no json"
    assert capped(b"no json", None) == b"no json"


def test_long_strings_are_cut_and_say_so() -> None:
    """T12: the rest stays, the result fits."""
    body = json.dumps({"id": "p", "state": {"input": {"a": "b"}, "output": "x" * 9000}}).encode()
    cut = capped(body, 1024)
    state = json.loads(cut)["state"]
    assert len(cut) <= 1024
    assert state["input"] == {"a": "b"}
    assert state["output"] == "x" * 512 + "… [8488 characters cut]"


@pytest.mark.parametrize("count", [1, 3, 20, 60])
def test_several_long_strings_are_cut_until_all_fit(count: int) -> None:
    """The cap is of the whole."""
    body = json.dumps({"id": "p", "metadata": {str(n): "y" * 3000 for n in range(count)}}).encode()
    assert len(capped(body, 4096)) <= 4096


@pytest.mark.parametrize(
    "metadata", [list(range(5000)), "[" * 900 + '"' + "z" * 9000 + '"' + "]" * 900], ids=["flat", "deep"]
)
def test_what_cannot_be_cut_is_left_out(metadata: object) -> None:
    """Many numbers, or strings nested too deeply: the largest value goes, and says so in its place."""
    inner = metadata if isinstance(metadata, str) else json.dumps(metadata)
    body = b'{"id":"p","state":{"input":{"a":1},"metadata":%b}}' % inner.encode()
    state = json.loads(capped(body, 1024))["state"]
    assert state == {"input": {"a": 1}, "metadata": f"… [{len(inner)} bytes left out]"}


def test_a_huge_field_of_a_message_is_left_out() -> None:
    """T12: 30 MB of diffs in one message (opencode#18395)."""
    body = json.dumps({"id": "m", "summary": {"diffs": [{"n": n} for n in range(9000)]}}).encode()
    assert json.loads(capped(body, 1024))["id"] == "m"
    assert len(capped(body, 1024)) <= 1024


def test_nothing_is_left_out_that_saves_nothing() -> None:
    """Many small fields do not fit, and stay: a mark would be no shorter."""
    body = json.dumps({f"field{n}": n for n in range(500)}).encode()
    assert json.loads(capped(body, 1024)) == json.loads(body)
