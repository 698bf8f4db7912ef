"""What the formats of a transcript file have in common: how snapshots become lines."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import msgspec

from operators.transcript import Transcript
from operators.transcript_entry import TranscriptEntry
from operators.transcript_snapshots import TranscriptSnapshot

__all__ = ["Format", "Record", "Unit", "one_line"]


class Unit(NamedTuple):
    """What a format makes records of: an entry, or a message with its parts.

    Attributes:
        key: The place of it, or of its first entry, in the transcript.
        name: What it is called in every process: keys may differ.
    """

    key: str
    name: str


class Record(msgspec.Struct, frozen=True, gc=False):
    """One line to be.

    Attributes:
        id: Its own; the same for what it was before it changed.
        message: Where its message is in the transcript.
        body: A JSON object.
    """

    id: str
    message: str
    body: bytes


class Format(Protocol):
    """How a transcript is written."""

    suffix: str
    """What the files are called."""

    def units(self, whole: Transcript, entry: TranscriptEntry) -> Iterable[Unit]:
        """What has to be looked at when an entry changed or is gone."""
        ...

    def all_units(self, whole: Transcript) -> Iterator[Unit]:
        """Everything, in order."""
        ...

    def ids(self, session_id: str, unit: Unit) -> tuple[str, ...]:
        """The ids of all records that it can ever give."""
        ...

    def records(
        self, snapshot: TranscriptSnapshot, unit: Unit, *, resting: bool
    ) -> tuple[list[Record], bool]:
        """Its records now, and whether they are its last.

        What is still being written gives none, because a line that is written is not to change; unless
        the session rests, when the file is to have all there is.
        """
        ...

    def line(self, record: Record, before: str) -> bytes:
        """A record as a line that follows the record ``before``."""
        ...

    def identify(self, line: bytes) -> tuple[str, bytes]:
        """The id and the body of a line, the reverse of ``line``; an empty id when it is none of ours."""
        ...


def one_line(body: bytes) -> bytes:
    """JSON without anything in it that some reader takes for the end of a line (T6).

    Within JSON a raw line break stands only between tokens. The others stand only in texts, where an
    escape says the same: Python's ``splitlines`` breaks at them, and so did JavaScript.
    """
    if b"\n" in body or b"\r" in body:
        body = body.replace(b"\n", b" ").replace(b"\r", b" ")
    if b"\xe2\x80" in body:
        body = body.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return body.replace(b"\xc2\x85", b"\\u0085") if b"\xc2\x85" in body else body
