"""opencode: what its server says, decoded."""

from streams.opencode.history import history
from streams.opencode.wire import decode

__all__ = ["decode", "history"]
