"""Text that arrives in pieces: kept as JSON bytes, put in order, never copied as a whole."""

from typing import Final

import msgspec

__all__ = ["FOLD", "StreamedText", "TextView", "order_of", "quoted"]

FOLD: Final = 256
"""Pieces that are gathered before they become one chunk."""

REORDERED: Final = 8
"""Pieces at the end that stay apart, so that a late one can still be put among them."""

EVENT_ID: Final = 30
"""Length of opencode's event ids, which sort by time."""

_encode = msgspec.json.Encoder().encode

_Piece = tuple[str, str]


class TextView(msgspec.Struct, frozen=True, gc=False):
    """The text as it was at one time. It shares its chunks with the views before and after it."""

    chunks: list[bytes]
    count: int
    tail: bytes

    def pieces(self) -> tuple[bytes, ...]:
        """The text as a JSON string, in pieces to be joined."""
        return (b'"', *self.chunks[: self.count], self.tail, b'"')

    def json(self) -> bytes:
        """The text as a JSON string."""
        return b"".join(self.pieces())

    def __eq__(self, other: object) -> bool:
        """The same text. Of one list chunks are only ever added, so as many are the same ones."""
        if not isinstance(other, TextView):
            return False
        if self.chunks is other.chunks:
            return self.count == other.count and self.tail == other.tail
        return self.json() == other.json()


class StreamedText(msgspec.Struct, gc=False):
    """The text of one part while it is being written: what its last snapshot said, and what was added.

    Pieces that carry opencode's event ids are put in order and taken once; others count in the order
    of arrival. Whatever goes wrong between two snapshots of the part, the next one puts right.

    Memory: the text, as JSON; 256 pieces apart from it at most.
    Time: per piece O(its length).
    """

    message_id: str = ""
    part_id: str = ""
    waits: bool = False
    """Whether its part has not come."""
    touched: float = 0.0
    """When the last piece came."""
    cut: int = 0
    """How many characters were left out, for the cap."""
    size: int = 0
    chunks: list[bytes] = []
    based: bool = False
    folded: str = ""
    """The event up to which pieces are in chunks."""
    count: int = 0
    """How many are."""
    pieces: list[_Piece] = []
    """The rest, each with the id of its event. Whoever appends the ``FOLD``-th calls ``fold``."""

    def __len__(self) -> int:
        """How many pieces were taken."""
        return self.count + len(self.pieces)

    def snapshot_came(self, event_id: str) -> None:
        """The part was sent whole: what came before is in it, what was sent after it is not."""
        order = order_of(event_id)
        self.pieces = [piece for piece in self.pieces if order and order_of(piece[0]) > order]
        self.chunks, self.based, self.folded, self.size, self.cut = [], False, order, 0, 0

    def start_with(self, text: bytes) -> None:
        """Put what the last snapshot of the part said, a JSON string, before the pieces."""
        if not self.based:
            self.based = True
            self.size += len(text) - 2
            self.chunks.insert(0, text[1:-1])

    def view(self, cap: int | None) -> TextView:
        """The text as it is now."""
        self.fold(cap)
        tail, cut = _fitted("".join(piece for _, piece in self.pieces), self._room(cap))
        if cut := cut + self.cut:
            tail += quoted(f"… [{cut} characters cut]")[1:-1]
        return TextView(self.chunks, len(self.chunks), tail)

    def fold(self, cap: int | None) -> None:
        """Make a chunk of all pieces but the last few, among which a late one may belong."""
        self._put_in_order()
        folded, self.pieces = self.pieces[:-REORDERED], self.pieces[-REORDERED:]
        if not folded:
            return
        self.folded = order_of(folded[-1][0])
        self.count += len(folded)
        chunk, cut = _fitted("".join(piece for _, piece in folded), self._room(cap))
        self.cut += cut
        self.size += len(chunk)
        if chunk:
            self.chunks.append(chunk)

    def _put_in_order(self) -> None:
        """Each event once; one that is older than what was folded is a repeated one, or is too late."""
        if all(order_of(event_id) for event_id, _ in self.pieces):
            once = dict(self.pieces).items()
            self.pieces = sorted(piece for piece in once if piece[0] > self.folded)

    def _room(self, cap: int | None) -> int | None:
        """What fits still; nothing after what did not fit, or the text would have a hole."""
        if cap is None:
            return None
        return 0 if self.cut else max(0, cap - self.size)


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
