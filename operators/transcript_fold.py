"""The fold behind ``transcript_snapshots``: what a session's events make of its transcript.

What it holds true, and where it was learnt: a part's snapshot replaces what was streamed of it, pieces
before it wait for it (T11); what was taken out stays out; a settled part does not come undone; a piece
costs its own length (T12); what is fetched never overrides what was heard since it was asked for, nor
an older answer a newer one (T10).
"""

from collections.abc import Collection
from typing import Final

from msgspec.structs import replace

from operators.sparse import put
from operators.streamed_text import FOLD, StreamedText, order_of
from operators.transcript import LAST
from operators.transcript_entry import TranscriptEntry
from operators.transcript_heard import Heard, body_of, heard_message, heard_part
from operators.transcript_state import TranscriptState
from streams.events import (
    MessageRemoved,
    MessageUpdated,
    PartDelta,
    PartRemoved,
    PartUpdated,
    SessionCompacted,
)

__all__ = ["ORPHANED", "TranscriptFold"]

ORPHANED: Final = 60.0
"""Seconds after which pieces of a text whose part never came are dropped."""

NOWHERE: Final = "\0"
"""Before the first message."""

REMOVED: Final = 256
"""Removals remembered per session, so that stragglers of what was taken out stay out."""


class TranscriptFold:
    """Takes events into a ``TranscriptState``.

    Args:
        include: Types of parts to keep; None keeps all.
        cap: Bytes of JSON that one entry may take; None: any.
    """

    def __init__(self, include: Collection[str] | None, cap: int | None) -> None:
        self._include = include
        self._cap = cap

    # --- news -------------------------------------------------------------------------------------

    def take_delta(self, state: TranscriptState, event: PartDelta, now: float) -> None:
        """A piece of a text, whether its part is known or not. It is the hot path."""
        if event.field != "text":
            return
        text = state.texts.get(state.last)
        if text is None or text.part_id != event.part_id or text.message_id != event.message_id:
            text = self._text_of(state, event, now)
            if text is None:
                return
        text.touched = now
        text.pieces.append((event.event_id, event.delta))
        if len(text.pieces) >= FOLD:
            text.fold(self._cap)
        if not text.waits:
            state.grown[state.last] = None
            state.touched = now
            if state.since is None:
                state.since = now

    def take_part(self, state: TranscriptState, event: PartUpdated, now: float) -> None:
        """A part, whole: what was streamed of it before is in it."""
        key = state.key(event.part.message_id, event.part.id)
        known = state.known(key)
        heard = heard_part(key, event, now, known)
        if _is_removed(state, key) or (known is not None and _is_stale(known, heard.entry)):
            return
        if not self.wants(event.part.type):
            _exclude(state, key, heard.entry)
            return
        state.heard[key] = heard
        state.marks = state.marks or event.part.type == "compaction"
        _end_text(state, key, heard.entry)
        state.touch(now)

    def take_message(self, state: TranscriptState, event: MessageUpdated, now: float) -> None:
        """A message's own data. A user's is told again at each step, with all files changed so far:
        while the session works that waits, or every step would rewrite history."""
        key = state.key(event.message_id)
        known = state.known(key)
        heard = heard_message(key, event, now, known)
        if _is_removed(state, key) or (known is not None and _is_stale(known, heard.entry)):
            return
        if state.busy and event.role == "user" and state.whole.get(key) is not None:
            state.late = put(state.late, key, heard)
            return
        state.heard[key] = heard
        if state.texts and event.role == "assistant":
            _drop_broken_off(state, heard.entry, is_new=known is None)
        state.touch(now)

    def remove_part(self, state: TranscriptState, event: PartRemoved, now: float) -> None:
        """A part was taken out."""
        self.remove(state, state.key(event.message_id, event.part_id), now, now)

    def remove_message(self, state: TranscriptState, event: MessageRemoved, now: float) -> None:
        """A message was taken out, and all its parts."""
        self.remove(state, state.key(event.message_id), now, now)

    def take_compaction(self, state: TranscriptState, event: SessionCompacted, now: float) -> None:
        """An agent that writes no compaction part gets an entry for it, after what it has said so far."""
        last = max((state.whole.last, *(each.entry for each in state.heard.values())), key=_key_or_none)
        if state.marks or not self.wants("compaction") or (last and last.kind == "compaction"):
            return
        state.compactions += 1
        name = event.event_id or f"compaction {state.compactions}"
        key = f"{last.message_key if last else NOWHERE}{LAST}{state.compactions:09}"
        entry = TranscriptEntry(name, "", "compaction", key, now, now, event.event_id, b"", ended=now)
        state.heard[key] = Heard(entry)
        state.touch(now)

    def drop_orphans(self, state: TranscriptState, now: float) -> None:
        """Pieces whose part never came."""
        for key, since in list(state.orphans.items()):
            if since + ORPHANED > now:
                break
            del state.orphans[key]
            state.dropped += len(state.texts.pop(key))

    # --- the next version -------------------------------------------------------------------------

    def settle(self, state: TranscriptState) -> list[TranscriptEntry]:
        """Put all that was heard into the whole; returns what is new or different, in order."""
        entries: list[TranscriptEntry] = []
        changed: list[TranscriptEntry] = []
        for key in sorted(state.heard.keys() | state.grown.keys()):
            before = state.whole.get(key)
            entry = self._entry(state, key, before)
            if entry is None:
                continue
            entries.append(entry)
            if before is None or before.body != entry.body or before.streamed != entry.streamed:
                changed.append(entry)
        state.whole = state.whole.put(*entries)
        state.heard.clear()
        state.grown.clear()
        return changed

    def _entry(
        self, state: TranscriptState, key: str, before: TranscriptEntry | None
    ) -> TranscriptEntry | None:
        heard, text = state.heard.get(key), state.texts.get(key)
        entry = before if heard is None else heard.entry
        if entry is None:
            return None
        body = body_of(state.session_id, entry, heard.raw if heard else b"", self._cap)
        streamed = entry.streamed
        if key in state.grown and text is not None:
            text.start_with(replace(entry, body=body, streamed=None).text_json)
            streamed = text.view(self._cap)
        at = entry.at if text is None else max(entry.at, text.touched)
        return replace(entry, at=at, body=body, streamed=streamed)

    def wants(self, kind: str) -> bool:
        """Whether parts of this type are kept."""
        return self._include is None or kind in self._include

    def _text_of(self, state: TranscriptState, event: PartDelta, now: float) -> StreamedText | None:
        """Where to gather the pieces of a text, if it takes any."""
        key = state.key(event.message_id, event.part_id)
        text = state.texts.get(key)
        if text is None:
            known = state.known(key)
            if key in state.excluded or _is_removed(state, key):
                return None
            if known is None:
                state.orphans = put(state.orphans, key, now)
            elif known.settled or known.kind not in ("text", "reasoning"):
                return None
            text = StreamedText(event.message_id, event.part_id, waits=known is None)
            text.folded = order_of(known.event_id) if known else ""
            state.texts[key] = text
        state.last = key
        return text

    def remove(self, state: TranscriptState, key: str, since: float, now: float) -> None:
        """A part, or a message with its parts, is no longer: stragglers of it stay out, and what a
        history asked for at ``since`` or before has of it."""
        state.removed = put(state.removed, key, since)
        for oldest in list(state.removed)[:-REMOVED]:
            del state.removed[oldest]
        for kept in (state.heard, state.late, state.texts, state.grown, state.orphans, state.excluded):
            for each in [each for each in kept if each.startswith(key)]:
                del kept[each]
        for entry in list(state.whole.under(key)):
            state.whole = state.whole.remove(entry.key)
            state.gone.append(entry)
            state.touch(now)


def _key_or_none(entry: TranscriptEntry | None) -> str:
    return "" if entry is None else entry.key


def _is_removed(state: TranscriptState, key: str) -> bool:
    """Taken out itself, or its message was."""
    return bool(state.removed) and (key in state.removed or key[: key.index("\0") + 1] in state.removed)


def _is_stale(known: TranscriptEntry, heard: TranscriptEntry) -> bool:
    """Whether it is older than what is known, or the same event again."""
    if heard.event_id <= known.event_id and order_of(heard.event_id) and order_of(known.event_id):
        return True
    return known.settled and not heard.settled


def _exclude(state: TranscriptState, key: str, entry: TranscriptEntry) -> None:
    """Pieces of a text that nobody wants are not gathered."""
    if entry.settled:
        state.excluded.pop(key, None)
    else:
        state.excluded = put(state.excluded, key, None)
    state.orphans.pop(key, None)
    state.texts.pop(key, None)


def _end_text(state: TranscriptState, key: str, entry: TranscriptEntry) -> None:
    """A part's snapshot has in it what was streamed before; a settled one ends the streaming."""
    text = state.texts.get(key)
    if text is None:
        return
    text.waits = False
    state.orphans.pop(key, None)
    state.grown.pop(key, None)
    if entry.settled or entry.kind not in ("text", "reasoning"):
        del state.texts[key]
        return
    text.snapshot_came(entry.event_id)
    if text.pieces:
        state.grown[key] = None


def _drop_broken_off(state: TranscriptState, message: TranscriptEntry, *, is_new: bool) -> None:
    """What was streamed of a text that broke off is not kept by the server either.

    It broke off when its step was begun anew in the same message, as after an error of the model, or
    when the next answer began although its own was never finished, as after a crash.
    """
    for key in list(state.texts):
        known = state.known(key)
        if known is None:
            continue
        if known.message_key == message.key:
            broken = message.settled and key < _newest_step(state, message.key)
        else:
            broken = is_new and key < message.key and not _is_finished(state.known(known.message_key))
        if broken:
            del state.texts[key]
            state.grown.pop(key, None)
            if known.streamed is not None:
                state.heard[key] = Heard(replace(known, streamed=None))


def _newest_step(state: TranscriptState, message_key: str) -> str:
    own = list(state.whole.under(message_key))
    own += [each.entry for key, each in state.heard.items() if key.startswith(message_key)]
    return max((each.key for each in own if each.kind in ("step-start", "text")), default="")


def _is_finished(entry: TranscriptEntry | None) -> bool:
    """A message that is not known may be."""
    message = None if entry is None else entry.message
    return message is None or bool(message.finish or message.error or message.completed is not None)
