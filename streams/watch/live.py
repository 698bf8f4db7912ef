"""A running server as what is watched: its events, its limits, its connection, its compactions."""

from typing import Final

import msgspec
import reactivex
from reactivex import Observable
from reactivex import operators as rx

import operators as ops
from operators import CompactionTrigger
from streams.bounded import bounded
from streams.events import (
    LimitsChanged,
    MessageUpdated,
    SessionDeleted,
    SessionEvent,
    SessionExpired,
    SessionIdle,
    SessionStatus,
    StreamConnected,
)
from streams.faults import Fault
from streams.hub import EventHub
from streams.limits import ContextLimits
from streams.opencode import Client, LiveEvents
from streams.schedulers import seconds_of
from streams.watch.derivations import Derivations, derivations

__all__ = ["Compacting", "Live"]

LONGEST_SUMMARY: Final = 360.0
"""Seconds: the time-out and the ceiling of ``compact``, which decides what a late answer means."""

LONGEST_WAIT_FOR_LIMITS: Final = 60.0
"""Seconds: a server takes long to start on a busy machine, and without limits nothing is compacted."""


class _Turn(msgspec.Struct):
    """Whether a session's turn goes on after its last answer."""

    busy: bool = False
    finish: str = ""


class Compacting:
    """Has a server summarise a session, by the model of its last answer: the action for ``compact``.

    A session that is at work is told to go on afterwards, as after the server's own compaction: without
    that a summary ends its turn. One whose last answer was final is left in peace.

    Args:
        client: Who tells the server.

    Memory: one small value per session. Dropped with the session.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._turns: dict[str, _Turn] = {}

    def follow(self, hub: EventHub) -> None:
        """Hear of the sessions' turns: before ``compact`` does."""
        hub.of(MessageUpdated, SessionStatus, SessionIdle, SessionDeleted, SessionExpired).subscribe(
            self._take, _ignored
        )

    def __call__(self, trigger: CompactionTrigger) -> Observable[bool]:
        turn = self._turns.get(trigger.session_id, _Turn())
        return self._client.summarize(
            trigger.session_id,
            trigger.provider_id,
            trigger.model_id,
            auto=turn.busy and turn.finish in ("", "tool-calls"),
            timeout=LONGEST_SUMMARY,
        )

    def _take(self, event: SessionEvent) -> None:
        if isinstance(event, SessionDeleted | SessionExpired):
            self._turns.pop(event.session_id, None)
            return
        turn = self._turns.setdefault(event.session_id, _Turn())
        match event:
            case MessageUpdated(role="assistant", summary=False):
                turn.finish = event.finish
            case SessionStatus(status=status):
                turn.busy = status != "idle"
            case SessionIdle():
                turn.busy = False
            case _:
                pass


class Live:
    """A running server.

    What it says is handed over by ``streams.bounded``: a terminal that is slow to draw, or a program that
    is slow to read, never holds up the reading.

    Args:
        server: Its events.
        client: Who asks it.
        yours: Limits that come before the server's.

    Attributes:
        events: To be watched.
        server: Where they come from.
        limits: Yours, and the server's once it has told them.
    """

    def __init__(self, server: LiveEvents, client: Client, yours: dict[str, int]) -> None:
        self.server = server
        self.events: Observable[SessionEvent] = server.pipe(bounded())
        self.limits = ContextLimits(yours, self._find)
        self._client = client
        self._compacting = Compacting(client)
        self._told: ContextLimits | None = None

    def derivations(self, threshold: float, *, compact: bool) -> Derivations:
        """What is derived from its events.

        Args:
            threshold: Fraction of the limit at which a session should be compacted.
            compact: Have it compacted then; else say only that it would be.
        """
        compaction = ops.compact(self._compacting, self.limits, threshold=threshold, dry_run=not compact)
        return derivations(self.limits, threshold=threshold, compaction=compaction)

    def follow(self, hub: EventHub) -> None:
        """Ask for the limits at each connection, since a server that was started anew may have others.

        Nothing waits for the answer: sessions are measured anew when it is there. Until then, and if it
        never comes, limits are not known.
        """
        self._compacting.follow(hub)
        learnt = hub.of(StreamConnected).pipe(rx.map(lambda event: self._ask(hub)), rx.switch_latest())
        learnt.subscribe(hub.on_next, _ignored)

    def _ask(self, hub: EventHub) -> Observable[LimitsChanged]:
        def failed(error: Exception, _: object) -> Observable[LimitsChanged]:
            hub.report(Fault("limits", "", seconds(), error))
            return reactivex.empty()

        def learn(told: ContextLimits) -> LimitsChanged:
            self._told = told
            return LimitsChanged("", seconds())

        seconds = seconds_of(hub.clock)
        told = self._client.providers(timeout=LONGEST_WAIT_FOR_LIMITS)
        return told.pipe(rx.map(learn), rx.catch(failed))

    def _find(self, provider_id: str, model_id: str) -> int | None:
        told = self._told
        return None if told is None else told.find(provider_id, model_id)


def _ignored(_: Exception) -> None:
    """Whoever watches the same hub tells of it."""
