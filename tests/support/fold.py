"""The last word on everything, as events tell it and as a server answers: they must be equal."""

import json
import threading
from collections.abc import Callable
from typing import Any

from streams import events as ev
from streams.events import SessionEvent

State = dict[str, Any]


class Fold:
    """Folds events by last write wins. Events may come on any thread; a test can wait."""

    def __init__(self) -> None:
        self.events: list[SessionEvent] = []
        self.sessions: State = {}
        self.messages: dict[str, dict[str, State]] = {}
        self.todos: dict[str, Any] = {}
        self.statuses: dict[str, str] = {}
        self.permissions: dict[str, str] = {}
        self._newest: dict[str, str] = {}
        self._changed = threading.Condition()

    def take(self, event: SessionEvent) -> None:
        with self._changed:
            self.events.append(event)
            self._fold(event)
            self._changed.notify_all()

    def wait_for(self, found: Callable[["Fold"], Any], timeout: float = 60) -> Any:
        with self._changed:
            if not self._changed.wait_for(lambda: found(self), timeout):
                raise TimeoutError(f"not found; the last events: {self.events[-12:]}")
            return found(self)

    def wait_for_idle(self, session_id: str, timeout: float = 60) -> None:
        """Wait until the session's turn is over, and the bookkeeping after it too."""
        self.wait_for(lambda fold: fold.statuses.get(session_id) == "idle", timeout)

    def count(self, kind: type[SessionEvent]) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    def tools(self, session_id: str) -> dict[str, str]:
        """Each tool call of a session, and its status."""
        return {part["id"]: part["state"]["status"] for part in self.parts(session_id, "tool")}

    def parts(self, session_id: str, kind: str) -> list[dict[str, Any]]:
        """The parts of a session of one type, such as ``compaction``: a summary has been asked for."""
        return [
            part
            for message in self.messages.get(session_id, {}).values()
            for part in message["parts"].values()
            if part["type"] == kind
        ]

    def history(self, session_id: str) -> list[dict[str, Any]]:
        """As ``GET /session/{id}/message`` answers."""
        messages = self.messages.get(session_id, {})
        return [
            {
                "info": messages[key]["info"],
                "parts": [part for _, part in sorted(messages[key]["parts"].items())],
            }
            for key in sorted(messages)
        ]

    def _fold(self, event: SessionEvent) -> None:
        session_id = event.session_id
        match event:
            case ev.SessionInfo():
                self.sessions[session_id] = _properties(event)["info"]
            case ev.SessionDeleted():
                self.sessions.pop(session_id, None)
                self.messages.pop(session_id, None)
            case ev.MessageUpdated() if self._is_news(event, event.message_id):
                self._message(session_id, event.message_id)["info"] = _properties(event)["info"]
            case ev.MessageRemoved():
                self.messages.get(session_id, {}).pop(event.message_id, None)
            case ev.PartUpdated() if self._is_news(event, event.part.id):
                part = event.part
                self._message(session_id, part.message_id)["parts"][part.id] = _properties(event)["part"]
            case ev.PartRemoved():
                self._message(session_id, event.message_id)["parts"].pop(event.part_id, None)
            case ev.TodosUpdated():
                self.todos[session_id] = [(todo.content, todo.status) for todo in event.todos]
            case ev.SessionStatus(status=status):
                self.statuses[session_id] = status
            case ev.PermissionAsked(request_id=request_id):
                self.permissions[request_id] = session_id
            case ev.PermissionReplied(request_id=request_id):
                self.permissions.pop(request_id, None)
            case _:
                pass

    def _is_news(self, event: SessionEvent, key: str) -> bool:
        """S4: of what was told twice, the newest counts, not the last to arrive; ids ascend with time."""
        is_news = event.event_id >= self._newest.get(key, "")
        if is_news:
            self._newest[key] = event.event_id
        return is_news

    def _message(self, session_id: str, message_id: str) -> State:
        return self.messages.setdefault(session_id, {}).setdefault(message_id, {"parts": {}})


def _properties(event: SessionEvent) -> dict[str, Any]:
    payload = json.loads(event.raw)
    return payload.get("payload", payload)["properties"]
