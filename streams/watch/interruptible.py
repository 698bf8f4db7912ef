"""A source that Ctrl-C ends as if it had completed."""

import threading
from typing import Final

from reactivex import Observable, abc
from reactivex import operators as rx
from reactivex.subject import AsyncSubject

from streams.events import SessionEvent
from streams.hub import EventHub

__all__ = ["Interruptible"]

LOOK_UP: Final = 0.2
"""Seconds. A signal that arrives just before a wait begins does not interrupt it, so no wait is long."""

GRACE: Final = 0.5
"""Seconds that Ctrl-C leaves to what still runs: it may hang in a write that nobody reads."""


class Interruptible:
    """Runs a source on a thread of its own, so that Ctrl-C reaches this one, which only waits.

    Nothing is interrupted in its middle: the stream completes between two events.

    Args:
        source: The events.
        scheduler: The clock they play on.

    Attributes:
        hub: Where to listen, before ``run``.
    """

    def __init__(self, source: Observable[SessionEvent], scheduler: abc.SchedulerBase) -> None:
        self._stop = AsyncSubject[None]()  # one that also stops what has yet to begin
        self.hub = EventHub(source.pipe(rx.take_until(self._stop)), scheduler=scheduler)
        self.interrupted = False
        """Whether Ctrl-C ended it."""

    def run(self, ended: threading.Event) -> None:
        """Let the events flow until a subscriber sets ``ended``, at the latest at the stream's end."""
        try:
            threading.Thread(target=self.hub.connect, name="sessionstreams source", daemon=True).start()
            while not ended.wait(LOOK_UP):
                pass
        except KeyboardInterrupt:
            self.interrupt()
            ended.wait(GRACE)

    def interrupt(self) -> None:
        """What Ctrl-C does, from whatever thread."""
        self.interrupted = True
        self.let_go()

    def let_go(self) -> None:
        """Complete the stream, from whatever thread."""
        self._stop.on_next(None)
        self._stop.on_completed()
