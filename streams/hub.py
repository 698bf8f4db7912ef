"""Multicasting: one stream of events, many operators, each called only for what it wants."""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

from reactivex import Observable, Subject, abc
from reactivex.disposable import Disposable

from streams.events import SessionEvent
from streams.faults import Fault, log_fault
from streams.schedulers import daemon, seconds_of
from streams.strand import Strand

__all__ = ["EventHub"]

_E = TypeVar("_E", bound=SessionEvent)
_Call = Callable[[SessionEvent], None]
_Fold = Callable[[SessionEvent, float], Iterable[object] | None]
_Emit = Callable[[Iterable[object], float], None]


class Follower(Protocol):
    """What an operator tells a hub: what to call, and what to do around each batch of events."""

    def calls(self) -> Mapping[type[SessionEvent], _Fold]:
        """What to call for which type, with the event and the time; the nearest ancestor's call wins."""
        ...

    def emit(self, outputs: Iterable[object], now: float) -> None:
        """Send on what a call returned."""
        ...

    def begin(self, now: float) -> None:
        """A batch begins: whatever was due by now comes first."""
        ...

    def finish(self) -> None:
        """The batch is over: set the timer anew if need be."""
        ...

    def on_error(self, error: Exception) -> None:
        """The stream failed."""
        ...

    def on_completed(self) -> None:
        """The stream is over."""
        ...


class _Plain:
    """An ordinary observer as a follower: no time, no outputs."""

    def __init__(
        self,
        calls: Mapping[type[SessionEvent], _Call],
        error: abc.OnError,
        completed: abc.OnCompleted,
    ) -> None:
        self._calls = calls
        self.on_error = error
        self.on_completed = completed

    def calls(self) -> Mapping[type[SessionEvent], _Fold]:
        return {kind: _without_time(call) for kind, call in self._calls.items()}


def _without_time(call: _Call) -> _Fold:
    return lambda event, now: call(event)


class Attachment(abc.DisposableBase):
    """One subscriber of a hub."""

    __slots__ = ("_calls", "begin", "emit", "finish", "hub", "on_completed", "on_error")

    def __init__(self, hub: "EventHub", follower: Follower | _Plain) -> None:
        self.hub = hub
        self._calls = follower.calls()
        self.emit: _Emit = getattr(follower, "emit", _nothing_to_emit)
        self.begin: Callable[[float], None] | None = getattr(follower, "begin", None)
        self.finish: Callable[[], None] | None = getattr(follower, "finish", None)
        self.on_error = follower.on_error
        self.on_completed = follower.on_completed

    def route(self, kind: type[SessionEvent]) -> tuple[_Fold, _Emit] | None:
        """The call for the nearest type in ``kind``'s ancestry that this subscriber named."""
        for ancestor in kind.__mro__:
            if call := self._calls.get(ancestor):
                return call, self.emit
        return None

    def complete(self) -> None:
        self.on_completed()

    def dispose(self) -> None:
        self.hub.detach(self)


def _nothing_to_emit(outputs: Iterable[object], now: float) -> None:
    """Observers return nothing that anybody waits for."""


class EventHub(Observable[SessionEvent], abc.ObserverBase[SessionEvent]):
    """Takes events in and hands each to the subscribers that want its type.

    It is an ``Observer``, so a source can be subscribed to it; it is an ``Observable``, so operators can
    be piped from it; ``of(*types)`` narrows it. Subscribers get the same event object, one event after
    the other, in the order of arrival, from whatever threads events come; an event published from
    inside a subscriber follows the current one. A subscriber that raises is reported once on
    ``errors`` and goes on with the next event; its siblings and the producer notice nothing.

    Args:
        source: Where events come from once ``connect()`` is called. None: publish with ``on_next``.
        scheduler: The clock of operators that are given none; by default the source's own
            (a replay has one), else ``streams.schedulers.daemon()``.

    Memory: one entry per subscriber and per type; nothing per session.
    """

    def __init__(
        self,
        source: Observable[SessionEvent] | None = None,
        *,
        scheduler: abc.SchedulerBase | None = None,
    ) -> None:
        super().__init__()
        self.scheduler: abc.SchedulerBase | None = scheduler or getattr(source, "scheduler", None)
        self.strand = Strand()
        self.clock: abc.SchedulerBase = self.scheduler or daemon()
        self._seconds = seconds_of(self.clock)
        self.errors: Observable[Fault]
        self.errors = self._errors = Subject[Fault]()
        self._source = source
        self._attached: tuple[Attachment, ...] = ()
        self._begins: tuple[Callable[[float], None], ...] = ()
        self._finishes: tuple[Callable[[], None], ...] = ()
        self._routes: dict[type[SessionEvent], tuple[tuple[_Fold, _Emit], ...]] = {}
        self._changing = threading.Lock()
        self._ended: Callable[[Attachment], None] | None = None

    # --- taking in --------------------------------------------------------------------------------

    def connect(self) -> abc.DisposableBase:
        """Subscribe to the source given at construction; dispose the result to stop.

        Raises:
            ValueError: There is no source.
        """
        if self._source is None:
            raise ValueError("connect() needs an EventHub made with a source: EventHub(source)")
        feed: Callable[[EventHub], abc.DisposableBase] | None = getattr(self._source, "feed", None)
        if feed is not None:
            return feed(self)
        return self._source.subscribe(self, scheduler=self.scheduler)

    def on_next(self, value: SessionEvent) -> None:
        """Publish one event."""
        self.strand.run(self._publish, value)

    def on_batch(self, events: Iterable[SessionEvent]) -> None:
        """Publish several events as one batch: nothing else comes between them."""
        self.strand.run(self._publish_all, events)

    def on_error(self, error: Exception) -> None:
        """End every subscriber with an error."""

        def end(attachment: Attachment) -> None:
            attachment.on_error(error)

        self.strand.run(self._end, end)

    def on_completed(self) -> None:
        """Complete every subscriber."""
        self.strand.run(self._end, Attachment.complete)

    def report(self, fault: Fault) -> None:
        """Put a fault on ``errors``; it is logged instead while nobody listens there."""
        if not self._errors.observers:
            log_fault(fault)
            return
        try:
            self._errors.on_next(fault)
        except Exception as error:
            log_fault(fault)
            log_fault(Fault("EventHub.errors", "", fault.at, error))

    # --- handing out ------------------------------------------------------------------------------

    def of(self, *types: type[_E]) -> Observable[_E]:
        """Only events of these types (a base class stands for all below it)."""

        def subscribe(
            observer: abc.ObserverBase[_E], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            calls = dict.fromkeys(types, observer.on_next)
            return self.attach(calls, observer.on_error, observer.on_completed)  # pyright: ignore[reportArgumentType]

        return Observable(subscribe)

    def attach(
        self,
        calls: Mapping[type[SessionEvent], _Call],
        error: abc.OnError,
        completed: abc.OnCompleted,
    ) -> abc.DisposableBase:
        """Subscribe with one call per type, the nearest ancestor's winning."""
        return self.follow(_Plain(calls, error, completed))

    def follow(self, follower: "Follower | _Plain") -> abc.DisposableBase:
        """Subscribe with folds, and be told when a batch begins and ends: how operators subscribe."""
        return self.add_attachment(Attachment(self, follower))

    def branch(self) -> "EventHub":
        """The same stream as a hub that can be ended alone: what its subscribers hold back, they emit.

        Its subscribers are subscribers of this hub, in the order of subscription; ending the branch
        ends them between two events, and nobody else.
        """
        return Branch(self)

    def add_attachment(self, attachment: Attachment) -> abc.DisposableBase:
        """Add a subscriber; to a stream that is over it comes to be told so."""
        with self._changing:
            ended = self._ended
            if ended is None:
                self._set_attached((*self._attached, attachment))
        if ended is not None:
            ended(attachment)
            return Disposable()
        return attachment

    def detach(self, attachment: Attachment) -> None:
        """Forget a subscriber; forgetting it twice is harmless."""
        with self._changing:
            self._set_attached(tuple(each for each in self._attached if each is not attachment))

    def _set_attached(self, attached: tuple[Attachment, ...]) -> None:
        self._attached = attached
        self._begins = tuple(each.begin for each in attached if each.begin is not None)
        self._finishes = tuple(each.finish for each in attached if each.finish is not None)
        self._routes = {}

    def _subscribe_core(
        self,
        observer: abc.ObserverBase[SessionEvent],
        scheduler: abc.SchedulerBase | None = None,
    ) -> abc.DisposableBase:
        calls = {SessionEvent: observer.on_next}
        return self.attach(calls, observer.on_error, observer.on_completed)

    def _publish(self, event: SessionEvent) -> None:
        self._publish_all((event,))

    def _publish_all(self, events: Iterable[SessionEvent]) -> None:
        """One clock reading and one look at the timers, whatever the number of events."""
        now = self._seconds()
        for begin in self._begins:
            begin(now)
        for event in events:
            kind = type(event)
            route = self._routes.get(kind)
            if route is None:
                route = self._route(kind)
            for call, emit in route:
                try:
                    outputs = call(event, now)
                    if outputs:
                        emit(outputs, now)
                except Exception as error:
                    self._subscriber_raised(event, error)
        for finish in self._finishes:
            finish()

    def _route(self, kind: type[SessionEvent]) -> "tuple[tuple[_Fold, _Emit], ...]":
        if self._ended is not None:
            return ()
        with self._changing:
            routes = (attachment.route(kind) for attachment in self._attached)
            route = self._routes[kind] = tuple(each for each in routes if each is not None)
        return route

    def _end(self, ending: Callable[[Attachment], None]) -> None:
        with self._changing:
            if self._ended is not None:
                return
            self._ended = ending
            attached = self._attached
            self._set_attached(())
        for attachment in attached:
            try:
                ending(attachment)
            except Exception as error:
                self._subscriber_raised(SessionEvent(), error)

    def _subscriber_raised(self, event: SessionEvent, error: Exception) -> None:
        self.report(Fault("subscriber", event.session_id, self._seconds(), error))


class Branch(EventHub):
    """Some of a hub's subscribers, who can be ended alone. What is published here goes to the hub."""

    def __init__(self, trunk: EventHub) -> None:
        super().__init__(scheduler=trunk.scheduler)
        self.strand = trunk.strand
        self.clock = trunk.clock
        self.errors = trunk.errors
        self.report = trunk.report
        self._trunk = trunk

    def on_next(self, value: SessionEvent) -> None:
        self._trunk.on_next(value)

    def on_batch(self, events: Iterable[SessionEvent]) -> None:
        self._trunk.on_batch(events)

    def add_attachment(self, attachment: Attachment) -> abc.DisposableBase:
        super().add_attachment(attachment)
        if self._ended is None:
            self._trunk.add_attachment(attachment)
        return attachment

    def detach(self, attachment: Attachment) -> None:
        super().detach(attachment)
        self._trunk.detach(attachment)

    def _end(self, ending: Callable[[Attachment], None]) -> None:
        for attachment in self._attached:
            self._trunk.detach(attachment)
        super()._end(ending)
