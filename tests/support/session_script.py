"""Four sessions do in three hours whatever a session may do; and what no session should ever say."""

from functools import cache
from typing import Any

from streams import events as ev
from streams import testing
from streams.events import SessionEvent
from streams.testing import (
    assistant,
    busy,
    compacted,
    continuation_reply,
    created,
    deleted,
    delta,
    error,
    heartbeat,
    idle,
    permission,
    permission_reply,
    question,
    question_reply,
    removed,
    retry,
    step_finish,
    step_start,
    text,
    todos,
    tool,
    tool_after,
    tool_before,
    updated,
    user,
)

Timed = tuple[float, SessionEvent]

SESSIONS = "abcd"

DELETED_AT, STRAGGLES_AT = 10_000.0, 10_001.0


@cache
def script(prefix: str = "") -> tuple[Timed, ...]:
    """A parent, two children and a stranger; their ids are the prefix and ``a``, ``b``, ``d``, ``c``."""
    a, b, c, d = (prefix + each for each in SESSIONS)
    looping = [
        (60 + n, tool(a, f"loop{n}", "bash", status, input={"command": "ls"}, output="same"))
        for n in range(25)
        for status in ("running", "completed")
    ]
    wordless = [
        (120 + n, say(c, f"w{n}")) for n in range(4) for say in (step_start, step_finish, assistant)
    ]
    return (
        (0, heartbeat()),
        (1, created(a, title="parent")),
        (2, busy(a)),
        (2, user(a, "u1")),
        (3, text(a, "u1", "p0", "do it")),
        (4, assistant(a, "m1", finish="")),
        (4, text(a, "m1", "p1", "")),
        (5, delta(a, "m1", "p1", "I shall")),
        (5, delta(a, "m1", "p1", " do it")),
        (6, created(b, a, title="child")),
        (6, tool(a, "call1", "task", "pending")),
        (7, tool(a, "call1", "task", "running", input={"prompt": "p"}, metadata={"sessionId": b})),
        (7, busy(b)),
        (8, user(b, "u2")),
        (9, todos(b, "in_progress", "pending")),
        (10, tool_before(b, "bash", "call2", {"command": "make"})),
        (10, tool(b, "call2", "bash", "running", input={"command": "make"})),
        (11, permission(b, "per1", "call2")),
        (12, text(c, "m9", "p9", "heard of late")),
        (13, assistant(c, "m9", input=150_000, cache_read=20_000)),
        (20, permission_reply(b, "per1")),
        (21, tool_after(b, "bash", "call2", "made")),
        (21, tool(b, "call2", "bash", "completed", input={"command": "make"}, output="made")),
        (22, assistant(b, "m2", input=120_000, output=900)),
        (23, todos(b, "completed", "pending")),
        (24, idle(b)),
        (24, tool(a, "call1", "task", "completed", input={"prompt": "p"}, output="done")),
        (25, question(a, "que1")),
        (30, question_reply(a, "que1")),
        (31, retry(a, 1, next=40.0)),
        (40, assistant(a, "m1", input=100_000, output=2000, reasoning=300, cache_write=60_000)),
        *looping,
        (90, assistant(a, "m3", input=185_000, output=100)),
        (91, todos(a, "pending", "pending")),
        (92, compacted(a)),
        (93, assistant(a, "m4", input=185_000, summary=True, agent="compaction")),
        (95, text(a, "m4", "p4", "a summary", synthetic=True)),
        (96, assistant(a, "m5", input=9000, cache_read=14_000)),
        (97, removed(a, "m5")),
        (98, updated(a, revert="m3", model="anthropic/x", title="another")),
        (99, idle(a)),
        (100, continuation_reply(a, "stop")),
        (110, error(c, "ProviderAuthError", "no")),
        (111, tool(c, "call9", "bash", "running", input={})),
        (112, tool(c, "call9", "bash", "error", error="no")),
        (119, compacted(c)),
        *wordless,
        (4000, busy(a)),
        (4001, tool(a, "call10", "bash", "running", input={"command": "sleep"})),
        (DELETED_AT, text(a, "m6", "p6", "alive")),
        (DELETED_AT, deleted(b)),
        (STRAGGLES_AT, text(b, "m2", "p2", "a straggler")),
        (10_002, busy(c)),
        (10_002, assistant(c, "m10", input=190_000)),
        (10_002, created(d, a)),
        (10_002, busy(d)),
        (10_002, text(d, "m11", "p11", "done already")),
        (10_003, todos(c, "pending")),
        (10_003, text(c, "m10", "p10", "pending at the end")),
        (10_003, idle(d)),
    )


def dated(event: SessionEvent, at: float) -> SessionEvent:
    """The event as it is when it is played at this time."""
    return testing._played(event, at)


@cache
def wrong_events(session_id: str) -> tuple[SessionEvent, ...]:
    """Every kind of event of a session, with a value of a wrong type in each of its fields in turn."""
    base = SessionEvent.__struct_fields__
    wrong: list[Any] = [None, 7, []]
    return tuple(
        kind(session_id, **{field: value})
        for kind in ev.KINDS
        if not issubclass(kind, ev.StreamEvent)
        for field in kind.__struct_fields__
        if field not in base
        for value in wrong
    )
