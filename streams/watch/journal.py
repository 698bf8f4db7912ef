"""What each session said and did last: the transcript's tail and the tool log of its detail view."""

from collections import deque
from collections.abc import Callable, Container
from copy import deepcopy
from typing import Final, TypeVar

import msgspec

import operators as ops
from operators import ToolCall
from streams.events import MessageUpdated, Part, PartDelta, PartRemoved, PartUpdated, SessionEvent
from streams.hub import EventHub

__all__ = ["Journal", "Journals", "Said"]

PARTS: Final = 16
"""Parts kept of a session: more than a terminal shows."""

CALLS: Final = 16

TAIL: Final = 1_000
"""Characters kept of a part: with ``PARTS``, 16 kB a session at the most."""

_E = TypeVar("_E", bound=SessionEvent)


class Said(msgspec.Struct, gc=False):
    """One part of a message.

    Attributes:
        message_id: The message.
        kind: ``text``, ``reasoning`` or ``tool``.
        text: Its end, of a tool call what it is called with and how it stands.
    """

    message_id: str
    kind: str
    text: str = ""


class Journal(msgspec.Struct):
    """One session.

    Attributes:
        said: Its last parts by their ids, in order.
        users: Messages of the last ones that are the user's.
        calls: Its last tool calls, as they ended.
    """

    said: dict[str, Said] = {}
    users: dict[str, None] = {}
    calls: deque[ToolCall] = msgspec.field(default_factory=lambda: deque[ToolCall](maxlen=CALLS))


class Journals:
    """The journals of all sessions.

    Attributes:
        by_session: Each by its session's id.
    """

    def __init__(self) -> None:
        self.by_session: dict[str, Journal] = {}

    def follow(self, hub: EventHub) -> None:
        """Listen to a hub."""
        _listen(hub, MessageUpdated, self._message)
        _listen(hub, PartUpdated, self._part)
        _listen(hub, PartDelta, self._delta)
        _listen(hub, PartRemoved, self._removed)
        hub.pipe(ops.tool_calls()).subscribe(self._call, _ignored)

    def keep(self, sessions: Container[str]) -> None:
        """Forget all but these."""
        for session_id in [each for each in self.by_session if each not in sessions]:
            del self.by_session[session_id]

    def still(self, session_id: str) -> Journal:
        """A session's journal as it is now."""
        return deepcopy(self.by_session.get(session_id, Journal()))

    def _of(self, session_id: str) -> Journal:
        journal = self.by_session.get(session_id)
        if journal is None:
            journal = self.by_session[session_id] = Journal()
        return journal

    def _message(self, event: MessageUpdated) -> None:
        if event.role == "user":
            _bounded(self._of(event.session_id).users, event.message_id, None)

    def _part(self, event: PartUpdated) -> None:
        part = event.part
        if part.type in ("text", "reasoning", "tool"):
            text = _tool(part) if part.type == "tool" else part.text
            _bounded(
                self._of(event.session_id).said, part.id, Said(part.message_id, part.type, text[-TAIL:])
            )

    def _delta(self, event: PartDelta) -> None:
        if event.field != "text":
            return
        journal = self._of(event.session_id)
        said = journal.said.get(event.part_id)
        if said is None:  # it began before we listened
            said = Said(event.message_id, "text")
            _bounded(journal.said, event.part_id, said)
        said.text = (said.text + event.delta)[-TAIL:]

    def _removed(self, event: PartRemoved) -> None:
        self._of(event.session_id).said.pop(event.part_id, None)

    def _call(self, call: ToolCall) -> None:
        """One that corrects another takes its place."""
        calls = self._of(call.session_id).calls
        for place, each in enumerate(calls):
            if each.call_id == call.call_id:
                calls[place] = call
                return
        calls.append(call)


_Kept = TypeVar("_Kept")


def _bounded(kept: dict[str, _Kept], key: str, value: _Kept) -> None:
    kept[key] = value
    if len(kept) > PARTS:
        del kept[next(iter(kept))]


def _tool(part: Part) -> str:
    state = part.state
    return part.tool if state is None else " ".join(filter(None, (part.tool, state.title, state.status)))


def _listen(hub: EventHub, kind: type[_E], call: Callable[[_E], None]) -> None:
    hub.of(kind).subscribe(call, _ignored)


def _ignored(_: Exception) -> None:
    """The values' own end tells of it."""
