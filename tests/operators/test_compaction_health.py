"""compaction_health: a session that has gone silent since it was compacted."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import operators as ops
from operators.compaction_health import CompactionHealth, CompactionHealthLogic, HealthState
from streams import events as ev
from streams.events import SessionEvent
from streams.testing import (
    Timeline,
    assistant,
    compacted,
    created,
    deleted,
    outputs,
    step_finish,
    step_start,
    text,
    tool,
    user,
)

Timed = list[tuple[float, SessionEvent]]


def silent(at: float, *message_ids: str, session_id: str = "s") -> Timed:
    """Answers that only begin and end their steps, a tenth of a second each."""
    return [
        (at + place / 10, each)
        for place, message_id in enumerate(message_ids)
        for each in (
            assistant(session_id, message_id, finish="", created=at + place / 10),
            step_start(session_id, message_id),
            step_finish(session_id, message_id),
            assistant(session_id, message_id, created=at + place / 10),
            assistant(session_id, message_id, created=at + place / 10, completed=at + place / 10),
        )
    ]


def spoken(at: float, message_id: str, part: ev.PartUpdated) -> Timed:
    """An answer with one part beside its step's."""
    start, *_ = silent(at, message_id)
    return [start, (at, part), *silent(at, message_id)[1:]]


def watched(**how: Any) -> tuple[Timeline, list[tuple[float, CompactionHealth]]]:
    line = Timeline()
    return line, line.watch(ops.compaction_health(**how))


def test_three_silent_answers_after_a_compaction_call_for_one_recovery() -> None:
    """C15: a compaction, then three answers with nothing but step marks, are one recovery."""
    line, seen = watched()
    line.play((1, compacted("s")), *silent(2, "m1", "m2", "m3"))
    assert [(at, each.message_ids, each.recovery) for at, each in seen] == [(2.2, ("m1", "m2", "m3"), 1)]
    assert (seen[0][1].compacted, seen[0][1].at, seen[0][1].recoveries_left) == (1, 2.2, 2)


def test_the_compaction_that_a_recovery_starts_does_not_re_arm() -> None:
    """C15: a compaction within 5 s, then three more silent answers: still one."""
    line, seen = watched()
    line.play((1, compacted("s")), *silent(2, "m1", "m2", "m3"), (7.2, compacted("s")))
    line.play(*silent(8, "m4", "m5", "m6"), *silent(20, "m7", "m8", "m9"))
    assert len(seen) == 1


def test_a_later_compaction_re_arms() -> None:
    """C15: a compaction of its own, later than 5 s after the recovery, is watched again."""
    line, seen = watched()
    line.play((1, compacted("s")), *silent(2, "m1", "m2", "m3"), (7.3, compacted("s")))
    line.play(*silent(8, "m4", "m5", "m6"))
    assert [each.recovery for _, each in seen] == [1, 2]


def test_each_compaction_starts_the_count_afresh() -> None:
    """C15: two silent answers before a compaction and one after it are not three in a row."""
    line, seen = watched()
    line.play((1, compacted("s")), *silent(2, "m1", "m2"), (3, compacted("s")), *silent(4, "m3", "m4"))
    assert seen == []
    line.play(*silent(5, "m5"))
    assert [each.message_ids for _, each in seen] == [("m3", "m4", "m5")]


def test_at_most_three_recoveries_over_all_cycles() -> None:
    """C15: the cap is kept across compactions (omo commits 61083d499, 8090ee6af)."""
    line, seen = watched()
    for cycle in range(20):
        at = cycle * 100.0
        line.play((at, compacted("s")), *silent(at + 1, *(f"m{cycle:02}_{n}" for n in range(3))))
    assert [(each.recovery, each.recoveries_left) for _, each in seen] == [(1, 2), (2, 1), (3, 0)]


@pytest.mark.parametrize(
    "part",
    [
        text("s", "m2", "p", "done"),
        tool("s", "c1", "read", "completed", message_id="m2"),
        ev.PartUpdated("s", part=ev.Part("p", "m2", "reasoning", "hm")),
        ev.PartUpdated("s", part=ev.Part("p", "m2", "telepathy")),
    ],
)
def test_an_answer_that_says_something_starts_the_count_afresh(part: ev.PartUpdated) -> None:
    """C15: text, tool calls, reasoning and parts of a type not known yet are no silence."""
    line, seen = watched()
    line.play((1, compacted("s")), *silent(2, "m1"), *spoken(3, "m2", part), *silent(4, "m3", "m4"))
    assert seen == []
    line.play(*silent(5, "m5"))
    assert [each.message_ids for _, each in seen] == [("m3", "m4", "m5")]


@pytest.mark.parametrize(("announced", "recoveries"), [(True, [4.1]), (False, [])])
def test_an_answer_that_a_compaction_overtook(announced: bool, recoveries: list[float]) -> None:
    """C15, C2: it ends after the summary, and no part of it was heard. A compaction that was announced
    begins after it; one that was not has begun nothing, so that answer may have said something."""
    line, seen = watched()
    overtaken = assistant("s", "m2", tokens=False, finish="", created=2.5)
    line.play((1, compacted("s")), *silent(2, "m1"), (2.6, overtaken))
    line.play((3, assistant("s", "m3", summary=True)))
    if announced:
        line.play((3.1, compacted("s")), *silent(3.2, "m4"))
    line.play((3.5, assistant("s", "m2", created=2.5)), *silent(4, "m5", "m6"))
    assert [at for at, _ in seen] == recoveries


@pytest.mark.parametrize(
    "part", [text("s", "m2", "p", " \n"), ev.PartUpdated("s", part=ev.Part("p", "m2", "patch"))]
)
def test_blank_text_and_bookkeeping_are_silence(part: ev.PartUpdated) -> None:
    """C15: a text part without a word in it is no answer."""
    line, seen = watched()
    line.play((1, compacted("s")), *silent(2, "m1"), *spoken(3, "m2", part), *silent(4, "m3"))
    assert len(seen) == 1


def test_text_that_grows_counts_from_its_last_update() -> None:
    """opencode announces a text part with no text, and sends the whole of it at its end."""
    line, seen = watched()
    line.play((1, compacted("s")), *silent(2, "m1", "m2"))
    line.play((3, text("s", "m3", "p", "")), (3, text("s", "m3", "p", "hello")), *silent(3, "m3"))
    assert seen == []


def test_a_part_that_comes_late_breaks_the_silence() -> None:
    """S4: the text of an answer that was counted already takes it, and those before it, out again."""
    line, seen = watched()
    line.play((1, compacted("s")), *silent(2, "m1", "m2"), (2.2, text("s", "m1", "p", "hello")))
    line.play(*silent(3, "m3"))
    assert seen == []
    line.play(*silent(4, "m4"))
    assert [each.message_ids for _, each in seen] == [("m2", "m3", "m4")]


@pytest.mark.parametrize(
    "answer",
    [
        [assistant("s", "m3", error="MessageAbortedError"), assistant("s", "m3", error="APIError")],
        [assistant("s", "m3", agent="compaction", summary=True)],
        [user("s", "m3")],
        [assistant("s", "m3", created=0.5)],
        [assistant("s", "m3", finish="")],
        [assistant("s", "m2", created=2.1)],
    ],
)
def test_what_is_no_answer_does_not_count(answer: list[SessionEvent]) -> None:
    """C15: failed, aborted, unfinished, older and repeated answers, summaries and prompts."""
    line, seen = watched()
    line.play((1, compacted("s")), *silent(2, "m1", "m2"), (3, step_finish("s", "m3")))
    line.play(*((4, each) for each in answer))
    assert seen == []
    line.play(*silent(5, "m4"))
    assert [each.message_ids for _, each in seen] == [("m1", "m2", "m4")]


def test_an_answer_whose_parts_were_not_heard_is_not_silent() -> None:
    """S11: who joins late, or reads a source without parts, does not know that an answer was empty."""
    events = [(1.0, compacted("s")), *((n + 2.0, assistant("s", f"m{n}")) for n in range(9))]
    assert outputs(ops.compaction_health(), events) == []


def test_a_gap_starts_the_count_afresh() -> None:
    """S1: what was said while the stream was away is not known."""
    line, seen = watched()
    line.play((1, compacted("s")), *silent(2, "m1", "m2"), (3, ev.StreamGap()), *silent(4, "m3", "m4"))
    assert seen == []


def test_only_after_a_compaction() -> None:
    """A session that was never compacted may be as silent as it likes; an empty stream is."""
    assert outputs(ops.compaction_health(), silent(1, "m1", "m2", "m3", "m4")) == []
    assert outputs(ops.compaction_health(), []) == []


def test_the_answers_after_the_summary_count() -> None:
    """What counts is made after the summary, however late the compaction is announced."""
    line, seen = watched()
    line.play((1, assistant("s", "m0", agent="compaction", summary=True, created=1)))
    line.play((9, compacted("s")), *((at + 9, each) for at, each in silent(2, "m1", "m2", "m3")))
    assert len(seen) == 1


def test_old_answers_told_again_do_not_count() -> None:
    """S4: answers from before the compaction that are updated after it say nothing of it."""
    line, seen = watched()
    line.play((5, compacted("s")), *((at + 5, each) for at, each in silent(1, "m1", "m2", "m3")))
    assert seen == []


def test_what_is_kept_is_bounded() -> None:
    """Of a turn of 1 000 messages, whether the last 16 said anything is kept."""
    logic = CompactionHealthLogic(3, 3, 5.0)
    state = logic.start("s", 0)
    list(logic.on_event(state, ev.SessionCompacted("s", at=1), 1))
    for n in range(1000):
        list(logic.on_event(state, text("s", f"m{n}", "p", "hello"), 2))
    assert len(state.spoke) == 16


def test_state_survives_a_snapshot() -> None:
    """A snapshot taken after two silent answers decodes to an equal one, which the third completes."""
    logic = CompactionHealthLogic(3, 3, 5.0)
    state = logic.start("s", 0)
    for at, event in [(1.0, ev.SessionCompacted("s", at=1)), *silent(2, "m1", "m2")]:
        list(logic.on_event(state, event, at))
    restored = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=HealthState)
    assert restored == state
    said = [each for at, event in silent(3, "m3") for each in logic.on_event(restored, event, at)]
    assert [each.message_ids for each in said] == [("m1", "m2", "m3")]


def test_sessions_do_not_mix() -> None:
    """Two sessions interleaved: one is silent, the other answers in between."""
    line, seen = watched()
    line.play((1, compacted("s")), (1, compacted("t")))
    for n in range(1, 5):
        line.play(*silent(n + 1, f"m{n}"), *silent(n + 1.5, f"t{n}", session_id="t"))
        line.play((n + 1.8, text("t", f"t{n}", "p", "hello")))
    assert [each.session_id for _, each in seen] == ["s"]


@pytest.mark.parametrize("gone", [deleted("s"), ev.SessionExpired("s")])
def test_a_session_that_goes_is_forgotten(gone: SessionEvent) -> None:
    """E1, E5: after its end the count, the watch and the cap start afresh."""
    line, seen = watched()
    line.play((1, compacted("s")), *silent(2, "m1", "m2"), (3, gone), (3, created("s")))
    line.play(*silent(4, "m3", "m4", "m5"))
    assert seen == []


@pytest.mark.parametrize("end", ["completed", "error"])
def test_the_end_passes(end: str) -> None:
    """On completion and on error nothing is pending."""
    line = Timeline()
    heard: list[object] = []
    line.hub.pipe(ops.compaction_health()).subscribe(
        heard.append, lambda error: heard.append(str(error)), lambda: heard.append("completed")
    )
    line.play((1, compacted("s")), *silent(2, "m1", "m2"))
    _ = line.hub.on_completed() if end == "completed" else line.hub.on_error(OSError("error"))
    assert heard == [end]


def test_dispose_midway_and_re_entry() -> None:
    """X6: who disposes while being told is not told again; events published meanwhile follow."""
    line = Timeline()
    heard: list[CompactionHealth] = []

    def take(health: CompactionHealth) -> None:
        heard.append(health)
        line.hub.on_next(ev.SessionCompacted("s", at=50.0))
        subscribed.dispose()

    subscribed = line.hub.pipe(ops.compaction_health(settle=0, answers=1)).subscribe(take)
    line.play((1, compacted("s")), *silent(2, "m1"), *silent(60, "m2"))
    assert (len(heard), line.faults, line.scheduler.pending) == (1, [], 0)


@pytest.mark.parametrize(
    "how", [{"answers": 0}, {"answers": 2.5}, {"recoveries": 0}, {"settle": -1}, {"settle": float("nan")}]
)
def test_a_bad_argument_is_named(how: dict[str, Any]) -> None:
    """A bad argument raises at once and names itself and its value."""
    (name, value), *_ = how.items()
    with pytest.raises(ValueError, match=rf"^{name} must be .*{value}"):
        ops.compaction_health(**how)


KINDS: dict[str, Callable[[int], Timed]] = {
    "silent": lambda n: silent(n, f"m{n:04}"),
    "spoken": lambda n: spoken(n, f"m{n:04}", text("s", f"m{n:04}", "p", "hello")),
    "compacted": lambda n: [(n, compacted("s"))],
}


@given(st.lists(st.sampled_from(sorted(KINDS)), max_size=40))
def test_doubled_events_change_nothing(kinds: list[str]) -> None:
    """S4: each event twice gives what each event once gives; never more than three."""
    once = [timed for n, kind in enumerate(kinds) for timed in KINDS[kind](n)]
    twice = [timed for timed in once for _ in range(2)]
    expected = outputs(ops.compaction_health(), once)
    assert outputs(ops.compaction_health(), twice) == expected
    assert len(expected) <= 3


def test_real_sessions_are_healthy(recorded: Any) -> None:
    """No recording of a real server, compactions or not, calls for a recovery."""
    assert outputs(ops.compaction_health(), [(each.at, each) for each in recorded.events()]) == []


def test_the_time_of_a_compaction_may_be_zero() -> None:
    """C15: a clock that begins with the compaction has it at 0, and that is said."""
    rows = [(0.0, compacted("s")), *silent(1, "m1", "m2", "m3")]
    ((health),) = outputs(ops.compaction_health(), rows)
    assert (health.compacted, health.at, health.recoveries_left) == (0.0, health.at, 2)


def test_an_answer_as_old_as_the_summary_is_none_after_it() -> None:
    """C15: only answers made after the summary count."""
    summary = assistant("s", "m0", created=1, summary=True)
    rows = [(1.0, summary), (1.5, compacted("s"))]
    same = [
        (2.0, assistant("s", "m1", finish="", created=1)),
        (2.0, step_finish("s", "m1")),
        (2.0, assistant("s", "m1", created=1)),
    ]
    assert outputs(ops.compaction_health(answers=1), [*rows, *same]) == []
    assert len(outputs(ops.compaction_health(answers=1), [*rows, *silent(2, "m1")])) == 1
