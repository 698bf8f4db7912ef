"""The workload: opencode payloads like those of a busy server, made the same way every time.

The mix follows what was recorded: 79 % deltas of about 230 bytes, 11 % tool parts of 0.5 to 8 KB, 4 % text
parts, 4 % message updates of about 600 bytes, 4 % others (status, todos, session updates). Ids of events are
as long as opencode's, and ascend within a session.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

MODEL = {"providerID": "anthropic", "modelID": "x"}
LIMIT = 200_000
START = 1_795_000_000_000
"""Milliseconds; the first message."""

WORDS = [
    "the",
    "order",
    "book",
    "total",
    "rows",
    "every",
    "invoice",
    "stock",
    "parser",
    "price",
    "table",
    "report",
    "batch",
    "check",
]


@dataclass
class Session:
    """One session under way: what its next payloads refer to."""

    id: str
    random: random.Random
    message: int = 0
    call: int = 0
    tokens: int = 0
    todo: int = 0
    text: str = ""
    ids: Iterator[int] = field(default_factory=lambda: iter(range(10**9)))

    def __post_init__(self) -> None:
        self.tokens = self.random.randrange(2_000, 190_000)

    def event(self, kind: str, properties: dict[str, object]) -> bytes:
        number = next(self.ids)
        payload = {"id": self.name("evt", number), "type": kind, "properties": properties}
        return json.dumps(payload, separators=(",", ":")).encode()

    def name(self, kind: str, number: int) -> str:
        """An id as opencode makes them: 30 characters, ascending with time."""
        return f"{kind}_{self.id[-14:]:0>14}{number:012}"

    @property
    def message_id(self) -> str:
        return self.name("msg", self.message)

    def created(self) -> bytes:
        info = {
            "id": self.id,
            "slug": "calm-knight",
            "projectID": "p" * 40,
            "directory": "/home/dev/project",
            "title": "A session of the workload",
            "version": "1.18.34",
            "time": {"created": START, "updated": START},
        }
        return self.event("session.created", {"sessionID": self.id, "info": info})

    def delta(self) -> bytes:
        text = " " + " ".join(self.random.choices(WORDS, k=4))
        self.text += text
        properties = {
            "sessionID": self.id,
            "messageID": self.message_id,
            "partID": self.name("prt", 1_000_000 * self.message),
            "field": "text",
            "delta": text,
        }
        return self.event("message.part.delta", properties)

    def text_part(self, *, finished: bool) -> bytes:
        start = START + self.message * 1000
        part = {
            "id": self.name("prt", 1_000_000 * self.message),
            "messageID": self.message_id,
            "sessionID": self.id,
            "type": "text",
            "text": self.text,
            "time": {"start": start, "end": start + 800} if finished else {"start": start},
        }
        properties = {"sessionID": self.id, "part": part, "time": START}
        return self.event("message.part.updated", properties)

    def tool(self, status: str) -> bytes:
        size = self.random.choice((500, 500, 1_000, 2_000, 8_000))
        state: dict[str, object] = {
            "status": status,
            "input": {"command": "pytest -q " + str(self.call), "description": "Run the tests"},
            "time": {"start": START + self.message * 1000},
        }
        if status == "completed":
            output = (" ".join(self.random.choices(WORDS, k=size // 6)))[:size]
            state |= {"output": output, "title": "pytest", "metadata": {"exit": 0}}
            state["time"] = {
                "start": START + self.message * 1000,
                "end": START + self.message * 1000 + 250,
            }
        part = {
            "id": self.name("prt", 1_000_000 * self.message + self.call),
            "messageID": self.message_id,
            "sessionID": self.id,
            "type": "tool",
            "tool": "bash",
            "callID": f"call_{self.call:06}",
            "state": state,
        }
        properties = {"sessionID": self.id, "part": part, "time": START}
        return self.event("message.part.updated", properties)

    def answer(self, *, finished: bool) -> bytes:
        created = START + self.message * 1000
        tokens = {"input": 0, "output": 0, "reasoning": 0, "cache": {"read": 0, "write": 0}}
        info: dict[str, object] = {
            "id": self.message_id,
            "parentID": self.name("msg", 0),
            "role": "assistant",
            "mode": "build",
            "agent": "build",
            "path": {"cwd": "/home/dev/project", "root": "/home/dev/project"},
            "cost": 0.0123,
            "tokens": tokens,
            **MODEL,
            "time": {"created": created},
            "sessionID": self.id,
        }
        if finished:
            tokens |= {"input": self.tokens % 9_000, "output": 321}
            tokens["cache"] = {"read": self.tokens - self.tokens % 9_000, "write": 0}
            info |= {"finish": "tool-calls", "time": {"created": created, "completed": created + 900}}
        return self.event("message.updated", {"sessionID": self.id, "info": info})

    def other(self) -> bytes:
        kind = self.random.randrange(3)
        if kind == 0:
            return self.event("session.status", {"sessionID": self.id, "status": {"type": "busy"}})
        if kind == 1:
            self.todo += 1
            todos = [
                {
                    "content": f"step {n}",
                    "status": "completed" if n < self.todo % 6 else "pending",
                    "priority": "high",
                }
                for n in range(5)
            ]
            return self.event("todo.updated", {"sessionID": self.id, "todos": todos})
        return self.event("session.diff", {"sessionID": self.id, "diff": []})

    def payloads(self) -> Iterator[bytes]:
        """For ever: an answer begins, streams, calls tools and finishes; then the next one."""
        yield self.created()
        while True:
            self.message += 1
            self.tokens = (
                2_000 if self.tokens > 190_000 else self.tokens + self.random.randrange(500, 4_000)
            )
            yield self.answer(finished=False)
            self.text = ""
            yield self.text_part(finished=False)
            for step in range(44):
                yield self.delta()
                if step in (10, 22, 34):
                    self.call += 1
                    yield self.tool("running")
                if step in (14, 26, 38):
                    yield self.tool("completed")
                if step in (5, 30):
                    yield self.other()
            yield self.text_part(finished=True)
            yield self.answer(finished=True)


def deleted(session: Session) -> bytes:
    info = {"id": session.id, "time": {"created": START, "updated": START}}
    return session.event("session.deleted", {"sessionID": session.id, "info": info})


def alive(events: int, sessions: int, seed: int = 7) -> list[bytes]:
    """``sessions`` sessions side by side, all of them alive to the end."""
    chance = random.Random(seed)
    running = [Session(f"ses_{n:026}", random.Random(seed + n)).payloads() for n in range(sessions)]
    return [next(chance.choice(running)) for _ in range(events)]


def churn(events: int, each: int = 20, seed: int = 7) -> list[bytes]:
    """Sessions of ``each`` events, deleted at their end, ten at a time."""
    payloads: list[bytes] = []
    number = 0
    while len(payloads) < events:
        batch = [Session(f"ses_{number + n:026}", random.Random(seed + number + n)) for n in range(10)]
        streams = [session.payloads() for session in batch]
        for _ in range(each - 2):
            payloads += [next(stream) for stream in streams]
        payloads += [session.answer(finished=True) for session in batch]
        payloads += [deleted(session) for session in batch]
        number += 10
    return payloads[:events]


def one_long(events: int, seed: int = 7) -> list[bytes]:
    """One session with a long history."""
    stream = Session(f"ses_{0:026}", random.Random(seed)).payloads()
    return [next(stream) for _ in range(events)]
