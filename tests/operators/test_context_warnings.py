"""``context_warnings``: once per crossing."""

import msgspec
import pytest

import operators as ops
from operators.context_warnings import ContextWarningsLogic, WarningState
from operators.gauge import Gauge
from streams import ContextLimits, Limit
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


def messages(*events: SessionEvent | tuple[float, SessionEvent]) -> list[str]:
    """Which answers these events lead to a warning about, at the default threshold of 0.70."""
    return [warning.message_id for warning in outputs(ops.context_warnings(LIMITS), events)]


def test_a_warning_says_it_all() -> None:
    """What was crossed, by how much, and by which limit."""
    (warning,) = outputs(ops.context_warnings(LIMITS), [(3, assistant("s", "m1", input=150_000))])
    assert warning == ops.ContextWarning(
        session_id="s",
        at=3.0,
        tokens=150_000,
        limit=200_000,
        limit_kind="context",
        ratio=0.75,
        threshold=0.70,
        message_id="m1",
    )


def test_the_threshold_itself_is_a_crossing() -> None:
    """139 999 of 200 000 is below 0.70, 140 000 is not."""
    assert messages(assistant("s", "m1", input=139_999), assistant("s", "m2", input=140_000)) == ["m2"]


def test_one_warning_per_crossing() -> None:
    """C5: staying above says nothing more; falling below and rising again does."""
    seen = messages(
        assistant("s", "m1", input=150_000),
        assistant("s", "m2", input=160_000),
        assistant("s", "m3", input=100_000),
        assistant("s", "m4", input=145_000),
    )
    assert seen == ["m1", "m4"]


def test_a_compaction_re_arms_and_its_summary_does_not_warn() -> None:
    """U1: the summary's own 160 000 tokens warn of nothing, the next answer's do."""
    seen = messages(
        assistant("s", "m1", input=150_000),
        compacted("s"),
        assistant("s", "m2", input=160_000, agent=" Compaction ", summary=True),
        assistant("s", "m3", input=145_000),
        assistant("s", "m4", input=150_000),
    )
    assert seen == ["m1", "m3"]


def test_an_empty_answer_re_arms_nothing() -> None:
    """U2: zero tokens are no dip below the threshold."""
    seen = messages(
        assistant("s", "m1", input=150_000),
        assistant("s", "m2", finish="unknown", error="MessageAbortedError"),
        assistant("s", "m3", input=151_000),
    )
    assert seen == ["m1"]


def test_a_copied_history_warns_when_it_is_over() -> None:
    """C2: a fork's copies are no crossings; if it is full when they are over, its own answer says so."""
    copied = [
        (100, SessionCreated("s", created=100)),
        (100, assistant("s", "m1", input=160_000, created=1, completed=2)),
        (100, assistant("s", "m2", summary=True, created=3, completed=4)),
        (100, assistant("s", "m3", input=20_000, created=5, completed=6)),
    ]
    assert messages(*copied, (101, assistant("s", "m5", input=30_000))) == []
    still_full = (100, assistant("s", "m4", input=150_000, created=7, completed=8))
    assert messages(*copied, still_full, (101, user("s", "u5"))) == []
    assert messages(*copied, still_full, (102, assistant("s", "m6", input=151_000))) == ["m6"]


def test_undoing_re_arms() -> None:
    """U9: when the answer above the threshold is taken back, the next one above it warns again."""
    seen = messages(
        assistant("s", "m1", input=60_000),
        assistant("s", "m2", input=150_000),
        removed("s", "m2"),
        assistant("s", "m3", input=150_000),
        updated("s", revert="m3"),
        updated("s"),
    )
    assert seen == ["m2", "m3", "m3"]


def test_without_a_limit_there_is_no_warning() -> None:
    """U10: an unknown limit is no reason to warn; once it is known, an idle session is warned of."""
    limits = ContextLimits()
    line = Timeline()
    seen = line.watch(ops.context_warnings(limits))
    line.play((0, assistant("s", "m1", input=150_000)))
    limits.override({"anthropic/x": 131_072})
    line.play((9, LimitsChanged()), (10, LimitsChanged()))
    assert [(at, warning.at, warning.message_id) for at, warning in seen] == [(9.0, 9.0, "m1")]


def test_a_failing_lookup_is_one_fault_and_no_new_crossing() -> None:
    """U11: while the limit cannot be looked up nothing is said, and afterwards nothing is said twice."""
    answers: list[int] = [200_000]
    line = Timeline()
    seen = line.watch(ops.context_warnings(ContextLimits(lambda provider_id, model_id: answers[0])))
    line.play((0, assistant("s", "m1", input=150_000)))
    answers.clear()
    line.play((1, assistant("s", "m2", input=151_000)), (2, assistant("s", "m3", input=152_000)))
    answers.append(200_000)
    line.play((3, assistant("s", "m4", input=153_000)))
    assert [warning.message_id for _, warning in seen] == ["m1"]
    assert [(fault.session_id, fault.at, type(fault.error)) for fault in line.faults] == [
        ("s", 1.0, IndexError)
    ]


def test_a_switch_of_model_is_a_crossing() -> None:
    """U12: on a smaller model the same tokens cross once; on the larger one they are re-armed."""
    seen = messages(
        user("s", "u0", model="anthropic/long"),
        assistant("s", "m1", input=400_000, model="anthropic/long"),
        updated("s", model="anthropic/x"),
        updated("s", model="anthropic/x", title="renamed"),
        updated("s", model="anthropic/long"),
        updated("s", model="anthropic/x"),
    )
    assert seen == ["m1", "m1"]


@pytest.mark.parametrize(("kind", "warned"), [("context", []), ("input", [220_000 / 272_000])])
def test_one_denominator(kind: str, warned: list[float]) -> None:
    """U14: the warning is measured by the same limit as the gauge, and says which."""
    limits = ContextLimits({"anthropic/x": Limit(context=400_000, input=272_000)}, kind=kind)  # pyright: ignore[reportArgumentType]
    seen = outputs(ops.context_warnings(limits, threshold=0.8), [assistant("s", "m1", input=220_000)])
    assert [warning.ratio for warning in seen] == warned
    assert {warning.limit_kind for warning in seen} <= {kind}


def test_sessions_interleaved() -> None:
    """U15: parents and children cross for themselves."""
    seen = outputs(
        ops.context_warnings(LIMITS),
        [
            assistant("p", "m1", input=50_000),
            created("c", "p"),
            assistant("c", "m2", input=180_000),
            assistant("p", "m3", input=150_000),
            assistant("c", "m4", input=181_000),
        ],
    )
    assert [(warning.session_id, warning.message_id) for warning in seen] == [("c", "m2"), ("p", "m3")]


# --- as a stream ----------------------------------------------------------------------------------


def test_nothing_from_nothing() -> None:
    """An empty stream, and one that measures nothing, give nothing."""
    assert messages() == []
    assert messages(created("s"), text("s", "u1", "p", "hi"), compacted("s"), removed("s", "m")) == []


def test_error_and_completion_pass() -> None:
    """What was said stays said; the end follows at once and nothing is added."""
    lookup = {"a": assistant("s", "m1", input=150_000)}
    for end, kind in (("|", "C"), ("#", "E")):
        seen = play_marbles(f"-a-{end}", lookup, ops.context_warnings(LIMITS))
        assert [(at, each.kind) for at, each in seen] == [(1.0, "N"), (3.0, kind)]


def test_disposed_midway() -> None:
    """After dispose nothing comes, and another subscription is not disturbed."""
    line = Timeline()
    kept = line.watch(ops.context_warnings(LIMITS))
    seen: list[ops.ContextWarning] = []
    subscription = line.hub.pipe(ops.context_warnings(LIMITS)).subscribe(seen.append)
    line.play((0, assistant("a", "m1", input=150_000)))
    subscription.dispose()
    line.play((1, assistant("b", "m2", input=150_000)))
    assert ([warning.session_id for warning in seen], len(kept)) == (["a"], 2)


def test_ended_sessions_start_anew() -> None:
    """Expired, a session is warned of again; deleted, its stragglers warn of nothing."""
    full = assistant("s", "m1", input=150_000)
    assert messages(full, SessionExpired("s"), full) == ["m1", "m1"]
    assert messages(full, deleted("s"), full) == ["m1"]


def test_re_entrancy() -> None:
    """X6: an event published from inside a subscriber is looked at after the current one."""
    line = Timeline()
    seen: list[str] = []

    def feed_back(warning: ops.ContextWarning) -> None:
        number = len(seen) + 1
        seen.append(warning.message_id)
        if number < 2_000:
            line.hub.on_next(assistant("s", "small", input=1, created=number - 0.5))
            line.hub.on_next(assistant("s", f"m{number}", input=150_000, created=number))

    line.hub.pipe(ops.context_warnings(LIMITS)).subscribe(feed_back)
    line.play((0, assistant("s", "m0", input=150_000)))
    assert seen == [f"m{number}" for number in range(2_000)]
    assert line.faults == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"threshold": 70},
            r"threshold must be a fraction above 0 and at most 1, got 70 \(0.7\?\)",
        ),
        ({"threshold": 0}, r"threshold must be a fraction above 0 and at most 1, got 0$"),
        ({"accounting": ""}, r"accounting must be 'exclusive' or 'inclusive', got ''"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str) -> None:
    """C14: refused when the operator is made, by name, value and range."""
    with pytest.raises(ValueError, match=message):
        ops.context_warnings(LIMITS, **arguments)  # pyright: ignore[reportArgumentType]


def test_state_survives_a_snapshot() -> None:
    """A snapshot of the state decodes to an equal one, which does not warn again."""
    logic = ContextWarningsLogic(Gauge(LIMITS, "exclusive"), 0.7)
    state = logic.start("s", 0.0)
    assert list(logic.on_event(state, assistant("s", "m1", input=150_000, created=1), 1.0))
    restored = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=WarningState)
    assert restored == state
    assert not list(logic.on_event(restored, assistant("s", "m2", input=151_000, created=2), 2.0))
