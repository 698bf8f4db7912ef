"""Sessions at work that nothing is heard of."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Literal

import msgspec
from reactivex import abc

from operators import checks
from operators.family import ACTIVE, FamilyFold
from operators.lift import Operator, lift
from operators.tool_states import key_of
from streams.events import (
    MessageUpdated,
    Part,
    PartDelta,
    PartUpdated,
    SessionEvent,
    SessionIdle,
    SessionStatus,
)
from streams.faults import Report

__all__ = ["StallReport", "stalls"]


Take = Callable[["Watch", SessionEvent, float], Iterable["StallReport"]]

NO_LIFE = ("patch", "snapshot", "step-finish")
"""Parts that close what is over already."""


class StallReport(msgspec.Struct, frozen=True, gc=False):
    """A session at work has been silent for too long.

    Attributes:
        session_id: The session.
        at: Seconds, when it was noticed.
        kind: ``stale``: silent; ``tool_stale``: silent while a tool runs; ``blocked``: it waits to ask
            the model again, longer than ``stale``.
        age: Seconds since the last progress; for ``blocked``, until the next attempt.
        since: Seconds, when the last progress was.
        tool: The tool that has been running longest; empty without one.
        number: Which report of this episode it is, from 1.
    """

    session_id: str
    at: float
    kind: Literal["stale", "tool_stale", "blocked"]
    age: float
    since: float
    tool: str
    number: int


class Watch(msgspec.Struct):
    """What is kept per session."""

    session_id: str
    progress: float
    active: bool = False
    tools: dict[str, str] = {}
    waiting: bool = False
    reported: int = 0


class StallsFold(FamilyFold[Watch, StallReport]):
    """Watches the time since the last progress of sessions at work."""

    def __init__(self, stale: float, tool_stale: float, report: Report) -> None:
        super().__init__(report)
        self._stale = stale
        self._tool_stale = tool_stale

    def takes(self) -> Mapping[type[SessionEvent], Take]:
        return {
            PartDelta: self._progress,
            PartUpdated: self._part,
            MessageUpdated: self._message,
            SessionStatus: self._status,
            SessionIdle: self._idle,
        }

    def start(self, session_id: str, now: float) -> Watch:
        return Watch(session_id, now)

    def deadline(self, state: Watch) -> float | None:
        """Reports come after once, twice and four times the patience, and so on (P21)."""
        if not state.active or state.waiting:
            return None
        patience = self._tool_stale if state.tools else self._stale
        return state.progress + patience * 2**state.reported

    def on_timer(self, state: Watch, now: float) -> Iterable[StallReport]:
        state.reported += 1
        kind = "tool_stale" if state.tools else "stale"
        tool = next(iter(state.tools.values()), "")
        age = now - state.progress
        yield StallReport(state.session_id, now, kind, age, state.progress, tool, state.reported)

    def waiting_changed(self, session_ids: Iterable[str], now: float) -> Iterable[StallReport]:
        """While a human is waited for nothing is stale; the answer starts the clock anew (P18)."""
        for session_id in session_ids:
            state = self.states[session_id]
            state.waiting = self.is_waiting(session_id)
            state.progress, state.reported = now, 0
        return ()

    def reconnected(self, now: float) -> Iterable[StallReport]:
        """Nothing is stale because of a gap (S1)."""
        for state in self.states.values():
            state.progress, state.reported = now, 0
        return ()

    def _progress(self, state: Watch, event: SessionEvent, now: float) -> Iterable[StallReport]:
        state.active = True
        state.progress, state.reported = now, 0
        return ()

    def _part(self, state: Watch, event: SessionEvent, now: float) -> Iterable[StallReport]:
        """Text and steps are life; so is a tool's change of state, but not more of its metadata (P10)."""
        part = event.part if isinstance(event, PartUpdated) else Part()
        if part.state is None:
            return self._progress(state, event, now) if part.type not in NO_LIFE else ()
        call, running = key_of(part), part.state.status in ("pending", "running")
        if running and call in state.tools and part.state.status == "running":
            return ()
        if running and part.state.status == "running":
            state.tools[call] = part.tool
        elif not running:
            if call not in state.tools and not state.active:
                return ()
            state.tools.pop(call, None)
        return self._progress(state, event, now)

    def _message(self, state: Watch, event: SessionEvent, now: float) -> Iterable[StallReport]:
        """An answer that begins is life; the bookkeeping after it is not (P4)."""
        if isinstance(event, MessageUpdated) and event.role == "assistant" and event.completed is None:
            return self._progress(state, event, now)
        return ()

    def _status(self, state: Watch, event: SessionEvent, now: float) -> Iterable[StallReport]:
        if not isinstance(event, SessionStatus):
            return ()
        if event.status not in ACTIVE:
            return self._idle(state, event, now)
        if not state.active:
            self._progress(state, event, now)
        if event.status == "retry" and event.next is not None and event.next - now > self._stale:
            return self._blocked(state, event.next - now, now)
        return ()

    def _blocked(self, state: Watch, wait: float, now: float) -> Iterable[StallReport]:
        """The next attempt is further away than our patience: said at once, once (P17)."""
        if state.reported == 0:
            state.reported = 1
            yield StallReport(state.session_id, now, "blocked", wait, state.progress, "", 1)

    def _idle(self, state: Watch, event: SessionEvent, now: float) -> Iterable[StallReport]:
        state.active = False
        state.tools.clear()
        return ()


def stalls(
    *,
    stale: float | timedelta = 2700.0,
    tool_stale: float | timedelta = 3600.0,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator[StallReport]:
    """Emits a ``StallReport`` when a session at work has been silent for too long.

    Like ``timeout`` per session that reports instead of failing, and only while the session works.

    Marbles (100 s a character)::

        events  b-t--t------i--|
        stalls(stale=300, tool_stale=600)
        result  --------x------|

        b = busy("s")
        t = tool("s", "c", "bash", "running")
        i = idle("s")
        x: kind="tool_stale", tool="bash", since=200.0, age=600.0

    The second ``t`` is no progress: it only repeats that the tool runs.

    Args:
        stale: Seconds without progress; above 0. Default 2700: a model may think for long.
        tool_stale: The same while a tool runs; above 0. Default 3600: a test run may be silent.
        scheduler: Clock and timer; see ``per_session``.

    Returns:
        An operator from events to ``StallReport``: one when the patience is over, again at twice and
        four times it, and so on; progress starts a new episode.

    Raises:
        ValueError: An argument is not above 0.

    Memory: per session about 0.3 kB, and one entry per running tool; dropped with the session.
    Time: one pending timer. Progress is text, reasoning, an answer that begins, a tool that starts or
        ends. Heartbeats, retries, session data and repeated tool states are none. While a human is
        waited for, here or in a child, no time counts.
    On completion and error: nothing is pending.

    Example:
        >>> import operators as ops
        >>> from streams.testing import busy, outputs
        >>> reports = outputs(ops.stalls(stale=900), [busy("s")], until=4000, complete=False)
        >>> [(report.at, report.age) for report in reports]
        [(900.0, 900.0), (1800.0, 1800.0), (3600.0, 3600.0)]

    Source: field failures P8 to P10, P17, P18, P21, S1, S3.
    """
    patience = checks.seconds("stale", stale)
    tool_patience = checks.seconds("tool_stale", tool_stale)
    return lift(lambda report: StallsFold(patience, tool_patience, report), scheduler)
