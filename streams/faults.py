"""What went wrong beside the stream: one record per fault, so that one bad thing harms only itself."""

from collections.abc import Callable
from contextlib import suppress
from typing import final

import msgspec
from loguru import logger

__all__ = ["Fault", "Report", "log_fault"]


@final
class Fault(msgspec.Struct, frozen=True):
    """One exception that was kept away from everyone else.

    Attributes:
        where: The operator, logic or subscriber that raised, by name.
        session_id: The session concerned; empty when there is none.
        at: Seconds, by the pipeline's clock.
        error: The exception, with its traceback.
    """

    where: str
    session_id: str
    at: float
    error: Exception

    def __str__(self) -> str:
        session = f" [{self.session_id}]" if self.session_id else ""
        return f"{self.where}{session}: {type(self.error).__name__}: {self.error}"


Report = Callable[[Fault], None]


def log_fault(fault: Fault) -> None:
    """The last resort of a pipeline without an ``errors`` stream: one log line with the traceback."""
    with suppress(Exception):  # a log that cannot be written must not end what it tells of (X10)
        logger.opt(exception=fault.error).error("{}", fault)
