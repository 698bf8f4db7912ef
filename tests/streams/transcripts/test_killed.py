"""A writer that is killed at any moment: no record is lost, none is torn but the last."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

RUNS = 130

DRIVER = """
import json, os, random, shutil, signal, sys, time
from pathlib import Path
import operators as ops
from streams import TranscriptStore, transcripts
from streams.testing import created, outputs, removed, text, user

directory, runs = Path(sys.argv[1]), int(sys.argv[2])
chance = random.Random(7)

events = [(0, created("s"))]
for number in range(16):
    said = f"{number} " + chance.choice("xyz") * chance.choice([10, 2_000, 50_000])
    message = f"m{number}"
    events.append((number * 10, user("s", message, created=1.0)))
    events.append((number * 10, text("s", message, f"p{number}", said)))
    if number % 6 == 5:
        events.append((number * 10 + 5, removed("s", f"m{number - 3}")))
snapshots = outputs(ops.transcript_snapshots(), events)

def ids(store):
    stored = transcripts.read(store.path("s"))
    found = [(record["uuid"], len(record["message"]["content"])) for record in stored]
    return found, stored.torn

expected = [[]]
store = TranscriptStore(directory / "whole")
for snapshot in snapshots:
    store.write(snapshot)
    expected.append(ids(store)[0])

def child(store, told, *, slowly):
    write = os.write
    if slowly:  # a disk that takes a little at a time: most kills then come within a record
        os.write = lambda file, text: write(file, text[:16])
    for snapshot in snapshots:
        store.write(snapshot)
        write(told, b".")
    os._exit(0)

report = {"runs": 0, "torn": 0, "temporary": 0, "between": 0, "unfinished": 0, "wrong": []}
for run in range(runs):
    where = directory / str(run)
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        child(TranscriptStore(where), told, slowly=run % 2 == 0)
    os.close(told)
    for _ in range(chance.randrange(len(snapshots) - 4)):
        os.read(heard, 1)
    until = time.perf_counter() + chance.random() * 0.008
    while time.perf_counter() < until:
        pass
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(heard)
    report["runs"] += os.WIFSIGNALED(status)
    store = TranscriptStore(where)
    found, torn = ids(store) if store.path("s").exists() else ([], 0)
    report["torn"] += torn
    temporary = [each for each in where.glob("*") if each != store.path("s")]
    report["temporary"] += len(temporary)
    report["unfinished"] += found != expected[-1]
    if torn > 1 or len(temporary) > 1:
        report["wrong"].append([run, torn, len(temporary)])
    if found not in expected:
        report["between"] += 1
        if not any(after[:len(found)] == found and len(before) <= len(found)
                   for before, after in zip(expected, expected[1:])):
            report["wrong"].append([run, "records"])
    store.write(snapshots[-1])
    if ids(store) != (expected[-1], 0):
        report["wrong"].append([run, "not mended"])
    shutil.rmtree(where)
print(json.dumps(report))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")
def test_killed_at_any_moment(tmp_path: Path) -> None:
    """T5: 130 writers killed with -9, while they append and while they replace.

    Every complete record parses; at most one is torn, which the reader counts; what a reader was told
    is written is there; and the next writer goes on as if nothing had been.
    """
    command = [sys.executable, "-c", DRIVER, str(tmp_path), str(RUNS)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=100, cwd=Path.cwd())
    report = json.loads(done.stdout)
    assert report["wrong"] == []
    assert report["runs"] >= 100
    assert report["unfinished"] >= 100, "killed before the end"
    assert report["torn"] > 0, "killed within a record"
