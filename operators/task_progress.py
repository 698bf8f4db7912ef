"""How far each background task is."""

from collections.abc import Iterable
from datetime import timedelta
from html import escape

import msgspec
from reactivex import abc

from operators.lift import Operator, lift
from operators.task_counts import TaskCounts, TaskState
from operators.task_fold import TaskFold
from operators.task_state import TERMINAL, Task
from streams import checks

__all__ = ["TaskCounts", "TaskProgress", "TaskState", "task_progress"]


class TaskProgress(msgspec.Struct, frozen=True, gc=False):
    """How far a background task, a session started by another one, is.

    Attributes:
        session_id: The task's session.
        at: Seconds, when it was said.
        parent_id: The session that started it.
        root_id: The topmost session known above it.
        depth: How many sessions are above it; at least 1.
        title: What the task is called.
        agent: Who works on it.
        state: ``pending`` (nothing heard of it but its name), ``running``, ``waiting`` (for a human, it
            or a task of its own), ``retrying``, ``idle`` (its turn ended, but not the task), or how it
            ended: ``completed``, ``aborted``, ``failed``, ``gone`` (deleted or expired before its end).
        tool_calls: Distinct tool calls so far.
        last_tool: The tool called last.
        last_text: The end of the last text, at most 200 characters.
        tokens: Tokens that its answers have used, all kinds together.
        cost: What they cost, USD.
        started: Seconds, the first sign of work; None when there was none.
        last_activity: Seconds, the last one.
        finished: Seconds, when it ended; None while it has not.
        error: The name of the error it ended with, or is retrying after.
        siblings: The parent's tasks by state, this one among them.
        all_complete: True on the one value that makes all the parent's tasks ended.
    """

    session_id: str
    at: float
    parent_id: str
    root_id: str
    depth: int
    title: str
    agent: str
    state: TaskState
    tool_calls: int
    last_tool: str
    last_text: str
    tokens: int
    cost: float
    started: float | None
    last_activity: float | None
    finished: float | None
    error: str
    siblings: TaskCounts
    all_complete: bool

    def _repr_html_(self) -> str:
        name, tool = escape(self.title or self.session_id), escape(self.last_tool)
        said = f"{self.tool_calls} calls" + (f", last <code>{tool}</code>" if tool else "")
        return f"<div><b>{name}</b> {self.state}: {said} {_bar(self.siblings)}</div>"


def _bar(counts: TaskCounts) -> str:
    return f'<progress max="{counts.total}" value="{counts.ended}"></progress>'


class Told(Task):
    """A task, and what was said of it last."""

    said: tuple[object, ...] = ()


class TaskProgressFold(TaskFold[Told, TaskProgress]):
    """Speaks of the sessions that have a parent."""

    def start(self, session_id: str, now: float) -> Told:
        return Told(session_id)

    def say(self, state: Told, now: float) -> Iterable[TaskProgress]:
        """The task's value if anything but text and times has changed, and it is known to be a task."""
        parent_id = self.tree.parent(state.session_id)
        if not parent_id:
            return ()
        name = self.state_name(state)
        said = (name, parent_id, state.calls, state.last_tool, state.tokens, state.title)
        if said == state.said:
            return ()
        ended_before = bool(state.said) and state.said[0] in TERMINAL
        state.said = said
        counts = self._with(state, self.counts(parent_id), name)
        complete = counts.ended == counts.total
        if (parent := self.states.get(parent_id)) is not None:
            parent.announced = complete
        news = complete and name in TERMINAL and not ended_before
        return (self._value(state, now, name, parent_id, counts, news),)

    def batch_over(self, parent: Told, now: float) -> Iterable[TaskProgress]:
        """The task that ended last is said again, when only a launch kept it from completing all."""
        counts = None if parent.announced else self.counts(parent.session_id)
        if counts is None or counts.ended < counts.total:
            return ()
        children = (self.states.get(each) for each in self.tree.children(parent.session_id))
        ended = [each for each in children if each is not None and each.finished is not None]
        if not ended:
            return ()
        parent.announced = True
        last = max(ended, key=lambda each: each.finished or 0.0)
        return (
            self._value(last, now, self.state_name(last), parent.session_id, counts, all_complete=True),
        )

    def _with(self, state: Told, counts: TaskCounts, name: TaskState) -> TaskCounts:
        """A session that is being dropped is no longer among the states, but still counts."""
        if state.session_id in self.states or name != "gone":
            return counts
        return msgspec.structs.replace(counts, pending=max(0, counts.pending - 1), gone=counts.gone + 1)

    def _value(
        self,
        state: Told,
        now: float,
        name: TaskState,
        parent_id: str,
        counts: TaskCounts,
        all_complete: bool,
    ) -> TaskProgress:
        return TaskProgress(
            state.session_id,
            now,
            parent_id,
            self.tree.root(state.session_id),
            self.tree.depth(state.session_id),
            state.title,
            state.agent,
            name,
            state.calls,
            state.last_tool,
            state.last_text,
            state.tokens,
            state.cost,
            state.started,
            state.last,
            state.finished,
            state.error,
            counts,
            all_complete,
        )


def task_progress(
    *, minimum_runtime: float | timedelta = 5.0, scheduler: abc.SchedulerBase | None = None
) -> Operator[TaskProgress]:
    """Emits a ``TaskProgress`` when a background task changes its state, calls a tool or spends tokens.

    Like ``scan`` over all sessions, emitting the ones that were started by another.

    Marbles (1 s a character)::

        events  -c-b-t--i----|
        task_progress(minimum_runtime=0)
        result  -x-y-z--d----|

        c = created("child", "parent")
        b = busy("child")
        t = tool("child", "call_1", "bash", "running")
        i = idle("child")
        x: session_id="child", parent_id="parent", state="pending"
        y: state="running", started=3.0
        z: state="running", tool_calls=1, last_tool="bash"
        d: state="completed", finished=8.0, all_complete=True

    Args:
        minimum_runtime: Seconds from a turn's start within which an idle is not believed at once: it
            counts when they are over, unless work is seen before. 0 or more. Default 5.
        scheduler: Clock and timer; see ``per_session``.

    Returns:
        An operator from events to ``TaskProgress``. ``siblings`` counts the parent's tasks by state, and
        ``all_complete`` is true on exactly one value per batch of them.

    Raises:
        ValueError: ``minimum_runtime`` is below 0.

    Memory: per session about 1 kB: the end of its text, the last 256 calls' and 16 answers' ids, the
        states of 100 ended tasks. Dropped with the session.
    Time: one pending timer, while an early idle waits.
    On completion and error: an early idle that waits is believed; a task without an end has none.

    Example:
        >>> import operators as ops
        >>> from streams.testing import busy, created, idle, outputs, text
        >>> events = [created("c", "p"), busy("c"), text("c", "m", "p", "hi"), (9, idle("c"))]
        >>> [each.state for each in outputs(ops.task_progress(), events)]
        ['pending', 'running', 'completed']

    Source: field failures P1 to P7, P12, P16 to P20, S10, S11.
    """
    seconds = checks.seconds("minimum_runtime", minimum_runtime, zero=True)
    return lift(lambda report: TaskProgressFold(seconds, report), scheduler)
