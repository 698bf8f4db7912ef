"""What happened, in words: one line for a value, an event or a fault worth telling a person."""

from typing import Literal

import msgspec

from operators import (
    CompactionOutcome,
    CompactionTrigger,
    ContextWarning,
    StallReport,
    TaskProgress,
    ToolLoop,
)
from streams.events import SessionCompacted, SessionError, SessionEvent, StreamGap, StreamResumed
from streams.faults import Fault
from streams.watch.words import counted, duration, percent, tokens_of_limit

__all__ = ["Kind", "Note", "note_of_event", "note_of_fault", "note_of_value"]

Kind = Literal[
    "compact",
    "compacted",
    "done",
    "error",
    "fault",
    "gap",
    "loop",
    "resumed",
    "stall",
    "trigger",
    "warning",
]


class Note(msgspec.Struct, frozen=True, gc=False):
    """Something that happened at ``at`` (seconds), to a session or, without one, to the stream."""

    at: float
    session_id: str
    kind: Kind
    text: str = ""


def note_of_value(value: msgspec.Struct) -> Note | None:
    """What a person is told of a derived value; None for one that only moves a gauge."""
    match value:
        case ContextWarning(ratio=ratio, threshold=threshold):
            text = f"{percent(ratio)} full, above {percent(threshold)}"
            return Note(value.at, value.session_id, "warning", text)
        case CompactionTrigger(ratio=ratio, tokens=tokens, limit=limit):
            full = "" if ratio is None else f"{percent(ratio)} full, "
            text = f"compact now: {full}{tokens_of_limit(tokens, limit)}"
            return Note(value.at, value.session_id, "trigger", text)
        case CompactionOutcome():
            return Note(value.at, value.session_id, "compact", _outcome(value))
        case StallReport(kind=kind, tool=tool, age=age):
            what = "waits to ask the model again" if kind == "blocked" else "silent"
            text = f"{what}, {duration(age)}" + (f" in {tool}" if tool else "")
            return Note(value.at, value.session_id, "stall", text)
        case ToolLoop():
            return Note(value.at, value.session_id, "loop", _loop(value))
        case TaskProgress(all_complete=True, siblings=siblings) if siblings.completed:
            text = f"all {siblings.total} tasks ended, {siblings.completed} completed"
            return Note(value.at, value.parent_id, "done", text)
        case _:
            return None


def _outcome(outcome: CompactionOutcome) -> str:
    """``after`` is there when the compaction was measured."""
    if outcome.state == "dry_run":
        return f"would compact {outcome.before:,} tokens: --compact does it"
    state = outcome.state.replace("_", " ")
    tokens = f"{outcome.before:,}" + ("" if outcome.after is None else f" -> {outcome.after:,}")
    why = outcome.error or outcome.reason.replace("_", " ")
    return f"{state}, {tokens} tokens" + (f": {why}" if why else "")


def _loop(loop: ToolLoop) -> str:
    if loop.kind == "calls":
        return f"{loop.calls:,} tool calls"
    return f"{loop.length} calls round and round: {', '.join(loop.tools)}"


def note_of_event(event: SessionEvent) -> Note | None:
    """What a person is told of an event itself; None for all but a few."""
    match event:
        case SessionCompacted():
            return Note(event.at, event.session_id, "compacted")
        case SessionError(error=error):
            return Note(event.at, event.session_id, "error", f"{error.name}: {error.message}")
        case StreamGap(since=since):
            text = f"connection lost {event.at - since:.1f} s ago: what is shown may be stale"
            return Note(event.at, "", "gap", text)
        case StreamResumed(events=events, complete=complete):
            text = f"{counted(events, 'missed event')} delivered" + ("" if complete else ", not all")
            return Note(event.at, "", "resumed", text)
        case _:
            return None


def note_of_fault(fault: Fault) -> Note:
    """What went wrong in this process beside the stream."""
    text = f"{fault.where}: {type(fault.error).__name__}: {fault.error}"
    return Note(fault.at, fault.session_id, "fault", text)
