"""One session's file: what is in it, what belongs there, and the smallest change between the two."""

import errno
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Final

import msgspec

from operators.transcript import Transcript
from operators.transcript_snapshots import TranscriptSnapshot
from streams.transcripts import files
from streams.transcripts.files import Signature
from streams.transcripts.formats import Format, Record, Unit
from streams.transcripts.reader import read

__all__ = ["TranscriptFile"]

LOOKS: Final = 3
"""Times to look at a file again that another writer changes."""


class _Written(msgspec.Struct):
    """What a file has in it: of each record its id and a hash."""

    hashes: dict[str, int] = {}
    last: str = ""
    messages: set[str] = set()
    """Messages of the transcript that have records."""
    newest: str = ""
    strange: bool = False
    """Whether there are records that the transcript does not have."""

    def add(self, identity: str, body: bytes) -> None:
        self.hashes[identity] = hash(body)
        self.last = identity

    def add_message(self, key: str) -> None:
        message = key[: key.index("\0") + 1]
        self.messages.add(message)
        self.newest = max(self.newest, message)

    def is_passed_over(self, message: str) -> bool:
        """Whether a message has no record though later ones have."""
        return message < self.newest and message not in self.messages


class _Plan(msgspec.Struct):
    """What is to be done to a file."""

    added: list[Record] = []
    changed: bool = False
    """Something written is no longer as it was, or something belongs before it."""
    waiting: list[Unit] = []
    """What the agent is still writing."""


class TranscriptFile:
    """Takes snapshots of one session and brings its file up to date with the newest.

    Memory: the newest snapshot, whose transcript is shared with the operator, and of each record in
        the file its id and a hash.
    Time: of an addition, its own length; of a change to what is written, and of the first look at a
        file that was there before, the length of the file.

    Attributes:
        path: The file.
        session_id: The session.
        lock: To be held while calling any method.
    """

    def __init__(self, path: Path, session_id: str, format_: Format) -> None:
        self.path = path
        self.session_id = session_id
        self.lock = Lock()
        self._format = format_
        self._snapshot: TranscriptSnapshot | None = None
        self._waiting: dict[Unit, None] = {}
        self._resting = False
        self._looked = False
        self._signature: Signature | None = None
        self._written = _Written()

    def __len__(self) -> int:
        """How many records the file has."""
        return len(self._written.hashes)

    def take(self, snapshot: TranscriptSnapshot) -> None:
        """A snapshot to bring the file up to date with. One older than the newest adds nothing."""
        newest = self._snapshot
        if newest is not None and snapshot.version > newest.version + 1:
            self._looked = False  # what changed between the two was told to another writer
        if newest is None or (newest.at, newest.version) <= (snapshot.at, snapshot.version):
            self._snapshot = snapshot
            self._resting = snapshot.resting
        for entry in (*snapshot.changed, *snapshot.removed):
            for unit in self._format.units(snapshot.whole, entry):
                self._waiting[unit] = None

    def rest(self) -> bool:
        """The session rests: what was still being written stays as it is. Whether there is any."""
        self._resting = True
        return bool(self._waiting)

    def bring_up_to_date(self) -> None:
        """Append what is new; replace the file when something else is different.

        Raises:
            OSError: It cannot be written: it is as it was, and what is missing is written next time.
        """
        snapshot = self._snapshot
        if snapshot is None:
            return
        for _ in range(LOOKS):
            self._look(snapshot.whole)
            plan = self._plan(snapshot)
            if self._replace(snapshot) if plan.changed else self._append(plan.added):
                self._waiting = dict.fromkeys(plan.waiting)
                return
        raise BlockingIOError(errno.EAGAIN, "another writer keeps changing it", str(self.path))

    # --- what is in the file ----------------------------------------------------------------------

    def _look(self, whole: Transcript) -> None:
        """Read the file, unless it is as we left it; then all that is known has to be looked for."""
        now = files.signature(self.path)
        if self._looked and now == self._signature:
            return
        self._looked, self._signature = True, now
        written = self._written = _Written()
        for line in read(self.path).lines() if now else ():
            identity, body = self._format.identify(line)
            if identity:
                written.add(identity, body)
        known = 0
        for unit in self._format.all_units(whole):
            self._waiting[unit] = None
            if own := self._ids(unit) & written.hashes.keys():
                known += len(own)
                written.add_message(unit.key)
        written.strange = known < len(written.hashes)

    def _ids(self, unit: Unit) -> set[str]:
        return set(self._format.ids(self.session_id, unit))

    # --- what belongs there -----------------------------------------------------------------------

    def _plan(self, snapshot: TranscriptSnapshot) -> _Plan:
        written, resting = self._written, self._resting
        plan = _Plan(changed=written.strange and snapshot.whole.complete)
        for unit in sorted(self._waiting):
            records, is_last = self._format.records(snapshot, unit, resting=resting)
            made = {record.id for record in records}
            gone = (self._ids(unit) & written.hashes.keys()) - made
            if not is_last:
                plan.waiting.append(unit)
            if gone and (is_last or resting):
                plan.changed = True
            for record in records:
                known = written.hashes.get(record.id)
                if known is None:
                    plan.added.append(record)
                    plan.changed = plan.changed or written.is_passed_over(record.message)
                elif known != hash(record.body):
                    plan.changed = True
        return plan

    # --- the change -------------------------------------------------------------------------------

    def _append(self, records: list[Record]) -> bool:
        if not records:
            return True
        lines: list[bytes] = []
        last = self._written.last
        for record in records:
            lines.append(self._format.line(record, last))
            last = record.id
        signature = files.append(self.path, lines, self._signature)
        if signature is None:
            return False
        self._signature = signature
        for record in records:
            self._written.add(record.id, record.body)
            self._written.add_message(record.message)
        return True

    def _replace(self, snapshot: TranscriptSnapshot) -> bool:
        written = _Written()
        signature = files.replace(self.path, self._lines(snapshot, written), self._signature)
        if signature is None:
            return False
        self._signature, self._written = signature, written
        return True

    def _lines(self, snapshot: TranscriptSnapshot, written: _Written) -> Iterator[bytes]:
        """All lines, one at a time: first those of earlier times that nobody told us of again."""
        if self._written.strange and not snapshot.whole.complete:
            for record in self._kept(snapshot.whole):
                yield self._format.line(record, written.last)
                written.add(record.id, record.body)
                written.strange = True
        for unit in self._format.all_units(snapshot.whole):
            for record in self._records(snapshot, unit):
                yield self._format.line(record, written.last)
                written.add(record.id, record.body)
                written.add_message(record.message)

    def _kept(self, whole: Transcript) -> Iterator[Record]:
        ours = {
            each for unit in (*self._format.all_units(whole), *self._waiting) for each in self._ids(unit)
        }
        for line in read(self.path).lines():
            identity, body = self._format.identify(line)
            if identity and identity not in ours:
                yield Record(identity, "", body)

    def _records(self, snapshot: TranscriptSnapshot, unit: Unit) -> list[Record]:
        """What is still being written stays out, unless it is in the file already."""
        records, is_last = self._format.records(snapshot, unit, resting=self._resting)
        if is_last or self._resting or not self._ids(unit) & self._written.hashes.keys():
            return records
        return self._format.records(snapshot, unit, resting=True)[0]
