"""A server's log as a source that can be read again from a position."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from queue import Empty, Full, Queue
from typing import Final

from reactivex import abc

from streams import checks
from streams.opencode.backoff import Backoff, Pauses
from streams.opencode.exchanges import Exchanges
from streams.opencode.following import Following
from streams.opencode.log import event_of, is_deletion
from streams.opencode.progress import Dated, Progress
from streams.opencode.stamps import seconds_of_stamp
from streams.opencode.transport import USERNAME, Http, Transport
from streams.positions import Positioned
from streams.schedulers import daemon

__all__ = ["LogReader", "ServerLog"]

PATIENCE: Final = 5.0
MAX_AHEAD: Final = 64
"""Reads of the stream that wait to be taken; then nothing is read until some are."""

LOOK_EVERY: Final = 1.0
"""Seconds between looks whether it is still worth waiting for room."""

MAX_GIVEN: Final = 1_000
"""Events that one ``read`` returns at the most."""


class ServerLog:
    """The durable events of an opencode server, from any position: a ``streams.positions.Resumable``.

    A position is ``{session: number of its last entry}`` in the server's own log; a session that is not
    in it is read from its beginning, so ``{}`` is all that the server has. An event's ``at`` is the
    server's time, which is in the event's id, so it is the same at every reading.

    Only what is in the log is told: sessions, messages and parts as they are created, updated and
    removed. Pieces of text, status, idle, todos, permissions, questions and errors are in no log:
    ``streams.opencode.connect`` tells them, while they happen. The log of a session is deleted with it:
    a session that was deleted while nobody read is told as one ``SessionDeleted``, at the time when it
    was missed, and one of which nothing was read is not told at all.

    A server that is down, or fails, is waited for, with growing pauses; ``caught_up`` is false meanwhile,
    and for a second after each connection: a server greets before it listens to its own events.

    Args:
        base_url: Where the server listens, such as ``http://127.0.0.1:4096``. It names the source.
        password: For HTTP Basic authentication; the server's ``OPENCODE_SERVER_PASSWORD``. It is sent to
            this host alone, and no redirect is followed.
        username: The server's ``OPENCODE_SERVER_USERNAME``.
        silence: Seconds without a byte after which the connection counts as dead; above 0. The server
            speaks every 10 s, so 25 misses twice; until then time seems to go on without an event.
        first_retry: Seconds of the first pause before connecting again; above 0. Each is at most double
            the one before, and at most 30 s.
        wall: The wall clock, by which the times in ids are completed: they begin anew every 2.18 years,
            so an entry must not be older than that.
        scheduler: The clock of all timers.

    Raises:
        MissingExtra: httpx2 is not installed.
        ValueError: An argument is not as described.

    Memory: a number for each session; what waits to be read, some MiB; and the answer of
        ``/sync/history``, which is all that was missed, in one piece: at most 256 MiB.

    Example:
        >>> import streams
        >>> log = streams.opencode.ServerLog("http://dev:secret@127.0.0.1:4096")
        >>> log.name
        'http://127.0.0.1:4096'

    Source: field failures S1, S4; the recordings of restarts.
    """

    def __init__(
        self,
        base_url: str,
        *,
        password: str | None = None,
        username: str = USERNAME,
        silence: float | timedelta = 25.0,
        first_retry: float | timedelta = 0.5,
        wall: Callable[[], float] = time.time,
        scheduler: abc.SchedulerBase | None = None,
    ) -> None:
        self._http = partial(Http, base_url, username=username, password=password)
        self._silence = checks.seconds("silence", silence)
        self._first_retry = checks.seconds("first_retry", first_retry)
        self._wall = wall
        self._scheduler = scheduler
        self.name = self._http().url

    def open(self, positions: Mapping[str, int]) -> "LogReader":
        """Begin after these positions; nothing is waited for.

        Raises:
            ValueError: A position is below 0.
        """
        for session_id, last in positions.items():
            if last < 0:
                raise ValueError(f"positions must be numbers from 0 on, got {last} for {session_id!r}")
        backoff = Backoff(self._first_retry)
        scheduler = self._scheduler or daemon()
        return LogReader(self._http(), positions, self._silence, backoff, self._wall, scheduler)


class LogReader:
    """See ``streams.positions.Reader``. It reads on a daemon thread, a little ahead, until it is closed.

    Args:
        transport: How to reach the server.
        positions: The number of the last entry of each session that was read before.
        silence: Seconds without a byte after which the connection counts as dead.
        backoff: The pauses between two connections.
        wall: The wall clock.
        scheduler: The clock of all timers.
    """

    def __init__(
        self,
        transport: Transport,
        positions: Mapping[str, int],
        silence: float,
        backoff: Backoff,
        wall: Callable[[], float],
        scheduler: abc.SchedulerBase,
    ) -> None:
        self._pauses = Pauses(scheduler)
        self._exchanges = Exchanges(transport, PATIENCE, scheduler)
        self._following = Following(
            self._exchanges,
            Progress(positions),
            self._give,
            silence,
            backoff,
            self._pauses,
            scheduler,
            wall,
        )
        self._ahead = Queue[list[Dated]](MAX_AHEAD)
        self._ready = deque[Dated]()
        self._error: Exception | None = None
        threading.Thread(target=self._run, name="sessionstreams server log", daemon=True).start()

    @property
    def caught_up(self) -> bool:
        """Whether connected, with all that was there by then returned by ``read``."""
        return self._following.is_current and not self._ready and self._ahead.empty()

    @property
    def ended(self) -> bool:
        """Never: a server that is down is waited for."""
        return False

    def read(self, wait: float) -> list[Positioned]:
        """The next events, at most 1 000; see ``streams.positions.Reader``.

        Raises:
            Unauthorized, Refused: The server refuses.
            NotOpencode: Something else answers there, or a version that has no such log.
            BadAnswer: The log cannot be read, or does not have what was read of it before.
        """
        ready = self._ready
        while len(ready) < MAX_GIVEN and self._take(0.0 if ready else wait):
            wait = 0.0
        if self._exchanges.closed:
            return []
        if not ready and self._error is not None:
            raise self._error
        return [_positioned(ready.popleft()) for _ in range(min(MAX_GIVEN, len(ready)))]

    def close(self) -> None:
        """Disconnect; the thread ends by itself. Whoever is in ``read`` returns."""
        self._exchanges.close()
        self._pauses.end()
        while self._take(0.0):  # the thread may be waiting for room
            pass
        self._ready = deque[Dated]()
        self._wake()

    def _take(self, wait: float) -> bool:
        """Whether something came."""
        try:
            self._ready += self._ahead.get(wait > 0, wait or None)
        except Empty:
            return False
        return True

    def _give(self, entries: list[Dated]) -> None:
        while entries and not self._exchanges.closed:
            with suppress(Full):
                self._ahead.put(entries, timeout=LOOK_EVERY)
                return

    def _run(self) -> None:
        try:
            self._following.run()
        except Exception as error:  # whoever reads has to know
            self._error = error
            self._wake()

    def _wake(self) -> None:
        """Let whoever waits in ``read`` look again; where there is no room, nobody waits."""
        with suppress(Full):
            self._ahead.put_nowait([])


def _positioned(dated: Dated) -> Positioned:
    entry = dated.entry
    event = event_of(entry, seconds_of_stamp(dated.stamp))
    return Positioned(event, entry.session_id, -1 if is_deletion(entry) else entry.seq)
