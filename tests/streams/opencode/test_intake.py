"""Payloads to events: each once, in order, with nothing missing unnoticed."""

import json
import random
from typing import Any

import pytest
from loguru import logger

from streams import events as ev
from streams.events import SessionEvent
from streams.opencode.framing import Oversized
from streams.opencode.intake import Intake
from streams.opencode.recent import RecentIds


def plain(number: int, kind: str = "session.updated", session_id: str = "s") -> bytes:
    info = {"id": session_id, "title": str(number)}
    properties = {"sessionID": session_id, "info": info, "delta": str(number), "partID": "p"}
    payload = {"id": f"evt_{number:03}", "type": kind, "properties": properties}
    return json.dumps(
        {"directory": "/d", "project": "p", "payload": payload}, separators=(",", ":")
    ).encode()


def twin(number: int, seq: int, session_id: str = "s") -> bytes:
    data = {"sessionID": session_id, "info": {"id": session_id, "title": str(number)}}
    entry = {
        "id": f"evt_{number:03}",
        "type": "session.updated.1",
        "seq": seq,
        "aggregateID": session_id,
        "data": data,
    }
    payload = {"type": "sync", "syncEvent": entry}
    return json.dumps(
        {"directory": "/d", "project": "p", "payload": payload}, separators=(",", ":")
    ).encode()


def pair(number: int, seq: int, session_id: str = "s") -> list[bytes]:
    return [plain(number, session_id=session_id), twin(number, seq, session_id)]


def shown(events: list[SessionEvent]) -> list[str]:
    return [
        event.delta if isinstance(event, ev.PartDelta) else getattr(event, "title", "?")
        for event in events
    ]


def taken(intake: Intake, *payloads: bytes) -> list[str]:
    return shown([event for payload in payloads for event in intake.take(payload, 1.0)])


def test_a_twin_is_published_in_place_of_the_plain_event() -> None:
    """The numbered twin is what is published, with the payload that ``/event`` would have sent."""
    intake = Intake()
    assert taken(intake, *pair(1, 0), *pair(2, 1)) == ["1", "2"]
    (event,) = [*intake.take(plain(3), 1.0), *intake.take(twin(3, 2), 1.0)]
    assert event.raw.startswith(b'{"id":"evt_003","type":"session.updated","properties":{')
    assert (intake.counts.duplicates, intake.sequence.last) == (0, {"s": 2})


def test_without_twins_the_plain_events_are_published() -> None:
    """An older server has no twins, and nothing waits for one."""
    intake = Intake()
    assert taken(intake, plain(1), plain(2), plain(3)) == ["1", "2", "3"]


def test_everything_twice() -> None:
    """S4: repeated payloads are published once, wherever the repetition comes."""
    intake = Intake()
    payloads = [payload for number in range(20) for payload in pair(number, number)]
    payloads += [plain(100 + number, "message.part.delta") for number in range(20)]
    assert taken(intake, *(each for payload in payloads for each in (payload, payload))) == [
        *map(str, range(20)),
        *map(str, range(100, 120)),
    ]
    assert taken(intake, *payloads) == []
    assert intake.counts.duplicates > 0


def test_a_missing_number_holds_its_session_back() -> None:
    """S4: what follows a missing number waits for it, deltas too; other sessions go on."""
    intake = Intake()
    assert taken(intake, *pair(1, 0)) == ["1"]
    assert taken(intake, *pair(3, 2), plain(50, "message.part.delta")) == []
    assert taken(intake, *pair(4, 0, "other")) == ["4"]
    assert list(intake.sequence.held) == ["s"]
    assert taken(intake, *pair(2, 1)) == ["2", "3", "50"]
    assert intake.sequence.held == {}


def test_shuffled_within_windows_of_five() -> None:
    """S4: durable events that arrive a few places off are put into the order of their numbers."""
    for seed in range(30):
        intake = Intake()
        intake.take(plain(0), 0.0)
        assert taken(intake, twin(0, 0)) == []
        payloads = [payload for number in range(1, 100) for payload in pair(number, number)]
        chance = random.Random(seed)
        for at in range(0, len(payloads), 5):
            window = payloads[at : at + 5]
            chance.shuffle(window)
            payloads[at : at + 5] = window
        assert taken(intake, *payloads) == list(map(str, range(1, 100)))


def test_a_number_that_never_comes_is_not_waited_for_without_end() -> None:
    """R1: what is held back is bounded; then the missing number counts as lost."""
    intake = Intake()
    taken(intake, *pair(0, 0))
    seen = [each for number in range(2, 1_500) for each in taken(intake, *pair(number, number))]
    assert seen[:3] == ["2", "3", "4"]
    assert len(seen) > 400
    assert intake.sequence.lost == 1


def test_what_was_held_can_be_asked_for_after_the_connection_is_over() -> None:
    """S1: numbered events that waited are forgotten, so that the log's answer is no repetition."""
    intake = Intake()
    taken(intake, *pair(1, 0), *pair(3, 2), plain(50, "message.part.delta"))
    assert shown(intake.abandon()) == ["50"]
    assert taken(intake, *pair(2, 1), *pair(3, 2)) == ["2", "3"]


def test_a_session_heard_of_late_begins_where_it_is() -> None:
    """S11: the first number that is heard is no hole."""
    intake = Intake()
    assert taken(intake, *pair(7, 41), *pair(8, 42)) == ["7", "8"]


def test_unknown_types_are_warned_of_once() -> None:
    """S5: 1 000 events of an unknown type come through, with one warning; known noise has none."""
    warnings: list[str] = []
    sink = logger.add(lambda message: warnings.append(str(message)), level="WARNING", format="{message}")
    intake = Intake()
    events = [event for number in range(1_000) for event in intake.take(plain(number, "x.y"), 1.0)]
    list(intake.take(plain(2_000, "file.edited"), 1.0))
    logger.remove(sink)
    assert len(events) == 1_000
    assert all(isinstance(event, ev.UnknownEvent) for event in events)
    assert len(warnings) == 1
    assert "'x.y'" in warnings[0]


def test_a_broken_payload_is_an_item() -> None:
    """S6: what cannot be read becomes a MalformedEvent; its twin brings the event all the same."""
    intake = Intake()
    taken(intake, *pair(1, 0))
    (broken,) = intake.take(b'{"directory":"/d","payload":{broken', 1.0)
    assert isinstance(broken, ev.MalformedEvent)
    assert taken(intake, plain(2)[:-9], twin(2, 1), *pair(3, 2)) == ["2", "3"]
    assert intake.counts.malformed == 1


def test_a_broken_twin_leaves_a_hole() -> None:
    """S6: a twin that cannot be read is missed as soon as the next one comes."""
    intake = Intake()
    taken(intake, *pair(1, 0))
    (broken,) = [*intake.take(plain(2), 1.0), *intake.take(twin(2, 1)[:-4], 1.0)]
    assert isinstance(broken, ev.MalformedEvent)
    assert taken(intake, *pair(3, 2)) == []
    assert list(intake.sequence.held) == ["s"]


def test_an_oversized_payload_is_an_item() -> None:
    """S7: it is told with its size and start."""
    (event,) = Intake().take(Oversized(5_000_000, b'{"id'), 1.0)
    assert isinstance(event, ev.MalformedEvent)
    assert (event.raw, event.reason) == (b'{"id', "oversized: 5000000 bytes")


@pytest.mark.parametrize(
    ("payload",                                                          "is_taken"),
    [
        (plain(1),                                                       True),
        (plain(1).replace(b'"/d"', b'"/d2"'),                            False),
        (b'{"payload":{"id":"e","type":"server.heartbeat","properties":{}}}', True),
        (b'{"project":"p","directory":"/d","payload":{"id":"e","type":"session.idle","properties":{"sessionID":"s"}}}', True),
        (b'{"project":"p","directory":"/x","payload":{"id":"e","type":"session.idle","properties":{"sessionID":"s"}}}', False),
        (b"broken",                                                      True),
    ],
)  # fmt: skip
def test_only_one_directory(payload: bytes, is_taken: bool) -> None:
    """S9: another directory's events are left out, whatever the order of the keys; broken ones are not."""
    intake = Intake()
    intake.only("/d")
    assert bool(list(intake.take(payload, 1.0))) is is_taken


def test_a_type_that_does_not_come_first() -> None:
    """The shortcut to an event's type may be wrong; then the event is decoded, never lost."""
    intake = Intake()
    taken(intake, *pair(1, 0))
    odd = (
        b'{"directory":"/d","payload":{"id":"evt_9","properties":{"sessionID":"s","part":'
        b'{"type":"text","id":"p","messageID":"m"}},"type":"message.part.updated"}}'
    )
    (event,) = intake.take(odd, 1.0)
    assert isinstance(event, ev.PartUpdated)


def test_remembered_ids_are_bounded() -> None:
    """R3: 100 000 ids take less than two generations' room, and the latest are known."""
    ids = RecentIds(1_000)
    for number in range(100_000):
        ids.add(str(number))
    assert len(ids) <= 2_000
    assert all(str(number) in ids for number in range(99_000, 100_000))
    assert "5" not in ids


def test_what_is_remembered_is_the_event_and_not_its_time() -> None:
    """E7: repeated an hour later it is the same one; it is forgotten for newer ones, and only then."""
    intake = Intake()
    first = plain(0, "message.part.delta")
    assert [len(list(intake.take(first, at))) for at in (0.0, 29.0, 3_600.0)] == [1, 0, 0]
    most = 0
    for number in range(1, 50_000):
        assert len(list(intake.take(plain(number, "message.part.delta"), 3_600.0))) == 1
        most = max(most, len(intake._ids))
    assert 8_192 <= most <= 2 * 8_192
    assert len(list(intake.take(first, 3_600.0))) == 1


def test_sessions_are_bounded() -> None:
    """R1: the numbers of at most 10 000 sessions are kept, those heard of last."""
    intake = Intake()
    payloads: list[Any] = [payload for n in range(10_500) for payload in pair(n, 0, f"ses_{n}")]
    taken(intake, *payloads)
    assert len(intake.sequence.last) == 10_000
    assert "ses_10499" in intake.sequence.last
