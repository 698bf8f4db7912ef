"""The newest value per session, for those who pull."""

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar, cast

from reactivex import Observable, Subject, abc
from reactivex.disposable import CompositeDisposable, SingleAssignmentDisposable

from streams import checks
from streams.events import SessionDeleted, SessionEvent, SessionExpired
from streams.faults import Fault, Report, log_fault
from streams.hub import EventHub
from streams.schedulers import daemon, seconds_of
from streams.strand import Strand

__all__ = ["Latest", "latest"]


class OfSession(Protocol):
    """A value that says which session it is of."""

    @property
    def session_id(self) -> str: ...


_T = TypeVar("_T", bound=OfSession)


class Latest(Observable[_T], abc.DisposableBase):
    """The newest value of each session: read it like a mapping, from any thread, or subscribe to it.

    ``latest["ses_1"]`` raises ``KeyError`` for a session it does not know, ``latest.get`` returns None.
    Iterating and ``len`` are of the sessions that live, the one heard of first first.

    A subscriber gets the newest value of every session once, then every new one: no gap, no repeat. One
    that raises is a ``Fault`` and harms no other. The stream ends as the observable does.
    """

    def __init__(
        self, observable: Observable[_T], events: Observable[SessionEvent] | None, archive: int
    ) -> None:
        super().__init__()
        self._values: dict[str, _T] = {}
        self._ended: dict[str, _T] = {}
        self._archive = archive
        self._subject: Subject[_T] = Subject()
        self._strand = Strand()
        self._report = cast(Report, getattr(observable, "report", log_fault))
        scheduler = cast(abc.SchedulerBase | None, getattr(observable, "scheduler", None))
        self._seconds = seconds_of(scheduler or daemon())
        self._sources = CompositeDisposable(observable.subscribe(self._take, self._fail, self._complete))
        if events is not None:
            ends = events.of(SessionDeleted, SessionExpired) if isinstance(events, EventHub) else events
            self._sources.add(ends.subscribe(self._hear, lambda error: None))

    def __getitem__(self, session_id: str) -> _T:  # pyright: ignore[reportIncompatibleMethodOverride]
        value = self.get(session_id)
        if value is None:
            raise KeyError(session_id)
        return value

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._values or session_id in self._ended

    def __iter__(self) -> Iterator[_T]:
        return iter(tuple(self._values.values()))

    def __len__(self) -> int:
        return len(self._values)

    def get(self, session_id: str) -> _T | None:
        """The newest value of a session, or None."""
        value = self._values.get(session_id)
        return self._ended.get(session_id) if value is None else value

    def dispose(self) -> None:
        """Stop following, and forget everything."""
        self._sources.dispose()
        self._values.clear()
        self._ended.clear()

    def _take(self, value: _T) -> None:
        self._strand.run(self._keep, value)

    def _keep(self, value: _T) -> None:
        session_id = value.session_id
        self._ended.pop(session_id, None)
        self._values[session_id] = value
        if getattr(value, "gone", False) is True:
            self._forget(session_id)
        self._subject.on_next(value)

    def _hear(self, event: SessionEvent) -> None:
        if isinstance(event, SessionDeleted | SessionExpired):
            self._strand.run(self._forget, event.session_id)

    def _forget(self, session_id: str) -> None:
        value = self._values.get(session_id)
        if value is None:
            return
        if self._archive:  # before it is taken out there, so that a reader on another thread finds it
            self._ended[session_id] = value
            if len(self._ended) > self._archive:
                del self._ended[next(iter(self._ended))]
        del self._values[session_id]

    def _fail(self, error: Exception) -> None:
        self._strand.run(self._subject.on_error, error)

    def _complete(self) -> None:
        def complete(_: None) -> None:
            self._subject.on_completed()

        self._strand.run(complete, None)

    def _subscribe_core(
        self, observer: abc.ObserverBase[_T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        """Joining happens between two values, so none is missed and none comes twice (X12)."""
        joined = SingleAssignmentDisposable()
        on_next = self._guarding(observer)

        def join(_: None) -> None:
            for value in self:
                on_next(value)
            joined.disposable = self._subject.subscribe(on_next, observer.on_error, observer.on_completed)

        self._strand.run(join, None)
        return joined

    def _guarding(self, observer: abc.ObserverBase[_T]) -> Callable[[_T], None]:
        """A subscriber that raises must not keep its siblings from the value (S12)."""

        def on_next(value: _T) -> None:
            try:
                observer.on_next(value)
            except Exception as error:
                self._report(Fault("subscriber", value.session_id, self._seconds(), error))

        return on_next


def latest(
    observable: Observable[_T],
    *,
    events: Observable[SessionEvent] | None = None,
    archive: int = 0,
) -> Latest[_T]:
    """Keep the newest value per session of an operator's output.

    Args:
        observable: The values; each has a ``session_id``. It is subscribed to at once.
        events: The event stream, by which a session that was deleted or has expired is forgotten.
            Without it only values that say ``gone`` end a session. Subscribe it after the operator, so
            that the operator's last value is not kept for ever.
        archive: How many sessions that are gone still answer to their name, the newest; 0 or more.
            Default 0: 100 is what a board needs on which a finished task can be asked for (P20).

    Returns:
        The mapping, which is an Observable too; ``dispose()`` it to stop.

    Raises:
        ValueError: ``archive`` is below 0.

    Memory: one value per live session, and ``archive`` more.

    Example:
        >>> import operators as ops, streams
        >>> from streams.testing import Timeline, assistant
        >>> line = Timeline()
        >>> usages = streams.latest(
        ...     line.hub.pipe(ops.context_usage(streams.ContextLimits())), events=line.hub
        ... )
        >>> line.play((0, assistant("ses_1", "m1", input=1000)))
        >>> line.play((1, assistant("ses_1", "m2", input=2000)))
        >>> len(usages), usages["ses_1"].tokens
        (1, 2000)
    """
    return Latest(observable, events, checks.count("archive", archive, least=0))
