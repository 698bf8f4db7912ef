"""What can be asked of a server, and told to it."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TypeVar
from urllib.parse import quote

from reactivex import Observable, abc

from streams import checks
from streams.events import SessionHistory, SessionStatus, Todo, TodosUpdated
from streams.limits import ContextLimits
from streams.opencode import answers
from streams.opencode.errors import BadAnswer
from streams.opencode.requests import Request
from streams.opencode.transport import USERNAME, Http
from streams.schedulers import daemon, seconds_of

__all__ = ["Client"]

_T = TypeVar("_T")
_Duration = float | timedelta


class Client:
    """Asks an opencode server, and tells it what to do.

    Every method returns a cold Observable: subscribing sends the request, the one answer comes on a
    daemon thread, disposing ends the request. What goes wrong is one of these, each with one clear line:
    ``Unreachable`` (``TimedOut`` is one), ``Unauthorized``, ``NotFound``, ``Refused`` (any other 4xx),
    ``ServerFailed`` (5xx), ``NotOpencode`` and ``BadAnswer``. None of it is needed on the hot path:
    whatever an operator derives comes from the events alone.

    Args:
        base_url: Where the server listens, such as ``http://127.0.0.1:4096``.
        directory: The directory to ask about. Default: the one the server was started in.
        password: For HTTP Basic authentication. It is sent to this host alone.
        username: The server's ``OPENCODE_SERVER_USERNAME``.
        scheduler: The clock of all timeouts but the one for opening a socket. Default: the daemon.

    Raises:
        MissingExtra: httpx2 is not installed.
        ValueError: ``base_url`` is no address; in the methods, a timeout is not above 0.

    Memory: a request's answer.
    Time: one timer per request, cancelled when it is answered.

    Example:
        >>> import streams
        >>> client = streams.opencode.Client("http://127.0.0.1:4096")
        >>> asked = client.status().subscribe(print, lambda error: None)
        >>> asked.dispose()

    Source: field failures T10, X11.
    """

    def __init__(
        self,
        base_url: str,
        *,
        directory: str | None = None,
        password: str | None = None,
        username: str = USERNAME,
        scheduler: abc.SchedulerBase | None = None,
    ) -> None:
        self._http = Http(base_url, username=username, password=password)
        self._parameters = {} if directory is None else {"directory": directory}
        self._scheduler = scheduler or daemon()
        self._seconds = seconds_of(self._scheduler)

    # --- telling ----------------------------------------------------------------------------------

    def summarize(
        self,
        session_id: str,
        provider_id: str,
        model_id: str,
        *,
        auto: bool = False,
        timeout: _Duration = 120.0,
    ) -> Observable[bool]:
        """Have a session's history summarised by a model; answers once that is done.

        Args:
            session_id: The session.
            provider_id: Of the model that summarises.
            model_id: The model that summarises.
            auto: Go on with the work afterwards, as after the server's own compaction.
            timeout: How long that may take. The server goes on with it after a timeout.
        """
        body = {"providerID": provider_id, "modelID": model_id, "auto": auto}
        return self._ask("POST", _of(session_id, "summarize"), _is_true, timeout, body)

    def abort(self, session_id: str, *, timeout: _Duration = 10.0) -> Observable[bool]:
        """Stop what a session is doing, and its children."""
        return self._ask("POST", _of(session_id, "abort"), _is_true, timeout)

    # --- asking -----------------------------------------------------------------------------------

    def messages(self, session_id: str, *, timeout: _Duration = 5.0) -> Observable[SessionHistory]:
        """A session's whole history, as the value that completes a transcript.

        It can be tens of megabytes: derive what you need from the events instead, where you can.
        ``TranscriptStore.prime(session_id, client.messages)`` asks for it once, whoever wants it.

        Args:
            session_id: The session.
            timeout: How long the answer may take.
        """

        def ask(
            observer: abc.ObserverBase[SessionHistory], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            asked = self._seconds()

            def read(answer: bytes, path: str) -> SessionHistory:
                return answers.history_of(answer, path, session_id, asked, self._seconds())

            request = self._ask("GET", _of(session_id, "message"), read, timeout)
            return request.subscribe(observer, scheduler=scheduler)

        checks.seconds("timeout", timeout)
        return Observable(ask)

    def status(self, *, timeout: _Duration = 5.0) -> Observable[dict[str, SessionStatus]]:
        """The sessions that are busy or about to try again. One that is not in it is idle."""

        def read(answer: bytes, path: str) -> dict[str, SessionStatus]:
            statuses = answers.status_events(answer, path, self._seconds())
            return {key: each for key, each in statuses.items() if isinstance(each, SessionStatus)}

        return self._ask("GET", "/session/status", read, timeout)

    def todos(self, session_id: str, *, timeout: _Duration = 5.0) -> Observable[tuple[Todo, ...]]:
        """A session's todo list."""

        def read(answer: bytes, path: str) -> tuple[Todo, ...]:
            event = answers.todo_event(answer, path, session_id, self._seconds())
            if not isinstance(event, TodosUpdated):
                raise BadAnswer(f"{path}: {event}")
            return event.todos

        return self._ask("GET", _of(session_id, "todo"), read, timeout)

    def providers(self, *, timeout: _Duration = 5.0) -> Observable[ContextLimits]:
        """The limits of all models that the server knows of.

        To put yours before them: ``ContextLimits(yours, found.find)``.
        """

        def read(answer: bytes, path: str) -> ContextLimits:
            try:
                return ContextLimits.load(answer)
            except ValueError as error:
                raise BadAnswer(f"{path}: {error}") from None

        return self._ask("GET", "/config/providers", read, timeout)

    def _ask(
        self,
        method: str,
        path: str,
        read: Callable[[bytes, str], _T],
        timeout: _Duration,
        body: object = None,
    ) -> Request[_T]:
        seconds = checks.seconds("timeout", timeout)
        begin = partial(self._http.exchange, method, path, self._parameters, body)
        where = f"{method} {self._http.url}{path}"
        return Request(begin, lambda answer: read(answer, where), where, seconds, self._scheduler)


def _of(session_id: str, what: str) -> str:
    return f"/session/{quote(session_id, safe='')}/{what}"


def _is_true(answer: bytes, path: str) -> bool:
    """``true``; some versions answer with an empty object."""
    return answer.strip() != b"false"
