"""One connection after the other: connect, read, notice the end, wait, connect again."""

from collections.abc import Callable
from math import inf
from typing import Final

import msgspec
from loguru import logger
from reactivex import abc

from streams.hub import EventHub
from streams.opencode import answers
from streams.opencode.backoff import Backoff
from streams.opencode.errors import (
    NotFound,
    NotOpencode,
    OpencodeError,
    ServerFailed,
    TimedOut,
    Unreachable,
)
from streams.opencode.exchanges import Exchanges
from streams.opencode.feed import Feed
from streams.opencode.intake import Counts, Intake
from streams.opencode.known import KnownSessions
from streams.opencode.resume import Resumption
from streams.opencode.state import ConnectionState, Status
from streams.opencode.transport import Exchange, Transport
from streams.opencode.watchdog import Watchdog
from streams.schedulers import seconds_of

__all__ = ["Connection", "Policy", "Scope"]

SERVER: Final = "/global/event"
INSTANCE: Final = "/event"
TELL_EVERY: Final = 1.0
"""Seconds between reports of the counts, while anything comes."""


class Scope(msgspec.Struct, frozen=True):
    """Of which directories: all, or one; None stands for the one that the server was started in."""

    everything: bool = False
    directory: str | None = None


class Policy(msgspec.Struct, frozen=True):
    """Times in seconds.

    Attributes:
        silence: Without a byte for so long, a connection is dead. The server speaks every 10 s.
        patience: How long an answer may take. A server that is starting may never answer.
        first_retry: The first wait before connecting again, at the most.
        longest_retry: The longest.
        longest_first: The longest before it was ever connected: somebody waits for a server to start.
        steady: Connected for so long, the waits begin anew.
        unanswered: How many first attempts may go unanswered before the server counts as unreachable.
        wait: Whether to wait for a server that does not listen yet, or fails.
    """

    silence: float = 45.0
    patience: float = 5.0
    first_retry: float = 0.5
    longest_retry: float = 30.0
    longest_first: float = 5.0
    steady: float = 10.0
    unanswered: int = 3
    wait: bool = False


class Connection:
    """Follows one server for as long as it is not closed. ``run`` blocks: give it a thread.

    A first connection that fails ends the hub with the error, so that nobody waits for a server that is
    not there; a lost one is tried again for ever.

    Args:
        transport: How to reach the server.
        hub: Where events go.
        tell: Told of every change of the state.
        pause: Waits so many seconds; returns early once closed.
        scheduler: The clock and the timers.
        scope: Which directories.
        policy: Times.
    """

    def __init__(
        self,
        transport: Transport,
        hub: EventHub,
        tell: Callable[[ConnectionState], None],
        pause: Callable[[float], None],
        scheduler: abc.SchedulerBase,
        scope: Scope,
        policy: Policy,
    ) -> None:
        self._transport = transport
        self._hub = hub
        self._told = tell
        self._pause = pause
        self._scheduler = scheduler
        self._seconds = seconds_of(scheduler)
        self._scope = scope
        self._policy = policy
        self._exchanges = Exchanges(transport, policy.patience, scheduler)
        self._intake = Intake()
        known = KnownSessions()
        self._resumption = Resumption(self._exchanges.ask, self._intake, known, hub.wants)
        self._feed = Feed(hub, self._intake, known, self._resumption, self._seconds, self._greeted)
        self._backoff = Backoff(policy.first_retry, policy.longest_retry)
        self._path = SERVER
        self._been_connected = False
        self._attempt = self._unanswered = self._told_gaps = 0
        self._connected_at = self._told_at = inf

    @property
    def counts(self) -> Counts:
        """What has come so far; it goes on changing."""
        return self._intake.counts

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._exchanges.closed

    def run(self) -> None:
        """Follow the server until closed, or until the first connection fails."""
        while not self.closed:
            self._attempt += 1
            self._tell("reconnecting" if self._been_connected else "connecting")
            try:
                self._follow()
            except OpencodeError as error:
                if self.closed:
                    break
                if not self._been_connected and self._is_final(error):
                    self._tell("closed", error)
                    self._hub.on_error(error)
                    return
                self._lost(error)
            longest = inf if self._been_connected else self._policy.longest_first
            self._pause(min(longest, self._backoff.next()))
        self._tell("closed")

    def close(self) -> None:
        """End it, from any thread; ``run`` returns soon."""
        self._feed.stopped = True
        self._exchanges.close()

    # --- one connection ---------------------------------------------------------------------------

    def _follow(self) -> None:
        """Read one connection to its end, which is always an error: no event is the last one."""
        exchange = self._open()
        watchdog = Watchdog(exchange, self._policy.silence, self._scheduler)
        self._feed.begin()
        try:
            while chunk := watchdog.read():
                self._feed.take(chunk)
                if self._seconds() >= self._told_at + TELL_EVERY or self._told_gaps != self.counts.gaps:
                    self._tell("connected")
        finally:
            watchdog.dispose()
            self._exchanges.done_with(exchange)
            self._feed.end()
        raise Unreachable(f"{self._transport.url} ended the stream")

    def _open(self) -> Exchange:
        """A server without ``/global/event`` has ``/event``, which knows one directory and no log."""
        try:
            return self._exchanges.stream(self._path, {})
        except (NotFound, NotOpencode):
            if self._been_connected or self._scope.everything:
                raise
        directory = self._scope.directory
        try:
            exchange = self._exchanges.stream(INSTANCE, {"directory": directory} if directory else {})
        except NotFound as error:
            raise NotOpencode(f"neither of opencode's event streams is there: {error}") from None
        self._path = INSTANCE
        return exchange

    def _greeted(self) -> None:
        """Connected, as soon as it is known of which directory."""
        directory = self._scope.directory
        if not self._been_connected and not self._scope.everything and self._path == SERVER:
            if directory is None:
                directory = answers.directory_of(self._exchanges.ask("GET", "/path"), "/path")
            self._intake.only(directory)
        if directory is not None:
            self._resumption.directory = directory
        self._been_connected = True
        self._attempt = 0
        self._connected_at = self._seconds()
        self._tell("connected")

    # --- what to make of an end -------------------------------------------------------------------

    def _is_final(self, error: OpencodeError) -> bool:
        """Whether there is no use in trying to connect for the first time again."""
        if isinstance(error, TimedOut):  # a server that is starting may never answer a request
            self._unanswered += 1
            return self._unanswered >= self._policy.unanswered and not self._policy.wait
        return not (isinstance(error, Unreachable | ServerFailed) and self._policy.wait)

    def _lost(self, error: OpencodeError) -> None:
        if self._attempt == 0:
            logger.warning("lost the connection: {}", error)
        if self._seconds() >= self._connected_at + self._policy.steady:
            self._backoff.reset()
        self._connected_at = inf
        self._tell("reconnecting" if self._been_connected else "connecting", error)

    def _tell(self, status: Status, error: OpencodeError | None = None) -> None:
        at = self._told_at = self._seconds()
        self._told_gaps = self.counts.gaps
        counts = msgspec.structs.replace(self._intake.counts)
        self._told(ConnectionState(status, at, self._attempt, error, counts))
