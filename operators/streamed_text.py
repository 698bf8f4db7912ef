"""Text that arrives in pieces: kept as JSON bytes, put in order, never copied as a whole."""

from operator import itemgetter
from typing import Final

import msgspec

__all__ = ["StreamedText", "TextView", "order_of", "quoted"]

FOLD: Final = 256
"""Pieces that are gathered before they become one chunk."""

REORDERED: Final = 8
"""Pieces at the end that stay apart, so that a late one can still be put among them."""

EVENT_ID: Final = 30
"""Length of opencode's event ids, which sort by time."""

_encode = msgspec.json.Encoder().encode
_piece_order = itemgetter(0)

_Piece = tuple[str, str]


class TextView(msgspec.Struct, frozen=True, gc=False):
    """The text as it was at one time. It shares its chunks with the views before and after it."""

    chunks: list[bytes]
    count: int
    tail: bytes

    def json(self) -> bytes:
        """The text as a JSON string."""
        return b"".join((b'"', *self.chunks[: self.count], self.tail, b'"'))

    def __eq__(self, other: object) -> bool:
        """Chunks are only ever added: of one list, as many are the same ones."""
        return (
            isinstance(other, TextView)
            and self.chunks is other.chunks
            and self.count == other.count
            and self.tail == other.tail
        )


class StreamedText(msgspec.Struct):
    """The text of one part while it is being written: what its last snapshot said, and what was added.

    Pieces that carry opencode's event ids are put in order and taken once; others count in the order
    of arrival. Whatever goes wrong between two snapshots of the part, the next one puts right.

    Memory: the text, as JSON; 256 pieces apart from it at most.
    Time: per piece O(its length).
    """

    touched: float = 0.0
    """When the last piece came."""
    deltas: int = 0
    """How many pieces were taken."""
    cut: int = 0
    """How many characters were left out, for the cap."""
    size: int = 0
    chunks: list[bytes] = []
    based: bool = False
    folded: str = ""
    pieces: list[_Piece] = []

    def add(self, event_id: str, piece: str, now: float, cap: int | None) -> bool:
        """Take one piece; false when it is a repeated one, or came too late to be put in its place."""
        order = order_of(event_id)
        if order and order <= self.folded:
            return False
        self.touched = now
        self.deltas += 1
        self.pieces.append((order, piece))
        if len(self.pieces) >= FOLD:
            self._fold(FOLD - REORDERED, cap)
        return True

    def snapshot_came(self, event_id: str) -> None:
        """The part was sent whole: what came before is in it, what was sent after it is not."""
        order = order_of(event_id)
        self.pieces = [piece for piece in self.pieces if order and piece[0] > order]
        self.chunks, self.based, self.folded, self.size, self.cut = [], False, order, 0, 0

    def start_with(self, text: bytes, cap: int | None) -> None:
        """Put what the last snapshot of the part said, a JSON string, before the pieces."""
        if not self.based:
            self.based = True
            self.size += len(text) - 2
            self.chunks.insert(0, text[1:-1])

    def view(self, cap: int | None) -> TextView:
        """The text as it is now."""
        self._fold(len(self.pieces) - REORDERED, cap)
        kept = "".join(piece for _, piece in self._in_order(len(self.pieces)))
        tail, cut = _fitted(kept, self._room(cap))
        if cut := cut + self.cut:
            tail += quoted(f"… [{cut} characters cut]")[1:-1]
        return TextView(self.chunks, len(self.chunks), tail)

    def _room(self, cap: int | None) -> int | None:
        """What fits still; nothing after what did not fit, or the text would have a hole."""
        if cap is None:
            return None
        return 0 if self.cut else max(0, cap - self.size)

    def _in_order(self, count: int) -> list[_Piece]:
        """Take the first pieces, each once; equal orders other than none are the same event."""
        pieces = self.pieces
        pieces.sort(key=_piece_order)
        taken = pieces[:count]
        if taken and taken[-1][0]:
            taken = list(dict(taken).items())
        return taken

    def _fold(self, count: int, cap: int | None) -> None:
        if count <= 0:
            return
        taken = self._in_order(count)
        del self.pieces[:count]
        self.folded = taken[-1][0]
        text = "".join(piece for _, piece in taken)
        chunk, cut = _fitted(text, self._room(cap))
        self.cut += cut
        self.size += len(chunk)
        if chunk:
            self.chunks.append(chunk)


def order_of(event_id: str) -> str:
    """An id to sort by, or nothing: opencode's event ids sort by time, others may not."""
    return event_id if len(event_id) == EVENT_ID and event_id.startswith("evt_") else ""


def quoted(text: str) -> bytes:
    """A text as a JSON string. A lone surrogate, which no UTF-8 can hold, becomes U+FFFD."""
    try:
        return _encode(text)
    except UnicodeEncodeError:
        return _encode(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _fitted(text: str, room: int | None) -> tuple[bytes, int]:
    """As much of a text, as the inside of a JSON string, as there is room for; and what was cut."""
    kept, chunk = text, quoted(text)[1:-1]
    while room is not None and len(chunk) > room:
        kept = kept[: len(kept) * room // len(chunk)]
        chunk = quoted(kept)[1:-1]
    return chunk, len(text) - len(kept)
