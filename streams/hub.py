"""Multicasting: one stream of events, many operators, each called only for what it wants."""

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from reactivex import Observable, Subject, abc
from reactivex.disposable import Disposable

from streams.events import SessionEvent
from streams.faults import Fault, log_fault
from streams.schedulers import daemon, seconds_of
from streams.strand import Strand

__all__ = ["EventHub"]

_E = TypeVar("_E", bound=SessionEvent)
_Call = Callable[[SessionEvent], None]


class Attachment(abc.DisposableBase):
    """One subscriber of a hub: what it wants, and what to call."""

    __slots__ = ("calls", "completed", "error", "hub")

    def __init__(
        self,
        hub: "EventHub",
        calls: dict[type[SessionEvent], _Call],
        error: abc.OnError,
        completed: abc.OnCompleted,
    ) -> None:
        self.hub = hub
        self.calls = calls
        self.error = error
        self.completed = completed

    def call_for(self, kind: type[SessionEvent]) -> _Call | None:
        """The call for the nearest type in ``kind``'s ancestry that this subscriber named."""
        for ancestor in kind.__mro__:
            if call := self.calls.get(ancestor):
                return call
        return None

    def complete(self) -> None:
        self.completed()

    def dispose(self) -> None:
        self.hub.detach(self)


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
        self.errors: Observable[Fault]
        self.errors = self._errors = Subject[Fault]()
        self._source = source
        self._attached: tuple[Attachment, ...] = ()
        self._routes: dict[type[SessionEvent], tuple[_Call, ...]] = {}
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
            attachment.error(error)

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
        calls: dict[type[SessionEvent], _Call],
        error: abc.OnError,
        completed: abc.OnCompleted,
    ) -> abc.DisposableBase:
        """Subscribe with one call per type, the nearest ancestor's winning: how operators subscribe."""
        attachment = Attachment(self, calls, error, completed)
        with self._changing:
            ended = self._ended
            if ended is None:
                self._attached = (*self._attached, attachment)
                self._routes = {}
        if ended is not None:
            ended(attachment)
            return Disposable()
        return attachment

    def detach(self, attachment: Attachment) -> None:
        """Forget a subscriber; forgetting it twice is harmless."""
        with self._changing:
            self._attached = tuple(each for each in self._attached if each is not attachment)
            self._routes = {}

    def _subscribe_core(
        self,
        observer: abc.ObserverBase[SessionEvent],
        scheduler: abc.SchedulerBase | None = None,
    ) -> abc.DisposableBase:
        calls = {SessionEvent: observer.on_next}
        return self.attach(calls, observer.on_error, observer.on_completed)

    def _publish(self, event: SessionEvent) -> None:
        kind = type(event)
        route = self._routes.get(kind)
        if route is None:
            route = self._route(kind)
        for call in route:
            try:
                call(event)
            except Exception as error:
                self._subscriber_raised(event, error)

    def _publish_all(self, events: Iterable[SessionEvent]) -> None:
        for event in events:
            self._publish(event)

    def _route(self, kind: type[SessionEvent]) -> tuple[_Call, ...]:
        if self._ended is not None:
            return ()
        with self._changing:
            calls = (attachment.call_for(kind) for attachment in self._attached)
            route = self._routes[kind] = tuple(call for call in calls if call is not None)
        return route

    def _end(self, ending: Callable[[Attachment], None]) -> None:
        with self._changing:
            if self._ended is not None:
                return
            self._ended = ending
            attached, self._attached, self._routes = self._attached, (), {}
        for attachment in attached:
            try:
                ending(attachment)
            except Exception as error:
                self._subscriber_raised(SessionEvent(), error)

    def _subscriber_raised(self, event: SessionEvent, error: Exception) -> None:
        at = seconds_of(self.scheduler or daemon())()
        self.report(Fault("subscriber", event.session_id, at, error))
