"""What an event costs in a session with a long history."""

import json
import time

import msgspec
import ours
import workload

import streams
from streams.schedulers import Replay

SIZES = (50, 200, 1000, 5000)
ORIGIN = {50: 0.9, 200: 4.1, 1000: 21.0, 5000: 133.0}
"""Milliseconds per tool call in the plugin that fetched the history each time."""


def deciles(events: int, rounds: int) -> list[float]:
    """CPU microseconds per event of each tenth of one session, all operators subscribed."""
    payloads = workload.one_long(events)
    tenth = len(payloads) // 10
    best = [float("inf")] * 10
    for _ in range(rounds):
        clock = Replay()
        hub = streams.EventHub(scheduler=clock)
        ours.subscribe(hub, *ours.everything())
        for number in range(10):
            share = payloads[number * tenth : (number + 1) * tenth]
            before = time.process_time()
            for start in range(0, tenth, ours.BATCH):
                ours.feed(hub, share[start : start + ours.BATCH])
                clock.advance_by(1.0)
            best[number] = min(best[number], (time.process_time() - before) / tenth * 1e6)
        hub.on_completed()
    return best


class History:
    """A session of so many messages, and its next tool calls."""

    def __init__(self, messages: int) -> None:
        self.clock = Replay()
        self.hub = streams.EventHub(scheduler=self.clock)
        ours.subscribe(self.hub, *ours.everything())
        self.session = workload.Session(f"ses_{0:026}", workload.random.Random(1))
        stored: list[dict[str, object]] = []
        for _ in range(messages):
            self.session.message += 1
            self.session.call += 1
            answer, call = self.session.answer(finished=True), self.session.tool("completed")
            ours.feed(self.hub, [answer, call])
            stored.append({"info": _field(answer, "info"), "parts": [_field(call, "part")]})
        self.clock.advance_by(10.0)
        self.stored = json.dumps(stored).encode()

    def call(self, calls: int = 50) -> float:
        """CPU microseconds of a tool call through all operators, decoding and its snapshot with it."""
        payloads: list[list[bytes]] = []
        for _ in range(calls):
            self.session.call += 1
            payloads.append([self.session.tool("running"), self.session.tool("completed")])
        before = time.process_time()
        for each in payloads:
            ours.feed(self.hub, each)
            self.clock.advance_by(1.0)
        return (time.process_time() - before) / calls * 1e6

    def fetch(self) -> float:
        """CPU microseconds of parsing the history, which is the least that asking for it costs."""
        before = time.process_time()
        msgspec.json.decode(self.stored)
        return (time.process_time() - before) * 1e6


def _field(payload: bytes, name: str) -> object:
    return json.loads(payload)["properties"][name]


def tool_calls(rounds: int) -> dict[int, tuple[float, float]]:
    """By number of messages, what a tool call costs, and what a fetch does instead."""
    histories = {size: History(size) for size in SIZES}
    best = {size: (float("inf"), float("inf")) for size in SIZES}
    for _ in range(rounds):
        for size, history in histories.items():
            call, fetch = best[size]
            best[size] = min(call, history.call()), min(fetch, history.fetch())
    return best
