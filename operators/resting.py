"""States of sessions that are idle: kept as bytes until the session is heard of again."""

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from operators.snapshots import state_type

__all__ = ["Resting"]

_State = TypeVar("_State")

_encode = msgspec.msgpack.Encoder().encode


class Resting(Generic[_State]):
    """States by session, each encoded.

    Args:
        start: What makes a state; its annotation says of which type.

    Memory: per state the bytes of its values, 33 more, and its place in a dict.
    """

    def __init__(self, start: Callable[[str, float], _State]) -> None:
        self.kept: dict[str, bytes] = {}
        self._decode = msgspec.msgpack.Decoder(state_type(start)).decode

    def put(self, session_id: str, state: _State) -> None:
        """The session rests."""
        self.kept[session_id] = _encode(state)

    def take(self, session_id: str) -> _State | None:
        """The session's state, which is no longer kept here; None if it does not rest."""
        encoded = self.kept.pop(session_id, None)
        return None if encoded is None else self._decode(encoded)

    def decoded(self) -> dict[str, _State]:
        """All states, which stay kept here too."""
        return {session_id: self._decode(encoded) for session_id, encoded in self.kept.items()}
