"""A bad line between server and client: the final state is that of a good one."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from loguru import logger
from recorded_server import RecordedServer, as_global
from virtual_server import SILENCE, Step, VirtualServer, frames

import streams
from streams import events as ev
from streams.events import SessionEvent
from streams.schedulers import Replay

ALL = 1_000_000
State = dict[tuple[str, str], Any]
DURABLE = {
    "session.created": ("session", "info"),
    "session.updated": ("session", "info"),
    "message.updated": ("message", "info"),
    "message.part.updated": ("part", "part"),
}


@pytest.fixture(params=["tools.global", "subagents.global", "permission.global"])
def payloads(request: pytest.FixtureRequest, recording_of: Any) -> list[bytes]:
    return [event.raw for event in recording_of(request.param).events()]


@pytest.fixture
def small(recording_of: Any) -> list[bytes]:
    return [event.raw for event in recording_of("basic.global").events()]


def state(events: list[SessionEvent]) -> State:
    """The last word on every session, message and part."""
    folded: State = {}
    for event in events:
        payload = json.loads(event.raw) if event.raw.startswith(b"{") and event.event_id else {}
        payload = payload.get("payload", payload)
        if payload.get("type") in DURABLE:
            kind, field = DURABLE[payload["type"]]
            value = payload["properties"][field]
            folded[kind, value["id"]] = value
    return folded


def is_durable(event: SessionEvent) -> bool:
    """Whether the log has it."""
    return isinstance(event, ev.SessionInfo | ev.MessageUpdated | ev.PartUpdated) and bool(event.event_id)


def whole(server: RecordedServer, distort: Callable[[list[bytes]], list[bytes]]) -> Iterator[Step]:
    """One connection that brings everything, distorted, a few payloads at a time."""
    yield 0.1
    yield frames([server.greeting()])
    payloads = distort(server.play(len(server.payloads)))
    for at in range(0, len(payloads), 3):
        yield 0.05
        yield frames(payloads[at : at + 3])
    yield 5.0
    yield b": the end\n\n"


def distorted(
    payloads: list[bytes], distort: Callable[[list[bytes]], list[bytes]]
) -> tuple[VirtualServer, State]:
    clean = RecordedServer(payloads)
    expected = state(VirtualServer(clean).run(whole(clean, lambda each: each)).seen)
    server = RecordedServer(payloads)
    return VirtualServer(server).run(whole(server, distort)), expected


def same_durable_events_once(run: VirtualServer) -> bool:
    ids = [event.event_id for event in run.seen if event.event_id]
    return len(ids) == len(set(ids))


def test_cut_at_any_frame(small: list[bytes]) -> None:
    """S1, S6: a long stream is cut at frames' ends and amid frames; nothing is lost or doubled."""
    clean = RecordedServer(small)
    expected = state(VirtualServer(clean).run(whole(clean, lambda each: each)).seen)

    def until(server: RecordedServer, count: int, share: float) -> Iterator[Step]:
        yield 0.1
        yield frames([server.greeting()])
        yield frames(server.play(count))
        cut = frames(server.play(1))
        yield cut[: int(len(cut) * share)]

    for count in range(0, len(clean.payloads), 2):
        for share in (0.0, 0.3, 0.999, 1.0):
            server = RecordedServer(small)
            run = VirtualServer(server).run(until(server, count, share), whole(server, lambda each: each))
            assert state(run.seen) == expected, (count, share)
            assert same_durable_events_once(run)
            assert run.counts.malformed == 0


@pytest.fixture
def short(recording_of: Any) -> list[bytes]:
    """The beginning of a turn in few bytes: of every kind of event one, of messages two."""
    kinds = [ev.SessionCreated, ev.MessageUpdated, ev.MessageUpdated, ev.PartUpdated]
    kinds += [ev.SessionStatus, ev.PartDelta, ev.SessionIdle]
    kept = list[bytes]()
    for event in recording_of("basic").events():
        if type(event) in kinds:
            kinds.remove(type(event))
            kept.append(event.raw)
    return list(as_global(kept))


@pytest.fixture
def no_log() -> Iterator[None]:
    """Every lost connection is logged, and thousands of them take their time."""
    logger.disable("streams")
    yield
    logger.enable("streams")


def test_cut_at_every_byte(short: list[bytes], no_log: None) -> None:
    """S1, S6: a turn whose line is cut after each of its bytes, one after the other: nothing is lost,
    nothing comes twice, and each cut is one gap."""
    clean = RecordedServer(short)
    expected = state(VirtualServer(clean).run(whole(clean, lambda each: each)).seen)
    durable = len({json.loads(one)["payload"]["syncEvent"]["id"] for one in short if b'"sync"' in one})
    for count in range(len(clean.payloads)):
        for at in range(len(frames(clean.payloads[count : count + 1]))):
            server = RecordedServer(short)
            greeting, before = frames([server.greeting()]), frames(server.play(count))
            cut = frames(server.play(1))[:at]
            run = VirtualServer(server).run(
                [0.1, greeting, before + cut], [0.1, frames([server.greeting(), *server.play(ALL)])]
            )
            assert state(run.seen) == expected, (count, at)
            ids = [event.event_id for event in run.seen if event.event_id]
            assert len(ids) == len(set(ids))
            assert sum(isinstance(event, ev.StreamGap) for event in run.seen) == 1
            assert len({event.event_id for event in run.seen if is_durable(event)}) == durable
            assert (run.counts.malformed, run.counts.lost) == (0, 0)


def test_everything_comes_twice(payloads: list[bytes]) -> None:
    """S4: each payload twice in a row."""
    run, expected = distorted(payloads, lambda each: [one for one in each for _ in range(2)])
    assert state(run.seen) == expected
    assert same_durable_events_once(run)
    assert run.counts.duplicates > 100


def test_the_whole_tape_again_at_each_reconnect(payloads: list[bytes]) -> None:
    """S4: a server that replays all it ever said is heard once."""
    server = RecordedServer(payloads)
    happened: list[bytes] = []

    def replayed() -> Iterator[Step]:
        yield 0.1
        happened.extend(server.play(60))
        yield frames([server.greeting(), *happened])

    connections = len(server.payloads) // 60 + 1
    run = VirtualServer(server).run(*(replayed() for _ in range(connections)))
    _, expected = distorted(payloads, lambda each: each)
    assert state(run.seen) == expected
    assert same_durable_events_once(run)


@pytest.mark.parametrize("seed", range(4))
def test_out_of_order_within_a_window(payloads: list[bytes], seed: int) -> None:
    """S4: payloads a few places off: the numbers put the durable events back into order."""
    chance = random.Random(seed)

    def shuffle(each: list[bytes]) -> list[bytes]:
        mixed = list(each)
        for at in range(0, len(mixed), 5):
            window = mixed[at : at + 5]
            chance.shuffle(window)
            mixed[at : at + 5] = window
        return mixed

    run, expected = distorted(payloads, shuffle)
    assert state(run.seen) == expected
    assert same_durable_events_once(run)
    assert run.counts.lost == 0


@pytest.mark.parametrize("seed", range(4))
def test_corrupted_lines(payloads: list[bytes], seed: int) -> None:
    """S6: a line in 20 is damaged: each is one item, what it told is had from the log."""
    chance = random.Random(seed)

    def damage(each: list[bytes]) -> list[bytes]:
        kept = each[-4:]  # a hole shows when something follows it
        return [one[: len(one) // 2] if chance.random() < 0.05 else one for one in each[:-4]] + kept

    run, expected = distorted(payloads, damage)
    assert state(run.seen) == expected
    assert run.counts.malformed > 0
    assert run.counts.lost == 0
    malformed = [event for event in run.seen if isinstance(event, ev.MalformedEvent)]
    assert len(malformed) == run.counts.malformed


@pytest.mark.parametrize("seed", range(4))
def test_lines_that_never_come(payloads: list[bytes], seed: int) -> None:
    """S1: a hole in the numbers is noticed without a disconnect, and filled in order, in its session."""
    chance = random.Random(seed)

    def lose(each: list[bytes]) -> list[bytes]:
        return [one for one in each[:-4] if chance.random() > 0.05] + each[-4:]

    run, expected = distorted(payloads, lose)
    assert state(run.seen) == expected
    assert len(run.opened) == 2
    gaps = [event for event in run.seen if isinstance(event, ev.StreamGap)]
    assert gaps
    assert run.counts.resumed > 0
    assert run.counts.lost == 0
    in_order = {
        session_id: [
            event.event_id for event in run.seen if event.session_id == session_id and event.event_id
        ]
        for session_id in {event.session_id for event in run.seen}
    }
    logged = {row["id"] for row in run.server.log}
    for ids in in_order.values():
        durable = [each for each in ids if each in logged]
        assert durable == sorted(durable)


def test_holes_are_asked_about_once_a_second(payloads: list[bytes]) -> None:
    """S8: however many holes there are, the server is not stormed with questions."""
    run, _ = distorted(payloads, lambda each: each[:-8:3] + each[-8:])
    assert run.server.asked["POST /sync/history"] <= run.clock.seconds() + 2


def test_a_line_that_stalls(payloads: list[bytes]) -> None:
    """S2: it falls silent amid a frame; after 45 s it is cut, and nothing is lost."""
    server = RecordedServer(payloads)

    def stalling() -> Iterator[Step]:
        yield 0.1
        yield frames([server.greeting(), *server.play(50)])
        yield frames(server.play(1))[:40]
        server.play(30)
        yield SILENCE

    run = VirtualServer(server).run(stalling(), whole(server, lambda each: each))
    _, expected = distorted(payloads, lambda each: each)
    assert state(run.seen) == expected
    assert len(run.opened) == 3


def test_a_slow_line(small: list[bytes]) -> None:
    """S6: a byte at a time, a second apart for the first kilobyte: nothing changes."""
    server = RecordedServer(small)

    def trickling() -> Iterator[Step]:
        yield 0.1
        stream = frames([server.greeting(), *server.play(len(server.payloads))])
        for at in range(1_000):
            yield stream[at : at + 1]
            yield 1.0
        yield stream[1_000:]

    run = VirtualServer(server).run(trickling())
    _, expected = distorted(small, lambda each: each)
    assert state(run.seen) == expected
    assert len(run.opened) == 2


def test_everything_at_once(payloads: list[bytes]) -> None:
    """S1 to S7 together: doubled, shuffled, damaged, cut and stalled, the state is right at the end."""
    for seed in range(6):
        chance = random.Random(seed)
        server = RecordedServer(payloads)

        def bad_line(server: RecordedServer = server, chance: random.Random = chance) -> Iterator[Step]:
            yield 0.1
            server.play(chance.randrange(10) if server.played else 0)
            yield frames([server.greeting()])
            for _ in range(chance.randrange(5, 25)):
                batch = [one for one in server.play(5) for _ in range(chance.choice((1, 1, 1, 2)))]
                chance.shuffle(batch)
                yield frames([one[:-7] if chance.random() < 0.03 else one for one in batch])
                yield chance.choice((0.0, 0.0, 0.3, 2.0))
            yield chance.choice((b"data: {", SILENCE))

        def good_line(server: RecordedServer = server) -> Iterator[Step]:
            yield 0.1
            yield frames([server.greeting(), *server.play(len(server.payloads))])

        run = VirtualServer(server).run(*(bad_line() for _ in range(8)), good_line())
        _, expected = distorted(payloads, lambda each: each)
        assert state(run.seen) == expected, seed


def test_a_flood_before_a_stalled_consumer(small: list[bytes], no_log: None) -> None:
    """S8: 100 000 deltas of 1 KB amid a turn, and nobody takes them: the reading goes on, some deltas are
    given up, and the state is right when the consumer is back."""
    server, consumer = RecordedServer(small), Replay()
    run = VirtualServer(server)
    handed = streams.bounded(max_bytes=4 * 1024 * 1024, scheduler=consumer)(run.hub)
    seen: list[SessionEvent] = []
    handed.subscribe(seen.append)
    one = next(one for one in small if b'"message.part.delta"' in one)

    def flood() -> Iterator[Step]:
        yield 0.1
        yield frames([server.greeting(), *server.play(60)])
        envelope = json.loads(one)
        envelope["payload"]["properties"] |= {"partID": "prt_flood", "delta": "x" * 1_024}
        for number in range(0, 100_000, 1_000):
            payloads = list[bytes]()
            for each in range(number, number + 1_000):
                envelope["payload"]["id"] = f"evt_0{each:06}"
                payloads.append(json.dumps(envelope, separators=(",", ":")).encode())
            yield frames(payloads)
        yield frames(server.play(ALL))

    run.run(flood(), listen=False)
    assert run.counts.events_seen > 100_000
    assert seen == []
    consumer.advance_by(1)
    _, expected = distorted(small, lambda each: each)
    assert state(seen) == expected
    assert handed.dropped > 0
