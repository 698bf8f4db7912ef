"""A board as it is at one moment, for a picture that stands while the board goes on."""

from collections import Counter, deque
from copy import copy

from msgspec.structs import replace

from streams.watch.board import Board

__all__ = ["still"]


def still(board: Board) -> Board:
    """A copy that nothing is taken into any more."""
    copied = copy(board)
    copied.rows = {session_id: replace(row) for session_id, row in board.rows.items()}
    copied.notes = deque(board.notes)
    copied.values = Counter(board.values)
    return copied
