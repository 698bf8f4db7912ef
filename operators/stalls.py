"""Sessions at work that nothing is heard of."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Literal, cast

import msgspec
from reactivex import abc

from operators.family import FamilyFold
from operators.lift import Operator, lift
from operators.tool_states import key_of
from operators.turn import ACTIVE, Turn, is_final, is_over
from streams import checks
from streams.events import (
    MessageUpdated,
    PartDelta,
    PartUpdated,
    SessionEvent,
    SessionIdle,
    SessionInfo,
    SessionStatus,
    UnknownEvent,
)
from streams.faults import Report

__all__ = ["StallReport", "stalls"]


Take = Callable[["Watch", SessionEvent, float], Iterable["StallReport"]]

NO_LIFE = ("patch", "snapshot", "step-finish")
"""Parts that close what is over already."""


UNREAD_LIFE = tuple(f"session.next.{what}." for what in ("text", "reasoning", "tool", "step", "shell"))
"""Types of opencode's preview that show work, should they have no event of their own here (P10)."""


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


class Watch(Turn):
    """A turn, the time of its last progress, and the tools that run in it by their calls."""

    progress: float = 0.0
    tools: dict[str, str] = {}
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
            SessionInfo: self._described,
            UnknownEvent: self._unknown,
        }

    def start(self, session_id: str, now: float) -> Watch:
        return Watch(session_id, progress=now)

    def deadline(self, state: Watch) -> float | None:
        """Reports come after once, twice and four times the patience, and so on (P21)."""
        if not state.active or state.session_id in self.waiting:
            return None
        patience = self._tool_stale if state.tools else self._stale
        return state.progress + patience * 2**state.reported

    def on_timer(self, state: Watch, now: float) -> Iterable[StallReport]:
        if "task" in state.tools.values() and self._progress_below(state):
            return
        state.reported += 1
        kind = "tool_stale" if state.tools else "stale"
        tool = next(iter(state.tools.values()), "")
        age = now - state.progress
        yield StallReport(state.session_id, now, kind, age, state.progress, tool, state.reported)

    def waiting_changed(self, session_ids: Iterable[str], now: float) -> Iterable[StallReport]:
        """While a human is waited for nothing is stale; the answer starts the clock anew (P18)."""
        for session_id in session_ids:
            state = self.states[session_id]
            state.progress, state.reported = now, 0
        return ()

    def reconnected(self, now: float) -> Iterable[StallReport]:
        """Nothing is stale because of a gap (S1)."""
        for state in self.states.values():
            state.progress, state.reported = now, 0
        return ()

    def _progress_below(self, state: Watch) -> bool:
        """Who waits for a task of its own has the task's progress; asked only when a report is due."""
        below = (self.states.get(each) for each in self.tree.descendants(state.session_id))
        newest = max((each.progress for each in below if each is not None and each.active), default=0.0)
        if newest <= state.progress:
            return False
        state.progress, state.reported = newest, 0
        return True

    def _progress(self, state: Watch, event: SessionEvent, now: float) -> Iterable[StallReport]:
        if state.active or not state.is_late(event, now):
            state.active = True
            state.progress, state.reported = now, 0
        return ()

    def _part(self, state: Watch, event: SessionEvent, now: float) -> Iterable[StallReport]:
        """Text and steps are life; so is a tool's change of state, but not more of its metadata (P10)."""
        update = cast(PartUpdated, event)
        part = update.part
        if part.type in NO_LIFE or not state.is_own(part) or not state.is_work(update, now):
            return ()
        if part.state is not None:
            call = key_of(part)
            if is_over(part):
                state.tools.pop(call, None)
            elif part.state.status == "running":
                if call in state.tools:
                    return ()
                state.tools[call] = part.tool
        return self._progress(state, event, now)

    def _message(self, state: Watch, event: SessionEvent, now: float) -> Iterable[StallReport]:
        """An answer being written is life; the bookkeeping after it is not (P4)."""
        message = cast(MessageUpdated, event)
        state.note_message(message)
        if is_final(message) and not state.has_status:
            return self._idle(state, event, now)
        return self._progress(state, event, now) if state.is_answering(message, now) else ()

    def _unknown(self, state: Watch, event: SessionEvent, now: float) -> Iterable[StallReport]:
        if cast(UnknownEvent, event).type.startswith(UNREAD_LIFE):
            return self._progress(state, event, now)
        return ()

    def _described(self, state: Watch, event: SessionEvent, now: float) -> Iterable[StallReport]:
        state.created = cast(SessionInfo, event).created
        return ()

    def _status(self, state: Watch, event: SessionEvent, now: float) -> Iterable[StallReport]:
        status = cast(SessionStatus, event)
        state.has_status = True
        if status.status not in ACTIVE:
            return self._idle(state, event, now)
        if not state.active:
            self._progress(state, event, now)
        if status.status == "retry" and status.next is not None and status.next - now > self._stale:
            return self._blocked(state, status.next - now, now)
        return ()

    def _blocked(self, state: Watch, wait: float, now: float) -> Iterable[StallReport]:
        """The next attempt is further away than our patience: said at once, once (P17)."""
        if state.reported == 0:
            state.reported = 1
            yield StallReport(state.session_id, now, "blocked", wait, state.progress, "", 1)

    def _idle(self, state: Watch, event: SessionEvent, now: float) -> Iterable[StallReport]:
        state.rest(event, now)
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

    Memory: per session about 0.4 kB, and one entry per running tool; dropped with the session.
    Time: one pending timer. Progress is text, reasoning, an answer that begins, a tool that starts or
        ends. Heartbeats, retries, session data, prompts, copies in a fork and repeated tool states are
        none. While a human is waited for, here or in a child, no time counts; while a ``task`` tool
        runs, the progress of the sessions below counts too.
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
