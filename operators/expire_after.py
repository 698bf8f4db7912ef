"""Sessions that nothing is heard of any more: said once, without any event to say it."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from math import inf
from typing import Final

import msgspec
from reactivex import abc

from operators.deadlines import Deadlines
from operators.lift import Call, Operator, lift
from operators.snapshots import Kept, decode, encode
from operators.tombstones import Tombstones
from streams import checks
from streams.events import (
    PermissionAsked,
    PermissionReplied,
    QuestionAsked,
    QuestionReplied,
    SessionCreated,
    SessionDeleted,
    SessionEvent,
    SessionExpired,
    SessionIdle,
    SessionStatus,
    StreamConnected,
    StreamGap,
)

__all__ = ["expire_after"]

ACTIVE: Final = ("busy", "retry", "running")

_Events = Iterable[SessionEvent]


class Activity(msgspec.Struct, gc=False):
    """What is kept per session: when it was last heard of, and why it may be silent."""

    last: float
    busy: bool = False
    requests: tuple[str, ...] = ()


class Expiry:
    """Passes events on and says which sessions have gone silent."""

    version: Final = 1
    """The format of what is kept: one more whenever an older snapshot would be read wrongly."""

    def __init__(self, ttl: float, busy_ttl: float) -> None:
        self.name = type(self).__name__
        self.deadlines = Deadlines()
        self.states: dict[str, Activity] = {}
        self._ttl = ttl
        self._busy_ttl = busy_ttl
        self._tombstones = Tombstones(self.deadlines)

    def calls(self) -> Mapping[type[SessionEvent], Call[SessionEvent]]:
        return {
            SessionEvent: self.touch,
            SessionStatus: self._occupy,
            SessionIdle: self._occupy,
            PermissionAsked: self._occupy,
            QuestionAsked: self._occupy,
            PermissionReplied: self._occupy,
            QuestionReplied: self._occupy,
            SessionDeleted: self._gone,
            SessionExpired: self._gone,
            SessionCreated: self._created,
            StreamConnected: self._reconnected,
            StreamGap: self._reconnected,
        }

    def touch(self, event: SessionEvent, now: float) -> _Events:
        """Any event of a session renews its time to live: O(1), no timer is moved.

        Stragglers of a deleted session only pass.
        """
        activity = self.states.get(event.session_id)
        if activity is not None:
            activity.last = now
        elif event.session_id and event.session_id not in self._tombstones:
            self.states[event.session_id] = Activity(now)
            self.deadlines.set(event.session_id, now + self._ttl)
        return (event,)

    def fire(self, now: float) -> _Events:
        expired: list[SessionEvent] = []
        for session_id in self.deadlines.due(now):
            activity = self.states.get(session_id)
            if activity is None:
                self._tombstones.come_due(session_id, now)
            elif (deadline := self._deadline(activity)) > now:
                self.deadlines.set(session_id, deadline)
            else:
                del self.states[session_id]
                expired.append(SessionExpired(session_id, now, idle=now - activity.last))
        return expired

    def end(self, now: float) -> _Events:
        for session_id in self.states:
            self.deadlines.forget(session_id)
        self.states.clear()
        self._tombstones.clear()
        return ()

    def snapshot(self) -> bytes:
        """All that is kept. To be taken between two events."""
        return encode(self.name, self.version, Kept(self.states, self._tombstones.kept()))

    def restore(self, snapshot: bytes) -> None:
        """Go on from a snapshot; to be called before the first event."""
        kept = decode(snapshot, self.name, self.version, Activity)
        self.states.update(kept.states)
        self._tombstones.restore(kept.gone)
        for session_id, activity in self.states.items():
            self.deadlines.set(session_id, self._deadline(activity))

    def _deadline(self, activity: Activity) -> float:
        occupied = activity.busy or activity.requests
        return activity.last + (self._busy_ttl if occupied else self._ttl)

    def _occupy(self, event: SessionEvent, now: float) -> _Events:
        """Take in what changes whether a session may be silent, and for how long."""
        self.touch(event, now)
        if (activity := self.states.get(event.session_id)) is not None:
            _take(activity, event)
            self.deadlines.set(event.session_id, self._deadline(activity))
        return (event,)

    def _created(self, event: SessionEvent, now: float) -> _Events:
        self._tombstones.take_away(event.session_id)
        return self.touch(event, now)

    def _gone(self, event: SessionEvent, now: float) -> _Events:
        self.states.pop(event.session_id, None)
        self.deadlines.forget(event.session_id)
        if isinstance(event, SessionDeleted):
            self._tombstones.put(event.session_id, now)
        return (event,)

    def _reconnected(self, event: SessionEvent, now: float) -> _Events:
        """What was busy before a gap may have ended in it: from here the plain time to live counts."""
        for session_id, activity in self.states.items():
            if activity.busy or activity.requests:
                activity.busy, activity.requests = False, ()
                activity.last = now
                self.deadlines.set(session_id, self._deadline(activity))
        return (event,)


def _take(activity: Activity, event: SessionEvent) -> None:
    """An aborted turn drops its pending requests without a word, so idle ends waiting too."""
    match event:
        case PermissionAsked() | QuestionAsked():
            activity.requests = (*_others(activity, event.request_id), event.request_id)
        case PermissionReplied() | QuestionReplied():
            activity.requests = _others(activity, event.request_id)
        case _:
            activity.busy = isinstance(event, SessionStatus) and event.status in ACTIVE
            if not activity.busy:
                activity.requests = ()


def _others(activity: Activity, request_id: str) -> tuple[str, ...]:
    return tuple(each for each in activity.requests if each != request_id)


def expire_after(
    ttl: float | timedelta = 600.0,
    *,
    busy_ttl: float | timedelta | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator[SessionEvent]:
    """Passes every event on, and adds a ``SessionExpired`` when a session has been silent for ``ttl``.

    Like ``timeout`` per session, without ending anything. Put it in front of the hub, and every
    operator behind drops what it keeps of a session that is gone, deleted or not.

    Marbles (100 s a character)::

        events  a--b----------a--|
        expire_after(600)
        result  a--b-----x----a--|

        a = text("s", "m1", "p1", "hello")
        b = text("s", "m1", "p1", "hello there")
        x: session_id="s", idle=600.0

    Args:
        ttl: Seconds of silence; above 0. Default 600.
        busy_ttl: The same for a session that is busy, or waits for a human; above 0. Default None:
            such a session does not expire, until the stream reconnects: then ``ttl`` starts anew.
        scheduler: Clock and timer; see ``per_session``.

    Returns:
        An operator from events to events.

    Raises:
        ValueError: An argument is not above 0.

    Memory: per session about 0.4 kB, dropped when it expires or is deleted.
    Time: one pending timer, none while there is no session. An event that arrives at the very instant
        of expiry finds the session expired, and starts it afresh.
    On completion and error: nothing is added.

    Example:
        >>> import operators as ops
        >>> from streams.testing import text, outputs
        >>> outputs(ops.expire_after(600), [text("s", "m", "p", "hi")], until=600)[-1]
        SessionExpired(session_id='s', at=600.0, idle=600.0)

    Source: field failures E1 to E5, E8.
    """
    seconds = checks.seconds("ttl", ttl)
    busy = inf if busy_ttl is None else checks.seconds("busy_ttl", busy_ttl)
    return lift(lambda report: Expiry(seconds, busy), scheduler)
