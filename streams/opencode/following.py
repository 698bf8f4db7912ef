"""Following a server's log: its history, then each entry as it is made, across lost connections."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final
from urllib.parse import quote

from loguru import logger
from reactivex import abc

from streams.opencode import answers
from streams.opencode.backoff import Backoff, Pauses
from streams.opencode.errors import (
    BadAnswer,
    NotFound,
    NotOpencode,
    ServerFailed,
    Unreachable,
)
from streams.opencode.exchanges import Exchanges
from streams.opencode.framing import Frames, Oversized
from streams.opencode.log import Entry, deletion_of, entry_in, kind_of
from streams.opencode.progress import Dated, Progress
from streams.opencode.stamps import stamp, stamp_at
from streams.opencode.watchdog import Watchdog
from streams.schedulers import seconds_of

__all__ = ["Following"]

STREAM: Final = "/global/event"
HISTORY: Final = "/sync/history"
PATIENCE: Final = 60.0
"""Seconds that the history may take: it may be hundreds of megabytes."""

SETTLE: Final = 1.0
"""Seconds after the greeting, after which the history is asked for again.

opencode 1.18 greets before it listens to its own events: what happens within some 0.1 s of the greeting
is in the history only (seen with a session that was created 73 ms after it).
"""

STEADY: Final = 10.0
"""Seconds of being connected after which the waits between two connections begin anew."""


class Following:
    """Gives every entry of the log after what was told, once, each session's in order.

    ``run`` blocks, so it needs a thread. First the stream is opened, then the history is asked for: what
    is made in between comes by both and is given once. It is asked for again when the server must have
    begun to listen, and whenever a number is missing amid the stream.

    Args:
        exchanges: How to reach the server.
        progress: What was told.
        give: Takes the next entries; it may block, and then nothing is read.
        silence: Seconds without a byte after which a connection is dead.
        backoff: The waits between two connections.
        pauses: Who waits them.
        scheduler: The clock of connections.
        wall: The clock by which the times in ids are completed.

    Attributes:
        is_current: Whether connected, with all of the log given as it was then.
    """

    def __init__(
        self,
        exchanges: Exchanges,
        progress: Progress,
        give: Callable[[list[Dated]], None],
        silence: float,
        backoff: Backoff,
        pauses: Pauses,
        scheduler: abc.SchedulerBase,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.is_current = False
        self._exchanges = exchanges
        self._progress = progress
        self._give = give
        self._silence = silence
        self._backoff = backoff
        self._pauses = pauses
        self._scheduler = scheduler
        self._seconds = seconds_of(scheduler)
        self._wall = wall

    def run(self) -> None:
        """Follow until closed. A server that is down, or fails, is waited for.

        Raises:
            OpencodeError: There is no use in waiting.
        """
        complained = False
        while not self._exchanges.closed:
            began = self._seconds()
            try:
                self._follow()
            except (Unreachable, ServerFailed) as error:
                if self._exchanges.closed:
                    return
                if self._seconds() >= began + STEADY:
                    self._backoff.reset()
                    complained = False
                if not complained:
                    logger.warning("the log cannot be followed now: {}", error)
                complained = True
            self._pauses.wait(self._backoff.next())

    def _follow(self) -> None:
        """Read one connection to its end, which is always an error: no entry is the last one."""
        exchange = self._exchanges.stream(STREAM, {})
        watchdog = Watchdog(exchange, self._silence, self._scheduler)
        frames, heard = Frames(), 0
        try:
            while chunk := watchdog.read():
                payloads = frames.feed(chunk)
                if payloads and heard < 2:
                    heard += 1
                    self._begin() if heard == 1 else self._catch_up()
                self._take(payloads)
        finally:
            self.is_current = False
            watchdog.dispose()
            self._exchanges.done_with(exchange)
        raise Unreachable(f"{self._exchanges.url} ended the stream")

    def _begin(self) -> None:
        """The server has greeted: what was missed, and what is until it listens."""
        self._give(self._missed())
        self._pauses.wait(SETTLE)
        self._catch_up()

    def _take(self, payloads: list[bytes | Oversized]) -> None:
        """What one read of the stream brought."""
        ready: list[Dated] = []
        for entry in _entries(payloads):
            if entry is None or self._progress.missing_before(entry) > 0:
                self._give(ready)
                ready = []
                self._catch_up()
            if entry is not None:
                ready += self._next(entry)
        self._give(ready)

    def _next(self, entry: Entry) -> list[Dated]:
        """This entry, unless it was told already."""
        missing = self._progress.missing_before(entry)
        if missing < 0:
            return []
        if missing:
            logger.warning("{} entries of {} are in no log", missing, entry.session_id)
        dated = self._dated(entry)
        self._progress.tell(entry)
        return [dated]

    # --- the history ------------------------------------------------------------------------------

    def _catch_up(self) -> None:
        self.is_current = False
        self._give(self._told(self._progress.untold(self._history(self._progress.told()))))
        self.is_current = True

    def _missed(self) -> list[Dated]:
        """What was not told before this connection, with the sessions that are gone since."""
        rows = self._history(self._progress.told(but=1))
        gone = [self._gone(session_id) for session_id in self._progress.behind(rows)]
        return self._told([*self._progress.untold(rows), *gone])

    def _told(self, entries: list[Dated]) -> list[Dated]:
        for each in entries:
            self._progress.tell(each.entry)
        return entries

    def _history(self, told: dict[str, int]) -> list[Dated]:
        try:
            answer = self._exchanges.ask("POST", HISTORY, body=told, patience=PATIENCE)
        except (NotFound, NotOpencode) as error:
            raise NotOpencode(f"{self._exchanges.url} has no log to be read again: {error}") from None
        return [self._dated(entry) for entry in answers.entries_of(answer, HISTORY)]

    def _gone(self, session_id: str) -> Dated:
        """A session whose log is shorter than what was told of it: its deletion deletes the log, too."""
        try:
            self._exchanges.ask("GET", f"/session/{quote(session_id, safe='')}")
        except NotFound:
            return Dated(stamp_at(self._wall()), deletion_of(session_id))
        raise BadAnswer(
            f"{self._exchanges.url} does not have what was read of it before: the log of {session_id}"
            f" ends before {self._progress.last[session_id]}, which was read"
        )

    def _dated(self, entry: Entry) -> Dated:
        try:
            return Dated(stamp(entry.id, self._wall()), entry)
        except ValueError as error:
            raise BadAnswer(f"{self._exchanges.url}: {error}") from None


def _entries(payloads: Iterable[bytes | Oversized]) -> Iterator[Entry | None]:
    """The entries among them; None for one that cannot be read: the history may have it readable."""
    for payload in payloads:
        if isinstance(payload, Oversized):
            yield None
        elif kind_of(payload) == b"sync":
            try:
                yield entry_in(payload)
            except (ValueError, RecursionError):
                yield None
