"""The fold behind ``tool_calls``: which calls of a session are open, and how each is settled, once.

What it holds true, and where it was learnt (ids of the field failures): a call is told by session and
call id alone (I3), its input is kept from when it was first seen (I6), only a call that nothing but a
hook speaks of can expire, and not while a human is asked about it (I1, I2), and what was settled by
inference is corrected once when the tool itself speaks after all (I5).
"""

from typing import Final, Literal

import msgspec

from operators.sparse import put, sparse
from operators.tool_states import (
    exit_code,
    json_of,
    key_of,
    known_input,
    last_word,
    output_size,
    reason_of,
)
from streams.events import Part, ToolExecuteAfter, ToolExecuteBefore, ToolState

__all__ = ["Call", "CallsState", "Outcome", "Settled"]

Outcome = Literal["completed", "failed", "denied", "aborted", "abandoned", "expired", "orphan"]

OPEN: Final = 256
"""Calls of a session that may be open at once: with one more, the oldest counts as abandoned."""

SETTLED: Final = 256
"""Settled calls of a session that are remembered, so that what is said of them again is no news."""


class Call(msgspec.Struct, gc=False):
    """A call that is open, or settled by inference only (then it has an outcome).

    ``begun`` is when it was first seen (running, once it runs), ``heard`` when its time to live began.
    """

    call_id: str
    begun: float
    heard: float
    message_id: str = ""
    tool: str = ""
    input: bytes | None = None
    hooked: bool = False
    status: str = ""
    outcome: Outcome | None = None


class CallsState(msgspec.Struct, gc=False):
    """What is kept per session. ``settled`` has None for a call whose tool has had its last word."""

    session_id: str
    open: dict[str, Call] = sparse()
    settled: dict[str, Call | None] = sparse()
    requests: dict[str, str] = sparse()


class Settled(msgspec.Struct, frozen=True, gc=False):
    """A call, how it ended, and what had been inferred of it before."""

    call: Call
    outcome: Outcome
    duration: float | None
    corrects: Outcome | None = None
    output_size: int | None = None
    exit: int | None = None
    error: str = ""


_Some = list[Settled] | tuple[()]


def take_part(state: CallsState, part: Part, tool_state: ToolState, now: float) -> _Some:
    """A part shows its call in one of its states."""
    key = key_of(part)
    if not key:
        return ()
    call = state.open.get(key) or state.settled.get(key)
    if call is None and key in state.settled:
        return ()
    if call is not None and call.status == tool_state.status == "running" and call.input is not None:
        return ()  # a shell command says all its output so far, again and again
    outcome = last_word(part, tool_state)
    opened: _Some = ()
    if call is None:
        call = Call(key, now, now)
        opened = _open(state, call, now) if outcome is None else ()
    _learn(call, part, tool_state, now)
    if outcome is None:
        return opened
    return _spoken(state, call, outcome, tool_state, reason_of(part, tool_state), now)


def take_before(state: CallsState, event: ToolExecuteBefore, now: float) -> _Some:
    """The hook says that a call is about to run; said twice, the first one counts."""
    key = event.call_id
    if not key or key in state.settled:
        return ()
    call = state.open.get(key)
    opened: _Some = ()
    if call is None:
        call = Call(key, now, now, tool=event.tool)
        opened = _open(state, call, now)
    call.hooked = True
    if call.input is None:
        call.input = json_of(event.input)
    return opened


def take_after(state: CallsState, event: ToolExecuteAfter, now: float) -> _Some:
    """The hook says that a call has run."""
    key = event.call_id
    call = state.open.get(key) or state.settled.get(key)
    if not key or (call is None and key in state.settled):
        return ()
    size = len(event.output)
    if call is None:
        _remember(state, key, None)
        return [Settled(Call(key, now, now, tool=event.tool), "orphan", None, output_size=size)]
    outcome: Outcome = "completed" if call.hooked else "orphan"
    corrects = call.outcome
    state.open.pop(key, None)
    _remember(state, key, None)
    return [Settled(call, outcome, now - call.begun, corrects, output_size=size)]


def take_reply(state: CallsState, request_id: str, *, refused: bool, now: float) -> _Some:
    """A human has answered: the call goes on, or is denied (I2)."""
    call = state.open.get(state.requests.pop(request_id, ""))
    if call is None:
        return ()
    call.heard = now
    return [_infer(state, call, "denied", now)] if refused else ()


def close_all(state: CallsState, outcome: Outcome, now: float) -> _Some:
    """Nothing more is to be heard of any open call."""
    return [_infer(state, call, outcome, now) for call in list(state.open.values())]


def close_expired(state: CallsState, ttl: float, now: float) -> _Some:
    """Settle the calls that have outlived their time to live."""
    due = [call for call in state.open.values() if _mortal(state, call) and call.heard + ttl <= now]
    return [_infer(state, call, "expired", now) for call in due]


def next_expiry(state: CallsState, ttl: float) -> float | None:
    """When ``close_expired`` is to look."""
    if not state.open:
        return None
    mortal = [call.heard + ttl for call in state.open.values() if _mortal(state, call)]
    return min(mortal) if mortal else None


def _mortal(state: CallsState, call: Call) -> bool:
    """Whether silence alone may settle a call: not once a part shows it, nor while a human is asked."""
    return not call.status and call.call_id not in state.requests.values()


def _learn(call: Call, part: Part, state: ToolState, now: float) -> None:
    if state.status == "running" and call.status != "running":
        call.begun = now
    call.status = state.status
    call.message_id = part.message_id or call.message_id
    call.tool = part.tool or call.tool
    if call.input is None:
        call.input = known_input(state)


def _open(state: CallsState, call: Call, now: float) -> _Some:
    full = len(state.open) >= OPEN
    settled = [_infer(state, next(iter(state.open.values())), "abandoned", now)] if full else ()
    state.open = put(state.open, call.call_id, call)
    return settled


def _infer(state: CallsState, call: Call, outcome: Outcome, now: float) -> Settled:
    """Settle without the tool's own word; kept, because that word may come."""
    del state.open[call.call_id]
    call.outcome = outcome
    _remember(state, call.call_id, call)
    return Settled(call, outcome, now - call.begun)


def _spoken(
    state: CallsState, call: Call, outcome: Outcome, said: ToolState, error: str, now: float
) -> _Some:
    """The tool's last word. It corrects an inference, unless it is how a stopped call says so."""
    seen = state.open.pop(call.call_id, None) or call.outcome
    corrects = call.outcome
    _remember(state, call.call_id, None)
    if corrects in ("aborted", "denied") and said.status == "error":
        return ()
    duration = now - call.begun if seen else None
    times = said.time
    if times.start is not None and times.end is not None:
        duration = (times.end - times.start) / 1000
    return [Settled(call, outcome, duration, corrects, output_size(said), exit_code(said), error)]


def _remember(state: CallsState, key: str, call: Call | None) -> None:
    """Newest last; a re-settled call keeps its place."""
    state.settled = put(state.settled, key, call)
    if len(state.settled) > SETTLED:
        del state.settled[next(iter(state.settled))]
