"""A recording, derived from with checkpoints: killed at any moment, the next run goes on where it was."""

import os
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

import operators as ops
from streams.checkpoints import Checkpoint, Checkpoints, Fenced, Output
from streams.events import SessionEvent
from streams.faults import Fault, log_fault
from streams.hub import EventHub
from streams.memory import Memory
from streams.recordings import Recording, read
from streams.schedulers import Replay
from streams.watch.derivations import Derivations

__all__ = ["Checkpointed", "watch_checkpointed"]

SILENT: Final = 600.0
"""Seconds after which a session that nothing is heard of counts as expired."""

_encode = msgspec.json.Encoder().encode


class Checkpointed:
    """Derives values from a recording in virtual time, and commits them with how far it has read.

    The two together are one transaction, so each value is in the store exactly once, whatever killed the
    runs before. A sink gets a value after it was committed, and again if a kill came before the sink's
    answer was: at least once, under the same ``(session_id, operator, sequence)``.

    Args:
        recording: The source.
        derivations: The operators, by name.
        store: Where to commit.
        sink: Gets each value once it is committed.
        every: Seconds between two commits.
        seconds: The clock that measures those.

    Memory: the outputs since the last commit. Time: each commit encodes the states of all sessions.
    """

    def __init__(
        self,
        recording: Recording,
        derivations: Derivations,
        store: Checkpoints,
        sink: Callable[[Output], None],
        *,
        every: float = 0.1,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recording = recording
        self._store = store
        self._sink = sink
        self._every = every
        self._seconds = seconds
        self._partition = str(recording.path.resolve())
        self._pending: list[Output] = []
        self._epoch, self._checkpoint = store.claim(self._partition)
        self._sequences = {name: dict(by) for name, by in self._checkpoint.sequences.items()}
        self._clock = Replay(self._checkpoint.at)
        self._memory = Memory(self._checkpoint.snapshots)
        self._source = EventHub(scheduler=self._clock, memory=self._memory)
        self._hub = EventHub(self._source.pipe(ops.expire_after(SILENT)))
        self._hub.errors.subscribe(log_fault)
        for name, operator in derivations.items():
            self._hub.pipe(operator).subscribe(partial(self._said, name))

    def run(self) -> None:
        """Go on from the last commit to the end of the recording.

        Raises:
            Fenced: Another process has claimed the recording since.
        """
        self._deliver()
        if self._checkpoint.ended:
            return
        connection = self._hub.connect()
        position = self._checkpoint.positions.get(self._partition, 0)
        committed = self._seconds()
        for event, after in self._recording.read(position):
            position = after
            self._take(event)
            if self._seconds() - committed >= self._every:
                self._commit(position, ended=False)
                committed = self._seconds()
        self._source.on_completed()
        self._commit(position, ended=True)
        connection.dispose()

    def _take(self, event: SessionEvent) -> None:
        self._clock.advance_to(event.at)
        self._source.on_next(event)

    def _said(self, name: str, value: msgspec.Struct) -> None:
        session_id = getattr(value, "session_id", "")
        by_session = self._sequences.setdefault(name, {})
        sequence = by_session[session_id] = by_session.get(session_id, 0) + 1
        self._pending.append(Output(session_id, name, sequence, _encode(value)))

    def _commit(self, position: int, *, ended: bool) -> None:
        """What has ended keeps nothing: the outputs are all there is of it."""
        self._checkpoint = Checkpoint(
            self._clock.seconds(),
            {self._partition: position},
            {} if ended else self._memory.take(),
            self._sequences,
            ended,
        )
        self._store.commit(self._partition, self._epoch, self._checkpoint, self._pending)
        self._pending.clear()
        self._deliver()

    def _deliver(self) -> None:
        waiting = list(self._store.undelivered(self._partition))
        for output in waiting:
            try:
                self._sink(output)
            except OSError as error:  # a sink that is gone gets it the next time
                log_fault(Fault("sink", output.session_id, self._clock.seconds(), error))
                return
        if waiting:
            self._store.delivered(self._partition, waiting)


def watch_checkpointed(source: str, derivations: Derivations, path: Path) -> None:
    """Derive from a recording into a store, and write each value as a line of JSON, with its key.

    Raises:
        OSError: The recording or the store cannot be opened.
        ValueError: The source cannot be read from a position, or the file is no store of ours,
            or another process has taken over.
    """
    if source == "-":
        raise ValueError("--checkpoint needs a file: standard input cannot be read from a position")
    with closing(Checkpoints(path)) as store:
        try:
            Checkpointed(read(source), derivations, store, _write_line).run()
        except Fenced as error:
            raise ValueError(str(error)) from None


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
