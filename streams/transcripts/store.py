"""Transcripts on the disk, one file per session, kept up to date."""

import atexit
import errno
import threading
from collections.abc import Callable, Collection
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal, Self

from reactivex import Observable, Subject, abc
from reactivex.disposable import CompositeDisposable, Disposable

from operators.transcript_snapshots import SMALLEST_CAP, TranscriptSnapshot, transcript_snapshots
from streams import checks
from streams.events import (
    SessionCompacted,
    SessionDeleted,
    SessionEvent,
    SessionExpired,
    SessionIdle,
    SessionStatus,
    StreamConnected,
    StreamGap,
)
from streams.faults import Fault, log_fault
from streams.hub import EventHub
from streams.schedulers import calling, daemon, seconds_of
from streams.transcripts import files
from streams.transcripts.claude import ClaudeFormat
from streams.transcripts.file import TranscriptFile
from streams.transcripts.messages import MessagesFormat
from streams.transcripts.names import file_stem
from streams.transcripts.priming import Fetch, Histories, Primed

__all__ = ["FormatName", "TranscriptStore"]

FormatName = Literal["claude", "messages"]

FORMATS: Final = {"claude": ClaudeFormat, "messages": MessagesFormat}

RETRIED: Final = frozenset({errno.EPERM, errno.EACCES, errno.EBUSY, errno.EAGAIN})
"""What a virus scanner, an indexer or another writer causes for a moment (T8)."""

RETRIES: Final = 3
RETRY_AFTER: Final = 0.05

RESTS: Final = (SessionStatus, SessionIdle, SessionCompacted, SessionDeleted, SessionExpired)

KNOWN: Final = 1024
"""Sessions whose files are known at most; one more and the longest unwritten is read again next time."""


class TranscriptStore:
    """Keeps one JSON Lines file per session, which is never torn and costs what changed.

    What is new is appended, by one write; when something written is different or gone, a whole new file
    takes the old one's place at once. A file that was there before is gone on with: what a killed writer
    left of a line is taken off first. Several stores may write into one directory.

    A failing disk ends nothing: the file stays as it was, one ``Fault`` comes on ``errors`` (the next one
    after something was written), and the next snapshot of the session brings all that is missing.

    Args:
        directory: Where the files go; made when the first is written, readable by its owner only.
        format: ``claude`` writes the lines that hooks of Claude Code read, one per text, tool call and
            tool result; ``messages`` one line per message, ``{"info", "parts"}`` as opencode has it.
        cap: Bytes that a tool part may take, at least 1024; a longer one is cut, with a mark. Default
            None: none is cut.
        scheduler: Clock and timers; by default those of the stream that is followed.

    Raises:
        ValueError: An argument is out of its range.

    Memory: of 1024 sessions at most, the last snapshot and a hash per record.
    Time: one timer while a write is tried again; none otherwise.

    Example:
        >>> import tempfile
        >>> import streams
        >>> from streams.testing import Timeline, idle, text, user
        >>> directory = tempfile.mkdtemp()
        >>> line = Timeline()
        >>> store = streams.TranscriptStore(directory).follow(line.hub)
        >>> line.play((0, user("s", "m")), (0, text("s", "m", "p", "fix the rounding")), (1, idle("s")))
        >>> [record["message"] for record in streams.transcripts.read(store.path("s"))]
        [{'role': 'user', 'content': 'fix the rounding'}]
        >>> store.close()
        True
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        format: FormatName = "claude",  # noqa: A002
        cap: int | None = None,
        scheduler: abc.SchedulerBase | None = None,
    ) -> None:
        if format not in FORMATS:
            raise ValueError(f"format must be 'claude' or 'messages', got {format!r}")
        if cap is not None:
            checks.count("cap", cap, least=SMALLEST_CAP)
        self.directory = Path(directory)
        self.errors: Observable[Fault]
        self.errors = self._errors = Subject[Fault]()
        self._format = FORMATS[format](cap)
        self._scheduler = scheduler
        self._changing = threading.Lock()
        self._files: dict[str, TranscriptFile] = {}
        self._failing: dict[str, int] = {}
        self._retry: abc.DisposableBase = Disposable()
        self._following = CompositeDisposable()
        self._branch: EventHub | None = None
        self._histories: Histories | None = None
        self._ended = threading.Event()
        self._sweep()

    def path(self, session_id: str) -> Path:
        """The file of a session, whether it exists or not."""
        return self.directory / f"{file_stem(session_id)}{self._format.suffix}"

    # --- following a stream -----------------------------------------------------------------------

    def follow(
        self,
        events: Observable[SessionEvent],
        *,
        quiet: float | timedelta = 0.5,
        at_most: float | timedelta = 5.0,
        include: Collection[str] | None = None,
        cap: int | None = None,
    ) -> Self:
        """Write the transcripts of all sessions of a stream, until it ends or ``close``.

        From here on the store is flushed when the process exits, and ``prime`` may be used. Whoever
        subscribes to the same hub after this finds a transcript written when it hears of a session's
        idle, compacted or deleted.

        Args:
            events: The stream; best an ``EventHub``.
            quiet: As for ``transcript_snapshots``; so are the others.

        Returns:
            The store.

        Raises:
            ValueError: It follows a stream already; or an argument is out of its range.
        """
        if self._branch is not None:
            raise ValueError("a TranscriptStore follows one stream: it has one already")
        hub = events if isinstance(events, EventHub) else EventHub(events, scheduler=self._scheduler)
        snapshots = transcript_snapshots(
            quiet=quiet, at_most=at_most, include=include, cap=cap, scheduler=self._scheduler
        )
        self._scheduler = self._scheduler or hub.scheduler
        self._branch = branch = hub.branch()
        self._histories = Histories(hub.on_next, scheduler=self._scheduler, report=self._report)
        following = self._following
        following.add(branch.pipe(snapshots).subscribe(self.write, self._source_failed, self._finish))
        following.add(branch.of(*RESTS).subscribe(self._rested, _told_already))
        following.add(branch.of(StreamGap, StreamConnected).subscribe(self._reconnected, _told_already))
        atexit.register(self.close)
        if hub is not events:
            following.add(hub.connect())
        return self

    def prime(self, session_id: str, fetch: Fetch) -> Observable[Primed]:
        """Complete a session's transcript by its history; see ``Histories.prime``.

        Raises:
            ValueError: The store follows no stream, so there is nowhere to put a history.
        """
        if self._histories is None:
            raise ValueError("prime needs a stream to put the history into: call follow(events) first")
        return self._histories.prime(session_id, fetch)

    def close(self, timeout: float = 2.0) -> bool:
        """Write what is pending and follow no longer. Not for calling from within a subscriber.

        Args:
            timeout: Seconds to wait for it at most.

        Returns:
            Whether all is written. A writer that is stuck is left behind.
        """
        atexit.unregister(self.close)
        _beside(self._complete)
        if not self._ended.wait(timeout):
            return False
        self._following.dispose()
        self._retry.dispose()
        return not self._failing

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _complete(self) -> None:
        """End the branch, between two events; its snapshots then are written first."""
        if self._branch is None:
            self._finish()
        else:
            self._branch.on_completed()

    def _finish(self) -> None:
        for session_id in list(self._files):
            self._rest(session_id)
        for session_id in list(self._failing):
            self._bring_up_to_date(session_id)
        self._ended.set()

    def _source_failed(self, error: Exception) -> None:
        self._finish()
        self._report(Fault("TranscriptStore", "", self._now(), error))

    def _rested(self, event: SessionEvent) -> None:
        """The snapshot, if there was one, is written already: this is for what was left out before."""
        if isinstance(event, SessionStatus) and event.status != "idle":
            return
        session_id = event.session_id
        self._rest(session_id)
        if isinstance(event, SessionDeleted | SessionExpired):
            if session_id not in self._failing:
                self._files.pop(session_id, None)
            if self._histories is not None:
                self._histories.forget(session_id)

    def _rest(self, session_id: str) -> None:
        file = self._files.get(session_id)
        if file is not None and file.rest():
            self._bring_up_to_date(session_id)

    def _reconnected(self, event: SessionEvent) -> None:
        if self._histories is not None:
            self._histories.forget()

    # --- writing ----------------------------------------------------------------------------------

    def write(self, snapshot: TranscriptSnapshot) -> None:
        """Bring a session's file up to date with a snapshot: what to subscribe.

        It returns when the file is written, or is to be tried again; it never raises ``OSError``.
        """
        self._bring_up_to_date(snapshot.session_id, snapshot)

    def _file(self, session_id: str) -> TranscriptFile:
        with self._changing:
            file = self._files.pop(session_id, None)
            if file is None:
                file = TranscriptFile(self.path(session_id), session_id, self._format)
            self._files[session_id] = file
            for longest in list(self._files)[: max(0, len(self._files) - KNOWN)]:
                if longest not in self._failing:
                    del self._files[longest]
            return file

    def _bring_up_to_date(self, session_id: str, snapshot: TranscriptSnapshot | None = None) -> None:
        file = self._file(session_id)
        try:
            with file.lock:
                if snapshot is not None:
                    file.take(snapshot)
                file.bring_up_to_date()
        except OSError as error:
            self._failed(session_id, error)
        else:
            self._failing.pop(session_id, None)

    def _failed(self, session_id: str, error: OSError) -> None:
        """Some failures pass by themselves; what does not is reported once, until it works again."""
        tries = self._failing.get(session_id, 0) + 1
        if tries <= RETRIES and error.errno not in RETRIED:
            tries = RETRIES + 1
        self._failing[session_id] = tries
        if tries <= RETRIES:
            self._try_again()
        elif tries == RETRIES + 1:
            where = f"transcript {self.path(session_id).name}"
            self._report(Fault(where, session_id, self._now(), error))

    def _try_again(self) -> None:
        self._retry.dispose()
        scheduler = self._scheduler or daemon()
        self._retry = scheduler.schedule_relative(RETRY_AFTER, calling(self._retry_all))

    def _retry_all(self) -> None:
        for session_id, tries in list(self._failing.items()):
            if tries <= RETRIES:
                self._bring_up_to_date(session_id)

    # --- what goes wrong --------------------------------------------------------------------------

    def _sweep(self) -> None:
        try:
            files.sweep(self.directory)
        except OSError as error:
            self._report(Fault("TranscriptStore", "", self._now(), error))

    def _now(self) -> float:
        return seconds_of(self._scheduler or daemon())()

    def _report(self, fault: Fault) -> None:
        if not self._errors.observers:
            log_fault(fault)
        else:
            self._errors.on_next(fault)


def _told_already(error: Exception) -> None:
    """The stream failed; the snapshots' subscription says so."""


def _beside(call: Callable[[], None]) -> None:
    """Call it on a thread of its own, so that it may get stuck; an interpreter that exits has no new
    thread to give, but the daemon's."""
    try:
        threading.Thread(target=call, name="sessionstreams-close", daemon=True).start()
    except RuntimeError:
        daemon().schedule(calling(call))
