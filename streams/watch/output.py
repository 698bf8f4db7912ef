"""Where what is watched goes: lines for a program, or a view for a person."""

from typing import Protocol

from streams.faults import Fault
from streams.hub import EventHub
from streams.watch.board import Board
from streams.watch.derivations import Derived
from streams.watch.summary import Summary

__all__ = ["Output", "Watched"]


class Watched(Protocol):
    """What an output may do with what it is shown."""

    @property
    def hub(self) -> EventHub:
        """Where to listen for more than the values."""
        ...

    def show(self) -> None:
        """Have a frame drawn at once, from whatever thread."""
        ...

    def stop(self) -> None:
        """End it as Ctrl-C does, from whatever thread."""
        ...


class Output(Protocol):
    """What ``Watching`` calls, one call at a time, from whatever thread. One that raises ends it."""

    frame_every: float | None
    """Seconds between frames; None for an output that has none."""

    def begin(self, watched: Watched) -> None:
        """Before anything flows: the first call."""
        ...

    def value(self, derived: Derived) -> None:
        """An operator emitted a value."""
        ...

    def fault(self, fault: Fault) -> None:
        """Something went wrong beside the stream."""
        ...

    def frame(self, board: Board, now: float) -> None:
        """Time to show how things stand at ``now``."""
        ...

    def end(self, board: Board, summary: Summary) -> None:
        """It is over. This call does not come to an output that has raised."""
        ...

    def close(self) -> None:
        """Give back what was taken: the last call, however it ended, and it must not wait for long."""
        ...
