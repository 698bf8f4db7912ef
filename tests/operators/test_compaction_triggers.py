"""``compaction_triggers``: when to compact, how often at the most, and never on stale counts."""

import threading
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import operators as ops
from operators.compaction_triggers import (
    CompactionTriggersLogic,
    Pace,
    Pressure,
    TriggerState,
    threshold_tokens,
)
from operators.gauge import Gauge
from operators.pending_output import CALLS
from operators.per_session import SessionFold
from streams import ContextLimits, Limit
from streams.events import (
    LimitsChanged,
    Part,
    PartUpdated,
    SessionCreated,
    SessionEvent,
    SessionExpired,
)
from streams.testing import (
    Timeline,
    assistant,
    compacted,
    created,
    deleted,
    outputs,
    play_marbles,
    removed,
    text,
    tool,
    tool_after,
    updated,
    user,
)

LIMITS = ContextLimits({"anthropic/x": 200_000, "anthropic/long": 1_000_000})

Timed = tuple[float, SessionEvent]


def times(*events: Timed, limits: ContextLimits = LIMITS, **arguments: object) -> list[float]:
    """When these events trigger, at the defaults: 0.78 of 200 000, cooldown 60 s."""
    operator = ops.compaction_triggers(limits, **arguments)  # pyright: ignore[reportArgumentType]
    return [trigger.at for trigger in outputs(operator, events)]


def full(at: float, message_id: str = "", **arguments: object) -> Timed:
    """A finished answer of 160 000 tokens: 0.80."""
    return at, assistant("s", message_id or f"m{at:05}", input=160_000, **arguments)  # pyright: ignore[reportArgumentType]


def after(at: float) -> Timed:
    """A tool has run."""
    return at, tool_after("s", "read", f"call {at}")


def compacting(at: float, **arguments: object) -> Timed:
    """The answer of somebody's compaction, running unless told otherwise."""
    given = {"finish": "", "summary": True} | arguments
    return at, assistant("s", "summary", **given)  # pyright: ignore[reportArgumentType]


# --- when -----------------------------------------------------------------------------------------


def test_a_trigger_says_it_all() -> None:
    """C14: what it was decided on, and the threshold in tokens."""
    (trigger,) = outputs(ops.compaction_triggers(LIMITS), [full(3, "m1")])
    assert trigger == ops.CompactionTrigger(
        session_id="s",
        at=3.0,
        cause="sample",
        tokens=160_000,
        pending=0,
        limit=200_000,
        limit_kind="context",
        ratio=0.80,
        threshold=0.78,
        threshold_tokens=156_000,
        message_id="m1",
        provider_id="anthropic",
        model_id="x",
        number=1,
    )


def test_cooldown_starts_at_the_attempt() -> None:
    """C1: whatever became of the attempt, the next trigger comes 60 s after it, at the first event."""
    line = Timeline()
    seen = line.watch(ops.compaction_triggers(LIMITS))
    line.play(full(0), after(0), after(1), full(2), *(after(at) for at in range(2, 75)))
    assert [(at, trigger.cause, trigger.number) for at, trigger in seen] == [
        (0.0, "sample", 1),
        (60.0, "tool", 2),
    ]


def test_a_stale_sample_cannot_justify_a_second() -> None:
    """C2: only what was made after the compaction may trigger, cooldown or not."""
    seen = times(
        full(0),
        (70, compacted("s")),
        after(71),
        (72, assistant("s", "m2", input=180_000, created=69)),
        (73, tool_after("s", "read", "c2")),
        (80, assistant("s", "m3", input=160_000, created=75)),
    )
    assert seen == [0.0, 80.0]


def test_re_armed_after_success() -> None:
    """C5: a success blocks nothing; ten more full samples within the cooldown trigger nothing."""
    seen = times(
        full(0),
        (5, compacted("s")),
        (10, assistant("s", "m2", input=30_000)),
        full(200),
        *(full(at) for at in range(201, 211)),
    )
    assert seen == [0.0, 200.0]


def test_rate_ceiling() -> None:
    """C9: effective or not, at most ten an hour; the eleventh comes when the first is an hour old."""
    cycle = [
        event
        for at in range(0, 7200, 180)
        for event in (
            full(at),
            (at + 5, compacted("s")),
            (at + 10, assistant("s", f"m{at:05}b", input=20_000)),
        )
    ]
    seen = times(*cycle, max_per_hour=10)
    first = [180.0 * number for number in range(10)]
    assert first[-1] == 1620.0
    assert seen == first + [3600.0 + at for at in first]


def test_without_a_ceiling_only_the_cooldown_holds() -> None:
    """C9: the ceiling is asked for; a cooldown of 0 lets every event trigger, and keeps one time."""
    state = TriggerState(session_id="s")
    logic = logic_of(cooldown=0.0)
    for number in range(500):
        event = assistant("s", f"m{number:03}", input=160_000, created=number)
        assert len(list(logic.on_event(state, event, number))) == 1
    assert (state.number, state.triggered) == (500, (499.0,))


def test_only_what_is_new_triggers() -> None:
    """C2, C12: a repeated answer and a running tool settle nothing, cooldown over or not."""
    seen = times(
        full(1),
        full(62, "m00001", created=1),
        (63, tool("s", "c1", "bash", "pending")),
        (64, tool("s", "c1", "bash", "running", output="x")),
        (65, text("s", "m00001", "p", "hello")),
        (66, tool("s", "c1", "bash", "completed", output="x")),
    )
    assert seen == [1.0, 66.0]


@pytest.mark.parametrize(
    "event",
    [
        removed("s", "unheard-of"),
        updated("s", title="renamed"),
        assistant("s", "m2", tokens=False, created=2),
        assistant("s", "m2", tokens=False, created=2, error="MessageAbortedError"),
        compacted("other"),
    ],
    ids=["removed", "renamed", "repeated", "failed", "another session"],
)
def test_what_changes_nothing_decides_nothing(event: SessionEvent) -> None:
    """C12: once the cooldown is over, it is the next news of the window that triggers."""
    known = (2, assistant("s", "m2", tokens=False))
    assert times(full(1), known, (70, event), after(80)) == [1.0, 80.0]


def test_a_settled_call_is_a_cause_whoever_says_so() -> None:
    """C12: the hook after a tool and the tool's part, completed or failed, are one cause."""
    settled = [
        (1, tool("s", "c1", "bash", "completed", output="x")),
        (2, tool("s", "c2", "bash", "error", error="x")),
        after(3),
    ]
    seen = outputs(ops.compaction_triggers(LIMITS, cooldown=0), [full(0), *settled])
    assert [trigger.cause for trigger in seen] == ["sample", "tool", "tool", "tool"]


def test_four_tool_calls_at_one_instant() -> None:
    """C10: whatever settles at once triggers once."""
    line = Timeline()
    seen = line.watch(ops.compaction_triggers(LIMITS))
    line.play((0, assistant("s", "m1", input=160_000)))
    seen.clear()
    line.play(*((60, tool_after("s", "read", f"c{n}")) for n in range(4)))
    assert [at for at, _ in seen] == [60.0]


def test_four_threads_at_one_instant() -> None:
    """C10: four real threads behind a barrier trigger once."""
    line = Timeline()
    seen = line.watch(ops.compaction_triggers(LIMITS))
    line.play(full(0))
    line.advance_to(60)
    barrier = threading.Barrier(4)

    def publish(number: int) -> None:
        barrier.wait()
        line.hub.on_next(tool_after("s", "read", f"c{number}"))

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [at for at, _ in seen] == [0.0, 60.0]


def test_nothing_while_somebody_compacts() -> None:
    """C10: a running compaction of whoever started it holds triggers back until it has ended."""
    seen = times(
        (1, assistant("s", "m1", input=150_000)),
        compacting(10),
        (11, assistant("s", "m2", input=160_000, created=9)),
        after(12),
        compacting(20, created=10, input=160_000, finish="stop"),
        (20, compacted("s")),
        after(21),
        (30, assistant("s", "m3", input=160_000)),
    )
    assert seen == [30.0]


@pytest.mark.parametrize(
    "start",
    [
        PartUpdated("s", part=Part("p1", "u1", "compaction", auto=True)),
        assistant("s", "summary", finish="", agent="Compaction"),
    ],
    ids=["part", "agent"],
)
def test_every_sign_of_a_compaction_holds_back(start: SessionEvent) -> None:
    """C10: its part and its agent announce a compaction, until ``session.compacted``."""
    until_then = [(1, assistant("s", "m1", input=150_000)), (10, start), full(11, created=9)]
    assert times(*until_then, after(309)) == []
    assert times(*until_then, (20, compacted("s")), after(21)) == []
    assert times(*until_then, (20, compacted("s")), full(30)) == [30.0]


def test_a_compaction_without_an_end_holds_back_for_a_while() -> None:
    """C10: a compaction that nobody hears the end of holds back for 300 s from the first sign of it."""
    start = (1, assistant("s", "m1", input=150_000))
    again = compacting(100, created=10)
    assert times(start, compacting(10), full(11), again, after(309), after(310)) == [310.0]


@pytest.mark.parametrize(
    "end",
    [{"finish": "error", "completed": 12}, {"error": "MessageAbortedError"}],
    ids=["overflow", "abort"],
)
def test_a_failed_compaction_releases_at_once(end: dict[str, object]) -> None:
    """C10: with its definite end a failed compaction holds nothing back, and the sample stands."""
    ended = compacting(12, created=10, **end)
    seen = times((1, assistant("s", "m1", input=150_000)), compacting(10), full(11), ended, after(13))
    assert seen == [13.0]


def test_what_is_repeated_late_holds_nothing_back() -> None:
    """C10: a compaction's part and its answer said again are of the same compaction, which is over."""
    part = PartUpdated("s", part=Part("p1", "u1", "compaction", auto=True))
    seen = times(
        (1, part),
        compacting(2),
        compacting(3, created=2, finish="stop", completed=3),
        (3, compacted("s")),
        (4, part),
        compacting(4, created=2),
        full(5),
    )
    assert seen == [5.0]


def test_a_copied_history_triggers_nothing_and_holds_nothing_back() -> None:
    """C2, C10: a fork repeats samples and compactions that were over before it came to be."""
    copied = [
        (100, SessionCreated("s", created=100)),
        (100, assistant("s", "m1", input=160_000, created=1, completed=2)),
        (100, PartUpdated("s", part=Part("p1", "u1", "compaction", auto=True))),
        (100, assistant("s", "m2", summary=True, created=3, completed=4)),
        (100, assistant("s", "m3", input=157_000, created=5, completed=6)),
    ]
    assert times(*copied) == []
    assert times(*copied, full(101)) == [101.0]
    assert times(*copied, after(102)) == [102.0]


def test_a_summary_that_comes_after_its_event_holds_nothing_back() -> None:
    """C10: where ``session.compacted`` comes first, its finished summary is no running compaction."""
    seen = times((1, compacted("s")), compacting(2, finish="stop", input=160_000), full(5))
    assert seen == [5.0]


def test_checked_inside_long_turns() -> None:
    """C12: a turn of twenty steps triggers at the first sample above 91 750.4, long before its end."""
    limits = ContextLimits({"anthropic/x": 131_072})
    samples = [68_000 + 1_850 * number for number in range(20)]
    seen = outputs(
        ops.compaction_triggers(limits, threshold=0.7),
        [assistant("s", f"m{tokens}", input=tokens) for tokens in samples],
    )
    assert [trigger.tokens for trigger in seen] == [min(each for each in samples if each > 91_750.4)]


def test_the_trigger_and_the_gauge_agree_to_the_token() -> None:
    """C12, U14: it triggers exactly where the ratio reaches the threshold: 91 751 of 131 072."""
    limits = ContextLimits({"anthropic/x": 131_072})
    for tokens in (91_750, 91_751):
        events = [assistant("s", "m1", input=tokens)]
        (usage,) = outputs(ops.context_usage(limits), events)
        triggers = outputs(ops.compaction_triggers(limits, threshold=0.7), events)
        assert [trigger.ratio for trigger in triggers] == [usage.ratio] * ((usage.ratio or 0) >= 0.7)
        assert len(triggers) == tokens - 91_750


@pytest.mark.parametrize(
    ("arguments", "least"),
    [({"threshold": 0.75}, 150_000), ({"absolute": 140_000}, 140_000), ({"threshold": 1.0}, 200_000)],
)
def test_it_triggers_from_the_threshold_on(arguments: dict[str, float], least: int) -> None:
    """C14: a fraction and a number of tokens are both reached by standing exactly on them."""
    for tokens, expected in ((least - 1, []), (least, [0.0])):
        assert times((0, assistant("s", "m1", input=tokens)), **arguments) == expected


def test_tiny_windows() -> None:
    """C13: 16 384 tokens have a threshold of 12 779, and a prompt of 5 000 does not reach it."""
    limits = ContextLimits({"anthropic/x": 16_384})
    assert times((0, assistant("s", "m1", input=5_000)), limits=limits) == []
    (trigger,) = outputs(ops.compaction_triggers(limits), [assistant("s", "m1", input=12_780)])
    assert trigger.threshold_tokens == threshold_tokens(0.78, 16_384) == 12_779


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_min=True))
def test_threshold_tokens_lie_within_the_window(limit: int, threshold: float) -> None:
    """C13: at least 1, at most the limit, and never lower for a larger limit."""
    tokens = threshold_tokens(threshold, limit)
    assert 1 <= tokens <= limit
    assert tokens <= threshold_tokens(threshold, limit + 1)


def test_a_window_of_one_token() -> None:
    """C13: even the smallest window triggers when it is full, and not before."""
    limits = ContextLimits({"anthropic/x": 1})
    assert times((0, assistant("s", "m1", input=1)), limits=limits) == [0.0]


# --- on what --------------------------------------------------------------------------------------


def test_pending_output_is_reported_and_counts_when_asked_to() -> None:
    """U3: 400 000 characters since the sample are about 100 000 tokens more than it says."""
    events = [
        (0, assistant("s", "m1", input=100_000)),
        (1, assistant("s", "m2", tokens=False)),
        (2, assistant("s", "m3", tokens=False)),
        (3, assistant("s", "m4", tokens=False)),
        (4, tool_after("s", "read", "c1", "x" * 400_000)),
        (70, assistant("s", "m5", input=205_000)),
    ]
    pending = outputs(ops.compaction_triggers(LIMITS, include_pending=True), events)
    assert [(each.at, each.cause, each.tokens, each.pending, each.message_id) for each in pending] == [
        (4.0, "tool", 100_000, 100_000, "m1"),
        (70.0, "sample", 205_000, 0, "m5"),
    ]
    measured = outputs(ops.compaction_triggers(LIMITS), events)
    assert [(each.at, each.pending) for each in measured] == [(70.0, 0)]


def pending_after(*events: Timed) -> list[int]:
    """The pending estimate that the trigger at the last event reports."""
    operator = ops.compaction_triggers(LIMITS, threshold=0.1, cooldown=0)
    return [trigger.pending for trigger in outputs(operator, events)][-1:]


def test_a_call_is_counted_once() -> None:
    """U3: its hook and its part speak of one output; an error's text counts like an output."""
    seen = pending_after(
        (0, assistant("s", "m1", input=100_000)),
        (1, tool("s", "c1", "read", "running", output="x" * 4_000)),
        (2, tool_after("s", "read", "c1", "x" * 4_000)),
        (3, tool("s", "c1", "read", "completed", output="x" * 3_998, message_id="m1")),
        (4, tool("s", "c1", "read", "completed", output="x" * 3_998, message_id="m1")),
        (5, tool("s", "c2", "bash", "error", error="y" * 400, message_id="m1")),
    )
    assert seen == [1_100]


def test_a_measurement_holds_all_but_its_own_calls() -> None:
    """U3: the calls that an answer makes are run before it is measured, and are not in its prompt."""
    first = [
        (0, assistant("s", "m1", input=100_000)),
        (1, tool_after("s", "read", "c0", "x" * 4_000)),
        (2, tool("s", "c1", "read", "completed", output="x" * 3_998, message_id="m2")),
        (2, tool_after("s", "read", "c1", "x" * 4_000)),
        (3, assistant("s", "m2", input=110_000)),
    ]
    assert pending_after(*first) == [1_000]
    assert pending_after(*first, (4, assistant("s", "m3", input=120_000))) == [0]


def test_a_repeated_measurement_takes_nothing_in() -> None:
    """U3, U7: output since a measurement stays pending however often that is repeated."""
    seen = pending_after(
        (1, assistant("s", "m1", input=100_000)),
        (2, tool_after("s", "read", "c1", "x" * 4_000)),
        (3, assistant("s", "m1", input=100_000, created=1, completed=3)),
        (4, assistant("s", "m0", input=90_000, created=0.5)),
        (5, tool_after("s", "read", "c2")),
    )
    assert seen == [1_000]


def test_each_call_counts() -> None:
    """U3: said by their parts alone, two calls are two outputs."""
    seen = pending_after(
        (0, assistant("s", "m1", input=100_000)),
        (1, tool("s", "c1", "read", "completed", output="x" * 3_998, message_id="m1")),
        (2, tool("s", "c2", "read", "completed", output="x" * 1_998, message_id="m1")),
    )
    assert seen == [1_500]


def test_compacted_said_twice_takes_in_nothing_more() -> None:
    """U1, U3: output of the first call after a compaction is in no summary, and stays pending."""
    seen = pending_after(
        (0, assistant("s", "m1", input=100_000)),
        (1, compacted("s")),
        (2, tool("s", "c1", "read", "completed", output="x" * 3_998, message_id="m2")),
        (3, compacted("s")),
        (4, assistant("s", "m2", input=50_000)),
    )
    assert seen == [1_000]


def test_pending_output_is_bounded() -> None:
    """U3: of a session that is never measured again, the sizes of 256 outputs are kept."""
    logic = logic_of()
    state = logic.start("s", 0.0)
    for number in range(1_000):
        logic.on_event(state, tool_after("s", "read", f"c{number}", "x" * 40), 0.0)
    assert len(state.pending.calls) == CALLS == 256
    logic.on_event(state, compacted("s"), 1.0)
    assert state.pending.tokens == 0


def test_an_absolute_threshold_needs_no_limit() -> None:
    """U10: without a limit nothing triggers but tokens as such; with both, the lower one counts."""
    events = [(0, assistant("s", "m1", input=150_000))]
    unlimited = ContextLimits()
    assert times(*events, limits=unlimited) == []
    (trigger,) = outputs(ops.compaction_triggers(unlimited, absolute=140_000), events)
    assert (trigger.limit, trigger.ratio, trigger.threshold_tokens) == (None, None, 140_000)
    (lower,) = outputs(ops.compaction_triggers(LIMITS, absolute=140_000), events)
    assert (lower.ratio, lower.threshold_tokens) == (0.75, 140_000)
    (higher,) = outputs(ops.compaction_triggers(LIMITS, absolute=190_000), [full(0)])
    assert higher.threshold_tokens == 156_000


def test_a_limit_that_becomes_known_triggers() -> None:
    """U10: an idle session is looked at when limits have changed."""
    limits = ContextLimits()
    line = Timeline()
    seen = line.watch(ops.compaction_triggers(limits))
    line.play((0, assistant("s", "m1", input=150_000)))
    limits.override({"anthropic/x": 131_072})
    line.play((9, LimitsChanged()))
    assert [(at, trigger.cause, trigger.limit) for at, trigger in seen] == [(9.0, "limit", 131_072)]


def test_a_limit_removed_triggers_nothing() -> None:
    """U11: the limit is looked up when it is decided, not remembered from the sample; it may raise."""
    answers: list[int | None] = [200_000]
    line = Timeline()
    limits = ContextLimits(lambda provider_id, model_id: answers[0])
    seen = line.watch(ops.compaction_triggers(limits))
    line.play(full(0))
    answers[0] = None
    line.play(after(61))
    answers.clear()
    line.play(after(62), after(63))
    answers.append(200_000)
    line.play(after(64))
    assert [at for at, _ in seen] == [0.0, 64.0]
    faults = [(each.at, each.session_id, type(each.error)) for each in line.faults]
    assert faults == [(62.0, "s", IndexError)]


def test_a_smaller_model_triggers() -> None:
    """U12: moving 400 000 tokens to a model of 200 000 is one crossing; the larger one re-arms."""
    events = [
        (0, user("s", "u0", model="anthropic/long")),
        (1, assistant("s", "m1", input=400_000, model="anthropic/long")),
        (100, updated("s", model="anthropic/x")),
        (101, updated("s", model="anthropic/x", title="renamed")),
        (200, updated("s", model="anthropic/long")),
        (201, tool_after("s", "read", "c1")),
        (300, updated("s", model="anthropic/x")),
    ]
    seen = outputs(ops.compaction_triggers(LIMITS), events)
    assert [(each.at, each.cause, each.ratio) for each in seen] == [
        (100.0, "model", 2.0),
        (300.0, "model", 2.0),
    ]


@pytest.mark.parametrize(
    ("kind", "triggered"), [("context", []), ("input", [(220_000 / 272_000, "input")])]
)
def test_one_denominator(kind: str, triggered: list[tuple[float, str]]) -> None:
    """U14: gauge and trigger use one number and one limit, and say which."""
    limits = ContextLimits({"anthropic/x": Limit(context=400_000, input=272_000)}, kind=kind)  # pyright: ignore[reportArgumentType]
    events = [assistant("s", "m1", input=220_000)]
    seen = outputs(ops.compaction_triggers(limits, threshold=0.8), events)
    assert [(trigger.ratio, trigger.limit_kind) for trigger in seen] == triggered
    (usage,) = outputs(ops.context_usage(limits), events)
    assert all(trigger.ratio == usage.ratio for trigger in seen)


def test_sessions_interleaved() -> None:
    """U15: each session has its own gauge, cooldown and count."""
    seen = outputs(
        ops.compaction_triggers(LIMITS),
        [
            (0, assistant("p", "m1", input=160_000)),
            (1, created("c", "p")),
            (2, assistant("c", "m2", input=180_000)),
            (60, tool_after("p", "read", "c1")),
            (61, tool_after("c", "read", "c1")),
            (62, tool_after("c", "read", "c2")),
        ],
    )
    assert [(each.session_id, each.at, each.number) for each in seen] == [
        ("p", 0.0, 1),
        ("c", 2.0, 1),
        ("p", 60.0, 2),
        ("c", 62.0, 2),
    ]


# --- as a stream ----------------------------------------------------------------------------------


def test_nothing_from_nothing() -> None:
    """An empty stream, and one that measures nothing, give nothing."""
    assert times() == []
    assert times((0, created("s")), (1, text("s", "u1", "p", "hi")), after(2), (3, compacted("s"))) == []


def test_error_and_completion_pass() -> None:
    """What was said stays said; the end follows at once and nothing is added."""
    lookup = {"a": assistant("s", "m1", input=160_000)}
    for end, kind in (("|", "C"), ("#", "E")):
        seen = play_marbles(f"-a-{end}", lookup, ops.compaction_triggers(LIMITS))
        assert [(at, each.kind) for at, each in seen] == [(1.0, "N"), (3.0, kind)]


def test_disposed_midway() -> None:
    """After dispose nothing comes, and no timer was ever pending."""
    line = Timeline()
    seen: list[ops.CompactionTrigger] = []
    subscription = line.hub.pipe(ops.compaction_triggers(LIMITS)).subscribe(seen.append)
    line.play(full(0))
    assert line.scheduler.pending == 0
    subscription.dispose()
    line.play(full(100))
    assert [trigger.at for trigger in seen] == [0.0]


def test_ended_sessions_start_anew() -> None:
    """Expired, a session has no cooldown left; deleted, its stragglers trigger nothing."""
    assert times(full(0), (1, SessionExpired("s")), after(2), full(3)) == [0.0, 3.0]
    assert times(full(0), (1, deleted("s")), full(3)) == [0.0]


def test_an_ended_session_leaves_nothing() -> None:
    """All that is kept of a session goes with it."""
    fold = SessionFold(logic_of(), lambda fault: None)
    calls = fold.calls()
    for at, event in (full(0), after(1), (2, deleted("s"))):
        calls[type(event)](event, at)
    assert fold.states == {}


def test_re_entrancy() -> None:
    """X6, C11: what a subscriber publishes is looked at after the current event, at constant depth."""
    line = Timeline()
    seen: list[int] = []

    def feed_back(trigger: ops.CompactionTrigger) -> None:
        seen.append(trigger.number)
        if trigger.number < 2_000:
            line.hub.on_next(tool_after("s", "read", "c"))

    line.hub.pipe(ops.compaction_triggers(LIMITS, cooldown=0)).subscribe(feed_back)
    line.play(full(0))
    assert seen == list(range(1, 2_001))
    assert line.faults == []


def test_what_a_subscriber_publishes_triggers_nothing_within_the_cooldown() -> None:
    """C11: an action that sets off samples and tool calls of its own starts no second one."""
    line = Timeline()
    seen: list[int] = []

    def act(trigger: ops.CompactionTrigger) -> None:
        seen.append(trigger.number)
        line.hub.on_next(tool_after("s", "read", "c"))
        line.hub.on_next(assistant("s", "m2", input=170_000, created=1))

    line.hub.pipe(ops.compaction_triggers(LIMITS)).subscribe(act)
    line.play(full(0))
    assert seen == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 85}, r"threshold must be a fraction above 0 and at most 1, got 85 \(0.85\?\)"),
        ({"threshold": 0.0}, r"threshold must be .*, got 0.0$"),
        ({"threshold": -0.1}, r"threshold must be .*, got -0.1$"),
        ({"threshold": 1.5}, r"threshold must be .*, got 1.5 \(0.015\?\)"),
        ({"cooldown": -1}, r"cooldown must be seconds 0 or more \(a number or a timedelta\), got -1"),
        ({"absolute": 0}, r"absolute must be a whole number of at least 1, got 0"),
        ({"max_per_hour": 0}, r"max_per_hour must be a whole number of at least 1, got 0"),
        ({"accounting": "raw"}, r"accounting must be 'exclusive' or 'inclusive', got 'raw'"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str) -> None:
    """C14: refused when the operator is made, by name, value and range, with what was meant."""
    with pytest.raises(ValueError, match=message):
        ops.compaction_triggers(LIMITS, **arguments)  # pyright: ignore[reportArgumentType]


def test_the_cooldown_may_be_a_timedelta() -> None:
    """A duration is a number of seconds or a ``timedelta``."""
    events = [full(0), after(59), after(60), after(119), after(120)]
    assert times(*events, cooldown=timedelta(minutes=2)) == [0.0, 120.0]


def test_state_survives_a_snapshot() -> None:
    """A snapshot of the state decodes to an equal one, which still holds back."""
    logic = logic_of(max_per_hour=2)
    state = logic.start("s", 0.0)
    history = [full(1, created=1), after(2), full(70, created=70), compacting(80, created=80), after(81)]
    for at, event in history:
        list(logic.on_event(state, event, at))
    assert (state.number, state.compacting) == (2, 80)
    restored = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=TriggerState)
    assert restored == state
    assert not list(logic.on_event(restored, after(150)[1], 150.0))
    assert list(logic.on_event(restored, after(3601)[1], 3601.0))


def logic_of(*, cooldown: float = 60.0, max_per_hour: int | None = None) -> CompactionTriggersLogic:
    """The logic at its defaults."""
    pressure = Pressure(Gauge(LIMITS, "exclusive"), 0.78)
    return CompactionTriggersLogic(pressure, Pace(cooldown, max_per_hour))
