"""A real opencode server with a scripted model, and what is derived from its events.

The binary comes from npm, once, into ``.cache/``. Where npm cannot be reached these tests are skipped,
with the reason; with ``CI=true`` they fail instead.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fold import Fold
from opencode_server import NotInstalled, OpencodeServer, install
from scripted_model import ScriptedModel

import streams
from streams import events as ev
from streams.opencode import LiveEvents


@pytest.fixture(scope="session")
def binary() -> Path:
    try:
        return install()
    except NotInstalled as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"opencode is needed here: {error}")
        pytest.skip(str(error))


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    model = ScriptedModel()
    yield model
    model.close()


@pytest.fixture
def serve(binary: Path, tmp_path: Path, model: ScriptedModel) -> Iterator[Callable[..., OpencodeServer]]:
    """Starts servers, each in a home of its own: ``serve(config={…}, password="…")``."""
    servers: list[OpencodeServer] = []

    def start(**arguments: Any) -> OpencodeServer:
        server = OpencodeServer(tmp_path / f"server{len(servers)}", model.url, **arguments)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def opencode(serve: Callable[..., OpencodeServer]) -> OpencodeServer:
    """One server with the usual configuration."""
    return serve()


class Driver:
    """Does to a server what a user does, follows its events, and compares them with what it answers."""

    def __init__(self, server: OpencodeServer) -> None:
        self.server = server
        auth = ("opencode", server.password) if server.password else None
        self.http = httpx2.Client(base_url=server.url, timeout=60, auth=auth)
        self.events: LiveEvents = streams.opencode.connect(server.url, password=server.password or None)
        self.fold = Fold()
        self.events.subscribe(self.fold.take)
        self.fold.wait_for(lambda fold: fold.count(ev.StreamConnected))

    def close(self) -> None:
        self.events.close()
        self.http.close()

    def call(self, method: str, path: str, body: object = None) -> Any:
        response = self.http.request(method, path, json=body)
        response.raise_for_status()
        return response.json() if response.content else None

    def new_session(self) -> str:
        return self.call("POST", "/session", {})["id"]

    def prompt(
        self, session_id: str, text: str, *, provider: str = "acme", name: str = "kestrel-large"
    ) -> None:
        """Send a prompt; its turn goes on by itself."""
        model = {"providerID": provider, "modelID": name}
        body = {"model": model, "parts": [{"type": "text", "text": text}]}
        self.fold.statuses.pop(session_id, None)
        self.call("POST", f"/session/{session_id}/prompt_async", body)

    def turn(self, session_id: str, text: str, **model: str) -> None:
        """Send a prompt, and wait for the end of its turn."""
        self.prompt(session_id, text, **model)
        self.fold.wait_for_idle(session_id)

    def fresh(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """What the server answers now: sessions, messages, statuses."""
        sessions = {info["id"]: info for info in self.call("GET", "/session?limit=1000")}
        messages = {each: self.call("GET", f"/session/{each}/message") for each in sessions}
        return sessions, messages, self.call("GET", "/session/status")

    def assert_equal_to_fresh(self, timeout: float = 30) -> None:
        """What was folded from events equals a fresh fetch, as soon as the last of them has come."""
        until = time.monotonic() + timeout
        while True:
            sessions, messages, statuses = self.fresh()
            folded = {each: self.fold.history(each) for each in sessions}
            busy = {each for each, status in self.fold.statuses.items() if status != "idle"}
            equal = self.fold.sessions == sessions and folded == messages and busy == set(statuses)
            if equal or time.monotonic() > until:
                break
            time.sleep(0.2)
        assert self.fold.sessions == sessions
        assert folded == messages
        assert busy == set(statuses)


@pytest.fixture
def drive(opencode: OpencodeServer) -> Iterator[Driver]:
    driver = Driver(opencode)
    yield driver
    driver.close()


@pytest.fixture
def driver_of() -> Iterator[Callable[[OpencodeServer], Driver]]:
    """A driver for a server of your own."""
    drivers: list[Driver] = []

    def make(server: OpencodeServer) -> Driver:
        drivers.append(Driver(server))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.close()


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], None]:
    """Wait until something is so, whoever makes it so."""

    def wait(found: Callable[[], Any], timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while not found():
            if time.monotonic() > deadline:
                raise TimeoutError("it did not happen")
            time.sleep(0.05)

    return wait
