"""An opencode server as a source that is read again from a position, over a real socket."""

import json
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from loopback_server import LoopbackServer
from recorded_server import JSON, RecordedServer, as_global
from strict_observer import TIMEOUT, threads

import streams
from streams import events as ev
from streams.opencode import (
    BadAnswer,
    NotOpencode,
    OpencodeError,
    ServerLog,
    Unauthorized,
    following,
    server_log,
)
from streams.positions import Positioned, Reader, Resumable

ROOT = Path(__file__).parents[3]
WALL = 1_795_500_000.0
"""A little after the recordings."""

Read = list[Positioned]
Row = tuple[str, int, float, type, str]


def source(url: str, **arguments: Any) -> Resumable:
    return ServerLog(url, **{"first_retry": 0.001, "wall": lambda: WALL} | arguments)


def reading_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "sessionstreams server log"]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pause between connections is a first one."""
    monkeypatch.setattr(following, "STEADY", 0.0)
    monkeypatch.setattr(following, "SETTLE", 0.001)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Whatever a test does, closing its readers ends their threads."""
    yield
    for thread in reading_threads():
        thread.join(TIMEOUT)
        assert not thread.is_alive()


@pytest.fixture
def serve(recording_of: Any) -> Iterator[Callable[..., LoopbackServer]]:
    """``serve("tools")``: that recorded server; nothing has happened yet."""
    serving: list[LoopbackServer] = []

    def serve(
        stem: str = "tools.global", server: RecordedServer | None = None, **how: Any
    ) -> LoopbackServer:
        if server is None:
            raws = [event.raw for event in recording_of(stem).events()]
            server = RecordedServer(raws if stem.endswith("global") else as_global(raws))
        serving.append(LoopbackServer(server, **how))
        return serving[-1]

    yield serve
    for each in serving:
        each.close()


@pytest.fixture
def opened() -> Iterator[Callable[..., Reader]]:
    """``opened(url, positions)``; closed at the end."""
    readers: list[Reader] = []

    def open_(url: str, positions: dict[str, int] | None = None, **arguments: Any) -> Reader:
        readers.append(source(url, **arguments).open(positions or {}))
        return readers[-1]

    yield open_
    for reader in readers:
        reader.close()
        assert reader.read(0) == []


def twins(payloads: list[bytes]) -> list[dict[str, Any]]:
    return [
        each["payload"]["syncEvent"]
        for each in map(json.loads, payloads)
        if "syncEvent" in each["payload"]
    ]


def rows(read: Read) -> list[Row]:
    """What must be the same at every reading."""
    return [
        (
            each.key,
            each.after,
            each.event.at,
            type(each.event),
            json.dumps(json.loads(each.event.raw), sort_keys=True),
        )
        for each in read
    ]


def ids(read: Read) -> list[str]:
    return [each.event.event_id for each in read]


def by_session(read: Read) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows(read):
        found.setdefault(row[0], []).append(row)
    return found


def read_to(reader: Reader, count: int) -> Read:
    """So many events, or more of them that came along."""
    read: Read = []
    while len(read) < count:
        read += reader.read(5)
    return read


def read_all(reader: Reader) -> Read:
    """All that there is."""
    read = reader.read(0)
    while not reader.caught_up:
        read += reader.read(0.01)
    return read


def moved(positions: dict[str, int], read: Read) -> dict[str, int]:
    """The positions once this is taken in."""
    after = dict(positions)
    for each in read:
        after[each.key] = each.after
    return {key: last for key, last in after.items() if last >= 0}


def uninterrupted(serve: Any, opened: Any, stem: str) -> Read:
    """What one reader is told from the beginning to the end, as it happens."""
    loopback = serve(stem)
    reader = opened(loopback.url)
    loopback.wait_for_streams()
    loopback.happen(100_000)
    return read_to(reader, len(twins(loopback.server.payloads)))


# --- positions ------------------------------------------------------------------------------------


def test_what_happens_is_told_in_the_log_s_order(serve: Any, opened: Any) -> None:
    """Every durable event once, with its number, its session, and the time that its id has."""
    read = uninterrupted(serve, opened, "tools.global")
    entries = twins(serve("tools.global").server.payloads)
    assert ids(read) == [entry["id"] for entry in entries]
    assert [(each.key, each.after) for each in read] == [(e["aggregateID"], e["seq"]) for e in entries]
    assert all(each.event.session_id == each.key for each in read)
    created = next(each.event for each in read if isinstance(each.event, ev.SessionCreated))
    assert abs(created.at - created.created) < 1
    assert sorted(each.event.at for each in read) == [each.event.at for each in read]
    assert {type(each.event) for each in read} == {
        ev.SessionCreated,
        ev.SessionUpdated,
        ev.MessageUpdated,
        ev.PartUpdated,
    }


@pytest.mark.parametrize(
    "stem", ["tools.global", "subagents.global", "compaction.global", "nextgen.global", "errors", "many"]
)
def test_the_history_is_what_was_told_live(serve: Any, opened: Any, stem: str) -> None:
    """Read when all is over, or while it happens: the same events, times and positions, in the same order."""
    live = uninterrupted(serve, opened, stem)
    loopback = serve(stem)
    loopback.happen(100_000)
    reader = opened(loopback.url)
    assert rows(read_all(reader)) == rows(live)
    assert not reader.ended


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("stem", ["tools.global", "subagents.global", "compaction.global"])
def test_readings_from_any_positions_make_up_one(serve: Any, opened: Any, stem: str, seed: int) -> None:
    """Closed anywhere, also amid what one read returned, and opened there: together one uninterrupted reading."""
    chance = random.Random(f"{stem} {seed}")
    loopback = serve(stem)
    whole, positions = Read(), dict[str, int]()
    while loopback.server.played < len(loopback.server.payloads):
        loopback.happen(chance.choice([0, 1, 30, 200]))
        reader = opened(loopback.url, positions)
        read = read_all(reader)
        if chance.random() < 0.7:
            loopback.happen(chance.randrange(100))
            read += reader.read(0.005)
        reader.close()
        read = read[: chance.randrange(len(read) + 1)]
        whole += read
        positions = moved(positions, read)
    whole += read_all(opened(loopback.url, positions))
    assert rows(whole) == rows(uninterrupted(serve, opened, stem))


def test_where_all_was_read_nothing_is_told_again(serve: Any, opened: Any) -> None:
    """From the last positions: nothing, and it has caught up; the server is asked for nothing that was read."""
    loopback = serve()
    loopback.happen(100_000)
    positions = moved({}, read_all(opened(loopback.url)))
    reader = opened(loopback.url, positions)
    assert read_all(reader) == []
    told = loopback.server.bodies["POST /sync/history"]
    assert told == positions
    assert len(told) == 1


def test_more_sessions_than_the_server_can_be_told_of(serve: Any, opened: Any) -> None:
    """1 200 sessions: told of 900, it answers with all of the others, and what was read is passed over."""
    payloads = [
        _updated(f"ses_{number}", f"evt_{0x205E1D728000 + 4096 * (1_200 * again + number):012x}")
        for again in range(3)
        for number in range(1_200)
    ]
    loopback = serve(server=RecordedServer(as_global(payloads)))
    loopback.happen(4_800)  # each is in there twice: plain, and its twin
    read = read_all(opened(loopback.url))
    assert len(read) == 2_400
    loopback.happen(2_400)
    later = read_all(opened(loopback.url, moved({}, read)))
    assert [each.after for each in later] == [2] * 1_200
    assert len(loopback.server.bodies["POST /sync/history"]) == 900


def _updated(session_id: str, event_id: str) -> bytes:
    info = {"id": session_id, "title": "t", "time": {"created": 1, "updated": 2}}
    properties = {"sessionID": session_id, "info": info}
    return json.dumps({"id": event_id, "type": "session.updated", "properties": properties}).encode()


def test_across_the_moment_at_which_ids_begin_anew(serve: Any, opened: Any) -> None:
    """The 48 bits of time in an id overflow: times go on ascending, and the order is right in the history."""
    wrap = 26 * 2**36 / 1000
    values = [2**48 - 8 * 4096, 2**48 - 4096, 1, 4096 * 1000]
    payloads = [_updated(f"ses_{n % 2}", f"evt_{value:012x}") for n, value in enumerate(values)]
    loopback = serve(server=RecordedServer(as_global(payloads)))
    loopback.happen(100)
    read = read_all(opened(loopback.url, wall=lambda: wrap + 60))
    assert [each.event.at for each in read] == [wrap - 0.008, wrap - 0.001, wrap, wrap + 1]
    assert [each.key for each in read] == ["ses_0", "ses_1"] * 2


@pytest.mark.parametrize("bad", [-1, -7])
def test_no_such_position(bad: int) -> None:
    """A position below 0 is refused at once, by name."""
    with pytest.raises(ValueError, match=f"positions must be numbers from 0 on, got {bad} for 'ses_1'"):
        source("http://127.0.0.1:9").open({"ses_1": bad})


# --- lost connections -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("stem", ["subagents.global", "compaction.global"])
def test_cut_connections(serve: Any, opened: Any, stem: str, seed: int) -> None:
    """S1: cut or ended at any moment: nothing lost, nothing doubled, and the order is kept."""
    chance = random.Random(f"{stem} {seed}")
    loopback = serve(stem)
    reader = opened(loopback.url)
    read = Read()
    while loopback.server.played < len(loopback.server.payloads):
        if chance.random() < 0.5:
            loopback.wait_for_streams()
        loopback.happen(chance.choice([1, 5, 50]))
        if chance.random() < 0.4:
            chance.choice([loopback.cut, loopback.end])()
        if chance.random() < 0.5:
            read += reader.read(0)
    read += read_to(reader, len(twins(loopback.server.payloads)) - len(read))
    assert rows(read + reader.read(0)) == rows(uninterrupted(serve, opened, stem))


def test_while_it_is_away_it_has_not_caught_up(serve: Any, opened: Any) -> None:
    """``caught_up`` is false from the moment the connection is lost until all that was missed is read."""
    loopback = serve()
    loopback.happen(50)
    reader = opened(loopback.url)
    assert not reader.caught_up
    read = read_all(reader)
    loopback.server.overrides["POST /sync/history"] = lambda: (500, JSON, b"{}")
    loopback.cut()
    while reader.caught_up:
        read += reader.read(0.01)
    loopback.happen(100)
    assert (reader.read(0.05), reader.caught_up) == ([], False)
    del loopback.server.overrides["POST /sync/history"]
    read += read_all(reader)
    assert ids(read) == [entry["id"] for entry in twins(loopback.server.payloads[:150])]


def test_a_server_that_is_not_there_yet_and_is_restarted(serve: Any, opened: Any) -> None:
    """It is waited for, however long; afterwards it goes on with what the restarted one has in its log."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    reader = opened(f"http://127.0.0.1:{port}")
    assert reader.read(0.05) == []
    assert not reader.caught_up
    first = serve(port=port)
    first.happen(60)
    read = read_all(reader)
    first.server.overrides["POST /sync/history"] = lambda: (500, JSON, b"{}")
    first.close()
    first.server.play(40)
    first.server.restart()
    second = serve(server=first.server, port=port)
    while reader.caught_up or "/sync/history" not in second.seen:
        read += reader.read(0.01)
    assert not reader.caught_up
    del first.server.overrides["POST /sync/history"]
    second.happen(100_000)
    read += read_to(reader, len(twins(first.server.payloads)) - len(read))
    assert rows(read) == rows(uninterrupted(serve, opened, "tools.global"))


@pytest.mark.parametrize("stem", ["subagents.global", "lifecycle.global"])
def test_duplicates_are_told_once(serve: Any, opened: Any, stem: str) -> None:
    """S4: every 7th event comes twice, in the stream and in the history: each is told once."""
    loopback = serve(stem)
    server = loopback.server
    loopback.happen(len(server.payloads) // 2)

    def doubled() -> tuple[int, str, bytes]:
        return 200, JSON, json.dumps(list(twice(server._history({})))).encode()

    server.overrides["POST /sync/history"] = doubled
    expected = [row["id"] for row in sorted(server.log, key=lambda row: row["id"])]
    reader = opened(loopback.url)
    read = read_all(reader)
    assert ids(read) == expected
    payloads = server.play(100_000)
    loopback.send(twice(payloads))
    entries = twins(payloads)
    read += read_to(reader, len(entries))
    loopback.send([_live("ses_last", 0)])
    read += read_to(reader, 1)
    told = ids(read)[:-1]
    assert sorted(told) == sorted(expected + [entry["id"] for entry in entries])
    for of_one in by_session(read).values():
        assert [row[1] for row in of_one if row[1] >= 0] == list(range(len(of_one) - (of_one[-1][1] < 0)))


def twice(each: list[Any]) -> Iterator[Any]:
    """Every 7th of them twice."""
    return (one for n, one in enumerate(each) for _ in range(1 + (n % 7 == 0)))


def _live(session_id: str, seq: int, **changed: Any) -> bytes:
    """A twin as it comes on the stream."""
    payload = json.loads(_updated(session_id, f"evt_{0x205E1D728000 + 4096 * (60_000 + seq):012x}"))
    entry = {"id": payload["id"], "type": "session.updated.1", "seq": seq, "aggregateID": session_id}
    entry |= {"data": payload["properties"]} | changed
    return json.dumps(
        {"directory": "/", "payload": {"type": "sync", "syncEvent": entry}}, separators=(",", ":")
    ).encode()


def test_a_missing_number_has_the_history_asked_for(serve: Any, opened: Any) -> None:
    """S4: some twins never come: they are told from the history, before what follows them."""
    loopback = serve("compaction.global")
    reader = opened(loopback.url)
    loopback.wait_for_streams()
    read = read_all(reader)
    server = loopback.server
    while server.played < len(server.payloads):
        loopback.happen(40)
        server.play(13)
        loopback.happen(1)
    loopback.happen(1)
    loopback.cut()
    read += read_to(reader, len(twins(server.payloads)))
    assert rows(read) == rows(uninterrupted(serve, opened, "compaction.global"))
    assert loopback.server.asked["POST /sync/history"] >= 2


def test_what_was_missing_comes_before_what_follows_it(serve: Any, opened: Any) -> None:
    """S4: numbers that the stream passes over amid a connection are told first, at once, and once."""
    loopback = serve(server=RecordedServer([_live("ses_1", seq) for seq in range(8)]))
    reader = opened(loopback.url)
    loopback.wait_for_streams()
    read_all(reader)
    loopback.happen(2)
    assert [each.after for each in read_to(reader, 2)] == [0, 1]
    loopback.server.play(2)
    loopback.happen(2)
    assert [each.after for each in read_to(reader, 4)] == [2, 3, 4, 5]
    loopback.happen(2)
    assert [each.after for each in read_to(reader, 2)] == [6, 7]


def test_a_server_that_greets_before_it_listens(serve: Any, opened: Any) -> None:
    """opencode 1.18: what happens just after the greeting is in no stream; it is told from the history."""
    loopback = serve()
    history = loopback.server._history

    def answer_and_go_on() -> tuple[int, str, bytes]:
        told = history(loopback.server.bodies["POST /sync/history"])
        if loopback.server.asked["POST /sync/history"] < 3:
            loopback.server.play(100)
        return 200, JSON, json.dumps(told).encode()

    loopback.server.overrides["POST /sync/history"] = answer_and_go_on
    reader = opened(loopback.url)
    read = read_all(reader)
    assert ids(read) == [entry["id"] for entry in twins(loopback.server.payloads[:100])]
    loopback.send([b'{"payload":{"id":"","type":"server.heartbeat","properties":{}}}'])
    read += read_to(reader, 1)
    assert ids(read) == [entry["id"] for entry in twins(loopback.server.payloads[:200])]


def test_a_number_that_no_log_has(serve: Any, opened: Any, log: list[str]) -> None:
    """What is missing even there is passed over with a warning: the rest of the session is not held up."""
    loopback = serve()
    reader = opened(loopback.url)
    loopback.wait_for_streams()
    read_all(reader)
    entries = [_live("ses_x", 0), _live("ses_x", 4), _live("ses_x", 5), _live("ses_x", 4)]
    loopback.server.payloads = entries[:1]
    loopback.happen()
    loopback.send(entries[1:])
    assert [each.after for each in read_to(reader, 3)] == [0, 4, 5]
    assert log == ["3 entries of ses_x are in no log"]
    assert reader.caught_up


@pytest.mark.parametrize(
    "unreadable",
    [
        b'{"payload":{"type":"sync","syncEvent":{"seq":"many"}}}',
        b'{"payload":{"type":"sync"',
        b'{"payload":{"type":"sync","x":"' + b"x" * (16 * 1024 * 1024) + b'"}}',
    ],
    ids=["of another shape", "torn", "oversized"],
)
def test_a_twin_that_cannot_be_read(serve: Any, opened: Any, unreadable: bytes) -> None:
    """S7: the history is asked for it, so that nothing is missing."""
    loopback = serve()
    reader = opened(loopback.url)
    loopback.wait_for_streams()
    read_all(reader)
    loopback.server.play(100)
    loopback.send([unreadable])
    read = read_to(reader, 1)
    assert ids(read) == [entry["id"] for entry in twins(loopback.server.payloads[:100])]


# --- deletion -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stem", ["lifecycle.global", "restart.global"])
def test_a_deletion_that_is_seen_drops_the_position(serve: Any, opened: Any, stem: str) -> None:
    """A deleted session's last event says so, and its position is gone; the others' are kept."""
    read = uninterrupted(serve, opened, stem)
    deleted = [each for each in read if isinstance(each.event, ev.SessionDeleted)]
    entries = twins(serve(stem).server.payloads)
    assert [each.key for each in deleted] == [
        entry["aggregateID"] for entry in entries if entry["type"] == "session.deleted.1"
    ]
    assert all((each.after < 0) == (each in deleted) for each in read)
    assert moved({}, read).keys() == {each.key for each in read} - {each.key for each in deleted}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("stem", ["lifecycle.global", "restart.global"])
def test_deletions_that_nobody_saw(serve: Any, opened: Any, stem: str, seed: int) -> None:
    """A session that was deleted while nobody read is told as deleted, once; of all others all is told."""
    chance = random.Random(f"{stem} {seed}")
    loopback = serve(stem)
    whole, positions = Read(), dict[str, int]()
    while loopback.server.played < len(loopback.server.payloads):
        loopback.happen(chance.randrange(300))
        reader = opened(loopback.url, positions)
        read = read_all(reader)
        reader.close()
        whole += read
        positions = moved(positions, read)
    live = by_session(uninterrupted(serve, opened, stem))
    found = by_session(whole)
    assert set(positions) == set(loopback.server.sessions)
    for session_id, of_one in live.items():
        if of_one[-1][3] is not ev.SessionDeleted:
            assert found[session_id] == of_one
        elif session_id in found:
            *before, last = found[session_id]
            assert before == of_one[: len(before)]
            assert last[:4] == (session_id, -1, WALL, ev.SessionDeleted)


def test_a_deletion_that_was_missed_is_not_told_twice(serve: Any, opened: Any) -> None:
    """Told as missed, and then its twin comes after all, with a straggler: neither is told."""
    loopback = serve()
    reader = opened(loopback.url, {"ses_gone": 3})
    (gone,) = read_all(reader)
    assert (gone.key, gone.after, gone.event) == (
        "ses_gone",
        -1,
        ev.SessionDeleted("ses_gone", WALL, raw=gone.event.raw),
    )
    loopback.send(
        [_live("ses_gone", 4), _live("ses_gone", 5, type="session.deleted.1"), _live("ses_y", 0)]
    )
    assert [each.key for each in read_to(reader, 1)] == ["ses_y"]


# --- what is no such server -----------------------------------------------------------------------


def fails(reader: Reader) -> OpencodeError:
    """The error that reading ends with; it stays."""
    with pytest.raises(OpencodeError) as caught:
        read_to(reader, 100_000)
    with pytest.raises(OpencodeError) as again:
        reader.read(0)
    assert again.value is caught.value
    assert not reader.caught_up
    return caught.value


def test_refused_credentials(serve: Any, opened: Any) -> None:
    """Without the password, or with a wrong one: an error; with it, all; it is in no name."""
    loopback = serve(password="secret")
    loopback.happen(100)
    assert isinstance(fails(opened(loopback.url)), Unauthorized)
    assert isinstance(fails(opened(loopback.url, password="public")), Unauthorized)
    assert read_all(opened(loopback.url, password="secret"))
    in_url = loopback.url.replace("//", "//opencode:secret@")
    assert read_all(opened(in_url))
    assert source(in_url).name == source(loopback.url + "/").name == loopback.url


def test_no_opencode(serve: Any, opened: Any) -> None:
    """Something else that listens there, and a version without a log, are no such source."""
    other = serve()
    other.redirect = "http://127.0.0.1:9/"
    assert isinstance(fails(opened(other.url)), NotOpencode)
    without = serve(server=RecordedServer([], has_log=False))
    error = fails(opened(without.url))
    assert isinstance(error, NotOpencode)
    assert str(error).startswith(
        f"{without.url} has no log to be read again: POST {without.url}/sync/history"
    )


def test_a_log_that_is_shorter_than_what_was_read(serve: Any, opened: Any) -> None:
    """A server with other data, such as those of a backup, is not taken for the one that was read."""
    loopback = serve()
    loopback.happen(100)
    (session_id,) = loopback.server.sessions
    last = max(row["seq"] for row in loopback.server.log)
    error = fails(opened(loopback.url, {session_id: last + 1}))
    assert isinstance(error, BadAnswer)
    assert f"the log of {session_id} ends before {last + 1}, which was read" in str(error)


def test_an_id_that_has_no_time(serve: Any, opened: Any) -> None:
    """Without the record's own time nothing could be derived alike twice: it is an error."""
    loopback = serve(server=RecordedServer(as_global([_updated("ses_1", "c0ffee")])))
    loopback.happen(10)
    assert "no time is in the id 'c0ffee'" in str(fails(opened(loopback.url)))


def test_a_session_that_cannot_be_asked_about(serve: Any, opened: Any) -> None:
    """A server that fails is not believed to have deleted anything; it is asked again."""
    loopback = serve()
    answers = iter([(500, JSON, b"{}"), (503, JSON, b"{}"), (404, JSON, b"{}")])
    loopback.server.overrides["GET /session/{id}"] = lambda: next(answers)
    assert [each.key for each in read_all(opened(loopback.url, {"ses_gone": 0}))] == ["ses_gone"]
    assert loopback.server.asked["POST /sync/history"] == 4


def is_let_go(loopback: LoopbackServer) -> bool:
    """Whether the connection is closed: the server notices when it writes."""
    while loopback.streams:
        loopback.send([b"{}"])
        with suppress(TimeoutError):
            loopback.wait_for_streams(0, timeout=0.01)
    return True


# --- ends -----------------------------------------------------------------------------------------


def test_closed_while_somebody_waits(serve: Any, opened: Any) -> None:
    """Whoever waits in ``read`` returns at once, the connection is let go, and closing again is allowed."""
    loopback = serve()
    reader = opened(loopback.url)
    loopback.wait_for_streams()
    read_all(reader)
    read = list[Any]()
    with threads(lambda: read.append(reader.read(2 * TIMEOUT))):
        reader.close()
    assert read == [[]]
    assert is_let_go(loopback)
    reader.close()
    assert (reader.caught_up, reader.read(1)) == (False, [])


def test_closed_while_nobody_reads(serve: Any, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that is not read from stops reading the stream, has not caught up, and can be closed."""
    monkeypatch.setattr(server_log, "MAX_AHEAD", 1)
    loopback = serve("many")
    reader = opened(loopback.url)
    loopback.wait_for_streams()
    read_all(reader)
    while not reader._ahead.full():
        loopback.happen(50)
    loopback.happen(100_000)
    assert not reader.caught_up
    reader.close()
    assert reader.read(0) == []


def test_a_slow_reader_gets_all(serve: Any, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little is read ahead or returned at once, all of it comes, and only then has it caught up."""
    monkeypatch.setattr(server_log, "MAX_AHEAD", 1)
    monkeypatch.setattr(server_log, "MAX_GIVEN", 3)
    loopback = serve("subagents.global")
    loopback.happen(300)
    reader = opened(loopback.url)
    read = read_to(reader, 1)
    assert (len(read), reader.caught_up) == (3, False)
    loopback.happen(100_000)
    read += read_to(reader, len(twins(loopback.server.payloads)) - 3)
    assert rows(read) == rows(uninterrupted(serve, opened, "subagents.global"))


@pytest.mark.parametrize("silent", [False, True], ids=["connected", "connecting"])
def test_a_process_that_reads_ends_with_main(serve: Any, silent: bool) -> None:
    """X2: a reader that nobody closes keeps no process alive."""
    loopback = serve()
    loopback.silent = silent
    loopback.happen(100)
    script = f"""
import streams
reader = streams.opencode.ServerLog({loopback.url!r}).open({{}})
reader.read({0.05 if silent else 20})
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, timeout=TIMEOUT)
    assert (done.returncode, done.stderr) == (0, b"")


def test_nothing_is_begun_before_it_is_opened(loopback: LoopbackServer) -> None:
    """Making a source asks nothing and starts no thread; the arguments are checked."""
    source(loopback.url)
    assert (loopback.seen, reading_threads()) == ([], [])
    for name in ("silence", "first_retry"):
        with pytest.raises(ValueError, match=name):
            source(loopback.url, **{name: 0})
    with pytest.raises(ValueError, match="base_url"):
        streams.opencode.ServerLog("127.0.0.1")
