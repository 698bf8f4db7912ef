"""Recordings: whatever happened to the file, what is whole in it is read; and played as it was."""

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import reactivex as rx
from reactivex import abc
from reactivex import operators as rxops
from reactivex.scheduler import CurrentThreadScheduler, HistoricalScheduler
from reactivex.testing import TestScheduler

import operators as ops
from streams import EventHub, Fault, recordings
from streams import events as ev
from streams.events import SessionEvent
from streams.opencode import wire
from streams.schedulers import Replay, Scaled, calling, daemon
from streams.testing import busy, idle

TIMEOUT = 10.0
LINES = [
    b'{"at": 10.0, "event": {"id":"evt_1","type":"session.status","properties":'
    b'{"sessionID":"s","status":{"type":"busy"}}}}\n',
    b'{"at": 11.5, "event": {"id":"evt_2","type":"session.compacted","properties":{"sessionID":"s"}}}\n',
    b'{"at":700.0,"event":{"id":"evt_3","type":"session.idle","properties":{"sessionID":"s"}}}\n',
]
KINDS = [ev.SessionStatus, ev.SessionCompacted, ev.SessionIdle]


def kinds(path: Path | str) -> list[type[SessionEvent]]:
    return [type(event) for event in recordings.read(path)]


def whole_lines(content: bytes) -> tuple[int, bytes]:
    """How many lines a beginning of the recording has (one may lack its end), and what is left over."""
    for number in range(len(LINES), -1, -1):
        start = b"".join(LINES[:number])
        if content.startswith(start.removesuffix(b"\n")):
            return number, content[len(start) :]
    raise AssertionError(content)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A whole recording of three lines."""
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"".join(LINES))
    return path


# --- reading --------------------------------------------------------------------------------------


def test_a_recording_is_its_events_at_their_times(path: Path) -> None:
    """Each line's time becomes the event's; each iteration begins anew."""
    recording = recordings.read(path)

    for _ in range(2):
        events = list(recording)
        assert [(type(each), each.at, each.event_id) for each in events] == [
            (ev.SessionStatus, 10.0, "evt_1"),
            (ev.SessionCompacted, 11.5, "evt_2"),
            (ev.SessionIdle, 700.0, "evt_3"),
        ]
        assert recording.torn == 0


def test_gzip_is_told_by_content(path: Path, tmp_path: Path) -> None:
    """Whatever the file is called."""
    misnamed = tmp_path / "run.txt"
    misnamed.write_bytes(gzip.compress(path.read_bytes()))

    assert kinds(misnamed) == KINDS


@pytest.mark.parametrize("zipped", [False, True])
def test_a_pipe_is_read_as_it_is_written(tmp_path: Path, zipped: bool) -> None:
    """The first event comes before the second is written; nothing is opened before it is iterated."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    first_read = threading.Event()

    def write() -> None:
        with fifo.open("wb") as raw:
            file = gzip.GzipFile(fileobj=raw, mode="wb") if zipped else raw
            file.write(LINES[0])
            file.flush()
            raw.flush()
            assert zipped or first_read.wait(TIMEOUT)  # gzip decodes by the block
            file.write(LINES[1])
            file.close()

    recording = recordings.read(fifo)
    writer = threading.Thread(target=write)
    writer.start()
    events = iter(recording)
    assert isinstance(next(events), ev.SessionStatus)
    first_read.set()
    assert isinstance(next(events), ev.SessionCompacted)
    assert next(events, None) is None
    writer.join(TIMEOUT)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_dash_is_standard_input(zipped: bool) -> None:
    """Zipped or not, whatever process feeds it."""
    script = "from streams import recordings; print([type(e).__name__ for e in recordings.read('-')])"
    content = b"".join(LINES)
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=gzip.compress(content) if zipped else content,
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().strip() == str([kind.__name__ for kind in KINDS])


def test_an_empty_file_is_a_recording_of_nothing(tmp_path: Path) -> None:
    """Its writer has not heard anything yet."""
    empty = tmp_path / "empty"
    empty.touch()
    recording = recordings.read(empty)

    assert (list(recording), recording.torn) == ([], 0)


def test_a_file_cut_anywhere_gives_its_whole_lines(path: Path) -> None:
    """T5: truncated at every byte: what is whole is read, at most one line is torn."""
    content = b"".join(LINES)
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        recording = recordings.read(path)
        whole, rest = whole_lines(content[:cut])
        assert [type(each) for each in recording] == KINDS[:whole], cut
        assert recording.torn == (rest != b""), cut


def test_a_gzip_cut_anywhere_gives_its_whole_lines(path: Path) -> None:
    """T5: a writer killed within a block loses what was in it, and nothing before."""
    content = b"".join(gzip.compress(line, mtime=0) for line in LINES)
    ends = [len(b"".join(gzip.compress(line, mtime=0) for line in LINES[:n])) for n in range(4)]
    for cut in range(2, len(content) + 1):
        path.write_bytes(content[:cut])
        recording = recordings.read(path)
        got = [type(each) for each in recording]
        whole = sum(cut >= end for end in ends[1:])
        assert got[:whole] == KINDS[:whole], cut
        assert got in (KINDS[:whole], KINDS[: whole + 1]), cut
        assert recording.torn == (cut not in ends), cut


@pytest.mark.parametrize(
    "content",
    [b"hello\n", b"hello", b"{}\n", b"{}", b"[1]\n", b'{"type":"session.idle"}\n', b"\x00\x01\n", b"\n"],
)
def test_what_is_no_recording_says_so(tmp_path: Path, content: bytes) -> None:
    """The message shows how it begins."""
    path = tmp_path / "notes.txt"
    path.write_bytes(content)

    with pytest.raises(recordings.NotARecording, match=r"notes.txt is no recording: its first line"):
        list(recordings.read(path))


def test_what_is_no_file_says_so(tmp_path: Path) -> None:
    """At once, not when it is iterated."""
    with pytest.raises(FileNotFoundError):
        recordings.read(tmp_path / "missing.jsonl")
    with pytest.raises(IsADirectoryError):
        recordings.read(tmp_path)


BAD = [
    b"garbage\n",
    b"\n",
    b"\xff\xfe\n",
    b'{"at":11,"event":{"type":"session.id\n',
    b'{"at":"soon","event":{}}\n',
    b'{"at":1e999,"event":{}}\n',
    b'{"event":{}}\n',
    b"\x00" * 40 + b"\n",
    b'{"at":11,"event":' + b"[" * 100_000 + b"\n",
]


@pytest.mark.parametrize("bad", BAD, ids=lambda line: repr(line[:24]))
def test_a_bad_line_in_the_middle_is_an_event(path: Path, bad: bytes) -> None:
    """T5: it says which line, keeps the text and takes the time of the line before."""
    path.write_bytes(LINES[0] + bad + LINES[1])
    first, malformed, second = recordings.read(path)

    assert (type(first), type(second)) == (ev.SessionStatus, ev.SessionCompacted)
    assert isinstance(malformed, ev.MalformedEvent)
    assert malformed.reason.startswith("line 2: ")
    assert (malformed.raw, malformed.at) == (bad, 10.0)


def test_a_payload_that_cannot_be_read_is_an_event(path: Path) -> None:
    """S12: the line is good, its event is not."""
    path.write_bytes(b'{"at":10,"event":null}\n{"at":11,"event":{"type":"session.idle"}}\n')

    assert [event.reason for event in recordings.read(path)] == [
        "Expected `object`, got `null`",
        "session.idle: no session id",
    ]


def test_only_line_feeds_end_lines(path: Path) -> None:
    """T6: the other things that Python takes for line ends are text."""
    text = "a\u2028b\u2029c\u0085d\x7fe"
    line = json.dumps({"at": 1, "event": {"type": "x.y", "text": text}}, ensure_ascii=False)
    path.write_bytes(line.encode() + b"\n" + LINES[0])

    assert kinds(path) == [ev.UnknownEvent, ev.SessionStatus]


# --- writing --------------------------------------------------------------------------------------

OWN = [
    ev.SessionExpired("s", 3.0, idle=600.0),
    ev.ToolExecuteBefore("s", 4.0, call_id="c", tool="bash", input=msgspec.Raw(b'{"a":[1,"x\\ny"]}')),
    ev.ToolExecuteAfter("s", 5.0, call_id="c", output='a\nb\r\nc\u2028d\u0085e\x0bf"'),
    ev.MalformedEvent("", 6.0, "", b'{"type":"session.idle","proper\nties', "truncated"),
    ev.MalformedEvent("", 7.0, "", b"\xff\xfe\x00\n", "not JSON"),
    ev.StreamGap(at=8.0, since=2.0),
    wire.decode(b'{"type":"message.part.delta","properties":{"sessionID":"s","delta":"\\ud83d"}}', 9.0),
]


def recorded_as(path: Path, events: list[SessionEvent]) -> recordings.Recorder:
    return recordings.record(rx.from_iterable(events), path)


def test_what_is_recorded_reads_the_same(tmp_path: Path, recorded: Any) -> None:
    """Every event of every recording, and those that came from no wire."""
    events = [*recorded.events()[:500], *OWN]
    path = tmp_path / "copy.jsonl"
    recorder = recorded_as(path, events)

    assert (recorder.written, recorder.error, recorder.ended.is_set()) == (len(events), None, True)
    assert list(recordings.read(path)) == events
    assert path.read_bytes().count(b"\n") == len(events)


def test_a_payload_in_several_lines_is_recorded_in_one(tmp_path: Path) -> None:
    """T6: a record is a line, also when a proxy has pretty-printed it."""
    payload = json.dumps({"type": "session.idle", "properties": {"sessionID": "s"}}, indent=2).encode()
    path = tmp_path / "run.jsonl"
    recorded_as(path, [wire.decode(payload, 3.0)])
    (event,) = recordings.read(path)

    assert path.read_bytes().count(b"\n") == 1
    assert msgspec.structs.replace(event, raw=b"") == ev.SessionIdle("s", 3.0)


def test_recording_goes_on_after_a_torn_line(path: Path) -> None:
    """T5: cut at every byte, then appended to: what is whole is read, and at most one line is bad."""
    content = b"".join(LINES)
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        recorded_as(path, [ev.SessionExpired("s", 900.0, idle=1.0)])
        whole, rest = whole_lines(content[:cut])
        torn = [ev.MalformedEvent] if rest else []
        assert kinds(path) == [*KINDS[:whole], *torn, ev.SessionExpired], cut


def test_a_writer_that_is_killed_tears_one_line_at_most(tmp_path: Path) -> None:
    """T5: kill -9 in the middle of writing: every line but the last is whole."""
    path = tmp_path / "run.jsonl"
    script = """
        import signal, sys
        from streams import recordings
        from streams.testing import text
        import reactivex as rx
        events = rx.from_iterable(text("s", "m", f"p{n}", "x" * 5000) for n in range(10_000))
        recordings.record(events, sys.argv[1])
        signal.alarm(60)  # whoever was to kill it may be dead
        signal.pause()
    """
    writer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), str(path)])
    try:
        while not path.exists() or path.stat().st_size < 200_000:
            assert writer.poll() is None
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait(TIMEOUT)
    recording = recordings.read(path)
    parts = [event.part.id for event in recording if isinstance(event, ev.PartUpdated)]

    assert parts == [f"p{number}" for number in range(len(parts))]
    assert len(parts) >= 39
    assert path.read_bytes().count(b"\n") == len(parts)


class FullDisk:
    """A file on a disk with so many bytes left."""

    def __init__(self, file: Any, left: int) -> None:
        self._file = file
        self._left = left

    def write(self, data: bytes) -> int:
        if not self._left:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = data[: self._left]
        self._left -= len(taken)
        return self._file.write(taken)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("left", [0, 1, 20, 48, 49, 50])
def test_a_full_disk_ends_the_recording_and_harms_nothing_else(path: Path, left: int) -> None:
    """T5: one fault, ``error`` is set, what was written before is intact, and the stream goes on."""
    faults: list[Fault] = []
    hub = EventHub(scheduler=Replay())
    recorder = recordings.record(hub, path, report=faults.append)
    recorder._file = FullDisk(recorder._file, left)  # pyright: ignore
    seen: list[SessionEvent] = []
    hub.subscribe(seen.append)
    line_length = len(b'{"at":1.0,"event":{"@kind":"SessionIdle","sessionID":"s","@at":1.0}}\n')
    assert line_length > 50
    for _ in range(3):
        hub.on_next(ev.SessionIdle("s", 1.0))

    assert len(seen) == 3
    assert isinstance(recorder.error, OSError)
    assert recorder.error.errno == errno.ENOSPC
    assert (recorder.written, recorder.ended.is_set()) == (0, True)
    assert [(fault.where, fault.session_id) for fault in faults] == [(f"recorder of {path}", "s")]
    assert path.read_bytes() == b"".join(LINES)
    assert hub._attached != ()
    assert recordings.record(rx.of(busy("s")), path).written == 1
    assert kinds(path) == [*KINDS, ev.SessionStatus]


@pytest.mark.skipif(os.name == "nt", reason="no modes here")
def test_a_recording_is_for_its_owner(tmp_path: Path) -> None:
    """T13: 0600 when it is made; the mode of a file that was there is its owner's business."""
    recordings.record(rx.of(busy("s")), tmp_path / "a.jsonl")
    assert (tmp_path / "a.jsonl").stat().st_mode & 0o777 == 0o600
    (tmp_path / "a.jsonl").chmod(0o640)
    recordings.record(rx.of(busy("s")), tmp_path / "a.jsonl")
    assert (tmp_path / "a.jsonl").stat().st_mode & 0o777 == 0o640


def test_a_recording_ends_with_its_stream(tmp_path: Path) -> None:
    """With its error, too; disposing ends it as well, twice is harmless, and nothing is written after."""
    hub = EventHub(scheduler=Replay())
    recorder = recordings.record(hub, tmp_path / "a.jsonl")
    disposed = recordings.record(hub, tmp_path / "b.jsonl")
    hub.on_next(idle("s"))
    disposed.dispose()
    disposed.dispose()
    disposed.on_next(idle("s"))
    hub.on_next(idle("s"))
    error = LookupError("gone")
    hub.on_error(error)

    assert (recorder.written, recorder.error, recorder.ended.is_set()) == (2, error, True)
    assert (disposed.written, disposed.error, disposed.ended.is_set()) == (1, None, True)
    assert len(kinds(tmp_path / "b.jsonl")) == 1


def test_disposing_lets_the_line_that_is_being_written_finish(path: Path) -> None:
    """X5: another thread closes the file no earlier."""
    hub, faults = EventHub(scheduler=Replay()), []
    recorder = recordings.record(hub, path, report=faults.append)
    hub.errors.subscribe(faults.append)
    write = recorder._file.write
    other = threading.Thread(target=recorder.dispose)

    class Slow:
        def write(self, line: bytes) -> int:
            other.start()
            other.join(0.05)
            return write(line)

        def __getattr__(self, name: str) -> Any:
            return getattr(file, name)

    file, recorder._file = recorder._file, Slow()  # pyright: ignore
    hub.on_next(idle("s"))
    other.join(TIMEOUT)

    assert (faults, recorder.written, recorder.ended.is_set()) == ([], 1, True)
    assert kinds(path) == [*KINDS, ev.SessionIdle]


def test_disposing_while_threads_write_is_no_fault(tmp_path: Path) -> None:
    """X5: every line that was counted is in the file, whole."""
    path = tmp_path / "run.jsonl"
    hub, faults = EventHub(), []
    hub.errors.subscribe(faults.append)
    recorder = recordings.record(hub, path, report=faults.append)
    started = threading.Event()

    def publish() -> None:
        for number in range(3000):
            hub.on_next(idle(f"s{number}"))
            if number == 100:
                started.set()

    thread = threading.Thread(target=publish)
    thread.start()
    assert started.wait(TIMEOUT)
    recorder.dispose()
    thread.join(TIMEOUT)

    assert faults == []
    assert len(kinds(path)) == recorder.written >= 100


def test_a_recording_is_not_written_zipped(tmp_path: Path) -> None:
    """A killed writer would lose the whole block."""
    with pytest.raises(ValueError, match=r"path must not end in .gz"):
        recordings.record(rx.never(), tmp_path / "run.jsonl.gz")
    with pytest.raises(FileNotFoundError):
        recordings.record(rx.never(), tmp_path / "no such folder" / "run.jsonl")


# --- playing --------------------------------------------------------------------------------------


def timed(clock: Any, source: rx.Observable[Any]) -> list[tuple[float, Any]]:
    """What a source says, with the clock's time, as it comes."""
    seen: list[tuple[float, Any]] = []
    source.subscribe(
        lambda value: seen.append((clock.seconds(), type(value))),
        lambda error: seen.append((clock.seconds(), error)),
        lambda: seen.append((clock.seconds(), "|")),
    )
    return seen


def test_in_virtual_time_timers_run_between_the_events(path: Path) -> None:
    """X8: events at 10, 11.5 and 700 with a busy time to live of 600: expired at 611.5, not later."""
    replayed = recordings.replay(path, speed=None)
    seen = timed(replayed.scheduler, replayed.pipe(ops.expire_after(600, busy_ttl=600)))

    assert seen == [
        (10.0, ev.SessionStatus),
        (11.5, ev.SessionCompacted),
        (611.5, ev.SessionExpired),
        (700.0, ev.SessionIdle),
        (700.0, "|"),
    ]


def test_in_virtual_time_every_run_is_the_same(recording_of: Any) -> None:
    """Byte for byte: two replays, and two subscriptions to one replay, at once or one by one."""

    def derived(replayed: Any) -> Any:
        return replayed.pipe(ops.expire_after(2.0, busy_ttl=5.0))

    def run(source: rx.Observable[SessionEvent]) -> bytes:
        seen: list[SessionEvent] = []
        source.subscribe(seen.append)
        assert any(isinstance(event, ev.SessionExpired) for event in seen)
        return b"\n".join(msgspec.json.encode(event) for event in seen)

    path = recording_of("subagents").path
    first = run(derived(recordings.replay(path, speed=None)))
    again = recordings.replay(path, speed=None)

    assert run(derived(recordings.replay(path, speed=None))) == first
    assert [run(derived(again)) for _ in range(3)] == [first] * 3
    both = run(rx.concat(derived(again), derived(again)))
    assert both == first + b"\n" + first


def test_repeating_a_replay_lets_time_go_on(path: Path) -> None:
    """What an operator behind ``repeat`` keeps is older by then, and its timers are pending."""
    replayed = recordings.replay(path, speed=None)
    expiry = ops.expire_after(400, busy_ttl=400, scheduler=replayed.scheduler)
    seen = timed(replayed.scheduler, replayed.pipe(rxops.repeat(2), expiry))

    assert [at for at, _ in seen] == [10.0, 11.5, 411.5, 700.0, 700.0, 701.5, 1101.5, 1390.0, 1390.0]
    assert sum(kind == ev.SessionExpired for _, kind in seen) == 2


def test_a_given_clock_is_advanced_and_not_put_back(path: Path) -> None:
    """Two recordings after each other on one clock: time goes on, and what took 688.5 s still does."""
    clock = Replay()
    first = timed(clock, recordings.replay(path, speed=None, scheduler=clock))
    second = timed(clock, recordings.replay(path, speed=None, scheduler=clock))

    assert [at for at, _ in first] == [10.0, 11.5, 700.0, 700.0]
    assert [at for at, _ in second] == [700.0, 701.5, 1390.0, 1390.0]


def test_a_timer_set_before_a_replay_does_not_live_through_the_years_before_it(tmp_path: Path) -> None:
    """An interval beside a replay ticks from when the recording was made, not from 1970."""
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"".join(line.replace(b'"at": 1', b'"at": 170000001') for line in LINES[:2]))
    replayed = recordings.replay(path, speed=None)
    ticks: list[float] = []
    rx.interval(1.0, scheduler=replayed.scheduler).subscribe(
        lambda _: ticks.append(replayed.scheduler.seconds())
    )
    replayed.subscribe()

    assert ticks == [1_700_000_011.0]


@pytest.mark.parametrize("speed", [1.0, 10.0])
@pytest.mark.parametrize("make", [Replay, TestScheduler, HistoricalScheduler, Scaled])
def test_at_a_speed_each_event_comes_at_its_time(path: Path, make: Any, speed: float) -> None:
    """On any scheduler: counted from the first, and operators read recorded time and follow it."""
    base: Any = Replay() if make is Scaled else make()
    clock: Any = Scaled(base, speed=1.0) if make is Scaled else base
    replayed = recordings.replay(path, speed=speed, scheduler=clock)
    seen = timed(replayed.scheduler, replayed.pipe(ops.expire_after(600, busy_ttl=600)))

    def after(seconds: float) -> list[tuple[float, Any]]:
        base.advance_by(seconds / speed)
        return [(pytest.approx(at, abs=0.01 * speed), kind) for at, kind in seen]

    assert [kind for _, kind in after(0.1)] == [ev.SessionStatus]
    assert after(1.5)[1:] == [(11.5, ev.SessionCompacted)]
    assert after(599.8)[2:] == []
    assert after(0.2)[2:] == [(611.5, ev.SessionExpired)]
    assert after(88.2)[3:] == []
    assert after(0.4)[3:] == [(700.0, ev.SessionIdle), (700.0, "|")]


def test_a_second_subscription_does_not_put_the_first_one_s_clock_back(path: Path) -> None:
    """Both get every event at its own pace; the clock goes on."""
    base = Replay()
    replayed = recordings.replay(path, speed=1.0, scheduler=base)
    first = timed(replayed.scheduler, replayed)
    base.advance_by(5.0)
    second = timed(replayed.scheduler, replayed)
    base.advance_by(1000.0)

    assert [at for at, _ in first] == [10.0, 11.5, 700.0, 700.0]
    assert [at for at, _ in second] == [15.0, 16.5, 705.0, 705.0]


def test_by_default_a_replay_runs_on_the_daemon(path: Path) -> None:
    """Nothing blocks: subscribe returns, and the rest comes by itself."""
    done, seen = threading.Event(), []
    recordings.replay(path, speed=1e6).subscribe(seen.append, None, done.set)

    assert done.wait(TIMEOUT)
    assert [type(each) for each in seen] == KINDS
    assert isinstance(recordings.replay(path).scheduler, Scaled)


@pytest.mark.parametrize("speed", [None, 1.0])
def test_a_replay_is_disposed_midway(path: Path, speed: float | None) -> None:
    """take(1): one event, no timer left, and the file is closed."""
    base = Replay()
    replayed = recordings.replay(path, speed=speed, scheduler=base)
    seen = timed(replayed.scheduler, replayed.pipe(rxops.take(1)))
    assert seen == [(10.0, ev.SessionStatus), (10.0, "|")]
    assert base.pending == 0

    playing = replayed.subscribe()
    base.advance_by(1.0)
    playing.dispose()
    assert base.pending == 0


@pytest.mark.parametrize("speed", [None, 1.0])
def test_a_replay_that_is_disposed_closes_its_file(path: Path, speed: float | None) -> None:
    """At once, having read no further."""
    base, closed, read = Replay(), [], []
    replayed = recordings.replay(path, speed=speed, scheduler=base)
    recording = list(replayed.recording)

    class Watched:
        def __iter__(self) -> Iterator[SessionEvent]:
            try:
                for event in recording:
                    read.append(event)
                    yield event
            finally:
                closed.append(True)

    replayed.recording = Watched()  # pyright: ignore
    playing = replayed.pipe(rxops.take(1)).subscribe()

    assert (closed, len(read)) == ([True], 1)
    playing.dispose()


def test_a_replay_of_no_recording_is_an_error_of_the_stream(tmp_path: Path) -> None:
    """It cannot be known before it is read; that there is no file can."""
    notes = tmp_path / "notes.txt"
    notes.write_text("hello\n")
    errors: list[Exception] = []
    recordings.replay(notes, speed=None).subscribe(print, errors.append)

    assert [type(error) for error in errors] == [recordings.NotARecording]
    with pytest.raises(FileNotFoundError):
        recordings.replay(tmp_path / "missing.jsonl")


def test_a_replay_of_nothing_completes(tmp_path: Path) -> None:
    """At once."""
    empty = tmp_path / "empty"
    empty.touch()
    replayed = recordings.replay(empty, speed=None)

    assert timed(replayed.scheduler, replayed) == [(0.0, "|")]


@pytest.mark.parametrize("speed", [0, -1, 0.0, float("nan"), float("inf")])
def test_a_speed_is_above_zero(path: Path, speed: float) -> None:
    """The message has the value and the range."""
    with pytest.raises(ValueError, match=rf"speed must be above 0 and finite, .* got {speed!r}"):
        recordings.replay(path, speed=speed)


def test_virtual_time_needs_a_clock_that_can_be_advanced(path: Path) -> None:
    """The message has the argument and the type."""
    with pytest.raises(ValueError, match=r"scheduler must be a Replay for speed=None"):
        recordings.replay(path, speed=None, scheduler=daemon())


def test_a_hub_of_a_replay_feeds_all_operators_in_one_pass(recording_of: Any) -> None:
    """One clock, one reading of the file, and the same as each operator on its own."""
    path = recording_of("subagents").path
    hub = EventHub(recordings.replay(path, speed=None))
    together: list[list[SessionEvent]] = [[], []]
    for seen, ttl in zip(together, (2.0, 3.0), strict=True):
        hub.pipe(ops.expire_after(ttl, busy_ttl=5.0)).subscribe(seen.append)
    hub.connect()
    alone: list[list[SessionEvent]] = [[], []]
    for seen, ttl in zip(alone, (2.0, 3.0), strict=True):
        recordings.replay(path, speed=None).pipe(ops.expire_after(ttl, busy_ttl=5.0)).subscribe(
            seen.append
        )

    assert together == alone
    assert together[0] != together[1]


@pytest.mark.parametrize("speed", [None, 1.0])
def test_who_leaves_is_not_told_of_an_end(speed: float | None, recording_of: Any) -> None:
    """E6: disposed of from inside ``on_next``: no end, even for an observer that does not guard itself."""
    clock = Replay()
    scheduler = clock if speed is None else Scaled(clock, speed=1.0)
    seen: list[str] = []

    class Leaving(abc.ObserverBase[SessionEvent]):
        def on_next(self, value: SessionEvent) -> None:
            seen.append("event")
            playing.dispose()

        def on_error(self, error: Exception) -> None:
            seen.append("error")

        def on_completed(self) -> None:
            seen.append("completed")

    source = recordings.replay(recording_of("lifecycle").path, speed=speed, scheduler=scheduler)

    def subscribe() -> None:
        nonlocal playing
        playing = source._subscribe_core(Leaving())

    playing: Any = None
    CurrentThreadScheduler.singleton().schedule(calling(subscribe))
    clock.advance_by(100_000.0)
    assert seen == ["event"]
