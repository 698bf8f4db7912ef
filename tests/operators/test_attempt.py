"""``Attempt``: one attempt to compact, from its beginning to its verdict."""

import pytest
from msgspec.structs import replace

from operators.actions import ActionEnded
from operators.attempt import Attempt, Finding, Judge
from operators.compact import CompactionOutcome
from operators.compaction_triggers import CompactionTrigger

JUDGE = Judge(timeout=60.0, ceiling=600.0, min_reclaim=0.2)

TRIGGER = CompactionTrigger(
    "s", 5.0, "sample", 900, 0, 1000, "context", 0.9, 0.78, 780, "m", "anthropic", "x", number=3
)


def attempt(stage: str = "running", *, compacted: bool = False) -> Attempt:
    made = Attempt(TRIGGER, 900, probe=False, due=65.0, compacted=compacted)
    return made if stage == "running" else replace(made, stage="overdue")


ENDED = ActionEnded("s", number=3, began=5.0)


def test_a_result_is_told_by_number_and_time() -> None:
    """C10: both; numbers begin anew with a session that was deleted and made again."""
    assert attempt().is_mine(ENDED)
    assert not attempt().is_mine(replace(ENDED, began=4.0))
    assert not attempt().is_mine(replace(ENDED, number=2))


@pytest.mark.parametrize(
    ("stage",   "ended",                      "finding"),
    [
        ("running", {"answered": True},           Finding("succeeded")),
        ("overdue", {"answered": True},           Finding("late_success")),
        ("running", {},                           Finding("empty", over=True, counts=True)),
        ("overdue", {},                           Finding("late_failure", "empty", over=True, counts=True)),
        ("running", {"error": "no"},              Finding("failed", error="no", over=True, counts=True)),
        ("overdue", {"error": "no"},              Finding("late_failure", error="no", over=True, counts=True)),
        ("running", {"error": "slow", "only_waiting": True}, Finding("timed_out")),
        ("overdue", {"error": "slow", "only_waiting": True}, None),
    ],
)  # fmt: skip
def test_how_its_action_ended(stage: str, ended: dict[str, object], finding: Finding | None) -> None:
    """C3, C4: an answer, none, an error, or a wait that was given up; in time, or late."""
    assert attempt(stage).answered(replace(ENDED, **ended), JUDGE, 70.0) == finding


def test_a_wait_that_was_given_up_changes_nothing_once_it_is_overdue() -> None:
    """C3: the work may go on; only the ceiling ends it."""
    late = attempt("overdue")
    late.due = 665.0
    assert late.answered(replace(ENDED, error="slow", only_waiting=True), JUDGE, 70.0) is None
    assert (late.stage, late.due) == ("overdue", 665.0)
    assert late.time_up(JUDGE, 665.0) == Finding(None, "timed_out", over=True, counts=True)


def test_a_failure_after_the_compaction_is_measured() -> None:
    """C6: the session was compacted all the same, so the next answer judges it."""
    done = attempt(compacted=True)
    assert done.failed("no") == Finding("failed", error="no")
    assert (done.stage, done.due, done.occupied) == ("unmeasured", None, False)


def test_an_outcome_in_words() -> None:
    """One line for a log: who, how much, what, and why if there is a reason."""
    outcome = CompactionOutcome("s", 9.0, "succeeded", TRIGGER, 160_000)
    assert str(outcome) == "CompactionOutcome(s, attempt 3, 160_000, succeeded)"
    measured = replace(outcome, state="ineffective", after=155_000, reason="above_threshold")
    assert str(measured) == (
        "CompactionOutcome(s, attempt 3, 160_000 -> 155_000, ineffective: above_threshold)"
    )
    failed = replace(outcome, state="failed", reason="late", error="no")
    assert str(failed) == "CompactionOutcome(s, attempt 3, 160_000, failed: no)"
