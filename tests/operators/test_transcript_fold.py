"""``TranscriptFold``: streams that cross, break off, end, and are not wanted."""

import json
from typing import Any

import pytest
from event_ids import numbered
from msgspec.structs import replace

import operators as ops
from operators.streamed_text import FOLD
from operators.transcript_fold import ORPHANED, TranscriptFold
from operators.transcript_snapshots import TranscriptSnapshotsLogic
from operators.transcript_state import TranscriptState
from streams import events as ev
from streams.events import PartUpdated, SessionEvent
from streams.testing import assistant, busy, compacted, delta, idle, outputs, text, user

Timed = SessionEvent | tuple[float, SessionEvent]

Told = list[tuple[str, str]]


def of(kind: str, event: PartUpdated, **fields: Any) -> PartUpdated:
    return replace(event, part=replace(event.part, type=kind, **fields))


def ended(event: PartUpdated) -> PartUpdated:
    return replace(event, part=replace(event.part, time=ev.Times(1000.0, 2000.0)))


def last(*events: Timed, **policy: Any) -> ops.TranscriptSnapshot:
    return outputs(ops.transcript_snapshots(**policy), events)[-1]


def told(*events: Timed, **policy: Any) -> Told:
    """Each part and its text, at the end."""
    whole = last(*events, **policy).whole
    return [(entry.id, entry.text) for entry in whole if entry.kind in ("text", "reasoning")]


def answering(message_id: str) -> SessionEvent:
    return assistant("s", message_id, finish="", tokens=False)


def test_pieces_of_several_parts_cross() -> None:
    """T11: each goes to its own, however often they take turns; a part is told by its message too."""
    parts = [("m1", "p"), ("m1", "q"), ("m2", "p")]
    begun = [text("s", *part, "") for part in parts]
    pieces = [delta("s", *part, f"{number}") for number in range(4) for part in parts]
    assert told(*begun, *pieces) == [("p", "0123"), ("q", "0123"), ("p", "0123")]


def test_pieces_that_come_before_their_part_cross_too() -> None:
    """T11: of parts that nobody has heard of yet."""
    pieces = [delta("s", "m", name, f"{number}") for number in range(3) for name in "pq"]
    late = [text("s", "m", name, "") for name in "pq"]
    more = [delta("s", "m", name, "!") for name in "pq"]
    assert told(*pieces, *late, *more) == [("p", "!"), ("q", "!")], "a part's snapshot is a barrier"
    line = [(0.0, each) for each in pieces] + [(2.0, text("s", "m", "z", ""))]
    assert last(*line).dropped == 0


def test_a_long_text_keeps_its_chunks_when_its_part_is_repeated() -> None:
    """S4, T11: the very event that began it comes again, after hundreds of pieces."""
    part = numbered(text("s", "m", "p", "base "), 1)
    pieces = [numbered(delta("s", "m", "p", f"{number} "), number + 2) for number in range(2 * FOLD)]
    expected = "base " + "".join(f"{number} " for number in range(2 * FOLD))
    assert told(part, *pieces, part) == [("p", expected)]


def test_a_long_text_is_cut_to_its_cap_while_it_grows() -> None:
    """T12: what nobody looked at yet is bounded too."""
    pieces = [delta("s", "m", "p", "x" * 10) for _ in range(3 * FOLD)]
    ((_, seen),) = told((0, text("s", "m", "p", "base ")), *((0, each) for each in pieces), cap=1024)
    kept, _, mark = seen.partition("…")
    assert kept.startswith("base xxx")
    assert 1000 <= len(kept) <= 1024 + len("base ")
    assert mark == f" [{3 * FOLD * 10 + len('base ') - len(kept)} characters cut]"


def test_pieces_that_wait_are_kept_for_their_part_for_a_minute() -> None:
    """T11: once that has come, the text may take as long as it likes."""
    rows = [
        (0.0, delta("s", "m", "p", "lost, it is in the part: ")),
        (1.0, text("s", "m", "p", "so far")),
        (2.0, delta("s", "m", "p", ", so")),
        (ORPHANED + 10, delta("s", "m", "p", " good")),
        (ORPHANED + 11, text("s", "m", "q", "")),
    ]
    snapshot = last(*rows)
    assert [(entry.id, entry.text) for entry in snapshot.whole] == [("p", "so far, so good"), ("q", "")]
    assert snapshot.dropped == 0


def test_what_never_got_a_part_is_counted_all_of_it() -> None:
    """T11: two texts, in turn; a third that is younger is kept."""
    rows = [
        *[(0.0, delta("s", "m", "a", "x")) for _ in range(2)],
        *[(10.0, delta("s", "m", "b", "x")) for _ in range(3)],
        (65.0, delta("s", "m", "c", "kept ")),
        (80.0, text("s", "m", "p", "")),
        (81.0, idle("s")),
    ]
    seen = outputs(ops.transcript_snapshots(), rows)
    assert seen[-1].dropped == 5


def test_a_text_that_waits_keeps_no_other_from_breaking_off() -> None:
    """T11: pieces whose part has not come are looked past."""
    rows = [
        delta("s", "m1", "waits", "?"),
        answering("m1"),
        text("s", "m1", "p1", ""),
        delta("s", "m1", "p1", "broken"),
        answering("m2"),
    ]
    assert told(*rows) == [("p1", "")]


@pytest.mark.parametrize(
    ("ending",                                          "seen"),
    [
        (assistant("s", "m1", finish="stop"),           "so far"),
        (assistant("s", "m1", finish="", error="X"),    "so far"),
        (assistant("s", "m1", finish="", completed=9),  "so far"),
        (answering("m1"),                               ""),
    ],
)  # fmt: skip
def test_an_answer_that_is_over_keeps_its_text(ending: SessionEvent, seen: str) -> None:
    """T11: it ended, failed or was cut; one that did none of that broke off when the next began."""
    rows = [answering("m1"), text("s", "m1", "p", ""), delta("s", "m1", "p", "so far"), ending]
    assert told(*rows, answering("m2")) == [("p", seen)]


def test_a_prompt_breaks_nothing_off() -> None:
    """T11: one that is queued while the answer before it is still being written."""
    rows = [answering("m1"), text("s", "m1", "p", ""), delta("s", "m1", "p", "so far"), user("s", "m2")]
    assert told(*rows, delta("s", "m1", "p", ", so good")) == [("p", "so far, so good")]


def test_an_answer_told_again_breaks_nothing_off() -> None:
    """T11: only a new one does; and of a message that nobody knows, none does."""
    known = [answering("m1"), answering("m2"), text("s", "m1", "p", ""), delta("s", "m1", "p", "so far")]
    assert told(*known, answering("m2")) == [("p", "so far")]
    assert told(text("s", "m1", "p", ""), delta("s", "m1", "p", "so far"), answering("m2")) == [
        ("p", "so far")
    ]


@pytest.mark.parametrize("step", ["step-start", "text"])
def test_a_step_begun_anew_breaks_off_what_came_before(step: str) -> None:
    """T11: when its message is over; while that is written, the step may be its next."""
    rows = [
        answering("m"),
        text("s", "m", "p1", ""),
        delta("s", "m", "p1", "broken"),
        of(step, text("s", "m", "p2", "")),
        text("s", "m", "p3", ""),
        delta("s", "m", "p3", "whole"),
    ]
    assert told(*rows, answering("m"))[0] == ("p1", "broken")
    over = told(*rows, assistant("s", "m", completed=9.0))
    assert (over[0], over[-1]) == (("p1", ""), ("p3", "whole"))


def test_a_step_alone_breaks_off_what_came_before() -> None:
    """T11: though no text came after it."""
    rows = [
        answering("m"),
        text("s", "m", "p1", ""),
        delta("s", "m", "p1", "broken"),
        of("step-start", text("s", "m", "p2", "")),
    ]
    assert told(*rows, assistant("s", "m", completed=9.0)) == [("p1", "")]
    tooled = [*rows[:-1], of("file", text("s", "m", "p2", ""))]
    assert told(*tooled, assistant("s", "m", completed=9.0)) == [("p1", "broken")]


def test_an_answer_without_a_step_ends_quietly() -> None:
    """T11: a text that waits for its part, and a message that has none."""
    assert told(
        delta("s", "m", "waits", "?"), text("s", "x", "p", "a"), assistant("s", "m", completed=9.0)
    ) == [("p", "a")]


def test_reasoning_alone_is_no_step() -> None:
    """T11: a message that is over without any keeps what it thought."""
    rows = [answering("m"), of("reasoning", text("s", "m", "r", "")), delta("s", "m", "r", "hm")]
    assert told(*rows, assistant("s", "m", completed=9.0)) == [("r", "hm")]


def test_reasoning_is_streamed_until_it_ends() -> None:
    """T11: a snapshot of it in between is a barrier as for a text; its end is the end."""
    part = of("reasoning", text("s", "m", "r", ""))
    grown = of("reasoning", text("s", "m", "r", "hm"))
    rows = [part, delta("s", "m", "r", "hm"), grown, delta("s", "m", "r", ", yes")]
    assert told(*rows) == [("r", "hm, yes")]
    assert told(*rows, ended(grown), delta("s", "m", "r", "late")) == [("r", "hm")]


def test_a_part_that_came_whole_is_streamed_no_more() -> None:
    """An entry says of itself whether it is being written."""
    rows = [(0, text("s", "m", "p", "")), (0, delta("s", "m", "p", "a"))]
    (growing,) = last(*rows).whole
    assert growing.streamed is not None
    for at in (0, 1):
        (whole,) = last(*rows, (at, text("s", "m", "p", "a"))).whole
        assert (whole.streamed, whole.text) == (None, "a")


def test_what_is_not_wanted_is_not_gathered_whenever_it_comes() -> None:
    """Settled at once; begun, written and settled; and pieces before it."""
    part = text("s", "m", "p", "no")
    call = of("tool", text("s", "m", "t", ""))
    for rows in (
        [ended(part)],
        [part, delta("s", "m", "p", "x"), ended(part), ended(part)],
        [delta("s", "m", "p", "x"), part, delta("s", "m", "p", "y"), ended(part)],
    ):
        line = [(0.0, each) for each in [*rows, call]]
        snapshot = last(*line, (ORPHANED + 5, user("s", "m")), include=["tool"])
        assert [entry.kind for entry in snapshot.whole] == ["message", "tool"]
        assert snapshot.dropped == 0


def test_compactions_that_are_not_wanted_are_none() -> None:
    """Neither as an event; those that are have names and places of their own."""
    rows = [
        (0, text("s", "m1", "p1", "a")),
        (1, compacted("s")),
        (2, text("s", "m2", "p2", "b")),
        (3, compacted("s")),
    ]
    assert [each.kind for each in last(*rows, include=["text"]).whole] == ["text", "text"]
    whole = list(last(*rows, include=["text", "compaction"]).whole)
    assert [each.id for each in whole] == ["p1", "compaction 1", "p2", "compaction 2"]
    assert json.loads(whole[1].json) == {"id": "compaction 1", "sessionID": "s", "type": "compaction"}
    named = last((0, text("s", "m1", "p1", "a")), (1, numbered(compacted("s"), 7)))
    assert list(named.whole)[-1].id == f"evt_{7:026}"


def test_a_prompt_told_again_at_work_is_taken_in_with_the_end() -> None:
    """What waited for the session to rest is lost by none of its ends."""
    for ending, reason in (
        (compacted("s"), "compacted"),
        (ev.SessionDeleted("s"), "deleted"),
        (ev.SessionExpired("s"), "expired"),
        (None, "end"),
    ):
        again = replace(user("s", "m", created=0.0), agent="plan")
        rows: list[Timed] = [(0, user("s", "m", created=0.0)), (1, busy("s")), (2, again)]
        rows += [] if ending is None else [(3, ending)]
        seen = outputs(ops.transcript_snapshots(include=["text"]), rows)
        entry = seen[-1].whole.get(next(iter(seen[-1].whole)).key)
        assert entry is not None
        assert entry.message is not None
        assert (len(seen), entry.message.agent, seen[-1].reason) == (2, "plan", reason)
        assert seen[-1].at == (2.0 if ending is None else 3.0)


def test_an_overtaken_part_without_an_order_is_news() -> None:
    """S4: only ids that sort tell the older of two events."""
    first = replace(text("s", "m", "p", "first"), event_id="z")
    second = replace(text("s", "m", "p", "second"), event_id="a")
    mixed = numbered(text("s", "m", "p", "third"), 1)
    assert told(first, second) == [("p", "second")]
    assert told(first, mixed) == [("p", "third")]
    assert told(mixed, second) == [("p", "second")]


def test_a_prompt_told_again_waits_as_its_newest() -> None:
    """S4: of two that wait, the newer one stays, in whatever order they come."""
    first, older, newer = (
        numbered(replace(user("s", "m", created=0.0), agent=name), number)
        for number, name in enumerate(("first", "older", "newer"), 1)
    )
    for late in ([older, newer], [newer, older]):
        rows: list[Timed] = [(0, first), (1, busy("s")), *((2, each) for each in late), (9, idle("s"))]
        (entry,) = last(*rows).whole
        assert entry.message is not None
        assert entry.message.agent == "newer"


def test_pieces_that_wait_wake_nobody() -> None:
    """X11: there is nothing to be written yet, and one deadline: when they are given up."""
    logic = TranscriptSnapshotsLogic(TranscriptFold(None, None), 0.5, 5.0)
    state = logic.start("s", 0.0)
    logic.on_event(state, delta("s", "m", "p", "?"), 0.0)
    logic.on_event(state, delta("s", "m", "p", "?"), 1.0)
    assert logic.deadline(state) == ORPHANED


def test_nothing_is_kept_of_what_is_not_wanted() -> None:
    """T12: neither its pieces nor that it ever was, once it is over."""
    fold, state = TranscriptFold(frozenset({"tool"}), None), TranscriptState("s")
    for name in "pq":
        fold.take_delta(state, delta("s", "m", name, "x"), 0.0)
        fold.take_part(state, text("s", "m", name, "x"), 0.0)
        assert (state.texts, state.orphans) == ({}, {})
    for name in "pq":
        fold.take_delta(state, delta("s", "m", name, "x"), 0.0)
    assert (state.texts, state.orphans) == ({}, {})
    for name in "pq":
        fold.take_part(state, ended(text("s", "m", name, "x")), 0.0)
    assert (state.excluded, state.heard) == ({}, {})
