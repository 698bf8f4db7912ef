"""Killed at any moment, a watched recording goes on: every value once, none lost."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from streams import ContextLimits, recordings
from streams.checkpointed import Checkpointed
from streams.checkpoints import Checkpoints, Output
from streams.watch.derivations import derivations

TABLE = derivations(ContextLimits({"acme/kestrel-large": 5000}), threshold=0.5)


class Killed(BaseException):
    """What no code of ours catches: the next run finds what was committed."""


def outputs_of(source: Path, path: Path) -> list[Output]:
    with closing(Checkpoints(path)) as store:
        return store.outputs(str(source.resolve()))


def uninterrupted(source: Path, path: Path) -> list[Output]:
    with closing(Checkpoints(path)) as store:
        Checkpointed(recordings.read(source), TABLE, store, lambda output: None).run()
    return outputs_of(source, path)


def test_a_position_is_where_reading_goes_on(recording_of: Any) -> None:
    """The events after each position are those that came after it."""
    recording = recordings.read(recording_of("basic").path)
    every = list(recording.read(0))
    assert [event for event, _ in every] == list(recording)
    for number in range(0, len(every), 10):
        assert list(recording.read(every[number][1])) == every[number + 1 :]


@pytest.mark.parametrize("name", ["basic", "compaction"])
def test_stopped_again_and_again(name: str, recording_of: Any, tmp_path: Path) -> None:
    """Stopped after every few commits, the store has what one uninterrupted run puts there."""
    source = recording_of(name).path
    whole = uninterrupted(source, tmp_path / "whole.db")
    assert whole
    seen: set[tuple[str, str, int]] = set()
    for _ in range(2000):
        ticks = count()

        def seconds(ticks: Iterator[int] = ticks) -> float:
            if (tick := next(ticks)) > 90:
                raise Killed
            return float(tick)

        with closing(Checkpoints(tmp_path / "state.db")) as store:
            try:
                Checkpointed(
                    recordings.read(source),
                    TABLE,
                    store,
                    lambda o: seen.add((o.session_id, o.operator, o.sequence)),
                    every=7.0,
                    seconds=seconds,
                ).run()
                break
            except Killed:
                continue
    assert outputs_of(source, tmp_path / "state.db") == whole
    assert seen == {(o.session_id, o.operator, o.sequence) for o in whole}


def test_kill_nine(recording_of: Any, tmp_path: Path) -> None:
    """A process that is killed at random values goes on: each once in the store, none missing on stdout."""
    source = recording_of("compaction").path
    whole = uninterrupted(source, tmp_path / "whole.db")
    chosen, lines = random.Random(9), set[bytes]()
    command = [
        sys.executable, "-c", "from streams.cli import main; main()", "watch", str(source),
        "--checkpoint", str(tmp_path / "state.db"), "--limit", "acme/kestrel-large=5000",
        "--threshold", "0.5",
    ]  # fmt: skip
    for life in range(4):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
        )
        assert process.stdout is not None
        left = chosen.randrange(1, 20)
        for line in process.stdout:
            lines.add(line)
            left -= 1
            if left == 0 and life < 3:
                process.send_signal(signal.SIGKILL)
                break
        lines |= {line for line in process.stdout if line.endswith(b"\n")}
        process.stdout.close()
        status = process.wait(30)
    assert status == 0
    assert outputs_of(source, tmp_path / "state.db") == whole
    assert len(lines) == len(whole)
