"""What ``watch`` costs in a terminal: 1000 sessions, events as fast as such many agents send them.

Prints CPU time per second of watching, of the whole process, for the default terminal and a large one,
with the same events watched without a terminal beside it; and how many bytes a frame sends.

    PYTHONPATH=.:tests/support python tests/benchmarks/bench_watch.py
"""

import json
import os
import resource
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from terminal import Terminal

SESSIONS = 1_000
SECONDS = 10.0
EVENTS = 500
"""A second: of a thousand sessions, a hundred are at work, each at five events a second."""


def payload(kind: str, **properties: Any) -> dict[str, Any]:
    return {"id": f"evt_{kind}", "type": kind, "properties": properties}


def created(number: int) -> dict[str, Any]:
    info = {"id": f"ses_{number}", "title": f"Task {number}", "time": {"created": 1, "updated": 1}}
    return payload("session.created", sessionID=f"ses_{number}", info=info)


def delta(number: int) -> dict[str, Any]:
    session = f"ses_{number % (SESSIONS // 10)}"
    return payload(
        "message.part.delta",
        sessionID=session,
        messageID="m",
        partID=f"p{session}",
        field="text",
        delta="a few words ",
    )


def answer(number: int) -> dict[str, Any]:
    session = f"ses_{number % (SESSIONS // 10)}"
    tokens = {"input": 1_000 + number, "output": 10, "reasoning": 0, "cache": {"read": 0, "write": 0}}
    info = {"id": f"msg_{number}", "sessionID": session, "role": "assistant", "providerID": "acme"}
    info |= {
        "modelID": "x",
        "tokens": tokens,
        "finish": "stop",
        "time": {"created": number, "completed": number},
    }
    return payload("message.updated", sessionID=session, info=info)


def line(at: float, event: dict[str, Any]) -> bytes:
    return json.dumps({"at": at, "event": event}).encode() + b"\n"


def feed(sink: int, begun: threading.Event) -> None:
    """Until nobody reads any more."""
    with suppress(BrokenPipeError):
        talk(sink, begun)
    os.close(sink)


def talk(sink: int, begun: threading.Event) -> None:
    """The sessions, then their talk in real time, ten times a second."""
    for number in range(SESSIONS):
        os.write(sink, line(1.0, created(number)))
    begun.set()
    began = time.monotonic()
    for turn in range(int(SECONDS * 10)):
        events = [
            (answer if number % 10 == 0 else delta)(turn * EVENTS // 10 + number)
            for number in range(EVENTS // 10)
        ]
        at = 2.0 + turn / 10
        os.write(sink, b"".join(line(at, event) for event in events))
        time.sleep(max(0.0, began + (turn + 1) / 10 - time.monotonic()))


def cpu_of(pid: int) -> float:
    """Seconds of processor time so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def watched(columns: int, lines: int, *arguments: str) -> tuple[float, int]:
    """Share of a core, and bytes sent to the terminal a second."""
    source, sink = os.pipe()
    environment = {**os.environ, "TERM": "xterm-256color"}
    command = [
        sys.executable,
        "-m",
        "streams.cli",
        "watch",
        "-",
        "--speed",
        "0",
        "--limit",
        "acme/x=100000",
    ]
    terminal = Terminal([*command, *arguments], environment, columns=columns, lines=lines, stdin=source)
    os.close(source)
    begun = threading.Event()
    threading.Thread(target=feed, args=(sink, begun), daemon=True).start()
    begun.wait()
    terminal.drain(2.0)
    sent = 0
    before, began = cpu_of(terminal.process.pid), time.monotonic()
    while time.monotonic() - began < SECONDS - 3:
        sent += terminal.drain(0.1)
    used = cpu_of(terminal.process.pid) - before
    seconds = time.monotonic() - began
    terminal.close()
    return used / seconds, int(sent / seconds)


def main() -> None:
    print(f"{SESSIONS:,} sessions, {EVENTS} events a second, {SECONDS:.0f} s each")
    for name, columns, lines, arguments in (
        ("no terminal (JSON)", 80, 24, ("--json",)),
        ("80x24", 80, 24, ()),
        ("120x40", 120, 40, ()),
        ("250x80", 250, 80, ()),
    ):
        share, sent = watched(columns, lines, *arguments)
        print(f"{name:20} {share:6.1%} of a core  {sent / 1000:7.1f} kB/s to the terminal")
    print(
        f"peak memory of a child: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MiB"
    )


if __name__ == "__main__":
    main()
