"""What a fold asks to be done, done, and its result fed back to the fold as an event."""

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Any, Generic, TypeVar, cast

import msgspec
import reactivex
from reactivex import Observable, abc
from reactivex import operators as rx
from reactivex.disposable import CompositeDisposable, Disposable, SingleAssignmentDisposable
from reactivex.scheduler import ImmediateScheduler

from operators.lift import Call, Operator, lift
from operators.per_session import Logic, SessionFold
from operators.sharing import Shared
from streams.events import SessionCreated, SessionDeleted, SessionEvent, SessionExpired
from streams.faults import Report, log_fault
from streams.hub import EventHub
from streams.schedulers import daemon

__all__ = ["ActionEnded", "Begin", "Release", "acting"]

_About = TypeVar("_About")
_Out = TypeVar("_Out")
_State = TypeVar("_State")


class Begin(msgspec.Struct, Generic[_About], frozen=True):
    """Asks for the action to be called.

    Attributes:
        session_id: On whose behalf. One action runs per session: a new one takes an older one's place.
        number: Which one of the session it is.
        at: Seconds, when it was asked for.
        about: What the action is given.
    """

    session_id: str
    number: int
    at: float
    about: _About


class Release(msgspec.Struct, frozen=True, gc=False):
    """Asks for the session's action to be unsubscribed from, if it still runs."""

    session_id: str


class ActionEnded(SessionEvent, frozen=True, gc=False):
    """An action has answered, or failed.

    Attributes:
        number: Of the ``Begin``.
        began: Its time.
        answered: Whether there was an answer: neither nothing, nor None, False, or something of length 0.
        error: What it failed with, in words; empty if it did not.
        only_waiting: The error was a ``TimeoutError``: whoever waited gave up, what is done goes on.
    """

    number: int = 0
    began: float = 0.0
    answered: bool = False
    error: str = ""
    only_waiting: bool = False


class ActingFold(SessionFold[_State, _Out]):
    """The states of all sessions. The result of an action brings no session back that is gone."""

    def calls(self) -> Mapping[type[SessionEvent], Call[_Out]]:
        return {**super().calls(), ActionEnded: self._ended}

    def _ended(self, event: SessionEvent, now: float) -> Iterable[_Out]:
        return self.on_event(event, now) if event.session_id in self.states else ()


class Actions(Generic[_About, _Out]):
    """One subscription: calls the action when the fold says so, and tells the fold how it ended.

    The fold and the results of actions meet on one hub, so they are one thing after the other, whatever
    threads the results come from; a result given before the action's call has returned comes after it.
    """

    def __init__(
        self,
        action: Callable[[_About], object],
        hub: EventHub,
        observer: abc.ObserverBase[_Out],
        scheduler: abc.SchedulerBase,
    ) -> None:
        self._action = action
        self._hub = hub
        self._observer = observer
        self._scheduler = scheduler
        self._running: dict[str, SingleAssignmentDisposable] = {}
        self._stopped = False

    def on_next(self, value: "_Out | Begin[_About] | Release") -> None:
        """Do what is asked for; pass on the rest."""
        if isinstance(value, Begin):
            self._begin(cast(Begin[_About], value))
        elif isinstance(value, Release):
            self._release(value.session_id)
        else:
            self._observer.on_next(value)

    def dispose(self) -> None:
        self._stopped = True
        for running in list(self._running.values()):
            running.dispose()

    def _begin(self, begin: Begin[_About]) -> None:
        self._release(begin.session_id)
        running = self._running[begin.session_id] = SingleAssignmentDisposable()
        if self._stopped:  # somebody has disposed since the fold asked
            return

        def answered(answer: bool) -> None:
            self._ended(begin, answered=answer)

        def failed(error: BaseException) -> None:
            what = f"{type(error).__name__}: {error}"
            self._ended(begin, error=what, only_waiting=isinstance(error, TimeoutError))

        try:
            answer = observable_of(self._action(begin.about))
            one = answer.pipe(rx.take(1), rx.default_if_empty(None), rx.map(is_answer))
            running.disposable = one.subscribe(answered, failed, scheduler=self._scheduler)
        except Exception as error:
            failed(error)

    def _release(self, session_id: str) -> None:
        if running := self._running.pop(session_id, None):
            running.dispose()

    def _ended(
        self,
        begin: Begin[_About],
        *,
        answered: bool = False,
        error: str = "",
        only_waiting: bool = False,
    ) -> None:
        self._hub.on_next(
            ActionEnded(
                begin.session_id,
                number=begin.number,
                began=begin.at,
                answered=answered,
                error=error,
                only_waiting=only_waiting,
            )
        )


def is_answer(value: object) -> bool:
    """Whether a value says that something was done. A number does, 0 too."""
    return not (value is None or value is False or (isinstance(value, Sized) and len(value) == 0))


def observable_of(answer: object) -> Observable[Any]:
    """An action's answer as an Observable: itself, a future's or coroutine's result, or the value."""
    if isinstance(answer, Observable):
        return cast(Observable[Any], answer)
    if inspect.iscoroutine(answer):
        try:
            answer = asyncio.get_running_loop().create_task(answer)
        except RuntimeError:
            answer.close()
            raise RuntimeError(
                "the action is a coroutine function, and no asyncio loop runs in this thread; "
                "return an Observable, or connect the stream inside the loop"
            ) from None
    if callable(getattr(answer, "add_done_callback", None)):
        return reactivex.from_future(cast("asyncio.Future[Any]", answer))
    return reactivex.just(answer, ImmediateScheduler.singleton())


def acting(
    action: Callable[[_About], object],
    logic: "Logic[_State, _Out | Begin[_About] | Release]",
    scheduler: abc.SchedulerBase | None = None,
) -> Operator[_Out]:
    """Lift a logic that asks for actions into an operator.

    Like ``flat_map``, but the logic decides what is begun and how long it is listened to. However many
    subscribe to the result, there is one fold, and an action is called once.

    Args:
        action: Called on the thread that brought the event, with no lock held, so it must not block:
            what takes time belongs into the Observable (or future, or coroutine) it returns. That is
            subscribed to with the operator's scheduler; its first value is the answer.
        logic: May yield ``Begin`` and ``Release`` among its values, and wants ``ActionEnded``. An action
            is listened to until its ``Release``, which is due when it has ended too.
        scheduler: Clock and timers; see ``per_session``.
    """
    wants = (*logic.wants, SessionCreated, SessionDeleted, SessionExpired)

    def operator(source: Observable[SessionEvent]) -> Observable[_Out]:
        report = cast(Report, getattr(source, "report", log_fault))
        source_scheduler = cast(abc.SchedulerBase | None, getattr(source, "scheduler", None))
        narrowed = source.of(*wants) if isinstance(source, EventHub) else source

        def start(
            observer: abc.ObserverBase[_Out],
            subscribed: abc.SchedulerBase | None,
            running: CompositeDisposable,
        ) -> None:
            chosen = scheduler or subscribed or source_scheduler or daemon()
            hub = EventHub(narrowed, scheduler=chosen)
            actions = Actions(action, hub, observer, chosen)
            folded = hub.pipe(lift(lambda report: ActingFold(logic, report)))
            running.add(Disposable(actions.dispose))
            running.add(hub.errors.subscribe(report))
            running.add(folded.subscribe(actions.on_next, observer.on_error, observer.on_completed))
            running.add(hub.connect())

        return Shared(start, scheduler or source_scheduler, report)

    return operator
