"""The README's code runs."""

import asyncio
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from loopback_server import LoopbackServer
from recorded_server import RecordedServer

import streams
from operators import CompactionOutcome, ContextUsage
from streams import recordings

ALL = 1_000_000
README = Path(__file__).parent.parent / "README.md"


def run_blocks() -> tuple[int, dict[str, Any]]:
    """Run every Python block in one namespace; returns how many there are, and the namespace."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    namespace: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), namespace)  # noqa: S102
    return len(blocks), namespace


@pytest.fixture
def loopback() -> Iterator[LoopbackServer]:
    """A server that says what the recording of a compaction says."""
    recording = README.parent / "tests" / "recordings" / "compaction.global.jsonl.gz"
    server = LoopbackServer(
        RecordedServer([event.raw for event in recordings.read(recording) if event.raw])
    )
    yield server
    server.close()


def test_python_blocks_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python block of the README runs, in order, in one namespace."""
    monkeypatch.chdir(README.parent)
    count, _ = run_blocks()
    assert count >= 3


def test_what_needs_a_server_runs(monkeypatch: pytest.MonkeyPatch, loopback: LoopbackServer) -> None:
    """The functions that take an address follow a server: one compacts it, one awaits its first usage."""
    monkeypatch.chdir(README.parent)
    _, namespace = run_blocks()
    limits = streams.ContextLimits({"acme/kestrel-tight": 32_000})
    printed: SimpleQueue[object] = SimpleQueue()
    namespace["print"] = printed.put
    live = namespace["keep_small"](loopback.url, limits)

    def speak() -> None:
        loopback.wait_for_streams(2)
        loopback.happen(ALL)

    speaking = threading.Thread(target=speak)
    speaking.start()
    usage = asyncio.run(namespace["first_usage"](loopback.url, limits))
    speaking.join()
    assert isinstance(usage, ContextUsage)
    assert isinstance(printed.get(timeout=30), ContextUsage)
    while not isinstance(printed.get(timeout=30), CompactionOutcome):
        pass
    live.close()
