"""A source that is derived from with checkpoints: killed at any moment, the next run goes on there."""

import os
import signal
import threading
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

import msgspec
from reactivex import Observable

from streams.checkpoints import Fenced, MissingDriver, Output, open_store
from streams.faults import Fault, log_fault
from streams.hub import EventHub
from streams.limits import ContextLimits
from streams.logs import DirectoryLog, RecordingLog
from streams.opencode import BadAnswer, Client, NotOpencode, ServerLog
from streams.partition import Partition
from streams.pipeline import Build
from streams.positions import Resumable
from streams.source_options import SCHEMES
from streams.watch.derivations import Derivations
from streams.watch.live import LONGEST_WAIT_FOR_LIMITS

__all__ = ["build_of", "limits_of_servers", "log_of", "stopped_by_ctrl_c", "watch_checkpointed"]

_encode = msgspec.json.Encoder().encode


def log_of(source: str, password: str | None = None) -> Resumable:
    """What can be read again from a position: a server, a recording, or a directory that is followed.

    Raises:
        ValueError: It is standard input.
    """
    if source == "-":
        raise ValueError("standard input cannot be read from a position: give a file or a directory")
    if source.startswith(SCHEMES):
        return ServerLog(source, password=password)
    return DirectoryLog(source) if Path(source).is_dir() else RecordingLog(source)


def limits_of_servers(
    sources: Iterable[str], yours: Mapping[str, int], password: str | None = None
) -> ContextLimits:
    """Yours, then those that the servers among the sources tell now.

    Raises:
        OpencodeError: A server cannot be reached, or refuses.
    """
    told = [_told_by(source, password) for source in sources if source.startswith(SCHEMES)]
    return ContextLimits(yours, *(each.find for each in told))


def _told_by(url: str, password: str | None) -> ContextLimits:
    try:
        return Client(url, password=password).providers(timeout=LONGEST_WAIT_FOR_LIMITS).run()
    except (NotOpencode, BadAnswer) as error:  # an older version; its log will say whether it can be read
        log_fault(Fault("limits", "", time.time(), error))
        return ContextLimits()


def build_of(derivations: Derivations) -> Build:
    """The operators by name, as a partition makes them."""

    def build(hub: EventHub) -> dict[str, Observable[msgspec.Struct]]:
        return {name: hub.pipe(operator) for name, operator in derivations.items()}

    return build


def watch_checkpointed(
    source: Resumable, derivations: Derivations, store: str, options: Mapping[str, object]
) -> None:
    """Derive from a source into a store, and write each value as a line of JSON, with its key.

    Ctrl-C ends it with a commit; a second one at once.

    Args:
        source: What to read; also the name of the partition.
        derivations: The operators, by name.
        store: Where to commit.
        options: What the operators were made with.

    Raises:
        OSError: The source or the store cannot be opened.
        ValueError: The store is none of ours, or was made with other options, or needs a package that is
            not there, or another process has taken over.
    """
    build = build_of(derivations)
    try:
        with closing(open_store(store)) as opened, stopped_by_ctrl_c() as stop:
            Partition(source.name, [source], build, opened, _write_line, options=options).run(stop)
    except (Fenced, MissingDriver) as error:
        raise ValueError(str(error)) from None


@contextmanager
def stopped_by_ctrl_c() -> Generator[threading.Event]:
    """The first Ctrl-C sets the event; a second one is as ever."""
    stop = threading.Event()

    def interrupted(_: int, __: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        stop.set()

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


class _Line(msgspec.Struct):
    session_id: str
    operator: str
    sequence: int
    value: msgspec.Raw


def _write_line(output: Output) -> None:
    line = _Line(output.session_id, output.operator, output.sequence, msgspec.Raw(output.value))
    left = memoryview(_encode(line) + b"\n")
    while left:
        left = left[os.write(1, left) :]
