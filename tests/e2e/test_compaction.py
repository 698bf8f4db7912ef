"""Compaction by us, against opencode itself: the window fills, ``compact`` acts, the next sample is lower."""

from collections.abc import Callable
from itertools import groupby
from typing import Any

import pytest
from chaos_proxy import ChaosProxy
from scripted_model import Answer, Call, Gate, ScriptedModel

import operators as ops
import streams
from operators import CompactionOutcome, ContextUsage
from streams import ContextLimits
from streams import events as ev
from streams.watch.live import Compacting

LIMIT = 20_000
SMALL = {"name": "kestrel-small"}


def step(number: int, tokens: int, gate: Gate | None = None) -> Answer:
    """A step with a tool call, whose prompt had so many tokens."""
    call = Call("bash", {"command": f"echo {number}", "description": "say it"})
    return Answer(f"Step {number}.", [call], input=tokens, gate=gate)


@pytest.fixture
def asked_of(drive: Any) -> Any:
    """A counting proxy before the server, and whatever is derived through it."""
    proxy = ChaosProxy(drive.server.port)
    yield proxy
    proxy.close()


def requests_for(proxy: ChaosProxy, ending: str) -> int:
    return sum(path.endswith(ending) for path in proxy.asked)


def compacting(proxy: ChaosProxy) -> tuple[Any, list[ContextUsage], list[CompactionOutcome]]:
    """Usage and outcomes, as ``watch --compact`` derives them."""
    events = streams.opencode.connect(proxy.url)
    limits = ContextLimits({"acme/kestrel-small": LIMIT})
    action = Compacting(streams.opencode.Client(proxy.url))
    hub = streams.EventHub(events)
    action.follow(hub)
    usages: list[ContextUsage] = []
    outcomes: list[CompactionOutcome] = []
    hub.pipe(ops.context_usage(limits)).subscribe(usages.append)
    hub.pipe(ops.compact(action, limits)).subscribe(outcomes.append)
    hub.connect()
    return events, usages, outcomes


def test_a_window_that_fills_amid_a_turn(
    drive: Any, asked_of: ChaosProxy, model: ScriptedModel, until: Callable[..., None]
) -> None:
    """C6, C12: compacted between two steps; the turn goes on by itself, and the next sample is lower."""
    events, usages, outcomes = compacting(asked_of)
    gate = Gate()  # the turn may come to the step after the last before the summary is asked for
    steps = [step(n, tokens) for n, tokens in enumerate((9_000, 12_000, 16_500))]
    mark = model.plan("fills", *steps, step(3, 16_500, gate), Answer("Not compacted.", input=16_500))
    model.plan("", Answer("It goes on, with room to work.", input=4_000))
    session_id = drive.new_session()
    drive.prompt(session_id, f"Work {mark}", **SMALL)
    drive.fold.wait_for(lambda fold: fold.parts(session_id, "compaction"))
    gate.open()
    until(lambda: any(outcome.state == "effective" for outcome in outcomes))
    assert [outcome.state for outcome in outcomes] == ["succeeded", "effective"]
    before, after = outcomes[-1].before, outcomes[-1].after
    assert (before, after) == (16_500, 4_000)
    measured = [tokens for tokens, _ in groupby(usage.tokens for usage in usages)]
    assert measured == [9_000, 12_000, 16_500, None, 4_000]
    assert drive.fold.count(ev.SessionCompacted) == 1
    summaries = [request for request in model.requests if request.kind == "summary"]
    assert len(summaries) == 1
    assert requests_for(asked_of, "/summarize") == 1
    assert requests_for(asked_of, "/message") == 0
    drive.assert_equal_to_fresh()
    events.close()


def test_a_window_that_is_full_at_the_end_of_a_turn(
    drive: Any, asked_of: ChaosProxy, model: ScriptedModel, until: Callable[..., None]
) -> None:
    """A session whose last answer was final is compacted and left in peace; its next turn is lower."""
    events, usages, outcomes = compacting(asked_of)
    mark = model.plan("full", step(0, 9_000), Answer("Done.", input=16_000), Answer("More.", input=3_000))
    model.plan("", Answer("Nobody asked for this.", input=1))
    session_id = drive.new_session()
    drive.turn(session_id, f"Work {mark}", **SMALL)
    until(lambda: [outcome.state for outcome in outcomes] == ["succeeded"])
    drive.fold.wait_for(lambda fold: fold.count(ev.SessionCompacted))
    drive.fold.wait_for_idle(session_id)
    turns = [request for request in model.requests if request.kind == "turn"]
    assert len(turns) == 2
    drive.turn(session_id, f"And more {mark}", **SMALL)
    until(lambda: any(outcome.state == "effective" for outcome in outcomes))
    assert [usage.tokens for usage in usages] == [9_000, 16_000, None, 3_000]
    assert requests_for(asked_of, "/summarize") == 1
    events.close()
