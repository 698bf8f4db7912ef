"""A fold over sessions that know each other: what parents and children need beyond ``per_session``."""

from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from operators.deadlines import Deadlines
from operators.lift import Call
from operators.session_tree import SessionTree
from operators.tombstones import Tombstones
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
    SessionInfo,
    SessionStatus,
    StreamConnected,
    StreamGap,
)
from streams.faults import Fault, Report

__all__ = ["ACTIVE", "FamilyFold"]

ACTIVE = ("busy", "retry", "running")
"""Statuses of a session at work; any other goes the way of idle (P16)."""

_State = TypeVar("_State")
_Out = TypeVar("_Out")
_Take = Callable[[_State, SessionEvent, float], Iterable[_Out]]


class FamilyFold(Generic[_State, _Out]):
    """States per session, the tree between them, and the requests that wait for a human.

    A subclass says what it takes in (``takes``), makes states (``start``), and hears of time
    (``on_timer``), of links (``linked``), of waiting (``waiting_changed``) and of the end of a session
    (``gone``). An exception in one session's fold is one ``Fault``; the others go on.

    Everything but ``states`` can be made again from the events of ``SessionInfo``.
    """

    def __init__(self, report: Report) -> None:
        self.states: dict[str, _State] = {}
        self.deadlines = Deadlines()
        self.tree = SessionTree()
        self.requests: dict[str, str] = {}
        """Which session asked, by request."""
        self._unheard: set[str] = set()
        """Sessions with a state only because another one names them."""
        self._tombstones = Tombstones(self.deadlines)
        self.report = report
        self._takes = {kind: self._taking(take) for kind, take in self.takes().items()}

    # --- for the subclass ---------------------------------------------------------------------------

    def takes(self) -> "Mapping[type[SessionEvent], _Take[_State, _Out]]":
        """What to call, with the session's state, for which type of event."""
        raise NotImplementedError

    def start(self, session_id: str, now: float) -> _State:
        """The state of a session that is heard of for the first time."""
        raise NotImplementedError

    def deadline(self, state: _State) -> float | None:
        """When ``on_timer`` is to be called for the session, or None."""
        return None

    def on_timer(self, state: _State, now: float) -> Iterable[_Out]:
        """The session's deadline has come."""
        return ()

    def linked(self, session_id: str, now: float) -> Iterable[_Out]:
        """The session's parent has become known, or is another."""
        return ()

    def waiting_changed(self, session_ids: Iterable[str], now: float) -> Iterable[_Out]:
        """These sessions began or ceased to wait for a human."""
        return ()

    def gone(self, state: _State, event: SessionEvent | None, now: float) -> Iterable[_Out]:
        """The session was deleted, has expired, or (None) the stream is over; its state is dropped."""
        return ()

    def reconnected(self, now: float) -> Iterable[_Out]:
        """The stream was connected anew: what was pending before may have ended unheard."""
        return ()

    def is_waiting(self, session_id: str) -> bool:
        """Whether the session, or any below it, waits for a human."""
        return any(
            asked == session_id or session_id in self.tree.ancestors(asked)
            for asked in self.requests.values()
        )

    # --- for lift -----------------------------------------------------------------------------------

    def calls(self) -> Mapping[type[SessionEvent], Call[_Out]]:
        takes = self._takes
        return takes | {
            SessionInfo: self._info,
            SessionCreated: self._info,
            SessionStatus: self._ended_if_idle(takes.get(SessionStatus)),
            SessionIdle: self._ended_if_idle(takes.get(SessionIdle)),
            PermissionAsked: self._asked,
            QuestionAsked: self._asked,
            PermissionReplied: self._replied,
            QuestionReplied: self._replied,
            SessionDeleted: self._gone,
            SessionExpired: self._gone,
            StreamConnected: self._reconnected,
            StreamGap: self._reconnected,
        }

    def fire(self, now: float) -> list[_Out]:
        outputs: list[_Out] = []
        for session_id in self.deadlines.due(now):
            state = self.states.get(session_id)
            deadline = None if state is None else self.deadline(state)
            if state is None:
                self._tombstones.come_due(session_id, now)
            elif deadline is None or deadline > now:
                self.deadlines.set(session_id, deadline)
            else:
                outputs += self._guarded(session_id, self.on_timer, state, now)
        return outputs

    def end(self, now: float) -> list[_Out]:
        outputs: list[_Out] = []
        for session_id, state in list(self.states.items()):
            outputs += self._guarded(session_id, self.gone, state, None, now)
        self.states.clear()
        self._unheard.clear()
        self._tombstones.clear()
        return outputs

    def state_of(self, event: SessionEvent, now: float) -> _State | None:
        """The session's state, made if need be; None for a straggler and for events of no session."""
        session_id = event.session_id
        state = self.states.get(session_id)
        if state is None and session_id and session_id not in self._tombstones:
            state = self.states[session_id] = self.start(session_id, now)
        self._unheard.discard(session_id)
        return state

    def named(self, session_id: str, now: float) -> _State | None:
        """The state of a session that another one names; None for one deleted a moment ago.

        Nobody says that it is gone while nothing is heard of it (it may have expired before), so it is
        dropped with the last session that is linked to it (R6).
        """
        state = self.states.get(session_id)
        if state is None and session_id and session_id not in self._tombstones:
            state = self.states[session_id] = self.start(session_id, now)
            self._unheard.add(session_id)
        return state

    def _taking(self, take: "_Take[_State, _Out]") -> Call[_Out]:
        get, set_deadline, deadline = self.states.get, self.deadlines.set, self.deadline
        unheard = self._unheard

        def taking(event: SessionEvent, now: float) -> Iterable[_Out]:
            session_id = event.session_id
            try:
                state = get(session_id) or self.state_of(event, now)
                if state is None:
                    return ()
                outputs = take(state, event, now)
                if outputs:
                    outputs = list(outputs)
                set_deadline(session_id, deadline(state))
            except Exception as error:
                self._fault(session_id, now, error)
                return ()
            if unheard:
                unheard.discard(session_id)
            return outputs

        return taking

    def _guarded(
        self, session_id: str, call: Callable[..., Iterable[_Out]], *arguments: object
    ) -> list[_Out]:
        try:
            outputs = list(call(*arguments))
        except Exception as error:
            self._fault(session_id, arguments[-1], error)
            return []
        state = self.states.get(session_id)
        if state is not None:
            self.deadlines.set(session_id, self.deadline(state))
        return outputs

    def _fault(self, session_id: str, now: object, error: Exception) -> None:
        at = now if isinstance(now, float) else 0.0
        self.report(Fault(type(self).__name__, session_id, at, error))

    def _info(self, event: SessionEvent, now: float) -> Iterable[_Out]:
        if not isinstance(event, SessionInfo):
            return ()
        if isinstance(event, SessionCreated):
            self._tombstones.take_away(event.session_id)
        if self.state_of(event, now) is None:
            return ()
        linked = self.tree.link(event.session_id, event.parent_id)
        take = self._takes.get(SessionInfo)
        outputs: list[_Out] = [] if take is None else [*take(event, now)]
        if linked:
            outputs += self._guarded(event.session_id, self.linked, event.session_id, now)
        return outputs

    def _ended_if_idle(self, call: Call[_Out] | None) -> Call[_Out]:
        """An aborted turn drops its requests without a word: idle ends waiting (I5)."""

        def status(event: SessionEvent, now: float) -> Iterable[_Out]:
            outputs: list[_Out] = []
            idle = not isinstance(event, SessionStatus) or event.status not in ACTIVE
            if idle and event.session_id in self.requests.values():
                mine = [each for each, asked in self.requests.items() if asked == event.session_id]
                outputs += self._no_longer(mine, event.session_id, now)
            if call is not None:
                outputs += call(event, now)
            return outputs

        return status

    def _asked(self, event: SessionEvent, now: float) -> Iterable[_Out]:
        if not isinstance(event, PermissionAsked | QuestionAsked) or self.state_of(event, now) is None:
            return ()
        session_id = event.session_id
        self.requests[event.request_id] = session_id
        return self._waiting_changed([session_id, *self.tree.ancestors(session_id)], now)

    def _replied(self, event: SessionEvent, now: float) -> Iterable[_Out]:
        if not isinstance(event, PermissionReplied | QuestionReplied):
            return ()
        return self._no_longer([event.request_id], event.session_id, now)

    def _no_longer(self, requests: list[str], session_id: str, now: float) -> list[_Out]:
        answered = [self.requests.pop(each, None) for each in requests]
        if not any(answered):
            return []
        return self._waiting_changed([session_id, *self.tree.ancestors(session_id)], now)

    def _waiting_changed(self, session_ids: list[str], now: float) -> list[_Out]:
        known = [each for each in session_ids if each in self.states]
        outputs = self._guarded("", self.waiting_changed, known, now)
        for session_id in known:
            self.deadlines.set(session_id, self.deadline(self.states[session_id]))
        return outputs

    def _gone(self, event: SessionEvent, now: float) -> Iterable[_Out]:
        self.deadlines.forget(event.session_id)
        if isinstance(event, SessionDeleted):
            self._tombstones.put(event.session_id, now)
        return self._dropped(event.session_id, event, now)

    def _dropped(self, session_id: str, event: SessionEvent, now: float) -> list[_Out]:
        """Drop a session, and those of its relatives that nothing but it was linked to."""
        relatives = [self.tree.parent(session_id), *self.tree.children(session_id)]
        state = self.states.pop(session_id, None)
        self._unheard.discard(session_id)
        mine = [each for each, asked in self.requests.items() if asked == session_id]
        outputs = self._no_longer(mine, session_id, now)
        if state is not None:
            outputs += self._guarded(session_id, self.gone, state, event, now)
        self.tree.forget(session_id)
        for each in self._unheard.intersection(relatives):
            linked = (self.tree.parent(each), *self.tree.children(each))
            if not any(other in self.states for other in linked):
                self.deadlines.forget(each)
                outputs += self._dropped(each, event, now)
        return outputs

    def _reconnected(self, event: SessionEvent, now: float) -> Iterable[_Out]:
        outputs = self._guarded("", self.reconnected, now)
        for session_id, state in self.states.items():
            self.deadlines.set(session_id, self.deadline(state))
        return outputs
