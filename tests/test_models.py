"""Random histories of sessions, through every operator and through a reference that remembers all.

The reference keeps the whole history as plain dicts, as a fetch of the messages would return it, and
computes every answer anew at each step; it shares nothing with the operators. Histories are legal:
what they do is what a server has been recorded to do. ``MODELS=long`` tries many more of them.
"""

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import operators as ops
from streams import ContextLimits
from streams import events as ev
from streams import testing as say
from streams.events import SessionEvent
from streams.testing import Timeline

LIMIT = 200_000
LIMITS = ContextLimits({say.MODEL: LIMIT})
THRESHOLD = 0.5
CLOSED = ("completed", "cancelled", "blocked", "deleted")
OVER = ("completed", "error")

LONG = os.environ.get("MODELS") == "long"
SETTINGS = settings(
    max_examples=2_000 if LONG else 100,
    stateful_step_count=80 if LONG else 50,
    deadline=None,
    derandomize=not LONG,
    database=None,
    suppress_health_check=list(HealthCheck),
)


# --- the reference --------------------------------------------------------------------------------


class History:
    """All that has happened, as a fetch would tell it, and what follows from it."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, Any]] = {}

    def add(self, session_id: str, parent_id: str) -> None:
        self.sessions[session_id] = {
            "parent": parent_id, "messages": [], "spent": {}, "calls": {}, "todos": None, "revert": "",
            "compacting": False,
        }  # fmt: skip

    def measured(self, session_id: str) -> tuple[str, int] | None:
        """The last finished answer's prompt since the last compaction, of what no revert hides."""
        session = self.sessions[session_id]
        found = None
        for message in session["messages"]:
            hidden = session["revert"] and message["id"] >= session["revert"]
            if hidden or message["role"] != "assistant" or not message["finish"]:
                continue
            found = None if message["summary"] else (message["id"], message["tokens"])
        return found

    def children(self, session_id: str) -> list[str]:
        return [each for each, session in self.sessions.items() if session["parent"] == session_id]

    def depth(self, session_id: str) -> int:
        parent = self.sessions.get(session_id, {}).get("parent")
        return 1 + self.depth(parent) if parent else 0


# --- the machine ----------------------------------------------------------------------------------


class Sessions(RuleBasedStateMachine):
    """Says what a server says, and compares after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.line = Timeline()
        self.history = History()
        self.now = 0.0
        self.ids = 0
        self.triggered: list[ops.CompactionTrigger] = []
        self.expected_triggers: list[str] = []
        self.last: dict[str, dict[str, Any]] = {}
        self.settled: dict[tuple[str, str], list[Any]] = {}
        self.watch("context_usage", LIMITS)
        self.watch("task_progress")
        self.watch("session_tree")
        self.watch("session_overview", LIMITS, at_most=0)
        self.watch("todo_progress")
        self.watch("transcript_snapshots")
        triggers = ops.compaction_triggers(LIMITS, threshold=THRESHOLD, cooldown=0)
        self.line.hub.pipe(triggers).subscribe(self.triggered.append)
        if "tool_calls" in ops.__all__:
            self.line.hub.pipe(ops.tool_calls()).subscribe(self.settle)

    def watch(self, name: str, *arguments: Any, **options: Any) -> None:
        """Keep an operator's last value per session; one that does not exist is left out."""
        if name in ops.__all__:
            last = self.last[name] = {}
            operator = getattr(ops, name)(*arguments, **options)
            self.line.hub.pipe(operator).subscribe(lambda each: last.__setitem__(each.session_id, each))

    def settle(self, call: Any) -> None:
        self.settled.setdefault((call.session_id, call.call_id), []).append(call)

    # --- saying -----------------------------------------------------------------------------------

    def say(self, *events: SessionEvent, twice: bool = False) -> None:
        """Deliver events, each twice if asked; a second passes after them."""
        self.now += 1
        self.triggered.clear()
        for event in events:
            for _ in range(1 + twice):
                self.line.play((self.now, event))
        self.line.advance_to(self.now + 0.5)

    def new(self, kind: str) -> str:
        self.ids += 1
        return f"{kind}_{self.ids:05}"

    def pick(self, data: st.DataObject) -> tuple[str, dict[str, Any]]:
        session_id = data.draw(st.sampled_from(sorted(self.history.sessions)))
        return session_id, self.history.sessions[session_id]

    def answer(self, session_id: str, message: dict[str, Any], **more: Any) -> ev.MessageUpdated:
        options = {
            "created": message["created"], "finish": message["finish"], "summary": message["summary"],
            "input": message["tokens"], "agent": "compaction" if message["summary"] else "build",
        }  # fmt: skip
        return say.assistant(session_id, message["id"], **(options | more))

    def begin(self, session: dict[str, Any], role: str, *, summary: bool = False) -> dict[str, Any]:
        message = {
            "id": self.new("msg"), "role": role, "created": self.now + 1, "finish": "",
            "summary": summary, "tokens": 0,
        }  # fmt: skip
        session["messages"].append(message)
        return message

    # --- what happens -----------------------------------------------------------------------------

    @precondition(lambda self: len(self.history.sessions) < 3)  # few, so that much happens to each
    @rule(data=st.data(), twice=st.booleans())
    def spawn(self, data: st.DataObject, twice: bool) -> None:
        parent = data.draw(st.sampled_from(["", *sorted(self.history.sessions)]))
        session_id = self.new("ses")
        self.history.add(session_id, parent)
        self.say(say.created(session_id, parent), twice=twice)

    @precondition(lambda self: self.history.sessions)
    @rule(data=st.data(), twice=st.booleans())
    def prompt(self, data: st.DataObject, twice: bool) -> None:
        session_id, session = self.pick(data)
        removed = []
        if session["revert"]:  # the next prompt makes a revert final
            removed = [each["id"] for each in session["messages"] if each["id"] >= session["revert"]]
            session["messages"] = [each for each in session["messages"] if each["id"] < session["revert"]]
            session["revert"] = ""
        message = self.begin(session, "user")
        events = [
            *(say.removed(session_id, each) for each in removed),
            say.updated(session_id, parent_id=session["parent"]),
            say.user(session_id, message["id"], created=message["created"]),
            say.busy(session_id),
        ]
        self.say(*events, twice=twice)

    @precondition(lambda self: self.history.sessions)
    @rule(data=st.data(), tokens=st.sampled_from([0, 1, 99_999, 100_000, 250_000]), twice=st.booleans())
    def answer_whole(self, data: st.DataObject, tokens: int, twice: bool) -> None:
        """An answer that begins, talks and ends; one without tokens measures nothing."""
        session_id, session = self.pick(data)
        if session["revert"]:
            return
        message = self.begin(session, "assistant")
        started = self.answer(session_id, message, tokens=False)
        message["finish"], message["tokens"] = "stop", tokens
        if not tokens:
            message["role"] = "nothing"
        session["spent"][message["id"]] = tokens
        ended = self.answer(session_id, message)
        word = say.delta(session_id, message["id"], f"prt_{message['id']}", "word")
        self.say(started, twice=twice)
        self.say(word)
        self.say(ended, twice=twice)
        due = tokens >= THRESHOLD * LIMIT
        assert [each.message_id for each in self.triggered] == [message["id"]] * due
        self.say(self.answer(session_id, message, completed=self.now), twice=twice)

    @precondition(lambda self: self.history.sessions)
    @rule(data=st.data(), twice=st.booleans(), announced=st.booleans())
    def compact(self, data: st.DataObject, twice: bool, announced: bool) -> None:
        """A summary, and mostly the word of it: a reader who was away does not hear it."""
        session_id, session = self.pick(data)
        if session["revert"]:
            return
        message = self.begin(session, "assistant", summary=True)
        started = self.answer(session_id, message, tokens=False)
        message["finish"], message["tokens"] = "stop", 150_000
        session["spent"][message["id"]] = 150_000
        self.say(started, twice=twice)
        self.say(self.answer(session_id, message), twice=twice)
        assert not self.triggered
        if announced:
            self.say(say.compacted(session_id), twice=twice)

    @precondition(lambda self: self.history.sessions)
    @rule(data=st.data(), status=st.sampled_from(["pending", "running", "completed", "error"]), new=st.booleans(), twice=st.booleans())  # fmt: skip
    def call(self, data: st.DataObject, status: str, new: bool, twice: bool) -> None:
        """A new call, or the next state of one that is open."""
        session_id, session = self.pick(data)
        calls = session["calls"]
        still_open = sorted(each for each, state in calls.items() if state not in OVER)
        call = self.new("call") if new or not still_open else data.draw(st.sampled_from(still_open))
        if calls.get(call) == "running" and status == "pending":
            return
        calls[call] = status
        part = say.tool(session_id, call, "bash", status, input={"command": "ls"}, message_id="msg_99999")
        self.say(part, twice=twice)

    @precondition(lambda self: self.history.sessions)
    @rule(data=st.data(), statuses=st.lists(st.sampled_from(["pending", "in_progress", *CLOSED, "odd"])), twice=st.booleans())  # fmt: skip
    def plan(self, data: st.DataObject, statuses: list[str], twice: bool) -> None:
        session_id, session = self.pick(data)
        session["todos"] = statuses
        self.say(say.todos(session_id, *statuses), twice=twice)

    @precondition(lambda self: self.history.sessions)
    @rule(data=st.data(), replied=st.booleans(), twice=st.booleans())
    def ask(self, data: st.DataObject, replied: bool, twice: bool) -> None:
        session_id, _ = self.pick(data)
        request = self.new("per")
        self.say(say.permission(session_id, request), twice=twice)
        if replied:
            self.say(say.permission_reply(session_id, request), twice=twice)

    @precondition(lambda self: self.history.sessions)
    @rule(data=st.data(), twice=st.booleans())
    def rest(self, data: st.DataObject, twice: bool) -> None:
        session_id, _ = self.pick(data)
        self.say(say.idle(session_id), twice=twice)

    @precondition(lambda self: self.history.sessions)
    @rule(data=st.data(), twice=st.booleans())
    def revert(self, data: st.DataObject, twice: bool) -> None:
        """Back to a prompt since the last compaction, or, when that is pending, forth again."""
        session_id, session = self.pick(data)
        messages = session["messages"]
        since = max((n for n, each in enumerate(messages) if each["summary"]), default=-1)
        prompts = [each["id"] for each in messages[since + 1 :] if each["role"] == "user"]
        if session["revert"]:
            session["revert"] = ""
        elif prompts:
            session["revert"] = data.draw(st.sampled_from(prompts))
        self.say(
            say.updated(session_id, parent_id=session["parent"], revert=session["revert"]), twice=twice
        )

    @precondition(lambda self: self.history.sessions)
    @rule(data=st.data(), twice=st.booleans())
    def remove(self, data: st.DataObject, twice: bool) -> None:
        session_id, session = self.pick(data)
        messages = [each for each in session["messages"] if not each["summary"]]
        if not messages or session["revert"]:
            return
        message = data.draw(st.sampled_from(messages))
        session["messages"].remove(message)
        self.say(say.removed(session_id, message["id"]), twice=twice)

    @precondition(lambda self: self.history.sessions)
    @rule(data=st.data(), twice=st.booleans())
    def delete(self, data: st.DataObject, twice: bool) -> None:
        """A session and all below it go, the deepest first; a straggler follows."""
        session_id, _ = self.pick(data)
        below = [session_id]
        for each in below:
            below += self.history.children(each)
        for each in below:
            del self.history.sessions[each]
        self.say(*(say.deleted(each) for each in reversed(below)), twice=twice)
        self.say(say.delta(session_id, "msg_late", "prt_late", "late"), say.idle(session_id))

    @rule()
    def lose_connection(self) -> None:
        """Nothing happened meanwhile."""
        self.say(ev.StreamGap(since=self.now), ev.StreamConnected())

    @precondition(lambda self: self.history.sessions)
    @rule(data=st.data())
    def say_again(self, data: st.DataObject) -> None:
        """An old answer is said again, as after a reconnection."""
        told = [
            (session_id, message)
            for session_id, session in self.history.sessions.items()
            for message in session["messages"]
            if message["role"] == "assistant" and message["finish"]
        ]
        if told:
            session_id, message = data.draw(st.sampled_from(told))
            self.say(self.answer(session_id, message, completed=self.now))

    # --- what must hold ---------------------------------------------------------------------------

    @invariant()
    def nothing_raised(self) -> None:
        assert self.line.faults == []

    @invariant()
    def usage_is_what_a_fetch_says(self) -> None:
        for session_id in self.history.sessions:
            usage = self.last["context_usage"].get(session_id)
            said = usage and usage.tokens is not None and (usage.message_id, usage.tokens)
            assert (said or None) == self.history.measured(session_id)

    @invariant()
    def overview_is_what_a_fetch_says(self) -> None:
        for session_id, session in self.history.sessions.items():
            value = self.last["session_overview"].get(session_id)
            if value is None:
                continue
            measured = self.history.measured(session_id)
            todos = session["todos"] or []
            assert value.tokens == (measured[1] if measured else None)
            assert (value.tool_calls, value.used_tokens) == (
                len(session["calls"]),
                sum(session["spent"].values()),
            )
            assert (value.todos, value.todos_closed) == (
                len(todos),
                sum(each in CLOSED for each in todos),
            )
            assert value.parent_id == session["parent"]
            assert (
                value.tasks.total - value.tasks.gone
                <= len(self.history.children(session_id)) + value.tasks.ended
            )

    @invariant()
    def tasks_are_what_a_fetch_says(self) -> None:
        for session_id, session in self.history.sessions.items():
            if not session["parent"]:
                assert session_id not in self.last["task_progress"]
                continue
            value = self.last["task_progress"][session_id]
            assert value.parent_id == session["parent"]
            assert value.depth == self.history.depth(session_id)
            assert (value.tool_calls, value.tokens) == (
                len(session["calls"]),
                sum(session["spent"].values()),
            )

    @invariant()
    def tree_is_what_a_fetch_says(self) -> None:
        tree = self.last["session_tree"]
        assert {each for each, node in tree.items() if not node.gone} == set(self.history.sessions)
        for session_id, session in self.history.sessions.items():
            node = tree[session_id]
            assert (node.parent_id, node.depth) == (session["parent"], self.history.depth(session_id))
            assert list(node.children) == self.history.children(session_id)

    @invariant()
    def todos_are_what_a_fetch_says(self) -> None:
        for session_id, session in self.history.sessions.items():
            value = self.last.get("todo_progress", {}).get(session_id)
            if value is not None:
                left = sum(each not in CLOSED for each in session["todos"])
                assert (value.total, value.incomplete) == (len(session["todos"]), left)

    @invariant()
    def calls_are_settled_as_a_fetch_says(self) -> None:
        """Each ended call's last word is its own, and it is counted once."""
        for session_id, session in self.history.sessions.items():
            for call, status in session["calls"].items():
                said = self.settled.get((session_id, call), [])
                if status in OVER and "tool_calls" in ops.__all__:
                    assert said[-1].outcome == {"completed": "completed", "error": "failed"}[status]
                    assert sum(each.corrects is None for each in said) == 1


TestSessions = Sessions.TestCase
TestSessions.settings = SETTINGS
