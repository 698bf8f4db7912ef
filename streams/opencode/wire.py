"""The wire: the bytes of one SSE ``data:`` payload to one ``SessionEvent``. Pure; never raises.

Dialects, told apart by the payload itself: ``/event`` (``{id, type, properties}``, or without the
id), ``/global/event`` (the same inside ``{directory, payload}``), ``/api/event`` (``data`` in place of
``properties``), and our own encoding of events that came from no wire (``{"@kind": …}``).

One typed union reads the payload in one pass, and of it only the fields that something derives from;
what it rejects is looked at again, slowly, to say whether it is unknown or malformed.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol, Union, cast

import msgspec
from msgspec.structs import force_setattr

from streams import events as ev
from streams.events import SessionEvent
from streams.opencode.payloads import PROPERTIES, Places, Properties, Sync, WrongShape

__all__ = ["MAX_BYTES", "decode", "decode_wanted", "encode", "is_delta"]

MAX_BYTES: Final = 16 * 1024 * 1024
"""Default size in bytes above which a payload is not decoded."""

KEPT_OF_OVERSIZED: Final = 1024


class _Payload(Protocol):
    """One event on the wire; ``type`` has chosen the type of its body."""

    id: str
    properties: SessionEvent | Properties | None
    data: SessionEvent | Properties | None


class _Envelope(Protocol):
    payload: _Payload


def _payload_type(tag: str, body: type[SessionEvent | Properties], name: str = "properties") -> Any:  # noqa: ANN401
    fields = [("id", str, ""), ("properties", body | None, None), ("data", body | None, None)]
    rename = {"properties": name}
    return msgspec.defstruct(tag, fields, tag_field="type", tag=tag, rename=rename, gc=False)


def _any_of(types: Iterable[type]) -> Any:  # noqa: ANN401
    return Union[tuple(types)]  # noqa: UP007


_PAYLOADS: Final = [_payload_type(*entry) for entry in PROPERTIES.items()]
_UNION: Final = _any_of([*_PAYLOADS, _payload_type("sync", Sync, "syncEvent")])
_ENVELOPE: Final = msgspec.defstruct("Envelope", [("payload", _UNION)], gc=False)
_OWN: Final = _any_of(ev.KINDS)

_ENVELOPED: Final = b"dp"
"""Third byte of ``{"directory"``, ``{"payload"`` and ``{"project"``: a guess that costs nothing."""
_EVENTS: Final = frozenset(ev.KINDS)
_DELTA: Final = ev.PartDelta
_PART: Final = ev.PartUpdated
_TYPE: Final = b'"type":"'
_TYPE_OF_DELTA: Final = b'message.part.delta"'
_DELTA_TYPE: Final = _TYPE + _TYPE_OF_DELTA
_ID: Final = len(b'{"id":"",') + 30
_BEHIND_ID: Final = slice(_ID, _ID + len(_TYPE))
"""Where a payload that begins with an id as opencode makes them says that its type follows,"""
_DELTA_BEHIND_ID: Final = slice(_ID, _ID + len(_DELTA_TYPE))
"""and that it is a delta."""
_OURS: Final = b'{"@kind"'
_PAIRED: Final = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPES: Final = re.compile(_PAIRED + rb"|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.")

_plain = cast(Callable[[bytes], _Payload], msgspec.json.Decoder(_UNION).decode)
_enveloped = cast(Callable[[bytes], _Envelope], msgspec.json.Decoder(_ENVELOPE).decode)
_own = cast(Callable[[bytes], SessionEvent], msgspec.json.Decoder(_OWN).decode)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


def decode(payload: bytes, at: float = 0.0, *, max_bytes: int = MAX_BYTES) -> SessionEvent:
    """Decode one payload.

    Args:
        payload: The JSON text of one event, UTF-8.
        at: Seconds, when it was received; becomes the event's ``at``.
        max_bytes: Payloads larger than this are not decoded. Default 16 MiB.

    Returns:
        The event. A type that nothing derives from gives ``UnknownEvent``. What is no JSON object, has
        fields of the wrong type, names no session where one belongs, or is too large gives
        ``MalformedEvent`` with the reason. It never raises.
    """
    if len(payload) > max_bytes:
        reason = f"oversized: {len(payload)} bytes, at most {max_bytes} are decoded"
        return ev.MalformedEvent("", at, "", payload[:KEPT_OF_OVERSIZED], reason)
    try:
        wire = _enveloped(payload).payload if payload[2] in _ENVELOPED else _plain(payload)
        body = wire.properties or wire.data
        whose = body.session_id if body else ""
        if whose and (type(body) is _DELTA or (type(body) is _PART and body.part.session_id == whose)):
            force_setattr(body, "at", at)
            force_setattr(body, "event_id", wire.id)
            force_setattr(body, "raw", payload)
            return body
        if body is not None:
            return _received(body, at, wire.id, payload)
    except (ValueError, IndexError, RecursionError):
        pass  # not lost: looked at again
    return _second_look(payload, at)


def decode_wanted(
    payloads: Iterable[bytes], at: float, wants: Callable[[type[SessionEvent]], bool]
) -> list[SessionEvent]:
    """Decode what one read brought, without the pieces of text (most of it by far) if nobody wants them.

    Args:
        payloads: As for ``decode``, in order.
        at: Seconds, when they were received.
        wants: Whether anybody listens to events of a type: ``EventHub.wants``.

    Returns:
        The events, for ``EventHub.on_batch``.
    """
    if wants(ev.PartDelta):
        return [decode(payload, at) for payload in payloads]
    return [
        decode(payload, at)
        for payload in payloads
        if payload[_DELTA_BEHIND_ID] != _DELTA_TYPE
        and (payload[_BEHIND_ID] == _TYPE or not is_delta(payload))
    ]


def is_delta(payload: bytes) -> bool:
    """Whether it is a piece of text, told without decoding.

    The first type in it is its own, since it comes before whatever has others; an envelope has none.
    """
    if payload[_BEHIND_ID] == _TYPE:  # nearly always
        return payload[_DELTA_BEHIND_ID] == _DELTA_TYPE
    return payload.startswith(_TYPE_OF_DELTA, payload.find(_TYPE) + len(_TYPE))


def encode(event: SessionEvent) -> bytes:
    """The bytes that ``decode`` reads back: the payload it came from, else our own encoding.

    A payload that could not be read need not even be JSON: it goes into our own encoding too.
    """
    if event.raw and type(event) is not ev.MalformedEvent:
        return event.raw
    return _encode(event)


def _received(body: SessionEvent | Properties, at: float, event_id: str, raw: bytes) -> SessionEvent:
    """Most bodies are the event itself and want only what we add; making a copy would cost double."""
    if type(body) not in _EVENTS:
        return cast(Properties, body).event(at, event_id, raw)
    event = cast(SessionEvent, body)
    if type(event) is ev.PartUpdated and event.part.session_id:
        force_setattr(event, "session_id", event.part.session_id)
    if not event.session_id:
        raise WrongShape("no session id")
    force_setattr(event, "at", at)
    force_setattr(event, "event_id", event_id)
    force_setattr(event, "raw", raw)
    return event


def _second_look(payload: bytes, at: float) -> SessionEvent:
    """Say what a payload is that the union did not take."""
    whole = _ESCAPES.sub(_mended, payload)
    if whole != payload:
        event = decode(whole, at, max_bytes=len(whole))
        if not isinstance(event, ev.MalformedEvent):
            return event
    try:
        if payload.startswith(_OURS):
            return _ours(payload, at)
        fields = _fields(payload)
        inner = fields.get("payload")
        if inner is not None:
            fields = _fields(inner)
        return _by_fields(fields, bytes(inner or payload), at, payload)
    except (ValueError, RecursionError) as error:
        return ev.MalformedEvent("", at, "", payload, str(error))


def _mended(escape: re.Match[bytes]) -> bytes:
    """JavaScript cuts text between the halves of a pair; half of one is no character (T6)."""
    return rb"\ufffd" if escape["lone"] else escape[0]


def _ours(payload: bytes, at: float) -> SessionEvent:
    """An event of our own says itself when it was received; one written by hand may not."""
    event = _own(payload)
    if at and not event.at:
        force_setattr(event, "at", at)
    return event


def _by_fields(fields: dict[str, msgspec.Raw], inner: bytes, at: float, raw: bytes) -> SessionEvent:
    """A payload of a known type must decode; without a body its fields lie beside the type."""
    kind = _text(fields["type"]) if "type" in fields else ""
    event_id = _text_or_empty(fields.get("id"))
    body = fields.get("properties") or fields.get("data")
    properties = PROPERTIES.get(kind)
    if not kind:
        raise WrongShape("no type")
    if properties is None:
        of_session = _fields_or_none(body or inner).get("sessionID")
        return ev.UnknownEvent(_text_or_empty(of_session), at, event_id, raw, kind)
    try:
        decoded = msgspec.json.decode(body or inner, type=properties)
        if not decoded.session_id:
            places = msgspec.json.decode(body or inner, type=Places)
            force_setattr(decoded, "session_id", places.session_of(kind))
        return _received(decoded, at, event_id, raw)
    except ValueError as error:
        raise WrongShape(f"{kind}: {error}") from None


def _fields_or_none(body: msgspec.Raw | bytes) -> dict[str, msgspec.Raw]:
    try:
        return _fields(body)
    except ValueError:
        return {}


def _text_or_empty(raw: msgspec.Raw | None) -> str:
    try:
        return "" if raw is None else _text(raw)
    except ValueError:
        return ""
