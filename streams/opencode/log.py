"""The server's durable log: every durable event has a number per session, and none may be missing.

On ``/global/event`` a durable event comes twice: plain, and as its ``sync`` twin with the number. A
twin and a row of ``POST /sync/history`` hold the same, so both become events in the same way.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from streams.events import SessionEvent
from streams.opencode import wire

__all__ = ["Entry", "Sequence", "event_of", "payload_of"]

MAX_SESSIONS: Final = 10_000
MAX_HELD: Final = 1_000


class Entry(msgspec.Struct, frozen=True, gc=False, rename={"session_id": "aggregateID"}):
    """One entry of the log, as a twin has it."""

    id: str
    type: str
    seq: int
    session_id: str
    data: msgspec.Raw


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


class Held(msgspec.Struct):
    """What came of a session since a number was missing: numbers (-1: none) and events, as they came."""

    entries: list[tuple[int, SessionEvent]] = []

    def numbers(self) -> list[int]:
        return sorted(seq for seq, _ in self.entries if seq >= 0)

    def filled(self, last: int, missing: dict[int, SessionEvent]) -> Iterator[SessionEvent]:
        """In the order of numbers, with what was missing, and the rest where it was."""
        events = {seq: event for seq, event in self.entries if seq >= 0} | missing
        numbers = iter(seq for seq in sorted(events) if seq > last)
        slots = iter(self.numbers())
        for seq, event in self.entries:
            if seq < 0:
                yield event
                continue
            slot = next(slots)
            for number in numbers:
                yield events[number]
                if number >= slot:
                    break
        yield from (events[number] for number in numbers)


class Sequence:
    """Puts each session's numbered events into order, and knows what is missing.

    Like the receiving end of TCP: what comes too early waits, with everything after it of the same
    session, until the missing number has come, or was asked for and given.

    Attributes:
        last: The last number of each session up to which nothing is missing; the session heard of
            longest ago first, of at most 10 000.
        held: Sessions with a missing number.
        lost: Numbers that were missing and could not be had.
    """

    def __init__(self) -> None:
        self.last: dict[str, int] = {}
        self.held: dict[str, Held] = {}
        self.lost = 0

    def is_new(self, session_id: str, seq: int) -> bool:
        """Whether this number has not come yet."""
        last, held = self.last.get(session_id), self.held.get(session_id)
        if last is None:
            return True
        return seq > last and (held is None or all(seq != number for number, _ in held.entries))

    def take(self, session_id: str, seq: int, event: SessionEvent) -> Iterable[SessionEvent]:
        """What may go on now that this new event came."""
        last = self.last.get(session_id, seq - 1)
        held = self.held.get(session_id)
        if held is None:
            if seq == last + 1:
                self.set_last(session_id, seq)
                return (event,)
            held = self.held[session_id] = Held()
        held.entries.append((seq, event))
        numbers = held.numbers()
        if numbers[-1] - last == len(numbers) or len(held.entries) > MAX_HELD:
            return self.fill(session_id, {})
        return ()

    def wait_with(self, event: SessionEvent) -> bool:
        """Whether an event without a number has to wait for a missing one before it."""
        held = self.held.get(event.session_id)
        if held is not None:
            held.entries.append((-1, event))
        return held is not None

    def fill(self, session_id: str, missing: dict[int, SessionEvent]) -> list[SessionEvent]:
        """End the wait: everything in order, with what was missing as far as it is known."""
        held, last = self.held.pop(session_id), self.last[session_id]
        numbers = {*held.numbers(), *missing}
        newest = max(numbers)
        self.lost += newest - last - len(numbers)
        self.set_last(session_id, newest)
        return list(held.filled(last, missing))

    def abandon(self) -> tuple[list[SessionEvent], list[SessionEvent]]:
        """The connection is over: what waited, with a number (it can be asked for) and without one."""
        waiting = [each for held in self.held.values() for each in held.entries]
        self.held.clear()
        numbered = [event for seq, event in waiting if seq >= 0]
        return numbered, [event for seq, event in waiting if seq < 0]

    def set_last(self, session_id: str, seq: int) -> None:
        """Nothing is missing up to ``seq``."""
        self.last.pop(session_id, None)
        self.last[session_id] = seq
        if len(self.last) > MAX_SESSIONS:
            self.forget(next(iter(self.last)))

    def forget(self, session_id: str) -> None:
        """Whatever number comes next of this session will be taken as the next one."""
        self.last.pop(session_id, None)
        self.held.pop(session_id, None)
