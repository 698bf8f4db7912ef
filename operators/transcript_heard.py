"""What was heard of a message or a part, before a snapshot is made of it."""

import msgspec
from msgspec.structs import replace

from operators.transcript_entry import TranscriptEntry
from operators.transcript_json import (
    capped,
    completed_by,
    info_json,
    part_json,
    sent_info,
    sent_part,
)
from streams.events import MessageUpdated, Part, PartUpdated

__all__ = ["Heard", "body_of", "heard_message", "heard_part"]


class Heard(msgspec.Struct, gc=False):
    """An entry that no snapshot has yet. Its body is taken out of ``raw`` only when one is made: most
    of what is heard of a part is superseded before."""

    entry: TranscriptEntry
    raw: bytes = b""


def heard_part(key: str, event: PartUpdated, now: float, known: TranscriptEntry | None) -> Heard:
    """The entry that a part makes, with what an earlier event said of it and this one does not."""
    part, state, body, raw = event.part, event.part.state, b"", event.raw
    if b'"part":' not in raw:
        body, raw = completed_by(part_json(event.session_id, part), known.body if known else b""), b""
    entry = TranscriptEntry(
        part.id,
        part.message_id,
        part.type,
        key,
        known.since if known else now,
        now,
        event.event_id,
        body,
        part.tool or (known.tool if known else ""),
        part.call_id,
        "" if state is None else state.status,
        part.synthetic,
        part.auto,
        part.started if state is None else state.started,
        part.ended if state is None else state.ended,
    )
    return Heard(entry, raw)


def heard_message(key: str, event: MessageUpdated, now: float, known: TranscriptEntry | None) -> Heard:
    """The entry that a message makes, likewise."""
    message, body, raw = replace(event, raw=b""), b"", event.raw
    if b'"info":' not in raw:
        message = _completed(message, known.message if known else None)
        body, raw = info_json(message), b""
    entry = TranscriptEntry(
        event.message_id,
        event.message_id,
        "message",
        key,
        known.since if known else now,
        now,
        event.event_id,
        body,
        started=message.created,
        ended=message.completed,
        message=message,
    )
    return Heard(entry, raw)


def _completed(message: MessageUpdated, known: MessageUpdated | None) -> MessageUpdated:
    """The end of a step says neither when it began nor by which model."""
    if known is None:
        return message
    return replace(
        message,
        created=message.created or known.created,
        provider_id=message.provider_id or known.provider_id,
        model_id=message.model_id or known.model_id,
        agent=message.agent or known.agent,
        parent_id=message.parent_id or known.parent_id,
    )


def body_of(session_id: str, entry: TranscriptEntry, raw: bytes, cap: int | None) -> bytes:
    """The entry's JSON: as the agent sent it, or else made."""
    if entry.body:
        body = entry.body
    elif entry.message is not None:
        body = sent_info(raw) or info_json(entry.message)
    else:
        body = sent_part(raw) or part_json(session_id, Part(entry.id, entry.message_id, entry.kind))
    return capped(body, cap)
