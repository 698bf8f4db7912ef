"""How each tool call ended: said once, with its input, whatever did or did not announce the end."""

from collections.abc import Iterable
from datetime import timedelta
from typing import ClassVar

import msgspec
from reactivex import abc

from operators import open_calls
from operators.lift import Operator
from operators.open_calls import CallsState, Outcome, Settled
from operators.per_session import Logic, per_session
from operators.sparse import put
from streams import checks
from streams.events import (
    PartUpdated,
    PermissionAsked,
    PermissionReplied,
    QuestionAsked,
    QuestionReplied,
    SessionError,
    SessionEvent,
    SessionExpired,
    SessionIdle,
    SessionStatus,
    StreamConnected,
    StreamGap,
    ToolExecuteAfter,
    ToolExecuteBefore,
)

__all__ = ["ToolCall", "tool_calls"]


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """One tool call, settled.

    Attributes:
        session_id: The session.
        call_id: The call (the part, where it has no call id); distinct within its session only.
        message_id: The answer that made the call; empty when only hooks spoke of it.
        tool: The tool's name. ``invalid`` is opencode's name for a call that it could not read.
        outcome: ``completed``: it ran (a shell command may have failed even so: see ``exit``).
            ``failed``: it did not. ``denied``: a human said no. ``aborted``: its turn was stopped.
            ``abandoned``: its turn, session or connection ended without a word of it. ``expired``:
            nothing was heard of it. ``orphan``: a hook said that it ended and none that it began.
        corrects: What was said of this very call before, by inference, and is void now that the tool
            itself has spoken; None the first time. Calls are counted where it is None.
        at: Seconds, when it was settled.
        input: JSON, as first seen; None when it never was.
        duration: Seconds, by the agent's own times where it gives both, else as seen from here; None
            when the beginning was not seen.
        output_size: Characters; None when no output was seen.
        exit: What a shell command exited with; None when it did not, or is none.
        error: Why it did not complete, as the tool says it.
    """

    session_id: str
    call_id: str
    message_id: str
    tool: str
    outcome: Outcome
    corrects: Outcome | None
    at: float
    input: bytes | None
    duration: float | None
    output_size: int | None
    exit: int | None
    error: str


class ToolCallsLogic(Logic[CallsState, ToolCall]):
    """Follows the calls of one session from whatever speaks of them."""

    wants: ClassVar[tuple[type[SessionEvent], ...]] = (
        PartUpdated,
        ToolExecuteBefore,
        ToolExecuteAfter,
        PermissionAsked,
        PermissionReplied,
        QuestionAsked,
        QuestionReplied,
        SessionStatus,
        SessionIdle,
        SessionError,
        SessionExpired,
        StreamConnected,
        StreamGap,
    )

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl

    def start(self, session_id: str, now: float) -> CallsState:
        return CallsState(session_id)

    def on_event(self, state: CallsState, event: SessionEvent, now: float) -> Iterable[ToolCall]:
        if isinstance(event, PartUpdated):  # most events by far, and most of them no tool's
            tool_state = event.part.state
            if tool_state is None:
                return ()
            settled = open_calls.take_part(state, event.part, tool_state, now)
        else:
            settled = _take(state, event, now)
        return _values(state, settled, now) if settled else ()

    def deadline(self, state: CallsState) -> float | None:
        return open_calls.next_expiry(state, self._ttl)

    def on_timer(self, state: CallsState, now: float) -> Iterable[ToolCall]:
        return _values(state, open_calls.close_expired(state, self._ttl, now), now)

    def on_end(self, state: CallsState, now: float) -> Iterable[ToolCall]:
        return _values(state, open_calls.close_all(state, "abandoned", now), now)


def _take(state: CallsState, event: SessionEvent, now: float) -> Iterable[Settled]:
    match event:
        case ToolExecuteBefore():
            return open_calls.take_before(state, event, now)
        case ToolExecuteAfter():
            return open_calls.take_after(state, event, now)
        case PermissionAsked() | QuestionAsked():
            state.requests = put(state.requests, event.request_id, event.call_id)
            return ()
        case PermissionReplied():
            refused = event.reply == "reject"
            return open_calls.take_reply(state, event.request_id, refused=refused, now=now)
        case QuestionReplied():
            return open_calls.take_reply(state, event.request_id, refused=event.rejected, now=now)
        case SessionStatus() if event.status != "idle":
            return ()
        case SessionError():  # one without a session is nobody's
            aborted = event.session_id and event.error.name == "MessageAbortedError"
            return open_calls.close_all(state, "aborted", now) if aborted else ()
        case SessionExpired():
            return open_calls.close_all(state, "expired", now)
        case _:  # idle, or another connection: an aborted turn drops its requests without a word
            state.requests.clear()
            return open_calls.close_all(state, "abandoned", now)


def _values(state: CallsState, settled: Iterable[Settled], now: float) -> list[ToolCall]:
    return [
        ToolCall(
            state.session_id,
            each.call.call_id,
            each.call.message_id,
            each.call.tool,
            each.outcome,
            each.corrects,
            now,
            each.call.input,
            each.duration,
            each.output_size,
            each.exit,
            each.error,
        )
        for each in settled
    ]


def tool_calls(
    *, ttl: float | timedelta = 60.0, scheduler: abc.SchedulerBase | None = None
) -> Operator[ToolCall]:
    """Emits a ``ToolCall`` when a tool call has ended, one way or another: each call exactly once.

    Like ``flat_map`` of each call's beginning to its end, with an end for every one. It follows the
    parts of a server's messages, or an integrator's hooks (``ToolExecuteBefore`` and ``After``), or
    both at once.

    Marbles (5 s a character)::

        events  --a-b--d--c-----i--e-|
        tool_calls(ttl=60)
        result  ----------x-----z--w-|

        a = tool_before("s", "bash", "c1", {"command": "make"})
        b = tool_before("s", "read", "c2", {"path": "a"})
        d = tool("s", "c2", "read", "running", input={"path": "a"})
        c = tool("s", "c1", "bash", "error", error="no such file")
        i = idle("s")
        e = tool("s", "c2", "read", "completed", output="text")
        x: call_id="c1", outcome="failed", input=b'{"command":"make"}', duration=40.0
        z: call_id="c2", outcome="abandoned", input=b'{"path":"a"}', corrects=None
        w: call_id="c2", outcome="completed", corrects="abandoned", output_size=4

    A call is ``aborted``, ``abandoned``, ``denied`` or ``expired`` by inference, before its tool has
    had its last word; when that word comes after all and says otherwise, one more ``ToolCall`` says so
    and names what it ``corrects``. An opencode server goes idle before an aborted tool speaks.

    Args:
        ttl: Seconds after which a call that only ``ToolExecuteBefore`` announced counts as expired;
            above 0. Default 60. It does not run while a part shows the call, or a human is asked.
        scheduler: Clock and timer; see ``per_session``.

    Returns:
        An operator from events to ``ToolCall``.

    Raises:
        ValueError: ``ttl`` is not above 0.

    Memory: per session about 0.4 kB, the open calls with their input (256 at most: one more, and the
        oldest counts as abandoned), and 0.1 kB for each of the last 256 settled ones. Requests are kept
        until they are answered or the session is idle. Dropped with the session.
    Time: one pending timer while a call may expire.
    On completion and error: open calls come out as ``abandoned`` first.

    Example:
        >>> import operators as ops
        >>> from streams.testing import outputs, tool
        >>> running = tool("s", "c1", "bash", "running", input={"command": "make"})
        >>> done = tool("s", "c1", "bash", "completed", output="built", metadata={"exit": 2})
        >>> [call] = outputs(ops.tool_calls(), [running, done])
        >>> call.outcome, call.input, call.duration, call.output_size, call.exit
        ('completed', b'{"command":"make"}', 1.0, 5, 2)

    Source: field failures I1 to I6, P12.
    """
    return per_session(ToolCallsLogic(checks.seconds("ttl", ttl)), scheduler=scheduler)
