"""Each session's transcript, kept up to date from its events."""

from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from typing import Any, ClassVar, Literal

import msgspec
from reactivex import abc

from operators.lift import Operator
from operators.per_session import Logic, per_session
from operators.transcript import Transcript
from operators.transcript_entry import TranscriptEntry
from operators.transcript_fold import ORPHANED, TranscriptFold
from operators.transcript_history import take_history
from operators.transcript_state import TranscriptState
from streams import checks
from streams.events import (
    MessageRemoved,
    MessageUpdated,
    PartDelta,
    PartRemoved,
    PartUpdated,
    SessionCompacted,
    SessionCreated,
    SessionDeleted,
    SessionEvent,
    SessionExpired,
    SessionHistory,
    SessionIdle,
    SessionInfo,
    SessionStatus,
)

__all__ = ["SnapshotReason", "TranscriptSnapshot", "transcript_snapshots"]

SnapshotReason = Literal["quiet", "at_most", "idle", "compacted", "deleted", "expired", "end"]

ACTIVE = ("busy", "retry", "running")

SMALLEST_CAP = 1024


class TranscriptSnapshot(msgspec.Struct, frozen=True, gc=False):
    """One version of one session's transcript.

    Attributes:
        session_id: The session.
        version: 1 for the first one of the session, then 2, 3, …
        at: Seconds, when it was taken.
        changed: The entries that are new or different since the last version, in order.
        removed: The entries that are gone since then, as they were.
        whole: All entries of this version. It never changes and shares what it can with other versions.
        reason: Why now: nothing came for ``quiet``; ``at_most`` was reached; or what was going on ended.
        busy: Whether the session says that it works.
        parent_id: The session that started this one, if one did and it was said.
        directory: Where the session works, if it was said.
        dropped: Pieces of text so far whose part never came.
    """

    session_id: str
    version: int
    at: float
    changed: tuple[TranscriptEntry, ...]
    removed: tuple[TranscriptEntry, ...]
    whole: Transcript
    reason: SnapshotReason
    busy: bool = False
    parent_id: str = ""
    directory: str = ""
    dropped: int = 0

    @property
    def resting(self) -> bool:
        """Whether it was taken because something ended, so that nothing more is to be expected now."""
        return self.reason not in ("quiet", "at_most")

    def __str__(self) -> str:
        changed, removed = len(self.changed), len(self.removed)
        return f"TranscriptSnapshot({self.session_id}, {self.version}, +{changed} -{removed})"


class TranscriptSnapshotsLogic(Logic[TranscriptState, TranscriptSnapshot]):
    """Says when the next version is due, and makes it."""

    wants: ClassVar[tuple[type[SessionEvent], ...]] = (
        PartDelta,
        PartUpdated,
        PartRemoved,
        MessageUpdated,
        MessageRemoved,
        SessionStatus,
        SessionIdle,
        SessionInfo,
        SessionCompacted,
        SessionDeleted,
        SessionExpired,
        SessionHistory,
    )

    def __init__(self, fold: TranscriptFold, quiet: float, at_most: float) -> None:
        self._fold = fold
        self._quiet = quiet
        self._at_most = at_most

    postpones: ClassVar[tuple[type[SessionEvent], ...]] = (PartDelta,)

    def start(self, session_id: str, now: float) -> TranscriptState:
        return TranscriptState(session_id)

    def call_for(
        self, kind: type[SessionEvent]
    ) -> Callable[[TranscriptState, Any, float], Iterable[TranscriptSnapshot] | None]:
        if kind is PartDelta:
            return self._fold.take_delta
        return self._fold.take_part if kind is PartUpdated else self.on_event

    def on_event(
        self, state: TranscriptState, event: SessionEvent, now: float
    ) -> Iterable[TranscriptSnapshot]:
        fold = self._fold
        match event:
            case PartDelta():
                fold.take_delta(state, event, now)
            case PartUpdated():
                fold.take_part(state, event, now)
            case MessageUpdated():
                fold.take_message(state, event, now)
            case PartRemoved():
                fold.remove_part(state, event, now)
            case MessageRemoved():
                fold.remove_message(state, event, now)
            case SessionHistory():
                take_history(fold, state, event, now)
            case SessionInfo():
                _take_info(state, event)
            case _:
                return self._signal(state, event, now)
        return ()

    def deadline(self, state: TranscriptState) -> float | None:
        due = self._due(state)
        if not state.orphans:
            return due
        orphaned = next(iter(state.orphans.values())) + ORPHANED
        return orphaned if due is None else min(due, orphaned)

    def on_timer(self, state: TranscriptState, now: float) -> Iterable[TranscriptSnapshot]:
        self._fold.drop_orphans(state, now)
        due = self._due(state)
        if due is None or due > now:
            return ()
        return self._snapshot(state, now, "quiet" if state.touched + self._quiet <= now else "at_most")

    def on_end(self, state: TranscriptState, now: float) -> Iterable[TranscriptSnapshot]:
        return self._snapshot(state, now, "end")

    def _due(self, state: TranscriptState) -> float | None:
        since = state.since
        if since is None:
            return None
        rest, latest = state.touched + self._quiet, since + self._at_most
        return rest if rest < latest else latest

    def _signal(
        self, state: TranscriptState, event: SessionEvent, now: float
    ) -> Iterable[TranscriptSnapshot]:
        """What was going on ends here: whoever hears of it next finds the transcript written (T2)."""
        match event:
            case SessionStatus() if event.status != "idle":
                state.busy = event.status in ACTIVE
                return ()
            case SessionCompacted():
                self._fold.take_compaction(state, event, now)
                return self._snapshot(state, now, "compacted")
            case SessionDeleted():
                return self._snapshot(state, now, "deleted")
            case SessionExpired():
                return self._snapshot(state, now, "expired")
            case _:
                state.busy = False
                return self._snapshot(state, now, "idle")

    def _snapshot(
        self, state: TranscriptState, now: float, reason: SnapshotReason
    ) -> tuple[TranscriptSnapshot, ...]:
        """The next version, if it differs from the last."""
        if not state.busy or reason in ("compacted", "deleted", "expired", "end"):
            state.heard |= state.late
            state.late.clear()
        state.since = None
        changed, removed = tuple(self._fold.settle(state)), tuple(state.gone)
        state.gone.clear()
        if not changed and not removed:
            return ()
        state.version += 1
        return (
            TranscriptSnapshot(
                state.session_id,
                state.version,
                now,
                changed,
                removed,
                state.whole,
                reason,
                state.busy,
                state.parent_id,
                state.directory,
                state.dropped,
            ),
        )


def _take_info(state: TranscriptState, event: SessionInfo) -> None:
    state.directory = event.directory or state.directory
    state.parent_id = event.parent_id or state.parent_id
    if isinstance(event, SessionCreated):
        state.whole = state.whole.completed()


def transcript_snapshots(
    *,
    quiet: float | timedelta = 0.5,
    at_most: float | timedelta = 5.0,
    include: Collection[str] | None = None,
    cap: int | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator[TranscriptSnapshot]:
    """Emits a ``TranscriptSnapshot`` when a session's transcript has changed and comes to rest.

    Like ``debounce`` with a longest wait, on a ``scan``, per session; nothing pending is ever lost. A
    session that goes idle, is compacted, deleted or expires is not waited for: its snapshot is emitted
    while that event is handed out. So subscribe this before whatever reads the transcript when it hears
    of the event; those that subscribed later find it written.

    Marbles (0.1 s a character)::

        events  -a-b-c------d-e|
        transcript_snapshots(quiet=0.5)
        result  ----------x---y|

        a = user("s", "m1")
        b = text("s", "m1", "p1", "fix the")
        c = delta("s", "m1", "p1", " rounding")
        d = tool("s", "call", "bash", "running", message_id="m2")
        e = idle("s")
        x: version=1, reason="quiet"
        y: version=2, reason="idle"

    Args:
        quiet: Seconds without a change before a snapshot; above 0. Default 0.5: the events of one step
            come in bursts shorter than that.
        at_most: Seconds that a change waits at most, under constant traffic; at least ``quiet``.
            Default 5.
        include: Types of parts to keep (``text``, ``reasoning``, ``tool``, ``compaction``, …); messages
            are always kept. Default None: all parts, as ``TranscriptStore(format="messages")`` needs.
        cap: Bytes of JSON that an entry may take, at least 1024; the long strings of a larger one are
            cut, with a mark. Default None: none is cut.
        scheduler: Clock and timer; see ``per_session``.

    Returns:
        An operator from events to ``TranscriptSnapshot``.

    Raises:
        ValueError: An argument is out of its range, or ``include`` is one text.

    Memory: per session its transcript once, as JSON, about 0.6 kB more per entry, and the payloads that
        came since the last snapshot; of a text that is written, the pieces gathered. Pieces whose part
        does not come are dropped after 60 s and counted. Dropped with the session.
    Time: one pending timer for all sessions, none while nothing waits. A piece costs its own length, a
        snapshot the entries that changed, whatever the length of the transcript.
    On completion and error: what waits is emitted first. On dispose it is not: see ``EventHub.branch``,
        and ``TranscriptStore.close``, which ends a branch.

    Example:
        >>> import operators as ops
        >>> from streams.testing import idle, outputs, text, user
        >>> events = [user("s", "m1"), text("s", "m1", "p1", "fix the rounding"), idle("s")]
        >>> for snapshot in outputs(ops.transcript_snapshots(quiet=2), events):
        ...     print(snapshot, [entry.text for entry in snapshot.whole if entry.kind == "text"])
        TranscriptSnapshot(s, 1, +2 -0) ['fix the rounding']

    Source: field failures T1 to T4, T10 to T12, R1, S8, X3.
    """
    wait = checks.seconds("quiet", quiet)
    longest = checks.seconds("at_most", at_most)
    if longest < wait:
        raise ValueError(f"at_most must be at least quiet ({quiet!r}), got {at_most!r}")
    if include is not None and not (include and all(include) and not isinstance(include, str)):
        raise ValueError(f"include must be types of parts, such as ('text', 'tool'), got {include!r}")
    if cap is not None:
        checks.count("cap", cap, least=SMALLEST_CAP)
    kept = None if include is None else frozenset(include)
    return per_session(
        TranscriptSnapshotsLogic(TranscriptFold(kept, cap), wait, longest), scheduler=scheduler
    )
