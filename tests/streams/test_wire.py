"""The wire: every dialect decodes to the same events, and no bytes make it raise."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import events as ev
from streams import recordings
from streams.opencode import wire

DELTA = {"sessionID": "s", "messageID": "m", "partID": "p", "field": "text", "delta": "hé"}
EXPECTED = ev.PartDelta("s", 7.0, message_id="m", part_id="p", field="text", delta="hé")


def decode(value: object, at: float = 7.0) -> ev.SessionEvent:
    """Decode a Python value as the JSON of one payload."""
    return wire.decode(json.dumps(value, ensure_ascii=False).encode(), at)


def bare(event: ev.SessionEvent) -> ev.SessionEvent:
    """The event without the payload it came from."""
    return msgspec.structs.replace(event, raw=b"")


def told(event: ev.SessionEvent, **fields: object) -> bool:
    """Whether the event says these things."""
    return {name: getattr(event, name) for name in fields} == fields


# --- dialects -------------------------------------------------------------------------------------

LEGACY = {"type": "message.part.delta", "properties": DELTA}


@pytest.mark.parametrize(
    ("payload", "event_id"),
    [
        (LEGACY, ""),
        ({"id": "evt_1", **LEGACY}, "evt_1"),
        ({"properties": DELTA, "type": "message.part.delta", "id": "evt_1"}, "evt_1"),
        ({"type": "message.part.delta", **DELTA}, ""),
        ({"id": "evt_1", "type": "message.part.delta", **DELTA}, "evt_1"),
        ({"id": "evt_1", "type": "message.part.delta", "data": DELTA}, "evt_1"),
        ({"type": "message.part.delta", "durable": {"seq": 1}, "location": {}, "data": DELTA}, ""),
        ({"directory": "/d", "project": "x", "payload": LEGACY}, ""),
        ({"directory": "/d", "payload": {"id": "evt_1", **LEGACY}}, "evt_1"),
        ({"project": "x", "payload": LEGACY, "directory": "/d"}, ""),
        ({"payload": LEGACY}, ""),
        ({"payload": LEGACY, "directory": "/d", "project": "x"}, ""),
        ({"workspace": "w", "directory": "/d", "payload": LEGACY}, ""),
        ({"payload": {"type": "message.part.delta", **DELTA}}, ""),
        ({"payload": {"type": "message.part.delta", "data": DELTA}}, ""),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else value,
)
def test_every_dialect_gives_the_same_event(payload: dict[str, Any], event_id: str) -> None:
    """S9: bare, enveloped with its keys in any order, ``data`` for ``properties``, fields beside type."""
    event = decode(payload)

    assert bare(event) == msgspec.structs.replace(EXPECTED, event_id=event_id)
    assert json.loads(event.raw) == payload


def test_white_space_between_tokens_is_no_dialect() -> None:
    """A pretty-printed envelope is an envelope."""
    payload = json.dumps({"directory": "/d", "payload": LEGACY}, indent=2).encode()

    assert bare(wire.decode(payload, 7.0)) == EXPECTED


@pytest.mark.parametrize(
    ("kind", "properties", "event"),
    [
        ("session.idle", {}, ev.SessionIdle()),
        ("session.compacted", {}, ev.SessionCompacted()),
        ("session.status", {"status": {"type": "busy"}}, ev.SessionStatus(status="busy")),
        ("session.status", {"status": "busy"}, ev.SessionStatus(status="busy")),
        (
            "session.status",
            {"status": {"type": "retry", "attempt": 2, "message": "429", "next": 5000, "action": "x"}},
            ev.SessionStatus(status="retry", attempt=2, message="429", next=5.0),
        ),
        (
            "session.error",
            {
                "error": {
                    "name": "APIError",
                    "data": {"message": "no", "statusCode": 401, "isRetryable": False},
                }
            },
            ev.SessionError(error=ev.AgentError("APIError", "no", 401, False)),
        ),
        ("session.error", {}, ev.SessionError()),
        ("session.deleted", {"info": {"id": "s", "parentID": "p"}}, ev.SessionDeleted(parent_id="p")),
        (
            "session.created",
            {
                "info": {
                    "id": "s",
                    "parentID": "p",
                    "title": "t",
                    "agent": None,
                    "time": {"created": 1000},
                }
            },
            ev.SessionCreated(parent_id="p", title="t", created=1.0),
        ),
        (
            "session.updated",
            {"info": {"id": "s", "model": {"id": "x", "providerID": "a"}, "revert": {"messageID": "m"}}},
            ev.SessionUpdated(provider_id="a", model_id="x", revert="m"),
        ),
        ("message.removed", {"messageID": "m"}, ev.MessageRemoved(message_id="m")),
        (
            "message.part.removed",
            {"messageID": "m", "partID": "p"},
            ev.PartRemoved(message_id="m", part_id="p"),
        ),
        (
            "todo.updated",
            {"todos": [{"content": "c", "status": "pending", "priority": "high"}]},
            ev.TodosUpdated(todos=(ev.Todo("c", "pending", "high"),)),
        ),
        (
            "permission.asked",
            {"id": "r", "permission": "bash", "tool": {"messageID": "m", "callID": "c"}, "patterns": []},
            ev.PermissionAsked(request_id="r", permission="bash", message_id="m", call_id="c"),
        ),
        ("permission.asked", {"id": "r"}, ev.PermissionAsked(request_id="r")),
        (
            "permission.replied",
            {"requestID": "r", "reply": "once"},
            ev.PermissionReplied(request_id="r", reply="once"),
        ),
        (
            "permission.replied",
            {"permissionID": "r", "reply": "once"},
            ev.PermissionReplied(request_id="r", reply="once"),
        ),
        ("question.asked", {"id": "q", "questions": []}, ev.QuestionAsked(request_id="q")),
        ("question.replied", {"requestID": "q", "answers": [["a"]]}, ev.QuestionReplied(request_id="q")),
        ("question.rejected", {"requestID": "q"}, ev.QuestionReplied(request_id="q", rejected=True)),
    ],
)
def test_each_type_says_what_its_payload_says(
    kind: str, properties: dict[str, Any], event: ev.SessionEvent
) -> None:
    """The types that something derives from, field by field, in opencode's own shapes."""
    decoded = decode({"type": kind, "properties": {"sessionID": "s", **properties}})

    assert bare(decoded) == msgspec.structs.replace(event, session_id="s", at=7.0)


def test_an_assistant_message_keeps_what_is_measured() -> None:
    """Times become seconds; ``summary`` is true or an object, and only true means a compaction."""
    info = {
        "id": "m",
        "sessionID": "s",
        "role": "assistant",
        "time": {"created": 1500, "completed": 2500},
        "tokens": {
            "input": 1,
            "output": 2,
            "reasoning": 3,
            "cache": {"read": 4, "write": 5},
            "total": 15,
        },
        "providerID": "a",
        "modelID": "x",
        "agent": "build",
        "finish": "stop",
        "summary": True,
        "cost": 0.5,
        "error": {"name": "MessageAbortedError", "data": {"message": "stopped"}},
        "parentID": "u",
    }
    event = decode({"type": "message.updated", "properties": {"info": info, "sessionID": "s"}})

    assert told(event, message_id="m", created=1.5, completed=2.5, finish="stop", summary=True, cost=0.5)
    assert told(event, provider_id="a", model_id="x", agent="build", parent_id="u", role="assistant")
    assert isinstance(event, ev.MessageUpdated)
    assert event.tokens == ev.Tokens(1, 2, 3, ev.Cache(4, 5), 15)
    assert event.error == ev.AgentError("MessageAbortedError", "stopped")
    user = {
        "id": "u",
        "sessionID": "s",
        "role": "user",
        "summary": {"diffs": []},
        "model": {"modelID": "x"},
    }
    assert told(
        decode({"type": "message.updated", "properties": {"info": user}}), summary=False, model_id="x"
    )


@pytest.mark.parametrize(
    ("timestamp", "seconds"),
    [
        (1_700_000_000_123, 1_700_000_000.123),
        ("2023-11-14T22:13:20.123Z", 1_700_000_000.123),
        ("2023-11-14T23:13:20.123+01:00", 1_700_000_000.123),
        ("2023-11-14T22:13:20.123", 1_700_000_000.123),
        ("", 0.0),
        ("0001-01-01T00:00:00", -62_135_596_800.0),
    ],
)
def test_steps_of_the_preview_say_when_in_milliseconds_or_iso_8601(
    timestamp: float | str, seconds: float
) -> None:
    """Text without a zone is UTC, on whatever machine it is read."""
    prompted = {"sessionID": "s", "messageID": "m", "timestamp": timestamp}
    event = decode({"type": "session.next.prompted", "data": prompted})

    assert bare(event) == ev.MessageUpdated("s", 7.0, message_id="m", role="user", created=seconds)


def test_the_preview_s_steps_become_messages_and_parts() -> None:
    """session.next.*: the same things as the legacy events, said in smaller steps."""

    def step(kind: str, **data: object) -> ev.SessionEvent:
        common = {"sessionID": "s", "assistantMessageID": "m", "timestamp": 2000}
        return bare(decode({"type": f"session.next.{kind}", "data": common | data}))

    message = {"session_id": "s", "at": 7.0, "message_id": "m", "role": "assistant"}
    text = ev.Part("m:t", "m", "text", time=ev.Times(start=2000))
    call = ev.Part("c", "m", "tool", tool="bash", call_id="c")
    tokens = {"input": 1, "output": 2, "reasoning": 0, "cache": {"read": 0, "write": 0}}

    assert step("step.started", agent="build", model={"id": "x", "providerID": "a"}) == ev.MessageUpdated(
        **message, created=2.0, provider_id="a", model_id="x", agent="build"
    )
    assert step("step.ended", finish="stop", cost=0.5, tokens=tokens) == ev.MessageUpdated(
        **message, completed=2.0, finish="stop", tokens=ev.Tokens(1, 2), cost=0.5
    )
    assert step("text.started", textID="t") == ev.PartUpdated("s", 7.0, part=text)
    assert step("text.delta", textID="t", delta="hi") == ev.PartDelta(
        "s", 7.0, message_id="m", part_id="m:t", field="text", delta="hi"
    )
    assert step("text.ended", textID="t", text="hi") == ev.PartUpdated(
        "s", 7.0, part=ev.Part("m:t", "m", "text", "hi", time=ev.Times(end=2000))
    )
    assert step("tool.input.delta", callID="c", delta="{") == ev.PartDelta(
        "s", 7.0, message_id="m", part_id="c", field="input", delta="{"
    )
    states = {
        "tool.input.started": ({"name": "bash"}, ev.ToolState("pending", time=ev.Times(start=2000))),
        "tool.called": (
            {"tool": "bash", "input": {"a": 1}},
            ev.ToolState("running", msgspec.Raw(b'{"a": 1}'), time=ev.Times(start=2000)),
        ),
        "tool.success": (
            {"tool": "bash", "content": [], "structured": {"exit": 0}},
            ev.ToolState(
                "completed",
                output=msgspec.Raw(b"[]"),
                metadata=msgspec.Raw(b'{"exit": 0}'),
                time=ev.Times(end=2000),
            ),
        ),
        "tool.failed": (
            {"tool": "bash", "error": {"message": "no"}},
            ev.ToolState("error", error="no", time=ev.Times(end=2000)),
        ),
    }
    for kind, (data, state) in states.items():
        part = msgspec.structs.replace(call, state=state)
        assert step(kind, callID="c", **data) == ev.PartUpdated("s", 7.0, part=part), kind
    failed = step("tool.failed", callID="c", error="no")
    assert isinstance(failed, ev.PartUpdated)
    assert failed.part.state == ev.ToolState("error", error="no", time=ev.Times(end=2000))


# --- our own encoding -----------------------------------------------------------------------------

OWN = [
    ev.SessionExpired("s", 3.0, idle=600.0),
    ev.ToolExecuteBefore("s", 3.0, call_id="c", tool="bash", input=msgspec.Raw(b'{"a":[1,2]}')),
    ev.ToolExecuteBefore("s", 3.0, call_id="c"),
    ev.ToolExecuteAfter("s", 3.0, call_id="c", tool="bash", output='a\nb\u2028c"\x0b'),
    ev.StreamGap(at=3.0, since=1.5),
    ev.LimitsChanged(at=3.0),
    ev.MalformedEvent("", 3.0, "", b"\xff\xfe{\n\x00", "not UTF-8"),
    ev.MalformedEvent("", 3.0, "", b"", "truncated"),
    ev.PartUpdated("s", 3.0, part=ev.Part("p", "m", "tool", state=ev.ToolState("running"))),
    ev.MessageUpdated("s", 3.0, "evt_1", message_id="m", tokens=ev.Tokens(1, cache=ev.Cache(2))),
    *(kind() for kind in ev.KINDS),
]


@pytest.mark.parametrize("event", OWN, ids=repr)
def test_what_came_from_no_wire_survives_its_own_encoding(event: ev.SessionEvent) -> None:
    """decode(encode(e)) == e, for every kind of event there is."""
    assert wire.decode(wire.encode(event)) == event


def test_an_own_event_without_a_time_was_received_when_it_was_read() -> None:
    """What a hand wrote need not know the clock."""
    payload = b'{"@kind":"SessionIdle","sessionID":"s"}'

    assert wire.decode(payload, 7.0) == ev.SessionIdle("s", 7.0)
    assert wire.encode(wire.decode(payload)) == payload


def test_an_event_from_a_wire_is_encoded_as_it_came() -> None:
    """So a later version may read more out of it than this one."""
    payload = b'{"type":"session.idle","properties":{"sessionID":"s","later":1}}'

    assert wire.encode(wire.decode(payload, 7.0)) == payload


@pytest.mark.parametrize("added", ["kind", "at", "event_id", "raw", "@at", "@raw"])
def test_a_field_of_the_agent_is_never_taken_for_one_of_ours(added: str) -> None:
    """S5: a later server may call a field whatever it likes."""
    payload = {"id": "evt_1", "type": "message.part.delta", "properties": DELTA | {added: "x"}}
    if added.startswith("@"):
        payload["properties"][added] = {"@at": 3.0, "@raw": "AAAA"}[added]

    assert told(decode(payload), at=7.0, event_id="evt_1", delta="hé")
    assert json.loads(decode(payload).raw) == payload


# --- which session --------------------------------------------------------------------------------

ERROR = {"error": {"name": "APIError"}}
PLACES = {
    "properties": {"sessionID": "s"},
    "info.sessionID": {"info": {"sessionID": "s"}},
    "info.id": {"info": {"id": "s"}},
    "part.sessionID": {"part": {"sessionID": "s", "id": "p"}},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "kind", ["session.idle", "session.error", "session.deleted", "message.part.updated"]
)
def test_the_session_s_id_is_found_in_four_places(kind: str, place: str) -> None:
    """P11: properties.sessionID, info.sessionID, info.id (of a session's own events), part.sessionID."""
    needed = {"session.error": ERROR, "message.part.updated": {"part": {"id": "p"}}}.get(kind, {})
    event = decode({"type": kind, "properties": needed | PLACES[place]})

    if kind == "message.part.updated" and place == "info.id":
        assert told(event, session_id="", reason="message.part.updated: no session id")
    else:
        assert told(event, session_id="s")
        assert not isinstance(event, ev.MalformedEvent)


@pytest.mark.parametrize(
    ("kind", "properties"),
    [
        ("message.part.updated", {"sessionID": "A", "part": {"sessionID": "B", "id": "p"}}),
        ("message.updated", {"sessionID": "A", "info": {"sessionID": "B", "id": "m"}}),
        ("session.updated", {"sessionID": "A", "info": {"id": "B"}}),
        ("session.deleted", {"sessionID": "A", "info": {"id": "B"}}),
        ("session.error", {"sessionID": "A", "info": {"sessionID": "B"}}),
    ],
)
def test_of_ids_that_disagree_the_nearest_to_the_thing_wins(
    kind: str, properties: dict[str, Any]
) -> None:
    """P11: ``{sessionID: A, part: {sessionID: B}}`` changes B only."""
    assert told(decode({"type": kind, "properties": properties}), session_id="B")


@pytest.mark.parametrize("wrong", ["", None, {}, 7, ["s"], True])
@pytest.mark.parametrize("kind", ["session.idle", "message.part.delta", "session.status", "todo.updated"])
def test_an_id_that_is_empty_or_no_text_makes_the_event_malformed(kind: str, wrong: object) -> None:
    """P11, S12: nobody's event must not become somebody's; it is counted as malformed."""
    properties = {"sessionID": wrong, "status": {"type": "busy"}, "todos": []}
    event = decode({"type": kind, "properties": properties})

    assert isinstance(event, ev.MalformedEvent)
    assert event.session_id == ""
    assert event.reason.startswith(f"{kind}: ")


def test_an_error_of_no_session_is_an_error() -> None:
    """The one session event that need not name a session."""
    event = decode({"type": "session.error", "properties": ERROR})

    assert bare(event) == ev.SessionError("", 7.0, error=ev.AgentError("APIError"))


# --- unknown, oversized, malformed ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "session_id"),
    [
        ({"type": "x.y", "properties": {"sessionID": "s", "z": [1, {"a": None}]}}, "s"),
        ({"type": "x.y", "data": {"sessionID": "s"}}, "s"),
        ({"type": "x.y", "sessionID": "s"}, "s"),
        ({"type": "x.y", "properties": {"sessionID": 7}}, ""),
        ({"type": "x.y", "properties": [1]}, ""),
        ({"type": "x.y"}, ""),
        ({"directory": "/d", "payload": {"type": "x.y", "properties": {"sessionID": "s"}}}, "s"),
        ({"id": 7, "type": "x.y", "properties": None}, ""),
    ],
)
def test_a_type_unheard_of_passes_with_all_it_says(payload: dict[str, Any], session_id: str) -> None:
    """S5: unknown types pass through untouched and derive nothing."""
    event = decode(payload)

    assert bare(event) == ev.UnknownEvent(session_id, 7.0, type="x.y")
    assert json.loads(event.raw) == payload


def test_unknown_fields_parts_and_delta_fields_pass() -> None:
    """S5: an unknown part type is a part, an unknown delta field a delta."""
    part = {"id": "p", "sessionID": "s", "type": "hologram", "depth": {"z": [1]}}
    changed = decode(
        {"type": "message.part.updated", "later": 1, "properties": {"part": part, "time": 5}}
    )
    delta = decode({"type": "message.part.delta", "properties": DELTA | {"field": "depth", "x": {}}})

    assert isinstance(changed, ev.PartUpdated)
    assert changed.part == ev.Part("p", type="hologram", session_id="s")
    assert told(delta, field="depth", delta="hé")


@pytest.mark.parametrize(
    "kind", ["session.diff", "plugin.added", "file.edited", "file.watcher.updated", "lsp.updated"]
)
def test_what_nothing_derives_from_keeps_its_type_and_its_payload(kind: str) -> None:
    """Whether it is frequent enough to be read in one pass or not."""
    payload = {"id": "evt_1", "type": kind, "properties": {"sessionID": "s", "file": ["a"]}}

    event = decode(payload)

    assert isinstance(event, ev.UnknownEvent)
    assert told(event, session_id="s", event_id="evt_1", type=kind)
    assert json.loads(event.raw) == payload


def test_five_mebibytes_are_an_event() -> None:
    """S7: large is not oversized."""
    text = "x" * (5 * 1024 * 1024)

    assert told(decode(LEGACY | {"properties": DELTA | {"delta": text}}), delta=text)


def test_above_the_maximum_only_the_beginning_is_kept() -> None:
    """S7: an oversized payload is one item, and does not stay in memory."""
    payload = json.dumps(LEGACY | {"properties": DELTA | {"delta": "x" * 5000}}).encode()
    event = wire.decode(payload, 7.0, max_bytes=len(payload) - 1)

    reason = f"oversized: {len(payload)} bytes, at most {len(payload) - 1} are decoded"
    assert event == ev.MalformedEvent("", 7.0, "", payload[:1024], reason)
    assert told(wire.decode(payload, 7.0, max_bytes=len(payload)), session_id="s")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"{}", "no type"),
        (b"[]", "got `array`"),
        (b"null", "got `null`"),
        (b'"text"', "got `str`"),
        (b"NaN", "malformed"),
        (b"\xff\xfe\x00", "malformed"),
        (b'{"type":5}', "got `int`"),
        (b'{"type":""}', "no type"),
        (b'{"payload":{"payload":{"type":"session.idle"}}}', "no type"),
        (b'{"type":"session.idle","properties":{"sessionID":"s"}', "truncated"),
        (b'{"type":"session.idle","properties":{"sessionID":"s"}}}', "trailing"),
        (b'{"type":"session.idle","properties":null}', "session.idle: Expected `object`, got `null`"),
        (b'{"type":"session.idle","properties":{"sessionID":"\xff"}}', "session.idle: 'utf-8' codec"),
        (b'{"type":"message.updated","properties":{"sessionID":"s"}}', "missing required field `info`"),
        (b'{"type":"todo.updated","properties":{"sessionID":"s","todos":{}}}', "$.todos"),
        (b'{"@kind":"Nonsense"}', "Invalid value 'Nonsense'"),
        (b'{"@kind":"SessionIdle"', "truncated"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_why(payload: bytes, reason: str) -> None:
    """S12: a malformed payload is an item with the payload and the reason, not an error."""
    event = wire.decode(payload, 7.0)

    assert isinstance(event, ev.MalformedEvent)
    assert reason in event.reason
    assert (event.at, event.raw, event.session_id) == (7.0, payload, "")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tokens", '{"input":"abc"}'),
        ("tokens", '{"input":1.5}'),
        ("tokens", "NaN"),
        ("time", '{"created":1e999}'),
        ("time", f'{{"created":1{"0" * 400}}}'),
        ("cost", '"free"'),
    ],
)
def test_numbers_that_are_none_make_one_malformed_event(field: str, value: str) -> None:
    """S12: ``tokens.input="abc"`` harms nothing but itself."""
    info = f'{{"id":"m","sessionID":"s","{field}":{value}}}'
    event = wire.decode(f'{{"type":"message.updated","properties":{{"info":{info}}}}}'.encode(), 7.0)

    assert isinstance(event, ev.MalformedEvent)


def test_a_number_of_any_size_is_a_number() -> None:
    """JSON has no largest integer, and neither has Python."""
    tokens = f'{{"input":1{"0" * 40}}}'
    payload = (
        f'{{"type":"message.updated","properties":{{"info":{{"sessionID":"s","tokens":{tokens}}}}}}}'
    )
    event = wire.decode(payload.encode())

    assert isinstance(event, ev.MessageUpdated)
    assert event.tokens == ev.Tokens(10**40)


@pytest.mark.parametrize("where", ["unread", "read", "unknown"])
def test_nesting_without_end_is_malformed(where: str) -> None:
    """S12: a payload 200 000 levels deep does not reach the interpreter's stack."""
    nest = b"[" * 200_000 + b"]" * 200_000
    payloads = {
        "unread": b'{"type":"session.idle","properties":{"sessionID":"s"},"x":%b}' % nest,
        "read": b'{"type":"todo.updated","properties":{"sessionID":"s","todos":%b}}' % nest,
        "unknown": b'{"type":"x.y","x":%b}' % nest,
    }

    assert isinstance(wire.decode(payloads[where]), ev.MalformedEvent)


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (r"a\ud83d", "a\ufffd"),
        (r"\ude00b", "\ufffdb"),
        (r"\ud83d\ud83d\ude00", "\ufffd😀"),
        (r"\uD83D\uDE00", "😀"),
        (r"\\ud83d", r"\ud83d"),
        (r"\\\ud83d", "\\\ufffd"),
        (r"\n\ud83d\"", '\n\ufffd"'),
    ],
)
def test_half_a_character_is_replaced(escaped: str, text: str) -> None:
    """T6: JavaScript cuts a delta between the two halves of an emoji; its text is not lost for that."""
    properties = json.dumps(DELTA | {"delta": "@"}).replace("@", escaped)
    event = wire.decode(f'{{"type":"message.part.delta","properties":{properties}}}'.encode(), 7.0)

    assert told(event, delta=text, session_id="s", at=7.0)
    assert bare(wire.decode(wire.encode(event), 7.0)) == bare(event)


def test_a_malformed_payload_with_half_a_character_is_kept_as_it_came() -> None:
    """Mending does not hide what was wrong."""
    payload = rb'{"type":"session.idle","properties":{"sessionID":7,"x":"\ud83d"}}'

    assert told(wire.decode(payload), raw=payload)


# --- real recordings, and everything else ---------------------------------------------------------


def session_by_sight(payload: dict[str, Any]) -> str:
    """The session's id as a plain reader finds it."""
    payload = payload.get("payload", payload)
    if payload["type"] == "sync":
        return payload["syncEvent"]["aggregateID"]
    body = payload.get("properties") or payload.get("data") or {}
    info, part = body.get("info", {}), body.get("part", {})
    own = info.get("id") if payload["type"].startswith("session.") else info.get("sessionID")
    return part.get("sessionID") or own or body.get("sessionID") or ""


def test_every_recorded_line_decodes_for_the_session_it_names(recorded: Any) -> None:
    """No line of a real server is malformed, and its session is the one that is seen in the JSON."""
    for event in recorded.events():
        assert not isinstance(event, ev.MalformedEvent), event.reason
        assert event.session_id == session_by_sight(json.loads(event.raw)), event.raw


def test_every_recorded_event_reads_the_same_again(recorded: Any) -> None:
    """decode(encode(e)) == e for what came from a wire."""
    for event in recorded.events():
        assert wire.decode(wire.encode(event), event.at) == event


def test_both_streams_of_one_run_tell_the_same(recording_of: Any) -> None:
    """S9: ``/event`` and ``/global/event`` of one run give equal events, id by id."""
    plain = {e.event_id: bare(e) for e in recording_of("tools").events() if e.session_id}
    enveloped = {e.event_id: bare(e) for e in recording_of("tools.global").events() if e.session_id}

    def content(event: ev.SessionEvent) -> dict[str, Any]:
        """All but the receive time; JSON that nobody has asked for yet as JSON."""
        encoded = json.loads(msgspec.json.encode(event))
        return {name: value for name, value in encoded.items() if name != "@at"}

    common = plain.keys() & enveloped.keys()
    assert len(common) > 100
    for event_id in common:
        if not isinstance(enveloped[event_id], ev.UnknownEvent):
            assert content(plain[event_id]) == content(enveloped[event_id])


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    """The shortest real payload of every type, of each of the three streams of a server."""
    shortest: dict[str, bytes] = {}
    folder = Path(__file__).parents[1] / "recordings"
    for name in ("tools", "tools.global", "permission", "lifecycle", "nextgen", "nextgen.api", "todos"):
        for event in recordings.read(folder / f"{name}.jsonl.gz"):
            found = re.search(rb'"type":"([^"]+)"', event.raw)
            assert found
            key = found[1].decode() + name.partition(".")[2]
            shortest[key] = min(shortest.get(key, event.raw), event.raw, key=len)
    return list(shortest.values())


CUTS = st.tuples(
    st.integers(0, 10_000),
    st.integers(0, 40),
    st.one_of(
        st.binary(max_size=6),
        st.sampled_from(
            [b'"', b"{", b"}", b"null", b"1e999", b"-1", rb"\ud83d", b"\xff", b"[[[[", b'"":']
        ),
    ),
)


@settings(max_examples=600, deadline=None)
@given(data=st.data())
def test_nothing_raises(lines: list[bytes], data: st.DataObject) -> None:
    """S12: real payloads cut, patched and spliced anywhere decode to some event."""
    payload = data.draw(st.sampled_from(lines), "payload")
    for at, length, patch in data.draw(st.lists(CUTS, max_size=4), "cuts"):
        at %= len(payload) + 1
        payload = payload[:at] + patch + payload[at + length :]
    event = wire.decode(payload, 7.0)

    assert isinstance(event, ev.SessionEvent)
    assert event.at == 7.0
    again = wire.decode(wire.encode(event), 7.0)
    assert bare(again) == bare(event)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_value_in_no_field_raises(lines: list[bytes], data: st.DataObject) -> None:
    """S12: any JSON value in place of any value of a real payload decodes to some event."""
    value = json.loads(data.draw(st.sampled_from(lines), "payload"))
    holder: Any = value
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = data.draw(st.sampled_from(keys), "key")
        if (
            not isinstance(holder[key], dict | list)
            or not holder[key]
            or data.draw(st.booleans(), "here")
        ):
            holder[key] = data.draw(JSON, "value")
            break
        holder = holder[key]

    assert isinstance(wire.decode(json.dumps(value).encode(), 7.0), ev.SessionEvent)


@settings(max_examples=300, deadline=None)
@given(payload=st.binary(max_size=60))
def test_no_bytes_raise(payload: bytes) -> None:
    """S12: whatever arrives, something leaves."""
    assert wire.decode(payload, 7.0).at == 7.0


def test_pieces_of_text_that_nobody_wants_are_not_decoded() -> None:
    """What is asked for is what ``wants`` says of ``PartDelta``; all else is decoded as ever."""
    piece = {"sessionID": "s", "messageID": "m", "partID": "p", "field": "text", "delta": "x"}
    delta = json.dumps(
        {"id": "evt_1", "type": "message.part.delta", "properties": piece}, separators=(",", ":")
    ).encode()
    payloads = [delta, b'{"type":"session.idle","properties":{"sessionID":"s"}}', b"no json"]
    all_of_it = wire.decode_wanted(payloads, 1.0, lambda kind: True)
    assert [type(event) for event in all_of_it] == [ev.PartDelta, ev.SessionIdle, ev.MalformedEvent]
    assert wire.decode_wanted(payloads, 1.0, lambda kind: kind is not ev.PartDelta) == all_of_it[1:]


def test_a_delta_is_told_by_the_type_of_the_event_itself() -> None:
    """A type further in (of a tool's input, say) or inside a text is none of the event's own."""
    inner = {"type": "message.part.delta"}
    part = {"type": "message.part.updated", "properties": {"part": {"state": {"input": inner}}}}
    text = {"id": '"type":"message.part.delta"', "type": "session.idle", "properties": inner}
    enveloped = {"directory": "/d", "payload": {"id": "evt_1", **inner, "properties": {}}}
    for payload, expected in (
        (inner, True),
        (enveloped, True),
        (part, False),
        (text, False),
        ({}, False),
    ):
        assert wire.is_delta(json.dumps(payload, separators=(",", ":")).encode()) is expected
