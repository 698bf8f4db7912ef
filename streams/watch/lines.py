"""JSON Lines for programs: one line per derived value, and a summary at the end."""

from io import BufferedIOBase

import msgspec

from streams.faults import Fault
from streams.watch.board import Board
from streams.watch.derivations import Derived
from streams.watch.output import Watched
from streams.watch.summary import Summary

__all__ = ["JsonLines"]


class FaultLine(msgspec.Struct, frozen=True):
    """A ``Fault`` as a line says it."""

    where: str
    session_id: str
    error: str


class JsonLines:
    """Writes ``{"operator": …, "at": …, "value": {…}}`` per value; each line is out when it is said.

    How the connection to a server is doing comes as lines of ``"operator": "connection"``, faults as
    lines of ``"operator": "fault"``, and the last line is of ``"operator": "summary"``.

    Args:
        file: Where to; it is not closed.
    """

    frame_every: float | None = None

    def __init__(self, file: BufferedIOBase) -> None:
        self._file = file
        self._encode = msgspec.json.Encoder().encode

    def begin(self, watched: Watched) -> None:
        """Values are all there is to say."""

    def value(self, derived: Derived) -> None:
        self._file.write(self._encode(derived) + b"\n")
        self._file.flush()

    def fault(self, fault: Fault) -> None:
        error = f"{type(fault.error).__name__}: {fault.error}"
        line = FaultLine(fault.where, fault.session_id, error)
        self.value(Derived("fault", round(fault.at, 3), line))

    def frame(self, board: Board, now: float) -> None:
        """Lines have no frames."""

    def end(self, board: Board, summary: Summary) -> None:
        self.value(Derived("summary", round(board.last, 3), summary))

    def close(self) -> None:
        """The file is not ours."""
