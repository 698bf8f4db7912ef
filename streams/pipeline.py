"""Operators on a virtual clock, whose state and outputs can be committed and gone on from."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import msgspec
from reactivex import Observable

import operators as ops
from streams.checkpoints import Checkpoint, Output
from streams.events import SessionEvent
from streams.faults import log_fault
from streams.hub import EventHub
from streams.memory import Memory
from streams.schedulers import Replay

__all__ = ["Build", "OtherPipeline", "Pipeline"]

Build = Callable[[EventHub], Mapping[str, Observable[msgspec.Struct]]]
"""Makes the operators, by name, from the events."""

BUILT: Final = "@built"
"""What of the snapshots is no operator's: how the pipeline was built."""

_encode = msgspec.json.Encoder(order="deterministic").encode


class OtherPipeline(ValueError):
    """The checkpoint was made by other operators or with other options. It was not changed."""


class _Built(msgspec.Struct):
    operators: tuple[str, ...] = ()
    options: dict[str, msgspec.Raw] = {}


class Pipeline:
    """What is derived from events that are taken in one by one, at the times of their records.

    Args:
        build: Makes the operators.
        checkpoint: Where to go on; a new one begins.
        options: What the operators were built with, as values that JSON has. A checkpoint made with
            others is refused, since it would go on with what others have kept.
        ttl: Seconds after which a session that nothing is heard of counts as expired.

    Attributes:
        outputs: What was derived since they were last cleared.

    Raises:
        OtherPipeline: The checkpoint was made by other operators or with other options.
        ValueError: A snapshot is of another format, or damaged.
    """

    def __init__(
        self, build: Build, checkpoint: Checkpoint, options: Mapping[str, object], *, ttl: float = 600.0
    ) -> None:
        self.outputs: list[Output] = []
        self._sequences = {name: dict(by) for name, by in checkpoint.sequences.items()}
        self._clock = Replay(checkpoint.at)
        self._memory = Memory(checkpoint.snapshots)
        self._source = EventHub(scheduler=self._clock, memory=self._memory)
        hub = EventHub(self._source.pipe(ops.expire_after(ttl)))
        hub.errors.subscribe(log_fault)
        table = build(hub)
        raw = {name: msgspec.Raw(_encode(value)) for name, value in options.items()}
        self._built = _encode(_Built(tuple(table), raw))
        _compare(checkpoint.snapshots.get(BUILT), self._built)
        for name, derived in table.items():
            derived.subscribe(partial(self._said, name))
        self._connection = hub.connect()

    @property
    def at(self) -> float:
        """What its clock shows, in seconds."""
        return self._clock.seconds()

    def take(self, event: SessionEvent, at: float) -> None:
        """Let time go on to ``at``, and take in what happened then."""
        self._clock.advance_to(at)
        self._source.on_next(event)

    def advance_to(self, at: float) -> None:
        """Nothing has happened up to ``at``."""
        if at > self._clock.seconds():
            self._clock.advance_to(at)

    def end(self) -> None:
        """The events are over: what was pending is said."""
        self._source.on_completed()

    def close(self) -> None:
        """Say nothing any more."""
        self._connection.dispose()

    def checkpoint(self, positions: dict[str, int], *, ended: bool) -> Checkpoint:
        """All that is needed to go on. What has ended keeps nothing: its outputs are all there is of it."""
        snapshots = {} if ended else self._memory.take()
        return Checkpoint(
            self._clock.seconds(), positions, {**snapshots, BUILT: self._built}, self._sequences, ended
        )

    def _said(self, name: str, value: msgspec.Struct) -> None:
        session_id = getattr(value, "session_id", "")
        by_session = self._sequences.setdefault(name, {})
        sequence = by_session[session_id] = by_session.get(session_id, 0) + 1
        self.outputs.append(Output(session_id, name, sequence, _encode(value)))


def _compare(made_with: bytes | None, built: bytes) -> None:
    """Refuse what was built otherwise, and say what is other."""
    if made_with is None or made_with == built:
        return
    then, now = msgspec.json.decode(made_with, type=_Built), msgspec.json.decode(built, type=_Built)
    differences = [
        *(
            f"it had {name}, which is not there now"
            for name in then.operators
            if name not in now.operators
        ),
        *(f"{name} is new" for name in now.operators if name not in then.operators),
    ]
    if not differences and then.operators != now.operators:
        differences.append(f"the order was {', '.join(then.operators)}")
    for name in sorted({*then.options, *now.options}):
        before, after = (_shown(built.options.get(name)) for built in (then, now))
        if before != after:
            differences.append(f"{name} was {before}, is {after}")
    raise OtherPipeline(
        f"the checkpoint was made by another pipeline: {'; '.join(differences)}. "
        "Run it as it was, or begin a new checkpoint"
    )


def _shown(raw: msgspec.Raw | None) -> str:
    return "not given" if raw is None else bytes(raw).decode()
