"""Everything about a session in one value, for dashboards and for whoever asks."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from html import escape
from math import inf
from typing import ClassVar, cast

import msgspec
from reactivex import abc

from operators.gauge import Accounting, Gauge, GaugeState
from operators.lift import Call, Operator, lift
from operators.task_counts import TaskCounts, TaskState
from operators.task_fold import TaskFold
from operators.task_state import Task
from operators.todo_list import is_incomplete
from streams import checks
from streams.events import (
    LimitsChanged,
    MessageRemoved,
    MessageUpdated,
    SessionCompacted,
    SessionEvent,
    SessionInfo,
    TodosUpdated,
)
from streams.faults import Report
from streams.limits import ContextLimits

__all__ = ["SessionOverview", "session_overview"]


class SessionOverview(msgspec.Struct, frozen=True, gc=False):
    """What is known of one session.

    Attributes:
        session_id: The session.
        at: Seconds, when it was said.
        parent_id: The session that started it; empty for a root, or while that is not known.
        title: What it is called.
        agent: Who works on it.
        state: As ``TaskProgress.state``.
        tokens: Tokens of the last prompt; None while not known.
        limit: The model's limit in tokens; None while not known.
        ratio: ``tokens / limit``, not clamped; None while either is not known.
        provider_id: Of the model in use now.
        model_id: Of the model in use now.
        tool_calls: Distinct tool calls so far.
        last_tool: The tool called last.
        last_text: The end of the last text, at most 200 characters.
        todos: Entries of the todo list.
        todos_closed: Those of them that need nothing more.
        tasks: The sessions it started, by state.
        used_tokens: Tokens that its answers have used, all kinds together.
        cost: What they cost, USD.
        started: Seconds, the first sign of work; None when there was none.
        last_activity: Seconds, the last one.
        error: The name of the error it ended with, or is retrying after.
        gone: Whether it was deleted or has expired: this is the last value of it.
    """

    session_id: str
    at: float
    parent_id: str
    title: str
    agent: str
    state: TaskState
    tokens: int | None
    limit: int | None
    ratio: float | None
    provider_id: str
    model_id: str
    tool_calls: int
    last_tool: str
    last_text: str
    todos: int
    todos_closed: int
    tasks: TaskCounts
    used_tokens: int
    cost: float
    started: float | None
    last_activity: float | None
    error: str
    gone: bool

    def _repr_html_(self) -> str:
        full = "" if self.ratio is None else f"{self.ratio * 100:.1f} % full, "
        todos = f"todos {self.todos_closed}/{self.todos}, " if self.todos else ""
        name = escape(self.title or self.session_id)
        return f"<div><b>{name}</b> {self.state}: {full}{todos}{self.tool_calls} calls</div>"


_Take = Callable[["Overview", SessionEvent, float], Iterable[SessionOverview]]


class Overview(Task):
    """A task, its gauge and its todos, and when it may be spoken of again."""

    gauge: GaugeState = msgspec.field(default_factory=GaugeState)
    todos: tuple[int, int] = (0, 0)
    said_at: float = -inf
    due: float | None = None


class OverviewFold(TaskFold[Overview, SessionOverview]):
    """Marks sessions that changed, and speaks of each at most every so often."""

    version: ClassVar[int] = 2

    def __init__(self, gauge: Gauge, at_most: float, report: Report) -> None:
        super().__init__(5.0, report)
        self._gauge = gauge
        self._at_most = at_most

    def calls(self) -> Mapping[type[SessionEvent], Call[SessionOverview]]:
        return {**super().calls(), LimitsChanged: self._limits_changed}

    def takes(
        self,
    ) -> Mapping[
        type[SessionEvent], Callable[[Overview, SessionEvent, float], Iterable[SessionOverview]]
    ]:
        takes = dict(super().takes())
        gauged = (MessageUpdated, SessionInfo, SessionCompacted, MessageRemoved)
        measured = {kind: self._measured(takes.get(kind)) for kind in gauged}
        return takes | measured | {TodosUpdated: self._todos}

    def start(self, session_id: str, now: float) -> Overview:
        return Overview(session_id)

    def deadline(self, state: Overview) -> float | None:
        if state.idle_at is None or state.due is None:
            return state.due if state.idle_at is None else state.idle_at
        return min(state.due, state.idle_at)

    def on_timer(self, state: Overview, now: float) -> Iterable[SessionOverview]:
        if state.idle_at is not None and state.idle_at <= now:
            list(super().on_timer(state, now))
        if state.due is not None and state.due <= now:
            yield self._overview(state, now)

    def say(self, state: Overview, now: float) -> Iterable[SessionOverview]:
        """Something changed: it is said when the session's turn to speak has come."""
        if state.due is None:
            state.due = max(now, state.said_at + self._at_most)
        parent = self.states.get(self.tree.parent(state.session_id))
        if parent is not None and parent.due is None:
            parent.due = max(now, parent.said_at + self._at_most)
            self.deadlines.set(parent.session_id, parent.due)
        return ()

    def gone(self, state: Overview, event: SessionEvent | None, now: float) -> Iterable[SessionOverview]:
        list(super().gone(state, event, now))
        if event is not None or state.due is not None:
            yield self._overview(state, now, gone=event is not None)

    def _limits_changed(self, event: SessionEvent, now: float) -> Iterable[SessionOverview]:
        """Idle sessions are measured anew (U10)."""
        for state in self.states.values():
            if self._gauge.take(state.gauge, event) is not None:
                self.say(state, now)
                self.deadlines.set(state.session_id, self.deadline(state))
        return ()

    def _measured(self, take: _Take | None) -> _Take:
        def measured(state: Overview, event: SessionEvent, now: float) -> Iterable[SessionOverview]:
            changed = self._gauge.take(state.gauge, event) is not None
            if take is not None:
                take(state, event, now)
            return self.say(state, now) if changed else ()

        return measured

    def _todos(self, state: Overview, event: SessionEvent, now: float) -> Iterable[SessionOverview]:
        todos = cast(TodosUpdated, event).todos
        state.todos = (len(todos), sum(not is_incomplete(todo) for todo in todos))
        return self.say(state, now)

    def _overview(self, state: Overview, now: float, *, gone: bool = False) -> SessionOverview:
        state.due, state.said_at = None, now
        reading, faults = self._gauge.read(state.gauge, state.session_id, now)
        for fault in faults:
            self.report(fault)
        return SessionOverview(
            state.session_id,
            now,
            self.tree.parent(state.session_id),
            state.title,
            state.agent,
            self.state_name(state),
            None if reading.sample is None else reading.sample.tokens,
            reading.limit,
            reading.ratio,
            state.gauge.provider_id,
            state.gauge.model_id,
            state.calls,
            state.last_tool,
            state.last_text,
            *state.todos,
            self.counts(state.session_id),
            state.tokens,
            state.cost,
            state.started,
            state.last,
            state.error,
            gone,
        )


def session_overview(
    limits: ContextLimits | None = None,
    *,
    at_most: float | timedelta = 1.0,
    accounting: Accounting = "exclusive",
    scheduler: abc.SchedulerBase | None = None,
) -> Operator[SessionOverview]:
    """Emits a ``SessionOverview`` when anything about a session has changed, at a bounded rate.

    Like ``combine_latest`` of usage, progress and todos, followed by ``sample``, per session.

    Marbles (1 s a character)::

        events  b-a-t------i--|
        session_overview(limits, at_most=5)
        result  v----w-----x--|

        b = busy("s")
        a = assistant("s", "m1", input=50_000)
        t = todos("s", "completed", "pending")
        i = idle("s")
        v: state="running", tokens=None
        w: state="running", tokens=50_000, ratio=0.25, todos=2, todos_closed=1
        x: state="completed", tokens=50_000

    Args:
        limits: Who knows the models' limits. Default None: no limit is known.
        at_most: Seconds between two values of one session at the least; 0 or more. Default 1.
        accounting: Whether ``input`` includes cached tokens; ``exclusive`` is opencode's way.
        scheduler: Clock and timer; see ``per_session``.

    Returns:
        An operator from events to ``SessionOverview``. A session's last value says ``gone``.

    Raises:
        ValueError: An argument is out of its range.

    Memory: per session about 2 kB; dropped with the session.
    Time: one pending timer, while a change waits to be said.
    On completion and error: what waits to be said is said first.

    Example:
        >>> import operators as ops
        >>> from streams import ContextLimits
        >>> from streams.testing import assistant, outputs
        >>> limits = ContextLimits({"anthropic/x": 200_000})
        >>> events = [assistant("s", f"m{n}", input=1000 * n, created=n) for n in range(1, 9)]
        >>> [each.tokens for each in outputs(ops.session_overview(limits, at_most=4), events)]
        [1000, 4000, 8000]

    Source: field failures U1 to U15, P1 to P7, D5; asked for by users of dashboards.
    """
    gauge = Gauge(limits or ContextLimits(), accounting)
    seconds = checks.seconds("at_most", at_most, zero=True)
    return lift(lambda report: OverviewFold(gauge, seconds, report), scheduler)
