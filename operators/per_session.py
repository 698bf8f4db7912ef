"""The kernel: a fold per session, written in plain Python, lifted into Rx by one function."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Generic, TypeVar

from reactivex import abc

from operators.deadlines import Deadlines
from operators.lift import Call, Operator, lift
from operators.resting import Resting
from operators.snapshots import Kept, decode, encode, state_type
from operators.tombstones import TOMBSTONE, Tombstones
from streams.events import (
    SessionCreated,
    SessionDeleted,
    SessionEvent,
    SessionExpired,
    SessionIdle,
    SessionStatus,
    StreamEvent,
)
from streams.faults import Fault, Report

__all__ = ["TOMBSTONE", "Logic", "SessionFold", "per_session"]

_State = TypeVar("_State")
_Out = TypeVar("_Out")
_Take = Callable[[_State, Any, float], Iterable[_Out | Fault] | None]


class Logic(Generic[_State, _Out]):
    """What an operator does for one session. Subclass it; ``per_session`` does the rest.

    It knows nothing of Rx, threads, clocks or other sessions. ``now`` is seconds by the pipeline's
    clock. What its methods return is iterated once: return a tuple, or write a generator. A value
    ``Fault`` among the outputs goes to the pipeline's ``errors``; an exception does too, and leaves
    the state as the method left it and what it had yielded yielded.

    The state should be a ``msgspec.Struct``, so that it can be stored.
    """

    wants: ClassVar[tuple[type[SessionEvent], ...]] = ()
    """The types of event to be called for; a base class stands for all below it. A ``StreamEvent``
    (``StreamGap``, ``LimitsChanged``, …) is handed to every live session. Any other event that names no
    session, such as a ``SessionError`` of the server itself, is nobody's and is not handed on."""

    version: ClassVar[int] = 1
    """The format of the state: one more whenever an older snapshot would be read wrongly."""

    postpones: ClassVar[tuple[type[SessionEvent], ...]] = ()
    """Types of event that never bring a deadline forward: after them ``deadline`` is not asked again
    while one stands."""

    resting: ClassVar[bool] = False
    """Whether the state of a session that is idle and has no deadline is kept encoded until the session
    is heard of again: about half the memory, for about 3 µs. It is then what msgpack makes of it."""

    def start(self, session_id: str, now: float) -> _State:
        """The state of a session that is heard of for the first time, or anew. Never None."""
        raise NotImplementedError

    def on_event(self, state: _State, event: SessionEvent, now: float) -> Iterable[_Out | Fault]:
        """Take one event in. It is the hot path: return ``()`` when there is nothing to say."""
        raise NotImplementedError

    def call_for(self, kind: type[SessionEvent]) -> "_Take[_State, _Out]":
        """What takes in the events of one type: ``on_event``, unless overridden to spare the most
        frequent ones a look at what they are."""
        return self.on_event

    def deadline(self, state: _State) -> float | None:
        """When ``on_timer`` is to be called, or None. Asked after every event and timer."""
        return None

    def on_timer(self, state: _State, now: float) -> Iterable[_Out | Fault]:
        """The deadline has come. The next one must lie after ``now``."""
        return ()

    def on_end(self, state: _State, now: float) -> Iterable[_Out | Fault]:
        """The session's state is about to be dropped (deleted, expired, or the stream is over)."""
        return ()


class SessionFold(Generic[_State, _Out]):
    """The states of all sessions under one logic, their deadlines, and nothing of Rx.

    Args:
        logic: What to do for one session.
        report: Where faults go.
    """

    def __init__(self, logic: Logic[_State, _Out], report: Report) -> None:
        self.states: dict[str, _State] = {}
        self.resting: Resting[_State] | None = Resting(logic.start) if logic.resting else None
        self.deadlines = Deadlines()
        self.tombstones = Tombstones(self.deadlines)
        self._logic = logic
        self.name = self._name = type(logic).__name__
        self._report = report
        self._deadline = None if type(logic).deadline is Logic[_State, _Out].deadline else logic.deadline
        self.on_event = self._make_fold(SessionEvent)

    def calls(self) -> Mapping[type[SessionEvent], Call[_Out]]:
        wanted: dict[type[SessionEvent], Call[_Out]] = {
            kind: self._broadcast if issubclass(kind, StreamEvent) else self._make_fold(kind)
            for kind in self._logic.wants
        }
        if SessionEvent in wanted:
            wanted[StreamEvent] = self._broadcast
        if self.resting is not None:
            wanted |= {kind: self._then_rest(wanted.get(kind)) for kind in (SessionIdle, SessionStatus)}
        return wanted | {
            SessionCreated: self._created,
            SessionDeleted: self._deleted,
            SessionExpired: self._removed,
        }

    def snapshot(self) -> bytes:
        """All that is kept. To be taken between two events."""
        states = self.states if self.resting is None else self.states | self.resting.decoded()
        return encode(self._name, self._logic.version, Kept(states, self.tombstones.kept()))

    def restore(self, snapshot: bytes) -> None:
        """Go on from a snapshot; to be called before the first event.

        Raises:
            SnapshotRefused: It is not one of this logic, or of another format.
        """
        kept = decode(snapshot, self._name, self._logic.version, state_type(self._logic.start))
        self.states.update(kept.states)
        self.tombstones.restore(kept.gone)
        if self._deadline is not None:
            for session_id, state in self.states.items():
                self.deadlines.set(session_id, self._deadline(state))

    def _make_fold(self, kind: type[SessionEvent]) -> Call[_Out]:
        """Folds one wanted event: the hot path, as one function that looks up as little as it can."""
        take, postpones = self._logic.call_for(kind), kind in self._logic.postpones
        get, start, settle = self.states.get, self._start, self._settle
        deadline, set_deadline, armed = self._deadline, self.deadlines.set, self.deadlines.armed

        def fold(event: SessionEvent, now: float) -> Iterable[_Out]:
            session_id = event.session_id
            state = get(session_id)
            if state is None and (state := start(session_id, now)) is None:
                return ()
            outputs: Iterable[_Out] = ()
            try:
                if said := take(state, event, now):
                    settle(said, outputs := [])
                if deadline is not None and not (postpones and session_id in armed):
                    at, known = deadline(state), armed.get(session_id)
                    if at != known and (at is None or known is None or at < known):
                        set_deadline(session_id, at)
            except Exception as error:
                self._fault(session_id, now, error)
            return outputs

        return fold

    def fire(self, now: float) -> list[_Out]:
        """Call ``on_timer`` of every session whose deadline has come, earliest first."""
        outputs: list[_Out] = []
        for session_id in self.deadlines.due(now):
            try:
                self._timer(session_id, now, outputs)
            except Exception as error:
                self._fault(session_id, now, error)
        return outputs

    def end(self, now: float) -> list[_Out]:
        """The stream is over: end and drop every session."""
        outputs: list[_Out] = []
        for session_id in self._known():
            self._wake(session_id)
            self._drop(session_id, now, outputs)
        self.tombstones.clear()
        return outputs

    def _start(self, session_id: str, now: float) -> _State | None:
        """The state of a session not heard of before, or that rests. None for a straggler and an event of
        no session."""
        if (resting := self._wake(session_id)) is not None:
            return resting
        if not session_id or session_id in self.tombstones:
            return None
        try:
            state = self.states[session_id] = self._logic.start(session_id, now)
        except Exception as error:
            self._fault(session_id, now, error)
            return None
        return state

    def _timer(self, session_id: str, now: float, outputs: list[_Out]) -> None:
        state = self.states.get(session_id)
        if state is None or self._deadline is None:
            self.tombstones.come_due(session_id, now)
            return
        deadline = self._deadline(state)
        if deadline is not None and deadline <= now:  # else it has moved since it was armed
            self._settle(self._logic.on_timer(state, now), outputs)
            deadline = self._deadline(state)
            if deadline is not None and deadline <= now:
                raise ValueError(f"deadline(state) gave {deadline} after on_timer at {now}: not later")
        self.deadlines.set(session_id, deadline)

    def _created(self, event: SessionEvent, now: float) -> Iterable[_Out]:
        """A session that comes to be, again even, is no straggler."""
        self.tombstones.take_away(event.session_id)
        return self.on_event(event, now) if isinstance(event, self._logic.wants) else ()

    def _deleted(self, event: SessionEvent, now: float) -> Iterable[_Out]:
        outputs = self._removed(event, now)
        self.tombstones.put(event.session_id, now)
        return outputs

    def _removed(self, event: SessionEvent, now: float) -> Iterable[_Out]:
        self._wake(event.session_id)
        if event.session_id not in self.states:
            return ()
        outputs: list[_Out] = []
        if isinstance(event, self._logic.wants):
            outputs += self.on_event(event, now)
        self._drop(event.session_id, now, outputs)
        return outputs

    def _drop(self, session_id: str, now: float, outputs: list[_Out]) -> None:
        state = self.states.pop(session_id)
        self.deadlines.forget(session_id)
        try:
            self._settle(self._logic.on_end(state, now), outputs)
        except Exception as error:
            self._fault(session_id, now, error)

    def _broadcast(self, event: SessionEvent, now: float) -> list[_Out]:
        """An event of the stream itself: every live session's, and nobody's beginning."""
        outputs: list[_Out] = []
        for session_id in self._known():
            rested = self._wake(session_id)
            state = self.states[session_id]
            try:
                self._settle(self._logic.on_event(state, event, now), outputs)
                if self._deadline is not None:
                    self.deadlines.set(session_id, self._deadline(state))
            except Exception as error:
                self._fault(session_id, now, error)
            if rested is not None:
                self._rest(session_id)
        return outputs

    def _known(self) -> list[str]:
        """All sessions that there is a state of."""
        return [*self.states, *(() if self.resting is None else self.resting.kept)]

    def _then_rest(self, call: Call[_Out] | None) -> Call[_Out]:
        """What a session's word of being idle is followed by."""

        def rest(event: SessionEvent, now: float) -> Iterable[_Out]:
            outputs = () if call is None else call(event, now)
            if not isinstance(event, SessionStatus) or event.status == "idle":
                self._rest(event.session_id)
            return outputs

        return rest

    def _rest(self, session_id: str) -> None:
        if self.resting is None or session_id in self.deadlines.armed:
            return
        if (state := self.states.get(session_id)) is not None:
            self.resting.put(session_id, state)
            del self.states[session_id]

    def _wake(self, session_id: str) -> _State | None:
        """The state of a session that rests, as one that does not."""
        if self.resting is None or (state := self.resting.take(session_id)) is None:
            return None
        self.states[session_id] = state
        return state

    def _settle(self, said: Iterable[_Out | Fault], outputs: list[_Out]) -> None:
        """Run the generator to its end, so that state is settled before anything is emitted."""
        for value in said:
            if type(value) is Fault:  # isinstance takes four times as long to say no
                self._report(value)
            else:
                outputs.append(value)

    def _fault(self, session_id: str, now: float, error: Exception) -> None:
        self._report(Fault(self._name, session_id, now, error))


def per_session(
    logic: Logic[_State, _Out], *, scheduler: abc.SchedulerBase | None = None
) -> Operator[_Out]:
    """Lift a logic into an operator that keeps one state per session.

    Like ``group_by`` followed by ``scan``, without an Observable per group.

    Args:
        logic: What to do for one session. One object serves every subscription, so it keeps nothing
            itself; each subscription has states of its own.
        scheduler: Clock and timers; by default the one of ``subscribe``, else the source's own, else
            ``streams.schedulers.daemon()``.

    Returns:
        An operator for ``pipe``.

    Memory: per session the state (encoded while the session is idle, if the logic is ``resting``), its
        place in a dict, and one heap entry while it has a deadline.
        Dropped at ``SessionDeleted`` and ``SessionExpired``; events of a deleted session are
        swallowed for 60 s unless ``SessionCreated`` brings it back.
    Time: one pending timer, however many sessions; none while no session has a deadline and none was
        deleted in the last 60 s. Deadlines are exact: an event that arrives at or after one finds
        ``on_timer`` called already.
    On completion and error: ``on_end`` of every session, then the end. On dispose: nothing.
    """
    return lift(lambda report: SessionFold(logic, report), scheduler)
