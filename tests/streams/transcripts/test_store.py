"""``TranscriptStore``: files that are complete, cheap and never torn."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loguru import logger
from reactivex import Subject

import operators as ops
from streams import EventHub, TranscriptStore, transcripts
from streams.events import SessionEvent, SessionExpired, SessionIdle
from streams.faults import Fault
from streams.testing import (
    Timeline,
    assistant,
    busy,
    created,
    deleted,
    delta,
    idle,
    outputs,
    removed,
    text,
    tool,
    user,
)
from streams.transcripts.files import TEMPORARY

Timed = tuple[float, SessionEvent]


def prompt(number: int, session_id: str = "s", said: str = "") -> list[SessionEvent]:
    """A user's message and its text."""
    message_id = f"m{number}"
    return [
        user(session_id, message_id, created=float(number)),
        text(session_id, message_id, f"p{number}", said or f"say {number}"),
    ]


def said(store: TranscriptStore, session_id: str = "s") -> list[str]:
    """The prompts in a session's file; none when there is no file."""
    path = store.path(session_id)
    stored: Any = transcripts.read(path) if path.exists() else ()
    return [each["message"]["content"] for each in stored]


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


class Stage:
    """A store under virtual time, and what it reports."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.line = Timeline()
        self.store = TranscriptStore(directory, **options)
        self.faults: list[Fault] = []
        self.store.errors.subscribe(self.faults.append)
        self.store.follow(self.line.hub)

    def play(self, at: float, *events: SessionEvent) -> None:
        self.line.play(*((at, event) for event in events))

    def rest_at(self, at: float) -> None:
        self.line.advance_to(at)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


class Counted:
    """Counts calls of a function of ``os``, and makes some fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.calls = 0
        self.failing: Callable[[int], int | None] = lambda call: None
        self._real = getattr(os, name)
        monkeypatch.setattr(os, name, self)

    def fail(self, *errors: int | None, then: int | None = None) -> None:
        """With these, one call each, and then."""
        start = self.calls
        self.failing = lambda call: errors[call - start] if call - start < len(errors) else then

    def __call__(self, *args: Any, **options: Any) -> Any:
        error = self.failing(self.calls)
        self.calls += 1
        if error is not None:
            raise OSError(error, os.strerror(error))
        return self._real(*args, **options)


# --- what is in the file ------------------------------------------------------------------------


def test_a_transcript_grows(stage: Stage) -> None:
    """T1: what is there stays, what is new follows, nothing comes twice."""
    stage.play(0.0, *prompt(1))
    stage.rest_at(1.0)
    before = stage.store.path("s").read_bytes()
    for at in (2.0, 3.0, 4.0):
        stage.play(at, *prompt(2))
    stage.rest_at(9.0)
    assert said(stage.store) == ["say 1", "say 2"]
    assert stage.store.path("s").read_bytes().startswith(before)


def test_idle_finds_the_file_complete(stage: Stage) -> None:
    """T2: whoever subscribed after the store reads, on idle, the last message."""
    seen: list[list[str]] = []
    stage.line.hub.of(SessionIdle).subscribe(lambda each: seen.append(said(stage.store)))
    stage.play(10.0, *prompt(1))
    stage.play(10.001, idle("s"))
    assert seen == [["say 1"]]


def test_what_was_left_out_is_there_on_idle_too(stage: Stage) -> None:
    """T2: a text that was still written when the last snapshot was taken, and nothing after it."""
    stage.play(0.0, busy("s"), assistant("s", "m", finish="", tokens=False), text("s", "m", "p", "half"))
    stage.rest_at(5.0)
    assert not stage.store.path("s").exists()
    stage.play(6.0, idle("s"))
    (line,) = transcripts.read(stage.store.path("s"))
    assert "half" in str(line)


def test_it_may_be_subscribed_by_hand(tmp_path: Path) -> None:
    """The sink of any pipeline that emits snapshots."""
    line = Timeline()
    store = TranscriptStore(tmp_path, scheduler=line.scheduler)
    line.hub.pipe(ops.transcript_snapshots(quiet=2)).subscribe(store.write, scheduler=line.scheduler)
    line.play(*((0.0, event) for event in prompt(1)))
    line.advance_to(2.0)
    assert said(store) == ["say 1"]
    assert line.scheduler.pending == 0


def test_changed_history_replaces_the_file(stage: Stage) -> None:
    """A text that is edited, a message that is undone: the new file is there at once, in order."""
    stage.play(0.0, *prompt(1), *prompt(2), *prompt(3))
    stage.rest_at(1.0)
    inode = stage.store.path("s").stat().st_ino
    stage.play(2.0, text("s", "m1", "p1", "edited"))
    stage.rest_at(3.0)
    assert said(stage.store) == ["edited", "say 2", "say 3"]
    assert stage.store.path("s").stat().st_ino != inode
    stage.play(4.0, removed("s", "m2"))
    stage.rest_at(5.0)
    assert said(stage.store) == ["edited", "say 3"]
    assert names(stage.store.directory) == ["s.jsonl"]


def test_sessions_have_files_of_their_own(stage: Stage) -> None:
    """Side by side."""
    stage.play(0.0, *prompt(1, "a"), *prompt(2, "b"))
    stage.rest_at(1.0)
    assert (said(stage.store, "a"), said(stage.store, "b")) == (["say 1"], ["say 2"])


def test_file_names_are_safe(stage: Stage) -> None:
    """T13: whatever a session is called, its file lies in the directory."""
    for session_id in ("../../x", "a/b", "nul", "x" * 300, "\0"):
        stage.play(0.0, *prompt(1, session_id))
        assert stage.store.path(session_id).parent == stage.store.directory
    stage.rest_at(1.0)
    assert len(names(stage.store.directory)) == 5


def test_files_are_for_their_owner(stage: Stage) -> None:
    """T13: 0600 and 0700, replaced or not."""
    stage.play(0.0, *prompt(1), *prompt(2))
    stage.rest_at(1.0)
    assert stage.store.path("s").stat().st_mode & 0o777 == 0o600
    stage.play(2.0, removed("s", "m2"))
    stage.rest_at(3.0)
    assert stage.store.path("s").stat().st_mode & 0o777 == 0o600


def test_two_formats_side_by_side(tmp_path: Path) -> None:
    """In one directory, in files of their own."""
    for name in ("claude", "messages"):
        stage = Stage(tmp_path, format=name)
        stage.play(0.0, *prompt(1))
        stage.store.close()
    assert names(tmp_path) == ["s.jsonl", "s.messages.jsonl"]


# --- a file that was there before ---------------------------------------------------------------


def test_a_new_process_goes_on(tmp_path: Path) -> None:
    """The same events again write nothing; what follows is appended."""
    first = Stage(tmp_path)
    first.play(0.0, created("s"), *prompt(1), *prompt(2))
    first.store.close()
    before = first.store.path("s").read_bytes()
    second = Stage(tmp_path)
    second.play(0.0, created("s"), *prompt(1), *prompt(2))
    second.rest_at(1.0)
    assert second.store.path("s").read_bytes() == before
    second.play(2.0, *prompt(3))
    second.store.close()
    assert said(second.store) == ["say 1", "say 2", "say 3"]
    assert second.store.path("s").read_bytes().startswith(before)


def test_a_late_joiner_keeps_what_it_does_not_know(tmp_path: Path) -> None:
    """A process that missed the beginning appends to it, and keeps it even if it replaces the file."""
    first = Stage(tmp_path)
    first.play(0.0, *prompt(1), *prompt(2))
    first.store.close()
    second = Stage(tmp_path)
    second.play(0.0, *prompt(3))
    second.rest_at(1.0)
    assert said(second.store) == ["say 1", "say 2", "say 3"]
    second.play(2.0, text("s", "m3", "p3", "edited"))
    second.rest_at(3.0)
    assert said(second.store) == ["say 1", "say 2", "edited"]
    second.play(4.0, *prompt(4))
    second.store.close()
    assert said(second.store) == ["say 1", "say 2", "edited", "say 4"]
    chain: Any = list(transcripts.read(second.store.path("s")))
    assert [each["parentUuid"] for each in chain] == [None, *(each["uuid"] for each in chain[:-1])]


def test_a_whole_history_drops_what_is_not_in_it(tmp_path: Path) -> None:
    """What was undone while nobody listened."""
    first = Stage(tmp_path)
    first.play(0.0, *prompt(1), *prompt(2))
    first.store.close()
    second = Stage(tmp_path)
    second.play(0.0, created("s"), *prompt(2))
    second.store.close()
    assert said(second.store) == ["say 2"]


def test_a_torn_line_is_mended(tmp_path: Path) -> None:
    """T5: cut at every byte offset, then a process that goes on: all is there, nothing is torn."""
    first = Stage(tmp_path)
    first.play(0.0, *prompt(1), *prompt(2, said="}\n{"))
    first.store.close()
    path = first.store.path("s")
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        second = Stage(tmp_path)
        second.play(0.0, *prompt(1), *prompt(2, said="}\n{"), *prompt(3))
        second.store.close()
        stored = transcripts.read(path)
        assert [each["message"]["content"] for each in stored] == ["say 1", "}\n{", "say 3"]  # type: ignore[index]
        assert stored.torn == 0


def test_a_file_that_is_taken_away_is_written_again(stage: Stage) -> None:
    """By a user who cleans up: what is known comes back with the next change."""
    stage.play(0.0, *prompt(1))
    stage.rest_at(1.0)
    stage.store.path("s").unlink()
    stage.play(2.0, *prompt(2))
    stage.rest_at(3.0)
    assert said(stage.store) == ["say 1", "say 2"]


# --- two writers --------------------------------------------------------------------------------


def test_two_stores_in_one_process(tmp_path: Path) -> None:
    """T7: a plugin that was started twice: neither doubles what the other wrote."""
    stages = [Stage(tmp_path), Stage(tmp_path)]
    for number in range(1, 6):
        for stage in stages:
            stage.play(float(number), *prompt(number))
            stage.rest_at(number + 0.9)
    assert said(stages[0].store) == [f"say {number}" for number in range(1, 6)]
    assert names(tmp_path) == ["s.jsonl"]


def test_many_threads_and_two_stores(tmp_path: Path) -> None:
    """T7: 8 threads, 200 snapshots of one session: every read in between parses, the last one wins."""
    events = [event for number in range(200) for event in prompt(number)]
    snapshots = outputs(ops.transcript_snapshots(quiet=0.5), [(n, each) for n, each in enumerate(events)])
    snapshots = [each for each in snapshots if each.changed[0].kind == "text"][:200]
    clock = Timeline().scheduler
    stores = [TranscriptStore(tmp_path, scheduler=clock) for _ in range(2)]
    faults: list[Fault] = []
    for store in stores:
        store.errors.subscribe(faults.append)
    torn: list[int] = []

    def write(number: int) -> None:
        for snapshot in snapshots[number // 2 :: 4]:
            stores[number % 2].write(snapshot)
            stored = transcripts.read(stores[0].path("s"))
            records: Any = list(stored)
            torn.append(stored.torn - (stored.torn == 1))
            assert all(each["uuid"] for each in records)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.write(snapshots[-1])
    clock.advance_by(1.0)
    assert all(store.close() for store in stores)
    assert len(snapshots) == 200
    assert set(torn) == {0}
    assert said(stores[0]) == [f"say {number}" for number in range(200)]
    assert names(tmp_path) == ["s.jsonl"]


def test_what_a_skipped_version_brought_is_not_left_out(tmp_path: Path) -> None:
    """T7: a store that was not given one of the versions writes its entries with the next, in order."""
    events = [(9 * number, event) for number in range(3) for event in prompt(number)]
    first, _, third = outputs(ops.transcript_snapshots(), events)
    store = TranscriptStore(tmp_path)
    store.write(first)
    store.write(third)
    assert said(store) == ["say 0", "say 1", "say 2"]


def test_an_older_snapshot_takes_nothing_back(tmp_path: Path) -> None:
    """T7: two snapshots, delivered in the wrong order."""
    first, second = outputs(ops.transcript_snapshots(), [(0, prompt(1)[1]), (9, prompt(2)[1])])
    store = TranscriptStore(tmp_path)
    store.write(second)
    store.write(first)
    stored: Any = list(transcripts.read(store.path("s")))
    assert [each["message"]["content"][0]["text"] for each in stored] == ["say 1", "say 2"]


# --- a disk that fails --------------------------------------------------------------------------


def test_a_replacement_that_is_refused_for_a_moment(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T8: tried again after 50 ms, three times at most; then it works, and nobody hears of it."""
    replace = Counted(monkeypatch, "replace")
    stage.play(0.0, *prompt(1), *prompt(2))
    stage.rest_at(1.0)
    replace.fail(errno.EACCES, errno.EBUSY)
    stage.play(2.0, removed("s", "m2"))
    stage.rest_at(2.55)
    assert (replace.calls, said(stage.store)) == (2, ["say 1", "say 2"])
    stage.rest_at(2.65)
    assert (replace.calls, said(stage.store)) == (3, ["say 1"])
    assert stage.faults == []
    assert stage.line.scheduler.pending == 0


def test_a_replacement_that_is_always_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """T8: one fault, the old file, no temporary one; the stream goes on, the next change tries again."""
    replace = Counted(monkeypatch, "replace")
    stage.play(0.0, *prompt(1), *prompt(2))
    stage.rest_at(1.0)
    replace.fail(then=errno.EPERM)
    stage.play(2.0, removed("s", "m2"))
    stage.rest_at(9.0)
    assert replace.calls == 4
    assert said(stage.store) == ["say 1", "say 2"]
    assert names(stage.store.directory) == ["s.jsonl"]
    ((where, session_id, at, error),) = [
        (fault.where, fault.session_id, fault.at, fault.error) for fault in stage.faults
    ]
    assert (where, session_id, round(at, 6)) == ("transcript s.jsonl", "s", 2.65)
    assert isinstance(error, PermissionError)
    stage.play(10.0, *prompt(3))
    stage.rest_at(11.0)
    assert len(stage.faults) == 1, "said once, until it works again"
    replace.fail()
    stage.play(12.0, *prompt(4))
    stage.rest_at(13.0)
    assert said(stage.store) == ["say 1", "say 3", "say 4"]
    assert stage.line.scheduler.pending == 0


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("failing", ["write", "open"])
def test_a_disk_that_is_full_or_read_only(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, error: int, failing: str
) -> None:
    """An item on ``errors`` at once, the old file intact; once there is room, nothing is missing."""
    stage.play(0.0, *prompt(1))
    stage.rest_at(1.0)
    disk = Counted(monkeypatch, failing)
    disk.fail(then=error)
    for number in range(2, 6):
        stage.play(float(number), *prompt(number))
    stage.rest_at(9.0)
    disk.fail()
    assert [getattr(fault.error, "errno", 0) for fault in stage.faults] == [error]
    assert said(stage.store) == ["say 1"]
    stage.play(10.0, *prompt(6))
    stage.rest_at(11.0)
    assert said(stage.store) == [f"say {number}" for number in range(1, 7)]
    disk.fail(then=error)
    stage.play(12.0, *prompt(7))
    stage.rest_at(13.0)
    assert len(stage.faults) == 2, "a new failure is said again"
    disk.fail()
    assert stage.store.close()
    assert said(stage.store)[-1] == "say 7", "close tries once more"


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """An item on ``errors``, no exception."""
    (tmp_path / "file").write_text("")
    stage = Stage(tmp_path / "file" / "transcripts")
    stage.play(0.0, *prompt(1))
    stage.rest_at(1.0)
    assert [type(fault.error) for fault in stage.faults] == [NotADirectoryError]
    assert not stage.store.close()


def test_a_disk_that_fails_for_long_costs_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """R1: no snapshot is queued behind it, only what is not written is known."""
    disk = Counted(monkeypatch, "write")
    disk.fail(then=errno.ENOSPC)
    for number in range(300):
        stage.play(float(number), tool("s", "c", "bash", "completed", input={}, output=f"{number}"))
    stage.rest_at(999.0)
    (file,) = stage.store._files.values()
    assert len(file._waiting) == 1
    assert len(stage.faults) == 1


def test_faults_nobody_listens_to_are_logged(tmp_path: Path) -> None:
    """As a hub's are."""
    logged: list[str] = []
    sink = logger.add(logged.append, format="{message}")
    (tmp_path / "file").write_text("")
    store = TranscriptStore(tmp_path / "file")
    (snapshot,) = outputs(ops.transcript_snapshots(), [prompt(1)[1]])
    store.write(snapshot)
    logger.remove(sink)
    assert logged[0].startswith("transcript s.jsonl [s]: NotADirectoryError: ")


# --- temporary files ----------------------------------------------------------------------------


def test_a_thousand_snapshots_leave_ten_files(stage: Stage) -> None:
    """T9: of ten sessions, some of them replaced; after all have expired, no temporary file."""
    for number in range(100):
        for session in range(10):
            said = f"{number} {session}"
            stage.play(float(number), *prompt(number % 7, f"s{session}", said))
        stage.rest_at(number + 0.9)
        assert len(names(stage.store.directory)) <= 10
    stage.play(200.0, *(SessionExpired(f"s{session}") for session in range(10)))
    assert len(names(stage.store.directory)) == 10
    assert stage.store._files == {}


def test_what_killed_writers_left_is_swept_at_the_start(tmp_path: Path) -> None:
    """T9: our own pattern, by age; a foreign file survives."""
    (tmp_path / "foreign.tmp").write_text("x")
    (tmp_path / f"s.jsonl.0{TEMPORARY}").write_text("x")
    os.utime(tmp_path / f"s.jsonl.0{TEMPORARY}", (0, 0))
    TranscriptStore(tmp_path)
    assert names(tmp_path) == ["foreign.tmp"]


def test_a_sweep_that_fails_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can listen yet: it is logged, and the store works."""
    (tmp_path / f"x{TEMPORARY}").mkdir()
    os.utime(tmp_path / f"x{TEMPORARY}", (0, 0))
    store = TranscriptStore(tmp_path)
    (snapshot,) = outputs(ops.transcript_snapshots(), [prompt(1)[1]])
    store.write(snapshot)
    assert store.path("s").exists()


# --- the end ------------------------------------------------------------------------------------


def test_close_writes_what_is_pending(stage: Stage) -> None:
    """T4: 0.1 s after the event: the file has it, and no timer is left."""
    stage.play(0.0, *prompt(1))
    stage.rest_at(0.1)
    assert stage.store.close()
    assert said(stage.store) == ["say 1"]
    assert stage.line.scheduler.pending == 0
    stage.play(1.0, *prompt(2))
    stage.rest_at(9.0)
    assert said(stage.store) == ["say 1"], "it follows no longer"
    assert stage.store.close(), "closing twice is harmless"


def test_closing_ends_nobody_else(stage: Stage) -> None:
    """The stream goes on for all others."""
    seen = stage.line.watch(ops.transcript_snapshots())
    stage.store.close()
    stage.play(0.0, *prompt(1))
    stage.rest_at(1.0)
    assert len(seen) == 1


def test_it_is_a_context(tmp_path: Path) -> None:
    """Left, it is closed."""
    line = Timeline()
    with TranscriptStore(tmp_path).follow(line.hub) as store:
        line.play(*((0.0, event) for event in prompt(1)))
    assert said(store) == ["say 1"]


@pytest.mark.parametrize("ending", ["completed", "error"])
def test_the_end_of_the_stream_writes_what_is_pending(tmp_path: Path, ending: str) -> None:
    """T4: then the end. That the stream failed is an item on ``errors``."""
    source, faults = Subject[SessionEvent](), list[Fault]()
    store = TranscriptStore(tmp_path)
    store.errors.subscribe(faults.append)
    store.follow(source)
    for event in (*prompt(1), busy("s"), assistant("s", "m2", finish=""), text("s", "m2", "p2", "half")):
        source.on_next(event)
    if ending == "error":
        source.on_error(ConnectionError("lost"))
    else:
        source.on_completed()
    assert len(list(transcripts.read(store.path("s")))) == 2
    assert [type(fault.error) for fault in faults] == ([ConnectionError] if ending == "error" else [])
    assert store.close()


def test_a_session_that_is_gone_is_forgotten(stage: Stage) -> None:
    """E1: deleted or expired, its file stays and nothing is kept of it."""
    stage.play(0.0, *prompt(1, "a"), *prompt(1, "b"))
    stage.play(1.0, deleted("a"), SessionExpired("b"))
    assert stage.store._files == {}
    assert (said(stage.store, "a"), said(stage.store, "b")) == (["say 1"], ["say 1"])


def test_so_many_files_are_known_at_most(tmp_path: Path) -> None:
    """R5: a store that is told of no end."""
    store = TranscriptStore(tmp_path)
    for number in range(1_100):
        store._file(f"s{number}")
    assert len(store._files) == 1_024


def test_a_writer_that_is_stuck_does_not_hold_the_process(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X3: close returns at its time; the old file is intact."""
    stage.play(0.0, *prompt(1))
    stage.rest_at(1.0)
    before = stage.store.path("s").read_bytes()
    freed, write = threading.Event(), os.write

    def stuck(file: int, text: bytes) -> int:
        freed.wait(60)
        return write(file, text)

    monkeypatch.setattr(os, "write", stuck)
    stage.play(2.0, *prompt(2))
    assert not stage.store.close(timeout=0.01)
    assert stage.store.path("s").read_bytes() == before
    freed.set()
    assert stage.store.close()
    assert said(stage.store) == ["say 1", "say 2"]


def test_main_returns_and_nothing_is_lost(tmp_path: Path) -> None:
    """X3: a pending snapshot, no ``close``, the interpreter exits: the file is complete, at once."""
    script = (
        "import sys, streams\n"
        "from streams.testing import text, user\n"
        "hub = streams.EventHub()\n"
        "store = streams.TranscriptStore(sys.argv[1]).follow(hub, quiet=600, at_most=600)\n"
        "hub.on_next(user('s', 'm', created=1.0)); hub.on_next(text('s', 'm', 'p', 'say 1'))\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=30, cwd=Path.cwd())
    assert said(TranscriptStore(tmp_path)) == ["say 1"]


def test_many_stores_leave_nothing_behind(tmp_path: Path) -> None:
    """R2: followed and closed: the hub has no subscriber of theirs."""
    hub = EventHub()
    for _ in range(50):
        with TranscriptStore(tmp_path).follow(hub):
            pass
    assert hub._attached == ()


# --- arguments ----------------------------------------------------------------------------------


def test_one_stream_per_store(stage: Stage) -> None:
    """A second one is refused."""
    with pytest.raises(ValueError, match="follows one stream"):
        stage.store.follow(EventHub())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "xml"}, "format must be 'claude' or 'messages', got 'xml'"),
        ({"cap": 1}, "cap must be a whole number of at least 1024, got 1"),
    ],
)
def test_bad_arguments(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """They are refused when given."""
    with pytest.raises(ValueError, match=message):
        TranscriptStore(tmp_path, **options)


def test_the_policy_is_that_of_the_operator(tmp_path: Path) -> None:
    """``follow`` takes it."""
    line = Timeline()
    store = TranscriptStore(tmp_path).follow(line.hub, quiet=3, at_most=9, include=["text"], cap=2048)
    line.play(
        *((0.0, event) for event in (*prompt(1, said="x" * 9_000), tool("s", "c", "bash", "running")))
    )
    line.advance_to(2.9)
    assert said(store) == []
    line.advance_to(3.0)
    (only,) = said(store)
    assert only.endswith("characters cut]")
    store.close()


def test_storms_are_restored_by_the_next_snapshot_of_the_part(stage: Stage) -> None:
    """S8: pieces that were dropped on the way are in the part when it comes."""
    stage.play(
        0.0, user("s", "m"), text("s", "m", "p", ""), delta("s", "m", "p", "a"), delta("s", "m", "p", "c")
    )
    stage.play(1.0, text("s", "m", "p", "abc"), idle("s"))
    assert said(stage.store) == ["abc"]
