"""A running server as a hot stream."""

import threading
from datetime import timedelta
from typing import Literal

import msgspec
from reactivex import abc
from reactivex.disposable import Disposable

from streams import checks
from streams.hub import Attachment, EventHub
from streams.opencode.backoff import Pauses
from streams.opencode.connection import Connection, Policy, Scope
from streams.opencode.current import Current
from streams.opencode.state import ConnectionState
from streams.opencode.transport import USERNAME, Http, Transport

__all__ = ["LiveEvents", "connect"]


class LiveEvents(EventHub):
    """What ``connect`` returns: the events of a running server, for any number of subscribers.

    It connects when the first one subscribes and disconnects when the last one is gone; ``close`` ends
    it for all. One daemon thread reads, and calls the subscribers; it never keeps the process alive.

    Attributes:
        url: Where the server listens, without a password.
        state: How the connection is doing, now and at each change. Subscribing to it does not connect.
    """

    def __init__(
        self,
        transport: Transport,
        scope: Scope,
        policy: Policy,
        scheduler: abc.SchedulerBase | None = None,
    ) -> None:
        super().__init__(scheduler=scheduler)
        self.url = transport.url
        self.state = Current(ConnectionState(), self.report)
        self._transport = transport
        self._scope = scope
        self._policy = policy
        self._deciding = threading.Lock()
        self._reader: _Reader | None = None
        self._kept = 0

    def connect(self) -> abc.DisposableBase:
        """Be connected, whoever subscribes, until the result is disposed."""
        self._keep(1)
        return Disposable(lambda: self._keep(-1))

    def close(self) -> None:
        """Disconnect, and complete every subscriber."""
        self.on_completed()

    def __enter__(self) -> "LiveEvents":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _set_attached(self, attached: tuple[Attachment, ...]) -> None:
        super()._set_attached(attached)
        self._decide()

    def count_dropped(self, number: int) -> None:
        """Told by ``streams.bounded``, so that what it drops is seen in ``state``."""
        reader = self._reader
        if reader is not None:
            reader.connection.counts.dropped += number

    def _keep(self, more: int) -> None:
        with self._deciding:
            self._kept += more
        self._decide()

    def _decide(self) -> None:
        """Read while there is somebody to read for."""
        with self._deciding:
            wanted = bool(self._attached or self._kept) and self._ended is None
            reader = self._reader
            if wanted == (reader is not None):
                return
            self._reader = _Reader(self) if wanted else None
        if reader is not None:
            reader.stop()
        elif self._reader is not None:
            self._reader.start()

    def connection(self, reader: "_Reader") -> Connection:
        """A connection that has nothing of an earlier one."""

        def tell(state: ConnectionState) -> None:
            if self._reader in (reader, None):  # nothing of one that a later one has replaced
                self.state.set(state)

        return Connection(
            self._transport, self, tell, reader.pauses.wait, self.clock, self._scope, self._policy
        )


class _Reader:
    """The thread of a connection."""

    def __init__(self, events: LiveEvents) -> None:
        self._events = events
        self.pauses = Pauses(events.clock)
        self.connection = events.connection(self)

    def start(self) -> None:
        threading.Thread(target=self._run, name="sessionstreams opencode", daemon=True).start()

    def stop(self) -> None:
        self.connection.close()
        self.pauses.end()

    def _run(self) -> None:
        try:
            self.connection.run()
        except Exception as error:  # a mistake of ours: whoever listens has to know
            self._events.on_error(error)


def connect(
    base_url: str,
    *,
    directory: str | None = None,
    password: str | None = None,
    username: str = USERNAME,
    scope: Literal["server", "global"] = "server",
    wait: bool = False,
    silence: float | timedelta = 45.0,
    scheduler: abc.SchedulerBase | None = None,
) -> LiveEvents:
    """The events of a running opencode server: hot, shared, and whole across lost connections.

    Like a ``Subject`` fed by the server's event stream, shared as by ``ref_count``, with ``retry``
    built in. Nothing is fetched while the connection holds.

    When it is lost it is tried again, with growing pauses, for ever. Then comes ``StreamConnected``, a
    ``StreamGap``, what was missed (from the server's own log, in order, each event once), what no log
    holds as it is now (status, todos, permissions, questions; asked once, of the sessions that may have
    changed), and ``StreamResumed``. After that it is live again.

    A first connection that fails ends the stream with an ``Unreachable``, ``Unauthorized`` or
    ``NotOpencode``; a later failure never does, it shows in ``state``.

    Args:
        base_url: Where the server listens, such as ``http://127.0.0.1:4096``.
        directory: With ``scope="server"``: only this directory's sessions. Default: the directory in
            which the server was started.
        password: For HTTP Basic authentication; the server's ``OPENCODE_SERVER_PASSWORD``. It is sent to
            this host alone, and no redirect is followed.
        username: The server's ``OPENCODE_SERVER_USERNAME``.
        scope: ``server`` for the sessions of one directory, ``global`` for those of all.
        wait: Wait for a server that does not listen yet, or fails (5xx, as a proxy before it says),
            rather than end with the error.
        silence: Seconds without a byte after which the connection counts as dead; above 0. The server
            speaks every 10 s, so 45 misses four times.
        scheduler: The clock and all timers but the one for opening a socket.

    Returns:
        An ``EventHub`` that also has ``state`` and ``close()``.

    Raises:
        MissingExtra: httpx2 is not installed.
        ValueError: An argument is not as described.

    Memory: what is known of at most 10 000 sessions (0.3 kB each), 16 000 event ids, and the event that
        is being received. A slow subscriber slows the reading; put ``streams.bounded`` before it.
    Time: one timer for the silence, one for a pause or a question.
    On completion and error: ``close()`` completes it.

    Example:
        >>> import streams
        >>> events = streams.opencode.connect("http://127.0.0.1:4096", scope="global")
        >>> events.state.value.status
        'idle'

    Source: field failures S1 to S9, X2.
    """
    if scope not in ("server", "global"):
        raise ValueError(f"scope must be 'server' or 'global', got {scope!r}")
    if scope == "global" and directory is not None:
        raise ValueError(f"directory must be None with scope='global', got {directory!r}")
    quiet = checks.seconds("silence", silence)
    http = Http(base_url, username=username, password=password)
    policy = msgspec.structs.replace(Policy(), silence=quiet, wait=wait)
    return LiveEvents(http, Scope(scope == "global", directory), policy, scheduler)
