"""A session's history: opencode's answer to ``GET /session/{id}/message`` as one event."""

from typing import Final

import msgspec

from streams.events import MessageUpdated, PartUpdated, SessionHistory
from streams.opencode import wire
from streams.opencode.payloads import WrongShape

__all__ = ["history"]

MESSAGE: Final = b'{"type":"message.updated","properties":{"sessionID":%b,"info":%b}}'
PART: Final = b'{"type":"message.part.updated","properties":{"sessionID":%b,"part":%b}}'


class _Message(msgspec.Struct, gc=False):
    info: msgspec.Raw
    parts: list[msgspec.Raw] = []


_decode = msgspec.json.Decoder(list[_Message]).decode


def history(session_id: str, answer: bytes, *, asked: float = 0.0, at: float = 0.0) -> SessionHistory:
    """Read an answer to ``GET /session/{id}/message``.

    Args:
        session_id: The session that was asked about.
        answer: The body of the answer, JSON, as it came.
        asked: Seconds, by the pipeline's clock, when the request was sent.
        at: Seconds, when the answer came.

    Raises:
        ValueError: It is no such answer.
    """
    session = msgspec.json.encode(session_id)
    events: list[MessageUpdated | PartUpdated] = []
    try:
        messages = _decode(answer)
    except RecursionError as error:
        raise WrongShape(str(error)) from None
    for message in messages:
        events.append(_event(MESSAGE % (session, message.info), at))
        events += (_event(PART % (session, part), at) for part in message.parts)
    return SessionHistory(session_id, at, asked=asked, events=tuple(events))


def _event(payload: bytes, at: float) -> MessageUpdated | PartUpdated:
    event = wire.decode(payload, at)
    if isinstance(event, MessageUpdated | PartUpdated):
        return event
    raise WrongShape(f"{getattr(event, 'reason', 'too large')}: {payload[:80]!r}")
