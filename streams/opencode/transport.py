"""HTTP by httpx2, blocking, such that any thread can end a request at any time.

A blocked read cannot be cancelled; the socket under it can be shut down, which ends the read at once.
So every timeout here is a timer of the scheduler, except the one for establishing a connection.
"""

import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from reactivex import abc

from streams.opencode.errors import (
    BadAnswer,
    MissingExtra,
    NotFound,
    NotOpencode,
    OpencodeError,
    Refused,
    ServerFailed,
    TimedOut,
    Unauthorized,
    Unreachable,
)
from streams.schedulers import calling

if TYPE_CHECKING:
    import httpx2

__all__ = ["Exchange", "Http", "HttpExchange", "Transport", "answer"]

JSON: Final = "application/json"
USERNAME: Final = "opencode"
"""The server's own default."""

CONNECT_SECONDS: Final = 5.0
MAX_ANSWER: Final = 256 * 1024 * 1024
MAX_COMPLAINT: Final = 64 * 1024
SOCKET_IS_THERE: Final = ("connection.connect_tcp.complete", "connection.start_tls.complete")


class Exchange(Protocol):
    """One request and its answer. Its calls block; ``abort`` may be called from any thread."""

    def open(self) -> None:
        """Send the request; returns once the head of an answer with status 200 is there."""
        ...

    def read(self) -> bytes:
        """The next bytes of the answer; none at its end."""
        ...

    def abort(self, error: OpencodeError) -> None:
        """End it: a blocked call raises ``error`` at once, and so does every later one."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class Transport(Protocol):
    """Makes exchanges with one server."""

    @property
    def url(self) -> str:
        """The server's address, without a password."""
        ...

    def exchange(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str],
        body: object = None,
        kind: str = JSON,
    ) -> Exchange:
        """An exchange, not begun. ``kind`` is the media type that the answer must have."""
        ...


def answer(exchange: Exchange, where: str, timeout: float, scheduler: abc.SchedulerBase) -> bytes:
    """The whole answer, blocking.

    Args:
        exchange: Not begun yet; closed afterwards.
        where: What is asked, for the error's message.
        timeout: Seconds by the scheduler after which it is ended with ``TimedOut``.
        scheduler: The clock.

    Raises:
        OpencodeError: There is no answer, or none with status 200.
    """
    late = TimedOut(f"{where}: no answer within {timeout:g} s")
    timer = scheduler.schedule_relative(timeout, calling(lambda: exchange.abort(late)))
    chunks, size = list[bytes](), 0
    try:
        exchange.open()
        while chunk := exchange.read():
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_ANSWER:
                raise BadAnswer(f"{where}: more than {MAX_ANSWER} bytes")
    finally:
        timer.dispose()
        exchange.close()
    return b"".join(chunks)


class Http:
    """A server at ``base_url``. The password goes to that host and no other: redirects are errors."""

    def __init__(self, base_url: str, *, username: str = USERNAME, password: str | None = None) -> None:
        try:
            import httpx2
        except ImportError:
            raise MissingExtra(
                "talking to opencode needs httpx2: pip install 'sessionstreams[opencode]'"
            ) from None
        try:
            url = httpx2.URL(base_url)
        except httpx2.InvalidURL:
            url = None
        if url is None or url.scheme not in ("http", "https") or not url.host:
            shown = re.sub(r"[^/]*@", "…@", base_url)  # an address may have a password in it
            raise ValueError(f"base_url must be like http://127.0.0.1:4096, got {shown!r}") from None
        username, password = url.username or username, url.password or password
        self.url = str(url.copy_with(username=None, password=None)).rstrip("/")
        self.client = httpx2.Client(
            base_url=self.url,
            auth=httpx2.BasicAuth(username, password) if password else None,
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
            # A socket of its own per request: a kept one may be of a server that is gone.
            limits=httpx2.Limits(max_keepalive_connections=0),
            verify=url.scheme == "https",  # loading authorities takes longer than a request does
            follow_redirects=False,
            trust_env=False,  # a proxy of the environment would be told the password
        )

    def exchange(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str],
        body: object = None,
        kind: str = JSON,
    ) -> "HttpExchange":
        return HttpExchange(self, method, path, parameters, body, kind)


class HttpExchange:
    """See ``Exchange``."""

    def __init__(
        self,
        http: Http,
        method: str,
        path: str,
        parameters: Mapping[str, str],
        body: object,
        kind: str,
    ) -> None:
        self._http = http
        self._kind = kind
        self._where = f"{method} {http.url}{path}"
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._error: OpencodeError | None = None
        self._response: httpx2.Response | None = None
        self._chunks: Iterator[bytes] = iter(())
        self._request = http.client.build_request(
            method,
            path,
            params=parameters,
            content=None if body is None else msgspec.json.encode(body),
            headers={"Accept": kind} | ({} if body is None else {"Content-Type": "application/json"}),
            extensions={"trace": self._trace},
        )

    def open(self) -> None:
        import httpx2

        try:
            self._response = self._http.client.send(self._request, stream=True)
        except httpx2.HTTPError as error:
            raise self._failure(error) from None
        if self._error is not None:
            raise self._error
        self._check(self._response)
        self._chunks = self._response.iter_bytes()

    def read(self) -> bytes:
        import httpx2

        try:
            chunk = next(self._chunks, b"")
        except httpx2.HTTPError as error:
            raise self._failure(error) from None
        if not chunk and self._error is not None:
            raise self._error
        return chunk

    def abort(self, error: OpencodeError) -> None:
        with self._lock:
            self._error = self._error or error
            self._shut_down()

    def close(self) -> None:
        with self._lock:
            self._error = self._error or Unreachable(f"{self._where}: closed")
            self._socket = None
        if self._response is not None:
            with suppress(OSError):
                self._response.close()

    def _trace(self, name: str, info: Mapping[str, Any]) -> None:
        """Called by httpx2 as the request goes on; here it has its socket."""
        if name in SOCKET_IS_THERE:
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
                if self._error is not None:
                    self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # it was closed by the other side
                self._socket.shutdown(socket.SHUT_RDWR)

    def _failure(self, error: Exception) -> OpencodeError:
        return self._error or Unreachable(f"{self._where}: {str(error) or type(error).__name__}")

    def _check(self, response: "httpx2.Response") -> None:
        status, kind = response.status_code, response.headers.get("content-type", "")
        if status == 200 and kind.startswith(self._kind):
            return
        if status == 200:
            raise NotOpencode(f"{self._where} answers {kind or 'nothing'}, not {self._kind}")
        if 300 <= status < 400:
            target = response.headers.get("location", "nowhere")
            raise NotOpencode(f"{self._where} redirects to {target}, which is not followed")
        message = f"{self._where}: status {status}{self._complaint(response)}"
        if status in (401, 403):
            raise Unauthorized(f"{message}: a password is needed, or another one", status)
        if status == 404:
            raise NotFound(message, status)
        raise (Refused if status < 500 else ServerFailed)(message, status)

    def _complaint(self, response: "httpx2.Response") -> str:
        """What opencode says is wrong: ``{"name", "data": {"message"}}``."""
        import httpx2

        with suppress(httpx2.HTTPError, ValueError):
            start = next(response.iter_bytes(MAX_COMPLAINT), b"")
            answer = msgspec.json.decode(start, type=_Complaint)
            return f", {answer.data.message or answer.name}"
        return ""


class _ComplaintData(msgspec.Struct, frozen=True):
    message: str = ""


class _Complaint(msgspec.Struct):
    name: str = ""
    data: _ComplaintData = _ComplaintData()
