"""What is kept of a background task, and how events change it: bounded, and cheap per delta."""

from sys import intern
from typing import Final

import msgspec

from operators.sparse import put, sparse
from operators.tool_states import key_of
from operators.turn import Turn, is_over
from streams.events import (
    MessageUpdated,
    Part,
    PartDelta,
    PartUpdated,
    SessionInfo,
    SessionStatus,
    Tokens,
)

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


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What one answer has cost so far."""

    message_id: str = ""
    tokens: int = 0
    cost: float = 0.0
    created: float = 0.0


NO_ANSWER: Final = Answer()


class Task(Turn):
    """A session as a task: one turn after the other, until nothing is owed."""

    title: str = ""
    agent: str = ""
    started: float | None = None
    turn: float | None = None
    last: float | None = None
    finished: float | None = None
    output: bool = False
    idle_at: float | None = None
    outcome: str = ""
    wake_owed: bool = False
    error: str = ""
    error_event: str = ""
    retry: bool = False
    calls: int = 0
    recent: dict[str, None] = sparse()
    last_tool: str = ""
    launches: dict[str, str] = sparse()
    ended_children: dict[str, str] = sparse()
    announced: bool = True
    tokens: int = 0
    cost: float = 0.0
    answers: tuple[Answer, ...] = ()
    settled: float = 0.0
    text_part: str = ""
    reasoning_part: str = ""
    last_text: str = ""

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
        if self.active:
            self.last = now
        elif not self.is_late(event, now):
            self.begin(now)
        self.output = True
        part_id = event.part_id
        if event.field != "text" or part_id == self.reasoning_part or not event.delta:
            return
        if part_id != self.text_part:
            self.text_part, self.last_text = part_id, ""
        self.last_text = (self.last_text + event.delta)[-TEXT:]

    def take_part(self, event: PartUpdated, now: float) -> None:
        """A whole part: output of the session's own, unless it is the prompt or a copy."""
        part = event.part
        if not self.is_own(part):
            if part.state is not None:  # a copied call is the session's, but nobody is at work on it
                self._count_call(key_of(part), part.tool)
            return
        if part.state is None and part.type not in ("text", "reasoning", "step-start"):
            return
        if is_over(part):
            self.last = now if self.active else self.last
        elif self.is_work(event, now):
            self.begin(now)
        if part.state is not None:
            self._take_call(part)
        elif part.type != "step-start":
            self._take_text(part)

    def take_answer(self, event: MessageUpdated, now: float) -> None:
        """Tokens and cost of an answer; the last report counts (U7)."""
        self.note_message(event)
        if event.role == "user":
            return
        if not self.is_copy(event):
            if event.error is not None:
                self.error = event.error.name
            # An answer without a word is an answer; one of an earlier turn says nothing of this one.
            if event.finish and (self.active or self.is_late(event, now)):
                self.output = True
        if event.tokens is not None:
            self._count_tokens(event, event.tokens)

    def _count_tokens(self, event: MessageUpdated, counted: Tokens) -> None:
        """What an answer has cost more than it had when it was last told."""
        told = (each for each in self.answers if each.message_id == event.message_id)
        before = next(told, NO_ANSWER)
        if before is NO_ANSWER and 0 < event.created <= self.settled:
            return  # told again after many others: it was counted
        tokens = counted.input + counted.output + counted.reasoning
        tokens += counted.cache_read + counted.cache_write
        self.tokens += tokens - before.tokens
        self.cost += event.cost - before.cost
        others = [each for each in self.answers if each is not before]
        if len(others) == MESSAGES:
            self.settled = max(self.settled, others.pop(0).created)
        self.answers = (*others, Answer(event.message_id, tokens, event.cost, event.created))

    def take_status(self, event: SessionStatus, now: float) -> None:
        """At work, or waiting to ask the model again: which is a state, and no progress (P17)."""
        self.has_status = True
        if self.is_late(event, now):
            return
        if not self.active:
            self.begin(now)
        self.retry = event.status == "retry"
        if not self.retry and not "" < event.event_id < self.error_event:
            self.error = ""

    def take_info(self, event: SessionInfo) -> None:
        """The session's own data."""
        self.created = event.created
        self.title = event.title or self.title
        self.agent = intern(event.agent) or self.agent

    def rests(self) -> bool:
        """Whether its turn is over and has brought something, and the task may be over too."""
        over = not self.active and self.started is not None and self.idle_at is None
        return over and self.output and not self.outcome

    def _take_text(self, part: Part) -> None:
        self.output = True
        if part.type == "reasoning":
            self.reasoning_part = part.id
        elif part.text or part.id != self.text_part:
            self.text_part, self.last_text = part.id, part.text[-TEXT:]

    def _take_call(self, part: Part) -> None:
        self.output = True
        key = key_of(part)
        if not key:
            return
        self._count_call(key, part.tool)
        if is_over(part):
            self.launches.pop(key, None)
        elif part.tool == "task":
            child = child_of(part) or self.launches.get(key, "")
            self.launches = put(self.launches, key, child)

    def _count_call(self, key: str, tool: str) -> None:
        if key and key not in self.recent:
            self.recent = put(self.recent, key, None)
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
