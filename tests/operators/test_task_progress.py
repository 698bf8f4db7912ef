"""``task_progress``: P1 to P7, P12, P16 to P20, S10, S11, and what holds for every operator."""

import threading
from typing import Any

import pytest

import operators as ops
from operators.task_progress import TaskProgressFold
from streams import events as ev
from streams.events import SessionEvent
from streams.testing import (
    Timeline,
    assistant,
    busy,
    created,
    deleted,
    delta,
    error,
    heartbeat,
    idle,
    outputs,
    permission,
    permission_reply,
    retry,
    text,
    tool,
    updated,
    user,
)

Row = tuple[float, SessionEvent]

C = created("c", "p")


def status(session_id: str, name: str) -> ev.SessionStatus:
    return ev.SessionStatus(session_id, status=name)


def progress(*rows: Row, until: float = 0, **arguments: Any) -> list[tuple[float, ops.TaskProgress]]:
    line = Timeline()
    seen = line.watch(ops.task_progress(**arguments))
    line.play(*rows)
    line.advance_to(until)
    assert line.faults == []
    return seen


def states(*rows: Row, until: float = 0, session: str = "c") -> list[tuple[float, str]]:
    """When the task's state became which."""
    named = [(at, each.state) for at, each in progress(*rows, until=until) if each.session_id == session]
    return [each for n, each in enumerate(named) if n == 0 or named[n - 1][1] != each[1]]


def test_early_idle_counts_when_minimum_runtime_is_over() -> None:
    """P1: an idle within 5 s of the start is believed at 5 s (omo#1517)."""
    seen = states((0, C), (0, busy("c")), (0.5, text("c", "m", "x", "ok")), (0.8, idle("c")), until=9)
    assert seen[-1] == (5.0, "completed")


def test_early_idle_is_cancelled_by_work() -> None:
    """P1: work after an early idle cancels it; only the next idle counts."""
    rows = [
        (0.0, C),
        (0.0, busy("c")),
        (0.5, text("c", "m", "x", "ok")),
        (0.8, idle("c")),
        (2.0, text("c", "m", "x", "more")),
    ]
    assert "completed" not in [state for _, state in states(*rows, until=60)]
    assert states(*rows, (70, idle("c")), until=80)[-1] == (70.0, "completed")


def test_idle_without_output_is_not_done_and_resume_restarts_the_clock() -> None:
    """P2: a resumed task needs output again, and a minimum runtime of its own (peakflo/20x#224)."""
    rows = [
        (0.0, C),
        (0.0, busy("c")),
        (6.0, text("c", "m", "x", "done")),
        (10.0, idle("c")),
        (600.0, busy("c")),
        (600.2, idle("c")),
    ]
    assert states(*rows, until=620)[-1] == (600.2, "idle")
    rows += [(630.0, busy("c")), (633.0, text("c", "m2", "y", "again")), (636.0, idle("c"))]
    assert states(*rows, until=640)[-1] == (636.0, "completed")


@pytest.mark.parametrize(
    ("signals", "ends"),
    [
        ([(10.0, status("c", "idle")), (10.005, idle("c"))], 1),
        ([(10.0, status("c", "idle"))], 1),
        ([(10.0, idle("c"))], 1),
        ([(10.0, idle("c")), (10.1, busy("c")), (10.2, delta("c", "m", "x", "!")), (15.3, idle("c"))], 2),
    ],
)
def test_both_idle_signals_are_one(signals: list[Row], ends: int) -> None:
    """P3: one end per transition from busy to idle, by either signal (manaflow-ai/cmux#12190)."""
    rows = [(0.0, C), (0.0, busy("c")), (6.0, text("c", "m", "x", "ok")), *signals]
    assert [state for _, state in states(*rows, until=30)].count("completed") == ends


def test_trailing_bookkeeping_is_no_work() -> None:
    """P4: what is updated after idle does not make a task busy again (arthurzengg/opencui#453)."""
    rows = [(0.0, C), (0.0, busy("c")), (30.0, text("c", "m", "x", "ok")), (38.040, idle("c"))]
    late = [
        (38.078, assistant("c", "m", created=1, completed=38)),
        (38.079, updated("c", parent_id="p")),
        (38.080, ev.UnknownEvent("c", type="session.diff")),
        (38.081, user("c", "u", created=0)),
        (68.08, idle("c")),
    ]
    assert states(*rows, *late, until=100)[-1] == (38.040, "completed")


@pytest.mark.parametrize(
    ("before", "state"),
    [
        ((9.9, error("c", "MessageAbortedError")), "aborted"),
        ((9.9, assistant("c", "m", completed=9, error="APIError")), "failed"),
        ((9.9, text("c", "m", "x", "ok")), "completed"),
    ],
)
def test_idle_has_a_reason(before: Row, state: str) -> None:
    """P5: how a turn ended is said by the error before its idle (anomalyco/opencode#16945)."""
    assert states((0, C), (0, busy("c")), before, (10, idle("c")), until=20)[-1] == (10.0, state)


def test_bare_idle_after_idle_says_nothing() -> None:
    """P5: an abort of an idle session publishes idle again (omo commit 850415a79)."""
    rows = [(0.0, C), (0.0, busy("c")), (6.0, text("c", "m", "x", "ok")), (10.0, idle("c"))]
    assert len(progress(*rows)) == len(progress(*rows, (50, idle("c")), (60, idle("c"))))


def test_turn_ended_is_not_task_done() -> None:
    """P6: a task is not done while one of its own lives, nor before it was woken (claude-code#92952)."""
    rows = [
        (0.0, created("p", "root")),
        (0.0, busy("p")),
        (1.0, created("c", "p")),
        (1.0, text("p", "m", "x", "spawned")),
        (2.0, busy("c")),
        (8.0, idle("p")),
        (49.0, text("c", "m", "y", "found")),
        (50.0, idle("c")),
    ]
    assert states(*rows, until=55, session="p")[-1] == (8.0, "idle")
    assert states(*rows, until=55, session="c")[-1] == (50.0, "completed")
    rows += [(60.0, busy("p")), (65.0, text("p", "m2", "z", "all done")), (66.0, idle("p"))]
    assert states(*rows, until=70, session="p")[-1] == (66.0, "completed")


def test_launch_without_a_session_counts_as_pending() -> None:
    """P6: a task tool whose session does not exist yet is a live task (omo commit 56e404492)."""
    rows = [
        (0.0, created("a", "p")),
        (1.0, tool("p", "call_a", "task", "running", metadata={"sessionId": "a"})),
        (2.0, tool("p", "call_b", "task", "pending")),
        (3.0, busy("a")),
    ]
    value = progress(*rows)[-1][1]
    assert (value.siblings.pending, value.siblings.running, value.siblings.total) == (1, 1, 2)
    assert value.all_complete is False


def test_link_by_the_task_tool_alone() -> None:
    """S10: the parent's tool part names the child even when no session.created was heard."""
    rows = [(0.0, busy("c")), (1.0, tool("p", "call", "task", "running", metadata={"sessionId": "c"}))]
    assert [(each.session_id, each.parent_id, each.state) for _, each in progress(*rows)] == [
        ("c", "p", "running")
    ]


def family(*children: str) -> list[Row]:
    rows: list[Row] = []
    for child in children:
        rows += [(0.0, created(child, "p")), (0.0, busy(child)), (6.0, text(child, "m", "x", "ok"))]
    return sorted(rows, key=lambda row: row[0])


def test_siblings_that_end_together_are_complete_once() -> None:
    """P7: all-complete comes once per batch, on the last one's value (omo#6546)."""
    seen = progress(*family("a", "b"), (10, idle("a")), (10, idle("b")))
    assert [(each.session_id, each.all_complete) for _, each in seen if each.state == "completed"] == [
        ("a", False),
        ("b", True),
    ]


def test_siblings_that_end_on_two_threads_are_complete_once() -> None:
    """P7: the same from two threads at once, 200 times."""
    for _ in range(200):
        line = Timeline()
        seen = line.watch(ops.task_progress())
        line.play(*family("a", "b"))
        line.advance_to(10)
        start = threading.Barrier(2)

        def end(session_id: str, line: Timeline = line, start: threading.Barrier = start) -> None:
            start.wait()
            line.hub.on_next(idle(session_id))

        threads = [threading.Thread(target=end, args=(each,)) for each in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(each.all_complete for _, each in seen) == 1
        assert sum(each.state == "completed" for _, each in seen) == 2


def test_relaunched_sibling_opens_the_batch_again() -> None:
    """P7: a task that works again makes the batch incomplete; its end completes it a second time."""
    again = [(20.0, busy("a")), (26.0, text("a", "m2", "y", "more")), (27.0, idle("a"))]
    seen = progress(*family("a", "b"), (10, idle("a")), (10, idle("b")), *again)
    assert [at for at, each in seen if each.all_complete] == [10.0, 27.0]


def test_tool_calls_are_counted_once() -> None:
    """P12: distinct calls, whatever the order and number of their states."""
    rows = [
        (1.0, tool("c", "c1", "bash", "pending")),
        *[(2.0 + n, tool("c", "c1", "bash", "running")) for n in range(3)],
        (6.0, tool("c", "c1", "bash", "completed", output="ok")),
        (7.0, tool("c", "c2", "read", "error", error="no such file")),
    ]
    value = progress((0, C), *rows)[-1][1]
    assert (value.tool_calls, value.last_tool) == (2, "read")


@pytest.mark.parametrize("name", ["idle", "paused-x", "interrupted"])
def test_status_of_another_name_goes_the_way_of_idle(name: str) -> None:
    """P16: only busy, retry and running are work; nothing keeps a task running for ever."""
    rows = [(0.0, C), (0.0, busy("c")), (6.0, text("c", "m", "x", "ok")), (10.0, status("c", name))]
    assert states(*rows, until=20)[-1] == (10.0, "completed")


def test_retry_is_a_state() -> None:
    """P17: waiting to ask the model again is shown, and is no sign of work."""
    rows = [(0.0, C), (0.0, busy("c")), (5.0, retry("c", 1)), (35.0, retry("c", 2)), (40.0, busy("c"))]
    assert states(*rows) == [(0.0, "pending"), (0.0, "running"), (5.0, "retrying"), (40.0, "running")]
    assert progress(*rows[:4])[-1][1].last_activity == 0.0


def test_waiting_for_a_human_reaches_the_ancestors() -> None:
    """P18: a request two levels down makes everyone above wait too (anomalyco/opencode#44747)."""
    rows = [
        (0.0, created("root")),
        (0.0, created("a", "root")),
        (0.0, created("b", "a")),
        (1.0, busy("a")),
        (1.0, busy("b")),
        (10.0, permission("b", "p1")),
    ]
    assert states(*rows, session="a")[-1] == states(*rows, session="b")[-1] == (10.0, "waiting")
    rows += [(36010.0, permission_reply("b", "p1"))]
    assert states(*rows, session="a")[-1] == states(*rows, session="b")[-1] == (36010.0, "running")


def test_idle_ends_waiting() -> None:
    """P18: an abort drops the request without a reply."""
    rows = [
        (0.0, C),
        (0.0, busy("c")),
        (6.0, permission("c", "p1")),
        (9.0, error("c", "MessageAbortedError")),
    ]
    assert states(*rows, (10, idle("c")))[-1] == (10.0, "aborted")


def test_errors_are_latched_until_recovery() -> None:
    """P19: work after an error proves recovery; an error nobody recovers from ends the task."""
    transient = [(0.0, C), (0.0, busy("c")), (5.0, error("c", "APIError")), (6.0, busy("c"))]
    assert states(*transient)[-1][1] == "running"
    terminal = [(0.0, C), (0.0, busy("c")), (5.0, error("c", "UnknownError", "no provider available"))]
    assert states(*terminal)[-1] == (5.0, "failed")


def test_ended_tasks_still_count_when_their_sessions_are_gone() -> None:
    """P20: a task that is done stays done in its parent's counts after its session was deleted."""
    rows = [*family("a", "b"), (10.0, idle("a")), (20.0, deleted("a")), (30.0, idle("b"))]
    value = progress(*rows)[-1][1]
    assert (value.session_id, value.siblings.completed, value.all_complete) == ("b", 2, True)


def test_archive_of_ended_tasks_is_bounded() -> None:
    """P20: a parent counts its last 100 ended tasks one by one, and no more."""
    rows: list[Row] = [(0, created("p"))]
    for n in range(101):
        rows += [(n, created(f"c{n}", "p")), (n, error(f"c{n}", "UnknownError")), (n, deleted(f"c{n}"))]
    value = progress(*rows, (200, created("last", "p")))[-1][1]
    assert (value.siblings.failed, value.siblings.pending) == (100, 1)


def kept_after(*events: SessionEvent) -> set[str]:
    """The sessions that a fold has a state of after these events, a second apart."""
    fold = TaskProgressFold(0.0, lambda fault: pytest.fail(str(fault)))
    calls = fold.calls()
    for now, event in enumerate(events):
        call = next(calls[kind] for kind in type(event).__mro__ if kind in calls)
        call(event, float(now))
    return set(fold.states)


def test_parent_that_expired_is_kept_no_longer_than_its_tasks() -> None:
    """R6: a task that outlives who started it names it, and nobody says again that it is gone."""
    gone = ev.SessionExpired("p")
    assert kept_after(created("p"), created("c", "p"), gone, busy("c")) == {"p", "c"}
    assert kept_after(created("p"), created("c", "p"), gone, busy("c"), ev.SessionExpired("c")) == set()
    assert kept_after(created("c", "p"), busy("p"), ev.SessionExpired("c")) == {"p"}


def test_named_task_is_kept_no_longer_than_who_names_it() -> None:
    """R6: nothing is ever heard of a session that is only named by the call which started it."""
    launch = tool("p", "call", "task", "running", metadata={"sessionId": "c"})
    assert kept_after(created("p"), launch) == {"p", "c"}
    assert kept_after(created("p"), launch, ev.SessionExpired("p")) == set()


def test_late_word_of_a_deleted_task_does_not_bring_it_back() -> None:
    """E5: the call that started a task names it again, after its session was deleted."""
    launch = tool("p", "call", "task", "running", metadata={"sessionId": "c"})
    assert kept_after(created("c", "p"), launch, deleted("c"), launch) == {"p"}
    assert kept_after(created("c", "p"), created("p"), deleted("p"), busy("c")) == {"c"}


def test_session_that_vanishes_is_gone() -> None:
    """A task deleted or expired before its end is over: gone, and so is its batch."""
    rows = [(0.0, C), (0.0, busy("c")), (9.0, deleted("c"))]
    value = progress(*rows)[-1][1]
    assert (value.state, value.siblings.gone, value.all_complete) == ("gone", 1, True)
    expired = progress((0, C), (1, busy("c")), (700, ev.SessionExpired("c", idle=600)))[-1][1]
    assert expired.state == "gone"


def test_child_heard_before_its_parent_is_known() -> None:
    """S10: what was counted before the link is said with it (anomalyco/opencode#26069)."""
    rows = [
        (1.0, tool("c", "c1", "bash", "running")),
        (2.0, assistant("c", "m", input=700, output=5, cost=0.5)),
        (9.0, created("c", "p")),
    ]
    assert [(at, v.parent_id, v.tool_calls, v.tokens, v.cost) for at, v in progress(*rows)] == [
        (9.0, "p", 1, 705, 0.5)
    ]


def test_cycle_of_parents_terminates() -> None:
    """S10: a and b, each the other's parent."""
    seen = progress((0, created("a", "b")), (1, created("b", "a")), (2, busy("a")))
    assert {each.session_id for _, each in seen} == {"a", "b"}


def test_joined_late() -> None:
    """S11: the first thing heard is a tool part; when it started is that moment."""
    value = progress((5, tool("c", "c1", "bash", "running")), (6, updated("c", parent_id="p")))[-1][1]
    assert (value.state, value.started, value.tool_calls) == ("running", 5.0, 1)


def test_last_text_is_bounded_and_only_text() -> None:
    """The end of the last text, from deltas and parts; reasoning and prompts are none of it."""
    rows: list[Row] = [
        (0.0, C),
        (0.0, user("c", "u")),
        (0.0, text("c", "u", "prompt", "please")),
        (1.0, text("c", "m", "x", "")),
        *[(1.0, delta("c", "m", "x", f"{n:04} ")) for n in range(1000)],
        (2.0, tool("c", "c1", "bash", "running")),
    ]
    value = progress(*rows)[-1][1]
    assert value.last_text == "".join(f"{n:04} " for n in range(1000))[-200:]


def test_tokens_are_counted_once_per_answer() -> None:
    """U7: an answer reported many times counts with its last figures."""
    rows = [
        (1.0, assistant("c", "m", input=1000, output=31, finish="")),
        (2.0, assistant("c", "m", input=1000, output=300, cost=0.1)),
        (3.0, assistant("c", "m", input=1000, output=300, cost=0.1)),
    ]
    value = progress((0, C), *rows)[-1][1]
    assert (value.tokens, value.cost) == (1300, pytest.approx(0.1))


def test_roots_heartbeats_and_an_empty_stream_say_nothing() -> None:
    """Only sessions that were started by another are tasks."""
    assert outputs(ops.task_progress(), []) == []
    assert outputs(ops.task_progress(), [created("r"), busy("r"), heartbeat(), idle("r")]) == []


def test_stream_error_passes_and_dispose_cancels_the_timer() -> None:
    """The error goes downstream; after dispose nothing is pending and nothing comes."""
    line = Timeline()
    errors: list[Exception] = []
    subscription = line.hub.pipe(ops.task_progress()).subscribe(on_error=errors.append)
    line.play((0, C), (0, busy("c")), (0.5, text("c", "m", "x", "ok")), (0.8, idle("c")))
    assert line.scheduler.pending == 1
    other = line.hub.pipe(ops.task_progress()).subscribe()
    other.dispose()
    line.hub.on_error(RuntimeError("lost"))
    assert [str(each) for each in errors] == ["lost"]
    assert line.scheduler.pending == 0
    subscription.dispose()


def test_deleted_session_leaves_nothing_and_stragglers_do_not_bring_it_back() -> None:
    """E5, R5: late deltas of a deleted task are swallowed."""
    rows = [(0.0, C), (0.0, busy("c")), (9.0, deleted("c"))]
    assert progress(*rows) == progress(*rows, (9.1, delta("c", "m", "x", "late")), (9.2, idle("c")))


def test_events_from_inside_a_subscriber() -> None:
    """X6: what a subscriber publishes follows the current event."""
    line = Timeline()
    seen: list[str] = []

    def on_value(value: ops.TaskProgress) -> None:
        seen.append(value.state)
        if value.state == "pending":
            line.hub.on_next(busy("c"))

    line.hub.pipe(ops.task_progress()).subscribe(on_value)
    line.play((0, C))
    assert seen == ["pending", "running"]


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "5"])
def test_bad_minimum_runtime(value: Any) -> None:
    """The error names the argument, the value and the range."""
    with pytest.raises(ValueError, match=r"minimum_runtime must be seconds 0 or more .* got "):
        ops.task_progress(minimum_runtime=value)


def test_copied_history_is_no_work() -> None:
    """A fork begins with copies of messages, one of them unfinished for ever: nobody is at work on it."""
    fork = ev.SessionCreated("c", parent_id="p", created=100.0)
    rows = [
        (100.0, fork),
        (100.1, assistant("c", "m", finish="", created=50)),
        (100.1, ev.PartUpdated("c", part=ev.Part("st", "m", "step-start"))),
        (100.2, tool("c", "c1", "bash", "completed", output="ok", message_id="m")),
    ]
    value = progress(*rows)[-1][1]
    assert (value.state, value.tool_calls) == ("pending", 1)
