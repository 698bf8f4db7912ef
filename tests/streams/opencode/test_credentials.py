"""A password goes to its server and to nobody else, and is nowhere to be read."""

import base64
import logging
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger
from loopback_server import LoopbackServer
from recorded_server import RecordedServer

import streams
from streams.opencode import Client, NotOpencode, Unauthorized
from streams.opencode.transport import Http, answer
from streams.schedulers import daemon

PASSWORD = "correct-horse-battery"
SECRETS = (PASSWORD, base64.b64encode(f"opencode:{PASSWORD}".encode()).decode())


@pytest.fixture
def servers(recording_of: Any) -> Iterator[tuple[LoopbackServer, LoopbackServer]]:
    """The one that the password is for, and another one beside it."""
    payloads = [event.raw for event in recording_of("basic.global").events()]
    both = LoopbackServer(RecordedServer(payloads)), LoopbackServer(RecordedServer(payloads))
    both[0].password = PASSWORD
    yield both
    for each in both:
        each.close()


@pytest.fixture
def everything_logged() -> Iterator[list[str]]:
    """All that is logged meanwhile, by us with the values of variables, and by HTTP down to its details."""
    lines: list[str] = []
    sink = logger.add(lines.append, level="TRACE", backtrace=True, diagnose=True)
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(f"{record.getMessage()} {record.args!r}")  # type: ignore[method-assign]
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(handler)
    root.setLevel(level)
    logger.remove(sink)


def ask(server: LoopbackServer, path: str = "/path", password: str | None = PASSWORD) -> bytes:
    http = Http(server.url, password=password)
    return answer(http.exchange("GET", path, {}), path, 10.0, daemon())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_redirect_is_followed(servers: Any, host: str) -> None:
    """Neither to another port nor to another host: nobody else is asked anything, with a password or not."""
    server, other = servers
    server.redirect = other.url.replace("127.0.0.1", host) + "/path"
    with pytest.raises(NotOpencode, match="which is not followed"):
        ask(server)
    failed: list[Exception] = []
    client = Client(server.url, password=PASSWORD)
    for asked in (client.status(), client.abort("s")):
        _wait(asked, failed)
    events = streams.opencode.connect(server.url, password=PASSWORD)
    _wait(events, failed)
    events.close()
    assert [type(error) for error in failed] == [NotOpencode] * 3
    assert other.seen == []


def test_no_other_password_is_sent(servers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a password none is sent, whatever the environment has for that host; a proxy is not told."""
    server, other = servers
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login opencode password {PASSWORD}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, other.url)
    with pytest.raises(Unauthorized):
        ask(server, password=None)
    assert "Authorization" not in server.headers
    assert ask(server)
    assert server.headers["Authorization"] == f"Basic {SECRETS[1]}"
    assert other.seen == []


def test_the_password_is_nowhere_to_be_read(
    servers: Any, everything_logged: list[str], collected: Any
) -> None:
    """Not in a log with all details, not in an error, its traceback or its notes, not in any repr."""
    server, _ = servers
    http = Http(server.url.replace("//", f"//opencode:{PASSWORD}@"))
    client = Client(server.url, password=PASSWORD)
    events = streams.opencode.connect(server.url, password=PASSWORD)
    shown: list[object] = [
        http,
        http.url,
        http.client,
        client,
        vars(client),
        events,
        vars(events),
        vars(http),
    ]
    states, failed = collected(), list[Exception]()
    events.state.subscribe(states.add)
    kept = events.subscribe(lambda event: _raise())
    server.wait_for_streams(1)
    server.happen(20)
    server.cut()
    states.wait_for(lambda each: each[-1].status == "reconnecting")
    exchange = http.exchange("GET", "/path", {})
    exchange.open()
    shown += [exchange, vars(exchange), exchange._request.headers, states]
    exchange.close()
    kept.dispose()
    events.close()
    server.server.overrides["GET /session/status"] = lambda: (500, "application/json", b"{broken")
    _wait(client.status(), failed)
    _wait(Client(server.url, password=f"{PASSWORD}x").status(), failed)
    _wait(Client(server.url.replace("//", f"//opencode:{PASSWORD}y@")).todos("s"), failed)
    _wait(Client("http://127.0.0.1:1", password=PASSWORD).status(), failed)
    for error in failed:
        logger.opt(exception=error).error("{}", error)
    for address in (
        f"ftp://opencode:{PASSWORD}@host",
        f"http://opencode:{PASSWORD}@",
        f"http://a:{PASSWORD}@h:x",
    ):
        with pytest.raises(ValueError, match="base_url must be like") as raised:
            Http(address)
        failed.append(raised.value)
    for error in failed:
        shown += [error, str(error), vars(error), *traceback.format_exception(error)]

    assert len(failed) == 7
    assert len(everything_logged) > 10
    text = "\n".join([*map(repr, shown), *map(str, everything_logged)])
    assert [secret for secret in SECRETS if secret in text] == []


def _raise() -> None:
    raise LookupError("a subscriber")


def _wait(asked: Any, failed: list[Exception]) -> None:
    """Until it has failed."""
    done = threading.Event()

    def fail(error: Exception) -> None:
        failed.append(error)
        done.set()

    asked.subscribe(lambda value: None, fail, done.set)
    assert done.wait(20)
