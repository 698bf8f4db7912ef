"""From the bytes of a connection to the hub: the greeting, the gap before it, holes, and the rest."""

from collections.abc import Callable, Iterable
from threading import Event
from typing import Final

from streams import events as ev
from streams.events import SessionEvent
from streams.hub import EventHub
from streams.opencode.framing import Frames
from streams.opencode.intake import Intake
from streams.opencode.known import KnownSessions
from streams.opencode.resume import Resumption
from streams.opencode.wire import is_delta

__all__ = ["Feed"]

HOLE_EVERY: Final = 1.0
"""Seconds between questions about missing numbers: what came in another order comes by itself."""


LOOK_EVERY: Final = 1.0
"""Seconds between looks whether it is still worth waiting for a subscriber that is stuck."""


class Feed:
    """Takes in what connections bring, one connection after the other, and publishes it.

    Args:
        hub: Where events go.
        intake: What makes events of payloads.
        known: What is known of the sessions.
        resumption: Who asks for what was missed.
        seconds: The clock.
        on_greeted: Called when the server has greeted, before anything that came with it is published.

    Attributes:
        stopped: Set it, from any thread, and nothing is published any more.
    """

    def __init__(
        self,
        hub: EventHub,
        intake: Intake,
        known: KnownSessions,
        resumption: Resumption,
        seconds: Callable[[], float],
        on_greeted: Callable[[], None],
    ) -> None:
        self._hub = hub
        self._intake = intake
        self._known = known
        self._resumption = resumption
        self._seconds = seconds
        self._on_greeted = on_greeted
        self.stopped = False
        self._frames = Frames()
        self._greeted = self._was_greeted = False
        self._heard = self._asked = float("-inf")

    def begin(self) -> None:
        """A new connection."""
        self._frames = Frames()
        self._greeted = False

    def take(self, chunk: bytes) -> None:
        """What one read brought. Returns when its events have been handled by all subscribers."""
        at = self._seconds()
        self._intake.counts.bytes += len(chunk)
        ready: list[SessionEvent] = []
        unwanted = self._greeted and not self._hub.wants(ev.PartDelta)
        for payload in self._frames.feed(chunk):
            if unwanted and isinstance(payload, bytes) and is_delta(payload):
                continue
            for event in self._intake.take(payload, at):
                if not self._greeted:
                    self._greet(event)
                if type(event) is not ev.StreamConnected:
                    ready.append(event)
        self._publish(ready)
        self._heard = at
        if self._intake.sequence.held and at >= self._asked + HOLE_EVERY:
            self._fill_holes()

    def end(self) -> None:
        """The connection is over."""
        self._publish(self._intake.abandon())

    def _greet(self, event: SessionEvent) -> None:
        """The first event says that the server hears us; a server that says so otherwise is believed."""
        self._greeted = True
        at = self._seconds()
        greeting = event if type(event) is ev.StreamConnected else ev.StreamConnected("", at)
        self._on_greeted()
        if not self._was_greeted:
            self._resumption.begin(greeting)
            self._was_greeted = True
            self._publish([greeting])
            return
        since = self._heard
        self._publish([greeting, ev.StreamGap("", at, since=since)])
        self._resume(since, self._resumption.after_gap(greeting, at))

    def _fill_holes(self) -> None:
        """A number is missing although the connection is well."""
        at = self._asked = self._seconds()
        self._publish([ev.StreamGap("", at, since=self._heard)])
        self._resume(self._heard, self._resumption.fill_holes(at))

    def _resume(self, since: float, events: list[SessionEvent]) -> None:
        counts = self._intake.counts
        counts.gaps += 1
        counts.lost = self._intake.sequence.lost
        complete = self._resumption.complete
        end = ev.StreamResumed("", self._seconds(), since=since, events=len(events), complete=complete)
        self._publish([*events, end])

    def _publish(self, events: Iterable[SessionEvent]) -> None:
        """As one batch; waits until it has been handled, so that a slow subscriber slows the reading."""
        batch = list(events)
        if not batch or self.stopped:
            return
        counts = self._intake.counts
        for event in batch:
            self._known.note(event)
            counts.session_events_seen += bool(event.session_id)
        counts.events_seen += len(batch)
        handled = Event()
        self._hub.on_batch(batch)
        self._hub.strand.run(Event.set, handled)
        while not handled.wait(LOOK_EVERY) and not self.stopped:
            pass
