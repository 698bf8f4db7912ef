"""One connection after the other, in virtual time."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from recorded_server import RecordedServer
from virtual_server import SILENCE, Step, VirtualServer, frames

import operators as ops
from streams import events as ev
from streams.opencode.backoff import Backoff
from streams.opencode.connection import Policy, Scope
from streams.opencode.errors import (
    NotFound,
    NotOpencode,
    ServerFailed,
    TimedOut,
    Unauthorized,
    Unreachable,
)

COMMENT = b": heartbeat\n\n"
BUSY = (
    b'{"directory":"/d","payload":{"id":"evt_1","type":"session.status",'
    b'"properties":{"sessionID":"ses_1","status":{"type":"busy"}}}}'
)

UPDATED = BUSY.replace(b"session.status", b"session.updated").replace(
    b'"status":{"type":"busy"}', b'"info":{}'
)


def heartbeat(number: int) -> bytes:
    payload = {"id": f"evt_h{number:06}", "type": "server.heartbeat", "properties": {}}
    return json.dumps({"payload": payload}, separators=(",", ":")).encode()


@pytest.fixture
def server() -> RecordedServer:
    return RecordedServer([])


@pytest.fixture
def virtual(server: RecordedServer) -> VirtualServer:
    return VirtualServer(server)


def greeted(server: RecordedServer, *steps: Step) -> Iterator[Step]:
    yield 0.0
    yield frames([server.greeting()])
    yield from steps


def statuses(run: VirtualServer) -> list[str]:
    """Each status once, as it changed."""
    told = [state.status for state in run.states]
    return [each for each, before in zip(told, [None, *told], strict=False) if each != before]


# --- silence --------------------------------------------------------------------------------------


def test_comments_are_signs_of_life(server: RecordedServer, virtual: VirtualServer) -> None:
    """S2: a comment every 15 s and no event for 10 min: the connection is kept."""
    run = virtual.run(greeted(server, *[15.0, COMMENT] * 40))
    assert len(run.opened) == 2
    assert run.opened[1][0] == pytest.approx(600, abs=2)


def test_silence_ends_a_connection(server: RecordedServer, virtual: VirtualServer) -> None:
    """S2: 45 s without a byte end it, once, and it is tried again."""
    run = virtual.run(greeted(server, 10.0, COMMENT, SILENCE), greeted(server, 1.0))
    assert run.opened[1][0] == pytest.approx(55.5, abs=1)
    errors = [state.error for state in run.states if state.error]
    assert isinstance(errors[0], TimedOut)
    assert "45 s" in str(errors[0])
    assert [type(event) for event in run.seen].count(ev.StreamGap) == 1


def test_a_watchdog_is_of_one_connection(server: RecordedServer, virtual: VirtualServer) -> None:
    """S2: the timer of a connection that ended cannot end the next one."""
    run = virtual.run(
        greeted(server, 40.0),
        greeted(server, 40.0, COMMENT, 40.0, COMMENT, 40.0, COMMENT),
    )
    assert run.opened[2][0] == pytest.approx(160, abs=2)
    assert run.clock.pending == 0


def test_handling_events_is_no_silence(server: RecordedServer, virtual: VirtualServer) -> None:
    """S2: a subscriber that takes its time does not make the connection look dead."""
    virtual.hub.of(ev.SessionStatus).subscribe(lambda event: virtual.clock.advance_by(300))
    run = virtual.run(greeted(server, frames([BUSY]), 10.0, COMMENT, 10.0))
    assert len(run.opened) == 2
    assert [str(state.error) for state in run.states if state.error] == [
        "http://virtual ended the stream"
    ]


def test_heartbeats_are_no_activity_of_a_session(server: RecordedServer, virtual: VirtualServer) -> None:
    """S3: an hour of heartbeats: sessions expire on time, and the counts tell the two apart."""
    expired: list[ev.SessionEvent] = []
    virtual.hub.pipe(ops.expire_after(600)).subscribe(
        lambda event: expired.append(event) if isinstance(event, ev.SessionExpired) else None
    )
    beats = [step for number in range(360) for step in (10.0, frames([heartbeat(number)]))]
    run = virtual.run(greeted(server, frames([UPDATED]), *beats))
    assert [(event.session_id, event.at) for event in expired] == [("ses_1", pytest.approx(600, abs=1))]
    assert (run.counts.events_seen, run.counts.session_events_seen) == (362, 1)
    assert run.counts.bytes > 360 * 50


def test_pieces_of_text_that_nobody_wants_are_passed_over(server: RecordedServer) -> None:
    """DESIGN 4: a source need not decode what nobody wants; most of what comes is pieces of text."""
    piece = b'{"id":"evt_9","type":"message.part.delta","properties":{"sessionID":"ses_1","delta":"x"}}'
    seen: dict[bool, list[ev.SessionEvent]] = {}
    for wanted in (True, False):
        virtual = VirtualServer(server)
        kind = ev.SessionEvent if wanted else ev.SessionInfo
        virtual.hub.of(kind).subscribe(seen.setdefault(wanted, []).append)
        run = virtual.run(greeted(server, frames([piece, UPDATED])), listen=False)
        assert run.counts.events_seen == len(seen[wanted]) + (not wanted)  # the greeting
    assert [type(event) for event in seen[True][1:]] == [ev.PartDelta, ev.SessionUpdated]
    assert seen[False] == seen[True][2:]


# --- trying again ---------------------------------------------------------------------------------


def test_waits_grow_and_are_capped() -> None:
    """Each wait is a random half to whole of a step; steps double up to the cap."""
    highest, lowest = Backoff(0.5, 30, lambda: 1.0), Backoff(0.5, 30, lambda: 0.0)
    assert [highest.next() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert [lowest.next() for _ in range(8)] == [0.25, 0.5, 1, 2, 4, 8, 15, 15]
    highest.reset()
    assert highest.next() == 0.5


def test_a_server_that_is_away_is_tried_for_ever(server: RecordedServer, virtual: VirtualServer) -> None:
    """S1: once connected, no failure ends the stream: not refusal, not a wrong password, not a page."""
    refused, locked = Unreachable("refused"), Unauthorized("status 401", 401)
    run = virtual.run(
        greeted(server, 60.0),
        *([refused] for _ in range(10)),
        [locked],
        [NotOpencode("a page")],
        greeted(server, 1.0),
    )
    assert run.errors == []
    assert statuses(run) == [
        "connecting",
        "connected",
        "reconnecting",
        "connected",
        "reconnecting",
        "closed",
    ]
    assert all(pause <= 30 for pause in run.pauses)
    assert sum(run.pauses[5:10]) > 5 * 8
    assert [state.attempt for state in run.states if state.error is locked] == [11]


def test_a_steady_connection_resets_the_waits(server: RecordedServer, virtual: VirtualServer) -> None:
    """One that held 10 s counts; one that is cut as soon as it is made does not, or it would spin."""
    cut = [greeted(server) for _ in range(8)]
    run = virtual.run(*cut, greeted(server, 11.0), greeted(server))
    assert run.pauses[7] >= 15
    assert run.pauses[8] <= 0.5


def test_a_request_in_the_wrong_moment(server: RecordedServer, virtual: VirtualServer) -> None:
    """A server that is starting never answers a request that came too early: it is asked again."""
    run = virtual.run([SILENCE], greeted(server, 1.0))
    assert run.errors == []
    assert run.opened[1][0] == pytest.approx(5.5, abs=0.5)
    assert type(run.seen[0]) is ev.StreamConnected
    assert not any(isinstance(event, ev.StreamGap) for event in run.seen[:1])


def test_a_server_that_never_answers(virtual: VirtualServer) -> None:
    """Three unanswered first requests are enough: the server counts as unreachable."""
    run = virtual.run([SILENCE], [SILENCE], [SILENCE], [SILENCE])
    assert len(run.opened) == 3
    (error,) = run.errors
    assert isinstance(error, TimedOut)
    assert isinstance(error, Unreachable)


# --- the first connection -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [Unreachable("refused"), Unauthorized("status 401", 401), ServerFailed("status 500", 500)]
)
def test_a_first_connection_that_fails_ends_the_stream(virtual: VirtualServer, error: Exception) -> None:
    """A server that is not there is told at once, by type; nobody waits for nothing."""
    run = virtual.run([error])
    assert run.errors == [error]
    assert run.seen == []
    assert (run.states[-1].status, run.states[-1].error) == ("closed", error)


def test_something_else_listens_there(virtual: VirtualServer) -> None:
    """A page, or no such route: it is no opencode server, of the new kind or of the old one."""
    run = virtual.run([NotOpencode("a page")], [NotFound("status 404", 404)], scope=Scope())
    (error,) = run.errors
    assert isinstance(error, NotOpencode)
    assert [path for _, path, _ in run.opened] == ["/global/event", "/event"]


def test_with_global_scope_there_is_no_other_stream(virtual: VirtualServer) -> None:
    """All directories are on ``/global/event`` alone."""
    run = virtual.run([NotOpencode("a page")])
    assert len(run.opened) == 1
    assert isinstance(run.errors[0], NotOpencode)


def test_waiting_for_a_server(server: RecordedServer, virtual: VirtualServer) -> None:
    """With ``wait`` a server that does not listen or fails is waited for; a wrong password ends it."""
    policy = Policy(wait=True)
    away = [Unreachable("refused"), ServerFailed("status 502", 502)]
    run = virtual.run(*([away[n % 2]] for n in range(20)), greeted(server), policy=policy)
    assert run.errors == []
    assert statuses(run)[:2] == ["connecting", "connected"]
    assert max(run.pauses[:20]) == 5.0  # a server that starts is seen soon
    locked = Unauthorized("status 401", 401)
    assert VirtualServer(server).run([locked], policy=policy).errors == [locked]


def test_the_directory_must_be_known(server: RecordedServer, virtual: VirtualServer) -> None:
    """Of one directory: which one that is, is asked before anything is published."""
    server.overrides["GET /path"] = lambda: (200, "text/html", b"<!doctype html>")
    run = virtual.run(greeted(server, frames([BUSY])), scope=Scope())
    assert isinstance(run.errors[0], NotOpencode)
    assert run.seen == []


# --- the rest -------------------------------------------------------------------------------------


def test_a_greeting_is_not_insisted_upon(virtual: VirtualServer) -> None:
    """A server that speaks at once is believed to hear."""
    run = virtual.run([0.0, frames([BUSY])], [0.0, frames([BUSY.replace(b"evt_1", b"evt_2")])])
    kinds = [type(event) for event in run.seen]
    assert kinds[:2] == [ev.StreamConnected, ev.SessionStatus]
    assert kinds[2:4] == [ev.StreamConnected, ev.StreamGap]
    assert kinds[-2:] == [ev.StreamResumed, ev.SessionStatus]


def test_since_is_when_something_was_last_heard(server: RecordedServer, virtual: VirtualServer) -> None:
    """S1: a gap begins with the last byte, not when it was noticed."""
    run = virtual.run(greeted(server, 7.0, COMMENT, SILENCE), greeted(server))
    gap = next(event for event in run.seen if isinstance(event, ev.StreamGap))
    assert gap.since == pytest.approx(7.0, abs=0.3)
    assert gap.at == pytest.approx(52.5, abs=0.5)


def test_every_exchange_is_let_go(server: RecordedServer, virtual: VirtualServer) -> None:
    """X11: no socket and no timer is left, however connections end."""
    run = virtual.run(
        greeted(server, SILENCE), greeted(server), [Unreachable("refused")], [SILENCE], greeted(server)
    )
    assert all(exchange.closed for exchange in run.exchanges[:-1])
    assert run.clock.pending == 0


def test_counts_are_told_while_something_comes(server: RecordedServer, virtual: VirtualServer) -> None:
    """S3: the state is renewed about once a second, without a timer of its own."""
    beats = [step for number in range(100) for step in (0.25, frames([heartbeat(number)]))]
    run = virtual.run(greeted(server, *beats))
    connected = [state.counts.events_seen for state in run.states if state.status == "connected"]
    assert 15 <= len(connected) <= 30
    assert connected == sorted(connected)


def test_a_subscriber_that_raises(server: RecordedServer, virtual: VirtualServer) -> None:
    """S12: it harms neither the connection nor its siblings."""

    def fail(event: Any) -> None:
        raise RuntimeError("mine")

    faults: list[Any] = []
    virtual.hub.errors.subscribe(faults.append)
    virtual.hub.subscribe(fail)
    run = virtual.run(greeted(server, frames([BUSY])))
    assert [type(event) for event in run.seen] == [ev.StreamConnected, ev.SessionStatus]
    assert len(faults) == 2
