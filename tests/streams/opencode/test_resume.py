"""After a lost connection: everything once, in order, and nothing asked that need not be."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from recorded_server import RecordedServer
from virtual_server import Step, VirtualServer, frames

from streams import EventHub
from streams import events as ev
from streams.events import SessionEvent
from streams.opencode.connection import Scope

DURABLE = (
    ev.SessionInfo,
    ev.SessionDeleted,
    ev.MessageUpdated,
    ev.MessageRemoved,
    ev.PartUpdated,
    ev.PartRemoved,
)
GLOBAL = [
    "basic.global",
    "compaction.global",
    "lifecycle.global",
    "misc.global",
    "permission.global",
    "restart.global",
    "subagents.global",
    "tools.global",
]


@pytest.fixture
def payloads_of(recording_of: Any) -> Callable[[str], list[bytes]]:
    return lambda stem: [event.raw for event in recording_of(stem).events()]


def connection(server: RecordedServer, count: int, *, missed: int = 0) -> Iterator[Step]:
    """Greets, after ``missed`` payloads that nobody heard, and then brings ``count`` payloads."""
    server.play(missed)
    yield 0.1
    yield frames([server.greeting()])
    for _ in range(count):
        yield frames(server.play())


def durable(events: list[SessionEvent]) -> list[tuple[type, str]]:
    """The durable events by id; the log knows no deletion, which is told apart."""
    return [
        (type(event), event.event_id)
        for event in events
        if isinstance(event, DURABLE) and not isinstance(event, ev.SessionDeleted)
    ]


def by_session(events: list[SessionEvent]) -> dict[str, list[tuple[type, str]]]:
    sessions: dict[str, list[SessionEvent]] = {}
    for event in events:
        sessions.setdefault(event.session_id, []).append(event)
    return {session_id: durable(of_one) for session_id, of_one in sessions.items()}


def last(events: list[SessionEvent], kind: type[SessionEvent]) -> dict[str, SessionEvent]:
    return {event.session_id: event for event in events if isinstance(event, kind)}


def clean_run(payloads: list[bytes]) -> VirtualServer:
    server = RecordedServer(payloads)
    return VirtualServer(server).run(connection(server, len(server.payloads)))


@pytest.mark.parametrize("stem", GLOBAL)
def test_a_clean_run_publishes_each_event_once(stem: str, payloads_of: Any) -> None:
    """S4: of plain event and numbered twin one is published, in the order of the wire."""
    run = clean_run(payloads_of(stem))
    plain = [json.loads(payload)["payload"] for payload in run.server.payloads]
    expected = [each["id"] for each in plain if each["type"] != "sync"]
    assert [event.event_id for event in run.seen[1:]] == expected
    assert (run.counts.duplicates, run.counts.malformed, run.counts.lost) == (0, 0, 0)
    assert run.server.asked == {"GET /experimental/session": 1}


@pytest.mark.parametrize("stem", GLOBAL)
def test_a_gap_anywhere_is_closed(stem: str, payloads_of: Any) -> None:
    """S1: whatever is missed, every durable event comes once, in its session's order; state is right."""
    payloads = payloads_of(stem)
    clean = clean_run(payloads)
    total = len(clean.server.payloads)
    for cut in range(0, total, max(1, total // 5)):
        for missed in (0, 7, 60):
            server = RecordedServer(payloads)
            run = VirtualServer(server).run(
                connection(server, cut),
                connection(server, total, missed=missed),
            )
            deleted = set(last(clean.seen, ev.SessionDeleted))
            expected, seen = by_session(clean.seen), by_session(run.seen)
            for session_id in expected.keys() - deleted:
                assert seen[session_id] == expected[session_id], (cut, missed, session_id)
            gap = next(at for at, event in enumerate(run.seen) if isinstance(event, ev.StreamGap))
            heard = {event.session_id for event in run.seen[:gap]}
            assert deleted & heard <= set(last(run.seen, ev.SessionDeleted)), (cut, missed)
            idle = {
                session_id
                for session_id, event in last(run.seen, ev.SessionStatus).items()
                if getattr(event, "status", "") == "idle"
            }
            assert idle | deleted >= set(last(clean.seen, ev.SessionStatus)) - deleted
            assert run.counts.gaps == 1


def test_what_was_missed_stands_between_gap_and_resumed(payloads_of: Any) -> None:
    """S1: connected, gap, what was missed, how things stand now, resumed; then it is live again."""
    server = RecordedServer(payloads_of("tools.global"))
    run = VirtualServer(server).run(connection(server, 60), connection(server, 5, missed=40))
    kinds = [type(event) for event in run.seen]
    gap, resumed = kinds.index(ev.StreamGap), kinds.index(ev.StreamResumed)
    assert kinds[gap - 1] is ev.StreamConnected
    assert kinds.count(ev.StreamGap) == kinds.count(ev.StreamResumed) == 1
    missed = run.seen[gap + 1 : resumed]
    rows = [event for event in missed if event.event_id]
    expected = durable(clean_run(payloads_of("tools.global")).seen)
    assert durable(run.seen) == expected[: len(durable(run.seen))]
    assert all(isinstance(event, DURABLE) for event in rows)
    assert len(rows) > 5
    end = run.seen[resumed]
    assert isinstance(end, ev.StreamResumed)
    assert (end.events, end.complete) == (len(missed), True)
    assert run.counts.resumed == len(rows)


def test_what_no_log_holds_is_asked_once(payloads_of: Any) -> None:
    """S1: one question each, of the sessions that may have changed; absent from the status is idle."""
    server = RecordedServer(payloads_of("tools.global"))
    total = len(server.payloads)
    run = VirtualServer(server).run(connection(server, 60), connection(server, 0, missed=total))
    assert run.server.asked == {
        "GET /experimental/session": 2,
        "POST /sync/history": 1,
        "GET /permission": 1,
        "GET /question": 1,
        "GET /session/{id}/todo": 1,
        "GET /session/status": 1,
    }
    (session_id,) = server.sessions
    status = last(run.seen, ev.SessionStatus)[session_id]
    assert isinstance(status, ev.SessionStatus)
    assert status.status == "idle"
    assert [type(event) for event in run.seen].count(ev.SessionIdle) == 1


def test_nothing_is_asked_that_nobody_listens_to(payloads_of: Any) -> None:
    """S1: without a subscriber to status, todos, permissions or questions none of them is asked."""
    server = RecordedServer(payloads_of("tools.global"))
    run = VirtualServer(server)
    messages: list[SessionEvent] = []
    run.hub.of(ev.MessageUpdated).subscribe(messages.append)
    run.run(connection(server, 60), connection(server, 0, missed=60), listen=False)
    assert run.server.asked == {"GET /experimental/session": 2, "POST /sync/history": 1}
    assert messages


def test_an_idle_session_is_not_asked_about(payloads_of: Any) -> None:
    """S1: a session whose last word was that it is idle, and that did nothing since, has not changed."""
    server = RecordedServer(payloads_of("basic.global"))
    total = len(server.payloads)
    run = VirtualServer(server).run(connection(server, total), connection(server, 0))
    assert run.server.asked == {"GET /experimental/session": 2, "POST /sync/history": 1}
    assert [type(event) for event in run.seen[-2:]] == [ev.StreamGap, ev.StreamResumed]


def test_every_gap_asks_for_what_came_after_the_last(payloads_of: Any) -> None:
    """S1: the log is asked from the last number that is known, gap after gap; nothing comes twice."""
    payloads = payloads_of("compaction.global")
    clean = clean_run(payloads)
    server = RecordedServer(payloads)
    count = len(server.payloads)
    run = VirtualServer(server).run(
        connection(server, 10), *(connection(server, 10, missed=5) for _ in range(count // 15))
    )
    assert durable(run.seen) == durable(clean.seen)
    assert run.counts.gaps == count // 15


def test_a_connection_lost_while_asking_leaves_the_gap_open(payloads_of: Any) -> None:
    """S1: an answer that does not come is asked for again after the next gap; nothing is lost."""
    payloads = payloads_of("tools.global")
    server = RecordedServer(payloads)
    total = len(server.payloads)
    failures = iter(range(2))

    def fail_twice() -> Any:
        if next(failures, None) is None:
            del server.overrides["POST /sync/history"]
        return 0, "", b""

    server.overrides["POST /sync/history"] = fail_twice
    run = VirtualServer(server).run(
        connection(server, 60),
        connection(server, 10, missed=10),
        connection(server, 10, missed=10),
        connection(server, 10, missed=10),
        connection(server, total, missed=10),
    )
    assert durable(run.seen) == durable(clean_run(payloads).seen)
    gaps = [type(event) for event in run.seen].count(ev.StreamGap)
    assert gaps == 4


def test_a_slow_answer_is_given_up(payloads_of: Any) -> None:
    """T10: a question that is never answered costs its patience, and the stream goes on, incomplete."""
    server = RecordedServer(payloads_of("tools.global"))
    server.overrides["GET /session/status"] = lambda: (-1, "", b"")
    run = VirtualServer(server).run(connection(server, 60), connection(server, 30, missed=5))
    end = next(event for event in run.seen if isinstance(event, ev.StreamResumed))
    assert not end.complete
    assert end.at - end.since == pytest.approx(5.0, abs=1.0)
    assert run.clock.pending == 0


def test_sessions_of_before_are_not_asked_for(payloads_of: Any) -> None:
    """The log answers with all of a session that it is not told of: it is told of every one."""
    server = RecordedServer(payloads_of("subagents.global"))
    for number in range(500):
        session_id = f"ses_old{number}"
        server.sessions[session_id] = {
            "id": session_id,
            "directory": server.directory,
            "time": {"created": 1000, "updated": 1000 + number},
        }
        server.log.append(
            {"id": "evt_1", "aggregate_id": session_id, "seq": 0, "type": "session.created.1", "data": {}}
        )
    run = VirtualServer(server).run(connection(server, 100), connection(server, 10, missed=100))
    told = run.server.bodies["POST /sync/history"]
    assert len(told) >= 500
    assert not any(event.session_id.startswith("ses_old") for event in run.seen)


def test_a_session_born_in_the_gap_comes_whole(payloads_of: Any) -> None:
    """S1: nothing of it was ever heard, so its log is asked for from the start."""
    payloads = payloads_of("subagents.global")
    server = RecordedServer(payloads)
    total = len(server.payloads)
    run = VirtualServer(server).run(connection(server, 5), connection(server, 0, missed=total))
    assert by_session(run.seen) == by_session(clean_run(payloads).seen)
    created = [event for event in run.seen if isinstance(event, ev.SessionCreated)]
    assert len(created) == 4
    assert [bool(event.parent_id) for event in created] == [False, True, True, True]


def test_of_a_session_joined_late_only_the_missed_part_comes(payloads_of: Any) -> None:
    """S11: what happened before the first connection is no part of the gap."""
    server = RecordedServer(payloads_of("tools.global"))
    server.play(100)
    run = VirtualServer(server).run(connection(server, 0), connection(server, 0, missed=60))
    rows = [event for event in run.seen if isinstance(event, DURABLE)]
    assert len(rows) == 24
    assert run.counts.resumed == 24


@pytest.mark.parametrize("listening", [True, False])
def test_without_a_log_messages_are_fetched_once(payloads_of: Any, listening: bool) -> None:
    """S1, T10: at most one fetch per session, if anybody listens to messages; it says it is incomplete."""
    server = RecordedServer(payloads_of("subagents.global"), has_log=False)
    total = len(server.payloads)
    run = VirtualServer(server)
    run.run(connection(server, 60), connection(server, 0, missed=total), listen=listening)
    assert run.server.asked["GET /session/{id}/message"] == (4 if listening else 0)
    if listening:
        end = run.seen[-1]
        assert isinstance(end, ev.StreamResumed)
        assert not end.complete
        folded = {
            event.message_id: event.completed
            for event in run.seen
            if isinstance(event, ev.MessageUpdated)
        }
        truth = {
            key: message["info"]["time"].get("completed")
            for of_session in server.messages.values()
            for key, message in of_session.items()
        }
        assert {key: at and at * 1000 for key, at in folded.items()} == truth


def test_more_sessions_than_the_log_can_be_told_of(payloads_of: Any) -> None:
    """The log cannot be told of more than 900 sessions: then messages are fetched, and nothing fails."""
    server = RecordedServer(payloads_of("tools.global"))
    for number in range(950):
        session_id = f"ses_old{number}"
        server.sessions[session_id] = {"id": session_id, "time": {"created": 1, "updated": 1}}
    total = len(server.payloads)
    run = VirtualServer(server).run(connection(server, 60), connection(server, total, missed=60))
    assert run.server.asked["POST /sync/history"] == 0
    assert run.server.asked["GET /session/{id}/message"] == 1
    assert run.counts.lost == 0
    folded = {event.message_id for event in run.seen if isinstance(event, ev.MessageUpdated)}
    assert folded >= {key for of_one in server.messages.values() for key in of_one}


def test_a_restart_drops_what_was_pending(payloads_of: Any) -> None:
    """S1: a permission asked before the gap and pending no more is told as replied, without a reply."""
    payloads = payloads_of("permission.global")
    server = RecordedServer(payloads)
    asked_at = next(
        at for at, payload in enumerate(server.payloads) if b'"type":"permission.asked"' in payload
    )

    def killed() -> None:
        server.restart()

    def second() -> Iterator[Step]:
        killed()
        yield 0.1
        yield frames([server.greeting()])

    run = VirtualServer(server).run(connection(server, asked_at + 1), second())
    asked = next(event for event in run.seen if isinstance(event, ev.PermissionAsked))
    replied = next(event for event in run.seen if isinstance(event, ev.PermissionReplied))
    assert (replied.request_id, replied.reply) == (asked.request_id, "")
    assert last(run.seen, ev.SessionStatus)[asked.session_id].at == replied.at


def test_a_permission_asked_in_the_gap_is_asked_now(payloads_of: Any) -> None:
    """S1: what waits for a human is known after the gap, though no log holds it."""
    server = RecordedServer(payloads_of("permission.global"))
    asked_at = next(
        at for at, payload in enumerate(server.payloads) if b'"type":"permission.asked"' in payload
    )
    run = VirtualServer(server).run(connection(server, 20), connection(server, 0, missed=asked_at - 19))
    asked = [event for event in run.seen if isinstance(event, ev.PermissionAsked)]
    assert [event.request_id for event in asked] == list(server.pending["permission"])
    assert len(asked) == 1


def test_only_one_directory(payloads_of: Any) -> None:
    """S9: with a directory, another one's events, log and sessions are left out; without, they come."""
    mine = payloads_of("tools.global")
    others = [
        payload.replace(b"/home/dev/project", b"/home/dev/other").replace(b"ses_", b"ses_x")
        for payload in payloads_of("basic.global")
    ]
    mixed = [payload for pair in zip(mine, others, strict=False) for payload in pair] + mine[
        len(others) :
    ]
    everything = clean_run(mixed)
    for scope, asks in ((Scope(), 1), (Scope(directory="/home/dev/project"), 0)):
        server = RecordedServer(mixed)
        run = VirtualServer(server).run(
            connection(server, 100), connection(server, 500, missed=60), scope=scope
        )
        assert not any(event.session_id.startswith("ses_x") for event in run.seen)
        assert durable(run.seen) == durable(clean_run(mine).seen)
        assert server.asked["GET /path"] == asks
    assert any(event.session_id.startswith("ses_x") for event in everything.seen)


def test_an_old_server_has_one_stream_per_directory(payloads_of: Any) -> None:
    """A server without ``/global/event`` is followed on ``/event``, whose stream ends when it is disposed."""
    server = RecordedServer(payloads_of("basic.global"), has_log=False)
    unwrapped = [json.dumps(json.loads(payload)["payload"]).encode() for payload in server.payloads]
    greeting = json.dumps({"type": "server.connected", "properties": {}}).encode()
    from streams.opencode.errors import NotOpencode

    run = VirtualServer(server).run(
        [NotOpencode("a page")],
        [0.1, frames([greeting, *unwrapped[:40]])],
        [0.1, frames([greeting, *unwrapped[40:]])],
        scope=Scope(directory="/home/dev/project"),
    )
    assert [path for _, path, _ in run.opened] == ["/global/event", "/event", "/event", "/event"]
    assert run.opened[1][2] == {"directory": "/home/dev/project"}
    assert [type(event) for event in run.seen].count(ev.StreamGap) == 1
    assert run.errors == []


def test_what_a_subscriber_derives_is_the_same(payloads_of: Any) -> None:
    """S1: a pipeline over a stream with gaps ends where one over a whole stream does."""
    import operators as ops
    from streams import ContextLimits

    limits = ContextLimits({"acme/kestrel-tight": 32_000})
    payloads = payloads_of("compaction.global")
    readings: list[list[Any]] = []
    for step in (10_000, 37):
        server = RecordedServer(payloads)
        run = VirtualServer(server)
        seen: list[Any] = []
        run.hub.pipe(ops.context_usage(limits)).subscribe(seen.append)
        count = len(server.payloads)
        gaps = (connection(server, step, missed=step // 3) for _ in range(-(-count // step)))
        run.run(connection(server, step), *gaps)
        readings.append([(usage.tokens, usage.message_id) for usage in seen])
    assert readings[1][-1] == readings[0][-1]
    assert len(readings[1]) > 5


def test_an_unheard_of_hub_wants_nothing() -> None:
    """What nobody listens to is not asked for: a hub says what its subscribers want."""
    hub = EventHub()
    assert not hub.wants(ev.SessionStatus)
    following = hub.of(ev.SessionInfo).subscribe(lambda event: None)
    assert hub.wants(ev.SessionCreated, ev.TodosUpdated)
    assert not hub.wants(ev.TodosUpdated)
    following.dispose()
    assert not hub.wants(ev.SessionCreated)
