"""The lines that hooks of Claude Code read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from streams import TranscriptStore, opencode, transcripts
from streams.events import PartUpdated, SessionEvent, Times
from streams.testing import (
    Timeline,
    assistant,
    busy,
    compacted,
    created,
    delta,
    idle,
    outputs,
    text,
    tool,
    user,
)

Line = dict[str, Any]
Write = Callable[..., list[Line]]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """What is in the file at the end of these events, played a second apart or at their times."""

    def write(*events: SessionEvent | tuple[float, SessionEvent], **options: Any) -> list[Line]:
        line = Timeline()
        store = TranscriptStore(tmp_path, **options).follow(line.hub)
        for number, each in enumerate(events):
            line.play(each if isinstance(each, tuple) else (float(number), each))
        assert store.close()
        return list(transcripts.read(store.path("s")))

    return write


def timed(event: PartUpdated, started: float, ended: float | None = None) -> PartUpdated:
    """A part with times, as the agent gives them."""
    time = Times(started * 1000, None if ended is None else ended * 1000)
    part = event.part
    if part.state is not None:
        return replace(event, part=replace(part, state=replace(part.state, time=time)))
    return replace(event, part=replace(part, time=time))


def typed(kind: str, message_id: str, part_id: str, said: str = "", **fields: Any) -> PartUpdated:
    event = text("s", message_id, part_id, said)
    return replace(event, part=replace(event.part, type=kind, **fields))


def test_a_prompt(written: Write) -> None:
    """A line with everything that a reader of such lines may want."""
    begun = replace(created("s"), directory="/work")
    (line,) = written(begun, user("s", "m", created=86_400.5), text("s", "m", "p", "fix it"))
    UUID(line.pop("uuid"))
    assert line == {
        "parentUuid": None,
        "isSidechain": False,
        "userType": "external",
        "cwd": "/work",
        "sessionId": "s",
        "version": "1.0.0",
        "type": "user",
        "message": {"role": "user", "content": "fix it"},
        "timestamp": "1970-01-02T00:00:00.500Z",
    }


def test_the_last_text_says_what_the_answer_used(written: Write) -> None:
    """Then no line without content is needed."""
    answer = assistant(
        "s",
        "m",
        input=10,
        output=5,
        reasoning=2,
        cache_read=100,
        cache_write=20,
        created=1.0,
        completed=4.0,
    )
    (line,) = written(answer, timed(text("s", "m", "p", "done"), 2.0, 3.0))
    assert line["timestamp"] == "1970-01-01T00:00:02.000Z"
    assert line["requestId"] == "m"
    assert line["message"] == {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "x",
        "content": [{"type": "text", "text": "done"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 10,
            "cache_creation_input_tokens": 20,
            "cache_read_input_tokens": 100,
            "output_tokens": 7,
        },
    }


def test_a_call_its_result_and_what_it_used(written: Write) -> None:
    """Three lines, each known at another time, none of which changes."""
    call = ("s", "call", "bash")
    lines = written(
        assistant("s", "m", finish="", tokens=False),
        timed(tool(*call, "running", input={"command": "ls"}), 2.0),
        timed(tool(*call, "completed", input={"command": "ls"}, output="a.py"), 2.0, 3.0),
        assistant("s", "m", finish="tool-calls", input=9, completed=4.0),
    )
    assert [line["type"] for line in lines] == ["assistant", "user", "assistant"]
    assert [line["timestamp"][17:23] for line in lines] == ["02.000", "03.000", "04.000"]
    assert lines[0]["message"]["content"] == [
        {"type": "tool_use", "id": "call", "name": "bash", "input": {"command": "ls"}}
    ]
    assert lines[1]["message"]["content"] == [
        {"type": "tool_result", "tool_use_id": "call", "content": "a.py", "is_error": False}
    ]
    assert lines[2]["message"]["content"] == []
    assert lines[2]["message"]["stop_reason"] == "tool_use"
    assert lines[2]["message"]["usage"]["input_tokens"] == 9
    assert [line["parentUuid"] for line in lines[1:]] == [line["uuid"] for line in lines[:-1]]


def test_a_failed_call(written: Write) -> None:
    """Its result is the error."""
    lines = written(tool("s", "c", "bash", "error", input={}, error="no\nway"))
    assert lines[1]["message"]["content"] == [
        {"type": "tool_result", "tool_use_id": "c", "content": "no\nway", "is_error": True}
    ]


def test_a_call_without_an_id(written: Write) -> None:
    """The part's own id pairs the two."""
    event = tool("s", "", "bash", "completed", output="x", part_id="p9")
    lines = written(event)
    assert lines[0]["message"]["content"][0]["id"] == "p9"
    assert lines[1]["message"]["content"][0]["tool_use_id"] == "p9"


def test_thinking(written: Write) -> None:
    """A reasoning part is a thinking block."""
    lines = written(assistant("s", "m"), typed("reasoning", "m", "p1", "hm"), text("s", "m", "p2", "yes"))
    assert [line["message"]["content"] for line in lines] == [
        [{"type": "thinking", "thinking": "hm", "signature": ""}],
        [{"type": "text", "text": "yes"}],
    ]


def test_what_no_human_typed_is_meta(written: Write) -> None:
    """A synthetic prompt, such as the one after a compaction."""
    (line,) = written(user("s", "m"), text("s", "m", "p", "go on", synthetic=True))
    assert line["isMeta"] is True


def test_a_sub_agents_transcript_is_a_side_chain(written: Write) -> None:
    """So that a reader does not take its tokens for those of the main session."""
    (line,) = written(created("s", "root"), user("s", "m"), text("s", "m", "p", "find it"))
    assert (line["isSidechain"], line["agentId"]) == (True, "s")


def test_an_error_of_the_model(written: Write) -> None:
    """A line of its own, marked as such."""
    (line,) = written(assistant("s", "m", error="APIError", finish="", tokens=False, completed=2.0))
    assert line["isApiErrorMessage"] is True
    assert line["message"]["content"] == [{"type": "text", "text": "API Error: APIError"}]


def test_a_compaction(written: Write) -> None:
    """A boundary with what was in the window, then the summary as what the user said."""
    lines = written(
        assistant("s", "m1", input=1_000, output=50),
        text("s", "m1", "p1", "before"),
        user("s", "m2"),
        typed("compaction", "m2", "p2", auto=True),
        replace(assistant("s", "m3", input=70, summary=True, completed=5.0), parent_id="m2"),
        text("s", "m3", "p3", "we did this"),
        compacted("s"),
    )
    assert [line["type"] for line in lines] == ["assistant", "system", "user"]
    assert lines[1]["subtype"] == "compact_boundary"
    assert lines[1]["compactMetadata"] == {"trigger": "auto", "preTokens": 1_050}
    assert lines[2]["isCompactSummary"] is True
    assert lines[2]["message"]["content"] == "we did this"


def test_a_compaction_that_is_only_told_of(written: Write) -> None:
    """By an agent that writes no part for it."""
    lines = written(text("s", "m1", "p1", "before"), compacted("s"), text("s", "m2", "p2", "after"))
    assert [line["type"] for line in lines] == ["assistant", "system", "assistant"]
    assert lines[1]["compactMetadata"] == {"trigger": "manual"}


def test_a_failed_compaction_is_an_answer_like_any(written: Write) -> None:
    """No boundary: nothing was compacted."""
    failed = assistant("s", "m", summary=True, error="ContextOverflowError", finish="error")
    lines = written(failed, text("s", "m", "p", "we d"))
    assert [line["type"] for line in lines] == ["assistant", "assistant"]


def test_what_is_being_written_waits(tmp_path: Path) -> None:
    """T3: a text that grows for a minute is written when it is over, not each five seconds."""
    line = Timeline()
    store = TranscriptStore(tmp_path).follow(line.hub)
    path = store.path("s")
    part = ("s", "m", "p")
    line.play(
        (0.0, busy("s")), (0.0, assistant("s", "m", finish="", tokens=False)), (0.0, text(*part, ""))
    )
    line.play(*((tenth / 10, delta(*part, f"{tenth} ")) for tenth in range(600)))
    assert not path.exists()
    line.play((60.0, timed(text(*part, "all"), 0.0, 60.0)), (60.1, assistant("s", "m", completed=60.1)))
    line.advance_to(61.0)
    assert [each["message"]["content"] for each in transcripts.read(path)] == [
        [{"type": "text", "text": "all"}]
    ]
    store.close()


def test_a_session_at_rest_has_all_there_is(tmp_path: Path) -> None:
    """T2: what was cut short stands there too, and is put right if it goes on."""
    line = Timeline()
    store = TranscriptStore(tmp_path).follow(line.hub)
    line.play(
        (0.0, busy("s")),
        (0.0, assistant("s", "m", finish="", tokens=False)),
        (0.0, text("s", "m", "p", "half a")),
        (0.0, tool("s", "c", "bash", "pending", input={})),
        (9.0, idle("s")),
    )
    path = store.path("s")
    first = list(transcripts.read(path))
    assert [each["message"]["content"][0]["type"] for each in first] == ["text", "tool_use"]
    line.play((10.0, text("s", "m", "p", "half a word")), (11.0, idle("s")))
    assert [each["message"]["content"][0].get("text") for each in transcripts.read(path)] == [
        "half a word",
        None,
    ]
    store.close()


def test_inputs_and_outputs_are_spliced_from_the_bytes_that_came(tmp_path: Path) -> None:
    """Not decoded and encoded again: a number that no float holds is still that number."""
    given = b'{"b":123456789012345678901234567890,"a":1.50,"\\u0061":"\\/"}'
    part = (
        b'{"id":"p","messageID":"m","sessionID":"s","type":"tool","callID":"c","tool":"calc","state":'
        b'{"status":"completed","input":%b,"output":"\\u00e9\\/"}}' % given
    )
    event = opencode.decode(b'{"type":"message.part.updated","properties":{"part":%b}}' % part)
    store = TranscriptStore(tmp_path)
    line = Timeline()
    store.follow(line.hub)
    line.play((0.0, event))
    store.close()
    call, result = store.path("s").read_bytes().splitlines()
    assert b'"input":' + given + b"}" in call
    assert b'"content":"\\u00e9\\/"' in result


def test_a_cap_cuts_what_a_call_says(written: Write) -> None:
    """T12: with a mark; the texts of the conversation stay whole."""
    lines = written(
        user("s", "m1"),
        text("s", "m1", "p", "t" * 5_000),
        tool("s", "c", "bash", "completed", input={"a": "i" * 5_000}, output="o" * 5_000),
        cap=2_048,
    )
    content = lines[2]["message"]["content"][0]["content"]
    assert lines[0]["message"]["content"] == "t" * 5_000
    assert content.startswith("ooo")
    assert content.endswith("characters cut]")
    assert all(len(json.dumps(line)) < 3_000 for line in lines[1:])


def test_no_line_has_a_line_break_in_it(tmp_path: Path) -> None:
    """T6: whatever a text, an input or an output holds."""
    said = 'a\nb\r\nc\u2028d\x85e\x0bf"\\'
    store = TranscriptStore(tmp_path)
    for snapshot in snapshots_of(
        user("s", "m1"),
        text("s", "m1", "p", said),
        tool("s", "c", "bash", "error", input={said: said}, error=said),
    ):
        store.write(snapshot)
    written = store.path("s").read_text(encoding="utf-8")
    assert len(written.splitlines()) == 3
    lines = [json.loads(each) for each in written.splitlines()]
    assert lines[0]["message"]["content"] == said
    assert lines[1]["message"]["content"][0]["input"] == {said: said}
    assert lines[2]["message"]["content"][0]["content"] == said


def test_lone_surrogates_do_not_raise(written: Write) -> None:
    """T6: they become U+FFFD."""
    (line,) = written(user("s", "m"), text("s", "m", "p", "a\ud800"))
    assert line["message"]["content"] == "a\ufffd"


def snapshots_of(*events: SessionEvent) -> list[Any]:
    import operators as ops

    return outputs(ops.transcript_snapshots(), events)
