"""What a transcript consists of: messages and their parts."""

import msgspec

from operators.streamed_text import TextView
from operators.tool_states import ENDED
from operators.transcript_json import with_text
from streams.events import MessageUpdated

__all__ = ["TranscriptEntry"]


class _Text(msgspec.Struct, gc=False):
    text: msgspec.Raw = msgspec.Raw(b'""')


_text_field = msgspec.json.Decoder(_Text).decode
_text = msgspec.json.Decoder(str).decode


class TranscriptEntry(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A message, or one part of a message, as it was at one version.

    Attributes:
        id: The message's or the part's own id.
        message_id: The message it belongs to; empty for a compaction that came as an event alone.
        kind: ``message``, or the type of the part: ``text``, ``reasoning``, ``tool``, ``compaction``, …
        key: Its place: entries are in the order of their keys, a message before its parts.
        since: Seconds, when it was first heard of.
        at: Seconds, when it was last heard of.
        event_id: The event that brought it.
        body: Its JSON as the agent wrote it; of a text that is being written, without what was
            streamed since: ask ``json``.
        tool: The tool called.
        call_id: The call.
        status: The call's status: ``pending``, ``running``, ``completed``, ``error``.
        synthetic: The agent's own text, written by no human and no model.
        auto: A compaction that nobody asked for.
        started: Seconds, when the part began, if it says so.
        ended: Seconds, when the part ended, if it says so.
        message: Of a message, its own data.
        streamed: Of a text that is being written, the text so far.
    """

    id: str
    message_id: str
    kind: str
    key: str
    since: float
    at: float
    event_id: str
    body: bytes
    tool: str = ""
    call_id: str = ""
    status: str = ""
    synthetic: bool = False
    auto: bool = False
    started: float | None = None
    ended: float | None = None
    message: MessageUpdated | None = None
    streamed: TextView | None = None

    @property
    def json(self) -> bytes:
        """The whole message info, or part, as JSON in opencode's shape."""
        return self.body if self.streamed is None else with_text(self.body, self.streamed.pieces())

    @property
    def text_json(self) -> bytes:
        """The text, as a JSON string."""
        if self.streamed is not None:
            return self.streamed.json()
        return bytes(_text_field(self.body).text)

    @property
    def text(self) -> str:
        """The text of a text or a reasoning; of anything else nothing."""
        return _text(self.text_json)

    @property
    def settled(self) -> bool:
        """Whether no more is to come: its time has ended, or its call has."""
        return self.ended is not None or self.status in ENDED

    @property
    def message_key(self) -> str:
        """What the keys of the message and of all its parts begin with."""
        return self.key[: self.key.index("\0") + 1]

    def __repr__(self) -> str:
        shown = (self.kind, self.id, self.tool, self.status, f"{len(self.body)} B")
        return f"TranscriptEntry({', '.join(filter(None, shown))})"
