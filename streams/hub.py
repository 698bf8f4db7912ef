"""Multicasting: one stream of events, many operators, each called only for what it wants."""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar, cast

from reactivex import Observable, Subject, abc
from reactivex.disposable import Disposable, SingleAssignmentDisposable

from streams.events import SessionEvent
from streams.faults import Fault, Report, log_fault
from streams.memory import Memory
from streams.schedulers import daemon, seconds_of
from streams.strand import Strand

__all__ = ["Derived", "EventHub"]

_E = TypeVar("_E", bound=SessionEvent)
_Out_co = TypeVar("_Out_co", covariant=True)
_Call = Callable[[SessionEvent], None]
_Fold = Callable[[SessionEvent, float], Iterable[object] | None]
_Emit = Callable[[Iterable[object], float], None]
_Raised = Callable[[SessionEvent, float, Exception], None]
_Way = tuple[_Fold, _Emit, _Raised]
"""How an event goes to one subscriber: the call, where its outputs go, where an exception goes."""


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

    def raised(self, event: SessionEvent, now: float, error: Exception) -> None:
        """A call, or the sending on, raised."""
        ...

    def on_error(self, error: Exception) -> None:
        """The stream failed."""
        ...

    def on_completed(self) -> None:
        """The stream is over."""
        ...


class Derived(Observable[_Out_co]):
    """An Observable that knows the clock and the errors of the hub it comes from."""

    def __init__(
        self,
        subscribe: abc.Subscription[_Out_co],
        scheduler: abc.SchedulerBase | None,
        report: Report,
        memory: Memory | None = None,
    ) -> None:
        super().__init__(subscribe)
        self.memory = memory
        self.scheduler = scheduler
        self.report = report
        self._start = subscribe

    def feed(self, hub: "EventHub", scheduler: abc.SchedulerBase | None) -> abc.DisposableBase:
        """Flow into a hub, a batch at a time: what ``EventHub(source).connect()`` does with us."""
        return self._start(cast(abc.ObserverBase[_Out_co], hub), scheduler)


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

    __slots__ = ("_calls", "begin", "emit", "finish", "hub", "on_completed", "on_error", "raised")

    def __init__(self, hub: "EventHub", follower: Follower | _Plain) -> None:
        self.hub = hub
        self._calls = follower.calls()
        self.emit: _Emit = getattr(follower, "emit", _nothing_to_emit)
        self.begin: Callable[[float], None] | None = getattr(follower, "begin", None)
        self.finish: Callable[[], None] | None = getattr(follower, "finish", None)
        self.raised: _Raised = getattr(follower, "raised", hub.subscriber_raised)
        self.on_error = follower.on_error
        self.on_completed = follower.on_completed

    def route(self, kind: type[SessionEvent]) -> _Way | None:
        """The call for the nearest type in ``kind``'s ancestry that this subscriber named."""
        for ancestor in kind.__mro__:
            if call := self._calls.get(ancestor):
                return call, self.emit, self.raised
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
    inside a subscriber follows the current one. A subscriber that raises is reported once on ``errors``
    and goes on with the next event; its siblings and the producer notice nothing. Like a ``Subject``, a
    hub that has ended stays so, and tells who comes later.

    Args:
        source: Where events come from once ``connect()`` is called. None: publish with ``on_next``.
        scheduler: The clock of operators that are given none; by default the source's own
            (a replay has one), else ``streams.schedulers.daemon()``.
        memory: What takes snapshots of the operators behind it and puts them back; by default the
            source's own, if it has one.

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
        memory: Memory | None = None,
    ) -> None:
        super().__init__()
        self.memory: Memory | None = memory or getattr(source, "memory", None)
        self.scheduler: abc.SchedulerBase | None = scheduler or getattr(source, "scheduler", None)
        self.strand = Strand()
        self.clock: abc.SchedulerBase = self.scheduler or daemon()
        self._seconds = seconds_of(self.clock)
        self.errors: Observable[Fault]
        self.errors = self._errors = Subject[Fault]()
        self._reports = Strand()
        self._unheard = cast(Report, getattr(source, "report", log_fault))
        self._source = source
        self._connection: SingleAssignmentDisposable | None = None
        self._attached: tuple[Attachment, ...] = ()
        self._begins: tuple[Callable[[float], None], ...] = ()
        self._finishes: tuple[Callable[[], None], ...] = ()
        self._routes: dict[type[SessionEvent], tuple[_Way, ...]] = {}
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
            connection.disposable = self.draw(self._source, self.scheduler)
        return connection

    def draw(
        self, source: Observable[SessionEvent], scheduler: abc.SchedulerBase | None
    ) -> abc.DisposableBase:
        """Subscribe to a source, with this scheduler; what comes as a batch stays one."""
        if isinstance(source, Derived):
            return source.feed(self, scheduler)
        return source.subscribe(self, scheduler=scheduler)

    def on_next(self, value: SessionEvent) -> None:
        """Publish one event."""
        self.strand.run(self._publish, value)

    def on_batch(self, events: Iterable[SessionEvent]) -> None:
        """Publish several events as one batch: nothing else comes between them."""
        self.strand.run(self._publish_all, tuple(events))

    def on_error(self, error: Exception) -> None:
        """End every subscriber with an error."""

        def end(attachment: Attachment) -> None:
            attachment.on_error(error)

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

        return Derived(subscribe, self.scheduler, self.report, self.memory)

    def wants(self, *types: type[SessionEvent]) -> bool:
        """Whether anybody is subscribed to any of these types: a source need not ask for others."""
        routes = self._routes
        return any(routes[kind] if kind in routes else self._route(kind) for kind in types)

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
            for call, emit, raised in route:
                try:
                    outputs = call(event, now)
                    if outputs:
                        emit(outputs, now)
                except Exception as error:
                    raised(event, now, error)
        for finish in self._finishes:
            finish()

    def _route(self, kind: type[SessionEvent]) -> tuple[_Way, ...]:
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
                self.subscriber_raised(SessionEvent(), self._seconds(), error)

    def subscriber_raised(self, event: SessionEvent, now: float, error: Exception) -> None:
        """A subscriber raised: one fault, and nobody else notices."""
        self.report(Fault("subscriber", event.session_id, now, error))


class Branch(EventHub):
    """Some of a hub's subscribers, who can be ended alone. What is published here goes to the hub."""

    def __init__(self, trunk: EventHub) -> None:
        super().__init__(scheduler=trunk.scheduler, memory=trunk.memory)
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
