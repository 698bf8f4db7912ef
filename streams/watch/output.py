"""Where what is watched goes: lines for a program, or a view for a person."""

from typing import Protocol

from streams.faults import Fault
from streams.watch.board import Board
from streams.watch.derivations import Derived
from streams.watch.summary import Summary

__all__ = ["Output"]


class Output(Protocol):
    """What ``Watching`` calls, one call at a time, from whatever thread. One that raises ends it."""

    frame_every: float | None
    """Seconds between frames; None for an output that has none."""

    def value(self, derived: Derived) -> None:
        """An operator emitted a value."""
        ...

    def fault(self, fault: Fault) -> None:
        """Something went wrong beside the stream."""
        ...

    def frame(self, board: Board, now: float) -> None:
        """Time to show how things stand at ``now``."""
        ...

    def clear(self) -> None:
        """There was nothing to watch: the last call, in place of ``end``."""
        ...

    def end(self, board: Board, summary: Summary) -> None:
        """It is over: the last call. It does not come to an output that has raised."""
        ...
