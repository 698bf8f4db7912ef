"""The others: the same question, how full is each session and how many tools did it call, asked of them.

Each takes the payloads and returns an ``Answer``; the runner checks that all answers are equal before
it times anything.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import orjson
import reactivex as rx
from reactivex import operators as rxo
from reactivex.scheduler import EventLoopScheduler, TimeoutScheduler
from reactivex.subject import Subject

from streams.opencode.wire import _plain

LIMIT = 200_000
THRESHOLD = 0.78


@dataclass
class Answer:
    """What everyone derives."""

    tokens: dict[str, int] = field(default_factory=dict)
    """The last measurement per session."""
    measured: set[str] = field(default_factory=set)
    """The messages that measured something."""
    triggered: set[str] = field(default_factory=set)
    tools: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Distinct tool calls per session."""


def measured(info: dict[str, Any]) -> int:
    """Tokens of a finished answer, 0 for anything else."""
    if info.get("role") != "assistant" or not info.get("finish") or info.get("summary"):
        return 0
    tokens = info["tokens"]
    return tokens["input"] + tokens["cache"]["read"] + tokens["cache"]["write"]


def decode_alone(payloads: list[bytes]) -> Answer:
    """The floor: a typed union decode of every payload, and nothing else."""
    decode = _plain
    for payload in payloads:
        try:
            decode(payload)
        except msgspec.ValidationError:
            continue  # a type that nothing derives from
    return Answer()


def plain_loop(payloads: list[bytes]) -> Answer:
    """A loop over dicts with orjson: no streams, no time, no expiry, nothing per subscriber."""
    answer = Answer()
    seen: dict[str, set[str]] = defaultdict(set)
    for payload in payloads:
        event = orjson.loads(payload)
        _fold(answer, seen, event)
    return answer


def _fold(answer: Answer, seen: dict[str, set[str]], event: dict[str, Any]) -> None:
    kind, properties = event["type"], event["properties"]
    if kind == "message.updated":
        info = properties["info"]
        if tokens := measured(info):
            session = info["sessionID"]
            _note(answer, session, info["id"], tokens)
    elif kind == "message.part.updated":
        part = properties["part"]
        if part["type"] == "tool" and part["callID"] not in seen[part["sessionID"]]:
            seen[part["sessionID"]].add(part["callID"])
            answer.tools[part["sessionID"]] += 1


def rx_one_scan(payloads: list[bytes]) -> Answer:
    """reactivex: one ``scan`` over a dict of sessions."""
    answer = Answer()
    source: Subject[bytes] = Subject()

    def step(state: tuple[Answer, dict[str, set[str]]], payload: bytes) -> Any:
        _fold(state[0], state[1], orjson.loads(payload))
        return state

    source.pipe(rxo.scan(step, (answer, defaultdict(set)))).subscribe(lambda _: None)
    for payload in payloads:
        source.on_next(payload)
    source.on_completed()
    return answer


def rx_idiomatic(make_scheduler: Callable[[], Any]) -> Callable[[list[bytes]], Answer]:
    """reactivex as its documentation teaches it: group, scan, debounce, expire each group."""

    def run(payloads: list[bytes]) -> Answer:
        answer = Answer()
        scheduler = make_scheduler()
        source: Subject[bytes] = Subject()

        def session_of(event: dict[str, Any]) -> str:
            properties = event["properties"]
            return properties.get("sessionID", "")

        def until(group: Any) -> Any:
            deleted = group.pipe(rxo.filter(lambda event: event["type"] == "session.deleted"))
            return rx.merge(deleted, group.pipe(rxo.debounce(600.0, scheduler=scheduler)))

        def is_call(event: dict[str, Any]) -> bool:
            is_part = event["type"] == "message.part.updated"
            return is_part and event["properties"]["part"]["type"] == "tool"

        def per_group(group: Any) -> Any:
            shared = group.pipe(rxo.share())
            usage = shared.pipe(
                rxo.filter(lambda event: event["type"] == "message.updated"),
                rxo.map(lambda event: event["properties"]["info"]),
                rxo.filter(measured),
                rxo.do_action(lambda info: _note(answer, group.key, info["id"], measured(info))),
            )
            tools = shared.pipe(
                rxo.filter(is_call),
                rxo.map(lambda event: event["properties"]["part"]["callID"]),
                rxo.scan(lambda seen, call: {*seen, call} if call not in seen else seen, set()),
                rxo.do_action(lambda seen: answer.tools.__setitem__(group.key, len(seen))),
            )
            snapshots = shared.pipe(
                rxo.filter(lambda event: event["type"].startswith("message.part")),
                rxo.debounce(0.5, scheduler=scheduler),
            )
            return rx.merge(usage, tools, snapshots)

        source.pipe(
            rxo.map(orjson.loads),
            rxo.group_by_until(session_of, None, until),
            rxo.flat_map(per_group),
        ).subscribe(lambda _: None)
        for payload in payloads:
            source.on_next(payload)
        source.on_completed()
        if hasattr(scheduler, "dispose"):
            scheduler.dispose()
        return answer

    return run


def _note(answer: Answer, session: str, message: str, tokens: int) -> None:
    answer.tokens[session] = tokens
    answer.measured.add(message)
    if tokens / LIMIT >= THRESHOLD:
        answer.triggered.add(session)


rx_eventloop = rx_idiomatic(EventLoopScheduler)
rx_default = rx_idiomatic(TimeoutScheduler)


def streamz_accumulate(payloads: list[bytes]) -> Answer:
    """streamz: map and accumulate."""
    from streamz import Stream

    answer = Answer()
    source = Stream()

    def step(state: tuple[Answer, dict[str, set[str]]], event: dict[str, Any]) -> Any:
        _fold(state[0], state[1], event)
        return state

    source.map(orjson.loads).accumulate(step, start=(answer, defaultdict(set))).sink(lambda _: None)
    for payload in payloads:
        source.emit(payload)
    return answer


def bytewax_stateful(payloads: list[bytes]) -> Answer:
    """bytewax: key on the session, one stateful map per key."""
    import bytewax.operators as op
    from bytewax.dataflow import Dataflow
    from bytewax.testing import TestingSink, TestingSource, run_main

    answer = Answer()

    def keyed(payload: bytes) -> tuple[str, dict[str, Any]]:
        event = orjson.loads(payload)
        return event["properties"].get("sessionID", ""), event

    def step(state: Any, event: dict[str, Any]) -> tuple[Any, None]:
        if state is None:
            state = (answer, defaultdict(set))
        _fold(state[0], state[1], event)
        return state, None

    flow = Dataflow("bench")
    source = op.input("in", flow, TestingSource(payloads, batch_size=1000))
    mapped = op.stateful_map("fold", op.map("key", source, keyed), step)
    op.output("out", op.filter("none", mapped, lambda _: False), TestingSink([]))
    run_main(flow)
    return answer
