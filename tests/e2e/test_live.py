"""The live source against opencode itself."""

import threading
import time
from typing import Any

import pytest
from chaos_proxy import ChaosProxy
from fold import Fold
from opencode_server import OpencodeServer, free_port
from scripted_model import Answer, Call, Gate, ScriptedModel

import operators as ops
import streams
from streams import ContextLimits
from streams import events as ev
from streams.opencode import TimedOut, Unauthorized, Unreachable


@pytest.mark.parametrize("provider", ["acme", "anthropic"])
def test_a_turn_with_tools(drive: Any, model: ScriptedModel, provider: str) -> None:
    """Every event of a turn with tools comes, and its last words equal a fresh fetch; nothing else is asked."""
    notes = str(drive.server.project / "notes.txt")
    mark = model.plan(
        "tools",
        Answer(
            "I will look.",
            [Call("read", {"filePath": notes}), Call("bash", {"command": "ls", "description": "list"})],
            input=3_000,
        ),
        Answer(
            "",
            [Call("bash", {"command": "echo done", "description": "say done"})],
            input=4_000,
            cache_read=900,
        ),
        Answer("It has three lines, and that is all there is to say.", input=5_000, output=40),
    )
    usages: list[Any] = []
    limits = ContextLimits({f"{provider}/kestrel-large": 200_000})
    drive.events.pipe(ops.context_usage(limits)).subscribe(usages.append)
    session_id = drive.new_session()
    drive.turn(session_id, f"What is in there? {mark}", provider=provider)
    drive.assert_equal_to_fresh()
    assert sorted(drive.fold.tools(session_id).values()) == ["completed"] * 3
    assert [usage.tokens for usage in usages if usage.tokens] == [3_000, 4_900, 5_000]
    counts = drive.events.state.value.counts
    assert (counts.gaps, counts.duplicates, counts.malformed, counts.lost) == (0, 0, 0, 0)
    ids = [event.event_id for event in drive.fold.events if event.event_id]
    assert len(ids) == len(set(ids))


def test_subagents(drive: Any, model: ScriptedModel) -> None:
    """Children that run at the same time: all sessions, parents and parts are right."""
    marks = [model.plan(f"child{n}", Answer(f"Child {n} is done.")) for n in range(3)]
    tasks = [
        Call("task", {"description": f"part {n}", "prompt": f"Do it {mark}", "subagent_type": "general"})
        for n, mark in enumerate(marks)
    ]
    parent = model.plan("parent", Answer("", tasks), Answer("All three are done."))
    session_id = drive.new_session()
    drive.turn(session_id, f"Share the work {parent}")
    drive.assert_equal_to_fresh()
    children = [info for info in drive.fold.sessions.values() if info.get("parentID") == session_id]
    assert len(children) == 3
    assert list(drive.fold.tools(session_id).values()) == ["completed"] * 3


def test_todos(drive: Any, model: ScriptedModel) -> None:
    """Each change of the list comes; the last equals what the server answers."""

    def todos(*statuses: str) -> Call:
        entries = [
            {"content": f"step {n}", "status": status, "priority": "high", "id": str(n)}
            for n, status in enumerate(statuses)
        ]
        return Call("todowrite", {"todos": entries})

    mark = model.plan(
        "todos",
        Answer("", [todos("in_progress", "pending")]),
        Answer("", [todos("completed", "in_progress")]),
        Answer("", [todos("completed", "completed")]),
        Answer("Done."),
    )
    session_id = drive.new_session()
    drive.turn(session_id, f"Plan it {mark}")
    told = [event for event in drive.fold.events if isinstance(event, ev.TodosUpdated)]
    assert [[todo.status for todo in event.todos] for event in told][-1] == ["completed", "completed"]
    assert len(told) == 3
    answered = drive.call("GET", f"/session/{session_id}/todo")
    assert [(todo["content"], todo["status"]) for todo in answered] == drive.fold.todos[session_id]


def test_abort(drive: Any, model: ScriptedModel) -> None:
    """``Client.abort`` ends a turn: the error comes, the session is idle, the last words are the server's."""
    gate = Gate()
    mark = model.plan("long", Answer("This would go on and on, if nobody stopped it.", gate=gate))
    session_id = drive.new_session()
    drive.prompt(session_id, f"Talk {mark}")
    assert gate.reached.wait(60)
    drive.fold.wait_for(lambda fold: fold.count(ev.PartDelta))
    client = streams.opencode.Client(drive.server.url)
    done = threading.Event()
    client.abort(session_id).subscribe(lambda value: None, on_completed=done.set)
    assert done.wait(30)
    drive.fold.wait_for_idle(session_id)
    gate.open()
    drive.assert_equal_to_fresh()
    errors = [event.error.name for event in drive.fold.events if isinstance(event, ev.SessionError)]
    assert errors == ["MessageAbortedError"]


def test_a_permission(serve: Any, driver_of: Any, model: ScriptedModel) -> None:
    """A call that waits for leave is seen to wait, and to go on once it is given."""
    drive = driver_of(serve(config={"permission": {"bash": "ask"}}))
    call = Call("bash", {"command": "echo hello", "description": "say hello"})
    mark = model.plan("ask", Answer("", [call]), Answer("Said."))
    session_id = drive.new_session()
    drive.prompt(session_id, f"Say hello {mark}")
    drive.fold.wait_for(lambda fold: fold.permissions)
    (request_id,) = drive.fold.permissions
    assert list(drive.fold.tools(session_id).values()) == ["running"]
    drive.call("POST", f"/permission/{request_id}/reply", {"reply": "once"})
    drive.fold.wait_for_idle(session_id)
    assert drive.fold.permissions == {}
    drive.assert_equal_to_fresh()


def test_killed_amid_a_turn(drive: Any, model: ScriptedModel) -> None:
    """S1: kill -9 amid a turn and a restart: the gap is told, and the state equals a fresh fetch."""
    gate = Gate()
    notes = str(drive.server.project / "notes.txt")
    mark = model.plan(
        "killed",
        Answer("Reading.", [Call("read", {"filePath": notes})]),
        Answer("This answer is cut off by the end of the server.", gate=gate),
    )
    after = model.plan("after", Answer("Here again."))
    session_id, other = drive.new_session(), drive.new_session()
    drive.turn(other, f"Something first {after}")
    drive.prompt(session_id, f"Read it {mark}")
    assert gate.reached.wait(60)
    drive.fold.wait_for(lambda fold: fold.count(ev.PartDelta) > 4)
    drive.server.kill()
    gate.open()
    drive.fold.wait_for(lambda fold: drive.events.state.value.status == "reconnecting" or not fold)
    drive.server.start()
    drive.fold.wait_for(lambda fold: fold.count(ev.StreamResumed))
    resumed = next(event for event in drive.fold.events if isinstance(event, ev.StreamResumed))
    assert resumed.complete
    assert drive.fold.statuses[session_id] == "idle"
    drive.assert_equal_to_fresh()
    unfinished = [
        message["info"]
        for message in drive.fold.history(session_id)
        if message["info"]["role"] == "assistant" and "completed" not in message["info"]["time"]
    ]
    assert len(unfinished) == 1
    drive.turn(session_id, f"Go on {after}")
    drive.assert_equal_to_fresh()
    assert drive.fold.count(ev.StreamGap) == 1
    assert drive.events.state.value.counts.lost == 0


def test_a_turn_that_nobody_heard(serve: Any, model: ScriptedModel, driver_of: Any) -> None:
    """S1: the client alone is away for a whole turn, a new session, a deleted one: the log tells it all."""
    server = serve()
    drive = driver_of(server)
    proxy = ChaosProxy(server.port)
    events, fold = streams.opencode.connect(proxy.url), Fold()
    events.subscribe(fold.take)
    fold.wait_for(lambda each: each.count(ev.StreamConnected))
    mark = model.plan(
        "talk", Answer("", [Call("bash", {"command": "ls", "description": "list"})]), Answer("Said.")
    )
    first, doomed = drive.new_session(), drive.new_session()
    drive.turn(first, f"One {mark}")
    drive.turn(doomed, f"Two {mark}")
    fold.wait_for_idle(doomed)
    proxy.refuse()
    drive.turn(first, f"Unheard {mark}")
    late = drive.new_session()
    drive.turn(late, f"Unheard as well {mark}")
    drive.call("DELETE", f"/session/{doomed}")
    drive.assert_equal_to_fresh()
    proxy.accept()
    fold.wait_for(lambda each: each.count(ev.StreamResumed))
    sessions, messages, _ = drive.fresh()
    assert fold.sessions == sessions
    assert {each: fold.history(each) for each in sessions} == messages
    assert fold.statuses[first] == fold.statuses[late] == "idle"
    assert doomed not in fold.sessions
    ids = [event.event_id for event in fold.events if event.event_id]
    assert len(ids) == len(set(ids))
    assert events.state.value.counts.lost == 0
    assert not any(path.endswith("/message") for path in proxy.asked)
    events.close()
    proxy.close()


def test_twenty_sessions_at_once(drive: Any, model: ScriptedModel) -> None:
    """Twenty sessions that work at the same time, over one connection: every one is right."""
    notes = str(drive.server.project / "notes.txt")
    marks = [
        model.plan(
            f"s{n}",
            Answer(f"Session {n} reads.", [Call("read", {"filePath": notes})], input=1_000 + n),
            Answer("", [Call("bash", {"command": "ls", "description": "list"})], input=2_000 + n),
            Answer(f"Session {n} is done. " * 5, input=3_000 + n),
        )
        for n in range(20)
    ]
    sessions = [drive.new_session() for _ in marks]
    for session_id, mark in zip(sessions, marks, strict=True):
        drive.prompt(session_id, f"Work {mark}")
    for session_id in sessions:
        drive.fold.wait_for_idle(session_id, timeout=120)
    drive.assert_equal_to_fresh(60)
    for session_id in sessions:
        assert list(drive.fold.tools(session_id).values()) == ["completed"] * 2
    assert drive.events.state.value.counts.gaps == 0


def test_500_tool_calls_without_a_request(drive: Any, model: ScriptedModel, until: Any) -> None:
    """T10, U9: 500 tool calls, everything derived from them, and not one request for a history."""
    proxy = ChaosProxy(drive.server.port)
    events, calls, usages = streams.opencode.connect(proxy.url), list[Any](), list[Any]()
    limits = ContextLimits({"acme/kestrel-large": 200_000})
    snapshots, triggers = list[Any](), list[Any]()
    events.pipe(ops.tool_calls()).subscribe(calls.append)
    events.pipe(ops.context_usage(limits)).subscribe(usages.append)
    events.pipe(ops.transcript_snapshots()).subscribe(snapshots.append)
    events.pipe(ops.compaction_triggers(limits)).subscribe(triggers.append)
    notes = str(drive.server.project / "notes.txt")
    step = [Call("read", {"filePath": notes, "limit": n}) for n in range(1, 26)]
    mark = model.plan("many", *(Answer("", step, input=1_000 + n) for n in range(20)), Answer("Done."))
    session_id = drive.new_session()
    drive.prompt(session_id, f"Work {mark}")
    drive.fold.wait_for_idle(session_id, timeout=100)
    assert list(drive.fold.tools(session_id).values()) == ["completed"] * 500
    until(lambda: sum(call.outcome == "completed" for call in calls) == 500)
    until(lambda: snapshots and snapshots[-1].session_id == session_id)
    assert triggers == []
    assert [usage.tokens for usage in usages if usage.tokens][-2:] == [1_019, 1_000]
    assert events.state.value.counts.gaps == 0
    assert [path for path in proxy.asked if path.endswith("/message")] == []
    assert set(proxy.asked) <= {"/global/event", "/path", "/experimental/session"}
    events.close()
    proxy.close()


def test_while_the_line_is_cut_again_and_again(serve: Any, driver_of: Any, model: ScriptedModel) -> None:
    """S1: cut every now and then during turns with tools: nothing is lost, doubled, or out of order."""
    server = serve()
    drive = driver_of(server)
    proxy = ChaosProxy(server.port)
    events, fold = streams.opencode.connect(proxy.url), Fold()
    events.subscribe(fold.take)
    fold.wait_for(lambda each: each.count(ev.StreamConnected))
    notes = str(server.project / "notes.txt")
    steps = [Answer(f"Step {n}.", [Call("read", {"filePath": notes})]) for n in range(8)]
    mark = model.plan("steps", *steps, Answer("Done."))
    sessions = [drive.new_session() for _ in range(3)]
    for number, session_id in enumerate(sessions):
        own = model.plan(f"steps{number}", *steps, Answer("Done."))
        drive.prompt(session_id, f"Work {own or mark}")
    for cut_at in (20, 45, 80, 120, 170):
        fold.wait_for(lambda each, cut_at=cut_at: len(each.events) > cut_at)
        proxy.cut()
    for session_id in sessions:
        drive.fold.wait_for_idle(session_id)
    drive.assert_equal_to_fresh()
    fresh, messages, _ = drive.fresh()
    fold.wait_for(lambda each: {key: each.history(key) for key in fresh} == messages, 60)
    assert fold.sessions == fresh
    ids = [event.event_id for event in fold.events if event.event_id]
    assert len(ids) == len(set(ids))
    counts = events.state.value.counts
    assert counts.lost == 0
    assert fold.count(ev.StreamGap) >= 3
    assert not any(path.endswith("/message") for path in proxy.asked)
    events.close()
    proxy.close()


def test_summarize_and_limits(drive: Any, model: ScriptedModel) -> None:
    """``Client``: limits, messages, status and a summary, as the server itself gives them."""
    mark = model.plan("talk", Answer("Something to sum up.", input=9_000))
    session_id = drive.new_session()
    drive.turn(session_id, f"Talk {mark}")
    client = streams.opencode.Client(drive.server.url)

    def one(answer: Any) -> Any:
        seen: list[Any] = []
        done = threading.Event()
        answer.subscribe(seen.append, lambda error: (seen.append(error), done.set()), done.set)
        assert done.wait(60)
        return seen[0]

    limits = one(client.providers())
    assert limits.find("acme", "kestrel-small") == 20_000
    assert len(one(client.messages(session_id)).events) == len(drive.fold.history(session_id)) + sum(
        len(message["parts"]) for message in drive.fold.history(session_id)
    )
    assert one(client.status()) == {}
    assert one(client.summarize(session_id, "acme", "kestrel-large")) is True
    drive.fold.wait_for(lambda fold: fold.count(ev.SessionCompacted))
    drive.assert_equal_to_fresh()
    assert "Session not found" in str(one(client.messages("ses_00000000000000000000000000")))


def test_a_password(serve: Any, driver_of: Any) -> None:
    """HTTP Basic authentication, as the server itself asks for it."""
    server = serve(password="secret")
    drive = driver_of(server)
    assert drive.fold.count(ev.StreamConnected) == 1
    errors: list[Exception] = []
    failed = threading.Event()
    streams.opencode.connect(server.url, password="wrong").subscribe(
        lambda event: None, lambda error: (errors.append(error), failed.set())
    )
    assert failed.wait(30)
    assert isinstance(errors[0], Unauthorized)


def test_connecting_while_it_starts(serve: Any, tmp_path: Any, model: ScriptedModel, binary: Any) -> None:
    """The start-up trap: connecting from before the server listens on; it is heard as soon as it can be."""
    server = OpencodeServer(tmp_path / "late", model.url)
    events, fold = streams.opencode.connect(server.url, wait=True), Fold()
    states: list[Any] = []
    events.state.subscribe(states.append)
    events.subscribe(fold.take)
    server.start()
    try:
        fold.wait_for(lambda each: each.count(ev.StreamConnected), 60)
        assert any(isinstance(state.error, Unreachable | TimedOut) for state in states)
    finally:
        events.close()
        server.stop()


def test_nobody_listens() -> None:
    """A port that nobody listens on: Unreachable, within a second."""
    failed = threading.Event()
    errors: list[Exception] = []
    started = time.monotonic()
    streams.opencode.connect(f"http://127.0.0.1:{free_port()}").subscribe(
        lambda event: None, lambda error: (errors.append(error), failed.set())
    )
    assert failed.wait(10)
    assert isinstance(errors[0], Unreachable)
    assert time.monotonic() - started < 5
