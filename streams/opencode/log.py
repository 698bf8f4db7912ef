"""The server's durable log: every durable event has a number per session, and none may be missing.

On ``/global/event`` a durable event comes twice: plain, and as its ``sync`` twin with the number. A
twin and a row of ``POST /sync/history`` hold the same, so both become events in the same way.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, cast

import msgspec

from streams.events import SessionEvent
from streams.opencode import wire

__all__ = [
    "MAX_TOLD",
    "Entry",
    "Sequence",
    "deletion_of",
    "entry_in",
    "event_of",
    "is_deletion",
    "kind_of",
    "payload_of",
]

MAX_TOLD: Final = 900
"""Sessions that ``/sync/history`` is told of at the most: at 1 000 it fails with status 500."""


DELETED: Final = "session.deleted"
MAX_SESSIONS: Final = 10_000
MAX_HELD: Final = 1_000


class Entry(msgspec.Struct, frozen=True, gc=False, rename={"session_id": "aggregateID"}):
    """One entry of the log, as a twin has it."""

    id: str
    type: str
    seq: int
    session_id: str
    data: msgspec.Raw


class _Twin(msgspec.Struct, gc=False, rename={"entry": "syncEvent"}):
    entry: Entry


class _TwinInEnvelope(msgspec.Struct, gc=False):
    payload: _Twin


_twin = cast(Callable[[bytes], _TwinInEnvelope], msgspec.json.Decoder(_TwinInEnvelope).decode)


def kind_of(payload: bytes) -> bytes:
    """The type, without decoding: the first one there is, since it comes before what has others.

    A payload in some other order gives a wrong type, which no twin has, and is decoded.
    """
    start = payload.find(b'"type":"') + 8
    return payload[start : payload.find(b'"', start)] if start > 7 else b""


def entry_in(payload: bytes) -> Entry:
    """The entry that a twin on ``/global/event`` brings; its kind is ``sync``.

    Raises:
        ValueError, RecursionError: It cannot be read.
    """
    return _twin(payload).payload.entry


def payload_of(kind: str, properties: bytes, event_id: str = "") -> bytes:
    """The payload that ``/event`` would have sent."""
    name = msgspec.json.encode(kind)
    number = msgspec.json.encode(event_id)
    return b'{"id":%s,"type":%s,"properties":%s}' % (number, name, properties)


def event_of(entry: Entry, at: float) -> SessionEvent:
    """The event that an entry tells of; its type carries a version, ``message.updated.1``."""
    kind, _, version = entry.type.rpartition(".")
    kind = kind if version.isdigit() else entry.type
    return wire.decode(payload_of(kind, bytes(entry.data), entry.id), at)


def is_deletion(entry: Entry) -> bool:
    """Whether it is its session's last one; the session's log is deleted with it."""
    return entry.type.startswith(DELETED)


def deletion_of(session_id: str) -> Entry:
    """What the last entry may have been of a session that is gone, log and all."""
    properties = {"sessionID": session_id, "info": {"id": session_id}}
    return Entry("", DELETED, -1, session_id, msgspec.Raw(msgspec.json.encode(properties)))


Numbered = SessionEvent | None
"""The event of a number; None when it has been published already, by its plain form."""


class Held(msgspec.Struct):
    """What came of a session since a number was missing: numbers (-1: none) and events, as they came."""

    entries: list[tuple[int, Numbered]] = []

    def numbers(self) -> list[int]:
        return sorted(seq for seq, _ in self.entries if seq >= 0)

    def filled(self, last: int, missing: dict[int, Numbered]) -> Iterator[Numbered]:
        """All of it, and what was missing: each number before the higher ones, the rest where it was."""
        events = missing | {seq: event for seq, event in self.entries if seq >= 0}
        numbers = deque(seq for seq in sorted(events) if seq > last)
        for seq, event in self.entries:
            if seq < 0:
                yield event
            while numbers and numbers[0] <= seq:
                yield events[numbers.popleft()]
        yield from (events[seq] for seq in numbers)


class Sequence:
    """Puts each session's numbered events into order, and knows what is missing.

    Like the receiving end of TCP: what comes too early waits, with everything after it of the same
    session, until the missing number has come, or was asked for and given.

    Attributes:
        last: The last number of each session up to which nothing is missing; the session heard of
            longest ago first, of at most 10 000.
        first: The number of each session that was heard first, where that was not 0.
        held: Sessions with a missing number.
        lost: Numbers that were missing and could not be had.
    """

    def __init__(self) -> None:
        self.last: dict[str, int] = {}
        self.first: dict[str, int] = {}
        self.held: dict[str, Held] = {}
        self.lost = 0

    def is_new(self, session_id: str, seq: int) -> bool:
        """Whether this number has not come yet."""
        last, held = self.last.get(session_id), self.held.get(session_id)
        if last is None:
            return True
        if seq <= last:
            return seq < self.first.get(session_id, 0)
        return held is None or all(seq != number for number, _ in held.entries)

    def take(self, session_id: str, seq: int, event: Numbered) -> Iterable[SessionEvent]:
        """What may go on now that this new event came."""
        last = self.last.get(session_id, seq - 1)
        held = self.held.get(session_id)
        if seq <= last:  # S4: it overtook none that was missed, but the first one that was heard
            return _published(event)
        if held is None:
            if seq == last + 1:
                self.set_last(session_id, seq)
                return _published(event)
            held = self.held[session_id] = Held()
        held.entries.append((seq, event))
        numbers = held.numbers()
        if numbers[-1] - last == len(numbers) or len(held.entries) > MAX_HELD:
            return self.fill(session_id, {})
        return ()

    def missing(self, session_id: str) -> set[int]:
        """The numbers that a session waits for."""
        last, numbers = self.last[session_id], self.held[session_id].numbers()
        return set(range(last + 1, numbers[-1])).difference(numbers)

    def wait_with(self, event: SessionEvent) -> bool:
        """Whether an event without a number has to wait for a missing one before it."""
        held = self.held.get(event.session_id)
        if held is not None:
            held.entries.append((-1, event))
        return held is not None

    def fill(self, session_id: str, missing: dict[int, Numbered]) -> list[SessionEvent]:
        """End the wait: everything in order, with what was missing as far as it is known."""
        held, last = self.held.pop(session_id), self.last[session_id]
        numbers = {*held.numbers(), *missing}
        newest = max(numbers)
        self.lost += newest - last - len(numbers)
        self.set_last(session_id, newest)
        return [event for event in held.filled(last, missing) if event is not None]

    def abandon(self) -> tuple[list[SessionEvent], list[SessionEvent]]:
        """The connection is over: what waited, with a number (it can be asked for) and without one."""
        numbered: list[SessionEvent] = []
        unnumbered: list[SessionEvent] = []
        for held in self.held.values():
            for seq, event in held.entries:
                if event is not None:
                    (numbered if seq >= 0 else unnumbered).append(event)
        self.held.clear()
        return numbered, unnumbered

    def set_last(self, session_id: str, seq: int) -> None:
        """Nothing is missing up to ``seq``."""
        if self.last.pop(session_id, None) is None and seq > 0:
            self.first[session_id] = seq
        self.last[session_id] = seq
        if len(self.last) > MAX_SESSIONS:
            self.forget(next(iter(self.last)))

    def forget(self, session_id: str) -> None:
        """Whatever number comes next of this session will be taken as the next one."""
        for of_session in (self.last, self.first, self.held):
            of_session.pop(session_id, None)


def _published(event: Numbered) -> tuple[SessionEvent, ...]:
    return () if event is None else (event,)
