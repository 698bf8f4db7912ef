"""Ours, through the public API: bytes, decode, hub, operators, subscribers."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from peers import LIMIT, THRESHOLD, Answer

import operators as ops
import streams
from streams import events as ev
from streams.opencode import decode_wanted

BATCH = 64
"""Events in one socket read, about: 24 KB."""

LIMITS = streams.ContextLimits(lambda provider_id, model_id: LIMIT)


def feed(hub: streams.EventHub, payloads: list[bytes], at: float = 1.0) -> None:
    """As a source does: what one read brought is one batch."""
    for start in range(0, len(payloads), BATCH):
        hub.on_batch(decode_wanted(payloads[start : start + BATCH], at, hub.wants))


def subscribe(hub: streams.EventHub, *operators: Any) -> None:
    for operator in operators:
        hub.pipe(operator).subscribe(lambda value: None)


class Calls(ops.Logic[set[str], str]):
    """Counts distinct tool calls: what the peers do."""

    wants = (ev.PartUpdated,)

    def start(self, session_id: str, now: float) -> set[str]:
        return set()

    def on_event(self, state: set[str], event: Any, now: float) -> Iterable[str]:
        call_id = event.part.call_id
        if not call_id or call_id in state:
            return ()
        state.add(call_id)
        return (event.session_id,)


def same_as_peers(payloads: list[bytes]) -> Answer:
    """Usage, triggers and tool counts: the question that everyone answers."""
    answer = Answer()
    answer.tools = defaultdict(int)
    hub = streams.EventHub()

    def usage(value: ops.ContextUsage) -> None:
        if value.tokens is not None:
            answer.tokens[value.session_id] = value.tokens
            answer.measured.add(value.message_id)

    def called(session_id: str) -> None:
        answer.tools[session_id] += 1

    hub.pipe(ops.context_usage(LIMITS)).subscribe(usage)
    hub.pipe(ops.compaction_triggers(LIMITS, threshold=THRESHOLD)).subscribe(
        lambda trigger: answer.triggered.add(trigger.session_id)
    )
    hub.pipe(ops.per_session(Calls())).subscribe(called)
    feed(hub, payloads)
    hub.on_completed()
    return answer


def everything() -> list[Callable[..., Any]]:
    """All that the targets speak of; expiry stands in front of the hub."""
    return [
        ops.context_usage(LIMITS),
        ops.compaction_triggers(LIMITS, threshold=THRESHOLD),
        ops.task_progress(),
        ops.tool_calls(),
        ops.transcript_snapshots(),
    ]


def all_operators(payloads: list[bytes]) -> Answer:
    """Usage, triggers, task progress, tool calls, transcript snapshots and expiry."""
    source = streams.EventHub()
    hub = streams.EventHub(source.pipe(ops.expire_after(600)))
    subscribe(hub, *everything())
    hub.connect()
    feed(source, payloads)
    source.on_completed()
    return Answer()
