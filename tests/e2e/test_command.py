"""``sessionstreams`` as a process, against opencode itself."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from chaos_proxy import ChaosProxy
from fold import Fold
from scripted_model import Answer, Call, Gate, ScriptedModel

from streams import events as ev
from streams import recordings

ROOT = Path(__file__).parents[2]
SECONDS = 60


class Command:
    """A running command, and the lines that it has printed so far."""

    def __init__(self, *arguments: object, **environment: str) -> None:
        self.lines: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streams.cli", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, operator: str, **values: Any) -> dict[str, Any]:
        """The first value of an operator with these fields."""

        def found() -> Any:
            return next((each for each in self.of(operator) if values.items() <= each.items()), None)

        with self._changed:
            if not self._changed.wait_for(found, SECONDS):
                raise TimeoutError(f"no {operator} {values} in {self.lines[-5:]}")
            return found()

    def of(self, operator: str) -> list[dict[str, Any]]:
        return [line["value"] for line in self.lines if line["operator"] == operator]

    def end(self, with_signal: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """End it; returns its status, and what it said on standard error."""
        self.process.send_signal(with_signal)
        self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        return self.process.returncode, self.process.stderr.read().decode()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(SECONDS)
        self.process.stdout.close()
        self.process.stderr.close()

    def _read(self) -> None:
        for line in self.process.stdout:
            with self._changed:
                if line.startswith(b"{"):
                    self.lines.append(json.loads(line))
                self._changed.notify_all()


@pytest.fixture
def command() -> Iterator[Callable[..., Command]]:
    commands: list[Command] = []

    def start(*arguments: object, **environment: str) -> Command:
        commands.append(Command(*arguments, **environment))
        return commands[-1]

    yield start
    for each in commands:
        each.close()


@pytest.fixture
def proxy(drive: Any) -> Iterator[ChaosProxy]:
    """Counts what is asked of the server."""
    proxy = ChaosProxy(drive.server.port)
    yield proxy
    proxy.close()


def step(number: int, tokens: int, gate: Gate | None = None) -> Answer:
    """A step with a tool call, whose prompt had so many tokens.

    The step after the one that filled the window has a gate: the turn may ask for it before the command
    has asked for a summary, and waits there until it has, however slow the machine is.
    """
    call = Call("bash", {"command": f"echo {number}", "description": "say it"})
    return Answer(f"Step {number}.", [call], input=tokens, gate=gate)


def test_watch_compacts(
    drive: Any, proxy: ChaosProxy, model: ScriptedModel, command: Callable[..., Command]
) -> None:
    """C16: usage, one attempt, its end and its verdict; one summarize, and no history was fetched."""
    gate = Gate()
    steps = [step(n, tokens) for n, tokens in enumerate((9_000, 12_000, 16_500))]
    mark = model.plan("fills", *steps, step(3, 16_500, gate), Answer("Not compacted.", input=16_500))
    model.plan("", Answer("It goes on.", input=4_000))
    watching = command("watch", proxy.url, "--compact", "--json")
    watching.wait_for("connection", status="connected")
    session_id = drive.new_session()
    drive.prompt(session_id, f"Work {mark}", name="kestrel-small")
    drive.fold.wait_for(lambda fold: fold.parts(session_id, "compaction"))
    gate.open()
    effective = watching.wait_for("compact", state="effective")
    status, err = watching.end()
    assert (status, err) == (0, "")
    measured = [usage["tokens"] for usage in watching.of("context_usage") if usage["limit"]]
    assert [tokens for tokens, _ in groupby(measured)] == [9_000, 12_000, 16_500, None, 4_000]
    assert [each["state"] for each in watching.of("compact")] == ["succeeded", "effective"]
    succeeded = watching.of("compact")[0]
    assert (succeeded["before"], effective["before"], effective["after"]) == (16_500, 16_500, 4_000)
    (summary,) = watching.of("summary")
    assert (summary["by_session"][0]["compactions"], summary["faults"]) == (1, 0)
    assert sum(path.endswith("/summarize") for path in proxy.asked) == 1
    assert not any(path.endswith("/message") for path in proxy.asked)


def test_watch_through_a_crash(drive: Any, model: ScriptedModel, command: Callable[..., Command]) -> None:
    """S1: kill -9 amid a turn and a restart: reconnecting, one gap, and it goes on."""
    gate = Gate()
    mark = model.plan("held", Answer("Cut off by the end of the server.", gate=gate, input=2_000))
    after = model.plan("after", Answer("Here again.", input=3_000))
    watching = command("watch", drive.server.url, "--json")
    watching.wait_for("connection", status="connected")
    session_id = drive.new_session()
    drive.prompt(session_id, f"Talk {mark}")
    assert gate.reached.wait(SECONDS)
    drive.server.kill()
    gate.open()
    watching.wait_for("connection", status="reconnecting")
    drive.server.start()
    watching.wait_for("connection", status="connected", gaps=1, lost=0)
    drive.fold.wait_for(lambda fold: fold.count(ev.StreamResumed))
    drive.turn(session_id, f"Go on {after}")
    watching.wait_for("context_usage", tokens=3_000)
    assert watching.end()[0] == 0
    assert watching.of("summary")[0]["connection"]["gaps"] == 1


def test_record_is_killed(
    drive: Any, model: ScriptedModel, command: Callable[..., Command], tmp_path: Path, until: Any
) -> None:
    """kill -9 of the recorder: what came until then can be replayed, and says what the server says."""
    path = tmp_path / "live.jsonl"
    mark = model.plan(
        "talk", Answer("", [Call("bash", {"command": "ls", "description": "list"})]), Answer("Said.")
    )
    recording = command("record", drive.server.url, path)
    until(lambda: path.exists() and path.stat().st_size)
    session_id = drive.new_session()
    drive.turn(session_id, f"Talk {mark}")
    until(lambda: b"session.idle" in path.read_bytes())
    recording.end(signal.SIGKILL)
    fold = Fold()
    for event in recordings.read(path):
        fold.take(event)
    told = {each["info"]["id"] for each in drive.fresh()[1][session_id]}
    assert {each["info"]["id"] for each in fold.history(session_id)} == told
    assert list(fold.tools(session_id).values()) == ["completed"]


def test_transcripts_of_a_session_that_began_before(
    drive: Any, model: ScriptedModel, command: Callable[..., Command], tmp_path: Path, until: Any
) -> None:
    """Its history is asked for once; the file has every message at the end."""
    mark = model.plan("talk", Answer("First."), Answer("Second."))
    session_id = drive.new_session()
    drive.turn(session_id, f"One {mark}")
    out = tmp_path / "out"
    writing = command("transcripts", drive.server.url, "--out", out, "--format", "messages")
    for _ in range(30):  # it has connected when it has written of a turn
        drive.turn(session_id, f"More {mark}")
        if out.exists() and any(out.iterdir()):
            break
    told = [each["info"]["id"] for each in drive.fresh()[1][session_id]]

    def written() -> list[str]:
        (file,) = out.iterdir()
        return [json.loads(line)["info"]["id"] for line in file.read_bytes().splitlines()]

    until(lambda: written() == told)
    status, err = writing.end()
    assert (status, err) == (0, "")


def test_doctor(serve: Any, command: Callable[..., Command]) -> None:
    """The version, the streams, the log and the limits of the server itself; a password is asked for."""
    server = serve(password="secret")
    well = command("doctor", server.url, "--json", OPENCODE_SERVER_PASSWORD="secret")
    assert well.process.wait(SECONDS) == 0
    locked = command("doctor", server.url)
    assert locked.process.wait(SECONDS) == 2
