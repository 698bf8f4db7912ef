"""A fold over sessions that know each other: what parents and children need beyond ``per_session``."""

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, Generic, TypeVar, cast

from operators.deadlines import Deadlines
from operators.lift import Call
from operators.session_tree import SessionTree
from operators.snapshots import Kept, decode, encode, state_type
from operators.tombstones import Tombstones
from operators.turn import ACTIVE
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

__all__ = ["FamilyFold"]

_State = TypeVar("_State")
_Out = TypeVar("_Out")
_Take = Callable[[_State, SessionEvent, float], Iterable[_Out]]


class FamilyFold(Generic[_State, _Out]):
    """States per session, the tree between them, and the requests that wait for a human.

    A subclass says what it takes in (``takes``), makes states (``start``), and hears of time
    (``on_timer``), of links (``linked``), of news of a session (``described``), of waiting
    (``waiting_changed``) and of the end of a session (``gone``). An exception in one session's fold is
    one ``Fault``; the others go on.

    States are made by a session's own events alone: one that is only named by others has nothing that
    could end it (E1).

    Everything but ``states`` can be made again from the events of ``SessionInfo``.
    """

    version: ClassVar[int] = 1
    """The format of the state: one more whenever an older snapshot would be read wrongly."""

    def __init__(self, report: Report) -> None:
        self.name = type(self).__name__
        self.states: dict[str, _State] = {}
        self.deadlines = Deadlines()
        self.tree = SessionTree()
        self.requests: dict[str, str] = {}
        """Which session asked, by request."""
        self.waiting: dict[str, None] = {}
        """Sessions that wait for a human, themselves or one below them."""
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

    def described(self, session_id: str, now: float) -> Iterable[_Out]:
        """The session said something of itself, and its parent is the same."""
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

    def link(self, session_id: str, parent_id: str, now: float) -> list[_Out]:
        """Note who started a session, and say what follows from that."""
        if not self.tree.link(session_id, parent_id):
            return []
        known = session_id in self.states
        outputs = self._guarded(session_id, self.linked, session_id, now) if known else []
        return outputs + self._look_who_waits(now)

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
        self._tombstones.clear()
        return outputs

    def snapshot(self) -> bytes:
        """All that is kept. To be taken between two events."""
        return encode(
            self.name,
            self.version,
            Kept(
                self.states,
                self._tombstones.kept(),
                self.tree.kept(),
                self.requests,
                tuple(self.waiting),
            ),
        )

    def restore(self, snapshot: bytes) -> None:
        """Go on from a snapshot; to be called before the first event.

        Raises:
            SnapshotRefused: It is not one of this fold, or of another format.
        """
        kept = decode(snapshot, self.name, self.version, state_type(self.start))
        self.states.update(kept.states)
        self._tombstones.restore(kept.gone)
        self.tree.restore(kept.children)
        self.requests.update(kept.requests)
        self.waiting = dict.fromkeys(kept.waiting)
        for session_id, state in self.states.items():
            self.deadlines.set(session_id, self.deadline(state))

    def state_of(self, event: SessionEvent, now: float) -> _State | None:
        """The session's state, made if need be; None for a straggler and for events of no session."""
        session_id = event.session_id
        state = self.states.get(session_id)
        if state is None and session_id and session_id not in self._tombstones:
            state = self.states[session_id] = self.start(session_id, now)
        return state

    def _taking(self, take: "_Take[_State, _Out]") -> Call[_Out]:
        get, set_deadline, deadline = self.states.get, self.deadlines.set, self.deadline
        armed = self.deadlines.armed

        def taking(event: SessionEvent, now: float) -> Iterable[_Out]:
            session_id = event.session_id
            try:
                state = get(session_id) or self.state_of(event, now)
                if state is None:
                    return ()
                outputs = take(state, event, now)
                if outputs:
                    outputs = list(outputs)
                if (at := deadline(state)) is not None or session_id in armed:
                    set_deadline(session_id, at)
            except Exception as error:
                self._fault(session_id, now, error)
                return ()
            return outputs

        return taking

    def _guarded(
        self, session_id: str, call: Callable[..., Iterable[_Out]], *arguments: object
    ) -> list[_Out]:
        """What the call says; the last of its arguments is the time."""
        try:
            outputs = list(call(*arguments))
        except Exception as error:
            self._fault(session_id, cast(float, arguments[-1]), error)
            return []
        state = self.states.get(session_id)
        if state is not None:
            self.deadlines.set(session_id, self.deadline(state))
        return outputs

    def _fault(self, session_id: str, now: float, error: Exception) -> None:
        self.report(Fault(self.name, session_id, now, error))

    def _info(self, event: SessionEvent, now: float) -> Iterable[_Out]:
        if not isinstance(event, SessionInfo):
            return ()
        if isinstance(event, SessionCreated):
            self._tombstones.take_away(event.session_id)
        if self.state_of(event, now) is None:
            return ()
        take = self._takes.get(SessionInfo)
        outputs: list[_Out] = [] if take is None else [*take(event, now)]
        if event.parent_id not in ("", self.tree.parent(event.session_id)):
            return outputs + self.link(event.session_id, event.parent_id, now)
        return outputs + self._guarded(event.session_id, self.described, event.session_id, now)

    def _ended_if_idle(self, call: Call[_Out] | None) -> Call[_Out]:
        """An aborted turn drops its requests without a word: idle ends waiting (I5)."""

        def status(event: SessionEvent, now: float) -> Iterable[_Out]:
            idle = not isinstance(event, SessionStatus) or event.status not in ACTIVE
            outputs = self._drop_requests(event.session_id, now) if idle else []
            return outputs if call is None else [*outputs, *call(event, now)]

        return status

    def _asked(self, event: SessionEvent, now: float) -> Iterable[_Out]:
        if not isinstance(event, PermissionAsked | QuestionAsked) or self.state_of(event, now) is None:
            return ()
        self.requests[event.request_id] = event.session_id
        return self._look_who_waits(now)

    def _replied(self, event: SessionEvent, now: float) -> Iterable[_Out]:
        if isinstance(event, PermissionReplied | QuestionReplied):
            self.requests.pop(event.request_id, None)
        return self._look_who_waits(now)

    def _drop_requests(self, session_id: str, now: float) -> list[_Out]:
        for request in [each for each, asked in self.requests.items() if asked == session_id]:
            del self.requests[request]
        return self._look_who_waits(now)

    def _look_who_waits(self, now: float) -> list[_Out]:
        """Tell those that began or ceased to wait, however the request, a link or an end came about."""
        if not self.requests and not self.waiting:
            return []
        waiting: dict[str, None] = {}
        for asking in self.requests.values():
            waiting[asking] = None
            waiting |= dict.fromkeys(self.tree.ancestors(asking))
        before, self.waiting = self.waiting, waiting
        changed = [each for each in before | waiting if (each in before) != (each in waiting)]
        known = [each for each in changed if each in self.states]
        outputs = self._guarded("", self.waiting_changed, known, now)
        for session_id in known:
            self.deadlines.set(session_id, self.deadline(self.states[session_id]))
        return outputs

    def _gone(self, event: SessionEvent, now: float) -> Iterable[_Out]:
        session_id = event.session_id
        state = self.states.pop(session_id, None)
        self.deadlines.forget(session_id)
        if isinstance(event, SessionDeleted):
            self._tombstones.put(session_id, now)
        outputs = self._drop_requests(session_id, now)
        if state is not None:
            outputs += self._guarded(session_id, self.gone, state, event, now)
        self.tree.forget(session_id)
        return outputs + self._look_who_waits(now)

    def _reconnected(self, event: SessionEvent, now: float) -> Iterable[_Out]:
        outputs = self._guarded("", self.reconnected, now)
        for session_id, state in self.states.items():
            self.deadlines.set(session_id, self.deadline(state))
        return outputs
