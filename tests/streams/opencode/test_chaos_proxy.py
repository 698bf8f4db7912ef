"""A bad line over real sockets: a proxy between client and server that distorts the bytes themselves."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from chaos_proxy import ChaosProxy, in_pieces
from fold import Fold
from loopback_server import LoopbackServer

import streams
from streams import events as ev

ALL = 1_000_000
SILENCE = 0.5
Distort = Callable[[bytes], list[bytes]]


def as_it_is(chunk: bytes) -> list[bytes]:
    return [chunk]


def doubled(chance: random.Random) -> Distort:
    """Some reads come twice."""
    return lambda chunk: [chunk] * chance.choice((1, 1, 2))


def swapped(chance: random.Random) -> Distort:
    """Some reads come after the next one."""
    held: list[bytes] = []

    def distort(chunk: bytes) -> list[bytes]:
        if not held and chance.random() < 0.3:
            held.append(chunk)
            return []
        passed = [chunk, *held]
        held.clear()
        return passed

    return distort


def corrupted(chance: random.Random) -> Distort:
    """One byte of some reads is one that JSON never has: what is damaged can be told from what is not."""

    def distort(chunk: bytes) -> list[bytes]:
        if chance.random() < 0.3:
            at = chance.randrange(len(chunk))
            return [chunk[:at] + b"\0" + chunk[at + 1 :]]
        return [chunk]

    return distort


def stalled(chance: random.Random) -> Distort:
    """Now and then nothing comes any more, and nothing says so."""
    is_stuck = False

    def distort(chunk: bytes) -> list[bytes]:
        nonlocal is_stuck
        is_stuck = not chunk.startswith(b"HTTP") and (is_stuck or chance.random() < 0.2)
        return [] if is_stuck else [chunk]

    return distort


@pytest.mark.parametrize("bad", [in_pieces, doubled, swapped, corrupted, stalled])
@pytest.mark.parametrize("seed", range(3))
def test_the_state_is_right_once_the_line_is_good(
    loopback: LoopbackServer, bad: Callable[[random.Random], Distort], seed: int
) -> None:
    """S1, S2, S4, S6: whatever the line did to the bytes, the state is the server's in the end, nothing
    came twice, and no history was asked for."""
    distort: list[Distort] = [as_it_is]
    proxy = ChaosProxy(int(loopback.url.rpartition(":")[2]), lambda chunk: distort[-1](chunk))
    events, fold = streams.opencode.connect(proxy.url, silence=SILENCE), Fold()
    events.subscribe(fold.take)
    fold.wait_for(lambda each: each.count(ev.StreamConnected), 20)
    distort.append(bad(random.Random(seed)))
    for _ in range(8):
        loopback.happen(15)
    fold.wait_for(lambda each: each.count(ev.MessageUpdated) or each.count(ev.StreamGap), 20)
    distort.append(as_it_is)
    proxy.cut()
    fold.wait_for(lambda each: each.count(ev.StreamResumed), 20)
    loopback.happen(ALL)
    (session_id,) = loopback.server.sessions
    told = {
        key: (each["info"], each["parts"]) for key, each in loopback.server.messages[session_id].items()
    }

    def folded() -> Any:
        messages = fold.messages.get(session_id, {})
        return {key: (each.get("info"), each["parts"]) for key, each in messages.items()}

    fold.wait_for(lambda each: folded() == told, 20)
    ids = [event.event_id for event in fold.events if event.event_id]
    assert len(ids) == len(set(ids))
    assert not any(path.endswith("/message") for path in loopback.seen)
    events.close()
    proxy.close()
