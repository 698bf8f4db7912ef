"""The requests to one server that are under way, and their end."""

from collections.abc import Mapping
from functools import partial
from threading import Event, Lock
from typing import Final

from reactivex import abc

from streams.opencode.errors import OpencodeError, TimedOut, Unreachable
from streams.opencode.transport import JSON, Exchange, Transport, answer
from streams.schedulers import calling

__all__ = ["Exchanges"]

EVENT_STREAM: Final = "text/event-stream"


class Exchanges:
    """Asks and reads, blocking, in one thread; ``close`` ends all of it, from any other.

    Args:
        transport: How to reach the server.
        patience: Seconds that an answer may take. A server that is starting may never answer.
        scheduler: The clock.
    """

    def __init__(self, transport: Transport, patience: float, scheduler: abc.SchedulerBase) -> None:
        self.url = transport.url
        self._transport = transport
        self._patience = patience
        self._scheduler = scheduler
        self._open: set[Exchange] = set()
        self._changing = Lock()
        self._closed = Event()

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed.is_set()

    def close(self) -> None:
        """End what is under way, and whatever is begun later, with ``Unreachable``."""
        self._closed.set()
        with self._changing:
            exchanges = list(self._open)
        for exchange in exchanges:
            exchange.abort(Unreachable("closed"))

    def stream(self, path: str, parameters: Mapping[str, str]) -> Exchange:
        """An event stream, once its head is there. It is over when it is given to ``done_with``."""
        exchange = self._begin("GET", path, parameters, kind=EVENT_STREAM)
        late = TimedOut(f"{self.url}{path}: no answer within {self._patience:g} s")
        abort = calling(partial(exchange.abort, late))
        timer = self._scheduler.schedule_relative(self._patience, abort)
        try:
            exchange.open()
        except OpencodeError:
            self.done_with(exchange)
            raise
        finally:
            timer.dispose()
        return exchange

    def ask(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: object = None,
        *,
        patience: float | None = None,
    ) -> bytes:
        """One request's whole answer; ``patience`` where it may take longer than others."""
        exchange = self._begin(method, path, parameters or {}, body)
        where = f"{self.url}{path}"
        try:
            return answer(exchange, where, patience or self._patience, self._scheduler)
        finally:
            self.done_with(exchange)

    def done_with(self, exchange: Exchange) -> None:
        """Let go of its connection."""
        exchange.close()
        with self._changing:
            self._open.discard(exchange)

    def _begin(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str],
        body: object = None,
        kind: str = JSON,
    ) -> Exchange:
        exchange = self._transport.exchange(method, path, parameters, body, kind)
        with self._changing:
            self._open.add(exchange)
        if self.closed:
            exchange.abort(Unreachable("closed"))
        return exchange
