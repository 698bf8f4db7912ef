"""The vocabulary: what flows. One frozen value per thing an agent says.

Names are opencode's own, in snake case. An event has only the fields that something derives from;
the payload it was read from stays reachable as ``raw``. Times are seconds; ``at`` is when the source
received the event, by the source's clock.
"""

from typing import Final

import msgspec

__all__ = [
    "AgentError",
    "Cache",
    "ContinuationReplied",
    "Heartbeat",
    "LimitsChanged",
    "MalformedEvent",
    "MessageRemoved",
    "MessageUpdated",
    "Part",
    "PartDelta",
    "PartRemoved",
    "PartUpdated",
    "PermissionAsked",
    "PermissionReplied",
    "QuestionAsked",
    "QuestionReplied",
    "SessionCompacted",
    "SessionCreated",
    "SessionDeleted",
    "SessionError",
    "SessionEvent",
    "SessionExpired",
    "SessionHistory",
    "SessionIdle",
    "SessionInfo",
    "SessionStatus",
    "SessionUpdated",
    "StreamConnected",
    "StreamEvent",
    "StreamGap",
    "StreamResumed",
    "Times",
    "Todo",
    "TodosUpdated",
    "Tokens",
    "ToolExecuteAfter",
    "ToolExecuteBefore",
    "ToolState",
    "UnknownEvent",
]

NO_RAW: Final = msgspec.Raw()


def wire_name(name: str) -> str:
    """A field's name in opencode's JSON: session_id -> sessionID, status_code -> statusCode."""
    head, *rest = name.split("_")
    return head + "".join("ID" if word == "id" else word.capitalize() for word in rest)


def _event_name(name: str) -> str:
    """The same, but what we add to an event can never be taken for something that the agent said."""
    return f"@{name}" if name in ("at", "event_id", "raw") else wire_name(name)


class SessionEvent(
    msgspec.Struct,
    frozen=True,
    gc=False,
    omit_defaults=True,
    rename=_event_name,
    tag_field="@kind",
):
    """What every event has.

    Attributes:
        session_id: The session it belongs to; empty for events of the server or the stream.
        at: Seconds, by the source's clock, when it was received.
        event_id: The source's own id of the event; empty where it has none.
        raw: The payload as it came; empty for events made in this process.
    """

    session_id: str = ""
    at: float = 0.0
    event_id: str = ""
    raw: bytes = b""

    def __repr__(self) -> str:
        shown = (
            f"{name}={value!r}"
            for name, value in ((name, getattr(self, name)) for name in self.__struct_fields__)
            if name != "raw" and value not in ("", None, False, 0, 0.0) and value != NO_RAW
        )
        return f"{type(self).__name__}({', '.join(shown)})"


# --- values inside events -------------------------------------------------------------------------


class _Value(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename=wire_name):
    """Decoded straight from the wire: its fields are the wire's, its times are milliseconds."""


class Times(_Value, frozen=True, gc=False):
    """Milliseconds since the epoch; the things that have times give them in seconds."""

    start: float | None = None
    end: float | None = None


class Cache(_Value, frozen=True, gc=False):
    """Prompt tokens that the provider had, or has now, in its cache."""

    read: int = 0
    write: int = 0


class Tokens(_Value, frozen=True, gc=False):
    """Token counts of one model answer. ``input`` excludes cached tokens in opencode's own counting."""

    input: int = 0
    output: int = 0
    reasoning: int = 0
    cache: Cache = Cache()
    total: int | None = None

    @property
    def cache_read(self) -> int:
        """Prompt tokens read from the cache."""
        return self.cache.read

    @property
    def cache_write(self) -> int:
        """Prompt tokens written to the cache."""
        return self.cache.write


def seconds(milliseconds: float | None) -> float | None:
    """A time of the wire as a time of ours."""
    return None if milliseconds is None else milliseconds / 1000


class AgentError(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """An error as the agent names it, such as ``MessageAbortedError`` or ``APIError``."""

    name: str = ""
    message: str = ""
    status_code: int | None = None
    retryable: bool | None = None


class ToolState(_Value, frozen=True, gc=False):
    """State of one tool call. ``input``, ``output`` and ``metadata`` stay JSON bytes until asked for."""

    status: str = ""
    input: msgspec.Raw = NO_RAW
    output: msgspec.Raw = NO_RAW
    metadata: msgspec.Raw = NO_RAW
    error: str = ""
    title: str = ""
    time: Times = Times()

    @property
    def started(self) -> float | None:
        """Seconds since the epoch, by the agent's clock."""
        return seconds(self.time.start)

    @property
    def ended(self) -> float | None:
        """Seconds since the epoch, by the agent's clock."""
        return seconds(self.time.end)


class Part(_Value, frozen=True, gc=False):
    """One part of a message: text, reasoning, a tool call, a step's end, a compaction mark, …"""

    id: str = ""
    message_id: str = ""
    type: str = ""
    text: str = ""
    synthetic: bool = False
    tool: str = ""
    call_id: str = ""
    state: ToolState | None = None
    reason: str = ""
    cost: float = 0.0
    tokens: Tokens | None = None
    auto: bool = False
    time: Times = Times()
    session_id: str = ""

    @property
    def started(self) -> float | None:
        """Seconds since the epoch, by the agent's clock."""
        return seconds(self.time.start)

    @property
    def ended(self) -> float | None:
        """Seconds since the epoch, by the agent's clock."""
        return seconds(self.time.end)


class Todo(_Value, frozen=True, gc=False):
    """One entry of a todo list. opencode's todos have no ``id``."""

    content: str = ""
    status: str = ""
    priority: str = ""
    id: str = ""


# --- sessions -------------------------------------------------------------------------------------


class SessionInfo(SessionEvent, frozen=True, gc=False):
    """What a session says of itself. Subscribe to it for ``SessionCreated`` and ``SessionUpdated`` alike.

    ``tokens`` and ``cost`` are lifetime sums, never the context size. ``revert`` is the first hidden
    message while a revert is pending, else empty.
    """

    parent_id: str = ""
    title: str = ""
    agent: str = ""
    directory: str = ""
    created: float = 0.0
    updated: float = 0.0
    archived: float | None = None
    provider_id: str = ""
    model_id: str = ""
    revert: str = ""
    cost: float = 0.0
    tokens: Tokens | None = None


class SessionCreated(SessionInfo, frozen=True, gc=False, tag=True):
    """A session came to be; ``parent_id`` names the session that started it, if one did."""


class SessionUpdated(SessionInfo, frozen=True, gc=False, tag=True):
    """A session's own data changed."""


class SessionDeleted(SessionEvent, frozen=True, gc=False, tag=True):
    """The session is gone. Stragglers of it may still follow for seconds."""

    parent_id: str = ""


class SessionStatus(SessionEvent, frozen=True, gc=False, tag=True):
    """``busy``, ``idle``, ``retry`` or a status of a later server. ``next`` is when it tries again."""

    status: str = ""
    attempt: int = 0
    message: str = ""
    next: float | None = None


class SessionIdle(SessionEvent, frozen=True, gc=False, tag=True):
    """The twin of ``SessionStatus(status="idle")``; either alone is enough."""


class SessionCompacted(SessionEvent, frozen=True, gc=False, tag=True):
    """The session's history was summarised: every count measured before is void."""


class SessionError(SessionEvent, frozen=True, gc=False, tag=True):
    """An error of the session, or of no session at all."""

    error: AgentError = AgentError()


class SessionExpired(SessionEvent, frozen=True, gc=False, tag=True):
    """Added by ``expire_after``: nothing was heard of the session for ``idle`` seconds."""

    idle: float = 0.0


# --- messages -------------------------------------------------------------------------------------


class MessageUpdated(SessionEvent, frozen=True, gc=False, tag=True):
    """The whole of a message's own data, sent again at each change.

    An assistant message is over when ``completed`` is set; ``finish`` and ``tokens`` come a little
    before. ``summary`` marks the answer of a compaction.
    """

    message_id: str = ""
    role: str = ""
    created: float = 0.0
    completed: float | None = None
    finish: str = ""
    tokens: Tokens | None = None
    provider_id: str = ""
    model_id: str = ""
    agent: str = ""
    summary: bool = False
    cost: float = 0.0
    error: AgentError | None = None
    parent_id: str = ""


class MessageRemoved(SessionEvent, frozen=True, gc=False, tag=True):
    """A message was taken out of the history."""

    message_id: str = ""


class PartUpdated(SessionEvent, frozen=True, gc=False, tag=True):
    """The whole of a part; the last one wins."""

    part: Part = Part()


class PartDelta(SessionEvent, frozen=True, gc=False, tag=True):
    """Characters added to a part's ``field``; only ``text`` is text or reasoning."""

    message_id: str = ""
    part_id: str = ""
    field: str = ""
    delta: str = ""


class PartRemoved(SessionEvent, frozen=True, gc=False, tag=True):
    """A part was taken out of its message."""

    message_id: str = ""
    part_id: str = ""


class SessionHistory(SessionEvent, frozen=True, gc=False, tag=True):
    """Added by us: the whole history of a session, as its server told it when it was asked.

    It is no news, so it does not come as the events it is made of: what acts on news (a trigger, a
    progress count) never sees it. What was heard of the session since ``asked`` is newer than it.
    """

    asked: float = 0.0
    events: tuple[MessageUpdated | PartUpdated, ...] = ()


# --- what an agent asks, plans and runs -----------------------------------------------------------


class TodosUpdated(SessionEvent, frozen=True, gc=False, tag=True):
    """The whole todo list of a session."""

    todos: tuple[Todo, ...] = ()


class PermissionAsked(SessionEvent, frozen=True, gc=False, tag=True):
    """A tool call waits for a human's leave."""

    request_id: str = ""
    permission: str = ""
    message_id: str = ""
    call_id: str = ""


class PermissionReplied(SessionEvent, frozen=True, gc=False, tag=True):
    """``once``, ``always`` or ``reject``; empty when it is only known that nobody is asked any more."""

    request_id: str = ""
    reply: str = ""


class QuestionAsked(SessionEvent, frozen=True, gc=False, tag=True):
    """A tool call waits for a human's answer."""

    request_id: str = ""
    message_id: str = ""
    call_id: str = ""


class QuestionReplied(SessionEvent, frozen=True, gc=False, tag=True):
    """A question was answered, or rejected."""

    request_id: str = ""
    rejected: bool = False


class ToolExecuteBefore(SessionEvent, frozen=True, gc=False, tag=True):
    """An integrator's hook says that a tool is about to run. ``input`` is JSON, copied when made."""

    call_id: str = ""
    tool: str = ""
    input: msgspec.Raw = NO_RAW


class ToolExecuteAfter(SessionEvent, frozen=True, gc=False, tag=True):
    """An integrator's hook says that a tool has run. ``output`` is its text."""

    call_id: str = ""
    tool: str = ""
    output: str = ""


class ContinuationReplied(SessionEvent, frozen=True, gc=False, tag=True):
    """What became of a ``Continuation``: ``failed``, or a human's ``stop`` and ``resume``.

    An integrator publishes it; that one worked is seen from the session, which goes on.
    """

    reply: str = ""


# --- the stream itself ----------------------------------------------------------------------------


class StreamEvent(SessionEvent, frozen=True, gc=False):
    """What is of no session and concerns every one: each live session's logic that wants it gets it."""


class StreamConnected(StreamEvent, frozen=True, gc=False, tag=True):
    """The server greeted a new connection."""


class StreamGap(StreamEvent, frozen=True, gc=False, tag=True):
    """Events are missing since; what was derived before may be stale.

    What follows, up to ``StreamResumed``, was missed and is delivered late: ``at`` is when it was
    received, not when it happened.
    """

    since: float = 0.0


class StreamResumed(StreamEvent, frozen=True, gc=False, tag=True):
    """The end of what a ``StreamGap`` began: all that could be had of the missed events has come.

    ``events`` is how many; ``complete`` is False where the server could not tell all of it. Deltas are
    never told again: the whole part is, once it is over.
    """

    since: float = 0.0
    events: int = 0
    complete: bool = True


class Heartbeat(StreamEvent, frozen=True, gc=False, tag=True):
    """The server is alive. It says nothing about any session."""


class LimitsChanged(StreamEvent, frozen=True, gc=False, tag=True):
    """A model's limit became known or changed; emit it so that idle sessions are measured anew."""


class UnknownEvent(SessionEvent, frozen=True, gc=False, tag=True):
    """An event of a type that nothing derives from; ``raw`` has all of it."""

    type: str = ""


class MalformedEvent(SessionEvent, frozen=True, gc=False, tag=True):
    """A payload that could not be read; ``raw`` has it (its first KiB when it was oversized)."""

    reason: str = ""


KINDS: Final[tuple[type[SessionEvent], ...]] = tuple(
    kind
    for name in __all__
    if isinstance(kind := globals()[name], type)
    and issubclass(kind, SessionEvent)
    and kind not in (SessionEvent, SessionInfo, StreamEvent)
)
"""Every kind of event there is."""
