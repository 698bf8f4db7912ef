"""What the cluster's tests derive. A module of its own: every process of the cluster imports it."""

from collections.abc import Mapping
from typing import Any

from reactivex import Observable

import operators as ops
from streams import ContextLimits
from streams.hub import EventHub
from streams.positions import Positioned, Reader, Resumable

GRACE = 2.0
"""Seconds; the machine that runs a whole cluster at once may be slow to write what happens."""


def build(hub: EventHub) -> Mapping[str, Observable[Any]]:
    """Operators with and without timers; a session that is quiet for 2 s is told of."""
    limits = ContextLimits({"acme/kestrel-large": 5000})
    return {
        "usage": hub.pipe(ops.context_usage(limits)),
        "triggers": hub.pipe(ops.compaction_triggers(limits)),
        "tools": hub.pipe(ops.tool_calls()),
        "todos": hub.pipe(ops.todo_progress()),
        "tasks": hub.pipe(ops.task_progress()),
        "stalls": hub.pipe(ops.stalls(stale=2, tool_stale=2)),
        "transcripts": hub.pipe(ops.transcript_snapshots()),
    }


class Repeating:
    """A source that tells every seventh event twice, at once and once more later."""

    def __init__(self, log: Resumable) -> None:
        self.name = log.name
        self._log = log

    def open(self, positions: Mapping[str, int]) -> Reader:
        return _RepeatingReader(self._log.open(positions))


class _RepeatingReader:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._told = 0
        self._again: list[Positioned] = []

    @property
    def caught_up(self) -> bool:
        return self._reader.caught_up

    @property
    def ended(self) -> bool:
        return self._reader.ended

    def read(self, wait: float) -> list[Positioned]:
        found, self._again = self._again, []
        for each in self._reader.read(wait):
            self._told += 1
            found.append(each)
            if self._told % 7 == 0:
                found.append(each)
                self._again.append(each)
        return found

    def close(self) -> None:
        self._reader.close()
