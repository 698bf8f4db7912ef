"""compact: every attempt has one visible end, and the next measurement judges it."""

import threading
from collections import Counter
from collections.abc import Callable
from traceback import walk_stack
from typing import Any

import msgspec
import pytest
import reactivex as rx
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex import Subject

import operators as ops
from operators.actions import ActionEnded, Begin
from operators.attempt import Judge
from operators.breaker import Breaker
from operators.compact import CompactionOutcome, CompactLogic, CompactState, Veto
from operators.compaction_triggers import CompactionTrigger, Pace, Pressure
from operators.gauge import Gauge
from streams import ContextLimits
from streams import events as ev
from streams.events import SessionEvent
from streams.hub import EventHub
from streams.schedulers import Replay
from streams.testing import (
    Timeline,
    assistant,
    compacted,
    created,
    deleted,
    error,
    heartbeat,
    idle,
    outputs,
    removed,
    text,
    tool_after,
    user,
)

LIMITS = ContextLimits({"anthropic/x": 200_000})


class Calls:
    """An action that answers each call as it is told, the last answer again and again."""

    def __init__(self, *answers: Callable[[], object]) -> None:
        self.answers = answers
        self.triggers: list[CompactionTrigger] = []

    def __call__(self, trigger: CompactionTrigger) -> object:
        self.triggers.append(trigger)
        return self.answers[min(len(self.triggers), len(self.answers)) - 1]()

    @property
    def times(self) -> list[float]:
        return [trigger.at for trigger in self.triggers]

    def times_of(self, session_id: str) -> list[float]:
        return [trigger.at for trigger in self.triggers if trigger.session_id == session_id]


def never() -> object:
    return rx.never()


def done() -> object:
    return rx.timer(0.5)


def fails() -> object:
    return rx.throw(ConnectionError("refused"))


def fails_after(seconds: float) -> Callable[[], object]:
    return lambda: rx.timer(seconds).pipe(rx.operators.flat_map(lambda _: fails()))


def succeeds() -> object:
    return True


def raises() -> object:
    raise ConnectionError("refused")


def settled(since: int, until: int, session_id: str = "s") -> list[tuple[float, SessionEvent]]:
    """A settled tool call every second, both ends in it."""
    return [(float(at), tool_after(session_id, "read", f"c{at}")) for at in range(since, until + 1)]


def compaction(
    session_id: str, message_id: str, *, done: bool = False, error: str = "", made: float | None = None
) -> ev.MessageUpdated:
    """The summary that a compaction writes."""
    return assistant(
        session_id,
        message_id,
        agent="compaction",
        summary=True,
        created=made,
        finish="stop" if done else "",
        completed=1.0 if done or error else None,
        error=error,
    )


Seen = list[tuple[float, CompactionOutcome]]


def states(seen: Seen, session_id: str = "s") -> list[tuple[float, str]]:
    assert all(each.at == at for at, each in seen)
    return [(at, each.state) for at, each in seen if each.session_id == session_id]


def started(action: Callable[[CompactionTrigger], object], **how: Any) -> tuple[Timeline, Seen]:
    line = Timeline()
    return line, line.watch(ops.compact(action, LIMITS, **how))


# --- C1 to C5: when to attempt --------------------------------------------------------------------


def test_the_cooldown_counts_from_the_beginning_of_an_attempt() -> None:
    """C1: an attempt that failed is not repeated before 60 s after its beginning (omo#2736)."""
    action = Calls(fails_after(1))
    line, seen = started(action)
    line.play(
        (0, assistant("s", "m1", input=160_000)),
        (0, tool_after("s", "read", "c")),
        (2, assistant("s", "m2", input=160_000)),
        *settled(3, 59),
    )
    assert action.times == [0]
    line.play((59.9, tool_after("s", "read", "c")), *settled(60, 70))
    assert action.times == [0, 60]
    assert states(seen) == [(1, "failed"), (61, "failed")]


def test_a_success_alone_makes_the_sample_stale() -> None:
    """C2: also where no compaction is ever announced, what was measured before an answer is void."""
    action = Calls(succeeds)
    line, seen = started(action)
    line.play((0, assistant("s", "m1", input=160_000)), *settled(1, 200))
    assert (action.times, states(seen)) == ([0], [(0, "succeeded")])


def test_a_success_voids_the_sample_whatever_was_not_announced_before() -> None:
    """C2: after a compaction of which only the summary was heard, success is no echo of that one."""
    action = Calls(succeeds)
    line, seen = started(action, cooldown=0)
    line.play(
        (0, assistant("s", "m1", input=150_000, summary=True)),
        (1, assistant("s", "m2", input=160_000)),
        (2, tool_after("s", "read", "c")),
    )
    assert (action.times, states(seen)) == ([1], [(1, "succeeded")])


@pytest.mark.parametrize("answer", [never, lambda: rx.timer(70)])
def test_a_stale_sample_cannot_justify_a_second_attempt(answer: Callable[[], object]) -> None:
    """C2: only an answer made after the compaction arms a trigger (omo PR #8473, infinity#74)."""
    action = Calls(answer)
    line, seen = started(action)
    line.play(
        (0, assistant("s", "m1", input=160_000)),
        (70, compacted("s")),
        (71, tool_after("s", "read", "c")),
        (72, assistant("s", "m2", input=180_000, created=69)),
        (73, tool_after("s", "read", "d")),
    )
    assert action.times == [0]
    line.play((80, assistant("s", "m3", input=160_000, created=75)))
    assert action.times == [0, 80]
    assert states(seen) == [(60, "timed_out"), (70, "late_success"), (80, "ineffective")]


def test_a_time_out_does_not_release_the_guard_but_the_compaction_does() -> None:
    """C3: giving up waiting is not knowing that it failed (omo#6640, openclaw#95553)."""
    action = Calls(never)
    line, seen = started(action)
    line.play((0, assistant("s", "m1", input=160_000)), *settled(61, 74), (75, compacted("s")))
    assert [(outcome.at, outcome.state) for _, outcome in seen] == [
        (60, "timed_out"),
        (75, "late_success"),
    ]
    assert [outcome.failures for _, outcome in seen] == [0, 0]
    line.play(*settled(76, 400))
    assert action.times == [0]
    assert line.scheduler.pending == 0


def test_a_time_out_that_nothing_follows_holds_until_the_ceiling() -> None:
    """C3: without a compaction nothing is attempted before 300 s after the time-out."""
    action = Calls(never)
    line, seen = started(action)
    line.play((0, assistant("s", "m1", input=160_000)), *settled(1, 359))
    assert action.times == [0]
    line.play(*settled(360, 361))
    assert action.times == [0, 360]
    line.advance_to(420)
    assert states(seen) == [(60, "timed_out"), (420, "timed_out")]
    assert [outcome.failures for _, outcome in seen] == [0, 1]


def test_a_late_answer_is_a_late_success() -> None:
    """C3: the action's own answer after its time-out says how it went; the compaction adds nothing."""
    line, seen = started(Calls(lambda: rx.timer(70)))
    line.play((0, assistant("s", "m1", input=160_000)), (75, compacted("s")))
    line.play((90, assistant("s", "m2", input=20_000)))
    assert states(seen) == [(60, "timed_out"), (70, "late_success"), (90, "effective")]


def test_a_late_failure_releases_the_guard_and_counts() -> None:
    """C3: a definite failure after the time-out is said, counted, and ends the waiting."""
    action = Calls(fails_after(70))
    line, seen = started(action)
    line.play((0, assistant("s", "m1", input=160_000)), *settled(61, 71))
    assert states(seen) == [(60, "timed_out"), (70, "late_failure")]
    assert (seen[1][1].failures, seen[1][1].error) == (1, "ConnectionError: refused")
    assert action.times == [0, 70]


def test_a_timeout_error_is_no_definite_failure() -> None:
    """C3: a client that gave up waiting after 30 s has timed out; the ceiling counts from there."""

    def gives_up() -> object:
        return rx.timer(30).pipe(rx.operators.flat_map(lambda _: rx.throw(TimeoutError("30 s"))))

    action = Calls(gives_up)
    line, seen = started(action)
    line.play((0, assistant("s", "m1", input=160_000)), *settled(1, 330))
    assert states(seen) == [(30, "timed_out")]
    assert action.times == [0, 330]


def test_a_hung_action_ends_at_its_timeout() -> None:
    """C4: an action that never answers has exactly one end, at 60.0 (omo commit fab820e91)."""
    line, seen = started(Calls(never))
    line.play((0, assistant("s", "m1", input=160_000)))
    line.advance_to(359)
    assert states(seen) == [(60, "timed_out")]


@pytest.mark.parametrize("answer", [never, done, succeeds, lambda: rx.timer(8)])
def test_a_success_re_arms(answer: Callable[[], object]) -> None:
    """C5: one attempt per upward crossing, and another after the next (omo commit 1c2caa09d)."""
    action = Calls(answer, never)
    line, seen = started(action)
    line.play(
        (0, assistant("s", "m1", input=160_000)),
        (5, compacted("s")),
        (10, assistant("s", "m2", input=30_000)),
        *settled(11, 199),
        (200, assistant("s", "m3", input=160_000)),
        *((201 + n, assistant("s", f"n{n}", input=161_000 + n)) for n in range(10)),
    )
    assert action.times == [0, 200]
    assert [outcome.state for _, outcome in seen] == ["succeeded", "effective"]
    assert (seen[1][1].before, seen[1][1].after) == (160_000, 30_000)


# --- C6 to C9: when to stop -----------------------------------------------------------------------


def ineffective_three_times(announced: bool) -> list[tuple[float, SessionEvent]]:
    """Three attempts at 0, 60 and 120, none of which frees enough; settled calls every second."""
    events: list[tuple[float, SessionEvent]] = [(0, assistant("s", "m0", input=160_000))]
    for begun, tokens in ((0, 158_000), (60, 157_000), (120, 156_500)):
        if announced:
            events.append((begun + 0.7, compacted("s")))
        events.append((begun + 1, assistant("s", f"m{begun + 1}", input=tokens)))
    return sorted([*events, *settled(0, 180)], key=lambda timed: timed[0])


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("answer", [done, succeeds])
def test_the_next_sample_judges_a_compaction(answer: Callable[[], object], announced: bool) -> None:
    """C6: three compactions that free next to nothing open the breaker, once (opencode#27924)."""
    action = Calls(answer)
    line, seen = started(action)
    line.play(*ineffective_three_times(announced))
    assert action.times == [0, 60, 120]
    judged = [(at, each.state, each.failures) for at, each in seen if each.state != "succeeded"]
    assert judged == [
        (1, "ineffective", 1),
        (61, "ineffective", 2),
        (121, "ineffective", 3),
        (121, "breaker_open", 3),
    ]
    assert seen[-1][1].reason == "ineffective"
    assert [each.after for _, each in seen if each.state == "ineffective"] == [158_000, 157_000, 156_500]


@pytest.mark.parametrize(
    ("before", "after", "state", "reason"),
    [
        (200_000, 180_001, "ineffective", "reclaimed_too_little"),
        (200_000, 180_000, "effective", ""),
        (400_000, 194_000, "ineffective", "above_threshold"),
        (400_000, 193_999, "effective", ""),
    ],
)
def test_at_least_a_tenth_must_be_reclaimed(before: int, after: int, state: str, reason: str) -> None:
    """C6: below the threshold and 10 % freed, or it was ineffective."""
    line, seen = started(Calls(succeeds), threshold=0.97)
    line.play((0, assistant("s", "m1", input=before)))
    line.play((0.2, compacted("s")), (1, assistant("s", "m2", input=after)))
    assert (seen[1][1].state, seen[1][1].reason) == (state, reason)
    assert seen[1][1].reclaimed == pytest.approx(1 - after / before)


def test_what_was_measured_while_it_ran_is_what_it_started_from() -> None:
    """C6: a session that grew to 190 000 while it waited has freed a fifth at 150 000, not 6 %."""
    line, seen = started(Calls(never))
    line.play(
        (0, assistant("s", "m1", input=160_000)),
        (5, assistant("s", "m2", input=190_000)),
        (20, compacted("s")),
        (30, assistant("s", "m3", input=150_000)),
    )
    assert [(each.state, each.before, each.after) for _, each in seen] == [
        ("succeeded", 190_000, None),
        ("effective", 190_000, 150_000),
    ]


def test_no_verdict_while_a_compaction_is_running() -> None:
    """C6: an action that answers when its request is taken is not judged before the compaction ends."""
    line, seen = started(Calls(succeeds))
    line.play(
        (0, assistant("s", "m1", input=160_000)),
        (2, compaction("s", "m2")),
        (4, assistant("s", "m3", input=170_000, created=1)),
        (5, compacted("s")),
        (9, assistant("s", "m4", input=20_000)),
    )
    assert states(seen)[-1] == (9, "effective")
    assert "ineffective" not in [state for _, state in states(seen)]


def test_the_breaker_opens_after_three_failures_in_a_row() -> None:
    """C7: fail, fail, success, fail, fail, fail opens at the last; session b goes on (opencode#38102)."""
    action = Calls(raises, raises, succeeds, raises)
    line, seen = started(action)
    line.play(
        (0, assistant("s", "m1", input=160_000)),
        *settled(1, 120),
        (121, compacted("s")),
        (122, assistant("s", "m2", input=30_000)),
        (180, assistant("s", "m3", input=160_000)),
        *settled(181, 300),
        (305, assistant("b", "n1", input=160_000)),
        *settled(306, 590),
    )
    assert action.times_of("s") == [0, 60, 120, 180, 240, 300]
    assert action.times_of("b") == [305]
    assert [(at, each.at) for at, each in seen if each.state == "breaker_open"] == [(300, 300)]
    assert [each.failures for _, each in seen if each.session_id == "s"] == [1, 2, 2, 0, 1, 2, 3, 3]
    assert seen[-2][1].reason == "failed"


def test_an_open_breaker_lets_one_probe_through_after_the_reset() -> None:
    """C8: open at 121, nothing at 200, one probe at 421; it fails, so open again (omlx#2400)."""
    action = Calls(succeeds, succeeds, succeeds, fails_after(1))
    line, seen = started(action)
    line.play(*ineffective_three_times(announced=True))
    line.play((200, tool_after("s", "read", "c")), *settled(419, 720))
    assert action.times == [0, 60, 120, 421]
    assert states(seen)[-3:] == [(121, "breaker_open"), (422, "failed"), (422, "breaker_open")]
    assert [outcome.probe for _, outcome in seen[-3:]] == [False, True, True]
    line.play(*settled(721, 723))
    assert action.times[4:] == [722]


def test_a_probe_that_works_closes_the_breaker() -> None:
    """C8: one effective compaction zeroes the failures."""
    action = Calls(raises, succeeds)
    line, seen = started(action, breaker=1)
    line.play((0, assistant("s", "m1", input=160_000)), (300, tool_after("s", "read", "c")))
    line.play((310, assistant("s", "m2", input=9_000)), (400, assistant("s", "m3", input=160_000)))
    assert states(seen) == [
        (0, "failed"),
        (0, "breaker_open"),
        (300, "succeeded"),
        (310, "effective"),
        (400, "succeeded"),
    ]
    assert [outcome.probe for _, outcome in seen] == [False, False, True, True, False]


@pytest.mark.parametrize(
    ("prompt", "probed"),
    [
        ([user("s", "u1"), text("s", "u1", "p", "go on")], [0, 100]),
        ([user("s", "u1"), text("s", "u1", "p", "Continue…", synthetic=True)], [0]),
        ([user("s", "u1"), ev.PartUpdated("s", part=ev.Part("p", "u1", "compaction"))], [0]),
        ([user("s", "u0", created=-5), text("s", "u0", "p", "an old one")], [0]),
        ([user("s", "u1"), text("s", "m9", "p", "an answer's text")], [0]),
    ],
)
def test_a_human_lets_a_probe_through(prompt: list[SessionEvent], probed: list[float]) -> None:
    """C8: a human's new message half-opens the breaker; synthetic, compaction and old ones do not."""
    action = Calls(raises)
    line, _ = started(action, breaker=1)
    line.play((-1, user("s", "u0")), (0, assistant("s", "m1", input=160_000)))
    line.play(*((90, each) for each in prompt), (100, tool_after("s", "read", "c")))
    assert action.times == probed


def test_somebody_elses_compaction_is_no_prompt() -> None:
    """C8: the user message that carries a compaction half-opens nothing, also once it is over."""
    action = Calls(raises)
    line, _ = started(action, breaker=1)
    line.play(
        (0, assistant("s", "m1", input=160_000)),
        (90, user("s", "u1")),
        (90, ev.PartUpdated("s", part=ev.Part("p", "u1", "compaction"))),
        (95, compacted("s")),
        (99, assistant("s", "m2", input=160_000)),
    )
    assert action.times == [0]


def test_time_outs_open_the_breaker() -> None:
    """C7: three attempts of which nothing was ever heard again, each said to have timed out."""
    action = Calls(never)
    line, seen = started(action)
    line.play((0, assistant("s", "m1", input=160_000)), *settled(1, 1100))
    assert action.times == [0, 360, 720]
    assert [(at, each.state, each.reason) for at, each in seen] == [
        (60, "timed_out", ""),
        (420, "timed_out", ""),
        (780, "timed_out", ""),
        (1080, "breaker_open", "timed_out"),
    ]


@pytest.mark.parametrize("answer", [never, succeeds])
def test_a_user_abort_is_no_failure(answer: Callable[[], object]) -> None:
    """C8: an abort during an attempt leaves the count as it was (omo commit 163150998)."""
    action = Calls(raises, raises, answer, raises)
    line, seen = started(action)
    line.play(
        (0, assistant("s", "m1", input=160_000)),
        (60, tool_after("s", "read", "c")),
        (120, tool_after("s", "read", "c")),
        (130, error("s", "MessageAbortedError")),
        (131, assistant("s", "m2", input=160_000)),
        (150, error("s", "MessageAbortedError")),
    )
    assert [outcome.failures for _, outcome in seen] == [1, 2, 2]
    if answer is never:
        assert (states(seen)[-1], seen[-1][1].reason) == ((130, "superseded"), "aborted")
    line.play((180, tool_after("s", "read", "c")))
    assert action.times == [0, 60, 120, 180]
    assert states(seen)[-1] == (180, "breaker_open")


def test_a_compaction_that_says_it_was_aborted_is_no_failure() -> None:
    """C8: the same when the summary says so; what was compacted before an abort stays compacted."""
    line, seen = started(Calls(never))
    line.play(
        (0, assistant("s", "m1", input=160_000)),
        (2, compaction("s", "m2")),
        (5, compaction("s", "m2", error="MessageAbortedError", made=2)),
        (60, tool_after("s", "read", "c")),
        (65, compacted("s")),
        (66, error("s", "MessageAbortedError")),
        (70, assistant("s", "m3", input=20_000)),
    )
    assert [(at, each.at, each.state, each.failures) for at, each in seen] == [
        (5, 5, "superseded", 0),
        (70, 70, "succeeded", 0),
        (70, 70, "effective", 0),
    ]


def test_an_action_that_fails_with_the_abort_is_no_failure() -> None:
    """C8: the same when the action hears of the abort before the stream does."""
    line, seen = started(Calls(lambda: rx.throw(RuntimeError("MessageAbortedError: by user"))))
    line.play((0, assistant("s", "m1", input=160_000)), (1, error("s", "MessageAbortedError")))
    (_, only), *_ = seen
    assert (only.state, only.reason, only.failures, len(seen)) == ("superseded", "aborted", 0, 1)


def test_other_errors_of_the_session_are_not_the_attempts() -> None:
    """C8: an overflow or a failed answer of the turn ends no attempt; it is what it is there for."""
    line, seen = started(Calls(never))
    line.play(
        (0, assistant("s", "m1", input=160_000)),
        (2, compaction("s", "m2")),
        (9, error("s", "ContextOverflowError")),
        (9, assistant("s", "m1", created=0, error="ContextOverflowError", finish="error")),
    )
    assert seen == []


def test_a_summary_that_finishes_has_compacted() -> None:
    """S1: where the announcement is lost, the finished summary says it."""
    line, seen = started(Calls(never))
    line.play(
        (0, assistant("s", "m1", input=160_000)),
        (2, compaction("s", "m2")),
        (5, compaction("s", "m2", done=True, made=2)),
        (9, assistant("s", "m3", input=20_000)),
    )
    assert states(seen) == [(9, "succeeded"), (9, "effective")]


def test_no_more_than_so_many_in_an_hour() -> None:
    """C9: effective cycles every 180 s: 10 attempts by 1620, then none before 3600 (openclaw#78367)."""
    action = Calls(succeeds)
    line, seen = started(action, max_per_hour=10)
    for cycle in range(22):
        at = cycle * 180
        line.play(
            (at, assistant("s", f"a{cycle}", input=160_000)),
            (at + 1, compacted("s")),
            (at + 10, assistant("s", f"b{cycle}", input=20_000)),
        )
    assert action.times == [*range(0, 1621, 180), 3600, 3780]
    limited = [(at, each.trigger.number) for at, each in seen if each.state == "rate_limited"]
    assert limited == [(1800, 11)]


def test_each_shortage_is_said_once() -> None:
    """C9: one attempt an hour: said when the second is due, and again an hour later."""
    line, seen = started(Calls(raises), max_per_hour=1, breaker=99)
    line.play((0, assistant("s", "m1", input=160_000)))
    line.play(*((at, tool_after("s", "read", "c")) for at in range(20, 7000, 20)))
    assert states(seen) == [(0, "failed"), (60, "rate_limited"), (3600, "failed"), (3660, "rate_limited")]


# --- C10 to C14: what must never happen -----------------------------------------------------------


def test_one_attempt_in_flight_within_one_tick() -> None:
    """C10: four settled calls at one time are one attempt (pi#4203, adk-go#1234)."""
    action = Calls(never)
    line, _ = started(action, cooldown=0)
    line.play((0, assistant("s", "m1", input=160_000)), *((0, each) for _, each in settled(1, 4)))
    assert action.times == [0]


def test_one_attempt_in_flight_across_threads() -> None:
    """C10: four real threads that meet at a barrier before each session are one attempt each."""
    action = Calls(never)
    line, seen = started(action, cooldown=0)
    barrier = threading.Barrier(4)

    def feed(number: int) -> None:
        for session in range(100):
            barrier.wait(timeout=30)
            line.hub.on_next(assistant(f"s{session}", f"m{number}", input=160_000, created=1.0))
            line.hub.on_next(tool_after(f"s{session}", "read", f"c{number}"))

    threads = [threading.Thread(target=feed, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert Counter(trigger.session_id for trigger in action.triggers) == {f"s{n}": 1 for n in range(100)}
    assert (seen, line.faults) == ([], [])


@pytest.mark.parametrize(
    "foreign",
    [compaction("s", "m2"), ev.PartUpdated("s", part=ev.Part("p", "u1", "compaction", auto=True))],
)
def test_somebody_elses_compaction_holds_an_attempt_back(foreign: SessionEvent) -> None:
    """C10: a foreign compaction seen at 10 counts as one in flight until it is announced (omo#1752)."""
    action = Calls(never)
    line, _ = started(action)
    line.play(
        (10, foreign),
        (20, assistant("s", "m3", input=160_000, created=9)),
        *settled(21, 29),
        (30, compacted("s")),
        *settled(31, 33),
    )
    assert action.times == []
    line.play((40, assistant("s", "m4", input=160_000)))
    assert action.times == [40]


def test_a_compaction_that_fails_in_the_stream_is_a_definite_failure() -> None:
    """C10, C3: the summary's own error ends the attempt, also one that had timed out."""
    line, seen = started(Calls(never))
    line.play(
        (0, assistant("s", "m1", input=160_000)),
        (2, compaction("s", "m2")),
        (5, compaction("s", "m2", error="ContextOverflowError", made=2)),
        (70, tool_after("s", "read", "c")),
        (72, compaction("s", "m3")),
        (140, compaction("s", "m3", error="APIError", made=72)),
    )
    assert [(at, each.state, each.error) for at, each in seen] == [
        (5, "failed", "ContextOverflowError"),
        (130, "timed_out", ""),
        (140, "late_failure", "APIError"),
    ]


def test_an_action_that_feeds_the_stream_starts_no_other() -> None:
    """C11: events published while the action is called are one attempt (openclaw#66058)."""
    source: Subject[SessionEvent] = Subject()
    triggers: list[CompactionTrigger] = []

    def action(trigger: CompactionTrigger) -> object:
        triggers.append(trigger)
        source.on_next(tool_after("s", "read", "c"))
        source.on_next(assistant("s", "m2", input=170_000, created=2))
        return rx.never()

    clock = Replay()
    source.pipe(ops.compact(action, LIMITS, cooldown=0, scheduler=clock)).subscribe()
    source.on_next(assistant("s", "m1", input=160_000, created=1))
    assert len(triggers) == 1


@pytest.mark.parametrize("hub", [True, False])
def test_feedback_does_not_recurse(hub: bool) -> None:
    """C11: 500 attempts, each begun by who hears that the one before it failed, at a constant depth."""
    source: Any = EventHub(scheduler=Replay()) if hub else Subject()
    depths: list[int] = []
    seen: list[CompactionOutcome] = []

    def action(trigger: CompactionTrigger) -> object:
        depths.append(sum(1 for _ in walk_stack(None)))
        source.on_next(tool_after("s", "read", "c"))
        raise ConnectionError

    def again(outcome: CompactionOutcome) -> None:
        seen.append(outcome)
        source.on_next(tool_after("s", "read", "c"))

    operator = ops.compact(action, LIMITS, cooldown=0, breaker=500, scheduler=Replay())
    source.pipe(operator).subscribe(again)
    source.on_next(assistant("s", "m1", input=160_000, created=1))
    assert (len(depths), len(set(depths))) == (500, 1)
    assert [each.state for each in seen] == ["failed"] * 500 + ["breaker_open"]


def test_decided_inside_long_turns() -> None:
    """C12: 20 samples without an idle; the first above 91 750.4 begins the attempt (goose#11072)."""
    action = Calls(never)
    line = Timeline()
    line.watch(ops.compact(action, ContextLimits({"x": 131_072}), threshold=0.7))
    line.play(*((n, assistant("s", f"m{n}", input=68_000 + 1_850 * n)) for n in range(20)))
    assert [(each.at, each.tokens, each.cause) for each in action.triggers] == [(13, 92_050, "sample")]


def test_tiny_windows() -> None:
    """C13: a window of 16 384 is attempted above 12 779, not at 5 000 (opencode#45368)."""
    action = Calls(never)
    line = Timeline()
    line.watch(ops.compact(action, ContextLimits({"x": 16_384})))
    line.play((0, assistant("s", "m1", input=5_000)), (1, assistant("s", "m2", input=12_779)))
    assert action.triggers == []
    line.play((2, assistant("s", "m3", input=12_780)))
    assert [each.threshold_tokens for each in action.triggers] == [12_779]


def test_off_means_off() -> None:
    """C14: switched off, a session at twice its limit is left alone, and nothing is listened to."""
    action = Calls(never)
    line, seen = started(action, enabled=False)
    line.play((0, assistant("s", "m1", input=400_000)), (1, tool_after("s", "read", "c")))
    line.hub.on_next(compacted("s"))
    assert (action.triggers, seen, line.scheduler.pending) == ([], [], 0)


@pytest.mark.parametrize("hub", [True, False])
def test_off_passes_the_end(hub: bool) -> None:
    """C14: switched off, the outcomes still end when the events do."""
    source: Any = EventHub(scheduler=Replay()) if hub else Subject()
    ended: list[str] = []
    source.pipe(ops.compact(Calls(never), LIMITS, enabled=False)).subscribe(
        ended.append, None, lambda: ended.append("completed")
    )
    source.on_next(assistant("s", "m1", input=400_000))
    source.on_completed()
    assert ended == ["completed"]


def test_the_effective_threshold_is_observable() -> None:
    """C14: the outcome says at how many tokens of which limit it was decided."""
    line, seen = started(Calls(succeeds), threshold=0.5)
    line.play((0, assistant("s", "m1", input=100_000)))
    trigger = seen[0][1].trigger
    assert (trigger.threshold, trigger.threshold_tokens, trigger.limit) == (0.5, 100_000, 200_000)


@pytest.mark.parametrize(
    ("how", "names"),
    [
        ({"threshold": 85}, "threshold"),
        ({"threshold": 0}, "threshold"),
        ({"min_reclaim": 10}, "min_reclaim"),
        ({"cooldown": -1}, "cooldown"),
        ({"timeout": 0}, "timeout"),
        ({"ceiling": 0}, "ceiling"),
        ({"reset": float("inf")}, "reset"),
        ({"breaker": 0}, "breaker"),
        ({"max_per_hour": 0}, "max_per_hour"),
        ({"accounting": "both"}, "accounting"),
    ],
)
def test_a_bad_argument_is_named(how: dict[str, Any], names: str) -> None:
    """C14: a bad argument raises at once and names itself, its value and its range."""
    with pytest.raises(ValueError, match=rf"^{names} must be .*{next(iter(how.values()))}"):
        ops.compact(Calls(never), LIMITS, **how)


def test_a_compaction_told_of_again_still_ends_an_attempt() -> None:
    """C10: the second one voids no measurement, that was undone already: it is one all the same."""
    line, seen = started(Calls(never))
    line.play(
        (1, compaction("s", "m1")),
        (5, compacted("s")),
        (10, assistant("s", "m2", input=160_000)),
        (15, removed("s", "m2")),
        (20, compacted("s")),
    )
    line.advance_to(400)
    assert states(seen) == [(70, "succeeded")]


# --- C15 to C17: how an attempt ends --------------------------------------------------------------


@pytest.mark.parametrize("answer", [None, False, "", rx.empty(), rx.just(None), rx.just("")])
def test_an_empty_answer_is_no_success(answer: object) -> None:
    """C15: an empty summary is `empty`, counts, and is not judged effective (omo PR #8473)."""
    line, seen = started(Calls(lambda: answer))
    line.play((0, assistant("s", "m1", input=160_000)))
    line.play((1, compacted("s")), (2, assistant("s", "m2", input=900)))
    assert [(each.state, each.failures) for _, each in seen] == [("empty", 1)]


def test_an_empty_answer_after_the_time_out_is_a_late_failure() -> None:
    """C15, C3: it says that nothing goes on any more."""
    line, seen = started(Calls(lambda: rx.timer(70).pipe(rx.operators.ignore_elements())))
    line.play((0, assistant("s", "m1", input=160_000)))
    line.advance_to(400)
    assert [(at, each.state, each.reason) for at, each in seen] == [
        (60, "timed_out", ""),
        (70, "late_failure", "empty"),
    ]


def test_every_attempt_has_one_visible_end() -> None:
    """C16: raising, throwing later, completing empty, never ending, returning None (omo 1ea0ee431)."""
    answers: dict[str, Callable[[], object]] = {
        "a": raises,
        "b": fails_after(2),
        "c": lambda: rx.empty(),
        "d": never,
        "e": lambda: None,
    }
    line, seen = started(lambda trigger: answers[trigger.session_id]())
    for session_id in answers:
        line.play((0, assistant(session_id, "m1", input=160_000)))
    line.advance_to(100)
    assert {each.session_id: each.state for _, each in seen if each.ends_attempt} == {
        "a": "failed",
        "b": "failed",
        "c": "empty",
        "d": "timed_out",
        "e": "empty",
    }
    assert len(seen) == 5
    assert [each.error for _, each in seen if each.state == "failed"] == ["ConnectionError: refused"] * 2
    line.play((200, assistant("f", "m1", input=1)), (201, deleted("f")))
    assert line.faults == []


def test_a_failed_call_after_the_compaction_is_judged_by_the_sample() -> None:
    """C16, C6: an action that compacted and then failed has failed, but what counts is measured."""
    line, seen = started(Calls(fails_after(5)))
    line.play((0, assistant("s", "m1", input=160_000)), (3, compacted("s")))
    line.play((9, assistant("s", "m2", input=20_000)))
    assert [(each.state, each.failures) for _, each in seen] == [("failed", 0), ("effective", 0)]
    assert ["refused" in each.error for _, each in seen] == [True, False]


def test_a_compaction_whose_action_never_answers_has_succeeded() -> None:
    """C16: the server's word is enough: at the next sample, or at the latest at the time-out."""
    line, seen = started(Calls(never))
    line.play((0, assistant("s", "m1", input=160_000)), (0, assistant("t", "m1", input=160_000)))
    line.play((3, compacted("s")), (3, compacted("t")), (9, assistant("t", "m2", input=20_000)))
    line.advance_to(500)
    assert states(seen, "t") == [(9, "succeeded"), (9, "effective")]
    assert states(seen, "s") == [(60, "succeeded")]
    assert line.scheduler.pending == 0


def test_a_veto_defers_until_it_lifts() -> None:
    """C17: at 80 % a veto holds the attempt back until the veto lifts (orchestkit#3451)."""
    children = {"busy"}
    action = Calls(never)
    line, seen = started(action, veto=lambda trigger: "a child is busy" if children else False)
    line.play((0, assistant("s", "m1", input=160_000)), *settled(1, 49))
    assert [(at, each.state, each.reason) for at, each in seen] == [(0, "deferred", "a child is busy")]
    children.clear()
    line.play(*settled(50, 60))
    assert action.times == [50]
    line.advance_to(109)
    assert len(seen) == 1


def test_a_veto_expires_after_300_seconds() -> None:
    """C17: no event is needed for it; the attempt is made at 300."""
    action = Calls(never)
    line, seen = started(action, veto=lambda trigger: True)
    line.play((0, assistant("s", "m1", input=160_000)), *settled(1, 250))
    line.advance_to(299)
    assert action.times == []
    line.advance_to(300)
    assert action.times == [300]
    assert [(at, each.state, each.reason) for at, each in seen] == [(0, "deferred", "")]


def test_a_veto_is_not_heeded_when_the_window_is_nearly_full() -> None:
    """C17: from 95 % on the attempt is made at once."""
    action = Calls(never)
    line, _ = started(action, veto=lambda trigger: True)
    line.play((0, assistant("s", "m1", input=189_999)), (1, assistant("s", "m2", input=190_000)))
    assert action.times == [1]


def test_a_deferral_ends_with_the_pressure() -> None:
    """C17: compacted meanwhile, the deferred attempt is not made; the next one may be deferred anew."""
    action = Calls(never)
    line, seen = started(action, veto=lambda trigger: True)
    line.play(
        (0, assistant("s", "m1", input=160_000)),
        (100, compacted("s")),
        (110, assistant("s", "m2", input=20_000)),
    )
    assert line.scheduler.pending == 0
    line.play((400, assistant("s", "m3", input=160_000)), (699, tool_after("s", "read", "c")))
    assert action.times == []
    line.advance_to(700)
    assert (action.times, states(seen)) == ([700], [(0, "deferred"), (400, "deferred")])


def test_each_deferral_is_said_once() -> None:
    """C17: the attempt that was made after 300 s is over; the next one is deferred anew."""
    action = Calls(raises)
    line, seen = started(action, veto=lambda trigger: True)
    line.play((0, assistant("s", "m1", input=160_000)), *settled(1, 700))
    assert action.times == [300, 660]
    assert states(seen) == [(0, "deferred"), (300, "failed"), (360, "deferred"), (660, "failed")]


def test_a_deferral_that_ends_during_a_compaction() -> None:
    """C17, C10: at 300 s somebody else is compacting: nothing is attempted, nothing faults."""
    action = Calls(never)
    line, _ = started(action, veto=lambda trigger: True)
    line.play((0, assistant("s", "m1", input=160_000)), (290, compaction("s", "m2")), *settled(300, 350))
    assert (action.times, line.faults, line.scheduler.pending) == ([], [], 0)
    line.play((351, compaction("s", "m2", error="APIError", made=290)))
    line.play((352, tool_after("s", "read", "c")))
    assert action.times == [352]


def test_a_veto_that_raises_is_a_fault_and_no_veto() -> None:
    """C17, S12: a broken guard does not let the window overflow."""

    def veto(trigger: CompactionTrigger) -> bool:
        raise KeyError("children")

    action = Calls(never)
    line, _ = started(action, veto=veto)
    line.play((4, assistant("s", "m1", input=160_000)))
    assert action.times == [4]
    (fault,) = line.faults
    assert (fault.where, fault.session_id, fault.at) == ("veto", "s", 4)
    assert isinstance(fault.error, KeyError)


def test_a_dry_run_says_what_it_would_do() -> None:
    """Nothing is called, and nothing fails; the cooldown holds."""
    action = Calls(never)
    line, seen = started(action, dry_run=True)
    line.play((0, assistant("s", "m1", input=160_000)), *settled(1, 400))
    assert (action.triggers, line.scheduler.pending) == ([], 0)
    assert states(seen) == [(at, "dry_run") for at in range(0, 401, 60)]
    assert [each.trigger.number for _, each in seen] == [1, 2, 3, 4, 5, 6, 7]


def test_a_compaction_that_never_ends_holds_the_verdict_for_a_while() -> None:
    """C6, C10: 300 s after it was seen it holds nothing back; the next decision judges, then attempts."""
    action = Calls(succeeds, never)
    line, seen = started(action)
    line.play(
        (0, assistant("s", "m1", input=160_000)),
        (2, compaction("s", "m2")),
        (4, assistant("s", "m3", input=161_000)),
        *settled(5, 310),
    )
    assert states(seen) == [(0, "succeeded"), (302, "ineffective")]
    assert action.times == [0, 302]


def test_an_answer_that_outlives_the_compaction_is_the_verdict() -> None:
    """C6: made after the summary had begun, known before the compaction is announced."""
    line, seen = started(Calls(never))
    line.play(
        (0, assistant("s", "m1", input=160_000)),
        (2, compaction("s", "m2")),
        (4, assistant("s", "m3", input=20_000)),
        (5, compacted("s")),
    )
    assert states(seen) == [(5, "succeeded"), (5, "effective")]


def test_a_compaction_that_fails_after_the_action_said_yes() -> None:
    """C16: the attempt has had its end; that nothing was freed is for the next sample to say."""
    line, seen = started(Calls(succeeds))
    line.play(
        (0, assistant("s", "m1", input=160_000)),
        (2, compaction("s", "m2")),
        (5, compaction("s", "m2", error="APIError", made=2)),
        (9, assistant("s", "m3", input=161_000)),
    )
    assert states(seen) == [(0, "succeeded"), (9, "ineffective")]


def test_an_answer_made_before_the_action_had_answered_counts() -> None:
    """C6: compacted at 5, answered at 6: an answer made at 5.5 that comes at 7 is the verdict."""
    line, seen = started(Calls(lambda: rx.timer(6)))
    line.play((0, assistant("s", "m1", input=160_000)), (5, compacted("s")))
    line.play((7, assistant("s", "m2", input=20_000, created=5.5)))
    assert states(seen) == [(6, "succeeded"), (7, "effective")]


@pytest.mark.parametrize(("number", "began"), [(0, 0.0), (1, 0.0), (2, 60.0)])
def test_a_stale_result_is_dropped(number: int, began: float) -> None:
    """T10: a result that was on its way when its attempt had ended is not the next attempt's."""
    logic = logic_of(cooldown=0)
    state = logic.start("s", 0)
    for at, event in (
        (0.0, assistant("s", "m1", input=160_000, created=1)),
        (1.0, ActionEnded("s", number=1, began=0.0, error="refused")),
        (60.0, tool_after("s", "read", "c")),
    ):
        *_, last = logic.on_event(state, event, at)
    assert isinstance(last, Begin)
    if number == 2:
        *_, last = logic.on_event(state, ActionEnded("s", number=2, began=60.0, answered=True), 61)
        assert isinstance(last, CompactionOutcome)
    assert list(logic.on_event(state, ActionEnded("s", number=number, began=began), 62)) == []


def test_state_survives_a_snapshot() -> None:
    """A snapshot taken during an attempt decodes to an equal one, which still waits for its end."""
    logic = logic_of(veto=lambda trigger: trigger.number == 1)
    state = logic.start("s", 0)
    for at, event in (
        (0.0, assistant("s", "m1", input=160_000, created=1)),
        (300.0, tool_after("s", "read", "c")),
        (310.0, user("s", "u1", created=310)),
    ):
        list(logic.on_event(state, event, at))
    restored = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=CompactState)
    assert restored == state
    assert logic.deadline(restored) == 360
    (said,) = logic.on_timer(restored, 360.0)
    assert isinstance(said, CompactionOutcome)
    assert said.state == "timed_out"


def logic_of(*, cooldown: float = 60.0, veto: Veto | None = None) -> CompactLogic:
    """The logic at its defaults."""
    pressure = Pressure(Gauge(LIMITS, "exclusive"), 0.78)
    return CompactLogic(pressure, Pace(cooldown, None), Breaker(3, 300), Judge(60, 300, 0.1), veto)


# --- the life of a stream -------------------------------------------------------------------------


def test_nothing_happens_without_pressure() -> None:
    """An empty stream, a session below its threshold, and one without a limit are left alone."""
    action = Calls(never)
    assert outputs(ops.compact(action, LIMITS), []) == []
    events = [heartbeat(), assistant("s", "m1", input=155_999), tool_after("s", "read", "c"), idle("s")]
    assert outputs(ops.compact(action, LIMITS), events) == []
    assert outputs(ops.compact(action, ContextLimits()), [assistant("s", "m", input=10**9)]) == []
    assert action.triggers == []


@pytest.mark.parametrize("end", ["completed", "error"])
def test_an_attempt_under_way_is_superseded_by_the_end(end: str) -> None:
    """On completion and on error the attempt ends first, and its action is unsubscribed from."""
    left: list[str] = []
    line = Timeline()
    heard: list[object] = []
    action = rx.never().pipe(rx.operators.finally_action(lambda: left.append("unsubscribed")))
    line.hub.pipe(ops.compact(lambda trigger: action, LIMITS)).subscribe(
        lambda outcome: heard.append((outcome.at, outcome.state, outcome.reason)),
        lambda error: heard.append(str(error)),
        lambda: heard.append("completed"),
    )
    line.play((3, assistant("s", "m1", input=160_000)))
    _ = line.hub.on_completed() if end == "completed" else line.hub.on_error(OSError("error"))
    assert heard == [(3, "superseded", "ended"), end]
    assert (left, line.scheduler.pending) == (["unsubscribed"], 0)


@pytest.mark.parametrize(
    ("gone", "reason"), [(deleted("s"), "deleted"), (ev.SessionExpired("s", idle=600.0), "expired")]
)
def test_a_session_that_goes_takes_its_attempt_along(gone: SessionEvent, reason: str) -> None:
    """X11: deleted or expired, the action is unsubscribed from; its late answer raises nobody."""
    answers: list[Subject[bool]] = []
    left: list[str] = []

    def action(trigger: CompactionTrigger) -> object:
        answers.append(Subject())
        return answers[-1].pipe(rx.operators.finally_action(lambda: left.append(trigger.session_id)))

    line, seen = started(action)
    line.play((0, assistant("s", "m1", input=160_000)), (0, assistant("t", "m1", input=160_000)))
    line.play((5, gone))
    assert left == ["s"]
    answers[0].on_next(True)
    line.play((6, tool_after("s", "read", "c")), (7, assistant("s", "m0", input=1)))
    assert [(each.session_id, each.reason) for _, each in seen] == [("s", reason)]
    assert states(seen) == [(5, "superseded")]
    line.advance_to(600)
    assert line.scheduler.pending == 0


def test_dispose_cancels_everything() -> None:
    """X11: nothing is emitted, every action is unsubscribed from, no timer is left."""
    line = Timeline()
    seen: list[CompactionOutcome] = []
    outcomes = line.hub.pipe(ops.compact(Calls(lambda: rx.timer(30)), LIMITS))
    subscribed = outcomes.subscribe(seen.append)
    line.play(*((0, assistant(f"s{n}", "m1", input=160_000)) for n in range(100)))
    assert line.scheduler.pending == 101
    subscribed.dispose()
    assert line.scheduler.pending == 0
    line.play((40, assistant("s0", "m2", input=160_000)))
    assert seen == []


def test_settled_attempts_leave_no_timer() -> None:
    """X11: 10 000 actions that answer after 1 s leave nothing pending of their 60 s time-outs."""
    line, seen = started(Calls(lambda: rx.timer(1).pipe(rx.operators.map(lambda _: True))))
    line.play(*((0, assistant(f"s{n}", "m1", input=160_000)) for n in range(10_000)))
    line.advance_to(1)
    assert line.scheduler.pending == 0
    assert Counter(each.state for _, each in seen) == {"succeeded": 10_000}


def test_an_answer_is_heard_from_any_thread() -> None:
    """C4, X4: answers of 50 sessions from 4 threads: each is heard once, and outcomes do not overlap."""
    answers: dict[str, Subject[bool]] = {}

    def action(trigger: CompactionTrigger) -> object:
        return answers.setdefault(trigger.session_id, Subject())

    line = Timeline()
    inside = threading.Lock()
    seen: list[CompactionOutcome] = []

    def take(outcome: CompactionOutcome) -> None:
        assert inside.acquire(blocking=False), "two outcomes at once"
        seen.append(outcome)
        inside.release()

    line.hub.pipe(ops.compact(action, LIMITS)).subscribe(take)
    line.play(*((0, assistant(f"s{n}", "m1", input=160_000)) for n in range(200)))
    barrier = threading.Barrier(4)

    def answer(mine: int) -> None:
        barrier.wait(timeout=30)
        for number in range(mine, 200, 4):
            answers[f"s{number}"].on_next(True)

    threads = [threading.Thread(target=answer, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert Counter(each.session_id for each in seen) == {f"s{n}": 1 for n in range(200)}
    assert {each.state for each in seen} == {"succeeded"}
    assert line.faults == []


def test_sessions_do_not_mix() -> None:
    """Two sessions interleaved: each has its own attempt, end, cooldown and verdict."""
    action = Calls(never)
    line, seen = started(action)
    line.play(
        (0, assistant("a", "m1", input=160_000)),
        (1, assistant("b", "n1", input=170_000)),
        (5, compacted("b")),
        (6, assistant("b", "n2", input=20_000)),
        (7, tool_after("a", "read", "c")),
        (8, compacted("a")),
        (9, assistant("a", "m2", input=159_000)),
    )
    assert states(seen, "a") == [(9, "succeeded"), (9, "ineffective")]
    assert states(seen, "b") == [(6, "succeeded"), (6, "effective")]


def test_one_action_however_many_subscribe() -> None:
    """C10, S12: two subscribers are one action; both hear of it; a raising one harms nobody."""
    action = Calls(succeeds)
    line = Timeline()
    outcomes = line.hub.pipe(ops.compact(action, LIMITS))
    first: list[CompactionOutcome] = []
    second: list[CompactionOutcome] = []

    def raising(outcome: CompactionOutcome) -> None:
        first.append(outcome)
        raise ValueError("not today")

    outcomes.subscribe(raising)
    outcomes.subscribe(second.append)
    line.play((0, assistant("s", "m1", input=160_000)), (9, assistant("s", "m2", input=1_000)))
    assert len(action.triggers) == 1
    assert first == second
    assert [each.state for each in second] == ["succeeded", "effective"]
    assert [fault.where for fault in line.faults] == ["subscriber"] * 2


def test_a_deleted_session_that_comes_back_starts_afresh() -> None:
    """E5: stragglers of a deleted session attempt nothing; created again, it is a new session."""
    action = Calls(raises)
    line, seen = started(action, breaker=1)
    line.play(
        (0, assistant("s", "m1", input=160_000)),
        (1, deleted("s")),
        (2, assistant("s", "m2", input=160_000)),
        (3, created("s")),
        (4, assistant("s", "m3", input=160_000)),
    )
    assert action.times == [0, 4]
    assert seen[-1][1].trigger.number == 1


def test_duplicated_events_change_nothing() -> None:
    """S4: each event twice gives the outcomes of each event once."""
    events: list[tuple[float, SessionEvent]] = [
        (0, assistant("s", "m1", input=160_000)),
        (3, compaction("s", "m2")),
        (5, compacted("s")),
        (9, assistant("s", "m3", input=20_000)),
        (100, assistant("s", "m4", input=170_000)),
        (103, compacted("s")),
        (109, assistant("s", "m5", input=165_000)),
        (120, error("s", "MessageAbortedError")),
    ]
    twice = [each for each in events for _ in range(2)]
    once = outputs(ops.compact(Calls(done), LIMITS), events, until=500)
    assert outputs(ops.compact(Calls(done), LIMITS), twice, until=500) == once
    assert [each.state for each in once] == ["succeeded", "effective", "succeeded", "ineffective"]


KINDS: dict[str, Callable[[int], SessionEvent]] = {
    "full": lambda n: assistant("s", f"m{n:04}", input=160_000 + n),
    "nearly": lambda n: assistant("s", f"m{n:04}", input=192_000),
    "small": lambda n: assistant("s", f"m{n:04}", input=9_000),
    "tool": lambda n: tool_after("s", "read", f"c{n}"),
    "compacted": lambda n: compacted("s"),
    "compacting": lambda n: compaction("s", f"m{n:04}"),
    "failed": lambda n: compaction("s", f"m{n:04}", error="APIError"),
    "aborted": lambda n: error("s", "MessageAbortedError"),
    "user": lambda n: user("s", f"u{n:04}"),
    "deleted": lambda n: deleted("s"),
    "created": lambda n: created("s"),
    "nothing": lambda n: heartbeat(),
}

ANSWERS = {
    "done": done,
    "succeeds": succeeds,
    "raises": raises,
    "never": never,
    "none": lambda: None,
    "fails": fails_after(20),
    "late": lambda: rx.timer(65),
    "gives up": lambda: rx.throw(TimeoutError()),
}


@settings(max_examples=300, deadline=None)
@given(
    kinds=st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.sampled_from([0.0, 1.0, 30.0, 61.0]))),
    answers=st.lists(st.sampled_from(sorted(ANSWERS)), min_size=1, max_size=6),
    vetoes=st.lists(st.booleans(), max_size=5),
)
def test_any_history_gives_every_attempt_one_end(
    kinds: list[tuple[str, float]], answers: list[str], vetoes: list[bool]
) -> None:
    """C16: whatever happens, each attempt ends once; nothing faults; no timer is left."""
    action = Calls(*(ANSWERS[each] for each in answers))
    lifting = list(vetoes)
    line, seen = started(action, veto=lambda trigger: lifting.pop() if lifting else False)
    at = 0.0
    for number, (kind, pause) in enumerate(kinds):
        at += pause
        line.play((at, KINDS[kind](number)))
    line.hub.on_completed()
    ended = [(each.trigger.at, each.trigger.number) for _, each in seen if each.ends_attempt]
    assert sorted(ended) == sorted((each.at, each.number) for each in action.triggers)
    assert line.faults == []
    line.advance_to(at + 10_000)
    assert line.scheduler.pending == 0


def test_a_real_recording(recording_of: Any) -> None:
    """A real session that the server compacts twice itself: one attempt, judged before the server's."""
    line = Timeline()
    action = Calls(succeeds)
    seen = line.watch(ops.compact(action, ContextLimits(lambda provider, model: 32_000)))
    for event in recording_of("compaction").events():
        line.play((event.at, event))
    assert [(each.state, each.before, each.after) for _, each in seen] == [
        ("succeeded", 26_760, None),
        ("ineffective", 26_760, 28_860),
    ]
    assert (len(action.triggers), line.faults) == (1, [])


def test_an_outcome_says_all_of_its_attempt() -> None:
    """C3: when, of which trigger, what was measured before, how many failures, and what went wrong."""
    seen = started(Calls(fails_after(1)))
    line, outcomes = seen
    line.play((5, assistant("s", "m1", input=160_000)), *settled(6, 7))
    ((at, outcome),) = outcomes
    assert (at, outcome.at, outcome.state, outcome.before) == (6, 6, "failed", 160_000)
    assert (outcome.trigger.at, outcome.trigger.number, outcome.failures) == (5, 1, 1)
    assert (outcome.after, outcome.probe, outcome.reason) == (None, False, "")


def test_an_attempt_that_is_not_made_says_when_and_on_what() -> None:
    """C9, C17: held back, an outcome has the time, the tokens and the failures that it was decided on."""
    line, seen = started(Calls(raises), max_per_hour=1, breaker=99)
    line.play((0, assistant("s", "m1", input=160_000)), (60, tool_after("s", "read", "c")))
    (_, _), (at, held) = seen
    assert (at, held.at, held.state, held.before) == (60, 60, "rate_limited", 160_000)
    assert (held.failures, held.reason, held.trigger.at) == (1, "", 60)


def test_a_veto_that_has_expired_leaves_the_cause_of_its_trigger() -> None:
    """C17: what is attempted at 300 is attempted for the reason for which it was put off."""
    action = Calls(never)
    line, _ = started(action, veto=lambda trigger: True)
    line.play((0, assistant("s", "m1", input=160_000)), *settled(1, 250))
    line.advance_to(300)
    assert [each.cause for each in action.triggers] == ["sample"]


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"error": "ProviderError"}, "ProviderError"),
        ({"finish": "error"}, "UnknownError"),
    ],
)
def test_a_summary_that_fails_says_how(how: dict[str, Any], what: str) -> None:
    """C3: its error by name; one that only finishes badly has a name for that too."""
    line, seen = started(Calls(never))
    line.play(
        (0, assistant("s", "m1", input=160_000)),
        (1, assistant("s", "m2", created=1, finish="", summary=True)),
        (9, assistant("s", "m2", created=1, summary=True, **({"finish": ""} | how))),
    )
    ((at, outcome),) = seen
    assert (at, outcome.at, outcome.state, outcome.error) == (9, 9, "failed", what)


def test_a_summary_that_fails_says_why() -> None:
    """C3: with the message of its error, if that has one."""
    failed = msgspec.structs.replace(
        compaction("s", "m2", error="APIError", made=1), error=ev.AgentError("APIError", "overloaded")
    )
    line, seen = started(Calls(never))
    line.play((0, assistant("s", "m1", input=160_000)), (1, compaction("s", "m2", made=1)), (9, failed))
    assert [each.error for _, each in seen] == ["APIError: overloaded"]


def test_a_limit_that_cannot_be_looked_up_for_a_verdict_is_a_fault() -> None:
    """U11, C6: told with the time at which the attempt was to be judged."""
    broken: list[str] = []

    def find(provider_id: str, model_id: str) -> int:
        if broken:
            raise LookupError("the table is away")
        return 200_000

    line = Timeline()
    line.watch(ops.compact(Calls(succeeds), ContextLimits(find)))
    line.play((0, assistant("s", "m1", input=160_000)), (5, compacted("s")))
    broken.append("now")
    line.play((9, assistant("s", "m2", input=20_000)))
    assert [(each.where, each.session_id, each.at) for each in line.faults] == [("ContextLimits", "s", 9)]


def test_a_limit_that_cannot_be_looked_up_is_a_fault_of_that_time() -> None:
    """U11, S12: there is no attempt without one."""

    def find(provider_id: str, model_id: str) -> int:
        raise LookupError("no table")

    action = Calls(succeeds)
    line = Timeline()
    line.watch(ops.compact(action, ContextLimits(find)))
    line.play((4, assistant("s", "m1", input=160_000)), (5, assistant("s", "m2", input=170_000)))
    assert [(each.where, each.session_id, each.at) for each in line.faults] == [("ContextLimits", "s", 4)]
    assert action.triggers == []


@pytest.mark.parametrize("end", [deleted("s"), ev.SessionExpired("s"), error("s", "MessageAbortedError")])
def test_what_ends_an_attempt_is_when_it_ends(end: SessionEvent) -> None:
    """C4: its outcome has the time of the deletion, the expiry or the abort."""
    line, seen = started(Calls(never))
    line.play((0, assistant("s", "m1", input=160_000)), (7, end))
    assert [(at, each.at) for at, each in seen] == [(7, 7)]


def test_a_dry_run_has_nothing_to_explain() -> None:
    """C17: it says what it would have attempted, and no reason."""
    line, seen = started(Calls(never), dry_run=True)
    line.play((0, assistant("s", "m1", input=160_000)))
    assert [(each.state, each.reason) for _, each in seen] == [("dry_run", "")]
