"""The command on a running server: a recorded one, behind a socket on loopback."""

import json
import os
import pty
import signal
import socket
import subprocess
import termios
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loopback_server import LoopbackServer
from recorded_server import RecordedServer

from streams import commands, recordings, transcripts
from streams.opencode import Client, connect
from streams.watch.connection import Connection
from streams.watch.derivations import Derived
from streams.watch.live import Live
from streams.watch.watching import Watching

JSON = "application/json"
SECONDS = 30
ALL = 1_000_000

Start = Callable[..., "subprocess.Popen[bytes]"]


def providers(tokens: int) -> Callable[[], tuple[int, str, bytes]]:
    """An answer to ``GET /config/providers``."""
    models = {
        name: {"limit": {"context": tokens, "output": 4_000}} for name in ("kestrel", "kestrel-large")
    }
    told = {"providers": [{"id": "acme", "models": models}], "default": {}}
    return lambda: (200, JSON, json.dumps(told).encode())


@pytest.fixture
def server(loopback: LoopbackServer) -> LoopbackServer:
    loopback.server.overrides["GET /config/providers"] = providers(16_000)
    loopback.server.overrides["POST /session/{id}/summarize"] = lambda: (200, JSON, b"true")
    return loopback


class Reading:
    """The lines of a process, as they come."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []

    def until(self, found: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Read on to the first line that is meant."""
        while line := self.process.stdout.readline():
            self.lines.append(json.loads(line))
            if found(self.lines[-1]):
                return self.lines[-1]
        raise AssertionError(f"it ended before that: {self.lines[-5:]} {self.process.stderr.read()}")

    def until_operator(self, name: str, **values: Any) -> dict[str, Any]:
        return self.until(
            lambda line: (
                line["operator"] == name
                and all(line["value"][key] == value for key, value in values.items())
            )
        )["value"]

    def end(self, with_signal: signal.Signals = signal.SIGINT) -> tuple[int, bytes]:
        """End it; the rest of the lines is read, and what it said on standard error returned."""
        self.process.send_signal(with_signal)
        out, err = self.process.communicate(timeout=SECONDS)
        self.lines += [json.loads(line) for line in out.splitlines()]
        return self.process.returncode, err

    def of(self, operator: str) -> list[dict[str, Any]]:
        return [line["value"] for line in self.lines if line["operator"] == operator]


@pytest.fixture
def watch(start: Start) -> Callable[..., Reading]:
    """``sessionstreams watch … --json``, as a process."""
    return lambda *arguments, **options: Reading(start("watch", *arguments, "--json", **options))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- watch ----------------------------------------------------------------------------------------


def test_a_server_is_watched_until_ctrl_c(server: LoopbackServer, watch: Callable[..., Reading]) -> None:
    """Values as they come, limits from the server, a summary at the end; no history is fetched."""
    reading = watch(server.url)
    reading.until_operator("connection", status="connected")
    server.wait_for_streams()
    server.happen(ALL)
    usage = reading.until_operator("context_usage", tokens=14_910, limit=16_000)
    assert usage["ratio"] == 14_910 / 16_000
    status, err = reading.end()
    assert (status, err) == (0, b"")
    assert [line["status"] for line in reading.of("connection")] == ["connecting", "connected"]
    (summary,) = reading.of("summary")
    assert summary["outcome"] == "interrupted"
    assert summary["limits_unknown"] == []
    assert not any(path.endswith("/message") for path in server.seen)
    assert server.server.asked["GET /config/providers"] == 1


def test_a_lost_connection_is_told(server: LoopbackServer, watch: Callable[..., Reading]) -> None:
    """S1: reconnecting, and then how many gaps there were and how much of them came after all."""
    reading = watch(server.url)
    reading.until_operator("connection", status="connected")
    server.wait_for_streams()
    server.happen(150)
    reading.until_operator("context_usage")
    server.cut()
    server.happen(ALL)
    lost = reading.until_operator("connection", status="reconnecting")
    assert lost["error"].startswith(f"GET {server.url}/global/event: ")
    resumed = reading.until_operator("connection", status="connected", gaps=1)
    assert (resumed["resumed"] > 10, resumed["lost"], resumed["dropped"]) == (True, 0, 0)
    reading.until_operator("context_usage", tokens=14_910)
    status, err = reading.end()
    assert (status, err.count(b"\n")) == (0, 1)
    assert err.startswith(b"sessionstreams: lost the connection: ")
    assert reading.of("summary")[0]["connection"] == resumed


def test_sessions_are_compacted_on_request(server: LoopbackServer, watch: Callable[..., Reading]) -> None:
    """``--compact``: one summarize, by the model of the last answer, and its outcome with the tokens."""
    reading = watch(server.url, "--compact", "--limit", "acme/kestrel-large=14000")
    reading.until_operator("connection", status="connected")
    server.wait_for_streams()
    server.happen(ALL)
    outcome = reading.until_operator("compact")
    assert (outcome["state"], outcome["after"]) == ("succeeded", None)
    assert outcome["before"] >= outcome["trigger"]["tokens"] >= 0.78 * 14_000
    reading.end()
    assert server.server.asked["POST /session/{id}/summarize"] == 1
    body = server.server.bodies["POST /session/{id}/summarize"]
    assert (body["providerID"], body["modelID"]) == ("acme", "kestrel-large")
    assert body["auto"] is True  # it is at work: without that its turn would end there
    assert not any(path.endswith("/message") for path in server.seen)


def test_without_leave_nothing_is_done(server: LoopbackServer, watch: Callable[..., Reading]) -> None:
    """C14: what would be done is shown, and the server is not told."""
    reading = watch(server.url, "--limit", "acme/kestrel-large=14000")
    reading.until_operator("connection", status="connected")
    server.wait_for_streams()
    server.happen(ALL)
    assert reading.until_operator("compact")["state"] == "dry_run"
    reading.end()
    assert server.server.asked["POST /session/{id}/summarize"] == 0


def test_limits_that_never_come_hold_nothing_up(
    server: LoopbackServer, watch: Callable[..., Reading]
) -> None:
    """Events come first: a server that is slow to tell its limits is measured when it has told them."""
    asked, told = threading.Event(), threading.Event()

    def late() -> tuple[int, str, bytes]:
        asked.set()
        told.wait(SECONDS)
        return providers(16_000)()

    server.server.overrides["GET /config/providers"] = late
    reading = watch(server.url)
    reading.until_operator("connection", status="connected")
    assert asked.wait(SECONDS)
    server.send(server.server.play(ALL))
    reading.until_operator("context_usage", tokens=14_910, limit=None)
    told.set()
    reading.until_operator("context_usage", tokens=14_910, limit=16_000)
    reading.end()


def test_limits_that_cannot_be_had(server: LoopbackServer, watch: Callable[..., Reading]) -> None:
    """A fault says so, once, and what is given with ``--limit`` counts."""
    server.server.overrides["GET /config/providers"] = lambda: (500, JSON, b"{}")
    reading = watch(server.url, "--limit", "acme/kestrel-large=20000")
    reading.until_operator("connection", status="connected")
    server.wait_for_streams()
    server.happen(ALL)
    reading.until_operator("context_usage", tokens=14_910, limit=20_000)
    if not reading.of("fault"):
        reading.until_operator("fault")
    reading.end()
    (fault,) = reading.of("fault")
    assert fault["where"] == "limits"
    assert "status 500" in fault["error"]


class Stuck:
    """An output whose first value is not taken until it is released."""

    frame_every: float | None = None

    def __init__(self) -> None:
        self.released = threading.Event()
        self.values: list[Any] = []

    def value(self, derived: Derived) -> None:
        if derived.operator != "connection":
            self.released.wait(SECONDS)
        self.values.append(derived.value)

    def fault(self, fault: Any) -> None:
        self.values.append(fault)

    def frame(self, board: Any, now: float) -> None:
        """It has none."""

    def begin(self, watched: Any) -> None:
        """Nothing to begin."""

    def close(self) -> None:
        """Nothing to give back."""

    def end(self, board: Any, summary: Any) -> None:
        self.values.append(summary)


def test_an_output_that_is_stuck_holds_nothing_up(server: LoopbackServer, collected: Any) -> None:
    """S8: the server is read on, deltas are dropped and that is told; the last measurement comes."""
    live = Live(connect(server.url), Client(server.url), {"acme/kestrel-large": 16_000})
    states, output = collected(), Stuck()
    live.server.state.subscribe(states.add)
    table = live.derivations(0.78, compact=False)
    watching = Watching(live.events, live.server.clock, table, output, live=live)
    thread = threading.Thread(target=watching.run, daemon=True)
    thread.start()
    server.wait_for_streams()
    server.happen(150)
    (session_id,) = server.server.sessions
    for start in range(0, 14_000, 1_000):
        server.send(delta(session_id, number) for number in range(start, start + 1_000))
    server.happen(ALL)
    done = threading.Event()

    def beat() -> None:  # the counts are told while anything comes
        while not done.wait(0.05):
            server.send([b'{"payload":{"type":"server.heartbeat","properties":{}}}'])

    threading.Thread(target=beat, daemon=True).start()
    read = states.wait_for(lambda each: each[-1].counts.events_seen > 14_000 and each[-1])
    assert read.counts.dropped > 0
    output.released.set()
    wait_until(lambda: any(getattr(value, "tokens", 0) == 14_910 for value in output.values))
    live.server.close()
    thread.join(SECONDS)
    done.set()
    told = [value for value in output.values if isinstance(value, Connection)]
    assert told[-1].dropped > 0
    assert output.values[-1].connection.dropped >= told[-1].dropped


def delta(session_id: str, number: int) -> bytes:
    """A delta of a part of its own: none can be joined with another."""
    properties = {"sessionID": session_id, "messageID": "msg_z", "partID": f"prt_z{number}"}
    properties |= {"field": "text", "delta": "word"}
    payload = {"id": f"evt_zz{number:06}", "type": "message.part.delta", "properties": properties}
    return b'{"directory":"/home/dev/project","payload":%s}' % json.dumps(payload).encode()


def test_a_password_of_the_environment(
    server: LoopbackServer, watch: Callable[..., Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent, and said nowhere."""
    server.password = "secret"
    monkeypatch.setenv("OPENCODE_SERVER_PASSWORD", "secret")
    reading = watch(server.url)
    reading.until_operator("connection", status="connected")
    status, err = reading.end()
    assert (status, err) == (0, b"")
    assert "secret" not in str(reading.lines)


def test_in_a_terminal(server: LoopbackServer, start: Start) -> None:
    """The view says how the connection is, and Ctrl-C leaves the summary with its gaps."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    process = start("watch", server.url, stdout=theirs, stdin=theirs)
    os.close(theirs)
    shown = b""

    def read_until(text: bytes) -> None:
        nonlocal shown
        while text not in shown:
            shown += os.read(ours, 65_536)

    read_until(b"connected")
    server.wait_for_streams()
    server.happen(100)
    read_until(b"57.0 %")
    server.cut()
    server.happen(ALL)
    read_until(b"1 gap")
    read_until(b"93.2 %")
    process.send_signal(signal.SIGINT)
    read_until(b"connection: 1 gap")
    assert process.wait(SECONDS) == 0
    os.close(ours)
    assert "compact  " in shown.decode(errors="replace")


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("watch",), ("record", "-"), ("transcripts", "--out", "-")])
@pytest.mark.parametrize(
    ("prepare",                                                    "told"),
    [
        (lambda server: server.close(),                            "Connection refused; is opencode serve running?"),
        (lambda server: setattr(server, "password", "another"),    "set OPENCODE_SERVER_PASSWORD"),
        (lambda server: setattr(server, "redirect", "/elsewhere"), "no opencode server: "),
    ],
)  # fmt: skip
def test_a_server_that_cannot_be_had_is_told_in_one_line(
    server: LoopbackServer,
    prepare: Callable[[LoopbackServer], None],
    told: str,
    command: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Not there, another password, something else: one line on standard error, status 2, no file."""
    monkeypatch.chdir(tmp_path)
    prepare(server)
    name, *rest = ("out" if each == "-" else each for each in command)
    status = commands.run([name, server.url, *rest, "--password", "secret"])
    out, err = capfd.readouterr()
    assert status == 2
    assert told in err
    assert (err.count("\n"), "secret" in err + out) == (1, False)
    assert [json.loads(line)["operator"] for line in out.splitlines()] == ["connection"] * out.count("\n")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments",                                            "told"),
    [
        (("watch", "a.jsonl", "--compact"),                  "--compact needs a running server as SOURCE"),
        (("watch", "a.jsonl", "--wait"),                     "--wait needs a running server as SOURCE"),
        (("record", "a.jsonl", "b.jsonl", "--everywhere"),   "--everywhere needs a running server"),
        (("watch", "http://h", "--speed", "2"),              "--speed needs a recording as SOURCE"),
        (("watch", "http://h", "--everywhere", "--directory", "/d"), "exclude each other"),
        (("watch", "http://me:secret@h:x"),                  "base_url must be like http://127.0.0.1:4096"),
        (("watch", "http://h", "--threshold", "78"),         "threshold must be a fraction"),
    ],
)  # fmt: skip
def test_what_goes_with_what(
    arguments: tuple[str, ...], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """What only a server has, or only a recording, is refused of the other in one line."""
    status = commands.run([*arguments])
    out, err = capfd.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert told in err
    assert "secret" not in err


def test_waiting_for_a_server(watch: Callable[..., Reading], recording_of: Any) -> None:
    """``--wait``: nobody listens yet; it is watched as soon as somebody does."""
    port = free_port()
    reading = watch(f"http://127.0.0.1:{port}", "--wait")
    failed = reading.until(lambda line: line["value"]["error"])["value"]
    assert (failed["status"], "refused" in failed["error"]) == ("connecting", True)
    payloads = [event.raw for event in recording_of("basic.global").events()]
    server = LoopbackServer(RecordedServer(payloads), port=port)
    reading.until_operator("connection", status="connected")
    server.wait_for_streams()
    server.happen(ALL)
    reading.until_operator("context_usage")
    assert reading.end()[0] == 0
    server.close()


# --- record ---------------------------------------------------------------------------------------


def wait_until(found: Callable[[], Any]) -> None:
    """Another process does it; the test's time-out ends it."""
    while not found():
        os.sched_yield()


def test_a_server_is_recorded(server: LoopbackServer, start: Start, tmp_path: Path) -> None:
    """Each event once, gaps marked and made good; a replay of it derives what the server's events do."""
    path = tmp_path / "live.jsonl"
    process = start("record", server.url, path)
    server.wait_for_streams()
    server.happen(100)
    wait_until(lambda: path.exists() and b"step-finish" in path.read_bytes())
    server.cut()
    server.happen(ALL)
    wait_until(lambda: b"StreamResumed" in path.read_bytes())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=SECONDS)
    events = list(recordings.read(path))
    assert process.returncode == 0
    assert err.decode().splitlines()[-1] == f"{len(events)} events written to {path}"
    kinds = [type(event).__name__ for event in events]
    assert (kinds[0], kinds.count("StreamGap"), kinds.count("StreamResumed")) == ("StreamConnected", 1, 1)
    ids = [event.event_id for event in events if event.event_id]
    assert len(ids) == len(set(ids))
    replayed = start("watch", path, "--json", "--limit", "acme/kestrel-large=16000")
    out, err = replayed.communicate(timeout=SECONDS)
    usages = [
        line["value"] for line in map(json.loads, out.splitlines()) if line["operator"] == "context_usage"
    ]
    assert (usages[-1]["tokens"], usages[-1]["limit"], err) == (14_910, 16_000, b"")


def test_a_recorder_that_is_killed(server: LoopbackServer, start: Start, tmp_path: Path) -> None:
    """kill -9: what came until then is in the file, and can be replayed; the next one appends."""
    path = tmp_path / "live.jsonl"
    process = start("record", server.url, path)
    server.wait_for_streams()
    server.happen(100)
    wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") > 60)
    process.kill()
    process.wait(SECONDS)
    recording = recordings.read(path)
    before = len(list(recording))
    assert before > 60
    assert recording.torn in (0, 1)
    again = start("record", server.url, path)
    wait_until(lambda: len(list(recordings.read(path))) > before)
    again.send_signal(signal.SIGINT)
    again.wait(SECONDS)
    names = [type(event).__name__ for event in recordings.read(path)]
    assert "StreamConnected" in names[before:]


# --- transcripts ----------------------------------------------------------------------------------


def test_transcripts_of_a_server(server: LoopbackServer, start: Start, tmp_path: Path) -> None:
    """Joined in the middle: what came before is asked for once, and the file is whole at the end."""
    server.happen(120)
    out = tmp_path / "out"
    process = start("transcripts", server.url, "--out", out, "--format", "messages")
    server.wait_for_streams()
    server.happen(ALL)
    (session_id,) = server.server.sessions

    def is_whole() -> bool:
        written = [
            json.loads(bytes(line))
            for file in out.glob("*.jsonl")
            for line in file.read_bytes().splitlines()
        ]
        told = server.server.answer("GET", f"/session/{session_id}/message", {})[2]
        return [each["info"]["id"] for each in written] == [
            each["info"]["id"] for each in json.loads(told)
        ]

    asked = server.seen.count
    wait_until(lambda: out.exists() and is_whole())
    process.send_signal(signal.SIGINT)
    said, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err) == (0, b"")
    assert said.decode().startswith(f"{session_id}  ")
    assert asked(f"/session/{session_id}/message") == 1
    assert transcripts.read(next(out.iterdir()))


def test_a_session_heard_from_its_beginning_is_not_asked_for(
    server: LoopbackServer, start: Start, tmp_path: Path
) -> None:
    """T10: its events say it all."""
    out = tmp_path / "out"
    process = start("transcripts", server.url, "--out", out)
    server.wait_for_streams()
    server.happen(ALL)
    wait_until(lambda: out.exists() and any(out.iterdir()))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    assert not any(path.endswith("/message") for path in server.seen)


def test_what_an_address_is_shown_as(server: LoopbackServer) -> None:
    """A password in an address is used, and not shown."""
    server.password = "secret"
    events = connect(server.url.replace("//", "//opencode:secret@"))
    assert events.url == server.url
