"""``context_usage``: how full each session's context window is."""

import msgspec
import pytest
from msgspec.structs import replace

import operators as ops
from operators.context_usage import ContextUsageLogic, UsageState
from operators.gauge import Gauge
from operators.measurements import SAMPLES
from operators.per_session import SessionFold
from streams import ContextLimits, Fault, Limit
from streams.events import LimitsChanged, SessionCreated, SessionEvent, SessionExpired
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
    updated,
    user,
)

LIMITS = ContextLimits({"anthropic/x": 200_000, "anthropic/long": 1_000_000})


def ratios(*events: SessionEvent | tuple[float, SessionEvent]) -> list[float | None]:
    """What these events make of the ratio."""
    return [usage.ratio for usage in outputs(ops.context_usage(LIMITS), events)]


def test_a_reading_says_it_all() -> None:
    """U14: of what is known and of what is not, with the model and its limit in both cases."""
    answer = assistant("s", "m1", input=150_000, output=700, cache_read=10_000)
    known, unknown = outputs(ops.context_usage(LIMITS), [(3, answer), (5, compacted("s"))])
    assert known == ops.ContextUsage(
        session_id="s",
        tokens=160_000,
        limit=200_000,
        limit_kind="context",
        ratio=0.80,
        projected=160_700,
        provider_id="anthropic",
        model_id="x",
        message_id="m1",
        at=3.0,
        messages_since=0,
        accounting="exclusive",
        reason="sample",
    )
    assert unknown == replace(
        known, tokens=None, ratio=None, projected=None, message_id="", at=5.0, reason="compacted"
    )


# --- what is a measurement ------------------------------------------------------------------------


def test_a_summary_measures_nothing() -> None:
    """U1: a compaction's own answer sets no usage, whoever says so and whenever it comes."""
    usages = outputs(
        ops.context_usage(LIMITS),
        [
            (0, assistant("s", "m1", input=150_000, cache_read=10_000)),
            (1, compacted("s")),
            (2, assistant("s", "m2", input=160_000, output=1_800, agent=" Compaction ", summary=True)),
            (5, assistant("s", "m3", input=9_000, cache_read=14_000)),
        ],
    )
    expected = [(160_000, 0.80, "sample"), (None, None, "compacted"), (23_000, 0.115, "sample")]
    assert [(usage.tokens, usage.ratio, usage.reason) for usage in usages] == expected


@pytest.mark.parametrize("mark", [{"summary": True}, {"agent": "COMPACTION"}])
def test_either_mark_makes_a_summary(mark: dict[str, bool]) -> None:
    """U1: the flag alone is enough, and so is the agent's name, in any case."""
    running = assistant("s", "m2", input=150_000, finish="", **mark)
    assert ratios(assistant("s", "m1", input=100_000), running) == [0.5]


def test_a_finished_summary_compacts_without_the_event() -> None:
    """U1, C2: ``session.compacted`` is lost in a gap and absent from forks; the summary says it too."""
    usages = outputs(
        ops.context_usage(LIMITS),
        [
            assistant("s", "m1", input=150_000),
            assistant("s", "m2", input=160_000, agent="compaction", summary=True),
            compacted("s"),
            assistant("s", "m3", input=20_000),
        ],
    )
    expected = [(0.75, "sample"), (None, "compacted"), (0.1, "sample")]
    assert [(usage.ratio, usage.reason) for usage in usages] == expected


def test_a_failed_summary_compacts_nothing() -> None:
    """U1: a compaction that overflowed leaves the old measurement standing."""
    failed = {"summary": True, "finish": "error", "error": "ContextOverflowError"}
    seen = ratios(
        (0, assistant("s", "m1", input=150_000)),
        (1, assistant("s", "m2", summary=True, finish="")),
        (2, assistant("s", "m2", created=1, completed=2, **failed)),
        (3, assistant("s", "m3", input=170_000)),
        (4, compacted("s")),
    )
    assert seen == [0.75, 0.85, None]


def test_compacted_said_twice_is_said_once() -> None:
    """U1: a duplicated ``session.compacted`` voids nothing that was measured after it."""
    seen = ratios(
        (0, assistant("s", "m1", input=150_000)),
        (1, assistant("s", "m2", input=150_000, summary=True, finish="")),
        (2, assistant("s", "m2", created=1, input=150_000, summary=True)),
        (3, compacted("s")),
        (4, compacted("s")),
        (5, assistant("s", "m3", input=20_000)),
        (6, assistant("s", "m2", created=1, input=150_000, summary=True)),
    )
    assert seen == [0.75, None, 0.1]


def test_a_second_compaction_without_a_summary_counts() -> None:
    """C2: where the summary was not seen, the event alone voids what was measured before it."""
    seen = ratios(
        (0, assistant("s", "m1", input=150_000)),
        (1, compacted("s")),
        (2, assistant("s", "m2", input=20_000)),
        (3, assistant("s", "m3", input=150_000)),
        (4, compacted("s")),
        (5, assistant("s", "m4", input=150_000, created=3.5)),
        (6, assistant("s", "m5", input=30_000)),
    )
    assert seen == [0.75, None, 0.1, 0.75, None, 0.15]


def test_the_event_may_come_before_its_summary_each_time() -> None:
    """U1: with the event first, the second compaction is told from an echo of the first."""
    usages = outputs(
        ops.context_usage(LIMITS),
        [
            (0, assistant("s", "m1", input=150_000)),
            (1, compacted("s")),
            (2, assistant("s", "m2", summary=True)),
            (3, assistant("s", "m3", input=160_000)),
            (4, compacted("s")),
            (5, assistant("s", "m4", summary=True)),
        ],
    )
    expected = [(0.0, 0.75), (1.0, None), (3.0, 0.8), (4.0, None)]
    assert [(usage.at, usage.ratio) for usage in usages] == expected


def test_an_event_that_comes_late_voids_nothing_new() -> None:
    """U1: ``session.compacted`` after the next answer is still about the summary before that."""
    seen = ratios(
        (0, assistant("s", "m1", input=150_000)),
        (1, assistant("s", "m2", summary=True)),
        (2, assistant("s", "m3", input=20_000)),
        (3, compacted("s")),
    )
    assert seen == [0.75, None, 0.1]


def test_a_summary_that_finishes_late_voids_nothing_new() -> None:
    """U1, U8: what was made after the summary counts, in whatever order they are heard of."""
    seen = ratios(
        (0, assistant("s", "m1", input=150_000)),
        (1, assistant("s", "m2", summary=True, finish="")),
        (3, assistant("s", "m3", input=20_000, created=2)),
        (4, assistant("s", "m2", summary=True, created=1)),
    )
    assert seen == [0.75, 0.1]


def test_a_compaction_is_as_old_as_its_summary() -> None:
    """C2: events are received in bunches; the next answer may be made before the event is received."""
    seen = ratios(
        (0, assistant("s", "m1", input=150_000)),
        (1, assistant("s", "m2", summary=True, finish="")),
        (5, compacted("s")),
        (6, assistant("s", "m3", input=20_000, created=4)),
    )
    assert seen == [0.75, None, 0.1]


@pytest.mark.parametrize("created", [0.5, 1])
def test_an_answer_that_its_summary_overtook_measures_nothing(created: float) -> None:
    """C2: asked for before the compaction, or at that very instant, it measured what is no more."""
    seen = ratios(
        (0, assistant("s", "m1", input=100_000)),
        (1, assistant("s", "m2", finish="", tokens=False, created=created)),
        (1, assistant("s", "m3", summary=True, finish="")),
        (2, assistant("s", "m3", input=150_000, summary=True, created=1)),
        (3, assistant("s", "m2", input=180_000, created=created)),
    )
    assert seen == [0.5, None]


def test_a_user_message_is_no_summary() -> None:
    """U1: only an answer summarises; a prompt to the compaction's agent names the model like any."""
    prompt = replace(user("s", "u2", model="anthropic/long"), agent="compaction")
    assert ratios(assistant("s", "m1", input=100_000), prompt) == [0.5, 0.1]


def test_a_prompt_measures_nothing() -> None:
    """U2: whatever a user message claims of tokens and of being finished."""
    counted = assistant("s", "m2", input=180_000)
    prompt = replace(counted, role="user")
    assert (ratios(prompt), ratios(counted)) == ([], [0.9])


def test_zero_is_no_measurement() -> None:
    """U2: running, aborted and unknown answers without tokens leave the last sample alone."""
    seen = ratios(
        assistant("s", "m1", input=150_000),
        assistant("s", "m2", input=0, finish=""),
        assistant("s", "m2", input=0, finish="unknown", error="MessageAbortedError"),
    )
    assert seen == [0.75]


def test_completed_alone_finishes_an_answer() -> None:
    """U2: ``time.completed`` without a finish makes a sample, tokens without either do not."""
    seen = ratios(
        (1, assistant("s", "m1", input=50_000, finish="")),
        (2, assistant("s", "m1", input=50_000, finish="", created=1, completed=2)),
    )
    assert seen == [0.25]


def test_a_measured_answer_stays_measured() -> None:
    """U3: said again without its tokens, an answer is not one more without a measurement."""
    seen = ratios(
        (1, assistant("s", "m1", input=50_000)),
        (2, assistant("s", "m1", tokens=False, created=1)),
    )
    assert seen == [0.25]


def test_nothing_is_counted_since_no_measurement() -> None:
    """U3: without a sample there is nothing that answers could have come after."""
    usages = outputs(
        ops.context_usage(LIMITS),
        [assistant("s", "m1", input=50_000), compacted("s"), assistant("s", "m2", tokens=False)],
    )
    assert [(usage.tokens, usage.messages_since) for usage in usages] == [(50_000, 0), (None, 0)]


def test_sample_and_position_move_together() -> None:
    """U3: answers without tokens do not move the sample; they are counted beside it."""
    usages = outputs(
        ops.context_usage(LIMITS),
        [
            assistant("s", "m1", input=100_000),
            assistant("s", "m2", tokens=False),
            assistant("s", "m3", tokens=False),
            assistant("s", "m4", tokens=False),
            assistant("s", "m3", tokens=False, created=2),
            assistant("s", "m5", input=205_000),
        ],
    )
    assert [(usage.tokens, usage.message_id, usage.messages_since, usage.at) for usage in usages] == [
        (100_000, "m1", 0, 0.0),
        (100_000, "m1", 1, 0.0),
        (100_000, "m1", 2, 0.0),
        (100_000, "m1", 3, 0.0),
        (205_000, "m5", 0, 5.0),
    ]


@pytest.mark.parametrize(
    ("accounting", "counts", "tokens"),
    [
        ("exclusive", {"input": 6_031, "cache_read": 133_376}, 139_407),
        ("exclusive", {"input": 2, "cache_write": 150_000}, 150_002),
        ("inclusive", {"input": 139_407, "cache_read": 133_376}, 139_407),
    ],
)
def test_cached_tokens_are_counted_once(accounting: str, counts: dict[str, int], tokens: int) -> None:
    """U4: the accounting is declared, and no magnitude makes it guess."""
    operator = ops.context_usage(LIMITS, accounting=accounting)  # pyright: ignore[reportArgumentType]
    (usage,) = outputs(operator, [assistant("s", "m1", **counts)])
    assert (usage.tokens, usage.accounting) == (tokens, accounting)


def test_the_answer_is_projected_and_not_counted() -> None:
    """U5: the gauge follows prompts, so a short answer does not lower it; ``projected`` adds it."""
    usages = outputs(
        ops.context_usage(LIMITS),
        [
            assistant("s", "m1", input=100_000, output=30_000),
            assistant("s", "m2", input=105_000, output=500),
            assistant("s", "m3", input=110_000, output=20_000),
        ],
    )
    assert [usage.ratio for usage in usages] == [0.50, 0.525, 0.55]
    assert [(usage.projected or 0) / 200_000 for usage in usages] == [0.65, 0.5275, 0.65]


def test_reasoning_is_projected_once() -> None:
    """U5: reasoning is beside opencode's output, and inside the output of raw OpenAI counts."""
    answer = assistant("s", "m1", input=100_000, output=5_000, reasoning=3_000, cache_read=1_000)
    (exclusive,) = outputs(ops.context_usage(LIMITS), [answer])
    (inclusive,) = outputs(ops.context_usage(LIMITS, accounting="inclusive"), [answer])
    assert (exclusive.projected, inclusive.projected) == (109_000, 105_000)


def test_the_last_sample_counts_and_no_sum() -> None:
    """U6: thirty prompts of 20 000 fill a tenth of the window each time."""
    assert ratios(*(assistant("s", f"m{n}", input=20_000) for n in range(10, 40))) == [0.10] * 30


def test_one_answer_said_often_is_one_sample() -> None:
    """U7: partial, final and repeated reports of one answer make one emission, of the final one."""
    usages = outputs(
        ops.context_usage(LIMITS),
        [
            (1, assistant("s", "m1", input=1_000, output=31, finish="")),
            (2, assistant("s", "m1", input=1_000, output=300, created=1)),
            (3, assistant("s", "m1", input=1_000, output=300, created=1)),
            (4, assistant("s", "m1", input=1_000, output=300, created=1, completed=4)),
        ],
    )
    assert [(usage.tokens, usage.projected, usage.at) for usage in usages] == [(1_000, 1_300, 2.0)]


def test_a_fork_measures_for_itself() -> None:
    """U7: history copied into another session says nothing about the one it was copied from."""
    usages = outputs(
        ops.context_usage(LIMITS),
        [
            (10, assistant("s", "m1", input=60_000)),
            (20, SessionCreated("fork", created=20)),
            (21, assistant("fork", "m2", input=60_000, created=10, completed=11)),
        ],
    )
    assert [(usage.session_id, usage.ratio, usage.reason) for usage in usages] == [
        ("s", 0.3, "sample"),
        ("fork", 0.3, "copied"),
    ]


def test_an_older_answer_updated_late_changes_nothing() -> None:
    """U8: samples are ordered by when their messages were made, not by arrival nor by id."""
    seen = ratios(
        (30, assistant("s", "m2", input=150_000, created=20)),
        (31, assistant("s", "m9", input=40_000, created=10)),
    )
    assert seen == [0.75]


def test_messages_made_at_once_are_ordered_by_id() -> None:
    """U8: where the times are equal, the id decides."""
    seen = ratios(
        (4, assistant("s", "m2", input=150_000, created=3)),
        (5, assistant("s", "m1", input=40_000, created=3)),
    )
    assert seen == [0.75]


def test_removed_messages_fall_away() -> None:
    """U9: without its message a sample is void; the newest that is left counts, else nothing."""
    usages = outputs(
        ops.context_usage(LIMITS),
        [
            assistant("s", "m1", input=60_000),
            assistant("s", "m2", input=150_000),
            removed("s", "m2"),
            removed("s", "unheard-of"),
            removed("s", "m1"),
        ],
    )
    expected = [(0.30, "sample"), (0.75, "sample"), (0.30, "removed"), (None, "removed")]
    assert [(usage.ratio, usage.reason) for usage in usages] == expected


def test_a_pending_revert_hides_messages() -> None:
    """U9: a revert names the first hidden message; clearing it brings the samples back."""
    usages = outputs(
        ops.context_usage(LIMITS),
        [
            assistant("s", "m1", input=60_000),
            assistant("s", "m2", input=150_000),
            updated("s", revert="m2"),
            updated("s", revert="m2", title="renamed"),
            updated("s"),
            updated("s", revert="m0"),
        ],
    )
    assert [(usage.ratio, usage.reason) for usage in usages] == [
        (0.30, "sample"),
        (0.75, "sample"),
        (0.30, "reverted"),
        (0.75, "reverted"),
        (None, "reverted"),
    ]


def test_samples_are_bounded() -> None:
    """U9: undoing finds the last 64 measurements, and beyond them says unknown rather than wrong."""
    state = UsageState()
    logic = ContextUsageLogic(Gauge(LIMITS, "exclusive"))
    for n in range(1000, 1100):
        answer = assistant("s", f"m{n}", input=n, created=n)
        logic.on_event(state, answer, n)
    assert len(state.samples) == SAMPLES
    (unknown,) = logic.on_event(state, updated("s", revert="m1000"), 1100)
    assert isinstance(unknown, ops.ContextUsage)
    assert unknown.tokens is None


# --- the limit ------------------------------------------------------------------------------------


def test_an_unknown_limit_is_no_default() -> None:
    """U10: without a limit there are tokens and no ratio; once it is known, an idle session is told."""
    limits = ContextLimits()
    line = Timeline()
    seen = line.watch(ops.context_usage(limits))
    line.play((0, assistant("s", "m1", input=150_000)))
    limits.override({"anthropic/x": 131_072})
    line.play((9, LimitsChanged()))
    assert [(at, usage.tokens, usage.limit, usage.ratio, usage.reason) for at, usage in seen] == [
        (0.0, 150_000, None, None, "sample"),
        (9.0, 150_000, 131_072, 150_000 / 131_072, "limit"),
    ]
    assert round(seen[1][1].ratio or 0, 4) == 1.1444


def test_a_limit_is_looked_up_at_every_reading() -> None:
    """U11: a limit that changed silently is seen when the session is read next, and dated as before."""
    limits = ContextLimits({"anthropic/x": 200_000})
    line = Timeline()
    seen = line.watch(ops.context_usage(limits))
    line.play((1, assistant("s", "m1", input=50_000)))
    line.play((2, assistant("s", "m1", input=50_000, created=1)))
    limits.override({"anthropic/x": 100_000})
    line.play((3, assistant("s", "m1", input=50_000, created=1)), (3, updated("s", title="renamed")))
    line.play((4, assistant("s", "m2", tokens=False)))
    assert [(at, usage.at, usage.ratio, usage.reason) for at, usage in seen] == [
        (1.0, 1.0, 0.25, "sample"),
        (4.0, 1.0, 0.5, "unmeasured"),
    ]


@pytest.mark.parametrize("limit", [0, -1, Limit(), Limit(context=-5)])
def test_a_limit_that_is_none_is_unknown(limit: int | Limit) -> None:
    """U10: 0 and less are no limits."""
    (usage,) = outputs(
        ops.context_usage(ContextLimits(lambda provider_id, model_id: limit)),
        [assistant("s", "m1", input=150_000)],
    )
    assert (usage.tokens, usage.limit, usage.ratio) == (150_000, None, None)


def test_limits_changed_reaches_idle_sessions_whose_limit_changed() -> None:
    """U10: only the sessions of that model speak again, and only when their limit is another."""
    limits = ContextLimits({"anthropic/x": 200_000})
    line = Timeline()
    seen = line.watch(ops.context_usage(limits))
    line.play((0, assistant("s", "m1", input=50_000)), (1, assistant("t", "m1", model="acme/y")))
    line.play((2, assistant("t", "m2", input=50_000, model="acme/y")), (3, LimitsChanged()))
    limits.override({"acme/y": 100_000})
    line.play((4, LimitsChanged()), (5, LimitsChanged()))
    assert [(at, usage.session_id, usage.ratio) for at, usage in seen] == [
        (0.0, "s", 0.25),
        (2.0, "t", None),
        (4.0, "t", 0.5),
    ]


def test_a_resolver_is_asked_each_time_and_may_raise() -> None:
    """U11: a lookup that raises is unknown and one fault, until it works again; the stream goes on."""
    answers: list[int | None] = [1_000_000]

    def resolve(provider_id: str, model_id: str) -> int | None:
        if not answers:
            raise LookupError(f"no network for {provider_id}/{model_id}")
        return answers[0]

    line = Timeline()
    seen = line.watch(ops.context_usage(ContextLimits(resolve)))
    line.play((0, assistant("s", "m1", input=160_000)))
    answers.clear()
    line.play((1, assistant("s", "m2", input=161_000)), (2, assistant("s", "m3", input=162_000)))
    answers.append(324_000)
    line.play((3, LimitsChanged()))
    answers.clear()
    line.play((4, LimitsChanged()))
    assert [(usage.tokens, usage.limit, usage.ratio) for _, usage in seen] == [
        (160_000, 1_000_000, 0.16),
        (161_000, None, None),
        (162_000, None, None),
        (162_000, 324_000, 0.5),
        (162_000, None, None),
    ]
    failed = "ContextLimits", "s", "no network for anthropic/x"
    assert [(each.at, each.where, each.session_id, str(each.error)) for each in line.faults] == [
        (1.0, *failed),
        (4.0, *failed),
    ]


def test_a_model_that_is_not_known_is_not_looked_up() -> None:
    """U11: a resolver is never asked about no model at all."""
    asked: list[tuple[str, str]] = []
    limits = ContextLimits(lambda provider_id, model_id: asked.append((provider_id, model_id)))
    (usage,) = outputs(ops.context_usage(limits), [assistant("s", "m1", input=5, model="")])
    assert (usage.limit, asked) == (None, [])


@pytest.mark.parametrize(
    "switch_to",
    [
        lambda model, at: user("s", f"u{at}", model=model),
        lambda model, at: updated("s", model=model),
        lambda model, at: assistant("s", f"a{at}", finish="", model=model),
    ],
    ids=["user message", "session", "running answer"],
)
def test_a_switch_of_model_is_measured_anew(switch_to) -> None:  # noqa: ANN001
    """U12: another model has another limit, and no new tokens are needed to say so."""
    usages = outputs(
        ops.context_usage(LIMITS),
        [
            (0, updated("s", model="anthropic/long")),
            (1, assistant("s", "m1", input=400_000, model="anthropic/long")),
            (2, switch_to("anthropic/x", 2)),
            (3, switch_to("anthropic/long", 3)),
        ],
    )
    assert [(usage.ratio, usage.model_id, usage.reason) for usage in usages] == [
        (0.40, "long", "sample"),
        (2.0, "x", "model"),
        (0.40, "long", "model"),
    ]


def test_an_old_message_updated_late_does_not_switch_back() -> None:
    """U12: user messages are updated up to 15 times, even after the session has another model."""
    seen = ratios(
        (1, user("s", "u1")),
        (2, assistant("s", "m1", input=100_000)),
        (3, updated("s", model="anthropic/long")),
        (4, user("s", "u1", created=1)),
        (5, assistant("s", "m1", input=100_000, created=2, completed=3)),
        (6, updated("s", model="anthropic/long", title="renamed")),
    )
    assert seen == [0.5, 0.1]


def test_a_session_repeating_its_old_model_does_not_switch_back() -> None:
    """U12: what a session says of its model counts when it changes, not whenever it is repeated."""
    seen = ratios(
        (0, updated("s", model="anthropic/x")),
        (1, assistant("s", "m1", input=100_000)),
        (2, user("s", "u2", model="anthropic/long")),
        (3, updated("s", model="anthropic/x", title="renamed")),
    )
    assert seen == [0.5, 0.1]


def test_display_is_clamped_and_the_ratio_is_not() -> None:
    """U13: 289 370 of 200 000 is a ratio of 1.44685, shown as 100 % used and 0 % left."""
    (usage,) = outputs(ops.context_usage(LIMITS), [assistant("s", "m1", input=289_370)])
    assert (usage.ratio, usage.used_percent, usage.remaining_percent) == (1.44685, 100.0, 0.0)
    assert str(usage) == "ContextUsage(s, 289_370/200_000, 144.7 %)"


def test_display_of_what_is_unknown() -> None:
    """U13: unknown stays unknown in the display too, and is never 0 %."""
    (usage,) = outputs(ops.context_usage(LIMITS), [compacted("s")])
    assert (usage.used_percent, usage.remaining_percent) == (None, None)
    assert str(usage) == "ContextUsage(s, unknown/unknown)"


@pytest.mark.parametrize(("kind", "ratio"), [("context", 0.55), ("input", 220_000 / 272_000)])
def test_one_denominator(kind: str, ratio: float) -> None:
    """U14: the reading says which limit it is measured by."""
    limits = ContextLimits({"anthropic/x": Limit(context=400_000, input=272_000)}, kind=kind)  # pyright: ignore[reportArgumentType]
    (usage,) = outputs(ops.context_usage(limits), [assistant("s", "m1", input=220_000)])
    assert (usage.ratio, usage.limit_kind) == (ratio, kind)


def test_children_are_not_counted_for_their_parents() -> None:
    """U15: each session has a gauge of its own, whoever started it."""
    usages = outputs(
        ops.context_usage(LIMITS),
        [
            assistant("p", "m1", input=50_000),
            created("c", "p"),
            assistant("c", "m2", input=180_000),
        ],
    )
    assert [(usage.session_id, usage.ratio) for usage in usages] == [("p", 0.25), ("c", 0.90)]


# --- as a stream ----------------------------------------------------------------------------------


def test_nothing_from_nothing() -> None:
    """An empty stream, and one that measures nothing, give nothing."""
    assert ratios() == []
    assert ratios(created("s"), user("s", "u1"), text("s", "u1", "p", "hi"), updated("s")) == []


def test_error_and_completion_pass() -> None:
    """What was said stays said; the end follows at once and nothing is added."""
    lookup = {"a": assistant("s", "m1", input=100_000)}
    for end, kind in (("|", "C"), ("#", "E")):
        seen = play_marbles(f"-a-{end}", lookup, ops.context_usage(LIMITS))
        assert [(at, each.kind) for at, each in seen] == [(1.0, "N"), (3.0, kind)]


def test_disposed_midway() -> None:
    """After dispose nothing comes, and another subscription is not disturbed."""
    line = Timeline()
    kept = line.watch(ops.context_usage(LIMITS))
    seen: list[ops.ContextUsage] = []
    subscription = line.hub.pipe(ops.context_usage(LIMITS)).subscribe(seen.append)
    line.play((0, assistant("s", "m1", input=100_000)))
    subscription.dispose()
    line.play((1, assistant("s", "m2", input=110_000)))
    assert ([usage.message_id for usage in seen], len(kept)) == (["m1"], 2)


def test_each_subscription_counts_for_itself() -> None:
    """X12: two subscriptions of one pipeline say the same and share no state."""
    line = Timeline()
    usages = line.hub.pipe(ops.context_usage(LIMITS))
    first: list[ops.ContextUsage] = []
    second: list[ops.ContextUsage] = []
    for seen in (first, second):
        usages.subscribe(seen.append)
    line.play((0, assistant("s", "m1", input=100_000)), (1, compacted("s")))
    assert first == second
    assert len(first) == 2


def test_sessions_interleaved() -> None:
    """Whatever comes between, each session goes its own way."""
    seen = outputs(
        ops.context_usage(LIMITS),
        [
            assistant("a", "m1", input=20_000),
            assistant("b", "m1", input=40_000),
            compacted("a"),
            assistant("b", "m2", input=60_000),
            removed("a", "m1"),
            assistant("a", "m3", input=10_000),
            removed("b", "m2"),
        ],
    )
    by_session = {name: [each.ratio for each in seen if each.session_id == name] for name in "ab"}
    assert by_session == {"a": [0.1, None, 0.05], "b": [0.2, 0.3, 0.2]}


@pytest.mark.parametrize("end", [SessionExpired("s", idle=600.0), deleted("s")])
def test_an_ended_session_leaves_nothing(end: SessionEvent) -> None:
    """Expired or deleted, a session's state is gone: what it is told later starts from nothing."""
    reported: list[Fault] = []
    fold = SessionFold(ContextUsageLogic(Gauge(LIMITS, "exclusive")), reported.append)
    calls = fold.calls()
    for event in (assistant("s", "m1", input=100_000), assistant("t", "m1", input=100_000)):
        calls[type(event)](event, 0.0)
    calls[type(end)](end, 1.0)
    assert (list(fold.states), reported) == (["t"], [])


def test_a_deleted_session_is_not_resurrected() -> None:
    """Stragglers of a deleted session measure nothing."""
    late = assistant("s", "m2", input=110_000)
    assert ratios(assistant("s", "m1", input=100_000), deleted("s"), late) == [0.5]


def test_an_expired_session_starts_anew() -> None:
    """Expiry forgets the samples, so undoing finds none; the next answer is measured as ever."""
    seen = ratios(
        assistant("s", "m1", input=60_000),
        SessionExpired("s"),
        removed("s", "m1"),
        assistant("s", "m2", input=150_000),
        removed("s", "m2"),
    )
    assert seen == [0.3, 0.75, None]


def test_re_entrancy() -> None:
    """X6: an event published from inside a subscriber is measured after the current one."""
    line = Timeline()
    seen: list[str] = []

    def feed_back(usage: ops.ContextUsage) -> None:
        seen.append(usage.message_id)
        number = len(seen)
        if number < 2_000:
            line.hub.on_next(assistant("s", f"m{number}", input=1_000, created=number))
        seen.append("after")

    line.hub.pipe(ops.context_usage(LIMITS)).subscribe(feed_back)
    line.play((0, assistant("s", "m0", input=1_000)))
    assert seen[:4] == ["m0", "after", "m1", "after"]
    assert len(seen) == 2_002
    assert line.faults == []


def test_bad_arguments() -> None:
    """A wrong accounting is refused when the operator is made, by name, value and range."""
    with pytest.raises(ValueError, match="accounting must be 'exclusive' or 'inclusive', got 'openai'"):
        ops.context_usage(LIMITS, accounting="openai")  # pyright: ignore[reportArgumentType]


def test_state_survives_a_snapshot() -> None:
    """A snapshot of the state decodes to an equal one, and goes on from there."""
    logic = ContextUsageLogic(Gauge(LIMITS, "exclusive"))
    state = logic.start("s", 0.0)
    events = [
        assistant("s", "m1", input=60_000, created=1),
        assistant("s", "m2", input=150_000, created=2),
        assistant("s", "m3", tokens=False, created=3),
        updated("s", revert="m2", model="anthropic/long"),
    ]
    for event in events:
        assert list(logic.on_event(state, event, 5.0))
    restored = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=UsageState)
    assert restored == state
    assert list(logic.on_event(restored, updated("s", revert="m2"), 6.0)) == []
    (usage,) = logic.on_event(restored, updated("s"), 7.0)
    assert isinstance(usage, ops.ContextUsage)
    assert usage.ratio == 0.15


@pytest.mark.parametrize(
    ("agent", "measures"),
    [("a rather long name", True), ("general-purpose", True), (" Compaction ", False), ("compact", True)],
)
def test_only_the_compaction_s_own_agent_measures_nothing(agent: str, measures: bool) -> None:
    """U1: by its name, however it is written; not every agent with a long one."""
    seen = outputs(ops.context_usage(LIMITS), [assistant("s", "m1", input=1000, agent=agent)])
    assert [each.tokens for each in seen] == [1000 if measures else None]
