"""A language model that says what the test wrote, over the wires of OpenAI and of Anthropic.

A *plan* is a list of answers (or a function from request to answer). A prompt names its plan,
``[plan:NAME]``, anywhere in its text; each request of that conversation takes the plan's next answer.
Titles and compaction summaries are told by their prompts and answered on the side.

    model = ScriptedModel()
    model.plan("fix", Answer(calls=[Call("read", {"filePath": "a.py"})]), Answer("Fixed."))
    …send the prompt "Please fix it [plan:fix]" to opencode…
"""

import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

PLAN = re.compile(r"\[plan:([\w.-]+)\]")
LIMIT_OF_A_HELD_ANSWER = 60.0


@dataclass(frozen=True)
class Call:
    """A tool call that the model asks for."""

    name: str
    input: dict[str, Any]


class Gate:
    """Where an answer stops until the test opens it; the test can wait until it has got there."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._opened = threading.Event()

    def open(self) -> None:
        self._opened.set()

    def pass_through(self) -> None:
        self.reached.set()
        self._opened.wait(LIMIT_OF_A_HELD_ANSWER)


@dataclass(frozen=True)
class Answer:
    """One answer of the model, and the usage that it reports.

    ``input`` excludes cached tokens, as opencode counts. ``gate`` holds the answer after the first
    half of its text. ``status`` other than 200 is an HTTP error with ``text`` as its message.
    """

    text: str = ""
    calls: Sequence[Call] = ()
    reasoning: str = ""
    input: int = 1_000
    output: int = 50
    cache_read: int = 0
    cache_write: int = 0
    finish: str = ""
    pieces: int = 4
    gate: Gate | None = None
    status: int = 200

    def texts(self) -> list[str]:
        """The text in so many pieces."""
        size = max(1, -(-len(self.text) // self.pieces))
        return [self.text[at : at + size] for at in range(0, len(self.text), size)]


@dataclass(frozen=True)
class Request:
    """What opencode asked: ``kind`` is ``turn``, ``title`` or ``summary``; ``step`` counts from 0."""

    kind: str
    plan: str
    step: int
    model: str
    body: dict[str, Any]


Plan = Callable[[Request], Answer]


@dataclass
class _Script:
    answer: Plan
    steps: Iterator[int] = field(default_factory=count)


class ScriptedModel:
    """The model's server, on a free loopback port.

    Attributes:
        requests: Every request so far.
        summary: What a compaction gets; put ``[plan:NAME]`` into its text for the turns after it.
        title: What a title request gets.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.summary = Answer("Summary of what was done.", input=5_000, output=300)
        self.title = Answer("A title", input=100, output=5)
        self._scripts: dict[str, _Script] = {}
        self._ids = count(1)
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.model = self  # type: ignore[attr-defined]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def plan(self, name: str, *answers: Answer) -> str:
        """Name a list of answers; the last one is repeated. Returns the mark to put into a prompt."""
        return self.plan_by(name, lambda request: answers[min(request.step, len(answers) - 1)])

    def plan_by(self, name: str, answer: Plan) -> str:
        """The same with a function, for answers that depend on the request."""
        self._scripts[name] = _Script(answer)
        return f"[plan:{name}]"

    def next_id(self) -> int:
        return next(self._ids)

    def answer(self, body: dict[str, Any]) -> Answer:
        """The scripted answer to one request."""
        texts = list(_user_texts(body))
        kind = _kind(body, texts)
        name = next((found[-1] for text in reversed(texts) if (found := PLAN.findall(text))), "")
        script = self._scripts.get(name)
        with self._lock:
            step = next(script.steps) if script and kind == "turn" else 0
            request = Request(kind, name, step, str(body.get("model", "")), body)
            self.requests.append(request)
        if kind != "turn":
            return self.title if kind == "title" else self.summary
        if script is None:
            return Answer(f"no plan {name!r} in {list(self._scripts)}", status=400)
        return script.answer(request)


def _user_texts(body: dict[str, Any]) -> Iterator[str]:
    for message in body.get("messages", ()):
        if message.get("role") == "user":
            yield _text(message.get("content"))


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(part.get("text", "") for part in parts if part.get("type") == "text")


def _kind(body: dict[str, Any], texts: list[str]) -> str:
    """Titles and summaries are asked for without tools, by prompts of opencode's own."""
    system = _text(body.get("system"))
    for message in body.get("messages", ()):
        if message.get("role") in ("system", "developer"):
            system += _text(message.get("content"))
    if "title generator" in system:
        return "title"
    if not body.get("tools") and "summar" in (system + (texts[-1] if texts else "")).lower():
        return "summary"
    return "turn"


# --- the wires ------------------------------------------------------------------------------------


def openai_chunks(model: ScriptedModel, answer: Answer) -> Iterator[str]:
    """``POST /v1/chat/completions`` with ``stream: true``."""
    head = {"id": f"chatcmpl-{model.next_id()}", "object": "chat.completion.chunk", "created": 1}

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: object) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return f"data: {json.dumps({**head, 'model': 'scripted', 'choices': [choice], **more})}\n\n"

    yield chunk({"role": "assistant"})
    if answer.reasoning:
        yield chunk({"reasoning_content": answer.reasoning})
    for text in _gated(answer):
        yield chunk({"content": text})
    for index, call in enumerate(answer.calls):
        function = {"name": call.name, "arguments": json.dumps(call.input)}
        entry = {
            "index": index,
            "id": f"call_{model.next_id()}",
            "type": "function",
            "function": function,
        }
        yield chunk({"tool_calls": [entry]})
    prompt = answer.input + answer.cache_read
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": answer.output,
        "total_tokens": prompt + answer.output,
        "prompt_tokens_details": {"cached_tokens": answer.cache_read},
    }
    yield chunk({}, answer.finish or ("tool_calls" if answer.calls else "stop"), usage=usage)
    yield "data: [DONE]\n\n"


def anthropic_chunks(model: ScriptedModel, answer: Answer) -> Iterator[str]:
    """``POST /v1/messages`` with ``stream: true``."""

    def chunk(kind: str, **more: object) -> str:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n"

    usage = {
        "input_tokens": answer.input,
        "cache_read_input_tokens": answer.cache_read,
        "cache_creation_input_tokens": answer.cache_write,
        "output_tokens": 1,
    }
    message = {"id": f"msg_{model.next_id()}", "type": "message", "role": "assistant", "content": []}
    yield chunk("message_start", message={**message, "model": "scripted", "usage": usage})
    index = -1
    if answer.text:
        index += 1
        yield chunk("content_block_start", index=index, content_block={"type": "text", "text": ""})
        for text in _gated(answer):
            yield chunk("content_block_delta", index=index, delta={"type": "text_delta", "text": text})
        yield chunk("content_block_stop", index=index)
    for call in answer.calls:
        index += 1
        block = {"type": "tool_use", "id": f"toolu_{model.next_id()}", "name": call.name, "input": {}}
        yield chunk("content_block_start", index=index, content_block=block)
        partial = {"type": "input_json_delta", "partial_json": json.dumps(call.input)}
        yield chunk("content_block_delta", index=index, delta=partial)
        yield chunk("content_block_stop", index=index)
    reason = answer.finish or ("tool_use" if answer.calls else "end_turn")
    yield chunk("message_delta", delta={"stop_reason": reason}, usage={"output_tokens": answer.output})
    yield chunk("message_stop")


def _gated(answer: Answer) -> Iterator[str]:
    texts = answer.texts()
    for number, text in enumerate(texts):
        if answer.gate and number == len(texts) // 2:
            answer.gate.pass_through()
        yield text
    if answer.gate and not texts:
        answer.gate.pass_through()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        model: ScriptedModel = self.server.model  # type: ignore[attr-defined]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = model.answer(body)
        if answer.status != 200:
            self._fail(answer)
            return
        chunks = anthropic_chunks if self.path.endswith("/messages") else openai_chunks
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for text in chunks(model, answer):
                self.wfile.write(text.encode())
                self.wfile.flush()
        except ConnectionError:  # opencode aborted the request: nobody wants the rest
            return

    def _fail(self, answer: Answer) -> None:
        content = json.dumps({"error": {"message": answer.text, "type": "scripted"}}).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Not on standard error."""
