"""``transcript_snapshots``: a session's transcript, complete and in time."""

import gc
import json
import weakref
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from event_ids import numbered
from msgspec.structs import replace
from reactivex import Subject

import operators as ops
from operators.tombstones import TOMBSTONE
from operators.transcript_fold import TranscriptFold
from operators.transcript_snapshots import TranscriptSnapshotsLogic
from operators.transcript_state import TranscriptState
from streams import opencode
from streams.events import (
    PartDelta,
    PartRemoved,
    PartUpdated,
    SessionEvent,
    SessionExpired,
    SessionHistory,
    SessionStatus,
)
from streams.testing import (
    Timeline,
    assistant,
    busy,
    compacted,
    created,
    deleted,
    delta,
    error,
    idle,
    outputs,
    play_marbles,
    removed,
    text,
    tool,
    updated,
    user,
)


class Piece(str):
    """A text that can be referred to weakly."""

    __slots__ = ("__weakref__",)


Timed = SessionEvent | tuple[float, SessionEvent]


def snapshots(*events: Timed, **policy: Any) -> list[ops.TranscriptSnapshot]:
    """What these events lead to, with the stream's end."""
    return outputs(ops.transcript_snapshots(**policy), events)


def texts(snapshot: ops.TranscriptSnapshot) -> list[str]:
    """The texts of the whole, in order."""
    return [entry.text for entry in snapshot.whole if entry.kind == "text"]


def final(*events: Timed, **policy: Any) -> list[str]:
    """The texts at the end."""
    return texts(snapshots(*events, **policy)[-1])


def typed(kind: str, part_id: str, **fields: Any) -> PartUpdated:
    """A part of another type."""
    event = text("s", "m", part_id, "")
    return replace(event, part=replace(event.part, type=kind, **fields))


# --- when ---------------------------------------------------------------------------------------


def test_a_burst_is_one_snapshot() -> None:
    """Half a second after the last change, once."""
    line = Timeline()
    seen = line.watch(ops.transcript_snapshots())
    line.play((0.0, user("s", "m1")), (0.1, text("s", "m1", "p1", "fix")), (0.4, assistant("s", "m2")))
    line.advance_to(10)
    ((at, snapshot),) = seen
    assert at == 0.9
    assert (snapshot.version, snapshot.reason, snapshot.at) == (1, "quiet", 0.9)
    assert [entry.id for entry in snapshot.changed] == ["m1", "p1", "m2"]
    assert list(snapshot.whole) == list(snapshot.changed)
    assert str(snapshot) == "TranscriptSnapshot(s, 1, +3 -0)"


def test_idle_finds_the_last_message_written() -> None:
    """T2: the snapshot has the finishing part, and comes before the idle it was flushed by."""
    line = Timeline()
    seen: list[object] = []
    line.hub.pipe(ops.transcript_snapshots()).subscribe(lambda each: seen.append((each.at, *texts(each))))
    line.hub.of(SessionStatus).subscribe(lambda each: seen.append(each.status))
    line.play(
        (9.0, text("s", "m", "p", "")),
        (9.9, delta("s", "m", "p", "all of it")),
        (10.0, assistant("s", "m")),
        (10.001, SessionStatus("s", status="idle")),
        (10.002, idle("s")),
    )
    assert seen == [(9.5, ""), (10.001, "all of it"), "idle"]


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (idle("s"), "idle"),
        (SessionStatus("s", status="idle"), "idle"),
        (compacted("s"), "compacted"),
        (deleted("s"), "deleted"),
        (SessionExpired("s"), "expired"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_ends_something_flushes(ending: SessionEvent, reason: str) -> None:
    """T2: nothing is waited for any more; nothing pending, nothing said."""
    line = Timeline()
    seen = line.watch(ops.transcript_snapshots())
    line.play((0.0, text("s", "m", "p", "a")), (0.1, ending), (0.2, ending))
    assert [(at, each.reason, each.resting) for at, each in seen] == [(0.1, reason, True)]
    line.advance_to(0.2 + TOMBSTONE)
    assert len(seen) == 1
    assert line.scheduler.pending == 0


def test_constant_traffic_does_not_starve_it() -> None:
    """T3: a piece each 0.1 s for 60 s gives a snapshot each 5 s, and one at the end, all different."""
    line = Timeline()
    seen = line.watch(ops.transcript_snapshots())
    line.play((0.0, text("s", "m", "p", "")))
    for tenth in range(601):
        line.play((tenth / 10, delta("s", "m", "p", f"{tenth} ")))
    line.hub.on_completed()
    assert [at for at, _ in seen] == [*range(5, 61, 5), 60.0]
    assert [each.reason for _, each in seen] == ["at_most"] * 12 + ["end"]
    said = [texts(each)[0] for _, each in seen]
    assert len(set(said)) == 13
    assert said[-1] == "".join(f"{tenth} " for tenth in range(601))


@pytest.mark.parametrize("ending", ["error", "completed"])
def test_nothing_pending_is_lost_at_the_end(ending: str) -> None:
    """T4: what waits is emitted, then the end."""
    operator = ops.transcript_snapshots()
    diagram = "a#" if ending == "error" else "a|"
    seen = play_marbles(diagram, {"a": text("s", "m", "p", "a")}, operator, step=0.1)
    assert [(round(at, 6), each.kind) for at, each in seen] == [
        (0.1, "N"),
        (0.1, "E" if ending == "error" else "C"),
    ]


def test_a_plain_unsubscribe_drops_what_waits() -> None:
    """T4: the stated policy: who goes away wants nothing any more; the timer goes too."""
    line = Timeline()
    seen: list[object] = []
    subscription = line.hub.pipe(ops.transcript_snapshots()).subscribe(seen.append)
    line.play((0.0, text("s", "m", "p", "a")))
    subscription.dispose()
    line.advance_to(100)
    assert seen == []
    assert line.scheduler.pending == 0


def test_an_empty_stream_says_nothing() -> None:
    """Nor does a session without messages."""
    assert snapshots() == []
    assert snapshots(created("s"), busy("s"), idle("s"), updated("s", title="x"), deleted("s")) == []


def test_sessions_do_not_mix() -> None:
    """Two sessions, interleaved: each has its own, under one timer."""
    line = Timeline()
    seen = line.watch(ops.transcript_snapshots())
    line.play(
        (0.0, text("a", "m", "p", "1")),
        (0.3, text("b", "m", "p", "2")),
        (0.4, delta("a", "m", "p", "1")),
    )
    assert line.scheduler.pending == 1
    line.advance_to(10)
    assert [(at, each.session_id, *texts(each)) for at, each in seen] == [
        (0.8, "b", "2"),
        (0.9, "a", "11"),
    ]


def test_an_event_published_by_a_subscriber_follows() -> None:
    """X6: a snapshot that leads to an event does not nest, and loses nothing."""
    line = Timeline()
    seen: list[tuple[int, list[str]]] = []

    def answer(snapshot: ops.TranscriptSnapshot) -> None:
        seen.append((snapshot.version, texts(snapshot)))
        if snapshot.version < 3:
            line.hub.on_next(text("s", "m", f"p{snapshot.version}", "more"))

    line.hub.pipe(ops.transcript_snapshots()).subscribe(answer)
    line.play((0.0, text("s", "m", "p0", "a")))
    line.advance_to(10)
    assert seen == [(1, ["a"]), (2, ["a", "more"]), (3, ["a", "more", "more"])]


def test_an_expired_session_begins_anew() -> None:
    """E2: what was kept is gone with it; a later event starts over."""
    first, second = snapshots(text("s", "m", "p", "a"), SessionExpired("s"), text("s", "m", "q", "b"))
    assert (first.version, texts(first)) == (1, ["a"])
    assert (second.version, texts(second)) == (1, ["b"])


def test_stragglers_of_a_deleted_session_say_nothing() -> None:
    """E5: a deleted session is not brought back by its late pieces."""
    events = [text("s", "m", "p", "a"), deleted("s"), delta("s", "m", "p", "b"), idle("s")]
    assert [texts(each) for each in snapshots(*events)] == [["a"]]


def test_nothing_is_kept_of_a_session_that_is_gone() -> None:
    """R4: no snapshot, no transcript."""
    kept = weakref.WeakSet[Piece]()
    line = Timeline()
    line.hub.pipe(ops.transcript_snapshots()).subscribe(lambda each: None)
    line.play((0.0, text("s", "m", "p", "a")))
    for _ in range(300):
        piece = Piece("b")
        kept.add(piece)
        line.play((0.0, delta("s", "m", "p", piece)))
    del piece
    gc.collect()
    assert kept
    line.play((1.0, SessionExpired("s")))
    gc.collect()
    assert not kept


# --- the text -----------------------------------------------------------------------------------


def test_a_snapshot_of_the_part_is_a_barrier() -> None:
    """T11: updated `a`, piece `b`, updated `ab`, piece `c` is `abc`."""
    part = ("s", "m", "p")
    assert final(text(*part, "a"), delta(*part, "b"), text(*part, "ab"), delta(*part, "c")) == ["abc"]


def test_pieces_before_their_part_are_superseded_by_it() -> None:
    """T11: piece `He`, updated `He`, piece `llo` is `Hello`."""
    part = ("s", "m", "p")
    assert final(delta(*part, "He"), text(*part, "He"), delta(*part, "llo")) == ["Hello"]


def test_pieces_of_a_part_that_never_comes_are_dropped_and_counted() -> None:
    """T11: after 60 s; until then no entry speaks of them, and no session is woken for long."""
    line = Timeline()
    seen = line.watch(ops.transcript_snapshots())
    line.play((0.0, delta("s", "m", "ghost", "He")), (1.0, delta("s", "m", "ghost", "llo")))
    line.advance_to(59.9)
    assert line.scheduler.pending == 1
    line.advance_to(60.0)
    assert (seen, line.scheduler.pending) == ([], 0)
    line.play((61.0, text("s", "m", "p", "a")), (62.0, idle("s")))
    ((_, snapshot),) = seen
    assert (snapshot.dropped, texts(snapshot)) == (2, ["a"])


def test_reordered_and_repeated_events_end_in_the_right_text() -> None:
    """T11, S4: opencode's event ids say what came first, in whatever order events arrive."""
    part = ("s", "m", "p")
    events = [
        numbered(text(*part, "a"), 1),
        numbered(delta(*part, "b"), 2),
        numbered(text(*part, "ab"), 3),
        numbered(delta(*part, "c"), 4),
        numbered(delta(*part, "d"), 5),
    ]
    orders = (
        [0, 1, 2, 3, 4],
        [0, 2, 1, 4, 3],
        [1, 0, 3, 2, 4],
        [0, 0, 1, 1, 2, 2, 3, 3, 4, 4],
        [3, 2, 0, 1, 4],
    )
    for order in orders:
        assert final(*(events[place] for place in order)) == ["abcd"], order


def test_an_overtaken_update_says_nothing() -> None:
    """S4: of a part and of a message, the newest event counts, not the last one to arrive."""
    newer, older = numbered(text("s", "m", "p", "new"), 5), numbered(text("s", "m", "p", "old"), 4)
    assert final(newer, older) == ["new"]
    assert final(older, newer, older) == ["new"]
    told = [numbered(user("s", "m", created=float(number)), number) for number in (5, 4)]
    (entry,) = snapshots(*told)[-1].whole
    assert entry.message is not None
    assert entry.message.created == 5.0


def test_the_last_snapshot_of_a_part_settles_the_text() -> None:
    """T11, S8: pieces without ids, lost, doubled or swapped: the part at its end has the right text."""
    part = ("s", "m", "p")
    ended = text(*part, "hello")
    ended = replace(ended, part=replace(ended.part, time=type(ended.part.time)(1000, 2000)))
    streamed = [text(*part, ""), delta(*part, "lo"), delta(*part, "lo"), delta(*part, "h")]
    assert final(*streamed, ended) == ["hello"]
    assert final(*streamed, ended, *streamed) == ["hello"], "stragglers after the end change nothing"


def test_reasoning_never_enters_a_text() -> None:
    """T11: pieces go to their own part, and a reasoning part is no text."""
    reasoning = typed("reasoning", "r")
    events = [reasoning, text("s", "m", "t", ""), delta("s", "m", "r", "hm"), delta("s", "m", "t", "yes")]
    (snapshot,) = snapshots(*((0.0, event) for event in events))
    assert [(each.kind, each.text) for each in snapshot.whole] == [("reasoning", "hm"), ("text", "yes")]


def test_only_text_is_streamed() -> None:
    """A piece of a tool's input, or for a part that is a tool, is no text."""
    piece = PartDelta("s", message_id="m", part_id="p", field="input", delta="{")
    events = [
        text("s", "m", "p", "a"),
        piece,
        tool("s", "c", "bash", "pending"),
        delta("s", "m", "prt_c", "x"),
    ]
    (snapshot,) = snapshots(*((0.0, event) for event in events))
    assert [each.kind for each in snapshot.changed] == ["text", "tool"]
    assert texts(snapshot) == ["a"]


def test_growing_text_is_in_the_json_too() -> None:
    """The entry is a whole part at any time."""
    part = ("s", "m", "p")
    first, second = snapshots((0, text(*part, "a")), (1, delta(*part, '"b"')))
    assert json.loads(first.changed[0].json)["text"] == "a"
    assert json.loads(second.changed[0].json)["text"] == 'a"b"'
    assert json.loads(second.changed[0].json) | {"text": "a"} == json.loads(first.changed[0].json)


def test_a_text_that_broke_off_is_what_the_server_has_of_it() -> None:
    """A step begun anew in its message, or a next answer after a crash: what was streamed is lost."""
    again = [
        text("s", "m", "p1", ""),
        delta("s", "m", "p1", "broken"),
        text("s", "m", "p2", "whole"),
        assistant("s", "m", completed=9.0),
    ]
    assert final(*again) == ["", "whole"]
    crashed = [
        assistant("s", "m1", finish="", tokens=False),
        text("s", "m1", "p1", ""),
        delta("s", "m1", "p1", "broken"),
        assistant("s", "m2", finish="", tokens=False),
    ]
    assert final(*crashed) == [""]
    finished = [assistant("s", "m1"), *crashed[1:]]
    assert final(*finished) == ["broken"], "an answer that was finished has its text"


# --- tools, messages, compactions ---------------------------------------------------------------


def test_a_call_is_one_entry_that_changes() -> None:
    """Each state is a change of the same entry."""
    seen = snapshots(
        (0, tool("s", "c", "bash", "pending", input={})),
        (1, tool("s", "c", "bash", "running", input={"command": "ls"})),
        (2, tool("s", "c", "bash", "completed", input={"command": "ls"}, output="a.py")),
    )
    assert [[each.status for each in snapshot.changed] for snapshot in seen] == [
        ["pending"],
        ["running"],
        ["completed"],
    ]
    assert [len(snapshot.whole) for snapshot in seen] == [1, 1, 1]
    assert json.loads(seen[-1].changed[0].json)["state"]["output"] == "a.py"


def test_the_same_again_is_no_change() -> None:
    """T3: never two snapshots for the same content."""
    events = [(0, text("s", "m", "p", "a")), (1, text("s", "m", "p", "a")), (2, idle("s"))]
    assert len(snapshots(*events)) == 1


def test_a_settled_part_does_not_come_undone() -> None:
    """S4: a state that was overtaken by its successor is old news."""
    done = tool("s", "c", "bash", "completed", input={}, output="x")
    late = tool("s", "c", "bash", "running", input={})
    assert [each.status for each in snapshots((0, done), (1, late))[-1].whole] == ["completed"]


def test_an_input_that_is_said_once_stays() -> None:
    """The preview dialect does not repeat a call's name and input."""
    running = tool("s", "c", "bash", "running", input={"command": "ls"})
    done = tool("s", "c", "", "completed", output="a.py")
    (entry,) = snapshots((0, running), (0, done))[-1].whole
    assert (entry.tool, json.loads(entry.json)["state"]["input"]) == ("bash", {"command": "ls"})


def test_a_tools_input_is_spliced_from_the_bytes_that_came() -> None:
    """Numbers that no float holds, key order and spelling are those of the agent."""
    part = (
        b'{"id":"p","messageID":"m","sessionID":"s","type":"tool","callID":"c","tool":"calc","state":'
        b'{"status":"running","input":{"b":123456789012345678901234567890,"a":1.50,"\\u0061":"\\/"}}}'
    )
    event = opencode.decode(b'{"type":"message.part.updated","properties":{"part":%b}}' % part)
    (snapshot,) = snapshots(event)
    assert snapshot.changed[0].json == part


def test_what_is_removed_is_gone_and_stays_out() -> None:
    """Parts and messages; their stragglers do not bring them back."""
    seen = snapshots(
        (0, user("s", "m1")),
        (0, text("s", "m1", "p1", "a")),
        (0, text("s", "m1", "p2", "b")),
        (0, user("s", "m2")),
        (0, text("s", "m2", "p3", "c")),
        (1, PartRemoved("s", message_id="m1", part_id="p1")),
        (2, removed("s", "m2")),
        (3, text("s", "m1", "p1", "a again")),
        (3, text("s", "m2", "p3", "c again")),
        (3, delta("s", "m2", "p4", "new")),
        (3, user("s", "m2")),
    )
    assert [[each.id for each in snapshot.removed] for snapshot in seen] == [[], ["p1"], ["m2", "p3"]]
    assert [texts(snapshot) for snapshot in seen] == [["a", "b", "c"], ["b", "c"], ["b"]]


def test_what_was_never_shown_is_removed_silently() -> None:
    """Removed before any snapshot had it."""
    assert snapshots((0, text("s", "m", "p", "a")), (0.1, removed("s", "m"))) == []


def test_messages_and_parts_are_in_their_order() -> None:
    """opencode's ids sort by time, whatever the order of arrival; other ids are taken as they come."""
    ids = [f"msg_{number:026}" for number in range(3)]
    parts = [f"prt_{number:026}" for number in range(3)]
    events = [
        text("s", ids[2], parts[2], "3"),
        text("s", ids[0], parts[1], "2"),
        text("s", ids[0], parts[0], "1"),
    ]
    assert final(*events, user("s", ids[2]), user("s", ids[0])) == ["1", "2", "3"]
    assert final(text("s", "z", "b", "1"), text("s", "a", "z", "2"), text("s", "z", "a", "3")) == [
        "1",
        "3",
        "2",
    ]


def test_a_user_message_told_again_waits_while_the_session_works() -> None:
    """opencode sends it at each step, with all files changed so far: it is taken in at rest."""
    line = Timeline()
    seen = line.watch(ops.transcript_snapshots())
    again = replace(user("s", "m", created=0.0), agent="build")
    line.play(
        (0.0, user("s", "m", created=0.0)),
        (0.1, busy("s")),
        (1.0, again),
        (2.0, text("s", "a", "p", "x")),
        (9.0, again),
    )
    line.advance_to(20)
    assert [[each.id for each in snapshot.changed] for _, snapshot in seen] == [["m"], ["p"]]
    line.play((30.0, idle("s")))
    assert [[each.id for each in snapshot.changed] for _, snapshot in seen[2:]] == [["m"]]
    line.play((31.0, user("s", "m", created=1.0)))
    line.advance_to(40)
    assert len(seen) == 4, "a session at rest takes it in at once"


def test_a_compaction_is_an_entry() -> None:
    """As a part, where the agent writes one; else where the event came, and once."""
    part = typed("compaction", "p1", auto=True)
    (marked,) = snapshots((0, user("s", "m")), (0, part), (0, compacted("s")))
    assert [(each.kind, each.auto) for each in marked.whole] == [("message", False), ("compaction", True)]
    told = snapshots(
        (0, text("s", "m1", "p1", "before")),
        (1, compacted("s")),
        (1, compacted("s")),
        (2, text("s", "m2", "p2", "after")),
    )
    assert [each.kind for each in told[-1].whole] == ["text", "compaction", "text"]
    assert [each.kind for each in snapshots(compacted("s"))[-1].whole] == ["compaction"]


def test_what_a_session_says_of_itself_comes_along() -> None:
    """Its parent and its directory; that its history is complete if it was seen to begin."""
    begun = replace(created("c", "root"), directory="/work")
    (snapshot,) = snapshots(begun, text("c", "m", "p", "a"))
    assert (snapshot.parent_id, snapshot.directory) == ("root", "/work")
    assert snapshot.whole.complete
    assert not snapshots(text("s", "m", "p", "a"))[0].whole.complete


def test_only_what_is_included_is_kept() -> None:
    """Messages always are; pieces of what is left out are not gathered, nor counted as lost."""
    reasoning = typed("reasoning", "r")
    events = [
        user("s", "m"),
        reasoning,
        delta("s", "m", "r", "hm"),
        text("s", "m", "p", "a"),
        compacted("s"),
    ]
    line = Timeline()
    seen = line.watch(ops.transcript_snapshots(include=["text"]))
    line.play(*((0.0, event) for event in events), (100.0, text("s", "m", "p", "b")))
    line.advance_to(200)
    assert [entry.kind for entry in seen[-1][1].whole] == ["message", "text"]
    assert seen[-1][1].dropped == 0


def test_a_cap_bounds_every_entry() -> None:
    """T12: streamed or sent, texts and outputs alike."""
    (snapshot,) = snapshots(
        (0, text("s", "m", "p", "")),
        *((0, delta("s", "m", "p", "x" * 100)) for _ in range(100)),
        (0, text("s", "m", "q", "y" * 10_000)),
        (0, tool("s", "c", "bash", "completed", output="z" * 10_000, metadata={"diff": "d" * 30_000})),
        cap=1024,
    )
    sizes = {entry.id: len(entry.json) for entry in snapshot.whole}
    assert sizes["p"] < 1200
    assert sizes["q"] <= 1024
    assert sizes["prt_c"] <= 1024
    assert "characters cut]" in texts(snapshot)[0]


# --- versions -----------------------------------------------------------------------------------


def test_old_versions_stay_what_they_were() -> None:
    """Whatever comes after: removal, growth, a whole new text."""
    part = ("s", "m", "p")
    seen = snapshots(
        (0, text(*part, "a")),
        (1, delta(*part, "b")),
        (2, delta(*part, "c")),
        (3, text(*part, "new")),
        (4, removed("s", "m")),
    )
    assert [texts(each) for each in seen] == [["a"], ["ab"], ["abc"], ["new"], []]
    assert [each.version for each in seen] == [1, 2, 3, 4, 5]


def test_the_state_can_be_stored_and_goes_on() -> None:
    """A checkpoint in the middle of a text, with things pending: decoded, it ends the same."""
    logic = TranscriptSnapshotsLogic(TranscriptFold(None, None), 0.5, 5.0)
    events: list[SessionEvent] = [
        user("s", "m1"),
        text("s", "m1", "p1", "hi"),
        assistant("s", "m2", finish="", tokens=False),
        text("s", "m2", "p2", ""),
        *(delta("s", "m2", "p2", f"{number} ") for number in range(600)),
        delta("s", "m2", "ghost", "x"),
        tool("s", "c", "bash", "running", input={"a": 1}),
        tool("s", "c", "bash", "completed", output="x"),
    ]
    for cut in (2, 5, 300, len(events) - 1):
        state = plain = logic.start("s", 0.0)
        for number, event in enumerate(events):
            if number == cut:
                list(logic.on_timer(state, float(number)))
                state = msgspec.json.decode(msgspec.json.encode(state), type=TranscriptState)
            for each in {id(state): state, id(plain): plain}.values():
                list(logic.on_event(each, event, float(number)))
        (expected,) = logic.on_end(plain, 1e6)
        (restored,) = logic.on_end(state, 1e6)
        assert [each.json for each in restored.whole] == [each.json for each in expected.whole]


# --- bounds and arguments -----------------------------------------------------------------------


def test_a_million_characters_nobody_flushes_are_kept_once() -> None:
    """R1: pieces become chunks; there is no queue of events behind a snapshot that waits."""
    logic = TranscriptSnapshotsLogic(TranscriptFold(None, None), 0.5, 5.0)
    state = logic.start("s", 0.0)
    logic.on_event(state, text("s", "m", "p", ""), 0.0)
    for _ in range(100_000):
        logic.on_event(state, delta("s", "m", "p", "0123456789"), 0.0)
    (streamed,) = state.texts.values()
    assert len(streamed.pieces) <= 256
    assert streamed.size == sum(map(len, streamed.chunks))
    assert len(state.heard) == 1


def test_a_storm_of_updates_keeps_the_last() -> None:
    """R1: a bash call that sends its whole output again and again."""
    logic = TranscriptSnapshotsLogic(TranscriptFold(None, None), 0.5, 5.0)
    state = logic.start("s", 0.0)
    for number in range(1_000):
        logic.on_event(state, tool("s", "c", "bash", "running", metadata={"output": "x" * number}), 0.0)
    assert len(state.heard) == 1


def test_removals_are_remembered_up_to_a_bound() -> None:
    """R5: a session that removes for ever keeps the last 256."""
    logic = TranscriptSnapshotsLogic(TranscriptFold(None, None), 0.5, 5.0)
    state = logic.start("s", 0.0)
    for number in range(1_000):
        logic.on_event(state, removed("s", f"msg_{number:026}"), 0.0)
    assert len(state.removed) == 256


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"quiet": 0}, "quiet must be seconds above 0"),
        ({"quiet": -1}, "quiet must be seconds above 0"),
        ({"at_most": 0.1}, "at_most must be at least quiet"),
        ({"at_most": -1}, "at_most must be seconds above 0"),
        ({"include": "text"}, "include must be types of parts"),
        ({"include": []}, "include must be types of parts"),
        ({"cap": 10}, "cap must be a whole number of at least 1024"),
    ],
)
def test_bad_arguments(policy: dict[str, Any], message: str) -> None:
    """They are refused when given, by name, value and range."""
    with pytest.raises(ValueError, match=message):
        ops.transcript_snapshots(**policy)


def test_at_most_may_be_quiet() -> None:
    """Then it is a plain delay: each burst is written once, so long after it began."""
    line = Timeline()
    seen = line.watch(ops.transcript_snapshots(quiet=2, at_most=2))
    line.play(*((at / 2, text("s", "m", f"p{at}", "a")) for at in range(6)))
    line.advance_to(10)
    assert [at for at, _ in seen] == [2.0, 4.0]


def test_pieces_that_wait_for_their_part_hold_nothing_back() -> None:
    """T11: what else is known is written in its time, before and after they are given up."""
    line = Timeline()
    seen = line.watch(ops.transcript_snapshots())
    line.play((0.0, delta("s", "m", "ghost", "?")), (1.0, text("s", "m", "p", "a")))
    line.advance_to(59.8)
    line.play((59.8, text("s", "m", "p", "b")))
    line.advance_to(70)
    assert [(at, snapshot.reason) for at, snapshot in seen] == [(1.5, "quiet"), (60.3, "quiet")]


def test_durations_may_be_timedeltas() -> None:
    """As everywhere."""
    line = Timeline()
    seen = line.watch(ops.transcript_snapshots(quiet=timedelta(seconds=2), at_most=timedelta(minutes=1)))
    line.play((0.0, text("s", "m", "p", "a")))
    line.advance_to(10)
    assert [at for at, _ in seen] == [2.0]


def test_errors_of_the_session_are_no_entries() -> None:
    """They say nothing about messages; the message says it itself."""
    assert snapshots(error("s", "APIError")) == []


def test_a_source_that_is_no_hub() -> None:
    """Any stream of events will do."""
    source, line, seen = Subject[SessionEvent](), Timeline(), list[object]()
    source.pipe(ops.transcript_snapshots()).subscribe(seen.append, scheduler=line.scheduler)
    source.on_next(text("s", "m", "p", "a"))
    source.on_next(SessionHistory("s", asked=-5.0))
    source.on_completed()
    assert len(seen) == 1
