"""A recorded opencode server behind a real socket on loopback, under the test's hand."""

import base64
import json
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from recorded_server import RecordedServer

CUT = object()
END = object()


class Stream:
    """One open event stream."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[Any] = SimpleQueue()
        self.closed = threading.Event()


class LoopbackServer:
    """Serves a ``RecordedServer`` over HTTP.

    Attributes:
        url: Where it listens.
        password: Asked of every request when set.
        silent: While true, requests are accepted and never answered.
        streams: The open event streams.
        seen: Paths of all requests, in order.
        headers: The headers of the last request.
    """

    def __init__(self, server: RecordedServer, *, password: str = "", port: int = 0) -> None:
        self.server = server
        self.password = password
        self.silent = False
        self.streams: list[Stream] = []
        self.seen: list[str] = []
        self.headers: dict[str, str] = {}
        self.redirect = ""
        self._changed = threading.Condition()
        self._http = _Server(("127.0.0.1", port), _Handler)
        self._http.loopback = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def close(self) -> None:
        self.cut()
        self._http.shutdown()
        self._http.server_close()

    def happen(self, count: int = 1) -> None:
        """The recording's next payloads happen, and go to every open stream."""
        with self._changed:
            self.send(self.server.play(count))

    def send(self, payloads: Iterable[bytes]) -> None:
        data = b"".join(b"data: %s\n\n" % payload for payload in payloads)
        for stream in self.streams:
            stream.queue.put(data)

    def cut(self) -> None:
        """Reset every stream's connection."""
        self._end_streams(CUT)

    def end(self) -> None:
        """End every stream properly."""
        self._end_streams(END)

    def wait_for_streams(self, count: int = 1, timeout: float = 10) -> None:
        """Wait until so many event streams are open."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.streams) == count, timeout):
                raise TimeoutError(f"{len(self.streams)} streams are open, not {count}")

    @contextmanager
    def stream(self) -> Iterator[Stream]:
        with self._changed:
            stream = Stream()
            stream.queue.put(b"data: %s\n\n" % self.server.greeting())
            self.streams.append(stream)
            self._changed.notify_all()
        try:
            yield stream
        finally:
            stream.closed.set()
            with self._changed:
                if stream in self.streams:
                    self.streams.remove(stream)
                self._changed.notify_all()

    def answer(
        self, method: str, path: str, parameters: dict[str, str], body: Any
    ) -> tuple[int, str, bytes]:
        with self._changed:
            return self.server.answer(method, path, parameters, body)

    def _end_streams(self, how: object) -> None:
        with self._changed:
            streams, self.streams = self.streams, []
        for stream in streams:
            stream.queue.put(how)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    loopback: LoopbackServer

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def _serve(self, method: str) -> None:
        loopback, url = self.server.loopback, urlsplit(self.path)
        loopback.seen.append(url.path)
        loopback.headers = dict(self.headers.items())
        self.close_connection = True
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if loopback.silent:
            self.rfile.read(1)  # until the client gives up
        elif loopback.redirect:
            self._send(302, "text/plain", b"", {"Location": loopback.redirect})
        elif not self._is_allowed(loopback.password):
            self._send(401, "application/json", b'{"name":"UnauthorizedError","data":{}}')
        elif url.path in ("/global/event", "/event"):
            self._stream(loopback)
        else:
            body = json.loads(content) if content else None
            self._send(*loopback.answer(method, url.path, dict(parse_qsl(url.query)), body))

    def _is_allowed(self, password: str) -> bool:
        expected = base64.b64encode(b"opencode:" + password.encode()).decode()
        return not password or self.headers.get("Authorization") == f"Basic {expected}"

    def _send(self, status: int, kind: str, content: bytes, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            **(more or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, loopback: LoopbackServer) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with loopback.stream() as stream, suppress(OSError):
            while (data := stream.queue.get()) not in (CUT, END):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()
            if data is END:
                self.wfile.write(b"0\r\n\r\n")
            else:
                self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *arguments: object) -> None:
        """Not on standard error."""
