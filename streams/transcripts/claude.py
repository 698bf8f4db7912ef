"""Claude Code's transcript: one line per text, tool call and tool result, which hooks read."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import islice
from typing import Final

import msgspec

from operators.streamed_text import quoted
from operators.transcript import LAST, Transcript
from operators.transcript_entry import TranscriptEntry
from operators.transcript_json import capped
from operators.transcript_snapshots import TranscriptSnapshot
from streams.events import MessageUpdated
from streams.transcripts.formats import Record, Unit, one_line

__all__ = ["ClaudeFormat"]

VERSION: Final = "1.0.0"
"""Of these lines."""

STOPS: Final = {
    "stop": "end_turn",
    "tool-calls": "tool_use",
    "length": "max_tokens",
    "content-filter": "refusal",
}
"""opencode's words for why an answer ended, in Anthropic's."""

NEAR: Final = 64
"""Entries before a summary among which its request is looked for."""

FIRST, RESULT, BOUNDARY = range(3)
"""The lines that a unit may have."""

PARENT: Final = b'{"parentUuid":'

_encode = msgspec.json.Encoder().encode


class _Line(msgspec.Struct, gc=False):
    uuid: str = ""


class _State(msgspec.Struct, frozen=True, gc=False):
    input: msgspec.Raw = msgspec.Raw(b"{}")
    output: msgspec.Raw = msgspec.Raw(b'""')
    error: msgspec.Raw = msgspec.Raw(b'""')


class _Tool(msgspec.Struct, gc=False):
    state: _State = _State()


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_tool = msgspec.json.Decoder(_Tool).decode


class ClaudeFormat:
    """Lines that need not change: a call when it runs and its result when it has run, a text when it is
    over. What an answer used stands on its last text; if it ends with calls, on a line of its own.

    Tools and their inputs have the names that the agent gives them.

    Args:
        cap: Bytes that a tool part may take; a longer one is cut.
    """

    suffix = ".jsonl"

    def __init__(self, cap: int | None) -> None:
        self._cap = cap

    def units(self, whole: Transcript, entry: TranscriptEntry) -> Iterable[Unit]:
        """What an answer used moves to its last text: either may have to go when the other comes."""
        yield _unit(entry)
        if entry.message is not None:
            other = _last_content(whole, entry.key)
        else:
            other = whole.get(entry.message_key)
        if other is not None:
            yield _unit(other)

    def all_units(self, whole: Transcript) -> Iterator[Unit]:
        return iter(sorted(map(_unit, whole)))

    def ids(self, session_id: str, unit: Unit) -> tuple[str, ...]:
        return _uuids(session_id, unit.name)

    def records(
        self, snapshot: TranscriptSnapshot, unit: Unit, *, resting: bool
    ) -> tuple[list[Record], bool]:
        entry = snapshot.whole.get(unit.key.removesuffix(LAST))
        if entry is None:
            return [], True
        lines = _Lines(snapshot, entry)
        match entry.kind:
            case "text" | "reasoning":
                return _text(lines, resting=resting)
            case "tool":
                return _tool(lines, self._cap, resting=resting)
            case "message":
                return _message(lines)
            case "compaction" if not entry.message_id:
                return [lines.boundary("auto" if entry.auto else "manual", None)], True
            case _:
                return [], True

    def line(self, record: Record, before: str) -> bytes:
        parent = b'"%b"' % before.encode() if before else b"null"
        return b"".join((PARENT, parent, b",", memoryview(record.body)[1:]))

    def identify(self, line: bytes) -> tuple[str, bytes]:
        try:
            uuid = _decode_line(line).uuid
        except msgspec.MsgspecError:
            return "", line
        if not line.startswith(PARENT):
            return "", line
        return uuid, b"{" + line[line.index(b",") + 1 :]


class _Lines:
    """Lines of one entry."""

    def __init__(self, snapshot: TranscriptSnapshot, entry: TranscriptEntry) -> None:
        self.whole = snapshot.whole
        self.entry = entry
        self.message = snapshot.whole.message_of(entry)
        self.is_busy = snapshot.busy
        self.is_quiet = snapshot.reason == "quiet" and not snapshot.busy
        self._snapshot = snapshot

    @property
    def is_over(self) -> bool:
        """Whether no more is to come of the message, and what it used is known."""
        message = self.message
        return message is not None and bool(
            message.completed is not None or message.finish or message.error
        )

    @property
    def is_user(self) -> bool:
        return self.message is not None and self.message.role == "user"

    @property
    def is_summary(self) -> bool:
        """Of a compaction that went well."""
        message = self.message
        return message is not None and self.is_over and message.summary and message.error is None

    def user(self, content: object, at: float | None, line: int = FIRST, **more: object) -> Record:
        return self._record("user", line, at, {"role": "user", "content": content}, more)

    def assistant(
        self, content: list[object], at: float | None, *, usage: bool, **more: object
    ) -> Record:
        entry, message = self.entry, self.message
        said: dict[str, object] = {
            "id": entry.message_id,
            "type": "message",
            "role": "assistant",
            "model": message.model_id if message else "",
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
        }
        if usage and message is not None:
            said["stop_reason"] = STOPS.get(message.finish)
            if used := _usage(message):
                said["usage"] = used
        return self._record("assistant", FIRST, at, said, {"requestId": entry.message_id, **more})

    def boundary(self, trigger: str, before: int | None) -> Record:
        tokens = {} if before is None else {"preTokens": before}
        more: dict[str, object] = {
            "subtype": "compact_boundary",
            "content": "Conversation compacted",
            "level": "info",
            "compactMetadata": {"trigger": trigger} | tokens,
        }
        return self._record("system", BOUNDARY, None, None, more)

    def _record(
        self, kind: str, line: int, at: float | None, message: object, more: dict[str, object]
    ) -> Record:
        entry, snapshot = self.entry, self._snapshot
        fields: dict[str, object] = {
            "isSidechain": bool(snapshot.parent_id),
            "userType": "external",
            "cwd": snapshot.directory,
            "sessionId": snapshot.session_id,
            "version": VERSION,
            "type": kind,
        }
        if snapshot.parent_id:
            fields["agentId"] = snapshot.session_id
        if message is not None:
            fields["message"] = message
        fields |= {name: value for name, value in more.items() if value is not None}
        uuid = _uuids(snapshot.session_id, _unit(entry).name)[line]
        fields |= {"uuid": uuid, "timestamp": _timestamp(self._time(at))}
        return Record(uuid, entry.message_key, one_line(_encode(fields)))

    def _time(self, at: float | None) -> float:
        """By the agent's clock where it told, else when we first heard of it."""
        if at is not None:
            return at
        created = self.message.created if self.message else 0.0
        return created or self.entry.since


def _text(lines: _Lines, *, resting: bool) -> tuple[list[Record], bool]:
    """A text may be the last of its answer until something comes after it, or the answer is over.

    A session that does not say that it works is not waited for once nothing comes.
    """
    entry = lines.entry
    is_last = not any(map(_is_content, lines.whole.after(entry)))
    done = lines.is_user or lines.is_over or (entry.settled and not is_last and lines.message is not None)
    text = entry.text_json
    if text == b'""' or not (done or resting or lines.is_quiet):
        return [], done
    if lines.is_user:
        return [lines.user(msgspec.Raw(text), None, isMeta=True if entry.synthetic else None)], done
    if lines.is_summary and entry.kind == "text":
        return _summary(lines, text), done
    if entry.kind == "text":
        block: dict[str, object] = {"type": "text", "text": msgspec.Raw(text)}
    else:
        block = {"type": "thinking", "thinking": msgspec.Raw(text), "signature": ""}
    return [lines.assistant([block], entry.started, usage=lines.is_over and is_last)], done


def _summary(lines: _Lines, text: bytes) -> list[Record]:
    """A compaction's own answer: what the session goes on with, after a mark at its first text."""
    entry, whole, message = lines.entry, lines.whole, lines.message
    summary = lines.user(msgspec.Raw(text), entry.started, isCompactSummary=True)
    first = next(each for each in whole.parts_of(entry.message_key) if each.kind == "text")
    if first is not entry or message is None:
        return [summary]
    near = list(islice(whole.before(entry.message_key), NEAR))
    marks = [each for each in near if each.kind == "compaction" and each.message_id == message.parent_id]
    answers = [each.message for each in near if each.message is not None and not each.message.summary]
    used = next((sum(usage.values()) for usage in map(_usage, answers) if usage), None)
    return [lines.boundary("auto" if marks and marks[0].auto else "manual", used), summary]


def _tool(lines: _Lines, cap: int | None, *, resting: bool) -> tuple[list[Record], bool]:
    """The call as soon as its input is known; the result when it is there."""
    entry = lines.entry
    if entry.status == "pending" and not resting:
        return [], False
    state = _decode_tool(capped(entry.body, cap)).state
    call_id = entry.call_id or entry.id
    call = {"type": "tool_use", "id": call_id, "name": entry.tool, "input": state.input}
    records = [lines.assistant([call], entry.started, usage=False)]
    if entry.settled:
        failed = entry.status == "error"
        content = state.error if failed else state.output
        result = {"type": "tool_result", "tool_use_id": call_id, "content": content, "is_error": failed}
        records.append(lines.user([result], entry.ended or entry.at, RESULT))
    return records, entry.settled


def _message(lines: _Lines) -> tuple[list[Record], bool]:
    """What an answer used, if no text of it can say so; and its error."""
    message = lines.message
    if message is None or lines.is_user:
        return [], True
    if not lines.is_over or (lines.is_busy and message.completed is None and message.error is None):
        return [], False
    last = _last_content(lines.whole, lines.entry.key)
    told = last is not None and last.kind != "tool"
    if error := message.error:
        text = msgspec.Raw(quoted(": ".join(filter(None, ("API Error", error.name, error.message)))))
        block: dict[str, object] = {"type": "text", "text": text}
        at = message.completed
        return [lines.assistant([block], at, usage=not told, isApiErrorMessage=True)], True
    if told or not _usage(message):
        return [], True
    return [lines.assistant([], message.completed, usage=True)], True


def _unit(entry: TranscriptEntry) -> Unit:
    """What is said of a message itself is known last, and comes after its parts."""
    if entry.message is not None:
        return Unit(entry.key + LAST, entry.id)
    return Unit(entry.key, f"{entry.message_id}/{entry.id}")


def _uuids(session_id: str, name: str) -> tuple[str, str, str]:
    """Of all lines of a unit: the same whenever it is written again. One hash makes all three."""
    named = f"{session_id}/{name}".encode("utf-8", "replace")
    digest = blake2b(named, digest_size=20, person=b"sessionstreams").hexdigest()
    start = f"{digest[:8]}-{digest[8:12]}-8{digest[12:15]}-a{digest[15:18]}-"
    return start + digest[18:30], start + digest[22:34], start + digest[28:40]


def _is_content(entry: TranscriptEntry) -> bool:
    """Whether it has a line, other than one about its message."""
    return entry.kind == "tool" or (entry.kind in ("text", "reasoning") and entry.text_json != b'""')


def _last_content(whole: Transcript, message_key: str) -> TranscriptEntry | None:
    return next(filter(_is_content, whole.last_parts_of(message_key)), None)


def _usage(message: MessageUpdated) -> dict[str, int]:
    """What an answer used; empty while it is not known, or nothing was."""
    tokens = message.tokens
    if tokens is None or not (
        tokens.input or tokens.output or tokens.reasoning or tokens.cache_read or tokens.cache_write
    ):
        return {}
    return {
        "input_tokens": tokens.input,
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cache_read,
        "output_tokens": tokens.output + tokens.reasoning,
    }


def _timestamp(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, tz=UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
