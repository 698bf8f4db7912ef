"""Server-sent events: bytes as they come from a socket to payloads, however they were cut."""

from typing import Final

import msgspec

from streams.opencode.wire import MAX_BYTES

__all__ = ["Frames", "Oversized"]

BOM: Final = b"\xef\xbb\xbf"
KEPT_OF_OVERSIZED: Final = 1024


class Oversized(msgspec.Struct, frozen=True):
    """A payload that was let go because of its size.

    Attributes:
        size: Bytes of the whole.
        head: The first KiB of it.
    """

    size: int
    head: bytes


class Frames:
    """Cuts a byte stream into the payloads of its ``data:`` fields, incrementally.

    Lines end in LF, CRLF or CR; ``data:`` may have a space after it and may span lines; comments and
    all other fields are passed over; a payload that the end of the stream cuts off is dropped, as the
    standard says. It works on bytes, so a character cut in two is looked at once it is whole.

    httpx2's own ``EventSource`` is not used because it ends the stream at an oversized event and
    swallows the comments by which a connection is known to be alive.

    Args:
        max_bytes: A payload larger than this becomes ``Oversized``. Default 16 MiB.

    Memory: the payload that is being received, ``max_bytes`` and one read at most.

    Example:
        >>> frames = Frames()
        >>> frames.feed(b': hello\\n\\ndata: {"a"'), frames.feed(b': 1}\\r\\n\\r\\n')
        ([], [b'{"a": 1}'])

    Source: field failures S6, S7.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        self._size = 0
        self._head: bytes | None = None
        self._at_start = True
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[bytes | Oversized]:
        """Take in what one read brought; returns the payloads that it completed."""
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        elif chunk:
            self._after_cr = False
        payloads: list[bytes | Oversized] = []
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._add(line)
            self._end_line(payloads)
        self._add(rest)
        return payloads

    def _add(self, piece: bytes) -> None:
        """More of the line that is being received."""
        if not piece:
            return
        self._size += len(piece)
        if self._head is not None:
            self._line = [b":"]  # of what is let go, remember that the line was not blank
            return
        self._line.append(piece)
        if self._size > self._max_bytes:
            lines = [*self._data, _value(b"".join(self._line)) or b""]
            self._head = b"\n".join(lines)[:KEPT_OF_OVERSIZED]
            self._data.clear()

    def _end_line(self, payloads: list[bytes | Oversized]) -> None:
        line = b"".join(self._line)
        self._line.clear()
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(BOM)
        if not line:
            self._end_event(payloads)
        elif self._head is None:
            value = _value(line)
            if value is None:
                self._size -= len(line)
            else:
                self._data.append(value)

    def _end_event(self, payloads: list[bytes | Oversized]) -> None:
        if self._head is not None:
            payloads.append(Oversized(self._size, self._head))
        elif self._data:
            payloads.append(b"\n".join(self._data))
        self._data.clear()
        self._size, self._head = 0, None


def _value(line: bytes) -> bytes | None:
    """What a ``data`` line says; None for any other line."""
    if line.startswith(b"data:"):
        return line[6:] if line.startswith(b"data: ") else line[5:]
    return b"" if line == b"data" else None
