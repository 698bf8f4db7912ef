"""Some sources and what is derived from them, owned by one process at a time and killed at any moment."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Final

import msgspec

from streams.checkpoints import CheckpointStore, Fenced, Output
from streams.faults import Fault, log_fault
from streams.merging import Merging
from streams.pipeline import Build, Pipeline
from streams.positions import Positioned, Reader, Resumable

__all__ = ["Partition", "PartitionStatus", "Sink"]

Sink = Callable[[Output], None]
"""Gets each output once it is committed. An ``OSError`` means that it has not got it, this time."""

SIGN_OF_LIFE: Final = 10.0
"""Seconds after which a partition that has nothing new commits too: so it hears of another owner."""

RARER: Final = 4.0
LONGEST_PAUSE: Final = 2.0
"""Commits that take long come so many times their length apart, so that a fifth of the time is theirs;
but no more seconds, since one that waited for its store says nothing about the next."""

NO_OPTIONS: Final[Mapping[str, object]] = {}


class PartitionStatus(msgspec.Struct, frozen=True):
    """How a partition is doing.

    Attributes:
        name: The partition.
        epoch: The epoch in which it is owned; 0 before it was ever claimed.
        at: What its clock shows, in seconds: all that happened up to then was derived from. It lags
            behind the wall clock while it catches up.
        caught_up: Whether all that its sources had was read.
        ended: Whether all of its sources are over, and all was said.
        events: Events taken in by this process.
        commits: Commits of this process.
        refused: Commits that were refused, since somebody else has claimed it.
    """

    name: str
    epoch: int = 0
    at: float = 0.0
    caught_up: bool = False
    ended: bool = False
    events: int = 0
    commits: int = 0
    refused: int = 0


class Partition:
    """Derives values from sources in the time of their records, and commits them with how far it read.

    The two together are one transaction, so each value is in the store exactly once, whatever killed the
    runs before. A sink gets a value after it was committed, and again if a kill came before the sink's
    answer was: at least once, under the same ``(session_id, operator, sequence)``.

    All sources share one clock and one pipeline. The clock shows the times of the records, half a second
    (``grace``) behind the wall clock once all is read; so outputs and timers are the same however late or
    how often the events were read.

    ``run(stop)`` does, in the calling thread: claim the partition (which ends whoever owned it), load
    its checkpoint, build the pipeline with what was kept, open the sources at their positions; then read,
    take in, and commit every 100 ms; it returns when the sources are over or ``stop`` is set, after a
    last commit. A partition that was run can be run again. ``status`` may be read from any thread::

        partition = Partition("7", sources, build, store, sink)
        threading.Thread(target=partition.run, args=(stop,), daemon=True).start()

    Args:
        name: The partition's name in the store.
        sources: What to read. Which ones may change from run to run; a position of one that is not
            there is kept.
        build: Makes the operators, by name, from the events; called once a run. Its names and the order
            of its subscriptions must not change, see ``Memory``.
        store: Where to commit. Used by the thread of ``run`` only.
        sink: Gets each output once it is committed; None leaves them in the store, undelivered.
        every: Seconds between two commits at least: commits that take long come rarer, up to 2 s apart,
            so that they take a fifth of the time; and one in 10 s will do while nothing is new.
        owner: Who runs it, for people who look into the store.
        options: What the operators are built with, as values that JSON has (limits, thresholds): a
            checkpoint that was made with others is refused with an error that names the difference.
        ttl: Seconds after which a session that nothing is heard of counts as expired.
        grace: Seconds; how much later than its record's time an event of a live source may come.
        patience: Seconds for which a server that is down holds up the partition's other sources.
        wall: The clock that the records' times are of.
        seconds: A clock that nobody sets.

    Memory: the outputs since the last commit, the operators' states, and a position for each log.
    Time: each commit encodes the states of all sessions.
    """

    def __init__(
        self,
        name: str,
        sources: Sequence[Resumable],
        build: Build,
        store: CheckpointStore,
        sink: Sink | None = None,
        every: float = 0.1,
        *,
        owner: str = "",
        options: Mapping[str, object] = NO_OPTIONS,
        ttl: float = 600.0,
        grace: float = 0.5,
        patience: float = 60.0,
        wall: Callable[[], float] = time.time,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        names = [source.name for source in sources]
        if len(set(names)) < len(names):
            raise ValueError(f"sources must have different names, got {sorted(names)}")
        self.name = name
        self._sources = sources
        self._build = build
        self._store = store
        self._sink = sink
        self._every = every
        self._options = options
        self._owner = owner
        self._ttl = ttl
        self._grace = grace
        self._patience = patience
        self._wall = wall
        self._seconds = seconds
        self._status = PartitionStatus(name)
        self._events = 0

    @property
    def status(self) -> PartitionStatus:
        """How it is doing, as of the last read."""
        return self._status

    def run(self, stop: threading.Event) -> None:
        """Own the partition until its sources are over or ``stop`` is set.

        Raises:
            Fenced: Somebody else has claimed it since; nothing more was committed.
            OtherPipeline: Its checkpoint was made by other operators or with other options.
            StoreRefused: Its checkpoint cannot be read.
            Exception: A source cannot be opened or read, or the store cannot be reached: the error is
                theirs. What was committed stays; running it again goes on from there.
        """
        epoch, checkpoint = self._store.claim(self.name, self._owner)
        self._set(epoch=epoch, at=checkpoint.at, ended=checkpoint.ended, caught_up=False)
        self._deliver()
        if checkpoint.ended:
            return
        pipeline = Pipeline(self._build, checkpoint, self._options, ttl=self._ttl)
        positions = _Positions([source.name for source in self._sources], checkpoint.positions)
        with ExitStack() as opened:
            opened.callback(pipeline.close)
            merging = self._open(positions, opened)
            self._go_on(stop, pipeline, merging, positions)

    def _open(self, positions: "_Positions", opened: ExitStack) -> Merging:
        readers: list[Reader] = []
        for number, source in enumerate(self._sources):
            readers.append(source.open(positions.of_source(number)))
            opened.callback(readers[-1].close)
        return Merging(
            readers, grace=self._grace, patience=self._patience, wall=self._wall, seconds=self._seconds
        )

    def _go_on(
        self, stop: threading.Event, pipeline: Pipeline, merging: Merging, positions: "_Positions"
    ) -> None:
        committed, pause, is_new = self._seconds(), self._every, False
        while not (stop.is_set() or merging.ended):
            for each in merging.read(self._every):
                if positions.move(each.source, each.positioned):
                    pipeline.take(each.positioned.event, each.time)
                    self._events += 1
                    is_new = True
            pipeline.advance_to(merging.passed)
            self._set(at=pipeline.at, caught_up=merging.caught_up)
            before = self._seconds()
            if before - committed >= (pause if is_new or pipeline.outputs else SIGN_OF_LIFE):
                self._commit(pipeline, positions)
                committed, is_new = self._seconds(), False
                pause = max(self._every, min(RARER * (committed - before), LONGEST_PAUSE))
        if merging.ended:
            pipeline.end()
        self._commit(pipeline, positions, ended=merging.ended)
        self._set(at=pipeline.at, ended=merging.ended)

    def _commit(self, pipeline: Pipeline, positions: "_Positions", *, ended: bool = False) -> None:
        checkpoint = pipeline.checkpoint(positions.all(), ended=ended)
        try:
            self._store.commit(self.name, self._status.epoch, checkpoint, pipeline.outputs)
        except Fenced:
            self._set(refused=self._status.refused + 1)
            raise
        self._set(commits=self._status.commits + 1)
        pipeline.outputs.clear()
        self._deliver()

    def _deliver(self) -> None:
        """Hand out what no sink has confirmed, in order: the first that fails ends it until next time."""
        if self._sink is None:
            return
        handed: list[Output] = []
        for output in self._store.undelivered(self.name):
            try:
                self._sink(output)
            except OSError as error:
                log_fault(Fault("sink", output.session_id, self._wall(), error))
                break
            handed.append(output)
        if handed:
            self._store.delivered(self.name, handed)

    def _set(self, **changed: object) -> None:
        self._status = msgspec.structs.replace(self._status, events=self._events, **changed)


class _Positions:
    """The positions of all sources as one mapping, the source's name before each key.

    Args:
        names: The sources.
        positions: What ``all`` returned. Those of sources that are not among the names stay as they are.
    """

    def __init__(self, names: Sequence[str], positions: Mapping[str, int]) -> None:
        self._prefixes = [f"{name}\t" for name in names]
        self._positions = dict(positions)

    def of_source(self, number: int) -> dict[str, int]:
        """By the source's own keys."""
        prefix = self._prefixes[number]
        return {
            key.removeprefix(prefix): position
            for key, position in self._positions.items()
            if key.startswith(prefix)
        }

    def move(self, number: int, come: Positioned) -> bool:
        """Whether an event is news: what was taken in may be told again."""
        key = self._prefixes[number] + come.key
        if come.after < 0:
            return self._positions.pop(key, None) is not None
        if come.after <= self._positions.get(key, -1):
            return False
        self._positions[key] = come.after
        return True

    def all(self) -> dict[str, int]:
        return dict(self._positions)
