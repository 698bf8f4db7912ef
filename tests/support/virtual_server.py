"""A connection to a recorded server in virtual time: no socket, no thread, no waiting.

A test says, connection by connection, what comes when; reading advances the clock.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from recorded_server import RecordedServer

from streams import EventHub
from streams.events import SessionEvent
from streams.opencode.connection import Connection, Policy, Scope
from streams.opencode.errors import NotFound, NotOpencode, OpencodeError, ServerFailed, Unreachable
from streams.opencode.state import ConnectionState
from streams.schedulers import Replay

Step = float | bytes | Exception | Callable[[], bytes | None]
"""Seconds that pass, bytes that come, an error that ends it, or a call that may give bytes."""

EVERYTHING = Scope(everything=True)
USUAL = Policy()

SILENCE = float("inf")
"""A step: nothing comes any more, and nothing ends it."""


def frames(payloads: Iterable[bytes]) -> bytes:
    return b"".join(b"data: %s\n\n" % payload for payload in payloads)


class VirtualExchange:
    """One request, whose steps are taken as it is read."""

    def __init__(self, clock: Replay, steps: Iterable[Step]) -> None:
        self._clock = clock
        self._steps = iter(steps)
        self._error: OpencodeError | None = None
        self.closed = False

    def open(self) -> None:
        """A first step of time is how long the head of the answer takes."""
        first = next(self._steps, b"")
        if isinstance(first, Exception):
            raise first
        if isinstance(first, float | int):
            self._pass(first)
        else:
            self._steps = chain((first,), self._steps)
        if self._error is not None:
            raise self._error

    def read(self) -> bytes:
        for step in self._steps:
            if self._error is not None:
                raise self._error
            if isinstance(step, Exception):
                raise step
            if isinstance(step, float | int):
                self._pass(step)
                if self._error is not None:
                    raise self._error
                continue
            chunk = step() if callable(step) else step
            if chunk:
                return chunk
        return b""

    def abort(self, error: OpencodeError) -> None:
        self._error = self._error or error

    def close(self) -> None:
        self.closed = True

    def _pass(self, seconds: float) -> None:
        """Let time pass until the end of the step, or until somebody ends the exchange."""
        until = self._clock.seconds() + min(seconds, 1_000_000)
        while self._error is None and self._clock.seconds() < until:
            self._clock.advance_to(min(until, self._clock.seconds() + 0.25))


class VirtualServer:
    """Plays connections, one after the other, and closes when there are no more.

    Attributes:
        clock: Virtual time.
        seen: What was published, in order.
        errors: What ended the stream.
        states: Every state that was told.
        pauses: Each wait between two connections, in seconds.
        opened: Each stream that was opened: its time, path and parameters.
    """

    url = "http://virtual"

    def __init__(self, server: RecordedServer, *, hub: EventHub | None = None) -> None:
        self.server = server
        self.clock = Replay()
        self.hub = hub or EventHub(scheduler=self.clock)
        self.seen: list[SessionEvent] = []
        self.errors: list[Exception] = []
        self.states: list[ConnectionState] = []
        self.pauses: list[float] = []
        self.opened: list[tuple[float, str, dict[str, str]]] = []
        self.exchanges: list[VirtualExchange] = []
        self._connections: Iterator[Iterable[Step]] = iter(())
        self._connection: Connection | None = None

    def run(
        self,
        *connections: Iterable[Step],
        scope: Scope = EVERYTHING,
        policy: Policy = USUAL,
        listen: bool = True,
    ) -> "VirtualServer":
        """Play these connections to their ends."""
        if listen:
            self.hub.subscribe(self.seen.append, self.errors.append)
        self._connections = iter(connections)
        self._connection = Connection(
            self, self.hub, self.states.append, self._pause, self.clock, scope, policy
        )
        self._connection.run()
        return self

    def close(self) -> None:
        assert self._connection is not None
        self._connection.close()

    @property
    def counts(self) -> Any:
        assert self._connection is not None
        return self._connection.counts

    def exchange(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str],
        body: object = None,
        kind: str = "application/json",
    ) -> VirtualExchange:
        if kind == "text/event-stream":
            exchange = VirtualExchange(self.clock, self._next_connection(path, parameters))
        else:
            exchange = VirtualExchange(self.clock, self._answer(method, path, parameters, body))
        self.exchanges.append(exchange)
        return exchange

    def _next_connection(self, path: str, parameters: Mapping[str, str]) -> Iterable[Step]:
        self.opened.append((self.clock.seconds(), path, dict(parameters)))
        connection = next(self._connections, None)
        if connection is None:
            self.close()
            return [Unreachable("no more connections")]
        return connection

    def _answer(
        self, method: str, path: str, parameters: Mapping[str, str], body: object
    ) -> Iterator[Step]:
        status, kind, content = self.server.answer(method, path, dict(parameters), body)
        where = f"{method} {self.url}{path}"
        if status == 0:
            yield Unreachable(f"{where}: gone")
        elif status == -1:
            yield SILENCE
        elif status == 404:
            yield NotFound(f"{where}: status 404", 404)
        elif status >= 500:
            yield ServerFailed(f"{where}: status {status}", status)
        elif not kind.startswith("application/json"):
            yield NotOpencode(f"{where} answers {kind}, not application/json")
        else:
            yield 0.0
            yield content

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.advance_by(seconds)
