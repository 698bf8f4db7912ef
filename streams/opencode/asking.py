"""Asking the server something that it may not be able to answer."""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from loguru import logger

from streams.opencode.errors import NotFound, OpencodeError, TimedOut, Unreachable

__all__ = ["Ask", "Asking"]

_T = TypeVar("_T")


class Ask(Protocol):
    """One request, answered with the bytes of a 200, or an ``OpencodeError``."""

    def __call__(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: object = None,
    ) -> bytes: ...


class Asking:
    """Asks, and notes when there was no answer.

    Attributes:
        complete: Whether every question since it was last set was answered.
    """

    def __init__(self, ask: Ask) -> None:
        self.complete = True
        self._ask = ask

    def optional(
        self,
        read: Callable[[bytes, str], _T],
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: object = None,
    ) -> _T | None:
        """The answer as ``read`` understands it, or None.

        Raises:
            Unreachable: The server is gone, so there is no use in asking on. Too slow is not gone.
        """
        try:
            return read(self._ask(method, path, parameters, body), path)
        except OpencodeError as error:
            if isinstance(error, Unreachable) and not isinstance(error, TimedOut):
                raise
            self.complete = False
            logger.debug("not answered: {}", error)
            return None

    def is_missing(self, path: str) -> bool:
        """Whether the server says that there is no such thing."""
        try:
            self._ask("GET", path)
        except NotFound:
            return True
        except OpencodeError as error:
            if isinstance(error, Unreachable) and not isinstance(error, TimedOut):
                raise
        return False
