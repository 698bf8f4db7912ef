"""The full shape: one line per message, ``{"info", "parts"}`` as opencode's own API has it."""

from collections.abc import Iterable, Iterator

import msgspec

from operators.transcript import Transcript
from operators.transcript_entry import TranscriptEntry
from operators.transcript_json import capped
from operators.transcript_snapshots import TranscriptSnapshot
from streams.transcripts.formats import Record, Unit, one_line

__all__ = ["MessagesFormat"]


class _Info(msgspec.Struct, frozen=True, gc=False):
    id: str = ""


class _Line(msgspec.Struct, gc=False):
    info: _Info = _Info()


_decode = msgspec.json.Decoder(_Line).decode


class MessagesFormat:
    """A message is written when it is over; until then its line would change with each part.

    Args:
        cap: Bytes that a tool part may take; a longer one is cut.
    """

    suffix = ".messages.jsonl"

    def __init__(self, cap: int | None) -> None:
        self._cap = cap

    def units(self, whole: Transcript, entry: TranscriptEntry) -> Iterable[Unit]:
        if entry.message_id:
            yield Unit(entry.message_key, entry.message_id)

    def all_units(self, whole: Transcript) -> Iterator[Unit]:
        last = ""
        for entry in whole:
            if entry.message_id and entry.message_id != last:
                last = entry.message_id
                yield Unit(entry.message_key, last)

    def ids(self, session_id: str, unit: Unit) -> tuple[str, ...]:
        return (unit.name,)

    def records(
        self, snapshot: TranscriptSnapshot, unit: Unit, *, resting: bool
    ) -> tuple[list[Record], bool]:
        whole = snapshot.whole
        message = whole.get(unit.key)
        over = message is None or _is_over(snapshot, message)
        if not over and not resting:
            return [], False
        parts = [entry for entry in whole.parts_of(unit.key) if entry.message_id]
        if message is None and not parts:
            return [], True
        info = message.json if message else _unknown(snapshot.session_id, unit.name)
        body = b'{"info":%b,"parts":[%b]}' % (info, b",".join(map(self._part, parts)))
        return [Record(unit.name, unit.key, one_line(body))], over

    def line(self, record: Record, before: str) -> bytes:
        return record.body

    def identify(self, line: bytes) -> tuple[str, bytes]:
        try:
            return _decode(line).info.id, line
        except msgspec.MsgspecError:
            return "", line

    def _part(self, entry: TranscriptEntry) -> bytes:
        return capped(entry.json, self._cap) if entry.kind == "tool" else entry.json


def _is_over(snapshot: TranscriptSnapshot, entry: TranscriptEntry) -> bool:
    """A user's message with its parts is; an answer when it says so, or when the next one has begun.

    An answer that only has a reason for its end still changes, while the session works.
    """
    whole, message = snapshot.whole, entry.message
    if message is None or message.role == "user":
        return next(whole.parts_of(entry.key), None) is not None
    if message.completed is not None or message.error or (message.finish and not snapshot.busy):
        return True
    later = (each.message for each in whole.after_message(entry.key) if each.message is not None)
    return any(each.role == "assistant" for each in later)


def _unknown(session_id: str, message_id: str) -> bytes:
    """Of a message whose own data was never heard of."""
    return msgspec.json.encode({"id": message_id, "sessionID": session_id})
