"""What every test may use: the recordings of a real server, and what a fetch answered at their end."""

import gzip
import json
import signal
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import every_operator as helpers
import pytest
from loguru import logger

from streams import recordings
from streams.events import SessionEvent

RECORDINGS = Path(__file__).parent / "recordings"

# Whoever was started in the background ignores Ctrl-C, and so do the processes it starts; the commands
# that are tested with Ctrl-C must hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Recorded:
    """One recording, and its truth: what the server's own API said when it ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stem = path.name.removesuffix(".jsonl.gz")
        self.name = self.stem.split(".")[0]

    def events(self) -> list[SessionEvent]:
        return list(recordings.read(self.path))

    @cached_property
    def truth(self) -> dict[str, Any]:
        with gzip.open(RECORDINGS / f"{self.name}.truth.json.gz") as file:
            return json.load(file)

    def __repr__(self) -> str:
        return self.stem


ALL = [Recorded(path) for path in sorted(RECORDINGS.glob("*.jsonl.gz"))]
WITH_TRUTH = [each for each in ALL if not each.stem.endswith(".api")]
"""``nextgen.api`` saw ten connections that the server cut: no truth speaks of it."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``recorded``: every recording; ``recorded_truth``: every one that a truth speaks of."""
    for argument, values in (("recorded", ALL), ("recorded_truth", WITH_TRUTH)):
        if argument in metafunc.fixturenames:
            metafunc.parametrize(argument, values, ids=repr)


@pytest.fixture
def recording_of() -> Any:
    """A recording by name: ``recording_of("subagents")``."""
    by_stem = {each.stem: each for each in ALL}
    return lambda stem: by_stem[stem]


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What is logged meanwhile, a message each."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")
    yield lines
    logger.remove(sink)


@pytest.fixture
def every_operator() -> Iterator[Callable[..., Any]]:
    """``every_operator()``: each by its name; ``every_operator(cores.append)`` notes their folds too."""
    stop: list[Callable[[], None]] = []

    def make(note: Callable[[Any], None] | None = None) -> Any:
        if note is not None:
            stop.append(helpers.watch_cores(note))
        return helpers.every_operator()

    yield make
    for each in stop:
        each()
