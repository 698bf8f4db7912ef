"""Reading a transcript file, whatever happened to it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["StoredTranscript", "TornLine", "read", "records_in"]

STARTS: Final = (b'{"parentUuid":', b'{"info":', b'{"type":')
"""What a record begins with; the last is what other writers of such files begin with."""

TRIES: Final = 64
"""Places of a bad line at which a record may begin that are tried."""

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_all = msgspec.json.Decoder(dict[str, object]).decode


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
        return (_decode_all(record) for record in self.lines())

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
    if _is_record(text):
        return [text], False
    for start in _starts(text):
        if _is_record(text[start:]):
            before, _ = records_in(text[:start])
            return [*before, text[start:]], not before
    return [], True


def _starts(text: bytes) -> Iterator[int]:
    """Where a record may begin. One that lies within another never extends to the end of the line."""
    start, tries = 0, 0
    while tries < TRIES:
        found = [place for each in STARTS if (place := text.find(each, start + 1)) > 0]
        if not found:
            return
        start = min(found)
        tries += 1
        yield start


def _is_record(text: bytes) -> bool:
    try:
        _decode(text)
    except (ValueError, RecursionError):
        return False
    return True
