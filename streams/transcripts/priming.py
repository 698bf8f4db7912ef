"""Cold starts: a session's history is asked for once, whoever wants it and how often."""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from datetime import timedelta
from typing import cast

import msgspec
import reactivex
from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable
from reactivex.subject import AsyncSubject

from streams import checks
from streams.events import SessionHistory
from streams.faults import Fault, Report, log_fault
from streams.opencode import history
from streams.schedulers import calling, daemon, seconds_of

__all__ = ["Answer", "Fetch", "Histories", "Primed"]

_Told = bytes | SessionHistory
Answer = (
    Observable[bytes]
    | Observable[SessionHistory]
    | Future[bytes]
    | Awaitable[bytes]
    | bytes
    | SessionHistory
)
"""Now or later: the body of the answer to ``GET /session/{id}/message``, JSON, or what was read of it."""

Fetch = Callable[[str], Answer]
"""Takes a session's id and asks for its history."""


class Primed(msgspec.Struct, frozen=True, gc=False):
    """A session's history is in the stream.

    Attributes:
        session_id: The session.
        asked: Seconds, when it was asked for; what was heard since is newer.
        entries: How many messages and parts it had.
    """

    session_id: str
    asked: float
    entries: int


class _Request:
    """One request under way, and all who wait for its answer."""

    def __init__(self, asked: float) -> None:
        self.asked = asked
        self.answer = AsyncSubject[Primed]()
        self.running = CompositeDisposable()
        self.lasts = True


class Histories:
    """Asks for histories and puts them into the stream as ``SessionHistory``.

    Args:
        publish: Where they go: ``EventHub.on_next``.
        ttl: Seconds, from when it was asked for, in which a session's history is not asked for again.
            Using it does not renew it (T1). Default 300.
        timeout: Seconds after which a request has failed. Default 5.
        scheduler: Clock and timers; by default ``streams.schedulers.daemon()``.
        report: Where failures go, besides to whoever waits.

    Memory: one small value per session asked for in the last ``ttl`` seconds; no history is kept.
    Time: one timer per request under way.
    """

    def __init__(
        self,
        publish: Callable[[SessionHistory], None],
        *,
        ttl: float | timedelta = 300.0,
        timeout: float | timedelta = 5.0,
        scheduler: abc.SchedulerBase | None = None,
        report: Report = log_fault,
    ) -> None:
        self._publish = publish
        self._ttl = checks.seconds("ttl", ttl)
        self._timeout = checks.seconds("timeout", timeout)
        self._scheduler = scheduler or daemon()
        self._seconds = seconds_of(self._scheduler)
        self._report = report
        self._changing = threading.Lock()
        self._requests: dict[str, _Request] = {}
        self._primed: dict[str, Primed] = {}

    def prime(self, session_id: str, fetch: Fetch) -> Observable[Primed]:
        """Make sure that a session's history is in the stream.

        It is asked for at once, unless it was within ``ttl``, or is being asked for: then that answer is
        shared. A failure is not kept: the next call asks again. An answer that comes after its request
        failed is dropped.

        Args:
            session_id: The session.
            fetch: How to ask; called at most once. A blocking call belongs on a thread:
                ``lambda session_id: executor.submit(get, session_id)``.

        Returns:
            One ``Primed`` and the end; or the failure: ``TimeoutError``, ``ValueError`` for what is no
            history, or what ``fetch`` raised. Nobody needs to subscribe.
        """
        now = self._seconds()
        with self._changing:
            self._forget_before(now - self._ttl)
            if request := self._requests.get(session_id):
                return request.answer
            primed = self._primed.get(session_id)
            if primed is not None and primed.asked > now - self._ttl:
                return reactivex.just(primed)
            request = self._requests[session_id] = _Request(now)
        self._ask(session_id, fetch, request)
        return request.answer

    def forget(self, session_id: str | None = None) -> None:
        """What was fetched of a session, or of any, may have missed something: ask again next time."""
        with self._changing:
            for each in [*self._primed] if session_id is None else [session_id]:
                self._primed.pop(each, None)
            for each in [*self._requests] if session_id is None else [session_id]:
                if request := self._requests.get(each):
                    request.lasts = False

    def _forget_before(self, asked: float) -> None:
        for session_id, primed in list(self._primed.items()):
            if primed.asked > asked:
                break
            del self._primed[session_id]

    def _ask(self, session_id: str, fetch: Fetch, request: _Request) -> None:
        def succeed(answer: _Told) -> None:
            self._answered(session_id, request, answer)

        def fail(error: Exception) -> None:
            self._failed(session_id, request, error)

        def give_up() -> None:
            fail(TimeoutError(f"no history of {session_id} within {self._timeout:g} s"))

        def end() -> None:
            fail(ValueError(f"fetch ended without a history of {session_id}"))

        request.running.add(self._scheduler.schedule_relative(self._timeout, calling(give_up)))
        try:
            request.running.add(_observable(fetch(session_id)).subscribe(succeed, fail, end))
        except Exception as error:
            fail(error)

    def _answered(self, session_id: str, request: _Request, answer: _Told) -> None:
        try:
            taken = (
                msgspec.structs.replace(answer, asked=request.asked)
                if isinstance(answer, SessionHistory)
                else history(session_id, answer, asked=request.asked, at=self._seconds())
            )
        except ValueError as error:
            self._failed(session_id, request, error)
            return
        primed = Primed(session_id, request.asked, len(taken.events))
        if self._end(session_id, request, primed):
            self._publish(taken)
            request.answer.on_next(primed)
            request.answer.on_completed()

    def _failed(self, session_id: str, request: _Request, error: Exception) -> None:
        if self._end(session_id, request, None):
            self._report(Fault("prime", session_id, self._seconds(), error))
            request.answer.on_error(error)

    def _end(self, session_id: str, request: _Request, primed: Primed | None) -> bool:
        """The first end of a request counts."""
        with self._changing:
            if self._requests.get(session_id) is not request:
                return False
            del self._requests[session_id]
            if primed is not None and request.lasts:
                self._primed[session_id] = primed
        request.running.dispose()
        return True


def _observable(answer: Answer) -> Observable[_Told]:
    if isinstance(answer, Observable):
        return cast("Observable[_Told]", answer)
    if isinstance(answer, _Told):
        return reactivex.just(answer)
    if inspect.isawaitable(answer):
        return reactivex.from_future(asyncio.ensure_future(answer))
    return reactivex.from_future(answer)
