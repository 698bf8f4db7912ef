"""What a report tells, gathered from a stream that ends."""

from collections.abc import Iterator

import msgspec
from reactivex import Observable

import operators as ops
from operators import (
    CompactionTrigger,
    ContextUsage,
    SessionOverview,
    StallReport,
    TaskProgress,
    ToolCall,
    ToolLoop,
)
from operators.session_tree import SessionTree
from streams.events import MalformedEvent, SessionCompacted, SessionEvent, StreamGap
from streams.faults import Fault
from streams.hub import EventHub
from streams.limits import ContextLimits

__all__ = ["Findings", "gather"]


class Findings(msgspec.Struct):
    """All that was derived, in order.

    Attributes:
        name: What was read.
        threshold: Fraction of the limit at which a session should be compacted.
        events: How many there were.
        malformed: Those of them that could not be read.
        gaps: Times that the connection was lost.
        begin: Seconds, when the first event was received.
        end: Seconds, when the last one was.
        sessions: How each session stood at its end, by its id.
        usages: Readings of each session's context window, by its id.
        compacted: Compactions.
        triggers: Calls for a compaction.
        tasks: Progress of background tasks.
        calls: The last word on each tool call, by session and call.
        loops: Agents that went round in circles.
        stalls: Sessions that fell silent at work.
        faults: What went wrong in deriving all this.
    """

    name: str
    threshold: float
    events: int = 0
    malformed: int = 0
    gaps: int = 0
    begin: float = 0.0
    end: float = 0.0
    sessions: dict[str, SessionOverview] = {}
    usages: dict[str, list[ContextUsage]] = {}
    compacted: list[SessionCompacted] = []
    triggers: list[CompactionTrigger] = []
    tasks: list[TaskProgress] = []
    calls: dict[tuple[str, str], ToolCall] = {}
    loops: list[ToolLoop] = []
    stalls: list[StallReport] = []
    faults: list[Fault] = []

    def title(self, session_id: str) -> str:
        """What a session is called; its id while it has no title."""
        session = self.sessions.get(session_id)
        return (session.title if session is not None else "") or session_id

    def fullest(self, session_id: str) -> ContextUsage | None:
        """The reading of a session that fills most of the window; by tokens where no limit is known."""
        known = (each for each in self.usages.get(session_id, ()) if each.tokens is not None)
        return max(known, key=lambda each: (each.ratio or 0.0, each.tokens or 0), default=None)

    def family(self) -> Iterator[tuple[int, SessionOverview]]:
        """Every session once with its depth, children after their parents."""
        tree = SessionTree()
        for session in self.sessions.values():
            tree.link(session.session_id, session.parent_id)
        left = dict(self.sessions)
        roots = (each for each in self.sessions if tree.parent(each) not in self.sessions)
        for root in (*roots, *self.sessions):  # the latter for sessions that name each other as parents
            waiting = [(0, root)]
            while waiting:
                depth, session_id = waiting.pop()
                if (session := left.pop(session_id, None)) is not None:
                    yield depth, session
                    waiting += [(depth + 1, each) for each in reversed(tree.children(session_id))]

    def take(self, event: SessionEvent) -> None:
        """Count one event."""
        if not self.events:
            self.begin = self.end = event.at
        self.begin, self.end = min(self.begin, event.at), max(self.end, event.at)
        self.events += 1
        match event:
            case MalformedEvent():
                self.malformed += 1
            case StreamGap():
                self.gaps += 1
            case SessionCompacted():
                self.compacted.append(event)
            case _:
                pass

    def overlook(self, overview: SessionOverview) -> None:
        """How a session stands now."""
        self.sessions[overview.session_id] = overview

    def measure(self, usage: ContextUsage) -> None:
        """One more reading."""
        self.usages.setdefault(usage.session_id, []).append(usage)

    def settle(self, call: ToolCall) -> None:
        """The last word on a call counts."""
        self.calls[call.session_id, call.call_id] = call


def gather(
    source: Observable[SessionEvent],
    limits: ContextLimits,
    *,
    name: str,
    threshold: float = 0.78,
) -> Findings:
    """Let a stream flow to its end and gather what is derived from it.

    Args:
        source: The events; it must play in the subscribing thread, as a replay in virtual time does.
        limits: Who knows the models' limits.
        name: What the events come from.
        threshold: Fraction of the limit at which a session should be compacted; above 0, at most 1.

    Raises:
        ValueError: ``threshold`` is out of its range, or the source is no recording.
        OSError: The source cannot be read.

    Memory: every derived value.
    """
    findings = Findings(name, threshold)
    ended: list[Exception] = []
    hub = EventHub(source)
    hub.errors.subscribe(findings.faults.append)
    hub.subscribe(findings.take, ended.append)

    hub.pipe(ops.session_overview(limits)).subscribe(findings.overlook, _ignored)
    hub.pipe(ops.context_usage(limits)).subscribe(findings.measure, _ignored)
    triggers = ops.compaction_triggers(limits, threshold=threshold)
    hub.pipe(triggers).subscribe(findings.triggers.append, _ignored)
    hub.pipe(ops.task_progress()).subscribe(findings.tasks.append, _ignored)
    hub.pipe(ops.tool_calls()).subscribe(findings.settle, _ignored)
    hub.pipe(ops.tool_loops()).subscribe(findings.loops.append, _ignored)
    hub.pipe(ops.stalls()).subscribe(findings.stalls.append, _ignored)
    hub.connect()
    if ended:
        raise ended[0]
    return findings


def _ignored(_: Exception) -> None:
    """The events' own end tells of it."""
