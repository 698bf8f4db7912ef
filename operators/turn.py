"""Whether a session is at work: what it says of a turn, told from the bookkeeping around turns."""

from math import inf
from typing import Final

import msgspec

from operators.sparse import put, sparse
from operators.tool_states import ENDED
from streams.events import MessageUpdated, Part, PartUpdated, SessionEvent

__all__ = ["ACTIVE", "LATE", "Turn", "is_final", "is_over"]

ACTIVE: Final = ("busy", "retry", "running")
"""Statuses of a session at work; any other goes the way of idle (P16)."""

LATE: Final = 5.0
"""Seconds within which an event made before an idle may still arrive after it (S4)."""

COPIES: Final = 256
"""Copied messages remembered: a fork gets all of them at once."""


class Turn(msgspec.Struct, gc=False):
    """What tells a session's work from what only looks like it. It is at work until it is idle.

    Attributes:
        session_id: The session.
        active: Whether it is at work.
        has_status: Whether it ever said so itself; opencode's preview sessions never do.
        created: Seconds, when it came to be, by the agent's clock; 0 while not known.
        prompt: The user's message heard last.
        answered: The answer that was over last.
        copied: The messages that it was given when it was made as a fork.
        idle_event: The id of the newest idle heard.
        idle_heard: Seconds, when an idle was heard last.
    """

    session_id: str
    active: bool = False
    has_status: bool = False
    created: float = 0.0
    prompt: str = ""
    answered: str = ""
    copied: dict[str, None] = sparse()
    idle_event: str = ""
    idle_heard: float = -inf

    def rest(self, event: SessionEvent, now: float) -> None:
        """The session is idle."""
        self.active = False
        self.idle_event = max(self.idle_event, event.event_id)
        self.idle_heard = now

    def note_message(self, event: MessageUpdated) -> None:
        """Remember whose message it is: its parts do not say."""
        if event.role == "user":
            self.prompt = event.message_id
        elif event.completed is not None:
            self.answered = event.message_id
        if self.is_copy(event):
            self.copied = put(self.copied, event.message_id, None)
            if len(self.copied) > COPIES:
                del self.copied[next(iter(self.copied))]

    def is_copy(self, event: MessageUpdated) -> bool:
        """A fork starts with copies of another session's messages, some never to be finished."""
        return 0 < event.created < self.created

    def is_late(self, event: SessionEvent, now: float) -> bool:
        """Made before the idle that overtook it, so it begins no turn (S4). Without ids nobody knows."""
        if self.active or not event.event_id:
            return False
        return event.event_id < self.idle_event and now - self.idle_heard <= LATE

    def is_answering(self, event: MessageUpdated, now: float) -> bool:
        """Whether an answer is being written; updates of one that is over are no work (P4)."""
        over = event.role != "assistant" or event.finish or event.completed is not None
        return not (over or self.is_copy(event) or self.is_late(event, now))

    def is_own(self, part: Part) -> bool:
        """Whether a part is output of the session's own: of no prompt, and no copy."""
        return part.message_id != self.prompt and part.message_id not in self.copied

    def is_work(self, event: PartUpdated, now: float) -> bool:
        """Whether one of its own parts shows work. Between turns an edit does not, nor does what is
        still told of an answer that is over (P4)."""
        over = is_over(event.part) or event.part.message_id == self.answered
        return self.active or not (over or self.is_late(event, now))


def is_over(part: Part) -> bool:
    """Whether a part has come to its end."""
    if part.state is not None:
        return part.state.status in ENDED
    return part.ended is not None


def is_final(event: MessageUpdated) -> bool:
    """Whether an answer ends its turn: the only sign of it from a session without statuses."""
    over = event.role == "assistant" and event.completed is not None
    return over and event.finish in ("stop", "length", "content-filter")
