"""A disk without room, made by the system's own limit on the size of files: recordings and transcripts."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streams import EventHub, TranscriptStore, recordings, transcripts
from streams.events import SessionEvent
from streams.faults import Fault
from streams.schedulers import Replay
from streams.testing import delta, idle, removed, text, user

resource: Any = pytest.importorskip("resource", reason="no limits here")


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may grow beyond this: the write that does is cut short, and the next one fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def message(number: int, size: int) -> list[SessionEvent]:
    said = text("s", f"m{number}", f"p{number}", "x" * size)
    return [user("s", f"m{number}", created=float(number)), said]


def test_a_recording_ends_with_its_last_whole_line(tmp_path: Path) -> None:
    """T5: one fault, the file ends where a line does, the stream goes on; with room, so does the file."""
    path = tmp_path / "a.jsonl"
    faults: list[Fault] = []
    seen: list[SessionEvent] = []
    hub = EventHub(scheduler=Replay())
    recorder = recordings.record(hub, path, report=faults.append)
    hub.subscribe(seen.append)
    with room_for(20_000):
        for number in range(100):
            hub.on_next(delta("s", "m", "p", f"{number} " + "x" * 1_000))
    written = path.read_bytes()

    assert 10 < recorder.written == written.count(b"\n") < 20
    assert written.endswith(b"\n")
    assert len(written) + 1_000 > 18_000
    assert [type(fault.error) for fault in faults] == [OSError]
    assert isinstance(recorder.error, OSError)
    assert recorder.error.errno in (errno.ENOSPC, errno.EFBIG)
    assert recorder.ended.is_set()
    assert len(seen) == 100
    second = recordings.record(hub, path)
    hub.on_next(idle("s"))
    second.dispose()
    assert len(list(recordings.read(path))) == recorder.written + 1


@pytest.mark.parametrize("name", ["claude", "messages"])
@pytest.mark.parametrize("replaced", [False, True], ids=["appended", "replaced"])
def test_a_transcript_stays_as_it_was(name: Any, replaced: bool, tmp_path: Path) -> None:
    """T5: what does not fit is one fault, the old file and no other; with room, all of it is written."""
    hub = EventHub(scheduler=Replay())
    faults: list[Fault] = []
    store = TranscriptStore(tmp_path, format=name, scheduler=Replay()).follow(hub)
    store.errors.subscribe(faults.append)
    hub.on_batch([*message(0, 2_000), *message(1, 100), idle("s")])
    before = store.path("s").read_bytes()
    changed = [removed("s", "m1")] if replaced else []
    with room_for(3_000):
        hub.on_batch([*changed, *message(2, 2_000), idle("s")])
        hub.on_batch([*message(3, 10), idle("s")])

    assert store.path("s").read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [store.path("s").name]
    assert [(fault.session_id, type(fault.error)) for fault in faults] == [("s", OSError)]
    assert "transcript s" in faults[0].where
    hub.on_batch([*message(4, 10), idle("s")])
    assert store.close()
    kept = b"".join(transcripts.read(store.path("s"), strict=True).lines())
    assert [kept.count(b'"' + b"x" * size + b'"') for size in (2_000, 100, 10)] == [2, 1 - replaced, 2]
    assert len(faults) == 1
