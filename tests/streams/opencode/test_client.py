"""What can be asked of a server, over a real socket on loopback; timeouts in virtual time."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from loopback_server import LoopbackServer
from reactivex import Observable
from recorded_server import RecordedServer

from streams import ContextLimits
from streams import events as ev
from streams.opencode import (
    BadAnswer,
    Client,
    NotFound,
    NotOpencode,
    OpencodeError,
    Refused,
    ServerFailed,
    TimedOut,
    Unauthorized,
    Unreachable,
)
from streams.schedulers import Replay

SESSION = "ses_1"


class Asked:
    """A subscription to one answer, that a test can wait for."""

    def __init__(self, answer: Observable[Any]) -> None:
        self.values: list[Any] = []
        self.errors: list[Exception] = []
        self.completed = 0
        self._done = threading.Event()
        self.following = answer.subscribe(self.values.append, self._fail, self._complete)

    def _fail(self, error: Exception) -> None:
        self.errors.append(error)
        self._done.set()

    def _complete(self) -> None:
        self.completed += 1
        self._done.set()

    def wait(self) -> "Asked":
        assert self._done.wait(20)
        return self


def wait_until(found: Callable[[], bool]) -> None:
    """For what another thread does to a virtual clock."""
    waiting = threading.Event()
    for _ in range(2_000):
        if found():
            return
        waiting.wait(0.01)
    raise TimeoutError


@pytest.fixture
def played(loopback: LoopbackServer) -> LoopbackServer:
    """All of the recording has happened."""
    loopback.server.play(10_000)
    return loopback


@pytest.fixture
def client(played: LoopbackServer) -> Client:
    return Client(played.url)


@pytest.fixture
def silent(played: LoopbackServer) -> Iterator[LoopbackServer]:
    """Accepts every request, and answers when the test says so."""
    released = threading.Event()
    answer = played.server.answer

    def held(*arguments: Any) -> Any:
        released.wait(30)
        return answer(*arguments)

    played.answer = held  # type: ignore[method-assign]
    played.release = released.set  # type: ignore[attr-defined]
    yield played
    released.set()


def answering(loopback: LoopbackServer, route: str, answered: object) -> None:
    loopback.server.overrides[route] = lambda: (200, "application/json", json.dumps(answered).encode())


def test_one_answer(played: LoopbackServer, client: Client) -> None:
    """Each subscription is one request with one answer; nothing is asked before."""
    answer = client.status()
    assert played.seen == []
    played.server.statuses[SESSION] = {
        "type": "retry",
        "attempt": 2,
        "message": "slow down",
        "next": 5000,
    }
    played.server.sessions[SESSION] = {"id": SESSION, "directory": played.server.directory}
    for count in (1, 2):
        asked = Asked(answer).wait()
        (statuses,) = asked.values
        assert (statuses[SESSION].status, statuses[SESSION].attempt, statuses[SESSION].next) == (
            "retry",
            2,
            5.0,
        )
        assert (asked.errors, asked.completed) == ([], 1)
        assert played.seen == ["/session/status"] * count


def test_messages(played: LoopbackServer, client: Client) -> None:
    """A session's history comes as one value, read."""
    (session_id,) = played.server.sessions
    (history,) = Asked(client.messages(session_id)).wait().values
    assert (history.session_id, history.asked <= history.at) == (session_id, True)
    messages = history.events
    told = played.server.messages[session_id]
    assert [each.message_id for each in messages if isinstance(each, ev.MessageUpdated)] == sorted(told)
    parts = [each for each in messages if isinstance(each, ev.PartUpdated)]
    assert len(parts) == sum(len(message["parts"]) for message in told.values())
    assert all(each.session_id == session_id for each in messages)


def test_todos(played: LoopbackServer, client: Client) -> None:
    """A session's list; no list is an empty one."""
    assert Asked(client.todos(SESSION)).wait().values == [()]
    played.server.todos[SESSION] = [{"content": "x", "status": "pending", "priority": "high"}]
    assert Asked(client.todos(SESSION)).wait().values == [(ev.Todo("x", "pending", "high"),)]


def test_providers(played: LoopbackServer, client: Client) -> None:
    """The models' limits, which go behind yours."""
    models = {"kestrel": {"limit": {"context": 32_000, "output": 4_000}}}
    answering(
        played, "GET /config/providers", {"providers": [{"id": "acme", "models": models}], "default": {}}
    )
    (found,) = Asked(client.providers()).wait().values
    assert found.find("acme", "kestrel") == 32_000
    assert ContextLimits({"acme/kestrel": 10_000}, found.find).find("acme", "kestrel") == 10_000


def test_summarize_and_abort(played: LoopbackServer, client: Client) -> None:
    """What is told goes as the server's interface has it."""
    answering(played, "POST /session/{id}/summarize", True)
    answering(played, "POST /session/{id}/abort", True)
    assert Asked(client.summarize(SESSION, "acme", "kestrel", auto=True)).wait().values == [True]
    body = {"providerID": "acme", "modelID": "kestrel", "auto": True}
    assert played.server.bodies["POST /session/{id}/summarize"] == body
    assert Asked(client.abort(SESSION)).wait().values == [True]
    assert played.seen == [f"/session/{SESSION}/summarize", f"/session/{SESSION}/abort"]


def test_of_one_directory(played: LoopbackServer) -> None:
    """The directory goes with every request."""
    seen: list[dict[str, str]] = []
    answer = played.answer

    def noting(method: str, path: str, parameters: dict[str, str], body: Any) -> Any:
        seen.append(parameters)
        return answer(method, path, parameters, body)

    played.answer = noting  # type: ignore[method-assign]
    Asked(Client(played.url, directory="/a b").status()).wait()
    assert seen == [{"directory": "/a b"}]


@pytest.mark.parametrize(
    ("answered",                                                        "error"),
    [
        ((400, "application/json", b'{"data":{"message":"bad"}}'),      Refused),
        ((401, "application/json", b""),                                Unauthorized),
        ((404, "application/json", b'{"data":{"message":"no such"}}'),  NotFound),
        ((500, "application/json", b""),                                ServerFailed),
        ((200, "text/html", b"<html>"),                                 NotOpencode),
        ((200, "application/json", b"{broken"),                         BadAnswer),
        ((200, "application/json", b"[1, 2]"),                          BadAnswer),
    ],
)  # fmt: skip
def test_what_goes_wrong_has_a_type(
    played: LoopbackServer, client: Client, answered: Any, error: type[OpencodeError]
) -> None:
    """Refusals, failures, pages and unreadable answers are told apart."""
    played.server.overrides["GET /session/status"] = lambda: answered
    asked = Asked(client.status()).wait()
    assert type(asked.errors[0]) is error
    assert (asked.values, asked.completed) == ([], 0)
    assert "/session/status" in str(asked.errors[0])


def test_a_server_that_is_gone() -> None:
    """Nobody listens there."""
    assert isinstance(Asked(Client("http://127.0.0.1:1").status()).wait().errors[0], Unreachable)


def test_a_timeout_is_of_the_scheduler(silent: Any) -> None:
    """T10, X11: an answer that does not come ends with TimedOut after 5 s of the scheduler's; no timer is left."""
    clock = Replay()
    asked = Asked(Client(silent.url, scheduler=clock).status())
    wait_until(lambda: clock.pending == 1)
    clock.advance_to(4.9)
    assert asked.errors == []
    clock.advance_to(5.0)
    (error,) = asked.wait().errors
    assert isinstance(error, TimedOut)
    assert isinstance(error, TimeoutError)  # C3: to compact() it is no failure
    assert "no answer within 5 s" in str(error)
    assert clock.pending == 0


def test_giving_up(silent: Any) -> None:
    """X11: disposing ends the request at once: no value, no error, no timer, no thread."""
    clock = Replay()
    asked = Asked(Client(silent.url, scheduler=clock).status())
    wait_until(lambda: clock.pending == 1)
    asked.following.dispose()
    wait_until(lambda: clock.pending == 0)
    silent.release()
    wait_until(lambda: not any(each.name == "sessionstreams request" for each in threading.enumerate()))
    assert (asked.values, asked.errors, asked.completed) == ([], [], 0)


def test_a_subscriber_that_raises(played: LoopbackServer, capsys: Any) -> None:
    """S12: it harms neither other requests nor the process."""
    client = Client(played.url)
    (session_id,) = played.server.sessions

    def fail(value: Any) -> None:
        raise RuntimeError("mine")

    client.messages(session_id).subscribe(fail)
    assert len(Asked(client.messages(session_id)).wait().values) == 1
    client.status().subscribe(fail)
    assert len(Asked(client.status()).wait().values) == 1


@pytest.mark.parametrize(
    ("call",                                             "said"),
    [
        (lambda each: each.status(timeout=0),            "timeout must be seconds above 0"),
        (lambda each: each.abort("s", timeout=-1),       "timeout must be seconds above 0"),
        (lambda each: each.messages("s", timeout=0.0),   "timeout must be seconds above 0"),
        (lambda each: each.todos("s", timeout=float("nan")), "timeout must be seconds above 0"),
    ],
)  # fmt: skip
def test_arguments_are_checked(call: Callable[[Client], object], said: str) -> None:
    """A bad argument is a ValueError at the call."""
    with pytest.raises(ValueError, match=said):
        call(Client("http://127.0.0.1:1"))


def test_the_loopback_answers_as_the_recording(recording_of: Any) -> None:
    """The server that these tests ask is right: it ends where the real one did."""
    recorded = recording_of("tools.global")
    server = RecordedServer(event.raw for event in recorded.events())
    server.play(10_000)
    truth = recorded.truth
    for session_id, messages in truth["messages"].items():
        status, _, content = server.answer("GET", f"/session/{session_id}/message", {}, None)
        assert status == 200
        assert json.loads(content) == messages
