"""opencode: what its server says, decoded."""

from streams.opencode.session_history import history
from streams.opencode.wire import decode

__all__ = ["decode", "history"]
