"""The view for a person, in a terminal."""

import threading
from typing import Final

import msgspec
from rich.console import Console, RenderableType
from rich.live import Live

from streams.faults import Fault
from streams.watch.board import Board
from streams.watch.cells import Look
from streams.watch.closing import closing
from streams.watch.controls import Controls, press
from streams.watch.derivations import Derived
from streams.watch.detail import detail
from streams.watch.journal import Journal, Journals
from streams.watch.keyboard import Keyboard, open_keyboard
from streams.watch.output import Watched
from streams.watch.pace import Pace
from streams.watch.still import still
from streams.watch.summary import Summary
from streams.watch.view import arrange_for, frame

__all__ = ["Screen"]

GRACE: Final = 0.5
"""Seconds that giving the terminal back may take: somebody may have stopped it with Ctrl-S."""


class Screen:
    """Draws the board a few times a second; at the end the summary stays where the view was.

    Frames are drawn on the hub's strand. Keys come on the keyboard's thread; what they change is one
    immutable value, put in place at once.

    Args:
        console: The terminal. One that cannot move its cursor gets the summary only.
        name: What is watched.
        threshold: Fraction at which a session should be compacted.
        pace: How much of a core drawing may take.
    """

    frame_every: float | None = 1 / 8

    def __init__(
        self, console: Console, *, name: str, threshold: float, pace: Pace | None = None
    ) -> None:
        self._console = console
        self._look = Look(name, threshold)
        self._live = Live(console=console, auto_refresh=False, screen=True, vertical_overflow="crop")
        self._pace = pace or Pace()
        self._journals = Journals()
        self._watched: Watched | None = None
        self._keyboard: Keyboard | None = None
        self._controls = Controls()
        self._order: tuple[str, ...] = ()
        self._pressed = True
        self._drawn: tuple[object, ...] = ()
        self._still: Board | None = None
        self._still_now = 0.0
        self._still_journals: dict[str, Journal] = {}

    def begin(self, watched: Watched) -> None:
        if self._console.is_dumb_terminal:
            return
        self._watched = watched
        self._journals.follow(watched.hub)
        self._keyboard = open_keyboard(self._press)

    def value(self, derived: Derived) -> None:
        """The board has it: the next frame shows it."""

    def fault(self, fault: Fault) -> None:
        """The board has it: the next frame shows it."""

    def frame(self, board: Board, now: float) -> None:
        if self._console.is_dumb_terminal or not (self._pressed or self._is_due(board, now)):
            return
        self._pressed, self._drawn = False, self._state(board, now)
        self._journals.keep(board.rows)
        self._pace.draw(lambda: self._draw(board, now))

    def end(self, board: Board, summary: Summary) -> None:
        self._live.stop()
        self._console.print(closing(board, summary, self._fitting()))

    def close(self) -> None:
        """The keyboard first: that never waits. Then the screen, unless it was given back before."""
        if self._keyboard is not None:
            self._keyboard.close()
        if self._live.is_started:
            stopping = threading.Thread(target=self._live.stop, daemon=True)
            stopping.start()
            stopping.join(GRACE)

    # --- on the keyboard's thread -----------------------------------------------------------------

    def _press(self, key: str) -> None:
        self._controls = press(self._controls, key, self._order)
        self._pressed = True
        if self._watched is None:
            return
        if self._controls.quit:
            self._watched.stop()
        else:
            self._watched.show()

    # --- on the strand ----------------------------------------------------------------------------

    def _is_due(self, board: Board, now: float) -> bool:
        return self._pace.due() and self._state(board, now) != self._drawn

    def _state(self, board: Board, now: float) -> tuple[object, ...]:
        """What the same picture is drawn of; ages are drawn anew every second."""
        counts = board.events, board.faults, board.values.total()
        return counts, board.connection, int(now), self._console.size

    def _draw(self, board: Board, now: float) -> None:
        controls = self._controls
        if not controls.paused:
            self._still = None
        elif self._still is None:
            self._still, self._still_now, self._still_journals = still(board), now, {}
        if self._still is not None:
            board, now = self._still, self._still_now
        self._live.start()
        self._live.update(self._picture(board, now, controls), refresh=True)

    def _picture(self, board: Board, now: float, controls: Controls) -> RenderableType:
        look = self._fitting()
        self._order = arrange_for(board, look, controls).order
        row = board.rows.get(controls.selected) if controls.opened else None
        if row is None:
            return frame(board, now, look, controls if self._keyboard is not None else None)
        return detail(board, row, self._journal(row.session_id), now, look, controls)

    def _journal(self, session_id: str) -> Journal:
        """While paused, as it was when it was first looked at since."""
        if self._still is None:
            return self._journals.by_session.get(session_id, Journal())
        if session_id not in self._still_journals:
            self._still_journals[session_id] = self._journals.still(session_id)
        return self._still_journals[session_id]

    def _fitting(self) -> Look:
        """The terminal may have been resized since."""
        width, height = self._console.size
        ascii_only = self._console.options.ascii_only
        return msgspec.structs.replace(self._look, width=width, height=height, ascii_only=ascii_only)
