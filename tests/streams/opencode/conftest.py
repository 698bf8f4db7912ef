"""A server of recorded events, behind a socket on loopback."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from loopback_server import LoopbackServer
from recorded_server import RecordedServer


class Collected(list[Any]):
    """What was emitted, by whatever thread; a test can wait for something in it."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def add(self, value: Any) -> None:
        with self._changed:
            self.append(value)
            self._changed.notify_all()

    def wait_for(self, found: Callable[[list[Any]], Any], timeout: float = 20) -> Any:
        with self._changed:
            if not self._changed.wait_for(lambda: found(self), timeout):
                raise TimeoutError(f"not found in {self[-20:]}")
            return found(self)

    def wait_for_type(self, kind: type, count: int = 1) -> Any:
        return self.wait_for(
            lambda each: [one for one in each if isinstance(one, kind)][count - 1 : count]
        )[0]


@pytest.fixture
def collected() -> Callable[[], Collected]:
    return Collected


@pytest.fixture
def loopback(recording_of: Any) -> Iterator[LoopbackServer]:
    """A recorded session of seven tool calls; nothing has happened yet."""
    payloads = [event.raw for event in recording_of("tools.global").events()]
    server = LoopbackServer(RecordedServer(payloads))
    yield server
    server.close()
