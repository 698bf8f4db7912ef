"""One record per fault, and a log that cannot be written is no second one."""

import pytest
from loguru import logger

from streams.faults import Fault, log_fault


def test_a_fault_says_where_and_what() -> None:
    """With the session, if it is one's."""
    assert str(Fault("Gauge", "s", 1.0, LookupError("gone"))) == "Gauge [s]: LookupError: gone"
    assert str(Fault("Gauge", "", 1.0, LookupError("gone"))) == "Gauge: LookupError: gone"


def test_a_fault_is_logged_in_one_line_with_its_traceback(log: list[str]) -> None:
    """Braces in its text are text."""
    exceptions: list[object] = []
    sink = logger.add(lambda message: exceptions.append(message.record["exception"].value))
    error = LookupError("{gone}")
    log_fault(Fault("Gauge", "s", 1.0, error))
    logger.remove(sink)

    assert log == ["Gauge [s]: LookupError: {gone}"]
    assert exceptions == [error]


@pytest.mark.parametrize("raised", [BrokenPipeError, RecursionError, ValueError])
def test_a_log_that_raises_ends_nothing(raised: type[Exception]) -> None:
    """X10: no recursion, no exit."""

    def broken(message: object) -> None:
        raise raised

    sink = logger.add(broken, catch=False)
    log_fault(Fault("Gauge", "s", 1.0, LookupError()))
    logger.remove(sink)
