"""The newest value per session, for those who pull."""

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from reactivex import Observable, Subject, abc
from reactivex.disposable import CompositeDisposable, SingleAssignmentDisposable

from streams.events import SessionDeleted, SessionEvent, SessionExpired
from streams.hub import EventHub
from streams.strand import Strand

__all__ = ["Latest", "latest"]


class OfSession(Protocol):
    """A value that says which session it is of."""

    @property
    def session_id(self) -> str: ...


_T = TypeVar("_T", bound=OfSession)


class Latest(abc.DisposableBase, Generic[_T]):
    """The newest value of each session: read it like a mapping, from any thread.

    ``latest["ses_1"]`` raises ``KeyError`` for a session it does not know, ``latest.get`` returns None;
    iterating gives the values, the session heard of first first.

    Attributes:
        changes: The values as a stream. A subscriber gets the newest of every session once, then every
            new one: no gap, no repeat. It ends as the observable does.
    """

    def __init__(self, observable: Observable[_T], events: Observable[SessionEvent] | None) -> None:
        self.changes: Observable[_T] = Observable(self._subscribe)
        self._values: dict[str, _T] = {}
        self._subject: Subject[_T] = Subject()
        self._strand = Strand()
        self._sources = CompositeDisposable(observable.subscribe(self._take, self._fail, self._complete))
        if events is not None:
            ends = events.of(SessionDeleted, SessionExpired) if isinstance(events, EventHub) else events
            self._sources.add(ends.subscribe(self._hear, lambda error: None))

    def __getitem__(self, session_id: str) -> _T:
        return self._values[session_id]

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._values

    def __iter__(self) -> Iterator[_T]:
        return iter(tuple(self._values.values()))

    def __len__(self) -> int:
        return len(self._values)

    def get(self, session_id: str) -> _T | None:
        """The newest value of a session, or None."""
        return self._values.get(session_id)

    def dispose(self) -> None:
        """Stop following, and forget everything."""
        self._sources.dispose()
        self._values.clear()

    def _take(self, value: _T) -> None:
        self._strand.run(self._keep, value)

    def _keep(self, value: _T) -> None:
        session_id = value.session_id
        if getattr(value, "gone", False) is True:
            self._values.pop(session_id, None)
        else:
            self._values[session_id] = value
        self._subject.on_next(value)

    def _hear(self, event: SessionEvent) -> None:
        if isinstance(event, SessionDeleted | SessionExpired):
            self._strand.run(self._forget, event.session_id)

    def _forget(self, session_id: str) -> None:
        self._values.pop(session_id, None)

    def _fail(self, error: Exception) -> None:
        self._strand.run(self._subject.on_error, error)

    def _complete(self) -> None:
        def complete(_: None) -> None:
            self._subject.on_completed()

        self._strand.run(complete, None)

    def _subscribe(
        self, observer: abc.ObserverBase[_T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        """Joining happens between two values, so none is missed and none comes twice."""
        joined = SingleAssignmentDisposable()

        def join(_: None) -> None:
            for value in self:
                observer.on_next(value)
            joined.disposable = self._subject.subscribe(observer)

        self._strand.run(join, None)
        return joined


def latest(observable: Observable[_T], *, events: Observable[SessionEvent] | None = None) -> Latest[_T]:
    """Keep the newest value per session of an operator's output.

    Args:
        observable: The values; each has a ``session_id``. It is subscribed to at once.
        events: The event stream, by which a session that was deleted or has expired is forgotten.
            Without it only values that say ``gone`` end a session. Subscribe it after the operator, so
            that the operator's last value is not kept for ever.

    Returns:
        The mapping; ``dispose()`` it to stop.

    Memory: one value per live session.

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
    return Latest(observable, events)
