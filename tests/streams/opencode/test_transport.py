"""HTTP over a real socket on loopback."""

import sys
import threading
from typing import Any

import pytest
from loopback_server import LoopbackServer

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
from streams.opencode.transport import Http, HttpExchange, answer
from streams.schedulers import Replay, daemon

EVENT_STREAM = "text/event-stream"


def ask(loopback: LoopbackServer, path: str = "/path", **parameters: Any) -> bytes:
    http = Http(loopback.url, **parameters)
    return answer(http.exchange("GET", path, {}), path, 10.0, daemon())


def test_an_answer(loopback: LoopbackServer) -> None:
    """The content of a 200 with the expected media type; no timer is left (X11)."""
    pending = daemon().pending
    assert ask(loopback) == b'{"directory":"/home/dev/project"}'
    assert daemon().pending == pending


def test_a_question_with_a_body(loopback: LoopbackServer) -> None:
    """Parameters and JSON reach the server."""
    http = Http(loopback.url)
    exchange = http.exchange("POST", "/sync/history", {"directory": "/a b"}, {"ses_1": 3})
    assert answer(exchange, "log", 10.0, daemon()) == b"[]"
    assert loopback.server.bodies["POST /sync/history"] == {"ses_1": 3}


@pytest.mark.parametrize(
    ("answered",                                                         "error",      "said"),
    [
        ((400, "application/json", b'{"name":"BadRequest","data":{"message":"no"}}'), Refused, "status 400, no"),
        ((404, "application/json", b'{"name":"NotFoundError","data":{}}'), NotFound,    "status 404, NotFoundError"),
        ((403, "text/plain", b"go away"),                                Unauthorized, "status 403"),
        ((500, "application/json", b"{broken"),                          ServerFailed, "status 500"),
        ((503, "text/html", b"<html>"),                                  ServerFailed, "status 503"),
        ((200, "text/html; charset=utf-8", b"<!doctype html>"),          NotOpencode,  "answers text/html"),
        ((301, "text/html", b""),                                        NotOpencode,  "redirects"),
    ],
)  # fmt: skip
def test_what_is_wrong_has_a_type(
    loopback: LoopbackServer, answered: Any, error: type[OpencodeError], said: str
) -> None:
    """4xx, 5xx, a page and a redirect are told apart, each in one line that names the route."""
    loopback.server.overrides["GET /path"] = lambda: answered
    with pytest.raises(error) as raised:
        ask(loopback)
    assert said in str(raised.value)
    assert f"{loopback.url}/path" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert getattr(raised.value, "status", answered[0]) == answered[0]


def test_nobody_listens() -> None:
    """A refused connection is Unreachable."""
    http = Http("http://127.0.0.1:1")
    with pytest.raises(Unreachable, match="refused"):
        answer(http.exchange("GET", "/path", {}), "path", 10.0, daemon())


def test_a_password_is_sent_to_its_host_alone(loopback: LoopbackServer) -> None:
    """Basic authentication; in the address as well; a redirect is not followed with it."""
    loopback.password = "secret"
    assert ask(loopback, password="secret")
    with pytest.raises(Unauthorized, match="a password is needed"):
        ask(loopback)
    with pytest.raises(Unauthorized):
        ask(loopback, password="wrong")
    http = Http(loopback.url.replace("//", "//opencode:secret@"))
    assert answer(http.exchange("GET", "/path", {}), "path", 10.0, daemon())
    assert "secret" not in http.url
    loopback.redirect = "http://elsewhere.example/"
    requests = len(loopback.seen)
    with pytest.raises(NotOpencode, match=r"elsewhere\.example"):
        ask(loopback, password="secret")
    assert len(loopback.seen) == requests + 1


def test_a_proxy_of_the_environment_is_not_asked(
    loopback: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would be told the password: the server is spoken to directly."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert ask(loopback)


def test_patience_ends_by_the_scheduler(loopback: LoopbackServer) -> None:
    """The startup trap: a request that is never answered ends when the scheduler says so, virtual or not."""
    loopback.silent = True
    clock = Replay()
    failed: list[OpencodeError] = []

    def asking() -> None:
        try:
            answer(Http(loopback.url).exchange("GET", "/path", {}), "path", 5.0, clock)
        except OpencodeError as error:
            failed.append(error)

    thread = threading.Thread(target=asking, daemon=True)
    thread.start()
    while clock.pending == 0:
        thread.join(0.01)
    clock.advance_to(5.0)
    thread.join(10)
    (error,) = failed
    assert isinstance(error, TimedOut)
    assert str(error) == "path: no answer within 5 s"


def test_a_blocked_read_ends_at_once(loopback: LoopbackServer) -> None:
    """S2: ending an exchange from another thread wakes the one that reads, and it stays ended."""
    exchange = Http(loopback.url).exchange("GET", "/global/event", {}, None, EVENT_STREAM)
    exchange.open()
    assert b"server.connected" in exchange.read()
    failed: list[OpencodeError] = []

    def read() -> None:
        try:
            exchange.read()
        except OpencodeError as error:
            failed.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    mine = TimedOut("mine")
    exchange.abort(mine)
    thread.join(10)
    assert failed == [mine]
    with pytest.raises(TimedOut):
        exchange.read()
    exchange.close()


def test_ended_before_it_began(loopback: LoopbackServer) -> None:
    """An exchange that was ended is never answered."""
    exchange: HttpExchange = Http(loopback.url).exchange("GET", "/path", {})
    exchange.abort(Unreachable("mine"))
    with pytest.raises(Unreachable, match="mine"):
        exchange.open()


def test_the_two_ends_of_a_stream(loopback: LoopbackServer) -> None:
    """A proper end gives no bytes; a cut one is Unreachable."""
    for end, expected in ((loopback.end, None), (loopback.cut, Unreachable)):
        exchange = Http(loopback.url).exchange("GET", "/global/event", {}, None, EVENT_STREAM)
        exchange.open()
        exchange.read()
        loopback.wait_for_streams(1)
        end()
        if expected is None:
            assert exchange.read() == b""
        else:
            with pytest.raises(expected):
                exchange.read()
        exchange.close()


def test_an_endless_answer_is_refused(loopback: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """R1: an answer is bounded."""
    monkeypatch.setattr("streams.opencode.transport.MAX_ANSWER", 1_000)
    loopback.server.overrides["GET /path"] = lambda: (200, "application/json", b"x" * 5_000)
    with pytest.raises(BadAnswer, match="more than 1000 bytes"):
        ask(loopback)


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:4096", "ftp://host", "http://", "localhost", "http://host:x", "http://host:99999"],
)
def test_an_address_is_checked(url: str) -> None:
    """A bad address is a ValueError at once, which names it."""
    with pytest.raises(ValueError, match="base_url must be like http://"):
        Http(url)


def test_a_bad_address_does_not_tell_the_password() -> None:
    """What is wrong with an address is said without the password in it."""
    with pytest.raises(ValueError, match="got 'ftp://…@host'") as raised:
        Http("ftp://me:secret@host")
    assert "secret" not in str(raised.value)


def test_without_httpx2(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is missing: one line says what to install."""
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sessionstreams\[opencode\]'") as raised:
        Http("http://127.0.0.1:4096")
    assert isinstance(raised.value, ImportError)
