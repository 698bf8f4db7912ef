"""What is known of everything watched: a row per session, what happened lately, and counts."""

from collections import Counter, deque
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from operators import (
    CompactionTrigger,
    ContextUsage,
    ContextWarning,
    SessionOverview,
    StallReport,
    TaskProgress,
    ToolLoop,
)
from streams.events import (
    LimitsChanged,
    MalformedEvent,
    SessionCompacted,
    SessionCreated,
    SessionDeleted,
    SessionEvent,
    SessionExpired,
    SessionIdle,
    SessionStatus,
    SessionUpdated,
    UnknownEvent,
)
from streams.faults import Fault
from streams.watch.connection import Connection
from streams.watch.derivations import Derived
from streams.watch.notes import Note, note_of_event, note_of_fault, note_of_value
from streams.watch.words import one_line

__all__ = ["Board", "SessionRow"]

NOTES: Final = 50
"""Notes kept: more than any terminal has room for beside the sessions."""

GONE: Final = 200
"""Deleted and expired sessions whose rows are kept, so that watching a server for weeks stays small."""

ADDED: Final = (SessionExpired, LimitsChanged)
"""Events that were added on this side."""

_E = TypeVar("_E", bound=SessionEvent)


class SessionRow(msgspec.Struct):
    """One session.

    Attributes:
        session_id: The session.
        parent_id: The session that started it; empty for one that a person started.
        title: What it is called; empty until it says so.
        model: ``provider/model`` in use now; empty until it is known.
        status: ``busy``, ``idle``, ``retry 2``, ``deleted``, ``expired``; empty until it says so.
        last: Seconds, when its last event was received.
        measured: The last reading of its context window; None before the first.
        fullest: The fullest one so far; None before the first.
        warnings: Context warnings so far.
        triggers: Compaction triggers so far.
        compactions: Compactions so far.
        task: How far it is as a background task; None for a session that a person started.
        overview: Tools, todos and all the rest, a second old at the most; None before the first.
        stalls: Stalls reported so far.
        loops: Loops of tool calls reported so far.
        gone: Whether it was deleted or has expired.
    """

    session_id: str
    parent_id: str = ""
    title: str = ""
    model: str = ""
    status: str = ""
    last: float = 0.0
    measured: ContextUsage | None = None
    fullest: ContextUsage | None = None
    warnings: int = 0
    triggers: int = 0
    compactions: int = 0
    task: TaskProgress | None = None
    overview: SessionOverview | None = None
    stalls: int = 0
    loops: int = 0
    gone: bool = False


class Board:
    """Takes events, derived values and faults in; pure, so it can be shown, stored and tested.

    Attributes:
        rows: Every session by its id, in the order of their first events.
        notes: What happened lately, oldest first.
        events: Events of the source so far.
        unknown: Those of them that nothing derives from.
        malformed: Those of them that could not be read.
        sessions: Sessions seen so far.
        faults: Faults so far.
        values: How many values each operator emitted, by its name.
        first: Seconds, when the first event was received; 0 before.
        last: Seconds, when the last event was received.
        connection: How the connection to a server is doing; None for a recording.
    """

    def __init__(self) -> None:
        self.rows: dict[str, SessionRow] = {}
        self.notes: deque[Note] = deque(maxlen=NOTES)
        self.events = self.unknown = self.malformed = self.sessions = self.faults = 0
        self.values: Counter[str] = Counter()
        self.first = self.last = 0.0
        self.connection: Connection | None = None
        self._gone: deque[str] = deque()
        self._folds: dict[type[SessionEvent], Callable[[SessionRow, SessionEvent], None]] = {}
        self._fold(SessionCreated, _described)
        self._fold(SessionUpdated, _described)
        self._fold(SessionStatus, _status)
        self._fold(SessionIdle, _idle)
        self._fold(SessionCompacted, _compacted)
        self._fold(SessionDeleted, self._left)
        self._fold(SessionExpired, self._left)

    def take(self, event: SessionEvent) -> None:
        """Take one event in."""
        kind = type(event)
        if kind not in ADDED:
            self._count(kind, event.at)
        row = self.rows.get(event.session_id)
        if row is not None and row.gone and not self._came_back(row, kind):
            return
        if (note := note_of_event(event)) is not None:
            self._note(note)
        if not event.session_id:
            return
        if row is None:
            row = self._appeared(event.session_id)
        if kind is not SessionExpired:
            row.last = event.at
        if (fold := self._folds.get(kind)) is not None:
            fold(row, event)

    def derived(self, derived: Derived) -> None:
        """Take one derived value in."""
        value = derived.value
        self.values[derived.operator] += 1
        if (note := note_of_value(value)) is not None:
            self._note(note)
        row = self.rows.get(getattr(value, "session_id", ""))
        if row is None:
            return
        match value:
            case ContextUsage():
                _measured(row, value)
            case ContextWarning():
                row.warnings += 1
            case CompactionTrigger():
                row.triggers += 1
            case TaskProgress():
                row.task = value
            case StallReport():
                row.stalls += 1
            case ToolLoop():
                row.loops += 1
            case _:
                pass

    def overlook(self, overview: SessionOverview) -> None:
        """Take in how a session stands as a whole: shown, and counted nowhere."""
        if (row := self.rows.get(overview.session_id)) is not None:
            row.overview = overview

    def fault(self, fault: Fault) -> None:
        """Take one fault in."""
        self.faults += 1
        self._note(note_of_fault(fault))

    def _fold(self, kind: type[_E], fold: Callable[[SessionRow, _E], None]) -> None:
        self._folds[kind] = fold  # pyright: ignore[reportArgumentType]

    def _count(self, kind: type[SessionEvent], at: float) -> None:
        if not self.events:
            self.first = at
        self.last = max(self.last, at)
        self.events += 1
        self.unknown += kind is UnknownEvent
        self.malformed += kind is MalformedEvent

    def _note(self, note: Note) -> None:
        self.notes.append(msgspec.structs.replace(note, text=one_line(note.text)))

    def _appeared(self, session_id: str) -> SessionRow:
        row = self.rows[session_id] = SessionRow(session_id)
        self.sessions += 1
        return row

    def _came_back(self, row: SessionRow, kind: type[SessionEvent]) -> bool:
        """An expired session may be heard of again; events of a deleted one are stragglers."""
        if row.status == "deleted" and kind is not SessionCreated:
            return False
        row.gone, row.status = False, ""
        self._gone.remove(row.session_id)
        return True

    def _left(self, row: SessionRow, event: SessionEvent) -> None:
        row.gone = True
        row.status = "deleted" if isinstance(event, SessionDeleted) else "expired"
        self._gone.append(row.session_id)
        if len(self._gone) > GONE:
            del self.rows[self._gone.popleft()]


def _described(row: SessionRow, event: SessionCreated | SessionUpdated) -> None:
    row.title = one_line(event.title) or row.title
    row.parent_id = event.parent_id or row.parent_id


def _status(row: SessionRow, event: SessionStatus) -> None:
    row.status = f"retry {event.attempt}" if event.status == "retry" else one_line(event.status)


def _idle(row: SessionRow, event: SessionIdle) -> None:
    row.status = "idle"


def _compacted(row: SessionRow, event: SessionCompacted) -> None:
    row.compactions += 1


def _measured(row: SessionRow, usage: ContextUsage) -> None:
    row.measured = usage
    if usage.model_id:
        row.model = one_line(f"{usage.provider_id}/{usage.model_id}")
    if usage.tokens is not None and (row.fullest is None or _fullness(usage) > _fullness(row.fullest)):
        row.fullest = usage


def _fullness(usage: ContextUsage) -> tuple[float, int]:
    """By ratio; by tokens among readings whose limit is not known."""
    return (usage.ratio or 0.0, usage.tokens or 0)
