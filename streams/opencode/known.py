"""What a connection remembers of the sessions it heard of, so that it asks about few after a gap."""

from typing import Final

import msgspec

from streams import events as ev
from streams.events import SessionEvent

__all__ = ["Known", "KnownSessions"]

MAX_SESSIONS: Final = 10_000
MAX_PENDING: Final = 10_000


class Known(msgspec.Struct):
    """One session: whether its last word was that it is idle, and whether it has a todo list."""

    idle: bool = False
    todos: bool = False


class KnownSessions:
    """Follows the published events.

    Attributes:
        sessions: Those heard of, the one heard of longest ago first; at most 10 000.
        pending: Permissions and questions asked and not answered, by request.
        updated: The newest ``time.updated`` of any session, seconds by the server's clock.
    """

    def __init__(self) -> None:
        self.sessions: dict[str, Known] = {}
        self.pending: dict[str, ev.PermissionAsked | ev.QuestionAsked] = {}
        self.updated = 0.0

    def note(self, event: SessionEvent) -> None:
        """Take one event in."""
        session_id = event.session_id
        if type(event) is ev.PartDelta or not session_id:
            return
        if isinstance(event, ev.SessionDeleted):
            self._forget(session_id)
            return
        known = self.sessions.pop(session_id, None) or Known()
        self.sessions[session_id] = known
        if len(self.sessions) > MAX_SESSIONS:
            self._forget(next(iter(self.sessions)))
        if isinstance(event, ev.SessionInfo):
            self.updated = max(self.updated, event.updated)
        elif isinstance(event, ev.SessionStatus | ev.SessionIdle):
            known.idle = not isinstance(event, ev.SessionStatus) or event.status == "idle"
            if known.idle:  # an abort drops what was asked without a word
                self._forget_pending(session_id)
        elif isinstance(event, ev.TodosUpdated):
            known.todos = bool(event.todos)
        elif isinstance(event, ev.PermissionAsked | ev.QuestionAsked):
            if len(self.pending) < MAX_PENDING:
                self.pending[event.request_id] = event
        elif isinstance(event, ev.PermissionReplied | ev.QuestionReplied):
            self.pending.pop(event.request_id, None)

    def unsure(self) -> list[str]:
        """Sessions of which the last word was not that they are idle."""
        return [session_id for session_id, known in self.sessions.items() if not known.idle]

    def has_todos(self, session_id: str) -> bool:
        known = self.sessions.get(session_id)
        return known is not None and known.todos

    def _forget(self, session_id: str) -> None:
        self.sessions.pop(session_id, None)
        self._forget_pending(session_id)

    def _forget_pending(self, session_id: str) -> None:
        if self.pending:
            ended = [key for key, asked in self.pending.items() if asked.session_id == session_id]
            for request_id in ended:
                del self.pending[request_id]
