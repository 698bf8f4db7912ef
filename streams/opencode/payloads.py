"""The shapes of opencode's payloads: of each, the fields that something derives from, and its event.

``PROPERTIES`` is the table: type of event on the wire -> what its ``properties`` (or ``data``) hold.
All times on the wire are milliseconds; ``session.next.*`` also writes them as ISO 8601 text.
"""

from datetime import UTC, datetime
from typing import ClassVar, Final

import msgspec

from streams import events as ev
from streams.events import NO_RAW, SessionEvent, wire_name

__all__ = ["PROPERTIES", "Places", "Properties", "Sync", "WrongShape"]


class WrongShape(ValueError):
    """JSON of the right types that still does not say what its event needs."""


class _Object(msgspec.Struct, frozen=True, gc=False, rename=wire_name):
    """A part of a payload."""


def _seconds(time: float | str | None) -> float | None:
    """Milliseconds since the epoch, or ISO 8601 text (UTC where it names no zone), as seconds."""
    if time is None or time == "":
        return None
    if isinstance(time, str):
        moment = datetime.fromisoformat(time)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return time / 1000


class _Time(_Object, frozen=True):
    created: float = 0.0
    updated: float = 0.0
    completed: float | None = None
    archived: float | None = None


_NO_TIME: Final = _Time()


class _ErrorData(_Object, frozen=True):
    message: str = ""
    status_code: int | None = None
    is_retryable: bool | None = None


_NO_ERROR_DATA: Final = _ErrorData()


class _Error(_Object, frozen=True):
    name: str = ""
    message: str = ""
    data: _ErrorData = _NO_ERROR_DATA

    def value(self) -> ev.AgentError:
        data = self.data
        message = data.message or self.message
        return ev.AgentError(self.name, message, data.status_code, data.is_retryable)


class _Model(_Object, frozen=True):
    """A session's model is called by ``id``, a message's by ``modelID``."""

    id: str = ""
    model_id: str = ""
    provider_id: str = ""


_NO_MODEL: Final = _Model()
_TRUE: Final = msgspec.Raw(b"true")


class _Revert(_Object, frozen=True):
    message_id: str = ""


class _SessionInfo(_Object, frozen=True):
    id: str = ""
    parent_id: str | None = None
    title: str = ""
    agent: str | None = None
    directory: str = ""
    time: _Time = _NO_TIME
    model: _Model | None = None
    revert: _Revert | None = None
    cost: float = 0.0
    tokens: ev.Tokens | None = None


class _MessageInfo(_Object, frozen=True):
    id: str = ""
    session_id: str = ""
    role: str = ""
    time: _Time = _NO_TIME
    finish: str | None = None
    tokens: ev.Tokens | None = None
    provider_id: str = ""
    model_id: str = ""
    model: _Model | None = None
    agent: str | None = None
    summary: msgspec.Raw = NO_RAW
    cost: float = 0.0
    error: _Error | None = None
    parent_id: str = ""


class _Status(_Object, frozen=True):
    type: str = ""
    attempt: int = 0
    message: str = ""
    next: float | None = None


class _ToolOf(_Object, frozen=True):
    message_id: str = ""
    call_id: str = ""


_NO_TOOL: Final = _ToolOf()


class Properties(_Object, frozen=True):
    """What an event carries. ``event`` makes it one of ours; most are of a session and say of which."""

    session_id: str = ""

    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        raise NotImplementedError  # pragma: no cover

    def session(self, nearest: str = "") -> str:
        """The id nearest to the thing itself; without any, nobody could attribute the event."""
        session_id = nearest or self.session_id
        if not session_id:
            raise WrongShape("no session id")
        return session_id


class _Whose(_Object, frozen=True):
    id: str = ""
    session_id: str = ""


_NOBODY: Final = _Whose()


class Places(Properties, frozen=True):
    """Where else the session's id may lie. The nearest to the thing itself wins (P11)."""

    info: _Whose = _NOBODY
    part: _Whose = _NOBODY

    def session_of(self, kind: str) -> str:
        """The id; ``info.id`` is a session's only in a session's own events."""
        of_info = self.info.session_id or (self.info.id if kind.startswith("session.") else "")
        return self.part.session_id or of_info or self.session_id


# --- sessions -------------------------------------------------------------------------------------


class _Created(Properties, frozen=True, kw_only=True):
    info: _SessionInfo
    make: ClassVar[type[ev.SessionInfo]] = ev.SessionCreated

    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        info = self.info
        time, model, tokens = info.time, info.model or _NO_MODEL, info.tokens
        return self.make(
            self.session(info.id),
            at,
            event_id,
            raw,
            info.parent_id or "",
            info.title,
            info.agent or "",
            info.directory,
            time.created / 1000,
            time.updated / 1000,
            _seconds(time.archived),
            model.provider_id,
            model.id or model.model_id,
            info.revert.message_id if info.revert else "",
            info.cost,
            tokens,
        )


class _Updated(_Created, frozen=True):
    make: ClassVar[type[ev.SessionInfo]] = ev.SessionUpdated


class _Deleted(Properties, frozen=True, kw_only=True):
    info: _SessionInfo = _SessionInfo()

    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        session_id = self.session(self.info.id)
        return ev.SessionDeleted(session_id, at, event_id, raw, self.info.parent_id or "")


class _StatusChanged(Properties, frozen=True, kw_only=True):
    """``status`` is an object; older servers sent its type alone."""

    status: _Status | str

    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        session_id, status = self.session(), self.status
        if isinstance(status, str):
            return ev.SessionStatus(session_id, at, event_id, raw, status)
        upcoming = _seconds(status.next)
        return ev.SessionStatus(
            session_id, at, event_id, raw, status.type, status.attempt, status.message, upcoming
        )


class _Failed(Places, frozen=True):
    """The one session event that may belong to no session."""

    error: _Error | None = None

    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        error = self.error.value() if self.error else ev.AgentError()
        return ev.SessionError(self.session_of("session.error"), at, event_id, raw, error)


# --- messages and parts ---------------------------------------------------------------------------


class _Message(Properties, frozen=True, kw_only=True):
    info: _MessageInfo

    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        info = self.info
        time, tokens, error, model = info.time, info.tokens, info.error, info.model or _NO_MODEL
        return ev.MessageUpdated(
            self.session(info.session_id),
            at,
            event_id,
            raw,
            info.id,
            info.role,
            time.created / 1000,
            _seconds(time.completed),
            info.finish or "",
            tokens,
            info.provider_id or model.provider_id,
            info.model_id or model.model_id or model.id,
            info.agent or "",
            info.summary == _TRUE,
            info.cost,
            None if error is None else error.value(),
            info.parent_id,
        )


# --- todos, permissions, questions ----------------------------------------------------------------


class _Permission(Properties, frozen=True):
    id: str = ""
    permission: str = ""
    tool: _ToolOf | None = None

    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        tool = self.tool or _NO_TOOL
        return ev.PermissionAsked(
            self.session(),
            at,
            event_id,
            raw,
            self.id,
            self.permission,
            tool.message_id,
            tool.call_id,
        )


class _Question(Properties, frozen=True):
    id: str = ""
    tool: _ToolOf | None = None

    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        tool = self.tool or _NO_TOOL
        return ev.QuestionAsked(self.session(), at, event_id, raw, self.id, tool.message_id, tool.call_id)


class _PermissionReply(Properties, frozen=True):
    request_id: str = ""
    permission_id: str = ""
    reply: str = ""

    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        request_id = self.request_id or self.permission_id
        return ev.PermissionReplied(self.session(), at, event_id, raw, request_id, self.reply)


class _Answer(Properties, frozen=True):
    request_id: str = ""
    rejected: ClassVar[bool] = False

    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        return ev.QuestionReplied(self.session(), at, event_id, raw, self.request_id, self.rejected)


class _Rejection(_Answer, frozen=True):
    rejected: ClassVar[bool] = True


# --- the session.next.* preview: the same things, said in smaller steps ---------------------------


class _Next(Properties, frozen=True):
    """Steps of one assistant message."""

    timestamp: float | str = 0
    assistant_message_id: str = ""

    def time(self) -> float:
        return _seconds(self.timestamp) or 0.0

    def start(self) -> ev.Times:
        return ev.Times(start=self.time() * 1000)

    def end(self) -> ev.Times:
        return ev.Times(end=self.time() * 1000)


class _Prompted(_Next, frozen=True):
    message_id: str = ""

    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        return ev.MessageUpdated(self.session(), at, event_id, raw, self.message_id, "user", self.time())


class _StepStarted(_Next, frozen=True):
    agent: str = ""
    model: _Model = _NO_MODEL

    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        return ev.MessageUpdated(
            self.session(),
            at,
            event_id,
            raw,
            self.assistant_message_id,
            "assistant",
            self.time(),
            provider_id=self.model.provider_id,
            model_id=self.model.id or self.model.model_id,
            agent=self.agent,
        )


class _StepEnded(_Next, frozen=True):
    """Says neither when the step began nor its model: ``created`` is 0 and the model empty."""

    finish: str = ""
    cost: float = 0.0
    tokens: ev.Tokens | None = None

    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        return ev.MessageUpdated(
            self.session(),
            at,
            event_id,
            raw,
            self.assistant_message_id,
            "assistant",
            completed=self.time(),
            finish=self.finish,
            tokens=self.tokens,
            cost=self.cost,
        )


class _TextStarted(_Next, frozen=True):
    text_id: str = ""

    def part_id(self) -> str:
        return f"{self.assistant_message_id}:{self.text_id}"

    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        part = ev.Part(self.part_id(), self.assistant_message_id, "text", time=self.start())
        return ev.PartUpdated(self.session(), at, event_id, raw, part)


class _TextEnded(_TextStarted, frozen=True):
    text: str = ""

    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        message_id = self.assistant_message_id
        part = ev.Part(self.part_id(), message_id, "text", self.text, time=self.end())
        return ev.PartUpdated(self.session(), at, event_id, raw, part)


class _TextDelta(_TextStarted, frozen=True):
    delta: str = ""

    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        message_id, part_id = self.assistant_message_id, self.part_id()
        return ev.PartDelta(self.session(), at, event_id, raw, message_id, part_id, "text", self.delta)


class _InputDelta(_Next, frozen=True):
    call_id: str = ""
    delta: str = ""

    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        message_id, call_id = self.assistant_message_id, self.call_id
        return ev.PartDelta(self.session(), at, event_id, raw, message_id, call_id, "input", self.delta)


class _Tool(_Next, frozen=True):
    """One state of a tool call. Its name is empty where the step does not repeat it."""

    call_id: str = ""
    name: str = ""
    tool: str = ""
    input: msgspec.Raw = NO_RAW
    structured: msgspec.Raw = NO_RAW
    content: msgspec.Raw = NO_RAW
    error: _Error | str | None = None
    status: ClassVar[str] = "pending"

    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        status = self.status
        error = self.error.value().message if isinstance(self.error, _Error) else self.error or ""
        time = self.start() if status in ("pending", "running") else self.end()
        state = ev.ToolState(status, self.input, self.content, self.structured, error, "", time)
        part = ev.Part(
            self.call_id,
            self.assistant_message_id,
            "tool",
            tool=self.tool or self.name,
            call_id=self.call_id,
            state=state,
        )
        return ev.PartUpdated(self.session(), at, event_id, raw, part)


class _ToolCalled(_Tool, frozen=True):
    status: ClassVar[str] = "running"


class _ToolSucceeded(_Tool, frozen=True):
    status: ClassVar[str] = "completed"


class _ToolFailed(_Tool, frozen=True):
    status: ClassVar[str] = "error"


# --- the stream, and what is too frequent to be looked at twice -----------------------------------


class _Connected(Properties, frozen=True):
    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        return ev.StreamConnected("", at, event_id, raw)


class _Heartbeat(Properties, frozen=True):
    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        return ev.Heartbeat("", at, event_id, raw)


class _Unread(Properties, frozen=True):
    name: ClassVar[str]

    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        return ev.UnknownEvent(self.session_id, at, event_id, raw, self.name)


class _Diff(_Unread, frozen=True):
    name = "session.diff"


class _PluginAdded(_Unread, frozen=True):
    name = "plugin.added"


class _FileEdited(_Unread, frozen=True):
    name = "file.edited"


class _FileWatched(_Unread, frozen=True):
    name = "file.watcher.updated"


class Sync(Properties, frozen=True):
    """The durable twin of an event on ``/global/event``: the same id, numbered per session."""

    aggregate_id: str = ""
    seq: int = -1

    def event(self, at: float, event_id: str, raw: bytes) -> SessionEvent:
        return ev.UnknownEvent(self.aggregate_id, at, event_id, raw, "sync")


PROPERTIES: Final[dict[str, type[Properties] | type[SessionEvent]]] = {
    "session.created": _Created,
    "session.updated": _Updated,
    "session.deleted": _Deleted,
    "session.status": _StatusChanged,
    "session.idle": ev.SessionIdle,
    "session.compacted": ev.SessionCompacted,
    "session.error": _Failed,
    "session.diff": _Diff,
    "message.updated": _Message,
    "message.removed": ev.MessageRemoved,
    "message.part.updated": ev.PartUpdated,
    "message.part.delta": ev.PartDelta,
    "message.part.removed": ev.PartRemoved,
    "todo.updated": ev.TodosUpdated,
    "permission.asked": _Permission,
    "permission.replied": _PermissionReply,
    "question.asked": _Question,
    "question.replied": _Answer,
    "question.rejected": _Rejection,
    "session.next.prompted": _Prompted,
    "session.next.step.started": _StepStarted,
    "session.next.step.ended": _StepEnded,
    "session.next.text.started": _TextStarted,
    "session.next.text.delta": _TextDelta,
    "session.next.text.ended": _TextEnded,
    "session.next.tool.input.started": _Tool,
    "session.next.tool.input.delta": _InputDelta,
    "session.next.tool.called": _ToolCalled,
    "session.next.tool.success": _ToolSucceeded,
    "session.next.tool.failed": _ToolFailed,
    "server.connected": _Connected,
    "server.heartbeat": _Heartbeat,
    "plugin.added": _PluginAdded,
    "file.edited": _FileEdited,
    "file.watcher.updated": _FileWatched,
}
