"""``task_progress``: P1 to P7, P12, P16 to P20, S10, S11, and what holds for every operator."""

import json
import threading
from typing import Any

import msgspec
import pytest
from event_ids import numbered
from msgspec.structs import replace

import operators as ops
from operators.task_progress import TaskProgressFold, Told
from operators.task_state import child_of
from streams import events as ev
from streams.events import SessionEvent
from streams.faults import log_fault
from streams.opencode import wire
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
    assert all(each.at == at for at, each in seen)
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


def test_a_resumed_task_has_a_minimum_runtime_again() -> None:
    """P2: with output, an idle 0.3 s after it was resumed is believed 5 s after that."""
    first = [(0.0, C), (0.0, busy("c")), (6.0, text("c", "m", "x", "ok")), (10.0, idle("c"))]
    again = [(600.0, busy("c")), (600.1, text("c", "n", "y", "ok")), (600.3, idle("c"))]
    assert states(*first, *again, until=700)[-1] == (605.0, "completed")


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
    rows: list[Row] = [(0.0, created("p"))]
    for child in children:
        rows += [(0.0, created(child, "p")), (0.0, busy(child)), (6.0, text(child, "m", "x", "ok"))]
    return sorted(rows, key=lambda row: row[0])


def test_news_of_a_task_that_has_ended_completes_nothing_again() -> None:
    """P7: a title that comes after the last end is said, and is no second completion."""
    seen = progress(
        *family("a", "b"),
        (10, idle("a")),
        (11, idle("b")),
        (12, updated("b", parent_id="p", title="new")),
    )
    assert [(at, each.all_complete) for at, each in seen if at > 10] == [(11, True), (12, False)]


def test_siblings_that_end_together_are_complete_once() -> None:
    """P7: all-complete comes once per batch, on the last one's value (omo#6546)."""
    seen = progress(*family("a", "b"), (10, idle("a")), (10, idle("b")))
    assert [(each.session_id, each.all_complete) for _, each in seen if each.state == "completed"] == [
        ("a", False),
        ("b", True),
    ]


def test_siblings_that_end_on_two_threads_are_complete_once() -> None:
    """P7: the same from two threads at once, 500 times."""
    for _ in range(500):
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
    recovered = [*transient, (7.0, text("c", "m", "x", "ok")), (20.0, idle("c"))]
    assert states(*recovered)[-1] == (20.0, "completed")


def test_an_error_of_an_earlier_turn_is_not_this_one_s() -> None:
    """P19: told when the next turn is at work already, by its id it is older than the idle between."""
    turns = [
        (0.0, C),
        (0.0, replace(busy("c"), event_id="evt_1")),
        (6.0, replace(text("c", "m", "x", "ok"), event_id="evt_2")),
        (10.0, replace(idle("c"), event_id="evt_4")),
        (11.0, replace(busy("c"), event_id="evt_5")),
        (11.1, replace(error("c", "UnknownError", "an old one"), event_id="evt_3")),
        (17.0, replace(text("c", "n", "y", "ok"), event_id="evt_6")),
        (20.0, replace(idle("c"), event_id="evt_7")),
    ]
    assert states(*turns)[-2:] == [(11.0, "running"), (20.0, "completed")]


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


def test_a_session_that_is_only_named_is_not_kept() -> None:
    """R6: nobody says again that an expired parent is gone, nor that a task never heard of is."""
    gone = ev.SessionExpired("p")
    assert kept_after(created("p"), created("c", "p"), gone, busy("c")) == {"c"}
    launch = tool("p", "call", "task", "running", metadata={"sessionId": "c"})
    assert kept_after(created("p"), launch) == {"p"}
    assert kept_after(created("c", "p"), deleted("c"), launch) == {"p"}


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


def test_an_answer_told_again_after_many_others_is_not_counted_twice() -> None:
    """U7: as after a reconnect, and in opencode's own late updates."""
    answers = [(float(n), assistant("c", f"m{n:02}", input=10, created=float(n))) for n in range(1, 41)]
    once = progress((0, C), *answers)[-1][1].tokens
    again = progress(
        (0, C), *answers, answers[0], answers[20], (50.0, tool("c", "c1", "bash", "running"))
    )
    assert (once, again[-1][1].tokens) == (400, 400)


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


# --- batches that must not be left open -----------------------------------------------------------


def launch(session_id: str, call_id: str, status: str, child: str = "", **more: Any) -> ev.PartUpdated:
    metadata = {"sessionId": child} if child else None
    return tool(session_id, call_id, "task", status, metadata=metadata, **more)


def test_launch_that_fails_completes_the_batch_of_the_others() -> None:
    """P7: only a launch that never got a session kept the batch open: its failure completes it, once."""
    rows = [
        (0.0, busy("p")),
        (0.0, created("c", "p")),
        (0.0, busy("c")),
        (1.0, launch("p", "a", "running", "c")),
        (1.0, launch("p", "b", "pending")),
        (6.0, text("c", "m", "x", "ok")),
        (9.0, idle("c")),
        (9.0, launch("p", "a", "completed", "c", output="ok")),
        (10.0, launch("p", "b", "error", error="unknown agent")),
        (11.0, launch("p", "b", "error", error="unknown agent")),
    ]
    seen = progress(*rows)
    assert [(at, each.all_complete) for at, each in seen if each.state == "completed"] == [
        (9.0, False),
        (10.0, True),
    ]
    assert seen[-1][1].siblings.total == 1


def test_launch_that_has_said_its_session_still_has_it() -> None:
    """P6: a report of the tool that leaves the session out makes no second task of it."""
    rows = [
        (0.0, created("c", "p")),
        (1.0, launch("p", "a", "running", "c")),
        (2.0, launch("p", "a", "running")),
        (3.0, busy("c")),
    ]
    value = progress(*rows)[-1][1]
    assert (value.siblings.pending, value.siblings.running, value.siblings.total) == (0, 1, 1)


def test_calls_alone_are_output() -> None:
    """P3: a task that has said no word, and called a tool, has brought something."""
    rows = [
        (0.0, C),
        (0.0, busy("c")),
        (6.0, tool("c", "call", "bash", "running")),
        (7.0, tool("c", "call", "bash", "completed", output="ok")),
        (9.0, idle("c")),
    ]
    assert states(*rows)[-1] == (9.0, "completed")


def test_the_last_256_calls_are_known() -> None:
    """P12: reported again, the 256th from the end is no new call; the one before it is not remembered."""
    rows = [(0.0, C), *((1.0, tool("c", f"call{number}", "bash", "running")) for number in range(256))]
    again = (2.0, tool("c", "call0", "bash", "running"))
    assert progress(*rows, again)[-1][1].tool_calls == 256
    one_more = (1.5, tool("c", "call256", "bash", "running"))
    assert progress(*rows, one_more, again)[-1][1].tool_calls == 258


def test_launch_that_is_lost_completes_the_batch_with_its_parents_turn() -> None:
    """P7: no tool outlives its turn, so a launch still pending at the parent's idle is over."""
    rows = [(0.0, busy("p")), (1.0, launch("p", "b", "pending")), *family("c"), (9.0, idle("c"))]
    rows = [*sorted(rows, key=lambda row: row[0]), (12.0, idle("p"))]
    assert [at for at, each in progress(*rows) if each.all_complete] == [12.0]


def test_deleted_task_is_not_brought_back_by_its_parents_tool() -> None:
    """E5, P6: the parent's tool part names the deleted session for a while yet."""
    rows = [
        (0.0, busy("p")),
        (0.0, created("c", "p")),
        (0.0, busy("c")),
        (1.0, launch("p", "a", "running", "c")),
        (9.0, deleted("c")),
    ]
    late = [
        (9.1, launch("p", "a", "running", "c")),
        (9.2, launch("p", "a", "error", "c", error="Task cancelled")),
    ]
    seen = progress(*rows, *late)
    assert (seen[-1][0], seen[-1][1].state, seen[-1][1].all_complete) == (9.0, "gone", True)
    value = progress(*rows, *late, (20, created("d", "p")))[-1][1]
    assert (value.siblings.pending, value.siblings.gone, value.siblings.total) == (1, 1, 2)


def test_task_whose_only_child_vanished_is_done() -> None:
    """P6: an idle task waits for its child; when that is deleted nobody is left to wake it."""
    rows = [
        (0.0, created("p", "root")),
        (0.0, busy("p")),
        (1.0, created("c", "p")),
        (1.0, text("p", "m", "x", "spawned")),
        (2.0, busy("c")),
        (8.0, idle("p")),
        (50.0, deleted("c")),
    ]
    assert states(*rows, session="p")[-2:] == [(8.0, "idle"), (50.0, "completed")]


def test_copied_task_tool_makes_no_link() -> None:
    """A fork's copy of a task tool names a session that another one started."""
    fork = ev.SessionCreated("fork", created=100.0)
    rows = [
        (0.0, busy("p")),
        (1.0, busy("c")),
        (2.0, launch("p", "a", "running", "c")),
        (100.0, fork),
        (100.1, assistant("fork", "copy", created=50, completed=60)),
        (100.2, launch("fork", "a", "completed", "c", message_id="copy")),
    ]
    assert {each.parent_id for _, each in progress(*rows)} == {"p"}


def test_completion_is_not_deferred_by_a_busy_parent() -> None:
    """P8: a parent that works all the time hears of its task at once (omo#5864)."""
    noise = [(0.5 * n, delta("p", "m", "x", ".")) for n in range(200)]
    rows = sorted([*family("c"), (10.0, idle("c")), *noise], key=lambda row: row[0])
    assert [at for at, each in progress(*rows) if each.all_complete] == [10.0]


# --- ends -----------------------------------------------------------------------------------------


def test_answer_without_a_word_ends_a_task() -> None:
    """P1, P2: a finished answer is output, though there is nothing in it (recorded: errors, "empty")."""
    rows = [(0.0, C), (0.0, busy("c")), (6.0, assistant("c", "m", completed=6)), (6.0, busy("c"))]
    assert states(*rows, (6.1, idle("c")))[-1] == (6.1, "completed")


def test_idle_between_two_attempts_is_an_abort() -> None:
    """P5, P17: an abort while it waits to try again leaves no error (recorded: abort)."""
    rows = [(0.0, C), (0.0, busy("c")), (6.0, retry("c", 1)), (7.0, idle("c"))]
    assert states(*rows)[-1] == (7.0, "aborted")


def test_session_without_statuses_ends_with_its_final_answer() -> None:
    """P1: opencode's preview sessions never say idle; their last answer does (recorded: nextgen)."""
    rows = [
        (0.0, C),
        (0.0, assistant("c", "m1", finish="")),
        (7.0, assistant("c", "m1", finish="tool-calls", created=0, completed=7)),
        (8.0, assistant("c", "m2", finish="")),
        (9.0, assistant("c", "m2", created=0, completed=9)),
    ]
    assert states(*rows, until=30)[-2:] == [(9.0, "idle"), (14.0, "completed")]


def test_late_joiner_hears_the_idle_after_the_final_answer() -> None:
    """S11: joined before the last answer's end, the status after it is heard: one turn, one end."""
    rows = [
        (0.0, C),
        (0.0, delta("c", "m", "x", "ok")),
        (9.0, assistant("c", "m", completed=9)),
        (9.1, busy("c")),
        (9.2, idle("c")),
    ]
    assert [state for _, state in states(*rows, until=30)].count("completed") == 1


BEGUN: list[Row] = [(0.0, numbered(C, 1)), (0.0, numbered(busy("c"), 2))]

SPAWNED: list[Row] = [
    (0.0, created("p", "root")),
    (0.0, busy("p")),
    (1.0, created("c", "p")),
    (1.0, text("p", "m", "x", "spawned")),
    (2.0, busy("c")),
    (8.0, text("c", "m2", "y", "ok")),
]

OVERTAKEN = [
    delta("c", "m", "x", "b"),
    busy("c"),
    text("c", "m", "x", "ab"),
    tool("c", "c1", "bash", "running"),
    assistant("c", "m", finish=""),
]


@pytest.mark.parametrize("event", OVERTAKEN)
def test_what_the_idle_overtook_begins_no_turn(event: SessionEvent) -> None:
    """S4: an event with an older id than the idle's arrives after it: the task stays as it is."""
    rows = [
        *BEGUN,
        (6.0, numbered(delta("c", "m", "x", "a"), 3)),
        (10.0, numbered(idle("c"), 5)),
    ]
    assert states(*rows, (10.1, numbered(event, 4)), until=60)[-1][1] == "completed"
    assert states(*rows, (10.1, numbered(event, 6)), until=60)[-1][1] == "running"
    assert states(*rows, (100, numbered(event, 4)), until=160)[-1][1] == "running"


def test_output_that_the_idle_overtook_ends_the_task() -> None:
    """S4: an idle that overtook all output of its turn is believed once that has come."""
    rows = [
        *BEGUN,
        (8.0, numbered(idle("c"), 4)),
        (8.1, numbered(delta("c", "m", "x", "a"), 3)),
    ]
    assert states(*rows)[-2:] == [(8.0, "idle"), (8.1, "completed")]


def test_error_that_the_idle_overtook_is_the_reason() -> None:
    """S4, P5: the error of an abort that comes after the idle corrects what was believed."""
    rows = [
        *BEGUN,
        (6.0, numbered(text("c", "m", "x", "a"), 3)),
        (8.0, numbered(idle("c"), 5)),
        (8.1, numbered(error("c", "MessageAbortedError"), 4)),
    ]
    seen = progress(*rows)
    assert [(each.state, each.all_complete) for _, each in seen][-2:] == [
        ("completed", True),
        ("aborted", False),
    ]


def test_a_task_that_is_owed_a_wake_is_not_done() -> None:
    """P6: its child ended while it rested, so it will be woken: until that turn is over nothing of it is.

    What is still told of the old turn changes that as little as an idle that comes twice.
    """
    rows = [
        *SPAWNED,
        (9.0, idle("p")),
        (10.0, idle("c")),
        (11.0, tool("p", "c1", "bash", "completed", message_id="m")),
        (12.0, idle("p")),
    ]
    assert states(*rows, session="p")[-1] == (9.0, "idle")
    woken = [(13.0, busy("p")), (19.0, text("p", "m3", "z", "all done")), (20.0, idle("p"))]
    assert states(*rows, *woken, session="p")[-2:] == [(13.0, "running"), (20.0, "completed")]


def test_a_task_at_work_is_owed_nothing() -> None:
    """P6: it hears of its child's end in the turn that it is in."""
    assert states(*SPAWNED, (10.0, idle("c")), (12.0, idle("p")), session="p")[-1] == (12.0, "completed")


def overtaken(*rows: Row, until: float = 60) -> list[tuple[float, str]]:
    """A task whose idle, event 5, came at 10 s."""
    begun = [
        *BEGUN,
        (6.0, numbered(text("c", "m", "x", "a"), 3)),
    ]
    return states(*begun, (10.0, numbered(idle("c"), 5)), *rows, until=until)


def test_an_error_of_a_turn_that_was_over_before_this_one_says_nothing() -> None:
    """S4: it has an older id than the idle between the two turns; a newer one is this turn's."""
    again = [(20.0, numbered(busy("c"), 7)), (27.0, numbered(text("c", "n", "y", "b"), 8))]
    late, last = numbered(error("c", "ProviderAuthError"), 4), (30.0, numbered(idle("c"), 9))
    assert overtaken(*again, (28.0, late), last)[-1] == (30.0, "completed")
    for number in (5, 6):
        own = numbered(error("c", "ProviderAuthError"), number)
        assert overtaken(*again, (28.0, own), last)[-1] == (28.0, "failed")
    unnumbered = error("c", "ProviderAuthError")
    assert overtaken(*again, (28.0, unnumbered), last)[-1] == (28.0, "failed")


def test_an_error_after_the_end_changes_nothing() -> None:
    """P19: newer than the idle, of no turn: the task is over already, and no new error ends it again."""
    seen = overtaken((12.0, numbered(error("c", "ProviderAuthError"), 6)))
    assert seen[-1] == (10.0, "completed")


@pytest.mark.parametrize(
    ("first",                     "second",               "state"),
    [
        (None,                        "ProviderAuthError",    "failed"),
        (None,                        "MessageAbortedError",  "aborted"),
        ("MessageAbortedError",       "ProviderAuthError",    "failed"),
        ("ProviderAuthError",         "MessageAbortedError",  "failed"),
    ],
)  # fmt: skip
def test_a_late_error_corrects_only_what_may_have_been_wrong(
    first: str | None, second: str, state: str
) -> None:
    """S4: an end that was believed, or an abort; a failure stays one."""
    before = [] if first is None else [(10.1, numbered(error("c", first), 3))]
    assert overtaken(*before, (10.2, numbered(error("c", second), 4)))[-1][1] == state


def test_idle_after_idle_says_nothing_unless_an_error_came_between() -> None:
    """P3, P5: a session without a turn that fails, and says so only by an error and an idle."""
    assert states((0, C), (1, idle("c")), (2, idle("c")))[-1] == (0.0, "pending")
    failed = [(0.0, C), (1.0, error("c", "APIError")), (2.0, idle("c")), (3.0, idle("c"))]
    assert states(*failed)[-1] == (2.0, "failed")


def test_the_end_of_the_stream_believes_every_early_idle() -> None:
    """P1: all that wait are said, in the order of their sessions."""
    rows: list[Row] = []
    for name in "cd":
        rows += [(0.0, created(name, "p")), (0.0, busy(name)), (0.5, text(name, f"m{name}", "x", "ok"))]
    line = Timeline()
    seen = line.watch(ops.task_progress())
    line.play(*rows, (1.0, idle("c")), (1.0, idle("d")))
    line.hub.on_completed()
    assert [(each.session_id, each.state) for _, each in seen[-2:]] == [
        ("c", "completed"),
        ("d", "completed"),
    ]


def test_a_copied_task_tool_names_no_session() -> None:
    """A prompt's part, of whatever tool, starts nothing, even when that session is heard of."""
    rows = [
        (0.0, busy("p")),
        (0.0, created("x")),
        (1.0, user("p", "prompt")),
        (1.0, launch("p", "a", "running", "x", message_id="prompt")),
    ]
    assert progress(*rows) == []


@pytest.mark.parametrize("metadata", [b"", b"1", b"{}", b'{"sessionId":7}'])
def test_a_tool_that_names_no_session_links_none(metadata: bytes) -> None:
    """P6: no metadata, junk, or another tool's."""
    part = launch("p", "a", "running", "x").part
    assert part.state is not None
    named = replace(part.state, metadata=msgspec.Raw(metadata))
    assert child_of(part) == "x"
    assert child_of(replace(part, state=named)) == ""
    assert child_of(replace(part, state=None)) == ""
    assert child_of(replace(part, tool="bash")) == ""


def test_the_task_that_ended_last_completes_the_batch() -> None:
    """P7: of those that have ended, though another became known later and one has not begun."""
    rows = [
        (0.0, busy("p")),
        *[(0.0, created(name, "p")) for name in "abc"],
        *[(0.0, busy(name)) for name in "abc"],
        (1.0, launch("p", "call", "pending")),
        *[(6.0, text(name, f"m{name}", "x", "ok")) for name in "abc"],
        (20.0, idle("b")),
        (30.0, idle("a")),
        (25.0 + 6, idle("c")),
        (40.0, launch("p", "call", "error", error="no")),
        (50.0, idle("p")),
    ]
    at, last = progress(*rows)[-1]
    assert (at, last.session_id, last.all_complete, last.parent_id, last.at) == (
        40.0,
        "c",
        True,
        "p",
        40.0,
    )
    swapped = [(at, deleted("c") if event is rows[-3][1] else event) for at, event in rows]
    assert [each.all_complete for _, each in progress(*swapped)].count(True) == 1


def test_a_task_of_which_nothing_was_heard_ends_as_gone() -> None:
    """P20: it was pending in its siblings' counts, and is counted once as gone."""
    rows = [(0.0, created("c", "p")), (0.0, created("d", "p")), (5.0, deleted("c"))]
    value = progress(*rows)[-1][1]
    assert (value.session_id, value.state) == ("c", "gone")
    assert value.siblings == ops.TaskCounts(pending=1, gone=1)


def test_a_final_answer_that_the_idle_overtook_ends_the_task() -> None:
    """S4: it is the only output of its turn; of a session without statuses too."""
    begun = [*BEGUN, (8.0, numbered(idle("c"), 5))]
    late = (8.5, numbered(assistant("c", "m", created=1, completed=8), 4))
    seen = progress(*begun, late)
    assert [(at, each.state) for at, each in seen][-2:] == [(8.0, "idle"), (8.5, "completed")]
    assert seen[-1][1].finished == 8.5


@pytest.mark.parametrize("known", [True, False])
def test_a_late_abort_of_a_task_without_output(known: bool) -> None:
    """S4, P5: nothing came of it, and then it is told why."""
    begun = [*BEGUN, (8.0, numbered(idle("c"), 5))]
    aborted = numbered(error("c", "MessageAbortedError"), 4 if known else 6)
    assert states(*begun, (8.5, aborted))[-1] == ((8.5, "aborted") if known else (8.0, "idle"))


@pytest.mark.parametrize(
    "ending",
    [error("c", "ProviderAuthError"), assistant("c", "m", created=1, completed=9)],
)
def test_what_another_end_overtook_begins_no_turn(ending: SessionEvent) -> None:
    """S4: an error that ends the task, a final answer of a session without statuses: as an idle."""
    begun = [(0.0, numbered(C, 1)), (0.0, numbered(assistant("c", "m", finish="", created=1), 2))]
    rows = [*begun, (6.0, numbered(text("c", "m", "x", "a"), 3)), (9.0, numbered(ending, 5))]
    after = states(*rows, (9.1, numbered(delta("c", "m", "x", "b"), 4)), until=60)
    assert after[-1][1] == ("failed" if isinstance(ending, ev.SessionError) else "completed")
    assert "running" not in [state for at, state in after if at > 9.0]


def test_an_idle_after_the_end_changes_no_time() -> None:
    """P3: when it ended is when the error came, whatever is said of it later."""
    rows = [(0.0, C), (0.0, busy("c")), (2.0, error("c", "ProviderAuthError")), (3.0, idle("c"))]
    value = progress(*rows, (5.0, updated("c", parent_id="p", title="new")))[-1][1]
    assert (value.title, value.finished) == ("new", 2.0)


def test_a_session_has_the_parent_that_it_was_heard_to_have() -> None:
    """P6: a tool that names another one's session takes it from nobody."""
    rows = [(0.0, created("c", "q")), (1.0, busy("p")), (1.0, launch("p", "a", "running", "c"))]
    assert {each.parent_id for _, each in progress(*rows, (2.0, busy("c")))} == {"q"}


def test_a_tool_that_has_ended_still_says_whose_session_it_was() -> None:
    """P6: joined late: only the completed call is heard, and the session before it or not at all."""
    over = launch("p", "a", "completed", "c", output="ok")
    (value,) = [each for _, each in progress((0.0, busy("c")), (1.0, busy("p")), (2.0, over))]
    assert (value.session_id, value.parent_id) == ("c", "p")
    alone = [(0.0, busy("p")), (2.0, over), (3.0, created("d", "p"))]
    assert progress(*alone)[-1][1].siblings == ops.TaskCounts(pending=1)


def test_a_tool_names_its_session_before_that_is_heard_of() -> None:
    """P6: then it is its parent's from its first word."""
    rows = [(0.0, busy("p")), (1.0, launch("p", "a", "running", "c")), (2.0, busy("c"))]
    assert [(each.session_id, each.parent_id) for _, each in progress(*rows)][-1] == ("c", "p")


def test_a_tool_of_a_deleted_session_links_nothing() -> None:
    """E5: it goes on to name it for a while; nothing is kept of that."""
    fold = TaskProgressFold(5.0, log_fault)
    calls = fold.calls()
    for event in (busy("p"), created("c", "p"), deleted("c"), launch("p", "a", "running", "c")):
        calls[next(kind for kind in type(event).__mro__ if kind in calls)](event, 1.0)
    assert fold.tree.children("p") == ()


def test_a_session_that_its_tool_named_once_is_no_second_task() -> None:
    """P6: after its end too, while the tool still runs and names it no more."""
    rows = [
        (0.0, busy("p")),
        (0.0, created("c", "p")),
        (0.0, busy("c")),
        (1.0, launch("p", "a", "running", "c")),
        (6.0, text("c", "m", "x", "ok")),
        (8.0, launch("p", "a", "running")),
        (9.0, idle("c")),
    ]
    value = progress(*rows)[-1][1]
    assert (value.state, value.all_complete, value.siblings) == (
        "completed",
        True,
        ops.TaskCounts(completed=1),
    )


def test_part_of_an_answer_that_is_over_begins_no_turn() -> None:
    """P4: an aborted answer's tool is still told of after its idle (recorded: abort)."""
    rows = [
        (0.0, C),
        (0.0, busy("c")),
        (6.0, error("c", "MessageAbortedError")),
        (6.0, idle("c")),
        (6.1, assistant("c", "m", finish="", completed=6, error="MessageAbortedError")),
        (6.2, tool("c", "c1", "bash", "running", message_id="m")),
    ]
    assert states(*rows, until=60)[-1] == (6.0, "aborted")


def test_gap_is_no_end_and_a_resync_is() -> None:
    """P16, S1: a reconnect declares nothing; the idle that a resync reports ends the task once."""
    rows = [
        (0.0, C),
        (0.0, busy("c")),
        (1.0, text("c", "m", "x", "ok")),
        (50.0, ev.StreamConnected()),
        (50.0, ev.StreamGap(since=5)),
    ]
    assert states(*rows, until=3000)[-1] == (0.0, "running")
    resync = [(51.0, status("c", "idle")), (52.0, status("c", "idle"))]
    assert states(*rows, *resync)[-1] == (51.0, "completed")
    assert sum(each.all_complete for _, each in progress(*rows, *resync)) == 1


def test_completion_believes_an_early_idle() -> None:
    """P1: when the stream is over nothing can follow the idle any more."""
    rows = [(0, C), (0, busy("c")), (0.5, text("c", "m", "x", "ok")), (0.8, idle("c"))]
    assert [each.state for each in outputs(ops.task_progress(), rows)][-1] == "completed"
    assert [each.state for each in outputs(ops.task_progress(), rows[:-1])][-1] == "running"


# --- waiting, whatever comes first ----------------------------------------------------------------


def test_request_before_the_link_reaches_the_ancestors() -> None:
    """P18, S10: the request is heard before it is known who is above."""
    rows = [
        (0.0, created("a", "root")),
        (0.0, busy("a")),
        (0.0, busy("b")),
        (10.0, permission("b", "p1")),
        (11.0, updated("b", parent_id="a")),
    ]
    assert states(*rows, session="a")[-1] == states(*rows, session="b")[-1] == (11.0, "waiting")


def test_waiting_ends_above_when_a_session_between_is_gone() -> None:
    """P18: the link upwards goes with the session between; nobody waits for ever because of it."""
    rows = [
        (0.0, created("a", "root")),
        (0.0, created("b", "a")),
        (0.0, created("c", "b")),
        (1.0, busy("a")),
        (10.0, permission("c", "p1")),
        (700.0, ev.SessionExpired("b")),
    ]
    assert states(*rows, session="a")[-2:] == [(10.0, "waiting"), (700.0, "running")]


# --- what is kept ---------------------------------------------------------------------------------


def played(*rows: Row) -> TaskProgressFold:
    """The fold after these events."""
    fold = TaskProgressFold(5.0, log_fault)
    calls = fold.calls()
    for at, event in rows:
        call = next((calls[kind] for kind in type(event).__mro__ if kind in calls), None)
        if call is not None:
            list(call(event, at))
    return fold


def is_empty(fold: TaskProgressFold) -> bool:
    kept = (fold.states, fold.requests, fold.waiting, fold.deadlines)
    return not any(map(len, kept)) and not any(vars(fold.tree).values())


def test_every_structure_is_empty_after_the_last_session() -> None:
    """R5, E3: sessions, links, requests and deadlines go with the sessions, in whatever order."""
    rows = [
        (0, created("p")),
        (0, created("c", "p")),
        (1, busy("c")),
        (1, launch("p", "a", "running", "never heard")),
        (2, permission("c", "p1")),
        (3, text("c", "m", "x", "ok")),
    ]
    for order in (("p", "c"), ("c", "p")):
        gone = [(600.0, ev.SessionExpired(each)) for each in order]
        assert is_empty(played(*rows, *gone))
    assert not is_empty(played(*rows))


def test_parent_that_expired_is_not_made_again_by_its_child() -> None:
    """E1: what nobody hears of would never expire."""
    rows = [
        (0, created("p")),
        (0, created("c", "p")),
        (600, ev.SessionExpired("p")),
        (601, tool("c", "c1", "bash", "running")),
        (1300, ev.SessionExpired("c")),
    ]
    assert is_empty(played(*rows))


def test_a_million_tool_calls_are_counted_in_little_memory() -> None:
    """R5: the count is exact, what is kept is bounded (omo: countedToolPartIDs only grows)."""
    task = Told("c")
    for n in range(1_000_000):
        task.take_part(tool_part(f"c{n}"), float(n))
        if n % 1000 == 0:
            task.take_part(tool_part(f"c{n}"), float(n))
    assert task.calls == 1_000_000
    assert max(map(len, (task.recent, task.launches, task.answers, task.copied, task.last_text))) <= 256


def tool_part(call_id: str) -> ev.PartUpdated:
    return ev.PartUpdated(
        "c", part=ev.Part("", "m", "tool", tool="bash", call_id=call_id, state=COMPLETED)
    )


COMPLETED = ev.ToolState("completed")


def test_deltas_are_kept_in_little_memory() -> None:
    """T12: the text kept is bounded whatever the size of the pieces, empty ones too."""
    task = Told("c")
    for piece in ("x" * 10_000, "y", ""):
        for _ in range(10_000 if len(piece) < 2 else 10):
            task.take_delta(delta("c", "m", "x", piece), 0.0)
        assert len(task.last_text) <= 200


# --- the id of a session --------------------------------------------------------------------------


def read(kind: str, **properties: Any) -> SessionEvent:
    return wire.decode(json.dumps({"id": "e", "type": kind, "properties": properties}).encode())


STATE = {"status": "running", "input": {}}
PART = {"id": "x", "messageID": "m", "type": "tool", "callID": "c1", "tool": "bash", "state": STATE}


@pytest.mark.parametrize(
    ("event", "session"),
    [
        (read("message.part.updated", part=PART | {"sessionID": "c"}), "c"),
        (read("message.part.updated", sessionID="other", part=PART | {"sessionID": "c"}), "c"),
        (read("session.idle", sessionID="c"), "c"),
        (read("session.status", sessionID="c", status={"type": "idle"}), "c"),
        (read("session.deleted", info={"id": "c"}), "c"),
        (read("session.error", sessionID="c", error={"name": "UnknownError", "data": {}}), "c"),
        (read("session.idle", sessionID=""), ""),
        (read("session.error", error={"name": "UnknownError", "data": {}}), ""),
    ],
)
def test_session_id_wherever_it_is(event: SessionEvent, session: str) -> None:
    """P11: the part's own id wins; an event of no session changes nothing (omo commit 4da48555e)."""
    assert event.session_id == session
    rows = [(0.0, created("c", "p")), (0.0, created("other", "p")), (0.0, busy("c"))]
    rows += [(0.0, busy("other")), (6.0, text("c", "m0", "t", "ok"))]
    before = len(progress(*rows))
    changed = {each.session_id for _, each in progress(*rows, (9.0, event))[before:]}
    assert changed == ({session} if session else set())


def test_what_raises_at_the_end_is_a_fault_of_its_session() -> None:
    """S12: of an idle that waited to be believed when the stream was over."""

    class Broken(TaskProgressFold):
        broken = False

        def say(self, state: Told, now: float) -> Any:
            if self.broken:
                raise RuntimeError("broken")
            return super().say(state, now)

    faults: list[Any] = []
    fold = Broken(5.0, faults.append)
    calls = fold.calls()
    for event in (C, busy("c"), text("c", "m", "x", "ok"), idle("c")):
        calls[next(kind for kind in type(event).__mro__ if kind in calls)](event, 1.0)
    fold.broken = True
    assert fold.end(2.0) == []
    assert [(each.where, each.session_id, each.at) for each in faults] == [("Broken", "c", 2.0)]
