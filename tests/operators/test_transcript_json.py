"""The JSON of entries: taken out, made, cut."""

import json
from collections.abc import Callable

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


@pytest.mark.parametrize("wanted", [sent_part, sent_info])
def test_where_neither_stands_nothing_is_decoded(wanted: Callable[[bytes], bytes]) -> None:
    """A name with another escape in it is no name that any agent writes."""
    payload = b'{"properties":{"\\u0070art":{"id":"p"},"\\u0069nfo":{"id":"m"}}}'
    assert wanted(payload) == b""


def test_a_made_message_in_full() -> None:
    """Every field, where opencode has it."""
    event = ev.MessageUpdated(
        "s",
        message_id="m",
        role="assistant",
        created=5.0,
        completed=6.5,
        provider_id="anthropic",
        model_id="x",
        agent="build",
        parent_id="u",
        finish="error",
        summary=True,
        cost=0.5,
        tokens=ev.Tokens(7, 5, 2, ev.Cache(2, 1), total=17),
        error=ev.AgentError("APIError", "no"),
    )
    assert json.loads(info_json(event)) == {
        "id": "m",
        "sessionID": "s",
        "role": "assistant",
        "time": {"created": 5000, "completed": 6500},
        "providerID": "anthropic",
        "modelID": "x",
        "cost": 0.5,
        "parentID": "u",
        "agent": "build",
        "finish": "error",
        "summary": True,
        "tokens": {
            "total": 17,
            "input": 7,
            "output": 5,
            "reasoning": 2,
            "cache": {"read": 2, "write": 1},
        },
        "error": {"name": "APIError", "data": {"message": "no"}},
    }


def test_reasoning_has_a_text() -> None:
    """As text has, even an empty one; another kind of part has none."""
    kinds = {kind: json.loads(part_json("s", ev.Part("p", "m", kind))) for kind in ("reasoning", "file")}
    assert kinds["reasoning"]["text"] == ""
    assert "text" not in kinds["file"]


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


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def test_strings_are_halved_until_all_fit() -> None:
    """Half of the cap is left of each at first, then a quarter: a string of just that length stays whole."""
    body = compact({"a": "x" * 100, "b": ["y" * 350], "c": "z" * 350})
    assert json.loads(capped(body, 400)) == {
        "a": "x" * 100,
        "b": ["y" * 100 + "… [250 characters cut]"],
        "c": "z" * 100 + "… [250 characters cut]",
    }


def test_sixteen_characters_are_the_least() -> None:
    """What does not fit with so few goes as a whole."""
    assert json.loads(capped(compact({"a": "x" * 100, "n": 12345}), 64)) == {
        "a": "x" * 16 + "… [84 characters cut]",
        "n": 12345,
    }
    assert json.loads(capped(compact({"a": "x" * 100, "n": 12345}), 48)) == {
        "a": "… [102 bytes left out]",
        "n": 12345,
    }


def test_what_fits_just_so_is_cut_no_further() -> None:
    """The cap is the last length that fits: of strings, and of what is left out."""
    of_string = {"a": "x" * 50 + "… [250 characters cut]", "n": int("1" * 13)}
    cap = len(compact(of_string))
    assert cap // 2 == 50
    assert json.loads(capped(compact(of_string | {"a": "x" * 300}), cap)) == of_string
    left_out = {"a": [1] * 100, "b": "… [301 bytes left out]"}
    assert json.loads(capped(compact(left_out | {"b": [2] * 150}), len(compact(left_out)))) == left_out


def test_a_mark_as_long_as_what_it_stands_for_is_not_put() -> None:
    """It would save nothing."""
    body = compact({"a": int("1" * 25), "n": 5})
    assert len(compact("… [25 bytes left out]")) == 25
    assert capped(body, 20) == body


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
    """Many left_out fields do not fit, and stay: a mark would be no shorter."""
    body = json.dumps({f"field{n}": n for n in range(500)}).encode()
    assert json.loads(capped(body, 1024)) == json.loads(body)
