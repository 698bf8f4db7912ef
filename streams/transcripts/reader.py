"""Reading a transcript file, whatever happened to it."""

from collections.abc import Iterator, Set
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["StoredTranscript", "TornLine", "read", "records_in"]

OURS: Final = ({"parentUuid", "uuid"}, {"info", "parts"})
"""What a record of ours has, beginning with the first: how one is told from a part of a torn one."""

STARTS: Final = (b'{"parentUuid":', b'{"info":')

TRIES: Final = 64
"""Places of a bad line at which a record may begin that are tried."""

_decode = msgspec.json.Decoder(dict[str, object]).decode


class TornLine(ValueError):
    """A line that is no record."""


class StoredTranscript:
    """The records of a transcript file, in order, one line at a time; each iteration starts anew.

    Records that one line has by mistake, because a writer was killed between them and the next one
    went on, are told apart; padding with NUL is skipped. Lines end at ``\\n`` only.

    Iterating raises ``OSError`` when the file cannot be read, and ``TornLine`` when reading strictly.

    Attributes:
        path: The file.
        torn: How many lines of the last iteration, or parts of one, were no records.
    """

    def __init__(self, path: str | Path, *, strict: bool = False) -> None:
        self.path = Path(path)
        self.torn = 0
        self._strict = strict

    def __iter__(self) -> Iterator[dict[str, object]]:
        return (_decode(record) for record in self.lines())

    def lines(self) -> Iterator[bytes]:
        """The records as they are written."""
        self.torn = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                records, torn = records_in(line)
                if torn and self._strict:
                    raise TornLine(f"{self.path}, line {number} is no record: {line[:40]!r}")
                self.torn += torn
                yield from records


def read(path: str | Path, *, strict: bool = False) -> StoredTranscript:
    """Open a transcript that a ``TranscriptStore`` wrote.

    Args:
        path: The file.
        strict: Raise at a bad line, instead of counting it and going on.

    Raises:
        OSError: There is no such file, or it cannot be opened.

    Memory: one line.
    """
    stored = StoredTranscript(path, strict=strict)
    stored.path.open("rb").close()
    return stored


def records_in(line: bytes) -> tuple[list[bytes], bool]:
    """The complete records of a line, and whether there is something else in it."""
    text = line.strip(b"\0 \t\r\n")
    if not text:
        return [], False
    return ([text], False) if _fields(text) is not None else _fused(text)


def _fused(text: bytes) -> tuple[list[bytes], bool]:
    if _is_ours(text):
        return [text], False
    for start in _starts(text):
        if _is_ours(text[start:]):
            before, torn = _fused(text[:start])
            return [*before, text[start:]], torn
    return [], True


def _starts(text: bytes) -> Iterator[int]:
    """Where a record may begin. Most of these lie within another, and are none."""
    start, tries = 0, 0
    while tries < TRIES:
        found = [place for each in STARTS if (place := text.find(each, start + 1)) > 0]
        if not found:
            return
        start = min(found)
        tries += 1
        yield start


def _is_ours(text: bytes) -> bool:
    fields = _fields(text)
    return fields is not None and any(names <= fields for names in OURS)


def _fields(text: bytes) -> Set[str] | None:
    """The names in a JSON object; None when it is none, or no text all the way."""
    try:
        return _decode(text).keys()
    except (ValueError, RecursionError):
        return None
