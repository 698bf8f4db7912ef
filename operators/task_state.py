"""What is kept of a background task, and how events change it: bounded, and cheap per delta."""

from typing import Final

import msgspec

from operators.tool_states import key_of
from streams.events import MessageUpdated, Part, PartDelta, SessionInfo, SessionStatus

__all__ = ["TERMINAL", "Task", "child_of"]

TERMINAL: Final = ("completed", "aborted", "failed", "gone")

TEXT: Final = 200
"""Characters of the last text that are kept."""

CALLS: Final = 256
"""Calls remembered to tell a new one from a repeated report; the count itself stays exact."""

MESSAGES: Final = 16
"""Answers whose tokens may still change."""

ABORT: Final = "MessageAbortedError"
TRANSIENT: Final = (ABORT, "APIError", "ContextOverflowError", "ContentFilterError")
"""Errors after which the agent says itself whether it goes on: by a status, or by idle (P5, P19)."""


class Task(msgspec.Struct):
    """A session as a task: one turn after the other, until nothing is owed."""

    session_id: str
    title: str = ""
    agent: str = ""
    started: float | None = None
    turn: float | None = None
    last: float | None = None
    finished: float | None = None
    active: bool = False
    output: bool = False
    idle_at: float | None = None
    outcome: str = ""
    wake_owed: bool = False
    error: str = ""
    retry: bool = False
    calls: int = 0
    recent: dict[str, None] = {}
    open_calls: dict[str, None] = {}
    last_tool: str = ""
    launches: dict[str, str] = {}
    ended_children: dict[str, str] = {}
    announced: bool = False
    tokens: int = 0
    cost: float = 0.0
    answers: dict[str, tuple[int, float]] = {}
    user_message: str = ""
    created: float = 0.0
    copied: dict[str, None] = {}
    text_part: str = ""
    reasoning_part: str = ""
    text: list[str] = []
    text_size: int = 0

    def begin(self, now: float) -> None:
        """Work is seen. After an idle it is a new turn, with a clock of its own (P2)."""
        if not self.active and self.idle_at is None:
            self.turn = now
            self.output = self.wake_owed = False
            self.error = self.outcome = ""
            self.finished = None
        self.started = now if self.started is None else self.started
        self.active = True
        self.retry = False
        self.idle_at = None
        self.last = now

    def take_delta(self, event: PartDelta, now: float) -> None:
        """80 % of all events: note that there is life, and keep the end of the text."""
        if not self.active:
            self.begin(now)
        self.last = now
        self.output = True
        part_id = event.part_id
        if event.field != "text" or part_id == self.reasoning_part:
            return
        if part_id != self.text_part:
            self.text_part, self.text, self.text_size = part_id, [], 0
        self.text.append(event.delta)
        self.text_size += len(event.delta)
        if self.text_size > 4 * TEXT:
            self.set_text(self.last_text())

    def take_part(self, part: Part, now: float) -> None:
        """A whole part: output of the session's own, unless it is the prompt."""
        if part.message_id == self.user_message:
            return
        if part.message_id in self.copied:
            self._take_copy(part)
        elif part.state is not None:
            self._take_call(part, part.state.status, now)
        elif part.type in ("text", "reasoning"):
            self._take_text(part, now)
        elif part.type == "step-start":
            self.begin(now)

    def take_answer(self, event: MessageUpdated) -> None:
        """Tokens and cost of an answer; the last report counts (U7)."""
        if event.role == "user":
            self.user_message = event.message_id
            return
        if self.is_copy(event):
            self.copied[event.message_id] = None
            if len(self.copied) > CALLS:
                del self.copied[next(iter(self.copied))]
        elif event.error is not None:
            self.error = event.error.name
        if event.tokens is None:
            return
        counted = event.tokens
        tokens = counted.input + counted.output + counted.reasoning
        tokens += counted.cache_read + counted.cache_write
        before = self.answers.get(event.message_id, (0, 0.0))
        self.tokens += tokens - before[0]
        self.cost += event.cost - before[1]
        self.answers[event.message_id] = (tokens, event.cost)
        if len(self.answers) > MESSAGES:
            del self.answers[next(iter(self.answers))]

    def take_status(self, event: SessionStatus, now: float) -> None:
        """At work, or waiting to ask the model again: which is a state, and no progress (P17)."""
        if not self.active:
            self.begin(now)
        self.retry = event.status == "retry"
        if not self.retry:
            self.error = ""

    def take_info(self, event: SessionInfo) -> None:
        """The session's own data."""
        self.created = event.created
        self.title = event.title or self.title
        self.agent = event.agent or self.agent

    def last_text(self) -> str:
        """The end of the last text."""
        return "".join(self.text)[-TEXT:]

    def set_text(self, text: str) -> None:
        self.text, self.text_size = [text[-TEXT:]], min(len(text), TEXT)

    def is_copy(self, event: MessageUpdated) -> bool:
        """A fork starts with copies of another session's messages, some never to be finished."""
        return event.created < self.created

    def _take_copy(self, part: Part) -> None:
        """A copied call counts as the session's, but nobody is at work on it."""
        if part.state is not None:
            self._count_call(key_of(part), part.tool)

    def _take_text(self, part: Part, now: float) -> None:
        """A part that has ended may be reported after the turn: that is no new work (P4)."""
        if part.ended is None:
            self.begin(now)
        self.output = True
        if part.type == "reasoning":
            self.reasoning_part = part.id
        elif part.text or part.id != self.text_part:
            self.text_part = part.id
            self.set_text(part.text)

    def _take_call(self, part: Part, status: str, now: float) -> None:
        key = key_of(part)
        over = status in ("completed", "error")
        if not over:
            self.begin(now)
        self.output = True
        if not key:
            return
        self._count_call(key, part.tool)
        if over:
            self.open_calls.pop(key, None)
            self.launches.pop(key, None)
        else:
            self.open_calls[key] = None
            if part.tool == "task":
                self.launches[key] = child_of(part) or self.launches.get(key, "")

    def _count_call(self, key: str, tool: str) -> None:
        if key and key not in self.recent:
            self.recent[key] = None
            self.calls += 1
            if len(self.recent) > CALLS:
                del self.recent[next(iter(self.recent))]
        self.last_tool = tool or self.last_tool


class _TaskMetadata(msgspec.Struct, rename={"session_id": "sessionId"}):
    session_id: str = ""


_task_metadata = msgspec.json.Decoder(_TaskMetadata).decode


def child_of(part: Part) -> str:
    """The session that a task tool started, as its metadata says; empty while it does not."""
    if part.tool != "task" or part.state is None or not bytes(part.state.metadata):
        return ""
    try:
        return _task_metadata(part.state.metadata).session_id
    except msgspec.MsgspecError:
        return ""
