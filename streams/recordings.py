"""Recordings: JSON Lines of ``{"at": seconds, "event": payload}``. Read, write, and play them."""

import gzip
import os
import threading
import zlib
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
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
from streams.schedulers import Replay, Scaled, calling, daemon, seconds_of

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
        self.torn = 0
        at = 0.0
        with _open(self.path) as file:
            for number, text in enumerate(self._lines(file)):
                try:
                    line = _decode_line(text)
                except ValueError as error:
                    if self._is_torn(text, number):
                        self.torn = 1
                    elif number == 0:
                        raise NotARecording(self._complaint(text)) from None
                    else:
                        yield MalformedEvent("", at, "", text, f"line {number + 1}: {error}")
                    continue
                at = line.at
                yield wire.decode(bytes(line.event), at)

    def _lines(self, file: IO[bytes]) -> Iterator[bytes]:
        try:
            yield from file
        except (EOFError, zlib.error):
            self.torn = 1

    def _is_torn(self, text: bytes, number: int) -> bool:
        start = text[: len(FIRST_BYTES)]
        return not text.endswith(b"\n") and (number > 0 or FIRST_BYTES.startswith(start))

    def _complaint(self, text: bytes) -> str:
        start = text[:40].decode("utf-8", "replace").strip()
        return f'{self.path} is no recording: its first line is not {{"at": …, "event": …}}: {start!r}'


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
        error: Why writing ended early (disk full, …), else None. It is reported too.
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
        self._file = self.path.open("a+b", buffering=0)
        self._source = SerialDisposable()
        _end_last_line(self._file)

    def follow(self, events: Observable[SessionEvent]) -> None:
        """Record these events until they end or this is disposed."""
        self._source.disposable = events.subscribe(self)

    def on_next(self, value: SessionEvent) -> None:
        if self.ended.is_set():
            return
        payload = wire.encode(value).replace(b"\n", b" ")
        try:
            self._file.write(_encode_line(_Line(value.at, msgspec.Raw(payload))) + b"\n")
        except OSError as error:
            self.error = error
            self._report(Fault(f"recorder of {self.path}", value.session_id, value.at, error))
            self.dispose()
        else:
            self.written += 1

    def on_error(self, error: Exception) -> None:
        self.error = error
        self.dispose()

    def on_completed(self) -> None:
        self.dispose()

    def dispose(self) -> None:
        self.ended.set()
        self._source.dispose()
        self._file.close()


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

    Raises:
        OSError: The file cannot be opened for writing.
        ValueError: The path ends in ``.gz``.

    Memory: one line. Time: none.
    """
    recorder = Recorder(path, report=report)
    recorder.follow(events)
    return recorder


def _end_last_line(file: IO[bytes]) -> None:
    if file.seek(0, 2) > 0:
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            file.write(b"\n")


# --- playing --------------------------------------------------------------------------------------


class Replayed(Observable[SessionEvent]):
    """A recording as a cold stream. ``scheduler`` is the clock it plays on; operators follow it."""

    def __init__(
        self, recording: Recording, speed: float | None, scheduler: abc.SchedulerBase | None
    ) -> None:
        super().__init__()
        self.recording = recording
        self.scheduler: abc.SchedulerBase = scheduler or _clock_for(speed)
        self._speed = speed
        self._own_clock = scheduler is None

    def _subscribe_core(
        self,
        observer: abc.ObserverBase[SessionEvent],
        scheduler: abc.SchedulerBase | None = None,
    ) -> abc.DisposableBase:
        playing = _Playing(self.recording, observer)
        if isinstance(self.scheduler, Replay):
            start = _AtOnce(self.scheduler, playing, own=self._own_clock).play
        else:
            start = _Timed(self.scheduler, self._speed or 1.0, playing).play
        # Like every cold source of reactivex: play only after the subscriber has its disposable.
        CurrentThreadScheduler.singleton().schedule(calling(start))
        return playing


class _Playing(abc.DisposableBase):
    """One subscription: the events still to come, and who gets them."""

    def __init__(self, recording: Recording, observer: abc.ObserverBase[SessionEvent]) -> None:
        self._events = iter(recording)
        self._observer = observer
        self.emit = observer.on_next
        self.timer = SerialDisposable()
        self.disposed = False

    def dispose(self) -> None:
        self.disposed = True
        self.timer.dispose()

    def next(self) -> SessionEvent | None:
        """The next event; None, and the observer told, when there is none."""
        try:
            event = None if self.disposed else next(self._events, None)
        except Exception as error:
            self._observer.on_error(error)
            return None
        if event is None:
            self._observer.on_completed()
        return event


class _AtOnce:
    """Virtual time: the clock jumps from event to event, and the timers between them run."""

    def __init__(self, clock: Replay, playing: _Playing, *, own: bool) -> None:
        self._clock = clock
        self._own = own
        self._playing = playing

    def play(self) -> None:
        event = self._playing.next()
        if event is not None and self._own:  # each subscription plays from the start, and by its time
            self._clock.start_from(event.at)
        while event is not None:
            self._clock.advance_to(event.at)
            self._playing.emit(event)
            event = self._playing.next()


class _Timed:
    """A running clock: each event comes when the clock shows its place in the recording."""

    def __init__(self, scheduler: abc.SchedulerBase, speed: float, playing: _Playing) -> None:
        self._scheduler = scheduler
        self._seconds = seconds_of(scheduler)
        self._speed = speed
        self._playing = playing
        self._first_at = self._started = 0.0

    def play(self) -> None:
        event = self._playing.next()
        if event is None:
            return
        if isinstance(self._scheduler, Scaled):  # it runs at the right speed already
            self._scheduler.start_from(event.at)
            self._speed = 1.0
        self._first_at, self._started = event.at, self._seconds()
        self._play_from(event)

    def _play_from(self, event: SessionEvent | None) -> None:
        while event is not None:
            wait = self._started + (event.at - self._first_at) / self._speed - self._seconds()
            if wait > 0:
                go_on = calling(partial(self._emit_and_go_on, event))
                self._playing.timer.disposable = self._scheduler.schedule_relative(wait, go_on)
                return
            self._playing.emit(event)
            event = self._playing.next()

    def _emit_and_go_on(self, event: SessionEvent) -> None:
        self._playing.emit(event)
        self._play_from(self._playing.next())


def _clock_for(speed: float | None) -> abc.SchedulerBase:
    return Replay() if speed is None else Scaled(daemon(), speed=speed)


def replay(
    path: str | Path,
    speed: float | None = 1.0,
    scheduler: abc.SchedulerBase | None = None,
) -> Replayed:
    """Play a recording: each event at its recorded time, counted from the first.

    Operators downstream that are given no scheduler follow the recording's own clock, so a time to
    live of 600 s is 600 recorded seconds at every speed.

    Args:
        path: The recording.
        speed: Recorded seconds per second, above 0; 1.0 plays as recorded. None plays in virtual time:
            at once, in the subscribing thread, the same output every time.
        scheduler: What to play on; by default the daemon's time at that speed, or a new ``Replay``
            for ``speed=None``.

    Returns:
        A cold Observable: each subscription plays from the start. It completes after the last event;
        a file that turns out to be no recording ends it with ``NotARecording``.

    Raises:
        OSError: There is no such file, or it cannot be opened.
        ValueError: ``speed`` is not above 0; or it is None and the scheduler is no ``Replay``.

    Memory: one line. Time: one pending timer per subscription.

    Example:
        >>> from streams import recordings
        >>> seen = []
        >>> _ = recordings.replay("tests/recordings/basic.jsonl.gz", speed=None).subscribe(seen.append)
        >>> len(seen)
        117
    """
    if speed is not None and not speed > 0:
        raise ValueError(f"speed must be above 0, or None for virtual time, got {speed!r}")
    if speed is None and not isinstance(scheduler, Replay | None):
        raise ValueError(f"speed=None needs a streams.schedulers.Replay, got {scheduler!r}")
    recording = read(path)
    return Replayed(recording, speed, scheduler)
