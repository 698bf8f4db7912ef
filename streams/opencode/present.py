"""How things stand now: status, todos, permissions, questions. No log holds them; they are asked for."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from streams import events as ev
from streams.events import SessionEvent
from streams.opencode import answers
from streams.opencode.asking import Asking
from streams.opencode.known import KnownSessions

__all__ = ["Present"]

Wants = Callable[..., bool]
"""Whether anybody listens to events of these types."""


class Present:
    """Asks each thing once, of the sessions that may have changed, and only what somebody listens to.

    Args:
        asking: How to ask.
        known: What was the last word.
        wants: Whether anybody listens to events of these types.
    """

    def __init__(self, asking: Asking, known: KnownSessions, wants: Wants) -> None:
        self._asking = asking
        self._known = known
        self._wants = wants

    def events(self, of: Iterable[tuple[str, str]], at: float) -> Iterator[SessionEvent]:
        """The events that would have told of it.

        Args:
            of: Sessions, each with its directory ("" where it is not known).
            at: When they are received.
        """
        by_directory: dict[str, list[str]] = {}
        for session_id, directory in of:
            by_directory.setdefault(directory, []).append(session_id)
        for directory, session_ids in by_directory.items():
            parameters = {"directory": directory} if directory else {}
            if self._wants(ev.PermissionAsked, ev.PermissionReplied):
                yield from self._permissions(session_ids, parameters, at)
            if self._wants(ev.QuestionAsked, ev.QuestionReplied):
                yield from self._questions(session_ids, parameters, at)
            if self._wants(ev.TodosUpdated):
                yield from self._todos(session_ids, at)
            if self._wants(ev.SessionStatus, ev.SessionIdle):
                yield from self._statuses(session_ids, parameters, at)

    def _permissions(
        self, session_ids: list[str], parameters: dict[str, str], at: float
    ) -> Iterator[SessionEvent]:
        read = partial(answers.asked_events, kind="permission.asked", at=at)
        pending = self._asking.optional(read, "GET", "/permission", parameters)
        for asked in self._answered(pending, session_ids, ev.PermissionAsked):
            yield ev.PermissionReplied(asked.session_id, at, request_id=asked.request_id)
        yield from pending or ()

    def _questions(
        self, session_ids: list[str], parameters: dict[str, str], at: float
    ) -> Iterator[SessionEvent]:
        read = partial(answers.asked_events, kind="question.asked", at=at)
        pending = self._asking.optional(read, "GET", "/question", parameters)
        for asked in self._answered(pending, session_ids, ev.QuestionAsked):
            yield ev.QuestionReplied(asked.session_id, at, request_id=asked.request_id)
        yield from pending or ()

    def _answered(
        self,
        pending: list[SessionEvent] | None,
        session_ids: list[str],
        kind: type[ev.PermissionAsked] | type[ev.QuestionAsked],
    ) -> list[ev.PermissionAsked | ev.QuestionAsked]:
        """What was pending and is no more: nobody will say how it was answered."""
        if pending is None:
            return []
        still = {getattr(event, "request_id", "") for event in pending}
        return [
            asked
            for request_id, asked in self._known.pending.items()
            if isinstance(asked, kind) and asked.session_id in session_ids and request_id not in still
        ]

    def _todos(self, session_ids: list[str], at: float) -> Iterator[SessionEvent]:
        for session_id in session_ids:
            read = partial(answers.todo_event, session_id=session_id, at=at)
            event = self._asking.optional(read, "GET", f"/session/{session_id}/todo")
            if isinstance(event, ev.TodosUpdated) and (event.todos or self._known.has_todos(session_id)):
                yield event

    def _statuses(
        self, session_ids: list[str], parameters: dict[str, str], at: float
    ) -> Iterator[SessionEvent]:
        read = partial(answers.status_events, at=at)
        statuses = self._asking.optional(read, "GET", "/session/status", parameters)
        if statuses is None:
            return
        yield from statuses.values()
        for session_id in session_ids:
            if session_id not in statuses:  # S1: one that is absent is idle
                yield ev.SessionStatus(session_id, at, status="idle")
                yield ev.SessionIdle(session_id, at)
