"""A server of recorded events behind a socket on loopback, and the command as a process."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback_server import LoopbackServer
from recorded_server import RecordedServer

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[bytes]]
Start = Callable[..., "subprocess.Popen[bytes]"]


class Collected(list[Any]):
    """What was emitted, by whatever thread; a test can wait for something in it."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def add(self, value: Any) -> None:
        with self._changed:
            self.append(value)
            self._changed.notify_all()

    def wait_for(self, found: Callable[[list[Any]], Any], timeout: float = 20) -> Any:
        with self._changed:
            if not self._changed.wait_for(lambda: found(self), timeout):
                raise TimeoutError(f"not found in {self[-20:]}")
            return found(self)

    def wait_for_type(self, kind: type, count: int = 1) -> Any:
        return self.wait_for(
            lambda each: [one for one in each if isinstance(one, kind)][count - 1 : count]
        )[0]


@pytest.fixture
def collected() -> Callable[[], Collected]:
    return Collected


@pytest.fixture
def loopback(recording_of: Any) -> Iterator[LoopbackServer]:
    """A recorded session of seven tool calls; nothing has happened yet."""
    payloads = [event.raw for event in recording_of("tools.global").events()]
    server = LoopbackServer(RecordedServer(payloads))
    yield server
    server.close()


@pytest.fixture
def start() -> Any:
    """Start ``sessionstreams`` with these arguments; what still runs at the end is killed."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str | Path, python: tuple[str, ...] = (), **options: Any) -> Any:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
        command = [sys.executable, *(python or ("-m", "streams.cli")), *map(str, arguments)]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, **{**pipes, **options})
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def run(start: Start) -> Run:
    """Run ``sessionstreams`` to its end."""

    def run(
        *arguments: str | Path, given: bytes | None = None, **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        if given is not None:
            options["stdin"] = subprocess.PIPE
        process = start(*arguments, **options)
        out, err = process.communicate(given, timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run
