"""The kernel: a fold per session, written in plain Python, lifted into Rx by one function."""

from collections.abc import Iterable, Mapping
from typing import ClassVar, Final, Generic, TypeVar

from reactivex import abc

from operators.deadlines import Deadlines
from operators.lift import Call, Operator, lift
from streams.events import SessionCreated, SessionDeleted, SessionEvent, SessionExpired
from streams.faults import Fault, Report

__all__ = ["Logic", "SessionFold", "per_session"]

_State = TypeVar("_State")
_Out = TypeVar("_Out")

TOMBSTONE: Final = 60.0
"""Seconds for which events of a deleted session are swallowed. Seen: stragglers after 5 s."""


class Logic(Generic[_State, _Out]):
    """What an operator does for one session. Subclass it; ``per_session`` does the rest.

    It knows nothing of Rx, threads, clocks or other sessions. ``now`` is seconds by the pipeline's
    clock. What its methods return is iterated once: return a tuple, or write a generator. A value
    ``Fault`` among the outputs goes to the pipeline's ``errors``; an exception does too, and leaves
    the state as the method left it.

    The state should be a ``msgspec.Struct``, so that it can be stored.
    """

    wants: ClassVar[tuple[type[SessionEvent], ...]] = ()
    """The types of event to be called for; a base class stands for all below it. Those that belong
    to no session (``StreamGap``, ``LimitsChanged``, …) are handed to every live session."""

    def start(self, session_id: str, now: float) -> _State:
        """The state of a session that is heard of for the first time."""
        raise NotImplementedError

    def on_event(self, state: _State, event: SessionEvent, now: float) -> Iterable[_Out | Fault]:
        """Take one event in. It is the hot path: return ``()`` when there is nothing to say."""
        raise NotImplementedError

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
        self.deadlines = Deadlines()
        self._logic = logic
        self._name = type(logic).__name__
        self._report = report
        self._on_event = logic.on_event
        timed = getattr(type(logic), "deadline", None) is not getattr(Logic, "deadline", None)
        self._deadline = logic.deadline if timed else None
        self._tombstones: dict[str, float] = {}
        self.on_event = self._make_fold()

    def calls(self) -> Mapping[type[SessionEvent], Call[_Out]]:
        wanted: dict[type[SessionEvent], Call[_Out]] = dict.fromkeys(self._logic.wants, self.on_event)
        return wanted | {
            SessionCreated: self._created,
            SessionDeleted: self._deleted,
            SessionExpired: self._removed,
        }

    def _make_fold(self) -> Call[_Out]:
        """The hot path, as one function that looks up as little as it can."""
        logic, get, open_, sorted_out = self._on_event, self.states.get, self._open, self._sorted_out
        deadline, set_deadline, armed = self._deadline, self.deadlines.set, self.deadlines.armed

        def fold(event: SessionEvent, now: float) -> Iterable[_Out]:
            session_id = event.session_id
            state = get(session_id)
            if state is None:
                return open_(event, now)
            try:
                said = logic(state, event, now)
                outputs = sorted_out(said) if said else ()
                if deadline is not None:
                    at, known = deadline(state), armed.get(session_id)
                    if at != known and (at is None or known is None or at < known):
                        set_deadline(session_id, at)
            except Exception as error:
                self._fault(session_id, now, error)
                return ()
            return outputs

        return fold

    def _open(self, event: SessionEvent, now: float) -> Iterable[_Out]:
        """The first event of a session, one of no session, or a straggler of a deleted one."""
        session_id = event.session_id
        if not session_id:
            return self._broadcast(event, now)
        if self._tombstones and self._is_dead(session_id, now):
            return ()
        try:
            self.states[session_id] = self._logic.start(session_id, now)
        except Exception as error:
            self._fault(session_id, now, error)
            return ()
        return self.on_event(event, now)

    def fire(self, now: float) -> list[_Out]:
        """Call ``on_timer`` of every session whose deadline has come, earliest first."""
        outputs: list[_Out] = []
        for session_id in self.deadlines.due(now):
            try:
                outputs += self._timer(session_id, now)
            except Exception as error:
                self._fault(session_id, now, error)
        return outputs

    def end(self, now: float) -> list[_Out]:
        """The stream is over: end and drop every session."""
        outputs: list[_Out] = []
        for session_id in list(self.states):
            outputs += self._drop(session_id, now)
        self._tombstones.clear()
        return outputs

    def _timer(self, session_id: str, now: float) -> Iterable[_Out]:
        state = self.states.get(session_id)
        if state is None or self._deadline is None:
            return ()
        deadline = self._deadline(state)
        if deadline is None or deadline > now:  # it has moved since it was armed
            self.deadlines.set(session_id, deadline)
            return ()
        outputs = self._sorted_out(self._logic.on_timer(state, now))
        deadline = self._deadline(state)
        if deadline is not None and deadline <= now:
            raise ValueError(f"deadline(state) gave {deadline} after on_timer at {now}: not later")
        self.deadlines.set(session_id, deadline)
        return outputs

    def _created(self, event: SessionEvent, now: float) -> Iterable[_Out]:
        """A session that comes to be, again even, is no straggler."""
        self._tombstones.pop(event.session_id, None)
        return self.on_event(event, now) if isinstance(event, self._logic.wants) else ()

    def _deleted(self, event: SessionEvent, now: float) -> Iterable[_Out]:
        outputs = self._removed(event, now)
        for session_id, until in list(self._tombstones.items()):
            if until > now:
                break
            del self._tombstones[session_id]
        self._tombstones[event.session_id] = now + TOMBSTONE
        return outputs

    def _removed(self, event: SessionEvent, now: float) -> Iterable[_Out]:
        if event.session_id not in self.states:
            return ()
        outputs: list[_Out] = []
        if isinstance(event, self._logic.wants):
            outputs += self.on_event(event, now)
        return outputs + self._drop(event.session_id, now)

    def _drop(self, session_id: str, now: float) -> list[_Out]:
        state = self.states.pop(session_id)
        self.deadlines.forget(session_id)
        try:
            return self._sorted_out(self._logic.on_end(state, now))
        except Exception as error:
            self._fault(session_id, now, error)
            return []

    def _broadcast(self, event: SessionEvent, now: float) -> list[_Out]:
        outputs: list[_Out] = []
        for session_id, state in list(self.states.items()):
            try:
                outputs += self._sorted_out(self._on_event(state, event, now))
                if self._deadline is not None:
                    self.deadlines.set(session_id, self._deadline(state))
            except Exception as error:
                self._fault(session_id, now, error)
        return outputs

    def _is_dead(self, session_id: str, now: float) -> bool:
        until = self._tombstones.get(session_id)
        if until is not None and until <= now:
            del self._tombstones[session_id]
        return until is not None and until > now

    def _sorted_out(self, outputs: Iterable[_Out | Fault]) -> list[_Out]:
        """Run the generator to its end, so that state is settled before anything is emitted."""
        values: list[_Out] = []
        for value in outputs:
            if isinstance(value, Fault):
                self._report(value)
            else:
                values.append(value)
        return values

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

    Memory: per session the state, its place in a dict, and one heap entry while it has a deadline.
        Dropped at ``SessionDeleted`` and ``SessionExpired``; events of a deleted session are
        swallowed for 60 s unless ``SessionCreated`` brings it back.
    Time: one pending timer, however many sessions; none while no session has a deadline. Deadlines
        are exact: an event that arrives at or after one finds ``on_timer`` called already.
    On completion and error: ``on_end`` of every session, then the end. On dispose: nothing.
    """
    return lift(lambda report: SessionFold(logic, report), scheduler)
