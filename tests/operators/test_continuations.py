"""When an idle session with open todos is to go on, and all that stands against it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest

import operators as ops
from operators.continuation_rules import Policy
from operators.continuation_state import ContinuationState
from operators.continuations import Continuation, ContinuationsFold
from streams.events import (
    Part,
    PartUpdated,
    SessionEvent,
    SessionExpired,
    SessionStatus,
    StreamConnected,
    StreamGap,
    Todo,
    TodosUpdated,
)
from streams.testing import (
    Timeline,
    assistant,
    busy,
    compacted,
    continuation_reply,
    created,
    deleted,
    error,
    idle,
    permission,
    permission_reply,
    question,
    question_reply,
    text,
    todos,
    tool,
    updated,
    user,
)

Timed = tuple[float, SessionEvent]
OPEN = todos("s", "completed", "pending")
ABORT = error("s", "MessageAbortedError")
at_once = partial(ops.continuations, settle=0, countdown=0)


def played(*timed: Timed, until: float, **arguments: Any) -> list[tuple[float, Continuation]]:
    line = Timeline()
    seen = line.watch(ops.continuations(**arguments))
    line.play(*timed)
    line.advance_to(until)
    assert line.faults == []
    assert all(each.at == at for at, each in seen)
    return seen


def said(*timed: Timed, until: float, **arguments: Any) -> list[tuple[float, str]]:
    """Everything that is said, and when."""
    return [(round(at, 3), each.reason) for at, each in played(*timed, until=until, **arguments)]


def ready(*timed: Timed, until: float, **arguments: Any) -> list[float]:
    """When the session is to go on."""
    return [at for at, reason in said(*timed, until=until, **arguments) if reason == "ready"]


def spoken(at: float, message: str, *, synthetic: bool = False) -> list[Timed]:
    """A prompt, as it comes: first that there is one, then what it says."""
    return [(at, user("s", message)), (at, text("s", message, f"p_{message}", "…", synthetic=synthetic))]


def turn(at: float, message: str, *events: SessionEvent) -> list[Timed]:
    """A turn of one answer, as the server tells it; idle a second later."""
    begun, finished = assistant("s", message, finish=""), assistant("s", message)
    during = [busy("s"), begun, busy("s"), *events, finished, finished, busy("s")]
    return [*((at, event) for event in during), (at + 1, idle("s"))]


class TestAbort:
    """D1: a human's abort is respected until a human speaks."""

    def test_no_time_is_long_enough(self) -> None:
        """D1: abort @10, idle @10.1, idle @3610: none; a user's message, idle: one."""
        before: list[Timed] = [
            (0, OPEN),
            (1, busy("s")),
            (10, ABORT),
            (10.1, idle("s")),
            (3610, idle("s")),
        ]
        assert said(*before, until=4000) == [(10.25, "aborted")]
        again = [*before, *spoken(4000, "m2"), (4001, busy("s")), (4010, idle("s"))]
        assert ready(*again, until=5000) == [4012]

    def test_it_spends_no_failure(self) -> None:
        """D1: an abort is no failure: after it there is no backoff."""
        events = [(0, OPEN), (1, ABORT), (1, idle("s")), *spoken(5, "m2"), (6, idle("s"))]
        [_, (at, each)] = played(*events, until=20)
        assert (at, each.reason, each.failures) == (8, "ready", 0)

    def test_told_by_the_message_alone(self) -> None:
        """D1: the answer's own error is enough; told late, after a human spoke, it is old."""
        aborted = assistant("s", "m1", finish="", error="MessageAbortedError", created=1)
        assert said((0, OPEN), (2, aborted), (2, idle("s")), until=20) == [(2.15, "aborted")]
        late = [(0, OPEN), (1, ABORT), (1, idle("s")), *spoken(5, "m2"), (5.1, aborted), (6, idle("s"))]
        assert ready(*late, until=20) == [8]

    def test_it_is_no_stagnation(self) -> None:
        """D1: a continued turn that was aborted, or overflowed, is not counted against the session."""
        for stops in (ABORT, error("s", "ContextOverflowError")):
            aborted = [(5, busy("s")), (6, stops), (6, idle("s")), *spoken(9, "m2"), (10, idle("s"))]
            assert played((0, OPEN), (1, idle("s")), *aborted, until=20)[-1][1].stagnation == 0

    def test_what_does_not_lift_it(self) -> None:
        """D1: neither old words said again, nor the agent's, nor a compaction's message lift it."""
        aborted = [(0, OPEN), *spoken(1, "m1"), (2, busy("s")), (3, ABORT), (3, idle("s"))]
        mark = PartUpdated("s", part=Part("p3", "m3", "compaction"))
        words = [text("s", "m1", "p_m1", "…"), user("s", "m3"), mark, text("s", "m4", "p_m4", "…")]
        overflow = [error("s", "ContextOverflowError"), compacted("s")]
        said_again = [(4, event) for event in (*words, *overflow)]
        assert said(*aborted, *said_again, (5, idle("s")), until=20) == [(3.15, "aborted")]

    def test_it_outlives_the_session_s_expiry(self) -> None:
        """D1: when the session's state has expired its todos are unknown, so still nothing comes."""
        line = Timeline()
        seen: list[Continuation] = []
        line.hub.pipe(ops.expire_after(600), ops.continuations()).subscribe(
            seen.append, scheduler=line.scheduler
        )
        line.play((0, OPEN), (10, ABORT), (10.1, idle("s")), (3610, idle("s")))
        line.advance_to(4000)
        assert [each.reason for each in seen] == ["aborted"]


class TestDone:
    """D2, D5: nothing to do, nothing to say."""

    def test_all_completed(self) -> None:
        """D2: all completed, idle x5: 0; a new pending todo, idle: 1."""
        finished = [
            (0, todos("s", "completed", "completed")),
            *((10.0 * n, idle("s")) for n in range(1, 6)),
        ]
        assert said(*finished, until=99) == []
        assert said(
            *finished, (100, todos("s", "completed", "pending")), (101, idle("s")), until=200
        ) == [(103, "ready")]

    def test_closed_statuses(self) -> None:
        """D5: [blocked, deleted, cancelled, completed] leave 0 to do; an unknown status leaves 1."""
        closed = todos("s", "blocked", "deleted", "cancelled", "completed")
        assert said((0, closed), (1, idle("s")), until=9) == []
        [(_, each)] = played((0, todos("s", "blocked", "paused")), (1, idle("s")), until=9)
        assert [todo.status for todo in each.todos] == ["paused"]

    def test_an_obstacle_is_said_again(self) -> None:
        """D2: when everything was done in between, the same obstacle is news again."""
        events = [(0, OPEN), (1, ABORT), (1, idle("s")), (5, TodosUpdated("s")), (6, idle("s"))]
        again = [(10, OPEN), (11, idle("s"))]
        assert said(*events, *again, until=20) == [(1.15, "aborted"), (11.15, "aborted")]

    def test_without_todos(self) -> None:
        """D13: no list, and an empty one after another, are nothing to do."""
        assert said((1, idle("s")), until=9) == []
        assert said((0, OPEN), (1, TodosUpdated("s")), (2, idle("s")), until=9) == []

    def test_no_older_list_brings_them_back(self) -> None:
        """D13: after `TODO([])` neither an older list nor an older message does."""
        line = Timeline()
        seen = line.watch(ops.continuations())
        line.play((1, OPEN), (2, TodosUpdated("s")))
        line.hub.on_next(msgspec.structs.replace(OPEN, at=1.0))
        line.play(
            (3, tool("s", "c1", "todowrite", "completed", metadata={"todos": [{"content": "read"}]}))
        )
        line.play((4, idle("s")))
        line.advance_to(10)
        assert seen == []


def reworded(entries: tuple[Todo, ...]) -> tuple[Todo, ...]:
    return tuple(msgspec.structs.replace(todo, content=f"{todo.content}, really") for todo in entries)


def reprioritised(entries: tuple[Todo, ...]) -> tuple[Todo, ...]:
    return tuple(msgspec.structs.replace(todo, priority="high") for todo in entries)


def reordered(entries: tuple[Todo, ...]) -> tuple[Todo, ...]:
    return entries[::-1]


def one_done_one_added(entries: tuple[Todo, ...]) -> tuple[Todo, ...]:
    first, *others = entries
    return (
        msgspec.structs.replace(first, status="completed"),
        *others,
        Todo("new", "pending", id=first.id and "9"),
    )


def listed(*entries: Todo) -> TodosUpdated:
    return TodosUpdated("s", todos=entries)


WITHOUT_IDS = (Todo("read", "pending"), Todo("write", "pending"), Todo("write", "pending"))
WITH_IDS = tuple(msgspec.structs.replace(todo, id=str(n)) for n, todo in enumerate(WITHOUT_IDS))


@pytest.mark.parametrize("entries", [WITHOUT_IDS, WITH_IDS], ids=["without ids", "with ids"])
class TestProgress:
    """D3: what resets stagnation is a change of statuses, with or without ids."""

    def stagnation(self, entries: tuple[Todo, ...], *during: SessionEvent) -> int:
        """After one turn that was continued, in which this happened."""
        events = [(0, listed(*entries)), (1, idle("s")), *turn(5, "m1", *during)]
        return played(*events, until=20)[-1][1].stagnation

    @pytest.mark.parametrize("change", [reworded, reprioritised, reordered])
    def test_no_progress(self, entries: Any, change: Callable[[Any], tuple[Todo, ...]]) -> None:
        """D3: reworded, re-prioritised, re-ordered: stagnation +1."""
        assert self.stagnation(entries, listed(*change(entries))) == 1

    def test_tool_activity(self, entries: Any) -> None:
        """D3: 50 tool calls and no status changed: stagnation +1."""
        calls = [tool("s", f"c{n}", "read", "completed") for n in range(50)]
        assert self.stagnation(entries, *calls) == 1

    def test_progress(self, entries: Any) -> None:
        """D3: one completed and one added, as many incomplete as before: reset."""
        assert self.stagnation(entries, listed(*one_done_one_added(entries))) == 0


class TestStagnation:
    """D4: a session that is continued and gets nowhere is left alone."""

    @pytest.mark.parametrize(("limit", "times"), [(3, 3), (1, 1)])
    def test_unchanged(self, limit: int, times: int) -> None:
        """D4: unchanged todos, a reply each time: 3 suggestions, then one `stagnated`; strict: 1."""
        events = [
            (0, OPEN),
            (1, idle("s")),
            *(event for n in range(1, 8) for event in turn(10 * n, f"m{n}")),
        ]
        reasons = [reason for _, reason in said(*events, until=100, max_stagnation=limit)]
        assert reasons == ["ready"] * times + ["stagnated"]

    def test_without_busy(self) -> None:
        """D4: the reply alone shows that the session went on."""
        replies = [
            event
            for n in range(1, 8)
            for event in ((10 * n, assistant("s", f"m{n}")), (10 * n, idle("s")))
        ]
        reasons = [reason for _, reason in said((0, OPEN), (1, idle("s")), *replies, until=100)]
        assert reasons == ["ready"] * 3 + ["stagnated"]

    def test_progress_allows_it_again(self) -> None:
        """D4: a status change after that: allowed again."""
        events = [
            (0, OPEN),
            (1, idle("s")),
            *(event for n in range(1, 5) for event in turn(10 * n, f"m{n}")),
        ]
        moved = todos("s", "completed", "in_progress")
        assert ready(*events, *turn(60, "m6", moved), until=100) == [3, 13, 23, 63]

    def test_what_was_offered_and_not_taken_up(self) -> None:
        """D4: idle again and again without a turn in between is one suggestion, and no stagnation."""
        events = [(0, OPEN), *((1.0 * n, idle("s")) for n in range(1, 20))]
        [(at, each)] = played(*events, until=60)
        assert (at, each.number, each.stagnation) == (3, 1, 0)


class TestAsked:
    """D6: a session that asked a human something waits."""

    @pytest.mark.parametrize(
        ("asks", "answers"),
        [
            (tool("s", "q1", "question", "running"), tool("s", "q1", "question", "completed")),
            (question("s", "r1", "q1"), question_reply("s", "r1")),
            (question("s", "r1", "q1"), tool("s", "q1", "question", "error")),
            (permission("s", "r1", "c1"), permission_reply("s", "r1")),
            (permission("s", "r1"), permission_reply("s", "r1")),
        ],
        ids=["part", "event", "event, then part", "permission", "permission of no call"],
    )
    def test_until_it_is_answered(self, asks: SessionEvent, answers: SessionEvent) -> None:
        """D6: an open question, idle: none; answered, next idle: 1."""
        before = [(0, OPEN), (1, asks), (2, idle("s"))]
        assert said(*before, (50, idle("s")), until=99) == [(2.15, "waiting")]
        assert ready(*before, (100, answers), (101, idle("s")), until=200) == [103]

    def test_question_told_twice_over(self) -> None:
        """D6: the question's event and its part are one question, answered by either."""
        asked = [(1, tool("s", "q1", "question", "running")), (1, question("s", "r1", "q1"))]
        assert ready((0, OPEN), *asked, (2, question_reply("s", "r1")), (3, idle("s")), until=9) == [5]

    def test_a_synthetic_message_is_no_answer(self) -> None:
        """D6: a synthetic user message does not count as an answer; a human's does."""
        asked = [(0, OPEN), (1, question("s", "r1", "q1")), (2, idle("s"))]
        assert ready(*asked, *spoken(3, "m1", synthetic=True), (4, idle("s")), until=20) == []
        assert ready(*asked, *spoken(3, "m1"), (4, idle("s")), until=20) == [6]


class TestCompaction:
    """D7: a compaction holds until the next ordinary turn, by epoch."""

    def test_an_older_check_does_not_acknowledge_a_newer_one(self) -> None:
        """D7: compacted, a check begins, compacted again, the check ends: still held; an ordinary
        answer, idle: a suggestion."""
        events = [(0, OPEN), (1, compacted("s")), (2, idle("s")), (2.1, compacted("s"))]
        assert said(*events, (5, idle("s")), until=9) == [(2.15, "compacted")]
        assert ready(*events, (10, assistant("s", "m1")), (11, idle("s")), until=20) == [13]

    def test_a_running_countdown_survives(self) -> None:
        """D7: a compaction within the countdown does not end it; the next check is held by it."""
        events = [
            (0, OPEN),
            (1, idle("s")),
            (2, compacted("s")),
            *turn(10, "m0"),
            (20, compacted("s")),
            (21, idle("s")),
        ]
        assert said(*events, until=30)[:2] == [(3, "ready"), (13, "ready")]
        assert said(*events, until=30)[2:] == [(21.15, "compacted")]

    def test_what_is_no_ordinary_answer(self) -> None:
        """D7: neither the summary, nor a late update of an answer from before, acknowledges it."""
        old, summary = assistant("s", "m1", created=1), assistant("s", "m2", created=3, summary=True)
        assert said((0, OPEN), (1, old), (2, compacted("s")), (3, old), (6, idle("s")), until=20) == [
            (6.15, "compacted")
        ]
        events = [
            (0, OPEN),
            (1, old),
            (3, summary),
            (4, compacted("s")),
            (4, summary),
            (5, old),
            (6, idle("s")),
        ]
        assert said(*events, until=20) == [(6.15, "compacted")]

    @pytest.mark.parametrize(
        "answer",
        [
            assistant("s", "m3", finish=""),
            assistant("s", "m3", summary=True),
            assistant("s", "m3", finish="", completed=9),
        ],
        ids=["unfinished", "of a compaction", "overflowed"],
    )
    def test_only_a_finished_answer_acknowledges(self, answer: SessionEvent) -> None:
        """D7: an answer that has only begun, a summary, and an answer cut short do not count."""
        assert said((0, OPEN), (1, compacted("s")), (2, answer), (6, idle("s")), until=20) == [
            (6.15, "compacted")
        ]

    def test_between_two_checks(self) -> None:
        """D7: a countdown that was held is over: the check after a compaction knows of it."""
        events = [(0, OPEN), (0, idle("s")), (1, created("c", "s")), (3, compacted("s")), (4, idle("c"))]
        assert said(*events, until=20) == [(2, "children"), (4.15, "compacted")]


class TestCountdown:
    """D8: every guard is asked again when the countdown ends."""

    @pytest.mark.parametrize(
        ("meanwhile", "reasons"),
        [
            ([(1, continuation_reply("s", "stop"))], ["stopped"]),
            ([(1, todos("s", "completed", "completed"))], []),
            ([(1, created("c", "s")), (1.5, busy("c"))], ["children"]),
            ([(1, created("c", "s"))], ["children"]),
            (spoken(1, "m2"), []),
            ([(1, ABORT)], ["aborted"]),
            ([(1, busy("s"))], []),
            ([(1, question("s", "r1"))], ["waiting"]),
            ([(1, error("s", "ContextOverflowError"))], ["overflow"]),
            ([(1, StreamConnected())], []),
            ([(1, StreamGap())], []),
            ([(1, deleted("s"))], []),
            ([(1, SessionExpired("s"))], []),
        ],
        ids=lambda each: None,
    )
    def test_what_comes_in_between(self, meanwhile: list[Timed], reasons: list[str]) -> None:
        """D8: idle @0, countdown 2 s; at @1 in turn: stop, todos completed, a child, a user's message,
        an abort, …: none in each."""
        seen = said((0, OPEN), (0, idle("s")), *meanwhile, until=10)
        assert seen == [(2, reason) for reason in reasons]

    def test_nothing_comes_in_between(self) -> None:
        """D8: nothing: 1 @2."""
        assert said((0, OPEN), (0, idle("s")), until=10) == [(2, "ready")]

    def test_the_two_idle_signals_are_one(self) -> None:
        """P3: `session.status idle` and `session.idle` start one countdown, each alone as well."""
        status = SessionStatus("s", status="idle")
        assert said((0, OPEN), (1, status), (1, idle("s")), (2, status), until=10) == [(3, "ready")]
        assert said((0, OPEN), (1, status), until=10) == [(3, "ready")]
        assert said((0, OPEN), (1, status), (1, idle("s")), until=10, settle=0, countdown=0) == [
            (1, "ready")
        ]

    def test_a_new_connection(self) -> None:
        """D8: after a new connection the next idle starts afresh: nothing that ran is taken to run."""
        stale = [(1, created("c", "s")), (1, tool("s", "c1", "task", "running")), (2, idle("s"))]
        assert ready((0, OPEN), *stale, (3, StreamConnected()), (4, idle("s")), until=9) == [6]
        assert ready((0, OPEN), (1, idle("s")), (4, StreamConnected()), (5, idle("s")), until=9) == [3, 7]


class TestStopped:
    def test_for_good(self) -> None:
        """D8: stopped holds over turns and over what a human says, until it is resumed."""
        events = [
            (0, OPEN),
            (1, continuation_reply("s", "stop")),
            (2, idle("s")),
            *spoken(3, "m1"),
            *turn(4, "m2"),
        ]
        assert said(*events, until=50) == [(2.15, "stopped")]
        assert ready(*events, (60, continuation_reply("s", "resume")), until=99) == [62]

    def test_other_replies(self) -> None:
        """A reply that nobody knows changes nothing."""
        assert said((0, OPEN), (0, idle("s")), (3, continuation_reply("s", "done")), until=99) == [
            (2, "ready")
        ]


class TestSynthetic:
    """D9: only a human's words cancel a countdown."""

    def test_message_and_part_come_apart(self) -> None:
        """D9: a user message, then a synthetic part: kept; a part without it: cancelled."""
        begun = [(0, OPEN), (0, idle("s")), (1, user("s", "m2"))]
        assert said(*begun, until=10) == [(2, "ready")]
        assert said(*begun, (1.1, text("s", "m2", "p", "…", synthetic=True)), until=10) == [(2, "ready")]
        assert said(*begun, (1.1, text("s", "m2", "p", "…")), until=10) == []
        mixed = [text("s", "m2", "p1", "…", synthetic=True), text("s", "m2", "p2", "…")]
        assert said(*begun, (1.1, mixed[0]), (1.2, mixed[1]), until=10) == []

    def test_late_updates_of_the_prompt(self) -> None:
        """D9: what a human said before is updated within 500 ms after idle, and does not cancel."""
        prompt = [(0, user("s", "m1", created=0)), (0, text("s", "m1", "p1", "…"))]
        late = [
            (10.3, user("s", "m1", created=0)),
            (10.4, text("s", "m1", "p1", "…")),
            (10.4, updated("s")),
        ]
        assert ready(*prompt, (1, OPEN), *turn(5, "m2"), (10, idle("s")), *late, until=20) == [8]
        again = [*prompt, *spoken(2, "m3"), (3, OPEN), (10, idle("s")), *late]
        assert ready(*again, until=20) == [12]


class TestOverflow:
    """D10: a context that is too full is no reason to try again."""

    @pytest.mark.parametrize(
        "overflow",
        [
            error("s", "ContextOverflowError"),
            error("s", "APIError", "400: Prompt is too long: 210000 tokens"),
        ],
    )
    def test_held_until_a_human_or_a_compaction(self, overflow: SessionEvent) -> None:
        """D10: held until a user's message, or a compaction (and the ordinary turn after it)."""
        before = [(0, OPEN), (1, busy("s")), (2, overflow), (3, idle("s"))]
        assert said(*before, (900, idle("s")), until=1000) == [(3.15, "overflow")]
        assert ready(*before, *spoken(1000, "m1"), (1001, idle("s")), until=1010) == [1003]
        assert ready(*before, (1000, compacted("s")), *turn(1001, "m1"), until=1010) == [1004]

    def test_other_errors_back_off(self) -> None:
        """D10: `ERR(500)` is a failure like any other: the next attempt 10 s after it."""
        failed = [(0, OPEN), (1, busy("s")), (2, error("s", "APIError", "500")), (2, idle("s"))]
        twice = [(2.1, error("s", "APIError", "500, and where it happened")), (2.2, idle("s"))]
        [(at, each), (then, _)] = played(*failed, *twice, until=60)
        assert (round(at, 2), each.reason, each.failures, each.until) == (2.15, "failing", 1, 12)
        assert then == 12


class TestBackoff:
    """D11: attempts that fail come further and further apart."""

    def attempts(self, *, idles: bool, succeed_at: float = -1.0) -> list[float]:
        """When it is tried, when every attempt fails at once (but for one)."""
        line = Timeline()
        times: list[float] = []

        def attempt(each: Continuation) -> None:
            if each.ready:
                times.append(line.scheduler.seconds())
                if times[-1] == succeed_at and times.count(succeed_at) == 1:
                    line.hub.on_next(busy("s"))
                    line.hub.on_next(assistant("s", "m1", created=1))
                    line.hub.on_next(idle("s"))
                else:
                    line.hub.on_next(continuation_reply("s", "failed"))

        line.hub.pipe(at_once(max_stagnation=9)).subscribe(attempt, scheduler=line.scheduler)
        line.play((0, OPEN), *((float(n), idle("s")) for n in range(470 if idles else 1)))
        line.advance_to(470)
        return times

    @pytest.mark.parametrize("idles", [True, False], ids=["idle each second", "idle once"])
    def test_every_attempt_fails(self, idles: bool) -> None:
        """D11: attempts at 0, 10, 30, 70, 150 (5 * 2^n), stop, next at 450 (reset after 300 s)."""
        assert self.attempts(idles=idles) == [0, 10, 30, 70, 150, 450, 460]

    def test_success_resets(self) -> None:
        """D11: one that works counts the failures from none again: 30, and then 10 s, 20 s, … later."""
        assert self.attempts(idles=False, succeed_at=30.0)[:6] == [0, 10, 30, 30, 40, 60]

    def test_a_failure_told_twice(self) -> None:
        """D11: the reply and the session's own error are one failure; one that nobody offered is none."""
        offered = [(0, OPEN), (0, idle("s"))]
        told = [
            continuation_reply("s", "failed"),
            error("s", "APIError"),
            continuation_reply("s", "failed"),
        ]
        line = played(*offered, *((0, event) for event in told), until=11, settle=0, countdown=0)
        assert [(at, each.failures) for at, each in line] == [(0, 0), (0, 1), (10, 1)]
        assert said((0, OPEN), (0, continuation_reply("s", "failed")), (1, idle("s")), until=9) == [
            (3, "ready")
        ]


class TestChildren:
    """D12: a session whose children are still to work, or at it, is not told to go on."""

    def test_a_child_without_a_session_yet(self) -> None:
        """D12: a child that is pending, without a session id: idle(parent): none."""
        events = [(0, OPEN), (1, tool("s", "c1", "task", "pending")), (2, idle("s"))]
        assert said(*events, (50, idle("s")), until=99) == [(2.15, "children")]
        ended = [(60, tool("s", "c1", "task", "completed")), (61, idle("s"))]
        assert ready(*events, *ended, until=99) == [63]

    def test_depth(self) -> None:
        """D12: a grandchild at work holds its grandparent; when it rests, that is judged again."""
        family = [
            (0, OPEN),
            (1, created("c", "s")),
            (1, created("g", "c")),
            (2, busy("g")),
            (3, idle("c")),
        ]
        assert said(*family, (4, idle("s")), until=99) == [(4.15, "children")]
        assert said(*family, (4, idle("s")), (50, idle("g")), until=99)[1:] == [(52, "ready")]

    @pytest.mark.parametrize(
        "end", [deleted("c"), SessionExpired("c"), idle("c"), SessionStatus("c", status="idle")]
    )
    def test_what_ends_it(self, end: SessionEvent) -> None:
        """D12: idle, deleted, expired: a child that is gone holds nobody."""
        events = [(0, OPEN), (1, created("c", "s")), (2, idle("s")), (50, end), (50, end)]
        assert said(*events, until=99) == [(2.15, "children"), (52, "ready")]

    def test_a_child_set_to_work_again(self) -> None:
        """D12: a child that was at rest and works again holds its parent again."""
        events = [(0, OPEN), (1, created("c", "s")), (1, idle("c")), (2, busy("c")), (3, idle("s"))]
        assert said(*events, until=9) == [(3.15, "children")]

    def test_a_child_that_rests_in_between(self) -> None:
        """D12: a child that comes and goes within a countdown, or while its parent works, is nothing."""
        short = [(0.5, created("c", "s")), (1, idle("c"))]
        assert said((0, OPEN), (0, idle("s")), *short, until=9) == [(2, "ready")]
        assert said((0, OPEN), (0, busy("s")), *short, until=9) == []

    def test_the_next_obstacle(self) -> None:
        """D12: when the last child rests, what else stands against it is said, once settled."""
        events = [
            (0, OPEN),
            (1, created("c", "s")),
            (2, idle("s")),
            (10, question("s", "r")),
            (50, idle("c")),
        ]
        assert said(*events, until=99) == [(2.15, "children"), (50.15, "waiting")]

    def test_a_child_that_is_deleted_while_its_parent_works(self) -> None:
        """D12: what was said of waiting for it is over once the parent has said that it works again."""
        events = [(0, OPEN), (1, created("c", "s")), (2, idle("s"))]
        goes_on = [(30, busy("s")), (31, assistant("s", "m1", created=31)), (50, deleted("c"))]
        assert said(*events, *goes_on, until=99) == [(2.15, "children")]
        assert said(*events, *goes_on, (60, idle("s")), until=99)[1:] == [(62, "ready")]

    def test_sessions_that_name_each_other(self) -> None:
        """D12: a circle of parents, which no server makes, is walked once."""
        circle = [(1, updated("s", parent_id="c")), (1, updated("c", parent_id="s"))]
        assert ready((0, OPEN), *circle, (2, idle("s")), (2, busy("c")), (9, idle("c")), until=20) == [11]
        assert ready((0, OPEN), *circle, (2, idle("s")), until=9) == [4]

    def test_a_child_of_another_parent(self) -> None:
        """D12: a child that turns out to be another session's holds that one alone."""
        events = [
            (1, created("c", "s")),
            (1, updated("c", parent_id="t")),
            (1, busy("c")),
            (2, idle("s")),
        ]
        assert ready((0, OPEN), *events, until=9) == [4]

    def test_a_parent_that_was_not_heard_of(self) -> None:
        """D12: a child at rest whose parent was never heard of wakes nobody."""
        events = [(0, OPEN), (1, created("g", "x"))]
        assert ready(*events, (2, idle("s")), (3, idle("g")), until=9) == [4]

    def test_children_of_others(self) -> None:
        """D12: neither another session's child, nor one's own parent, holds it."""
        events = [
            (0, OPEN),
            (1, created("c", "t")),
            (1, created("s", "p")),
            (1, busy("p")),
            (2, idle("s")),
        ]
        assert ready(*events, until=9) == [4]

    def test_told_again(self) -> None:
        """D12: a repeated `session.created` of a child at rest does not set it to work again."""
        child = created("c", "s")
        assert ready((0, OPEN), (1, child), (2, idle("c")), (3, child), (4, idle("s")), until=9) == [6]

    def test_nothing_stays_of_a_family(self) -> None:
        """R5: deleted deepest first, as the server does it, a family leaves nothing behind."""
        policy = Policy(0.15, 2.0, 3, 5.0, 5, 300.0)
        fold = ContinuationsFold(policy, pytest.fail)
        calls = fold.calls()
        births = [created("c", "s"), created("g", "c"), created("h", "c")]
        for event in [OPEN, *births, idle("s"), *(deleted(each) for each in "hgcs")]:
            list(calls[type(event)](event, 0.0))
        assert fold.fire(60.0) == []  # the tombstones
        assert (fold.states, [*fold.tree.descendants("s")], len(fold.deadlines)) == ({}, [], 0)


class TestSettling:
    """D14: idle may come before the todo list of the same turn."""

    def test_the_list_that_comes_after(self) -> None:
        """D14: idle @10.000, all completed @10.020: none."""
        events = [(0, OPEN), (10.0, idle("s")), (10.02, todos("s", "completed", "completed"))]
        assert said(*events, until=99) == []

    def test_when_it_is_judged(self) -> None:
        """D14: with no update it is judged @10.15; the newest list within that time counts."""
        held = [(0, OPEN), (1, ABORT), (10, idle("s"))]
        assert said(*held, until=99) == [(10.15, "aborted")]
        newer = [
            (0, todos("s", "completed")),
            (10, idle("s")),
            (10.01, OPEN),
            (10.02, todos("s", "pending", "pending")),
        ]
        [(at, each)] = played(*newer, until=99, countdown=0)
        assert (at, len(each.todos)) == (10.15, 2)


class TestStream:
    def test_nothing(self) -> None:
        """No events, no continuations, and no timer."""
        line = Timeline()
        assert line.watch(ops.continuations()) == []
        assert line.scheduler.pending == 0

    @pytest.mark.parametrize("failed", [False, True])
    def test_the_end_in_a_countdown(self, failed: bool) -> None:
        """A countdown that runs when the stream ends, or fails, says nothing; the end goes through."""
        line = Timeline()
        notes: list[object] = []
        line.hub.pipe(ops.continuations()).subscribe(
            notes.append, notes.append, lambda: notes.append("completed")
        )
        line.play((0, OPEN), (0, idle("s")))
        broken = RuntimeError("broken")
        if failed:
            line.hub.on_error(broken)
        else:
            line.hub.on_completed()
        line.advance_to(9)
        assert (notes, line.scheduler.pending) == ([broken if failed else "completed"], 0)

    def test_disposed_midway(self) -> None:
        """After dispose nothing comes, and no timer is left."""
        line = Timeline()
        seen: list[Continuation] = []
        running = line.hub.pipe(ops.continuations()).subscribe(seen.append, scheduler=line.scheduler)
        line.play((0, OPEN), (0, idle("s")))
        assert line.scheduler.pending == 1
        running.dispose()
        line.advance_to(9)
        assert (seen, line.scheduler.pending) == ([], 0)

    def test_two_sessions(self) -> None:
        """Two sessions, interleaved, with one timer."""
        line = Timeline()
        seen = line.watch(ops.continuations())
        line.play((0, OPEN), (0, todos("t", "pending")), (1, idle("s")), (1.5, idle("t")), (2, busy("s")))
        assert line.scheduler.pending == 1
        line.play((3, idle("s")))
        line.advance_to(9)
        assert [(at, each.session_id) for at, each in seen] == [(3.5, "t"), (5, "s")]

    @pytest.mark.parametrize("end", [deleted("s"), SessionExpired("s")])
    def test_a_session_that_ends(self, end: SessionEvent) -> None:
        """What is known of a session goes with it."""
        assert said((0, OPEN), (1, end), (62, idle("s")), until=99) == []

    def test_an_event_from_inside_a_subscriber(self) -> None:
        """X6: whoever acts on it may publish at once; the events follow."""
        line = Timeline()
        numbers: list[int] = []

        def go_on(each: Continuation) -> None:
            numbers.append(each.number)
            if each.number < 3:
                line.hub.on_next(busy("s"))
                line.hub.on_next(idle("s"))

        line.hub.pipe(at_once()).subscribe(go_on, scheduler=line.scheduler)
        line.play((0, OPEN), (1, idle("s")))
        assert numbers == [1, 2, 3]

    @pytest.mark.parametrize(
        ("argument", "value"),
        [
            ("settle", -1),
            ("countdown", float("nan")),
            ("max_stagnation", 0),
            ("backoff", 0),
            ("max_failures", 0),
            ("reset", "300"),
        ],
    )
    def test_bad_arguments(self, argument: str, value: Any) -> None:
        """A bad argument is refused at once, by name, value and range."""
        with pytest.raises(ValueError, match=rf"{argument} must be .* got {value!r}"):
            ops.continuations(**{argument: value})

    def test_the_state_can_be_stored(self) -> None:
        """A session's state comes back from JSON as it was."""
        state = ContinuationState("s", todos=OPEN.todos, waiting={"r": "q"}, statuses=(("", "pending"),))
        assert msgspec.json.decode(msgspec.json.encode(state), type=ContinuationState) == state


class TestAnswers:
    """What an answer's own error, or another prompt at the same time, means."""

    def test_an_error_of_an_answer_is_a_failure_at_its_time(self) -> None:
        """D11: the backoff counts from when it was heard; the same error again is the same failure."""
        failed = assistant("s", "m1", finish="", error="APIError", created=4)
        events = [(0, OPEN), (0, idle("s")), (3, busy("s")), (4, failed), (4, failed), (4.5, idle("s"))]
        assert said(*events, until=30, settle=0, countdown=0) == [
            (0, "ready"),
            (4.5, "failing"),
            (14, "ready"),
        ]

    def test_of_two_prompts_at_one_time_the_later_heard_counts(self) -> None:
        """D9: their times are milliseconds of one clock, and a human's words come with the second."""
        prompts = [user("s", name, created=5.0) for name in ("m1", "m2")]
        words = text("s", "m2", "p2", "go on")
        events = [(0, OPEN), (1, ABORT), (5, prompts[0]), (5, prompts[1]), (5, words), (6, idle("s"))]
        assert said(*events, until=20)[-1] == (8, "ready")
