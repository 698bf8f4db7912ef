"""Sessions that descend from one another: who works below whom, and who is told of it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from operators.deadlines import Deadlines
from operators.lift import Call
from operators.per_session import Logic, SessionFold
from streams.events import (
    SessionCreated,
    SessionDeleted,
    SessionEvent,
    SessionExpired,
    SessionIdle,
    SessionStatus,
    SessionUpdated,
)
from streams.faults import Report

__all__ = ["Family", "FamilyFold", "FamilyLogic", "Member"]


class Member(Protocol):
    """What a session's state tells of its place. The logic keeps it."""

    parent_id: str
    working: bool


_Member = TypeVar("_Member", bound=Member)
_Out = TypeVar("_Out")


class Family:
    """Children by parent: an index; everything else is in the sessions' states.

    Memory: one entry per child. Time: a question costs as many steps as there are descendants.
    """

    def __init__(self) -> None:
        self.states: Mapping[str, Member] = {}
        self._children: dict[str, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._children)

    def add(self, session_id: str, parent_id: str) -> None:
        """A session has a parent; said twice, it is the same."""
        if parent_id:
            self._children.setdefault(parent_id, {})[session_id] = None

    def remove(self, session_id: str, parent_id: str) -> None:
        """A session is gone."""
        siblings = self._children.get(parent_id, {})
        siblings.pop(session_id, None)
        if not siblings:
            self._children.pop(parent_id, None)

    def works_below(self, session_id: str) -> bool:
        """Whether a descendant, at any depth, is at work (P6, D12)."""
        below = [*self._children.get(session_id, ())]
        while below:
            child = below.pop()
            if self.states[child].working:
                return True
            if child != session_id:  # no server makes a circle of parents; one must not hang us
                below += self._children.get(child, ())
        return False

    def ancestors(self, parent_id: str) -> Iterator[str]:
        """The parent, its parent, and so on, as far as they are known."""
        seen: set[str] = set()
        while parent_id not in seen and (state := self.states.get(parent_id)) is not None:
            yield parent_id
            seen.add(parent_id)
            parent_id = state.parent_id


class FamilyLogic(Logic[_Member, _Out]):
    """A logic whose sessions care whether their descendants work."""

    def rested(self, state: _Member, now: float) -> None:
        """A descendant does not work any more. It may move the deadline."""
        raise NotImplementedError


class FamilyFold(Generic[_Member, _Out]):
    """One state per session, as ``SessionFold``, and the family that these make up.

    Args:
        make_logic: Makes the logic; it is given the family to ask.
        report: Where faults go.
    """

    def __init__(
        self, make_logic: Callable[[Family], FamilyLogic[_Member, _Out]], report: Report
    ) -> None:
        self.family = Family()
        self._logic = make_logic(self.family)
        self._fold = SessionFold(self._logic, report)
        self.states: dict[str, _Member] = self._fold.states
        self.deadlines: Deadlines = self._fold.deadlines
        self.family.states = self.states

    def calls(self) -> Mapping[type[SessionEvent], Call[_Out]]:
        calls = dict(self._fold.calls())
        for kind in (SessionUpdated, SessionStatus, SessionIdle):
            calls[kind] = self._follow(self._fold.on_event)
        for kind in (SessionCreated, SessionDeleted, SessionExpired):
            calls[kind] = self._follow(calls[kind])
        return calls

    def fire(self, now: float) -> Iterable[_Out]:
        return self._fold.fire(now)

    def end(self, now: float) -> Iterable[_Out]:
        return self._fold.end(now)

    def _follow(self, call: Call[_Out]) -> Call[_Out]:
        """Keep the family up to date around a call, and tell the ancestors of who came to rest."""

        def follow(event: SessionEvent, now: float) -> Iterable[_Out]:
            session_id = event.session_id
            before = self.states.get(session_id)
            worked, parent_id = (before.working, before.parent_id) if before else (False, "")
            outputs = call(event, now)
            after = self.states.get(session_id)
            if after is None or after.parent_id != parent_id:
                self.family.remove(session_id, parent_id)
            if after is not None:
                self.family.add(session_id, after.parent_id)
            if worked and (after is None or not after.working):
                self._rested(parent_id, now)
            return outputs

        return follow

    def _rested(self, parent_id: str, now: float) -> None:
        for session_id in self.family.ancestors(parent_id):
            state = self.states[session_id]
            self._logic.rested(state, now)
            self.deadlines.set(session_id, self._logic.deadline(state))
