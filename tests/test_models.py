"""Random histories of sessions, through every operator and through a reference that remembers all.

The reference keeps the whole history as plain dicts, as a fetch of the messages would return it, and
computes every answer anew at each step; it shares nothing with the operators. Histories are legal:
what they do is what a server has been recorded to do: turns, calls, compactions, undone turns, deletions,
gaps, silence, what comes twice and what comes late. ``MODELS=long`` tries many more of them. What was found
here is kept as an example where the operator's other tests are.
"""

import inspect
import os
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, Phase, settings
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
REPEATS, MANY = 3, 5
STALE = 100.0
CLOSED = ("completed", "cancelled", "blocked", "deleted")
OVER = ("completed", "error")

LONG = os.environ.get("MODELS") == "long"
SETTINGS = settings(
    max_examples=2_000 if LONG else 60,
    stateful_step_count=80 if LONG else 50,
    deadline=None,
    derandomize=not LONG,
    phases=tuple(Phase) if LONG else (Phase.explicit, Phase.generate),  # to shrink takes minutes
    database=None,
    suppress_health_check=list(HealthCheck),
)


OPERATORS = [
    name
    for name in ops.__all__
    if inspect.isfunction(getattr(ops, name)) and name not in ("expire_after", "per_session")
]
ELSEWHERE = {"compaction_triggers", "continuations", "stalls", "tool_calls"}
"""What is looked at as it comes, not kept."""


# --- the reference --------------------------------------------------------------------------------


class History:
    """All that has happened, as a fetch would tell it, and what follows from it."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, Any]] = {}

    def add(self, session_id: str, parent_id: str) -> None:
        self.sessions[session_id] = {
            "parent": parent_id, "messages": [], "spent": {}, "calls": {}, "todos": None, "revert": "",
            "asked": set(), "open": set(), "resting": False, "unsure": False, "late": False,
            "log": [],
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

    def full(self, session_id: str) -> list[str]:
        """The measurement that fills the window: an answer that measured nothing leaves it so."""
        measured = self.measured(session_id)
        return [measured[0]] if measured and measured[1] >= THRESHOLD * LIMIT else []

    def attempts(self, session_id: str) -> list[str]:
        """What ``compact`` has to say when its action works at once and nothing holds it back."""
        before, said = 0, list[str]()
        for _, what, tokens in self.sessions[session_id]["log"]:
            if what != "measured":
                continue
            full = tokens >= THRESHOLD * LIMIT
            if before:
                said.append("ineffective" if full or before - tokens < 0.1 * before else "effective")
            before = tokens if full else 0
            said += ["succeeded"] * full
        return said

    def recoveries(self, session_id: str) -> list[float]:
        """When three answers without a word in a row have followed a compaction."""
        found, silent, watching = list[float](), 0, False
        for at, what, detail in self.sessions[session_id]["log"]:
            if what == "compacted" and len(found) < 3 and not (found and at <= found[-1] + 5):
                silent, watching = 0, True
            elif what == "gap" or (what == "answered" and detail):
                silent = 0
            elif what == "answered" and watching:
                silent += 1
            if silent == 3:
                found.append(at)
                silent, watching = 0, False
        return found

    def loops(self, session_id: str) -> tuple[int, int]:
        """Loops of ``REPEATS`` equal calls without another result, and multiples of ``MANY`` calls."""
        log = [(what, detail) for _, what, detail in self.sessions[session_id]["log"]]
        found = 0
        for place, (what, _) in enumerate(log):
            if what != "signed":
                continue
            known = dict(reversed([detail for each, detail in log[:place] if each == "result"]))
            signed = [detail for each, detail in log[: place + 1] if each == "signed"]
            length = 1
            for (earlier, one), (later, other) in reversed(list(pairwise(signed))):
                results = known.get(earlier), known.get(later)
                if one != other or (None not in results and results[0] != results[1]):
                    break
                length += 1
            found += length % REPEATS == 0
        return found, len(self.sessions[session_id]["calls"]) // MANY

    def transcript(self, session_id: str) -> list[tuple[str, str]]:
        """Every message, text and call there is, by its name and what it says now."""
        session = self.sessions[session_id]
        messages = [each for each in session["messages"] if not each.get("unheard")]
        texts = [(f"prt_{each['id']}", each["text"]) for each in messages if each.get("text") is not None]
        calls = [(f"prt_{call}", status) for call, status in session["calls"].items()]
        return sorted([*((each["id"], each["finish"]) for each in messages), *texts, *calls])

    def works(self, session_id: str) -> bool:
        """Whether a session, or one below it, is known to be at work: a gap may have hidden its end."""
        session, below = self.sessions[session_id], self.children(session_id)
        return not (session["resting"] or session["unsure"]) or any(map(self.works, below))

    def waits(self, session_id: str) -> bool:
        """Whether a human is asked by a session, or by one below it."""
        below = self.children(session_id)
        return bool(self.sessions[session_id]["open"]) or any(map(self.waits, below))

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
        self.tried: list[str] = []
        self.said: dict[str, dict[str, list[Any]]] = {}
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
        self.line.hub.pipe(ops.tool_calls()).subscribe(self.settle)
        self.collect("context_warnings", LIMITS, threshold=THRESHOLD)
        self.collect("compact", self.act, LIMITS, threshold=THRESHOLD, cooldown=0, breaker=1_000)
        self.collect("compaction_health")
        self.collect("tool_loops", repeats=REPEATS, max_calls=MANY, cycles=1)
        self.line.hub.pipe(ops.continuations(settle=0.1, countdown=0.2)).subscribe(self.go_on)
        self.line.hub.pipe(ops.stalls(stale=STALE, tool_stale=STALE)).subscribe(self.stalled)
        assert set(self.said) | set(self.last) | ELSEWHERE >= set(OPERATORS)

    def watch(self, name: str, *arguments: Any, **options: Any) -> None:
        """Keep an operator's last value per session."""
        last = self.last[name] = {}
        operator = getattr(ops, name)(*arguments, **options)
        self.line.hub.pipe(operator).subscribe(lambda each: last.__setitem__(each.session_id, each))

    def collect(self, name: str, *arguments: Any, **options: Any) -> None:
        """Keep all that an operator says, per session."""
        said = self.said[name] = {}
        operator = getattr(ops, name)(*arguments, **options)
        self.line.hub.pipe(operator).subscribe(
            lambda each: said.setdefault(each.session_id, []).append(each)
        )

    def act(self, trigger: ops.CompactionTrigger) -> bool:
        self.tried.append(trigger.session_id)
        return True

    def go_on(self, value: ops.Continuation) -> None:
        """Nobody is told to go on who works, waits, or has nothing to do."""
        session = self.history.sessions[value.session_id]
        left = [each for each in session["todos"] or [] if each not in CLOSED]
        assert [each.status for each in value.todos] == left != []
        if value.ready:
            assert not self.history.works(value.session_id)
            assert not session["asked"]

    def stalled(self, report: ops.StallReport) -> None:
        """Only who may be at work and waits for nobody, and for as long as nothing was heard of it."""
        session_id = report.session_id
        session = self.history.sessions[session_id]
        assert not session["resting"] or session["late"]
        assert not self.history.waits(session_id)
        assert STALE <= report.age <= self.line.scheduler.seconds()

    def settle(self, call: Any) -> None:
        self.settled.setdefault((call.session_id, call.call_id), []).append(call)

    # --- saying -----------------------------------------------------------------------------------

    def log(self, session_id: str, what: str, detail: Any = None) -> None:
        """Note what the next ``say`` will tell."""
        self.history.sessions[session_id]["log"].append((self.now + 1, what, detail))

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

    def goes_on(self, session_id: str) -> None:
        """It works. One that has said it is idle says so first, as opencode's always do."""
        if self.history.sessions[session_id]["resting"]:
            self.say(say.busy(session_id))
        self.history.sessions[session_id]["resting"] = False

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
        message["text"] = "do it"
        session["resting"] = False
        session["asked"].clear()  # a human's words are an answer
        events = [
            *(say.removed(session_id, each) for each in removed),
            say.updated(session_id, parent_id=session["parent"]),
            say.user(session_id, message["id"], created=message["created"]),
            say.text(session_id, message["id"], f"prt_{message['id']}", "do it"),
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
        self.goes_on(session_id)
        message = self.begin(session, "assistant")
        started = self.answer(session_id, message, tokens=False)
        part = f"prt_{message['id']}"
        self.say(started, say.text(session_id, message["id"], part, ""), twice=twice)
        message["text"] = "word"
        self.say(say.delta(session_id, message["id"], part, "word"))
        message["text"] = "word and word"
        self.say(say.text(session_id, message["id"], part, "word and word"), twice=twice)
        self.finish(session_id, message, tokens, spoken=True)
        self.say(self.answer(session_id, message), twice=twice)
        assert [each.message_id for each in self.triggered] == self.history.full(session_id)
        self.say(self.answer(session_id, message, completed=self.now), twice=twice)

    def finish(self, session_id: str, message: dict[str, Any], tokens: int, *, spoken: bool) -> None:
        """An answer is about to end."""
        message["finish"], message["tokens"] = "stop", tokens
        self.history.sessions[session_id]["spent"][message["id"]] = tokens
        if not tokens:
            message["role"] = "nothing"
        else:
            self.log(session_id, "measured", tokens)
        self.log(session_id, "answered", spoken)

    @precondition(lambda self: self.history.sessions)
    @rule(data=st.data(), number=st.integers(1, 4), twice=st.booleans())
    def answer_without_a_word(self, data: st.DataObject, number: int, twice: bool) -> None:
        """Answers that only begin and end their steps."""
        session_id, session = self.pick(data)
        if session["revert"]:
            return
        self.goes_on(session_id)
        for _ in range(number):
            message = self.begin(session, "assistant")
            start, end = (
                say.step_start(session_id, message["id"]),
                say.step_finish(session_id, message["id"]),
            )
            message["steps"] = True
            self.say(self.answer(session_id, message, tokens=False), start, end, twice=twice)
            self.finish(session_id, message, 1, spoken=False)
            self.say(self.answer(session_id, message, completed=self.now + 1), twice=twice)

    @precondition(lambda self: self.history.sessions)
    @rule(data=st.data(), tokens=st.sampled_from([1, 99_999, 250_000]), late=st.sampled_from([1, 99_999]), twice=st.booleans())  # fmt: skip
    def answers_out_of_order(self, data: st.DataObject, tokens: int, late: int, twice: bool) -> None:
        """Two answers, of which the older one is heard to end last: the newer one counts."""
        session_id, session = self.pick(data)
        if session["revert"]:
            return
        self.goes_on(session_id)
        older = self.begin(session, "assistant")
        newer = self.begin(session, "assistant")
        newer["created"] += 0.25
        for each in (older, newer):
            each["text"] = "word"
        texts = [say.text(session_id, each["id"], f"prt_{each['id']}", "word") for each in (older, newer)]
        self.say(*(self.answer(session_id, each, tokens=False) for each in (older, newer)), *texts)
        self.finish(session_id, newer, tokens, spoken=True)
        self.say(self.answer(session_id, newer), twice=twice)
        assert [each.message_id for each in self.triggered] == self.history.full(session_id)
        older["finish"], older["tokens"], session["spent"][older["id"]] = "stop", late, late
        self.say(self.answer(session_id, older), twice=twice)
        assert {each.message_id for each in self.triggered} <= {newer["id"]}

    @precondition(lambda self: self.history.sessions)
    @rule(data=st.data(), twice=st.booleans(), announced=st.booleans(), instant=st.booleans())
    def compact(self, data: st.DataObject, twice: bool, announced: bool, instant: bool) -> None:
        """A summary, and mostly the word of it: a reader who was away does not hear it. An answer that was
        asked for before, or at that very instant, ends after it and measures what is no more."""
        session_id, session = self.pick(data)
        if session["revert"]:
            return
        self.goes_on(session_id)
        overtaken = self.begin(session, "assistant")
        message = self.begin(session, "assistant", summary=True)
        overtaken["created"] -= 0.0 if instant else 0.5
        self.say(
            self.answer(session_id, overtaken, tokens=False),
            self.answer(session_id, message, tokens=False),
            twice=twice,
        )
        message["finish"], message["tokens"] = "stop", 150_000
        session["spent"][message["id"]] = 150_000
        self.say(self.answer(session_id, message), twice=twice)
        if announced:
            self.log(session_id, "compacted")
            self.say(say.compacted(session_id), twice=twice)
        self.log(session_id, "answered", True)  # nobody heard a part of it, so it may have said something
        overtaken["finish"], overtaken["tokens"] = "stop", 180_000
        session["spent"][overtaken["id"]] = 180_000
        self.say(self.answer(session_id, overtaken), twice=twice)
        assert not self.triggered

    @precondition(lambda self: self.history.sessions)
    @rule(data=st.data(), status=st.sampled_from(["pending", "running", "completed", "error"]), new=st.booleans(), command=st.sampled_from(["ls", "ls", "make"]), result=st.sampled_from(["", "", "done"]), twice=st.booleans())  # fmt: skip
    def call(
        self, data: st.DataObject, status: str, new: bool, command: str, result: str, twice: bool
    ) -> None:
        """A new call, or the next state of one that is open."""
        session_id, session = self.pick(data)
        calls = session["calls"]
        still_open = sorted(each for each, state in calls.items() if state not in OVER)
        call = self.new("call") if new or not still_open else data.draw(st.sampled_from(still_open))
        if calls.get(call) == "running" and status == "pending":
            return
        self.goes_on(session_id)
        commands = session.setdefault("commands", {})
        if status != "pending" and calls.get(call, "pending") == "pending":
            self.log(session_id, "signed", (call, command))
        command = commands.setdefault(call, command) if status != "pending" else command
        calls[call] = status
        output = {"completed": {"output": result}, "error": {"error": result or "failed"}}.get(status, {})
        if status in OVER:
            self.log(
                session_id, "result", (call, result if status == "completed" else result or "failed")
            )
        part = say.tool(
            session_id, call, "bash", status, input={"command": command}, message_id="msg_99999", **output
        )
        self.say(part, twice=twice)

    @precondition(lambda self: self.history.sessions)
    @rule(data=st.data(), status=st.sampled_from(["pending", "running"]))
    def call_told_late(self, data: st.DataObject, status: str) -> None:
        """A state of a call that its end has overtaken: old news."""
        session_id, session = self.pick(data)
        ended = sorted(each for each, state in session["calls"].items() if state in OVER)
        if ended and session["resting"]:
            call = data.draw(st.sampled_from(ended))
            command = {"command": session["commands"][call]}
            session["late"] = True  # of an event without an id nobody knows that it is old
            self.say(say.tool(session_id, call, "bash", status, input=command, message_id="msg_99999"))

    @precondition(lambda self: self.history.sessions)
    @rule(data=st.data(), statuses=st.lists(st.sampled_from(["pending", "in_progress", *CLOSED, "odd"])), twice=st.booleans())  # fmt: skip
    def plan(self, data: st.DataObject, statuses: list[str], twice: bool) -> None:
        session_id, session = self.pick(data)
        session["todos"] = statuses
        self.say(say.todos(session_id, *statuses), twice=twice)

    @precondition(lambda self: self.history.sessions)
    @rule(data=st.data(), replied=st.booleans(), twice=st.booleans())
    def ask(self, data: st.DataObject, replied: bool, twice: bool) -> None:
        session_id, session = self.pick(data)
        request = self.new("per")
        session["asked"].add(request)
        session["open"].add(request)
        self.say(say.permission(session_id, request), twice=twice)
        if replied:
            session["asked"].discard(request)
            session["open"].discard(request)
            self.say(say.permission_reply(session_id, request), twice=twice)

    @precondition(lambda self: self.history.sessions)
    @rule(data=st.data(), twice=st.booleans())
    def rest(self, data: st.DataObject, twice: bool) -> None:
        session_id, session = self.pick(data)
        session["resting"], session["unsure"], session["late"] = True, False, False
        session["open"].clear()  # an aborted turn drops its requests without a word
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

    @rule(seconds=st.sampled_from([50.0, 150.0, 450.0]))
    def wait(self, seconds: float) -> None:
        """Nothing is said for a while."""
        self.now += seconds
        self.line.advance_to(self.now)

    @rule()
    def lose_connection(self) -> None:
        """Nothing happened meanwhile."""
        for session_id in self.history.sessions:
            self.log(session_id, "gap")
            self.history.sessions[session_id]["open"].clear()
            self.history.sessions[session_id]["unsure"] = True
        self.say(ev.StreamGap(since=self.now), ev.StreamConnected())

    @precondition(lambda self: self.history.sessions)
    @rule(data=st.data())
    def say_again(self, data: st.DataObject) -> None:
        """An old answer is said again, and an old list, as after a reconnection."""
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
    def crossings_are_warned_of_once(self) -> None:
        """A warning each time that what is measured rises above the threshold, from below or from nothing."""
        for session_id, session in self.history.sessions.items():
            measured = self.history.measured(session_id)
            above = measured is not None and measured[1] >= THRESHOLD * LIMIT
            session["crossings"] = session.get("crossings", 0) + (above and not session.get("above"))
            session["above"] = above
            assert len(self.said["context_warnings"].get(session_id, [])) == session["crossings"]

    @invariant()
    def compactions_are_what_the_measurements_ask_for(self) -> None:
        for session_id in self.history.sessions:
            outcomes = [each.state for each in self.said["compact"].get(session_id, [])]
            assert outcomes == self.history.attempts(session_id)
            assert self.tried.count(session_id) == outcomes.count("succeeded")

    @invariant()
    def silence_is_counted_from_the_compaction(self) -> None:
        for session_id in self.history.sessions:
            found = [each.at for each in self.said["compaction_health"].get(session_id, [])]
            assert found == self.history.recoveries(session_id)

    @invariant()
    def loops_are_what_the_calls_say(self) -> None:
        for session_id in self.history.sessions:
            kinds = [each.kind for each in self.said["tool_loops"].get(session_id, [])]
            assert (kinds.count("repeat"), kinds.count("calls")) == self.history.loops(session_id)

    @invariant()
    def transcript_is_what_a_fetch_says(self) -> None:
        for session_id in self.history.sessions:
            snapshot = self.last["transcript_snapshots"].get(session_id)
            whole = (
                [each for each in snapshot.whole if each.kind in ("message", "text", "tool")]
                if snapshot
                else []
            )
            told = sorted(map(_shown, whole))
            assert told == self.history.transcript(session_id)

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
                if status in OVER:
                    assert said[-1].outcome == {"completed": "completed", "error": "failed"}[status]
                    assert sum(each.corrects is None for each in said) == 1


def _shown(entry: ops.TranscriptEntry) -> tuple[str, str]:
    """An entry by its name, and what it says."""
    if entry.kind == "text":
        return entry.id, entry.text
    return entry.id, entry.status or (entry.message.finish if entry.message else "")


TestSessions = Sessions.TestCase
TestSessions.settings = SETTINGS
