"""``watch --checkpoint``: killed at any moment, the next run goes on; every value once, none lost."""

import gzip
import json
import os
import random
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from streams import ContextLimits
from streams.checkpoints import Checkpoints, Output
from streams.logs import RecordingLog
from streams.partition import Partition
from streams.watch.derivations import derivations

LIMIT = ("--limit", "acme/kestrel-large=5000", "--threshold", "0.5")
TABLE: Mapping[str, Any] = derivations(ContextLimits({"acme/kestrel-large": 5000}), threshold=0.5)


def outputs_of(source: Path, path: Path) -> list[Output]:
    with closing(Checkpoints(path)) as store:
        return store.outputs(str(source.resolve()))


def uninterrupted(source: Path, path: Path) -> list[Output]:
    """What one run puts into the store."""
    with closing(Checkpoints(path)) as store:
        log = RecordingLog(source)
        build = lambda hub: {name: hub.pipe(operator) for name, operator in TABLE.items()}  # noqa: E731
        Partition(log.name, [log], build, store).run(threading.Event())
    return outputs_of(source, path)


def test_kill_nine(recording_of: Any, start: Callable[..., Any], tmp_path: Path) -> None:
    """At random values and at random times: each once in the store, none missing on stdout."""
    source = recording_of("compaction").path
    whole = uninterrupted(source, tmp_path / "whole.db")
    chosen, told, status, lives = random.Random(9), list[bytes](), None, 0
    while status is None:
        lives += 1
        process = start("watch", source, "--checkpoint", tmp_path / "state.db", *LIMIT)
        if lives <= 4:
            told += [process.stdout.readline() for _ in range(chosen.randrange(1, 10))]
        elif lives <= 8:
            with suppress(subprocess.TimeoutExpired):
                process.wait(chosen.uniform(0.3, 1.5))
        else:
            status = process.wait(60)
        process.kill()
        told += process.stdout.readlines()
    assert status == 0
    assert outputs_of(source, tmp_path / "state.db") == whole
    assert len({line for line in told if line.endswith(b"\n")}) == len(whole)


def test_a_directory_is_followed_until_ctrl_c(
    recording_of: Any, start: Callable[..., Any], tmp_path: Path
) -> None:
    """Ctrl-C commits what was read; what is appended meanwhile is told by the next run, once."""
    directory = tmp_path / "recordings"
    directory.mkdir()
    text = gzip.decompress(recording_of("compaction").path.read_bytes()).splitlines(keepends=True)
    file = directory / "compaction.jsonl"
    told: list[bytes] = []
    for some in (text[:200], text[200:]):
        with file.open("ab") as out:
            out.writelines(some)
        process = start("watch", directory, "--checkpoint", tmp_path / "state.db", *LIMIT)
        told.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        told += process.stdout.readlines()
        assert (process.wait(30), process.stderr.read()) == (0, b"")
    keys = [(line["session_id"], line["operator"], line["sequence"]) for line in map(json.loads, told)]
    assert len(keys) > 2
    for key in keys:
        assert key[2] == 1 or (*key[:2], key[2] - 1) in keys
    assert len(set(keys)) == len(keys)


def test_other_options_are_refused(recording_of: Any, run: Callable[..., Any], tmp_path: Path) -> None:
    """In one line that names what is other; the store is as it was."""
    source = recording_of("basic").path
    path = tmp_path / "state.db"
    with closing(Checkpoints(path)) as store:
        log = RecordingLog(source)
        stop = threading.Event()
        build = lambda hub: {name: hub.pipe(operator) for name, operator in TABLE.items()}  # noqa: E731
        options = {"limit": {"acme/kestrel-large": 5000}, "threshold": 0.5}
        stop.set()
        Partition(log.name, [log], build, store, options=options).run(stop)
        before = store.claim(log.name)[1]
    refused = run("watch", source, "--checkpoint", path, "--threshold", "0.5")
    assert refused.returncode == 2
    assert b'limit was {"acme/kestrel-large":5000}, is {}' in b" ".join(refused.stderr.split())
    with closing(Checkpoints(path)) as store:
        assert store.claim(log.name)[1] == before
    assert run("watch", source, "--checkpoint", path, *LIMIT).returncode == 0


def test_standard_input_has_no_positions(run: Callable[..., Any], tmp_path: Path) -> None:
    """It says so instead of beginning."""
    refused = run("watch", "-", "--checkpoint", tmp_path / "state.db", given=b"")
    assert refused.returncode == 2
    assert b"standard input cannot be read from a position" in refused.stderr
    assert not (tmp_path / "state.db").exists()


def test_who_is_read_no_longer_is_told_later(
    recording_of: Any, start: Any, run: Any, tmp_path: Path
) -> None:
    """A closed pipe loses nothing: the next run writes what was not taken."""
    source, path = recording_of("compaction").path, tmp_path / "state.db"
    reading, writing = os.pipe()
    os.close(reading)
    process = start("watch", source, "--checkpoint", path, *LIMIT, stdout=writing)
    os.close(writing)
    process.communicate(timeout=60)
    told = run("watch", source, "--checkpoint", path, *LIMIT).stdout.splitlines()
    assert len(told) == len(outputs_of(source, path)) > 10


def test_what_excludes_a_checkpoint_is_named(run: Callable[..., Any], tmp_path: Path) -> None:
    """Before anything is opened."""
    for option in ("--compact", "--wait", "--everywhere", "--speed=2"):
        refused = run("watch", "http://127.0.0.1:9", "--checkpoint", tmp_path / "state.db", option)
        assert refused.returncode == 2
        assert (
            f"{option.partition('=')[0]} and --checkpoint exclude each other".encode() in refused.stderr
        )
    assert not (tmp_path / "state.db").exists()


def test_a_server_is_gone_on_with(loopback: Any, start: Callable[..., Any], tmp_path: Path) -> None:
    """Ctrl-C, and a kill -9, while it works: of what is in its log each value is told once."""
    told: list[bytes] = []
    for events, end in ((125, signal.SIGINT), (60, signal.SIGKILL), (100_000, signal.SIGINT)):
        loopback.happen(events)
        process = start("watch", loopback.url, "--checkpoint", tmp_path / "state.db", *LIMIT)
        told.append(process.stdout.readline())
        process.send_signal(end)
        told += process.stdout.readlines()
        process.wait(30)
    lines = [json.loads(line) for line in told if line.endswith(b"\n")]
    keys = {(line["session_id"], line["operator"], line["sequence"]) for line in lines}
    with closing(Checkpoints(tmp_path / "state.db")) as store:
        stored = store.outputs(loopback.url)
    assert keys == {(each.session_id, each.operator, each.sequence) for each in stored}
    assert len(keys) > 3
