"""Recordings: JSON Lines of ``{"at": seconds, "event": payload}``. Read, write, and play them."""

import errno
import gzip
import os
import threading
import zlib
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from math import inf
from pathlib import Path
from stat import S_ISFIFO
from typing import IO, Final, cast

import msgspec
from reactivex import Observable, abc
from reactivex.disposable import SerialDisposable
from reactivex.scheduler import CurrentThreadScheduler

from streams.events import MalformedEvent, SessionEvent
from streams.faults import Fault, Report, log_fault
from streams.opencode import wire
from streams.schedulers import Replay, Scaled, calling, daemon

__all__ = ["NotARecording", "Recorder", "Recording", "Replayed", "read", "record", "replay"]

STDIN: Final = 0
GZIP_MAGIC: Final = b"\x1f\x8b"
FIRST_BYTES: Final = b'{"at":'


class NotARecording(ValueError):
    """The file's first line is not ``{"at": …, "event": …}``."""


class _Line(msgspec.Struct, gc=False):
    at: float
    event: msgspec.Raw


_decode_line = msgspec.json.Decoder(_Line).decode
_encode_line = msgspec.json.Encoder().encode


# --- reading --------------------------------------------------------------------------------------


class Recording:
    """The events of a recording, in order, read a line at a time; each iteration starts anew.

    Iterating raises ``NotARecording`` when the first line is none, and ``OSError`` when the file
    cannot be read.

    Attributes:
        path: The file.
        torn: How many lines the last iteration had to skip at the end: 1 after a writer was killed
            within a line (or a gzip block), else 0. Bad lines elsewhere become ``MalformedEvent``.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.torn = 0

    def __iter__(self) -> Iterator[SessionEvent]:
        return (event for event, _ in self.read(0))

    def read(self, from_position: int) -> Iterator[tuple[SessionEvent, int]]:
        """The events after a position, each with the position after it.

        A position is a byte offset, of the text where the file is gzipped. It stays valid while the
        file grows; a torn line at the end is before no position, so it is read again once it is whole.

        Raises:
            ValueError: No line ends there.
        """
        self.torn = 0
        at, position = 0.0, from_position
        with _open(self.path) as file:
            if from_position:
                position = self._seek(file, from_position)
            for number, text in enumerate(self._lines(file)):
                position += len(text)
                try:
                    line = _decode_line(text)
                except (ValueError, RecursionError) as error:
                    if position == len(text) and not _begins_like_one(text):
                        raise NotARecording(self._complaint(text)) from None
                    if text.endswith(b"\n"):
                        where = f"line {number + 1}" if not from_position else f"byte {position}"
                        yield MalformedEvent("", at, "", text, f"{where}: {error}"), position
                    else:
                        self.torn = 1
                    continue
                at = line.at
                yield wire.decode(bytes(line.event), at), position

    def _seek(self, file: IO[bytes], position: int) -> int:
        """Go to where a line ended; the file's last one may have had no line feed then."""
        with suppress(EOFError, zlib.error, gzip.BadGzipFile):
            file.seek(position - 1)
            last, following = file.read(1), file.read(1)
            if last == b"\n":
                file.seek(position)
                return position
            if last and following in (b"", b"\n"):
                return position + len(following)
        raise ValueError(
            f"{self.path} has no line that ends at byte {position}: it was cut, or is another file"
        )

    def _lines(self, file: IO[bytes]) -> Iterator[bytes]:
        """Split at line feeds only: text may hold any other line break (T6)."""
        try:
            yield from file
        except (EOFError, zlib.error, gzip.BadGzipFile):
            self.torn = 1

    def _complaint(self, text: bytes) -> str:
        start = text[:40].decode("utf-8", "replace").strip()
        return f'{self.path} is no recording: its first line is not {{"at": …, "event": …}}: {start!r}'


def _begins_like_one(text: bytes) -> bool:
    """Whether a first line that cannot be read is one that its writer was killed within."""
    start = text.rstrip(b"\n")[: len(FIRST_BYTES)]
    return start != b"" and FIRST_BYTES.startswith(start)


def read(path: str | Path) -> Recording:
    """Open a recording: JSON Lines, plain or gzipped (told by content), a file, a pipe, or ``-``.

    Args:
        path: The file; ``-`` is standard input.

    Raises:
        OSError: There is no such file, or it cannot be opened.

    Memory: one line.
    """
    recording = Recording(path)
    if str(path) != "-" and not S_ISFIFO(recording.path.stat().st_mode):
        recording.path.open("rb").close()
    return recording


@contextmanager
def _open(path: Path) -> Generator[IO[bytes]]:
    with ExitStack() as opened:
        if str(path) == "-":
            # Not sys.stdin: at exit the interpreter wants the lock that a thread waiting in it holds.
            file = opened.enter_context(os.fdopen(STDIN, "rb", closefd=False))
        else:
            file = opened.enter_context(path.open("rb"))
        if file.peek(2)[:2] == GZIP_MAGIC:
            file = opened.enter_context(gzip.open(file))
        yield cast(IO[bytes], file)


# --- writing --------------------------------------------------------------------------------------


class Recorder(abc.ObserverBase[SessionEvent], abc.DisposableBase):
    """Writes each event as one line, as it comes. Disposing it ends the recording.

    Attributes:
        path: The file.
        written: Events written so far.
        error: Why it ended early (the stream's error, or disk full and the like, which is reported
            too), else None.
        ended: Set once nothing more will be written.
    """

    def __init__(self, path: str | Path, *, report: Report = log_fault) -> None:
        self.path = Path(path)
        if self.path.suffix == ".gz":
            raise ValueError(f"path must not end in .gz, got {str(path)!r}: gzip it when it is done")
        self.written = 0
        self.error: Exception | None = None
        self.ended = threading.Event()
        self._report = report
        self._file = open(self.path, "a+b", buffering=0, opener=_for_owner)  # noqa: SIM115 - dispose() closes it
        self._writing = threading.RLock()
        self._source = SerialDisposable()
        _end_last_line(self._file)

    def follow(self, events: Observable[SessionEvent]) -> None:
        """Record these events until they end or this is disposed."""
        self._source.disposable = events.subscribe(self)

    def on_next(self, value: SessionEvent) -> None:
        payload = wire.encode(value).replace(b"\n", b" ")
        line = _encode_line(_Line(value.at, msgspec.Raw(payload))) + b"\n"
        try:
            self._write(line)
        except OSError as error:
            self.error = error
            self.dispose()
            self._report(Fault(f"recorder of {self.path}", value.session_id, value.at, error))

    def _write(self, line: bytes) -> None:
        """A line is one write. A full disk takes a part of it without a word: that part is taken back."""
        with self._writing:
            if self.ended.is_set():
                return
            written = self._file.write(line) or 0
            if written < len(line):
                self._file.truncate(self._file.tell() - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            self.written += 1

    def on_error(self, error: Exception) -> None:
        self.error = error
        self.dispose()

    def on_completed(self) -> None:
        self.dispose()

    def dispose(self) -> None:
        with self._writing:
            self._file.close()
            self.ended.set()
        self._source.dispose()


def record(events: Observable[SessionEvent], path: str | Path, *, report: Report = log_fault) -> Recorder:
    """Record events into a file, appending to what is there.

    An event from a wire is written as the payload it came as, so a later version can read more out of
    it; any other in our own encoding. Every line is written by one ``write``: whatever kills the
    process leaves at most one torn line, which reading skips and counts, and which the next ``record``
    into the file ends before it appends.

    Args:
        events: What to record.
        path: The file; made if it does not exist. Plain JSON Lines; gzip it afterwards if need be.
        report: Where a failing write is reported.

    Returns:
        The running recorder; dispose it to stop.

    A file that is made is readable by its owner only.

    Raises:
        OSError: The file cannot be opened for writing.
        ValueError: The path ends in ``.gz``.

    Memory: one line. Time: none.
    """
    recorder = Recorder(path, report=report)
    recorder.follow(events)
    return recorder


def _for_owner(path: str, flags: int) -> int:
    """A new file is for its owner alone: what agents say and run has secrets in it (T13)."""
    return os.open(path, flags, 0o600)


def _end_last_line(file: IO[bytes]) -> None:
    if file.seek(0, 2) > 0:
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            file.write(b"\n")


# --- playing --------------------------------------------------------------------------------------


class Replayed(Observable[SessionEvent]):
    """A recording as a cold stream. ``scheduler`` is the clock it plays on; operators follow it.

    The clock shows the recorded time: in virtual time for each subscription anew unless timers of
    another are pending, else for the first one. What took 600 s takes 600 s for the others too.
    """

    def __init__(self, recording: Recording, scheduler: Replay | Scaled, *, own: bool = True) -> None:
        super().__init__()
        self.recording = recording
        self.scheduler = scheduler
        self._own = own
        self._begun = False

    def _subscribe_core(
        self,
        observer: abc.ObserverBase[SessionEvent],
        scheduler: abc.SchedulerBase | None = None,
    ) -> abc.DisposableBase:
        playing = _Playing(self, observer)
        # Like every cold source of reactivex: play only after the subscriber has its disposable.
        CurrentThreadScheduler.singleton().schedule(calling(playing.start))
        return playing

    def begin(self, first_at: float) -> float:
        """Put the clock where the recording begins; returns how far it is ahead of the recorded times.

        A clock that somebody else follows is never put back.
        """
        clock, first = self.scheduler, not self._begun
        self._begun = True
        if self._own and (first or (isinstance(clock, Replay) and not clock.pending)):
            clock.start_from(first_at)
        if isinstance(clock, Replay):
            clock.advance_to(first_at)
        return clock.seconds() - first_at


class _Playing(abc.DisposableBase):
    """One subscription: the events still to come, and who gets them."""

    def __init__(self, replayed: Replayed, observer: abc.ObserverBase[SessionEvent]) -> None:
        self._replayed = replayed
        self._clock = replayed.scheduler
        self._events = iter(replayed.recording)
        self._observer = observer
        self._timer = SerialDisposable()
        self._ahead = 0.0
        self._left = False

    def dispose(self) -> None:
        self._left = True
        self._events = iter(())  # which closes the file
        self._timer.dispose()

    def start(self) -> None:
        event = self._next()
        if event is None:
            return
        self._ahead = self._replayed.begin(event.at)
        if isinstance(self._clock, Replay):
            self._play_at_once(self._clock, event)
        else:
            self._play_on_time(event)

    def _play_at_once(self, clock: Replay, event: SessionEvent | None) -> None:
        """The clock jumps from event to event, and the timers between them run."""
        while event is not None:
            clock.advance_to(event.at + self._ahead)
            self._observer.on_next(event)
            event = self._next()

    def _play_on_time(self, event: SessionEvent | None) -> None:
        """Each event comes when the clock shows its time."""
        while event is not None:
            due = event.at + self._ahead
            if due > self._clock.seconds():
                arrive = calling(partial(self._arrive, event))
                self._timer.disposable = self._clock.schedule_at(due, arrive, None)
                return
            self._observer.on_next(event)
            event = self._next()

    def _arrive(self, event: SessionEvent) -> None:
        self._observer.on_next(event)
        self._play_on_time(self._next())

    def _next(self) -> SessionEvent | None:
        """The next event. None when there is none, which the observer is told unless it has left."""
        try:
            event = next(self._events, None)
        except Exception as error:
            self._observer.on_error(error)
            return None
        if event is None and not self._left:
            self._observer.on_completed()
        return event


def replay(
    path: str | Path,
    speed: float | None = 1.0,
    scheduler: abc.SchedulerBase | None = None,
) -> Replayed:
    """Play a recording: each event at its recorded time, counted from the first.

    Operators downstream that are given no scheduler follow the recording's own clock, so a time to
    live of 600 s is 600 recorded seconds at every speed. (An operator of reactivex's own between hides
    the clock: give those behind it ``scheduler=`` that of the replay.)

    Args:
        path: The recording.
        speed: Recorded seconds per second, above 0; 1.0 plays as recorded. None plays in virtual time:
            at once, in the subscribing thread, the same output every time.
        scheduler: Whose time to play in, at that speed; by default the daemon's. For ``speed=None`` the
            ``Replay`` to advance; by default a new one.

    Returns:
        A cold Observable: each subscription plays from the start. It completes after the last event;
        a file that turns out to be no recording ends it with ``NotARecording``.

    Raises:
        OSError: There is no such file, or it cannot be opened.
        ValueError: ``speed`` is not above 0 and finite; or it is None and the scheduler no ``Replay``.

    Memory: one line. Time: one pending timer per subscription.

    Example:
        >>> from streams import recordings
        >>> seen = []
        >>> _ = recordings.replay("tests/recordings/basic.jsonl.gz", speed=None).subscribe(seen.append)
        >>> len(seen)
        117
    """
    if speed is not None:
        if not 0 < speed < inf:
            raise ValueError(f"speed must be above 0 and finite, or None for virtual time, got {speed!r}")
        return Replayed(read(path), Scaled(scheduler or daemon(), speed=speed))
    if not isinstance(scheduler, Replay | None):
        raise ValueError(f"scheduler must be a Replay for speed=None, got {scheduler!r}")  # noqa: TRY004
    return Replayed(read(path), scheduler or Replay(), own=scheduler is None)
