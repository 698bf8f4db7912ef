"""A source that is derived from with checkpoints: killed at any moment, the next run goes on there."""

import os
import signal
import threading
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from types import FrameType

import msgspec
from reactivex import Observable

from streams.checkpoints import Fenced, Output, open_store
from streams.hub import EventHub
from streams.partition import Partition
from streams.positions import Resumable
from streams.watch.derivations import Derivations

__all__ = ["watch_checkpointed"]

_encode = msgspec.json.Encoder().encode


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
        ValueError: The file is no store of ours, or was made with other options, or another process has
            taken over.
    """

    def build(hub: EventHub) -> dict[str, Observable[msgspec.Struct]]:
        return {name: hub.pipe(operator) for name, operator in derivations.items()}

    with closing(open_store(store)) as opened, _stopped_by_ctrl_c() as stop:
        partition = Partition(source.name, [source], build, opened, _write_line, options=options)
        try:
            partition.run(stop)
        except Fenced as error:
            raise ValueError(str(error)) from None


@contextmanager
def _stopped_by_ctrl_c() -> Generator[threading.Event]:
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
