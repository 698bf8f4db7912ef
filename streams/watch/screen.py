"""The view for a person, in a terminal."""

import msgspec
from rich.console import Console
from rich.live import Live

from streams.faults import Fault
from streams.watch.board import Board
from streams.watch.cells import Look
from streams.watch.closing import closing
from streams.watch.derivations import Derived
from streams.watch.summary import Summary
from streams.watch.view import frame

__all__ = ["Screen"]


class Screen:
    """Draws the board a few times a second; at the end the summary stays where the view was.

    Args:
        console: The terminal.
        name: What is watched.
        threshold: Fraction at which a session should be compacted.
    """

    frame_every: float | None = 1 / 8

    def __init__(self, console: Console, *, name: str, threshold: float) -> None:
        self._console = console
        self._look = Look(name, threshold)
        self._live = Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop")

    def value(self, derived: Derived) -> None:
        """The board has it: the next frame shows it."""

    def fault(self, fault: Fault) -> None:
        """The board has it: the next frame shows it."""

    def frame(self, board: Board, now: float) -> None:
        self._live.start()
        self._live.update(frame(board, now, self._fitting()), refresh=True)

    def clear(self) -> None:
        self._live.stop()

    def end(self, board: Board, summary: Summary) -> None:
        self._live.stop()
        self._console.print(closing(board, summary, self._fitting()))

    def _fitting(self) -> Look:
        """The terminal may have been resized since."""
        width, height = self._console.size
        ascii_only = self._console.options.ascii_only
        return msgspec.structs.replace(self._look, width=width, height=height, ascii_only=ascii_only)
