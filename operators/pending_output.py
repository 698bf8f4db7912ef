"""Tool output that the next prompt will hold and no measurement has in it yet."""

from typing import Final

import msgspec

from operators.sparse import put, sparse

__all__ = ["PendingOutput"]

CHARACTERS_PER_TOKEN: Final = 4
CALLS: Final = 256
"""Tool calls remembered per session since the last measurement."""


class PendingOutput(msgspec.Struct, gc=False, array_like=True):
    """The sizes of tool outputs since the last measurement, per call: an estimate, never a count (U3).

    Attributes:
        calls: By call id, the message that made the call (empty while not known) and its output's size
            in characters.
        measured: The message that was measured last.
    """

    calls: dict[str, tuple[str, int]] = sparse()
    measured: str = ""

    @property
    def tokens(self) -> int:
        """All of it, in tokens, roughly."""
        return sum(size for _, size in self.calls.values()) // CHARACTERS_PER_TOKEN

    def settled(self, call_id: str, message_id: str, size: int) -> None:
        """A call has ended; said by its hook and by its part, it counts once."""
        known, _ = self.calls.get(call_id, ("", 0))
        if call_id in self.calls or len(self.calls) < CALLS:
            self.calls = put(self.calls, call_id, (message_id or known, size))

    def measure(self, message_id: str) -> None:
        """A measurement has all output in it but that of the calls which its own answer made."""
        if message_id == self.measured:
            return
        self.measured = message_id
        if self.calls:
            self.calls = {call: each for call, each in self.calls.items() if each[0] == message_id}

    def clear(self) -> None:
        """A compaction has taken the place of everything before it."""
        self.calls.clear()
