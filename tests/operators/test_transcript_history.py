"""``SessionHistory`` in ``transcript_snapshots``: what is fetched completes what is heard."""

import json
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

import operators as ops
from operators.transcript_fold import TranscriptFold
from operators.transcript_history import take_history
from operators.transcript_state import TranscriptState
from streams import events as ev
from streams import opencode
from streams.events import PartUpdated, SessionEvent, SessionHistory
from streams.testing import (
    assistant,
    busy,
    compacted,
    delta,
    idle,
    outputs,
    removed,
    text,
    tool,
    user,
)

Timed = SessionEvent | tuple[float, SessionEvent]


def history(asked: float, *events: Any) -> SessionHistory:
    """What a server answered."""
    return SessionHistory("s", asked=asked, events=events)


def settled(event: PartUpdated) -> PartUpdated:
    """The part with an end."""
    return replace(event, part=replace(event.part, time=ev.Times(1000.0, 2000.0)))


def final(*events: Timed, **policy: Any) -> list[str]:
    """The texts at the end."""
    last = outputs(ops.transcript_snapshots(**policy), events)[-1]
    return [entry.text for entry in last.whole if entry.kind == "text"]


def test_a_late_joiner_gets_what_was_before() -> None:
    """What is live follows what was fetched."""
    told = history(1.0, user("s", "m1"), text("s", "m1", "p1", "before"))
    seen = outputs(ops.transcript_snapshots(), [(1.2, text("s", "m2", "p2", "live")), (2, told)])
    assert [each.whole.complete for each in seen] == [False, True]
    assert [[entry.id for entry in each.changed] for each in seen] == [["p2"], ["m1", "p1"]]
    assert [entry.id for entry in seen[-1].whole] == ["m1", "p1", "p2"]


def test_what_was_heard_since_it_was_asked_is_newer() -> None:
    """The answer was on its way while the stream went on."""
    told = history(1.0, user("s", "m"), text("s", "m", "p", "old"), text("s", "m", "q", "told"))
    live = text("s", "m", "p", "new")
    assert final((0, text("s", "m", "q", "older")), (1.5, live), (2, told)) == ["told", "new"]


def test_what_was_missed_comes_where_it_belongs() -> None:
    """Ids that do not sort are put in the order that the server tells, around what was heard already."""

    def told(asked: float, *names: str) -> SessionHistory:
        return history(
            asked, *(text("s", name, part, f"{name}{part}") for name in names for part in "xyz")
        )

    live = [(0, text("s", "d", "y", "dy")), (0, text("s", "g", "x", "gx"))]
    later = [(5, text("s", "h", "x", "hx")), (5, text("s", "d", "zz", "gone"))]
    seen = final(*live, (2, told(1, *"bdf")), *later, (7, told(6, *"abcdefgh")))
    assert "".join(seen) == "".join(f"{name}{part}" for name in "abcdefgh" for part in ("x", "y", "z"))


def test_an_older_answer_after_a_newer_one_says_nothing() -> None:
    """T10: answers r1 and r2, arriving r2, r1: r2 is kept."""
    first, second = (history(at, user("s", "m"), text("s", "m", "p", f"r{at:.0f}")) for at in (1.0, 2.0))
    assert final((3, second), (4, first)) == ["r2"]
    assert final((3, first), (4, second)) == ["r2"]


def test_what_the_server_no_longer_has_is_removed() -> None:
    """Messages undone in a gap; what came since it was asked stays, and what was removed stays away."""
    told = history(3.0, user("s", "m2"), text("s", "m2", "p2", "kept"), text("s", "m3", "p3", "undone"))
    events = [
        (0, user("s", "m1")),
        (0, text("s", "m1", "p1", "gone")),
        (0, text("s", "m2", "p2", "kept")),
        (3.5, removed("s", "m3")),
        (3.5, text("s", "m4", "p4", "new")),
        (3.6, text("s", "m5", "p5", "")),
        (3.7, delta("s", "m5", "p5", "writing")),
        (4, told),
        (4.1, text("s", "m1", "p1", "straggler")),
    ]
    assert final(*events) == ["kept", "new", "writing"]


def test_a_text_that_is_written_is_not_cut_by_what_the_server_stored() -> None:
    """The server stores a text when it is over: until then it says that there is none."""
    told = history(3.0, user("s", "m1"), assistant("s", "m2", finish=""), text("s", "m2", "p", ""))
    before = [
        (0, assistant("s", "m2", finish="")),
        (0, text("s", "m2", "p", "")),
        (1, delta("s", "m2", "p", "so far")),
    ]
    assert final(*before, (4, told), (5, delta("s", "m2", "p", ", so good"))) == ["so far, so good"]


def test_a_text_that_broke_off_is_what_the_server_stored() -> None:
    """Of an older message, nothing more is to come."""
    told = history(3.0, assistant("s", "m2"), text("s", "m2", "p", ""), user("s", "m3"))
    before = [
        (0, assistant("s", "m2", finish="")),
        (0, text("s", "m2", "p", "")),
        (1, delta("s", "m2", "p", "so far")),
    ]
    assert final(*before, (4, told)) == [""]


def test_pieces_that_waited_for_their_part_follow_it() -> None:
    """Joined in the middle of a text: the part comes with the history, the rest at its end."""
    told = history(1.0, assistant("s", "m", finish=""), text("s", "m", "p", ""))
    seen = outputs(
        ops.transcript_snapshots(),
        [(0, delta("s", "m", "p", "middle ")), (2, told), (3, delta("s", "m", "p", "end"))],
    )
    assert seen[-1].whole.last is not None
    assert seen[-1].whole.last.text == "middle end"
    assert seen[-1].dropped == 0


def test_the_instant_of_the_question_counts_as_after_it() -> None:
    """T10: what was heard, written or removed at that very time is newer than the answer."""
    told = history(1.0, user("s", "m"), text("s", "m", "p", "old"))
    assert final((0, text("s", "m", "p", "older")), (1, text("s", "m", "p", "new")), (2, told)) == ["new"]
    begun = [(0, text("s", "m", "p", "so ")), (1, delta("s", "m", "p", "far"))]
    assert final(*begun, (1.2, told)) == final(*begun, (2, told)) == ["so far"]
    followed = history(1.0, user("s", "m"), text("s", "m", "p", "old"), user("s", "m2"))
    assert final(*begun, (1.2, followed)) == ["so far"], "though no more of it is to be expected"
    assert final((1, removed("s", "m")), (2, told), (3, text("s", "x", "y", "z"))) == ["z"]
    nothing = history(1.0, user("s", "other"))
    assert final((1, text("s", "m", "p", "new")), (2, nothing)) == ["new"]
    assert final(*begun, (1.2, nothing)) == final(*begun, (2, nothing)) == ["so far"]


def test_a_text_written_since_it_was_asked_goes_on() -> None:
    """T10: its part is older than the question, its last piece is not; of a text that ended too."""
    before = [(0, text("s", "m", "p", "so ")), (1.5, delta("s", "m", "p", "far"))]
    told = history(
        1.0, assistant("s", "m", finish=""), settled(text("s", "m", "p", "old")), user("s", "m2")
    )
    after = delta("s", "m", "p", ", so good")
    for heard in (1.6, 9.0):  # before the piece is in a snapshot, and after
        assert final(*before, (heard, told), (9.1, after)) == ["so far, so good"]


def test_pieces_of_a_part_that_nobody_heard_of_do_not_hide_the_answer() -> None:
    """T11: they wait for it, however new they are."""
    told = history(1.0, assistant("s", "m", finish=""), text("s", "m", "p", "so "))
    assert final((1.5, delta("s", "m", "p", "far")), (2, told)) == ["so far"]


def test_what_the_server_says_has_ended_is_written_no_more() -> None:
    """T11: a text that the server has whole is over; so is one of an older message."""
    begun = [
        (0, assistant("s", "m", finish="")),
        (0, text("s", "m", "p", "")),
        (0.5, delta("s", "m", "p", "x")),
    ]
    over = history(1.0, assistant("s", "m"), settled(text("s", "m", "p", "whole")))
    late = (3, delta("s", "m", "p", " and late"))
    assert final(*begun, (2, over), late) == ["whole"]


@pytest.mark.parametrize("kind", ["reasoning", "file"])
def test_only_texts_and_reasonings_run(kind: str) -> None:
    """The server stores them when they are over; anything else it has as it is."""
    part = replace(text("s", "m", "p", ""), part=replace(text("s", "m", "p", "").part, type=kind))
    begun = [(0, assistant("s", "m", finish="")), (0, part), (0.5, delta("s", "m", "p", "so far"))]
    told = history(1.0, assistant("s", "m", finish=""), part)
    (entry,) = [
        each
        for each in outputs(ops.transcript_snapshots(), [*begun, (2, told)])[-1].whole
        if each.kind == kind
    ]
    assert entry.text == ("so far" if kind == "reasoning" else "")
    assert entry.at == (0.5 if kind == "reasoning" else 1.0)


def test_a_part_removed_since_it_was_asked_stays_away() -> None:
    """T10: it alone; its message and the other parts come."""
    gone = ev.PartRemoved("s", message_id="m", part_id="p")
    told = history(1.0, user("s", "m"), text("s", "m", "p", "gone"), text("s", "m", "q", "kept"))
    assert final((1.5, gone), (2, told)) == ["kept"]


def test_what_is_told_again_after_its_removal_is_back() -> None:
    """An undo that was undone: the next event of it is news again."""
    told = history(3.0, user("s", "m"), text("s", "m", "p", "back"))
    before = [(0, text("s", "m", "p", "first")), (1, ev.PartRemoved("s", message_id="m", part_id="p"))]
    assert final(*before, (4, told)) == ["back"]
    assert final(*before, (4, told), (5, text("s", "m", "p", "and new"))) == ["and new"]
    without = history(2.5, user("s", "m"))
    assert final((0, text("s", "m", "p", "first")), (2.6, without), (4, told)) == ["back"]


def test_what_an_older_answer_did_not_have_a_newer_one_may() -> None:
    """T10: two answers on their way at once: an undo, seen by the first, was undone before the second."""
    without, told = (
        history(2.5, user("s", "m")),
        history(3.0, user("s", "m"), text("s", "m", "p", "back")),
    )
    assert final((0, text("s", "m", "p", "first")), (5, without), (6, told)) == ["back"]


def test_a_message_stays_with_a_part_that_was_heard_since() -> None:
    """T10: the message is older than the question, and the server does not tell of it yet."""
    events = [
        (0, assistant("s", "m1", finish="")),
        (0, assistant("s", "m2", finish="")),
        (3.5, text("s", "m2", "p", "new")),
        (4, history(3.0, user("s", "m0"))),
    ]
    whole = outputs(ops.transcript_snapshots(), events)[-1].whole
    assert [entry.id for entry in whole] == ["m0", "m2", "p"]


def test_a_second_answer_to_one_question_says_nothing() -> None:
    """T10: the first was taken."""
    first, second = (history(1.0, user("s", "m"), text("s", "m", "p", words)) for words in ("one", "two"))
    assert final((2, first), (3, second)) == ["one"]


def test_an_answer_completes_what_was_heard() -> None:
    """When it was first heard of stays, and so does a tool's name that is said once."""
    call = tool("s", "c", "bash", "running", input={"a": 1}, message_id="m")
    again = tool("s", "c", "", "completed", message_id="m")
    events = [(0.25, user("s", "m")), (0.5, call), (2, history(1.0, user("s", "m"), again))]
    whole = outputs(ops.transcript_snapshots(), events)[-1].whole
    assert [(each.kind, each.since, each.at, each.tool) for each in whole] == [
        ("message", 0.25, 1.0, ""),
        ("tool", 0.5, 1.0, "bash"),
    ]
    assert json.loads([*whole][1].json)["state"]["input"] == {"a": 1}


def test_an_answer_is_newer_than_what_waited_for_the_end_of_the_turn() -> None:
    """T10: a prompt told again at work, and then fetched."""
    again, newest = (replace(user("s", "m"), agent=name) for name in ("again", "newest"))
    events = [(0, user("s", "m")), (1, busy("s")), (2, again), (4, history(3.0, newest)), (9, idle("s"))]
    (entry,) = outputs(ops.transcript_snapshots(), events)[-1].whole
    assert entry.message is not None
    assert entry.message.agent == "newest"


def test_ids_that_sort_need_no_place() -> None:
    """Of a history of any length, nothing is kept beside its entries."""
    message, part = "msg_" + "1" * 26, "prt_" + "1" * 26
    state = TranscriptState("s")
    take_history(
        TranscriptFold(None, None),
        state,
        history(1.0, user("s", message), text("s", message, part, "a")),
        2.0,
    )
    assert (state.orders, len(state.heard)) == ({}, 2)


def test_a_compaction_that_came_as_an_event_stays() -> None:
    """No server's history has it."""
    seen = outputs(
        ops.transcript_snapshots(),
        [(0, text("s", "m", "p", "a")), (1, compacted("s")), (3, history(2.0, text("s", "m", "p", "a")))],
    )
    assert [entry.kind for entry in seen[-1].whole] == ["text", "compaction"]


def test_the_same_history_again_is_no_change() -> None:
    """T1: the baseline does not grow, however often it is fetched."""
    entries = (user("s", "m", created=0.0), text("s", "m", "p", "a"))
    events = [(at, history(float(at), *entries)) for at in range(1, 4)]
    assert len(outputs(ops.transcript_snapshots(), [*events, (9, idle("s"))])) == 1


def test_only_what_is_included_is_taken() -> None:
    """As of what is heard."""
    told = history(1.0, user("s", "m"), tool("s", "c", "bash", "completed"), text("s", "m", "p", "a"))
    (snapshot,) = outputs(ops.transcript_snapshots(include=["text"]), [(2, told)])
    assert [entry.kind for entry in snapshot.whole] == ["message", "text"]


# --- the answer of a server ---------------------------------------------------------------------


def test_an_answer_is_one_event(recording_of: Any) -> None:
    """Messages and parts in order, each with the JSON that came."""
    ((session_id, messages),) = recording_of("tools").truth["messages"].items()
    answer = json.dumps(messages).encode()
    told = opencode.history(session_id, answer, asked=1.5, at=2.0)
    assert (told.session_id, told.asked, told.at) == (session_id, 1.5, 2.0)
    assert len(told.events) == sum(1 + len(message["parts"]) for message in messages)
    (snapshot,) = outputs(ops.transcript_snapshots(), [(3, told)])
    infos = [json.loads(each.json) for each in snapshot.whole if each.kind == "message"]
    parts = [json.loads(each.json) for each in snapshot.whole if each.kind != "message"]
    assert infos == [message["info"] for message in messages]
    assert parts == [part for message in messages for part in message["parts"]]


def test_a_history_can_be_recorded() -> None:
    """Our own encoding reads back as the same."""
    told = history(1.0, user("s", "m"), tool("s", "c", "bash", "completed", input={"a": 1}))
    read = opencode.decode(opencode.wire.encode(told))
    assert isinstance(read, SessionHistory)
    assert read.asked == told.asked
    assert msgspec.json.encode(read.events) == msgspec.json.encode(told.events)


@pytest.mark.parametrize(
    "answer",
    [b"", b"{}", b'{"name":"NotFound"}', b"[1]", b'[{"parts":[]}]', b'[{"info":{"role":7},"parts":[]}]'],
)
def test_what_is_no_history_is_refused(answer: bytes) -> None:
    """An error's body, another answer, a message of the wrong shape."""
    with pytest.raises(ValueError):  # noqa: PT011 - msgspec's words
        opencode.history("s", answer)
