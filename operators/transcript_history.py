"""A session's fetched history, taken into what was heard of it live."""

from operators.transcript_entry import TranscriptEntry
from operators.transcript_fold import TranscriptFold
from operators.transcript_heard import Heard, heard_message, heard_part
from operators.transcript_state import TranscriptState
from streams.events import MessageUpdated, PartUpdated, SessionHistory

__all__ = ["take_history"]


def take_history(fold: TranscriptFold, state: TranscriptState, event: SessionHistory, now: float) -> None:
    """Complete the transcript by what the server says; what was heard since it was asked stays.

    What the server does not know any more, and nobody spoke of since, is removed. An answer that was
    asked for before one that was taken already says nothing (T10).
    """
    if event.asked <= state.asked:
        return
    state.asked = event.asked
    state.whole = state.whole.completed()
    parts: dict[str, list[str]] = {}
    for each in event.events:
        of_message = parts.setdefault(_message_id(each), [])
        if isinstance(each, PartUpdated):
            of_message.append(each.part.id)
    newest = next(reversed(parts), "")
    state.put_in_order([*parts], "msg_")
    for message_id, names in parts.items():
        state.put_in_order(names, "prt_", message_id)
    told: set[str] = set()
    for each in event.events:
        if isinstance(each, PartUpdated):
            key = state.key(each.part.message_id, each.part.id)
            heard = heard_part(key, each, event.asked, state.known(key))
            wanted = fold.wants(each.part.type)
            may_run = each.part.message_id == newest
        else:
            key = state.key(each.message_id)
            heard = heard_message(key, each, event.asked, state.known(key))
            wanted, may_run = True, False
        told.add(key)
        if wanted and not _is_older(state, key, event.asked, heard.entry, may_run=may_run):
            _replace(state, key, heard)
    for key in _untold(state, told, event.asked):
        fold.remove(state, key, event.asked, now)
    state.touch(now)


def _message_id(event: MessageUpdated | PartUpdated) -> str:
    return event.part.message_id if isinstance(event, PartUpdated) else event.message_id


def _is_older(
    state: TranscriptState, key: str, asked: float, entry: TranscriptEntry, *, may_run: bool
) -> bool:
    """Whether something was heard of it since, or it is a running text, which the server stores late."""
    removed = state.removed.get(key, state.removed.get(key[: key.index("\0") + 1]))
    if removed is not None and removed >= asked:
        return True
    known, text = state.known(key), state.texts.get(key)
    if text is not None and known is not None and text.touched >= asked:
        return True
    if known is None:
        return False
    is_text = entry.kind in ("text", "reasoning") and not entry.settled
    return known.at >= asked or (may_run and is_text and key in state.texts)


def _replace(state: TranscriptState, key: str, heard: Heard) -> None:
    """The server's word; of a text whose part had not come, the pieces follow it."""
    state.removed.pop(key, None)
    state.late.pop(key, None)
    state.heard[key] = heard
    text = state.texts.get(key)
    if state.orphans.pop(key, None) is not None and text is not None and not heard.entry.settled:
        text.waits = False
        state.grown[key] = None
    else:
        state.texts.pop(key, None)
        state.grown.pop(key, None)


def _untold(state: TranscriptState, told: set[str], asked: float) -> list[str]:
    """What is known and the server does not have, unless it, or a part of it, was heard of since.

    A compaction that came as an event is of no message, and no server tells of it.
    """
    known = [*state.whole, *(each.entry for each in state.heard.values())]
    since = {key for key, text in state.texts.items() if text.touched >= asked}
    since.update(entry.key for entry in known if entry.at >= asked)
    since.update(key[: key.index("\0") + 1] for key in [*since])
    return [
        entry.key
        for entry in known
        if entry.key not in told and entry.key not in since and entry.message_id
    ]
