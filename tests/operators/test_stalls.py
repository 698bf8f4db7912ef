"""``stalls``: P8 to P10, P17, P18, P21, S1, S3."""

import json
from typing import Any

import msgspec
import pytest
from event_ids import numbered

import operators as ops
from streams import events as ev
from streams import recordings
from streams.events import SessionEvent
from streams.opencode import wire
from streams.testing import (
    Timeline,
    assistant,
    busy,
    created,
    deleted,
    delta,
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


def reports(*rows: Row, until: float, **arguments: Any) -> list[ops.StallReport]:
    return outputs(ops.stalls(**arguments), rows, until=until, complete=False)


def test_silent_tool_has_more_time() -> None:
    """P9: while a tool runs only the longer limit counts, and the report names the tool."""
    rows = [(0, busy("s")), (10, tool("s", "c1", "bash", "running"))]
    assert reports(*rows, until=3609.9, stale=180, tool_stale=3600) == []
    (report,) = reports(*rows, until=3610, stale=180, tool_stale=3600)
    assert (report.kind, report.tool, report.at, report.age) == ("tool_stale", "bash", 3610.0, 3600.0)


def next_event(kind: str, **properties: Any) -> SessionEvent:
    """An event of opencode's preview, as it comes from the wire."""
    event = {"id": "e", "type": kind, "properties": {"sessionID": "s", "timestamp": 1} | properties}
    return wire.decode(json.dumps(event).encode())


LIFE = [
    text("s", "m", "x", "hi"),
    delta("s", "m", "x", "hi"),
    ev.PartUpdated("s", part=ev.Part("r", "m", "reasoning", "hm")),
    ev.PartUpdated("s", part=ev.Part("st", "m", "step-start")),
    assistant("s", "m", finish=""),
    tool("s", "c1", "bash", "pending"),
    tool("s", "c1", "bash", "completed", output="ok"),
    next_event("session.next.text.delta", assistantMessageID="m", textID="x", delta="hi"),
    next_event("session.next.reasoning.delta", assistantMessageID="m", reasoningID="x", delta="hi"),
    next_event("session.next.step.started", assistantMessageID="m", agent="build"),
]
NO_LIFE = [
    heartbeat(),
    updated("s"),
    ev.UnknownEvent("s", type="session.diff"),
    retry("s", 1),
    busy("s"),
    assistant("s", "m", completed=99),
    ev.PartUpdated("s", part=ev.Part("p", "m", "patch")),
]


@pytest.mark.parametrize(
    ("event", "at"), [(each, 220) for each in LIFE] + [(each, 120) for each in NO_LIFE]
)
def test_what_counts_as_life(event: SessionEvent, at: float) -> None:
    """P10, P4, S3: text, reasoning, steps and answers refresh; data, retries and heartbeats do not."""
    seen = reports((0, busy("s")), (100, event), until=230, stale=120)
    assert [report.at for report in seen] == [at]


def test_repeated_running_state_is_no_life() -> None:
    """P10: a tool part that only repeats that it runs, with more metadata, does not refresh."""
    again = tool("s", "c1", "bash", "running", metadata={"output": "more"})
    rows = [(0, busy("s")), (10, tool("s", "c1", "bash", "running")), (100, again)]
    assert [each.at for each in reports(*rows, until=700, stale=60, tool_stale=600)] == [610.0]


def test_retry_is_no_progress() -> None:
    """P17: retries each 30 s do not move the last progress; stale comes at the normal time."""
    rows = [(0, busy("s")), *[(30.0 * n, retry("s", n)) for n in range(1, 10)]]
    assert [each.at for each in reports(*rows, until=300, stale=200)] == [200.0]


def test_retry_far_away_is_blocked() -> None:
    """P17: an attempt five hours from now is said at once, and once."""
    rows = [(0, busy("s")), (5, retry("s", 1, next=18_005)), (6, retry("s", 1, next=18_005))]
    assert [(each.kind, each.at, each.age) for each in reports(*rows, until=100)] == [
        ("blocked", 5, 18_000)
    ]


def test_waiting_for_a_human_stops_the_clock_above_too() -> None:
    """P18: ten hours of waiting two levels down are no stall; the answer starts the clock anew."""
    rows = [
        (0.0, created("root")),
        (0.0, created("a", "root")),
        (0.0, created("b", "a")),
        *[(1.0, busy(each)) for each in ("root", "a", "b")],
        (10.0, permission("b", "p1")),
        (36010.0, permission_reply("b", "p1")),
    ]
    assert reports(*rows, until=36909, stale=900) == []
    assert {(each.session_id, each.at) for each in reports(*rows, until=36911, stale=900)} == {
        (each, 36910.0) for each in ("root", "a", "b")
    }


def test_one_report_per_doubling_with_the_true_age() -> None:
    """P21: reports at once, twice and four times the patience (Miosa-osa/OSA#133)."""
    seen = reports((0, busy("s")), until=3600, stale=900)
    assert [(each.at, each.age, each.number) for each in seen] == [
        (900.0, 900.0, 1),
        (1800.0, 1800.0, 2),
        (3600.0, 3600.0, 3),
    ]


def test_progress_ends_the_episode() -> None:
    """P21: after progress the count begins again."""
    seen = reports((0, busy("s")), (1000, text("s", "m", "x", "hi")), until=1900, stale=900)
    assert [(each.at, each.number) for each in seen] == [(900.0, 1), (1900.0, 1)]


def test_heartbeats_do_not_keep_a_session_fresh() -> None:
    """S3: an hour of heartbeats each 10 s; the session goes stale on time."""
    rows = [(0.0, busy("s")), *[(10.0 * n, heartbeat()) for n in range(1, 361)]]
    assert [each.at for each in reports(*rows, until=3600, stale=2700)] == [2700.0]


def test_a_gap_is_no_stall() -> None:
    """S1: after a reconnect the clock starts anew; nothing is stale because of the gap."""
    rows = [(0, busy("s")), (800, ev.StreamConnected()), (810, ev.StreamGap(since=790))]
    assert [each.at for each in reports(*rows, until=1710, stale=900)] == [1710.0]


def test_idle_sessions_are_never_stale() -> None:
    """Only a session at work can stall."""
    assert reports((0, busy("s")), (10, idle("s")), until=10_000, stale=900) == []
    assert reports((0, updated("s")), until=10_000, stale=900) == []


def test_a_progressing_stream_is_never_deferred_for_ever() -> None:
    """P8: a parent that works all the time does not keep its silent child from being reported."""
    rows = [(0.0, created("c", "p")), (0.0, busy("c"))]
    rows += [(0.5 * n, delta("p", "m", "x", ".")) for n in range(1, 400)]
    assert [(each.session_id, each.at) for each in reports(*rows, until=150, stale=100)] == [("c", 100.0)]


def test_two_sessions_have_clocks_of_their_own_and_one_timer() -> None:
    """Interleaved sessions stall at their own times; there is one timer for all, none at the end."""
    line = Timeline()
    seen = line.watch(ops.stalls(stale=100))
    line.play((0, busy("a")), (30, busy("b")), (50, text("a", "m", "x", "hi")))
    assert line.scheduler.pending == 1
    line.advance_to(151)
    assert [(at, each.session_id) for at, each in seen] == [(130.0, "b"), (150.0, "a")]
    line.play((152, deleted("a")), (153, ev.SessionExpired("b")))
    line.advance_to(1000)
    assert line.scheduler.pending == 0
    assert len(seen) == 2


def test_completion_and_dispose_cancel_the_timer() -> None:
    """After the end nothing is pending."""
    line = Timeline()
    line.watch(ops.stalls())
    line.play((0, busy("s")))
    line.hub.on_completed()
    assert line.scheduler.pending == 0
    assert outputs(ops.stalls(), []) == []


@pytest.mark.parametrize("argument", ["stale", "tool_stale"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), "900"])
def test_bad_arguments(argument: str, value: Any) -> None:
    """The error names the argument, the value and the range."""
    with pytest.raises(ValueError, match=rf"{argument} must be seconds above 0 .* got "):
        ops.stalls(**{argument: value})


def test_every_subscription_to_a_replay_has_the_recorded_time(recording_of: Any) -> None:
    """X12: a second subscription to one replay plays from its start again, timers and all."""
    events = recordings.replay(recording_of("subagents").path, speed=None)
    first: list[ops.StallReport] = []
    second: list[ops.StallReport] = []
    events.pipe(ops.stalls(stale=1)).subscribe(first.append)
    events.pipe(ops.stalls(stale=1)).subscribe(second.append)
    assert first == second
    assert first


# --- what only looks like work --------------------------------------------------------------------


def ended_text(session_id: str, message_id: str) -> ev.PartUpdated:
    part = ev.Part("x", message_id, "text", "edited", time=ev.Times(1000, 2000))
    return ev.PartUpdated(session_id, part=part)


COPY = [
    ev.SessionCreated("s", created=100.0),
    assistant("s", "m", finish="", created=50),
    text("s", "m", "x", "an answer never to be finished"),
    tool("s", "c1", "bash", "running", message_id="m"),
]


@pytest.mark.parametrize(
    "events",
    [
        [user("s", "u"), text("s", "u", "x", "for later")],
        [busy("s"), text("s", "m", "x", "hi"), idle("s"), ended_text("s", "m")],
        [busy("s"), idle("s"), assistant("s", "m", completed=2), tool("s", "c", "bash", "completed")],
        COPY,
    ],
    ids=["prompt without a turn", "edited part", "bookkeeping after idle", "copies in a fork"],
)
def test_a_session_that_nobody_works_on_is_never_stale(events: list[SessionEvent]) -> None:
    """P4: prompts that wait, edits, late updates and a fork's copies are no work (recorded: lifecycle)."""
    assert reports(*[(float(n), each) for n, each in enumerate(events)], until=90_000, stale=900) == []


def test_what_the_idle_overtook_is_no_life() -> None:
    """S4: a delta with an older id than the idle's does not put the session to work again."""
    late = ev.PartDelta("s", event_id="evt_2", message_id="m", part_id="x", field="text", delta="!")
    rows = [(0, busy("s")), (1, ev.SessionIdle("s", event_id="evt_3")), (2, late)]
    assert reports(*rows, until=90_000, stale=900) == []


def test_session_without_statuses_rests_after_its_final_answer() -> None:
    """Opencode's preview sessions never say idle (recorded: nextgen)."""
    rows = [(0, assistant("s", "m", finish="")), (5, assistant("s", "m", completed=5))]
    assert reports(*rows, until=90_000, stale=900) == []


def test_no_session_of_a_recording_is_stale_that_the_server_calls_idle(recorded_truth: Any) -> None:
    """P4, P18: a day after the end of every recording nothing has stalled, as the truth has it."""
    assert not recorded_truth.truth["status"]
    line = Timeline()
    seen = line.watch(ops.stalls())
    events = recorded_truth.events()
    line.play(*((event.at, event) for event in events))
    line.advance_to(events[-1].at + 86_400)
    assert seen == []


# --- families -------------------------------------------------------------------------------------


def test_a_parent_has_the_progress_of_the_task_it_waits_for() -> None:
    """P9: a task that works for two hours keeps its parent's tool from being stale; silence does not."""
    rows = [
        (0.0, busy("p")),
        (1.0, tool("p", "t", "task", "running", metadata={"sessionId": "c"})),
        (1.0, created("c", "p")),
        (1.0, busy("c")),
        *[(100.0 * n, delta("c", "m", "x", ".")) for n in range(1, 73)],
    ]
    seen = reports(*rows, until=7200 + 3600, stale=2700, tool_stale=3600)
    assert [(each.session_id, each.at, each.age) for each in seen] == [
        ("c", 9900.0, 2700.0),
        ("p", 10800.0, 3600.0),
    ]


def test_another_tool_has_no_part_in_what_a_child_does() -> None:
    """P9: a silent bash is stale, however busy a background task is."""
    rows = [(0.0, busy("p")), (1.0, tool("p", "t", "bash", "running")), (1.0, created("c", "p"))]
    rows += [(100.0 * n, delta("c", "m", "x", ".")) for n in range(1, 40)]
    assert [each.session_id for each in reports(*rows, until=3700)] == ["p"]


def test_waiting_is_known_whatever_comes_first() -> None:
    """P18, S10: the request before the link, and the request before anything of the parent."""
    asked = [(0.0, busy("a")), (0.0, busy("b")), (10.0, permission("b", "p1"))]
    assert reports(*asked, (11.0, updated("b", parent_id="a")), until=90_000) == []
    first = [(0.0, created("b", "a")), (0.0, busy("b")), (10.0, permission("b", "p1"))]
    assert reports(*first, (11.0, busy("a")), until=90_000) == []


def test_nobody_waits_for_ever_because_a_session_between_is_gone() -> None:
    """P18: the session between expires while its child waits: the one above can stall again."""
    rows = [
        (0.0, created("a", "r")),
        (0.0, created("b", "a")),
        (0.0, busy("r")),
        (0.0, busy("b")),
        (10.0, permission("b", "p1")),
        (700.0, ev.SessionExpired("a")),
        (800.0, permission_reply("b", "p1")),
        (801.0, idle("b")),
    ]
    assert [(each.session_id, each.at) for each in reports(*rows, until=1700, stale=900)] == [
        ("r", 1600.0)
    ]


def test_dispose_midway_and_an_error_leave_nothing() -> None:
    """After dispose nothing comes and no timer is pending; an error passes."""
    line = Timeline()
    seen: list[ops.StallReport] = []
    errors: list[Exception] = []
    line.hub.pipe(ops.stalls(stale=10)).subscribe(seen.append).dispose()
    line.hub.pipe(ops.stalls(stale=10)).subscribe(on_error=errors.append)
    line.play((0, busy("s")))
    line.hub.on_error(RuntimeError("lost"))
    line.advance_to(100)
    assert (seen, [str(each) for each in errors], line.scheduler.pending) == ([], ["lost"], 0)


def test_events_from_inside_a_subscriber() -> None:
    """X6: an abort published by who hears of the stall ends the episode."""
    line = Timeline()
    seen: list[float] = []

    def stop(report: ops.StallReport) -> None:
        seen.append(report.at)
        line.hub.on_next(idle(report.session_id))

    line.hub.pipe(ops.stalls(stale=10)).subscribe(stop)
    line.play((0, busy("s")))
    line.advance_to(1000)
    assert seen == [10.0]


def test_a_blocked_session_is_described_in_full() -> None:
    """P17: whose it is, since when, for how long, and that it is the first report of it; no tool is named."""
    rows = [(2, busy("s")), (5, retry("s", 1, next=18_005))]
    assert reports(*rows, until=100) == [ops.StallReport("s", 5, "blocked", 18_000, 2, "", 1)]


def test_what_follows_a_blocked_session() -> None:
    """P17, P9: the next report of it is the second, at twice the patience."""
    rows = [(0, busy("s")), (0, retry("s", 1, next=18_005))]
    seen = reports(*rows, until=6000, stale=2000)
    assert [(each.at, each.kind, each.number) for each in seen] == [(0, "blocked", 1), (4000, "stale", 2)]


def test_children_at_rest_have_no_progress() -> None:
    """P10: whose tasks all rest, or were never heard of, is silent since its own last word."""
    rows = [
        (0, busy("s")),
        (1, created("c", "s")),
        (1, busy("c")),
        (50, idle("c")),
        (60, tool("s", "c1", "task", "running")),
    ]
    ((at, since),) = [
        (each.at, each.since) for each in reports(*rows, until=800, stale=500, tool_stale=700)
    ]
    assert (at, since) == (760, 60)


def test_life_that_is_not_read_begins_a_turn() -> None:
    """P21: an event of a newer kind that begins with a known word is life of the session it names."""
    seen = reports((3, next_event("session.next.text.delta")), until=600, stale=500)
    assert [(each.session_id, each.at, each.since) for each in seen] == [("s", 503, 3)]


def test_a_call_told_late_is_life_where_nothing_tells_that_it_is_old() -> None:
    """S4: after the idle, a running call without an event id begins a turn; an id from before it does not."""
    late = tool("s", "c1", "bash", "running")
    rows = [
        (0, busy("s")),
        (1, late),
        (2, tool("s", "c1", "bash", "completed")),
        (3, idle("s")),
        (5, late),
    ]
    assert [each.at for each in reports(*rows, until=600, stale=500, tool_stale=500)] == [505]
    known = [
        (0, busy("s")),
        (3, msgspec.structs.replace(idle("s"), event_id="evt_3")),
        (5, msgspec.structs.replace(late, event_id="evt_1")),
    ]
    assert reports(*known, until=600, stale=500, tool_stale=500) == []


@pytest.mark.parametrize(
    "event",
    [
        busy("s"),
        delta("s", "m", "x", "hi"),
        text("s", "m", "x", "hi"),
        tool("s", "c1", "bash", "running"),
        assistant("s", "m", finish=""),
    ],
)
@pytest.mark.parametrize("ending", [idle("s"), ev.SessionStatus("s", status="idle")])
def test_what_the_idle_overtook_begins_no_watch(event: SessionEvent, ending: SessionEvent) -> None:
    """S4: made before the idle, heard just after it; what was made after it is a new turn."""
    rows = [(0, numbered(busy("s"), 1)), (10, numbered(ending, 5))]
    assert reports(*rows, (10.1, numbered(event, 4)), until=9000, stale=900, tool_stale=900) == []
    assert len(reports(*rows, (10.1, numbered(event, 6)), until=1000, stale=900, tool_stale=900)) == 1
    assert len(reports(*rows, (60, numbered(event, 4)), until=1000, stale=900, tool_stale=900)) == 1


def test_a_final_answer_of_a_session_without_statuses_is_an_idle() -> None:
    """S4: what it overtook begins no turn either."""
    rows = [
        (0, numbered(assistant("s", "m", finish=""), 1)),
        (9, numbered(assistant("s", "m", created=0, completed=9), 5)),
    ]
    assert reports(*rows, (9.1, numbered(delta("s", "m", "x", "hi"), 4)), until=9000, stale=900) == []
    assert len(reports(*rows, (9.1, numbered(delta("s", "m", "x", "hi"), 6)), until=1000, stale=900)) == 1


def test_a_retry_is_blocked_beyond_our_patience_only() -> None:
    """P17: an attempt that comes just when our patience ends is waited for."""

    def blocked(wait: float) -> list[str]:
        again = ev.SessionStatus("s", status="retry", attempt=1, next=100 + wait)
        return [each.kind for each in reports((100, again), until=200, stale=900)]

    assert (blocked(900.0), blocked(900.1)) == ([], ["blocked"])


def test_an_idle_child_s_progress_is_nobody_s() -> None:
    """P9: below a task tool only the sessions at work count, and those that were heard of."""
    rows = [
        (0, busy("p")),
        (0, created("c", "p")),
        (0, updated("unheard", parent_id="c")),
        (0, tool("p", "c1", "task", "running")),
        (100, text("c", "m", "x", "hi")),
        (200, idle("c")),
    ]
    (report,) = reports(*rows, until=1000, stale=900, tool_stale=900)
    assert (report.session_id, report.at, report.since) == ("p", 900.0, 0.0)


def test_a_life_that_nobody_reads_is_new_life() -> None:
    """P10: an event of the preview's between turns is told by its id as any other."""
    rows = [(0, numbered(busy("s"), 1)), (10, numbered(idle("s"), 5))]
    unread = ev.UnknownEvent("s", type="session.next.step.anything")
    assert reports(*rows, (10.1, numbered(unread, 4)), until=9000, stale=900) == []
    assert len(reports(*rows, (10.1, numbered(unread, 6)), until=1000, stale=900)) == 1
