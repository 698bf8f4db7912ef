"""Agents that go round in circles: the same call again and again, or simply too many."""

from collections.abc import Iterable
from typing import ClassVar, Final, Literal

import msgspec
from reactivex import abc

from operators.call_signatures import Pattern, Signed, digest, signature
from operators.lift import Operator
from operators.per_session import Logic, per_session
from operators.tool_states import json_of, key_of, known_input, last_word, output_of
from streams import checks
from streams.events import Part, PartUpdated, SessionEvent, ToolExecuteAfter, ToolExecuteBefore, ToolState

__all__ = ["ToolLoop", "tool_loops"]

CALLS: Final = 256
"""Calls of a session that are remembered, so that what is said of them again does not count again."""


class ToolLoop(msgspec.Struct, frozen=True, gc=False):
    """A session that seems to be stuck.

    Attributes:
        session_id: The session.
        at: Seconds, when it was seen.
        kind: ``repeat``: equal calls in a row. ``cycle``: a few calls, over and over. ``calls``: the
            session has made that many.
        tools: The tools of one round, in order; empty for ``calls``.
        length: Calls in the loop so far; for ``calls`` all the session's.
        calls: All the session's calls so far.
        call_id: The last of them.
    """

    session_id: str
    at: float
    kind: Literal["repeat", "cycle", "calls"]
    tools: tuple[str, ...]
    length: int
    calls: int
    call_id: str


class LoopState(msgspec.Struct):
    """What is kept per session. ``numbers`` has a call's place in the pattern, -1 before it has one."""

    session_id: str
    calls: int = 0
    numbers: dict[str, int] = {}
    pattern: Pattern = msgspec.field(default_factory=Pattern)


class ToolLoopsLogic(Logic[LoopState, ToolLoop]):
    """Counts calls once each, signs them when their input is known, compares results when they come."""

    wants: ClassVar[tuple[type[SessionEvent], ...]] = (PartUpdated, ToolExecuteBefore, ToolExecuteAfter)

    def __init__(self, repeats: int | None, max_calls: int | None, cycles: int) -> None:
        self._repeats = repeats
        self._max_calls = max_calls
        self._cycles = cycles

    def start(self, session_id: str, now: float) -> LoopState:
        return LoopState(session_id)

    def on_event(self, state: LoopState, event: SessionEvent, now: float) -> Iterable[ToolLoop]:
        match event:
            case PartUpdated():  # most events by far, and most of them no tool's
                tool_state = event.part.state
                return () if tool_state is None else self._part(state, event.part, tool_state, now)
            case ToolExecuteBefore() if event.call_id:
                outputs = self._count(state, event.call_id, now)
                if (text := json_of(event.input)) is not None:
                    outputs += self._sign(state, event.call_id, event.tool, text, now)
                return outputs
            case ToolExecuteAfter() if event.call_id:
                outputs = self._count(state, event.call_id, now)
                return outputs + self._end(state, event.call_id, event.tool, event.output, now)
            case _:
                return ()

    def _part(self, state: LoopState, part: Part, said: ToolState, now: float) -> Iterable[ToolLoop]:
        key = key_of(part)
        ended = last_word(part, said) is not None
        if not key or (not ended and state.numbers.get(key, -1) >= 0):
            return ()
        outputs = self._count(state, key, now)
        if (text := known_input(said)) is not None:
            outputs += self._sign(state, key, part.tool, text, now)
        if ended:
            outputs += self._end(state, key, part.tool, output_of(said) or said.error, now)
        return outputs

    def _count(self, state: LoopState, key: str, now: float) -> list[ToolLoop]:
        """A call counts when it is first seen (P12)."""
        if key in state.numbers:
            return []
        state.calls += 1
        state.numbers[key] = -1
        if len(state.numbers) > CALLS:
            del state.numbers[next(iter(state.numbers))]
        if self._max_calls is None or state.calls % self._max_calls:
            return []
        return [ToolLoop(state.session_id, now, "calls", (), state.calls, state.calls, key)]

    def _sign(
        self, state: LoopState, key: str, tool: str, text: bytes | None, now: float
    ) -> list[ToolLoop]:
        """A call joins the pattern once, when its input is known or it ends without (P14)."""
        if self._repeats is None or state.numbers[key] >= 0:
            return []
        call = Signed(tool, signature(tool, text) if text else None)
        state.numbers[key] = state.pattern.add(call, self._cycles)
        period, length = state.pattern.loop(self._repeats)
        if not period:
            return []
        kind = "repeat" if period == 1 else "cycle"
        tools = tuple(each.tool for each in state.pattern.calls[-period:])
        return [ToolLoop(state.session_id, now, kind, tools, length, state.calls, key)]

    def _end(self, state: LoopState, key: str, tool: str, result: str, now: float) -> list[ToolLoop]:
        outputs = self._sign(state, key, tool, None, now)
        if self._repeats is not None:
            state.pattern.set_result(state.numbers[key], digest(result.encode()))
        return outputs


def tool_loops(
    *,
    repeats: int | None = 20,
    max_calls: int | None = 4000,
    cycles: int = 2,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator[ToolLoop]:
    """Emits a ``ToolLoop`` when a session makes the same calls over and over, or very many.

    Like ``buffer_with_count`` with a step of 1 and a ``filter`` on it, without the buffer.

    Marbles (1 s a character)::

        events  --a-b-c--d-e--|
        tool_loops(repeats=3, max_calls=5)
        result  ------x----y--|

        a = tool("s", "c1", "grep", "completed", input={"path": "a", "text": "b"}, output="none")
        b = tool("s", "c2", "grep", "completed", input={"text": "b", "path": "a"}, output="none")
        c = tool("s", "c3", "grep", "running", input={"path": "a", "text": "b"})
        d = tool("s", "c4", "bash", "running", input={"command": "ls"})
        e = tool("s", "c5", "bash", "pending", input={})
        x: kind="repeat", tools=("grep",), length=3, calls=3, call_id="c3"
        y: kind="calls", length=5, call_id="c5"

    Calls are equal when tool and input are, whatever the order of the input's keys, and as far as their
    results are known these are equal too: a test run again and again with another output each time is
    no loop. A call whose input never became known equals none.

    Args:
        repeats: Calls in a row that make a loop, at least 2; it is said again at each multiple.
            Default 20. None looks for no loops.
        max_calls: Calls of a session, at least 1, that are too many, whatever they are; said again at
            each multiple. Default 4000. None: no number is.
        cycles: Calls in the longest round to look for, at least 1: with 2, A B A B … is a loop as well
            when it is ``repeats`` calls long. Default 2; 1 looks for equal calls in a row only.
        scheduler: The clock; see ``per_session``.

    Returns:
        An operator from events to ``ToolLoop``.

    Raises:
        ValueError: An argument is out of its range.

    Memory: per session about 0.3 kB, the ids of its last 256 calls, and digests of 16 bytes for the
        last 32 plus ``cycles`` of them: 0.2 kB a call. Dropped with the session.
    Time: none.
    On completion and error: nothing is pending.

    Example:
        >>> import operators as ops
        >>> from streams.testing import outputs, tool
        >>> calls = [tool("s", f"c{n}", "bash", "running", input={"command": "ls"}) for n in range(25)]
        >>> [(loop.kind, loop.length, loop.tools) for loop in outputs(ops.tool_loops(), calls)]
        [('repeat', 20, ('bash',))]

    Source: field failures P12 to P15, R5.
    """
    logic = ToolLoopsLogic(
        None if repeats is None else checks.count("repeats", repeats, least=2),
        None if max_calls is None else checks.count("max_calls", max_calls),
        checks.count("cycles", cycles),
    )
    return per_session(logic, scheduler=scheduler)
