"""An opencode server whose past and future are a recording of ``/global/event``: no socket, no thread.

``play`` lets things happen; ``answer`` answers requests by what has happened so far, as the real server
does: the log from the numbered twins, statuses lost at a restart, and so on.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import unquote

JSON = "application/json"
PAGE = "text/html; charset=utf-8"
MAX_TOLD = 998

DURABLE = {
    "session.created",
    "session.updated",
    "session.deleted",
    "message.updated",
    "message.removed",
    "message.part.updated",
    "message.part.removed",
}

Answer = tuple[int, str, bytes]


def as_global(
    raws: Iterable[bytes],
    directory: str = "/home/dev/project",
    *,
    numbers: Counter[str] | None = None,
) -> Iterator[bytes]:
    """A recording of ``/event`` as ``/global/event`` would have sent it: in envelopes, with twins.

    Args:
        raws: The recording.
        directory: Where it happened.
        numbers: How many entries each session's log has already; they are counted on.
    """
    numbers = Counter() if numbers is None else numbers
    start = b'{"directory":%s,"project":"p","payload":' % json.dumps(directory).encode()
    for raw in raws:
        yield start + raw + b"}"
        payload = json.loads(raw)
        if payload["type"] not in DURABLE:
            continue
        properties = payload["properties"]
        session_id = properties["sessionID"]
        entry = {"id": payload["id"], "type": f"{payload['type']}.1", "seq": numbers[session_id]}
        entry |= {"aggregateID": session_id, "data": properties}
        numbers[session_id] += 1
        twin = json.dumps({"type": "sync", "syncEvent": entry}, separators=(",", ":"))
        yield start + twin.encode() + b"}"


class RecordedServer:
    """The state that a recording leads to, payload by payload.

    Args:
        payloads: The recording's payloads, as they came on ``/global/event``.
        directory: What ``GET /path`` answers.
        has_log: Whether there are twins and ``POST /sync/history``; older servers have neither.

    Attributes:
        asked: How often each route was asked, such as ``"GET /session/status"``.
        bodies: What the last request of each route brought.
        overrides: Answers by route, in place of the right ones.
    """

    def __init__(
        self, payloads: Iterable[bytes], directory: str = "/home/dev/project", *, has_log: bool = True
    ) -> None:
        self.payloads = [
            payload
            for payload in payloads
            if b"server.connected" not in payload and b"server.heartbeat" not in payload
        ]
        if not has_log:
            self.payloads = [payload for payload in self.payloads if b'"type":"sync"' not in payload]
        self.directory = directory
        self.has_log = has_log
        self.played = 0
        self.asked: Counter[str] = Counter()
        self.bodies: dict[str, Any] = {}
        self.overrides: dict[str, Callable[[], Answer]] = {}
        self.log: list[dict[str, Any]] = []
        self.sessions: dict[str, dict[str, Any]] = {}
        self.messages: dict[str, dict[str, dict[str, Any]]] = {}
        self.statuses: dict[str, Any] = {}
        self.todos: dict[str, Any] = {}
        self.pending: dict[str, dict[str, dict[str, Any]]] = {"permission": {}, "question": {}}
        self._last_id = "evt_0"
        self._greetings = 0

    # --- what happens -----------------------------------------------------------------------------

    def greeting(self) -> bytes:
        """What a new connection gets first; its id lies after all that has happened."""
        self._greetings += 1
        event_id = f"{self._last_id}~{self._greetings:06d}"
        return json.dumps(
            {"payload": {"id": event_id, "type": "server.connected", "properties": {}}},
            separators=(",", ":"),
        ).encode()

    def play(self, count: int = 1) -> list[bytes]:
        """Let the next payloads happen; returns them."""
        payloads = self.payloads[self.played : self.played + count]
        self.played += len(payloads)
        for payload in payloads:
            self._happen(json.loads(payload))
        return payloads

    def restart(self) -> None:
        """What a killed server forgets."""
        self.statuses.clear()
        self.pending = {"permission": {}, "question": {}}

    def _happen(self, envelope: dict[str, Any]) -> None:
        payload = envelope["payload"]
        if payload["type"] == "sync":
            self._log_entry(payload["syncEvent"])
            return
        self._last_id = max(self._last_id, payload["id"])
        properties = payload["properties"]
        match payload["type"].split("."):
            case ["session", "created" | "updated"]:
                self.sessions[properties["info"]["id"]] = properties["info"]
            case ["session", "deleted"]:
                self._delete(properties["info"]["id"])
            case ["session", "status"]:
                self._set_status(properties["sessionID"], properties["status"])
            case ["message", "updated"]:
                info = properties["info"]
                of_session = self.messages.setdefault(info["sessionID"], {})
                of_session.setdefault(info["id"], {"parts": {}})["info"] = info
            case ["message", "removed"]:
                self.messages.get(properties["sessionID"], {}).pop(properties["messageID"], None)
            case ["message", "part", "updated"]:
                part = properties["part"]
                of_session = self.messages.get(part["sessionID"], {})
                of_session.setdefault(part["messageID"], {"parts": {}})["parts"][part["id"]] = part
            case ["todo", "updated"]:
                self.todos[properties["sessionID"]] = properties["todos"]
            case ["permission" | "question" as kind, "asked"]:
                self.pending[kind][properties["id"]] = properties
            case ["permission" | "question" as kind, _]:
                self.pending[kind].pop(properties["requestID"], None)
            case _:
                pass

    def _log_entry(self, entry: dict[str, Any]) -> None:
        row = {key: entry[key] for key in ("id", "type", "seq", "data")}
        self.log.append(row | {"aggregate_id": entry["aggregateID"]})
        if entry["type"].startswith("session.deleted"):
            self.log = [row for row in self.log if row["aggregate_id"] != entry["aggregateID"]]

    def _delete(self, session_id: str) -> None:
        for of_session in (self.sessions, self.messages, self.statuses, self.todos):
            of_session.pop(session_id, None)

    def _set_status(self, session_id: str, status: Any) -> None:
        self.statuses.pop(session_id, None)
        if status["type"] != "idle":
            self.statuses[session_id] = status
            return
        for pending in self.pending.values():
            for key in [key for key, asked in pending.items() if asked["sessionID"] == session_id]:
                del pending[key]

    # --- what is asked ----------------------------------------------------------------------------

    def answer(self, method: str, path: str, parameters: dict[str, str], body: Any = None) -> Answer:
        """Status, media type and content."""
        parts = [unquote(part) for part in path.strip("/").split("/")]
        route = self._route(method, parts)
        self.asked[route] += 1
        self.bodies[route] = body
        if route in self.overrides:
            return self.overrides[route]()
        found = self._found(route, parts, parameters, body)
        if isinstance(found, tuple):
            return found
        return 200, JSON, json.dumps(found, separators=(",", ":")).encode()

    def _route(self, method: str, parts: list[str]) -> str:
        shown = ["{id}" if part.startswith("ses_") else part for part in parts]
        return f"{method} /{'/'.join(shown)}"

    def _found(self, route: str, parts: list[str], parameters: dict[str, str], body: Any) -> Any:
        session_id = parts[1] if len(parts) > 1 else ""
        match route:
            case "GET /path":
                return {"directory": self.directory}
            case "GET /experimental/session":
                limit = int(parameters.get("limit", "100"))
                newest_first = sorted(self.sessions.values(), key=lambda info: -info["time"]["updated"])
                return newest_first[:limit]
            case "POST /sync/history" if self.has_log:
                return self._history(body)
            case "GET /session/status":
                return {
                    key: status for key, status in self.statuses.items() if self._is_in(key, parameters)
                }
            case "GET /session/{id}/todo":
                return self.todos.get(session_id, [])
            case "GET /session/{id}/message" if session_id in self.sessions:
                messages = self.messages.get(session_id, {})
                return [
                    {
                        "info": messages[key]["info"],
                        "parts": [part for _, part in sorted(messages[key]["parts"].items())],
                    }
                    for key in sorted(messages)
                ]
            case "GET /session/{id}" if session_id in self.sessions:
                return self.sessions[session_id]
            case "GET /permission" | "GET /question":
                pending = self.pending[parts[0]].values()
                return [asked for asked in pending if self._is_in(asked["sessionID"], parameters)]
            case _ if route.startswith("GET /session/{id}"):
                content = {
                    "name": "NotFoundError",
                    "data": {"message": f"Session not found: {session_id}"},
                }
                return 404, JSON, json.dumps(content).encode()
            case _:
                return 200, PAGE, b"<!doctype html>"

    def _is_in(self, session_id: str, parameters: dict[str, str]) -> bool:
        """Statuses and pending requests are of one directory's instance."""
        directory = self.sessions.get(session_id, {}).get("directory", "")
        return directory == parameters.get("directory", self.directory)

    def _history(self, told: Any) -> Any:
        if not isinstance(told, dict):
            return 400, JSON, b'{"name":"BadRequest","data":{"message":"Expected object"}}'
        if len(told) > MAX_TOLD:
            return 500, JSON, b'{"name":"UnknownError","data":{"message":"Unexpected server error."}}'
        rows = [row for row in self.log if row["seq"] > told.get(row["aggregate_id"], -1)]
        return sorted(rows, key=lambda row: row["seq"])
