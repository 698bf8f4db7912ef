"""From payloads to events: decoded, of the wanted directory, each once, and in the log's order."""

from collections.abc import Callable, Iterable
from typing import Final, cast

import msgspec
from loguru import logger

from streams.events import MalformedEvent, SessionEvent, UnknownEvent
from streams.opencode import wire
from streams.opencode.framing import Oversized
from streams.opencode.log import Entry, Sequence, entry_in, event_of, kind_of
from streams.opencode.recent import RecentIds

__all__ = ["Counts", "Intake"]

MAX_UNKNOWN_TYPES: Final = 256

NOT_READ: Final = frozenset(
    (
        "catalog.updated",
        "command.executed",
        "file.edited",
        "file.watcher.updated",
        "integration.updated",
        "plugin.added",
        "project.updated",
        "pty.created",
        "pty.deleted",
        "pty.exited",
        "pty.updated",
        "reference.updated",
        "server.instance.disposed",
        "session.diff",
        "vcs.branch.updated",
    )
)
"""Types that opencode is known to send and from which nothing is derived."""


class Counts(msgspec.Struct):
    """What has come so far.

    Attributes:
        bytes: Bytes read from the stream, comments and all.
        events_seen: Events published.
        session_events_seen: Of these, the ones of a session: a server may send heartbeats only.
        gaps: Times that events were, or may have been, missed.
        resumed: Events that were missed and then delivered after all.
        lost: Events that are known to be missing for good.
        duplicates: Events that came again and were left out.
        malformed: Payloads that could not be read.
        dropped: Events that ``streams.bounded`` let go because its consumer was too slow.
    """

    bytes: int = 0
    events_seen: int = 0
    session_events_seen: int = 0
    gaps: int = 0
    resumed: int = 0
    lost: int = 0
    duplicates: int = 0
    malformed: int = 0
    dropped: int = 0


class _Scope(msgspec.Struct, gc=False):
    directory: str | None = None


_scope = cast(Callable[[bytes], _Scope], msgspec.json.Decoder(_Scope).decode)


class Intake:
    """Turns payloads into events. It outlives connections: what came once is known on the next.

    A durable event is published when its numbered twin comes, which is at once, so that a missing
    number is noticed before anything that follows it is published. The plain form is passed over as
    soon as its type is known to have twins; a server without twins is read by the plain form alone.

    Attributes:
        counts: See ``Counts``.
        sequence: The numbers.
        newest_id: The highest id in the log so far; ids ascend with the server's time.

    Source: field failures S4, S5, S7, S9.
    """

    def __init__(self) -> None:
        self.counts = Counts()
        self.sequence = Sequence()
        self.newest_id = ""
        self._directory: str | None = None
        self._prefixes: tuple[bytes, ...] = ()
        self._numbered: set[bytes] = set()
        self._ids = RecentIds()
        self._unknown: set[str] = set()

    def only(self, directory: str) -> None:
        """Take only what is of this directory, or of none."""
        self._directory = directory
        self._prefixes = (b'{"directory":%s,' % msgspec.json.encode(directory), b'{"payload"')

    def take(self, payload: bytes | Oversized, at: float) -> Iterable[SessionEvent]:
        """The events that may go on now."""
        if isinstance(payload, Oversized):
            self.counts.malformed += 1
            return (MalformedEvent("", at, "", payload.head, f"oversized: {payload.size} bytes"),)
        if self._prefixes and not (payload.startswith(self._prefixes) or self._in_scope(payload)):
            return ()
        kind = kind_of(payload)
        if kind == b"sync":
            return self._take_twin(payload, at)
        if kind in self._numbered:
            return ()
        return self._take_plain(wire.decode(payload, at))

    def take_entry(self, entry: Entry, at: float) -> SessionEvent | None:
        """An entry that was asked for; None when it has been published already."""
        return None if entry.id in self._ids else self._logged(entry, at)

    def abandon(self) -> list[SessionEvent]:
        """The connection is over: what waited for a missing number and cannot be asked for."""
        numbered, unnumbered = self.sequence.abandon()
        for event in numbered:
            self._ids.discard(event.event_id)
        return unnumbered

    def without_log(self) -> None:
        """The server has no log: read the plain events."""
        self._numbered.clear()

    def _take_plain(self, event: SessionEvent) -> Iterable[SessionEvent]:
        if event.event_id:
            if event.event_id in self._ids:
                self.counts.duplicates += 1
                return ()
            self._ids.add(event.event_id)
        self._note(event)
        if self.sequence.held and self.sequence.wait_with(event):
            return ()
        return (event,)

    def _take_twin(self, payload: bytes, at: float) -> Iterable[SessionEvent]:
        try:
            entry = entry_in(payload)
        except (ValueError, RecursionError):
            return self._take_plain(wire.decode(payload, at))
        kind = entry.type.rpartition(".")[0].encode()
        is_first, is_known = kind not in self._numbered, entry.id in self._ids
        self._numbered.add(kind)
        if (is_known and not is_first) or not self.sequence.is_new(entry.session_id, entry.seq):
            self.counts.duplicates += 1
            return ()
        event = None if is_known else self._logged(entry, at)
        return self.sequence.take(entry.session_id, entry.seq, event)

    def _logged(self, entry: Entry, at: float) -> SessionEvent:
        self._ids.add(entry.id)
        self.newest_id = max(self.newest_id, entry.id)
        event = event_of(entry, at)
        self._note(event)
        return event

    def _in_scope(self, payload: bytes) -> bool:
        """For payloads whose keys come in some other order."""
        try:
            return _scope(payload).directory in (None, self._directory)
        except ValueError:
            return True  # not readable: an item of the stream, whose ever it was

    def _note(self, event: SessionEvent) -> None:
        """S5: one line per type of which nothing is known."""
        if type(event) is MalformedEvent:
            self.counts.malformed += 1
        elif type(event) is UnknownEvent and event.type not in NOT_READ:
            if event.type in self._unknown or len(self._unknown) >= MAX_UNKNOWN_TYPES:
                return
            self._unknown.add(event.type)
            logger.warning("opencode sends {!r} events, of which nothing is known here", event.type)
