"""The JSON of messages and parts: taken from what the agent sent, made where it sent none, cut to size.

Whatever the agent, it has opencode's shape: ``info`` and ``parts`` of ``GET /session/{id}/message``.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from operators.streamed_text import quoted
from streams.events import MessageUpdated, Part, Tokens

__all__ = ["capped", "completed_by", "info_json", "part_json", "sent_info", "sent_part", "with_text"]

SHORTEST: Final = 16
"""Strings are not cut below so many characters: then whatever holds them goes as a whole."""

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode


class _Body(msgspec.Struct, gc=False):
    part: msgspec.Raw = msgspec.Raw()
    info: msgspec.Raw = msgspec.Raw()


class _Payload(msgspec.Struct, gc=False):
    properties: _Body | None = None
    data: _Body | None = None
    payload: "_Payload | None" = None


_decode = msgspec.json.Decoder(_Payload).decode


def sent_part(raw: bytes) -> bytes:
    """The part as the agent sent it, from an event's payload; empty when there is none in it."""
    return bytes(_body(raw).part) if b'"part":' in raw else b""


def sent_info(raw: bytes) -> bytes:
    """The message's own data as the agent sent it; empty when there is none in the payload."""
    return bytes(_body(raw).info) if b'"info":' in raw else b""


def _body(raw: bytes) -> _Body:
    try:
        payload = _decode(raw)
    except msgspec.MsgspecError:
        return _Body()
    inner = payload.payload or payload
    return inner.properties or inner.data or _Body()


def with_text(body: bytes, text: Iterable[bytes]) -> bytes:
    """The part with another text, which is a JSON string already, in pieces that are copied once."""
    fields = {name: value for name, value in _fields(body).items() if name != "text"}
    before = b',"text":' if fields else b'"text":'
    return b"".join((_encode(fields)[:-1], before, *text, b"}"))


def completed_by(body: bytes, known: bytes) -> bytes:
    """A part that repeats only what is new, with what was known of it before."""
    if not known:
        return body
    fields, before = _fields(body), _fields(known)
    for name in ("state", "time"):
        if name in fields and name in before:
            inner = _fields(before[name]) | _fields(fields[name])
            fields[name] = msgspec.Raw(_encode(inner))
    return _encode(before | fields)


# --- making it ------------------------------------------------------------------------------------


def part_json(session_id: str, part: Part) -> bytes:
    """A part that came in no such JSON, written as one."""
    fields = _fields(_encode(_encodable(replace(part, session_id=session_id, text=""))))
    if part.type in ("text", "reasoning"):
        fields["text"] = msgspec.Raw(quoted(part.text))
    return _encode(fields)


def _encodable(part: Part) -> Part:
    """Only what no JSON can hold is replaced, in the texts of a tool's state."""
    state = part.state
    if state is None:
        return part
    texts = {name: _decode_text(quoted(getattr(state, name))) for name in ("error", "title")}
    return replace(part, state=replace(state, **texts))


def info_json(event: MessageUpdated) -> bytes:
    """A message's own data that came in no such JSON, written as such."""
    fields: dict[str, Any] = {
        "id": event.message_id,
        "sessionID": event.session_id,
        "role": event.role,
        "time": {"created": _milliseconds(event.created)},
    }
    if event.completed is not None:
        fields["time"]["completed"] = _milliseconds(event.completed)
    if event.role == "assistant":
        fields |= {"providerID": event.provider_id, "modelID": event.model_id, "cost": event.cost}
    elif event.model_id:
        fields["model"] = {"providerID": event.provider_id, "modelID": event.model_id}
    for name, value in (
        ("parentID", event.parent_id),
        ("agent", event.agent),
        ("finish", event.finish),
        ("summary", event.summary),
    ):
        if value:
            fields[name] = value
    if event.tokens is not None:
        fields["tokens"] = _tokens(event.tokens)
    if event.error is not None:
        message = msgspec.Raw(quoted(event.error.message))
        fields["error"] = {"name": event.error.name, "data": {"message": message}}
    return _encode(fields)


def _tokens(tokens: Tokens) -> dict[str, Any]:
    total = {} if tokens.total is None else {"total": tokens.total}
    cache = {"read": tokens.cache_read, "write": tokens.cache_write}
    return total | {
        "input": tokens.input,
        "output": tokens.output,
        "reasoning": tokens.reasoning,
        "cache": cache,
    }


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


# --- cutting it -----------------------------------------------------------------------------------


def capped(body: bytes, cap: int | None) -> bytes:
    """The same JSON in at most ``cap`` bytes: its long strings are cut, and say by how much.

    What is too large without any long string loses its largest values, which say so in their place.
    """
    if cap is None or len(body) <= cap:
        return body
    try:
        value = msgspec.json.decode(body)
        longest = cap // 2
        while longest >= SHORTEST:
            cut = _encode(_shortened(value, longest))
            if len(cut) <= cap:
                return cut
            longest //= 2
    except RecursionError:
        pass  # nested too deeply to be looked into
    return _without_largest(body, cap)


def _shortened(value: Any, longest: int) -> Any:  # noqa: ANN401
    match value:
        case str() if len(value) > longest:
            kept = value[:longest]
            return f"{kept}… [{len(value) - len(kept)} characters cut]"
        case dict():
            return {name: _shortened(each, longest) for name, each in value.items()}  # pyright: ignore
        case list():
            return [_shortened(each, longest) for each in value]  # pyright: ignore
        case _:
            return value


def _without_largest(body: bytes, cap: int) -> bytes:
    """A tool's state loses values first, then the rest; ids and types are never that large."""
    fields = _fields(body)
    for name in ("state", ""):
        holder = _fields(fields[name]) if name in fields else fields
        for largest in sorted(holder, key=lambda each: -len(holder[each])):
            left_out = _encode(f"… [{len(holder[largest])} bytes left out]")
            if len(body) <= cap or len(holder[largest]) <= len(left_out):
                break
            holder[largest] = msgspec.Raw(left_out)
            if holder is not fields:
                fields[name] = msgspec.Raw(_encode(holder))
            body = _encode(fields)
    return body
