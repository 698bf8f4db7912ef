"""Multicasting: one stream of events, many operators, each called only for what it wants."""

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar, cast

from reactivex import Observable, Subject, abc
from reactivex.disposable import Disposable, SingleAssignmentDisposable

from streams.events import SessionEvent
from streams.faults import Fault, Report, log_fault
from streams.schedulers import daemon, seconds_of
from streams.strand import Strand

__all__ = ["Derived", "EventHub"]

_E = TypeVar("_E", bound=SessionEvent)
_Out_co = TypeVar("_Out_co", covariant=True)
_Call = Callable[[SessionEvent], None]


class Derived(Observable[_Out_co]):
    """An Observable that knows the clock and the errors of the hub it comes from."""

    def __init__(
        self,
        subscribe: abc.Subscription[_Out_co],
        scheduler: abc.SchedulerBase | None,
        report: Report,
    ) -> None:
        super().__init__(subscribe)
        self.scheduler = scheduler
        self.report = report


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
    inside a subscriber follows the current one. A subscriber that raises is reported once on ``errors``
    and goes on with the next event; its siblings and the producer notice nothing. Like a ``Subject``, a
    hub that has ended stays so, and tells who comes later.

    Args:
        source: Where events come from once ``connect()`` is called. None: publish with ``on_next``.
        scheduler: The clock of operators that are given none; by default the source's own
            (a replay has one), else ``streams.schedulers.daemon()``.

    Attributes:
        errors: Every ``Fault`` of this hub's subscribers and operators, one after the other. It does not
            end. What nobody hears goes to the ``errors`` of the hub that the source comes from, else to
            the log.

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
        self._reports = Strand()
        self._unheard = cast(Report, getattr(source, "report", log_fault))
        self._source = source
        self._connection: SingleAssignmentDisposable | None = None
        self._attached: tuple[Attachment, ...] = ()
        self._routes: dict[type[SessionEvent], tuple[_Call, ...]] = {}
        self._changing = threading.Lock()
        self._ended: Callable[[Attachment], None] | None = None

    # --- taking in --------------------------------------------------------------------------------

    def connect(self) -> abc.DisposableBase:
        """Subscribe to the source given at construction, once; dispose the result to stop.

        Raises:
            ValueError: There is no source.
        """
        if self._source is None:
            raise ValueError("connect() needs an EventHub made with a source: EventHub(source)")
        with self._changing:
            running = self._connection
            if running is not None and not running.is_disposed:
                return running
            connection = self._connection = SingleAssignmentDisposable()
        if self._ended is None:
            connection.disposable = self._source.subscribe(self, scheduler=self.scheduler)
        return connection

    def on_next(self, value: SessionEvent) -> None:
        """Publish one event."""
        self.strand.run(self._publish, value)

    def on_batch(self, events: Iterable[SessionEvent]) -> None:
        """Publish several events as one batch: nothing else comes between them."""
        self.strand.run(self._publish_all, tuple(events))

    def on_error(self, error: Exception) -> None:
        """End every subscriber with an error."""

        def end(attachment: Attachment) -> None:
            attachment.error(error)

        self.strand.run(self._end, end)

    def on_completed(self) -> None:
        """Complete every subscriber."""
        self.strand.run(self._end, Attachment.complete)

    def report(self, fault: Fault) -> None:
        """Put a fault on ``errors``."""
        self._reports.run(self._tell, fault)

    def _tell(self, fault: Fault) -> None:
        """A listener that raises has not dealt with the fault; the others still may."""
        with self._errors.lock:
            listeners = self._errors.observers.copy()
        if not listeners:
            self._unheard(fault)
        for listener in listeners:
            try:
                listener.on_next(fault)
            except Exception as error:
                log_fault(fault)
                log_fault(Fault("EventHub.errors", fault.session_id, fault.at, error))

    # --- handing out ------------------------------------------------------------------------------

    def of(self, *types: type[_E]) -> Observable[_E]:
        """Only events of these types (a base class stands for all below it)."""

        def subscribe(
            observer: abc.ObserverBase[_E], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            calls = dict.fromkeys(types, observer.on_next)
            return self.attach(calls, observer.on_error, observer.on_completed)  # pyright: ignore[reportArgumentType]

        return Derived(subscribe, self.scheduler, self.report)

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

    def _publish_all(self, events: tuple[SessionEvent, ...]) -> None:
        for event in events:
            self._publish(event)

    def _route(self, kind: type[SessionEvent]) -> tuple[_Call, ...]:
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
