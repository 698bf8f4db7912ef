"""What is derived from the events of a recording is what a fetch from the server answered at its end.

The reference reads the fetched messages, as the origin of this project did on every tool call, and is
kept simple on purpose: nothing in it is shared with the operators.
"""

import random
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import pytest

import operators as ops
from operators.compaction_triggers import CompactionTriggersLogic, Pace, Pressure
from operators.context_usage import ContextUsageLogic
from operators.gauge import Gauge
from operators.lift import Core
from operators.per_session import SessionFold
from streams import ContextLimits, recordings
from streams.events import SessionDeleted, SessionEvent
from streams.testing import outputs

_Out = TypeVar("_Out")

Measured = tuple[str, int] | None
"""The message that was measured and its prompt, or None while nothing is known."""

LIMITS = ContextLimits(lambda provider_id, model_id: 200_000)

TWINS = ["basic", "tools", "subagents", "compaction", "permission", "lifecycle", "misc", "nextgen"]
"""Recorded on ``/event`` and ``/global/event`` at once. So was ``restart``, whose one client was away."""


# --- the reference --------------------------------------------------------------------------------


def measured(messages: list[dict[str, Any]], revert: str = "") -> Measured:
    """What a session's fetched messages say: the last finished answer's prompt since a compaction."""
    found: Measured = None
    for info in sorted((message["info"] for message in messages), key=lambda info: info["id"]):
        hidden = revert and info["id"] >= revert
        finished = info.get("finish") or info["time"].get("completed")
        if hidden or info["role"] != "assistant" or not finished:
            continue
        if info.get("summary") is True or info["agent"] == "compaction":
            failed = info.get("error") or info.get("finish") == "error"
            found = found if failed else None
        elif prompt(info["tokens"]) > 0:
            found = info["id"], prompt(info["tokens"])
    return found


def prompt(tokens: dict[str, Any]) -> int:
    return tokens["input"] + tokens["cache"]["read"] + tokens["cache"]["write"]


def fetched(truth: dict[str, Any]) -> dict[str, Measured]:
    """The same of every session.

    ``nextgen`` has a session of the v2 API, which ``GET /session/{id}/message`` answers ``[]`` about:
    its messages are fetched by the v2 API, in a shape of their own, newest first.
    """
    reverts = {info["id"]: (info.get("revert") or {}).get("messageID", "") for info in truth["sessions"]}
    found = {
        session_id: measured(messages, reverts.get(session_id, ""))
        for session_id, messages in truth["messages"].items()
    }
    if "v2" in truth:
        answers = [each for each in truth["v2"]["v2_messages"]["data"] if each["type"] == "assistant"]
        session_id = truth["v2"]["v2_create"]["data"]["id"]
        assert found[session_id] is None
        found[session_id] = answers[0]["id"], prompt(answers[0]["tokens"])
    return found


# --- the pipeline ---------------------------------------------------------------------------------


def replayed(recorded: Any, operator: ops.Operator[_Out]) -> list[_Out]:
    """What the public API makes of a recording in virtual time."""
    seen: list[_Out] = []
    recordings.replay(recorded.path, speed=None).pipe(operator).subscribe(seen.append)
    return seen


def last(usages: Iterable[ops.ContextUsage]) -> dict[str, Measured]:
    """Each session's last reading."""
    return {
        usage.session_id: None if usage.tokens is None else (usage.message_id, usage.tokens)
        for usage in usages
    }


def folded(make_core: Callable[[], Core[object]], events: Iterable[SessionEvent]) -> Core[object]:
    """A fold after these events."""
    core = make_core()
    calls = core.calls()
    for event in events:
        call = next((calls[kind] for kind in type(event).__mro__ if kind in calls), None)
        if call:
            call(event, event.at)
    return core


def timed(events: Iterable[SessionEvent]) -> list[tuple[float, SessionEvent]]:
    return [(event.at, event) for event in events]


def deleted_sessions(events: Iterable[SessionEvent]) -> set[str]:
    return {event.session_id for event in events if isinstance(event, SessionDeleted)}


# --- at the end -----------------------------------------------------------------------------------


def test_usage_is_what_a_fetch_says(recorded_truth: Any) -> None:
    """Of every session the server knows at the end, the last reading is that of the messages fetched.

    It holds of ``restart`` too, whose client missed a turn: the next answer measures anew.
    """
    usages = last(replayed(recorded_truth, ops.context_usage(LIMITS)))
    truth = fetched(recorded_truth.truth)
    assert truth
    assert {session_id: usages.get(session_id) for session_id in truth} == truth


def test_a_v2_session_says_the_same_on_its_own_stream(recording_of: Any) -> None:
    """``/api/event`` was cut ten times, and was steady while the v2 session ran."""
    recorded = recording_of("nextgen.api")
    session_id = recorded.truth["v2"]["v2_create"]["data"]["id"]
    usages = last(replayed(recorded, ops.context_usage(LIMITS)))
    assert usages[session_id] == fetched(recorded.truth)[session_id]


def test_other_sessions_are_gone(recorded_truth: Any, recording_of: Any) -> None:
    """Sessions that the fetch does not know were deleted, and nothing is kept of them.

    One session of ``restart`` was deleted while its client was away: no event says so, and it is for
    ``expire_after`` to say. ``restart.global`` was there, and saw it.
    """
    events = recorded_truth.events()
    all_deleted = deleted_sessions(recording_of("restart.global").events())
    missed = all_deleted if recorded_truth.stem == "restart" else set()
    gauge = Gauge(LIMITS, "exclusive")
    triggers = CompactionTriggersLogic(Pressure(gauge, 0.5, include_pending=True), Pace(0, None))
    for logic in (ContextUsageLogic(gauge), triggers):
        fold = SessionFold[Any, Any](logic, lambda fault: pytest.fail(str(fault)))
        folded(lambda fold=fold: fold, events)
        assert set(fold.states) - set(recorded_truth.truth["messages"]) == missed
        assert not set(fold.states) & deleted_sessions(events)


def test_sessions_were_deleted_in_recordings(recording_of: Any) -> None:
    """What the test above speaks of has happened: at rest, with children, and while running."""
    assert len(deleted_sessions(recording_of("lifecycle").events())) == 4
    assert len(deleted_sessions(recording_of("abort").events())) == 1
    assert len(deleted_sessions(recording_of("restart.global").events())) == 1


# --- on the way -----------------------------------------------------------------------------------


def test_every_measurement_is_said_once_and_in_order(recorded_truth: Any) -> None:
    """Each answer that counts is one reading (U7), none is left out, and no other is made up.

    The client of ``restart`` was away for a turn, so it left out that turn's.
    """
    truth = recorded_truth.truth
    usages = replayed(recorded_truth, ops.context_usage(LIMITS))
    for session_id, messages in truth["messages"].items():
        said = [
            (usage.message_id, usage.tokens)
            for usage in usages
            if usage.session_id == session_id and usage.reason in ("sample", "copied")
        ]
        prefixes = (measured(messages[: n + 1]) for n in range(len(messages)))
        counted = list(dict.fromkeys(each for each in prefixes if each))
        known = {message["info"]["id"] for message in messages}
        assert len(set(said)) == len(said)
        if known:  # a v2 session's are checked at the end
            counted = [each for each in counted if recorded_truth.stem != "restart" or each in said]
            assert [each for each in said if each[0] in known] == counted


def test_messages_said_and_not_fetched_were_removed(recording_of: Any) -> None:
    """Readings of messages that the fetch does not know are of those that were reverted or removed."""
    for stem in ("lifecycle", "lifecycle.global", "compaction", "many"):
        recorded = recording_of(stem)
        truth = recorded.truth["messages"]
        known = {message["info"]["id"] for messages in truth.values() for message in messages}
        gone = {event.message_id for event in recorded.events() if hasattr(event, "message_id")} - known
        usages = replayed(recorded, ops.context_usage(LIMITS))
        unknown = {each.message_id for each in usages if each.session_id in truth and each.message_id}
        assert unknown - known <= gone
        assert bool(unknown - known) == stem.startswith("lifecycle")


def test_after_a_removal_the_reading_falls_back(recording_of: Any) -> None:
    """U9: a pending revert hides answers, taking it back shows them, committing it removes them."""
    recorded = recording_of("lifecycle")
    reverted = recorded.truth["cases"]["reverted"]
    usages = replayed(recorded, ops.context_usage(LIMITS))
    seen = [(usage.reason, usage.message_id) for usage in usages if usage.session_id == reverted]
    undone = [reason for reason, _ in seen].index("reverted")
    (_, shown), (_, hidden) = seen[undone], seen[undone - 1]
    assert shown in [message_id for _, message_id in seen[: undone - 1]]
    assert seen[undone : undone + 3] == [
        ("reverted", shown),
        ("reverted", hidden),
        ("reverted", shown),
    ]
    assert [reason for reason, _ in seen[undone + 3 :]] == ["sample"]


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("stem", ["restart", "restart.global"])
def test_usage_over_restarts(recording_of: Any, stem: str, number: int) -> None:
    """Through SIGTERM, SIGKILL and reconnects the readings are what a fetch said at that time.

    Only after the client's own gap they are not: ``/event`` had lost an answer, until the next one.
    """
    recorded = recording_of(stem)
    resync = recorded.truth["resync"][number]
    events = recorded.events()
    if stem == "restart":
        events = events[: resync["events_seen"]]
    else:
        events = [event for event in events if event.at <= resync["at"]]
    usages = last(outputs(ops.context_usage(LIMITS), timed(events)))
    truth = fetched(resync)
    differ = [session_id for session_id in truth if usages.get(session_id) != truth[session_id]]
    away = stem == "restart" and resync["why"] == "after the client's own gap"
    assert len(differ) == (1 if away else 0)


# --- triggers -------------------------------------------------------------------------------------


def test_triggers_come_where_opencode_compacted(recording_of: Any) -> None:
    """The trigger at opencode's own threshold is the answer after which opencode compacted by itself."""
    recorded = recording_of("compaction")
    ((session_id, messages),) = recorded.truth["messages"].items()
    compacted_after = [
        messages[number - 1]["info"]["id"]
        for number, message in enumerate(messages)
        if [part["type"] for part in message["parts"]] == ["compaction"]
    ]
    assert len(compacted_after) == 2
    limits = ContextLimits(lambda provider_id, model_id: 32_000)
    triggers = replayed(recorded, ops.compaction_triggers(limits, threshold=28_000 / 32_000, cooldown=0))
    assert list(dict.fromkeys(trigger.message_id for trigger in triggers)) == compacted_after
    assert {trigger.session_id for trigger in triggers} == {session_id}


def test_copies_in_a_fork_trigger_nothing(recording_of: Any) -> None:
    """C2: the history that a fork repeats was measured, and warned of, in the session it came from."""
    recorded = recording_of("lifecycle")
    forks = set(recorded.truth["cases"]["forks"])
    usages = replayed(recorded, ops.context_usage(LIMITS))
    copied = {usage.message_id for usage in usages if usage.reason == "copied"}
    assert copied
    assert {usage.session_id for usage in usages if usage.reason == "copied"} <= forks
    triggers = replayed(recorded, ops.compaction_triggers(LIMITS, absolute=1, cooldown=0))
    assert {trigger.message_id for trigger in triggers if trigger.cause == "sample"}.isdisjoint(copied)


# --- the same, however it is played ---------------------------------------------------------------

OPERATORS: dict[str, ops.Operator[Any]] = {
    "context_usage": ops.context_usage(LIMITS),
    "context_warnings": ops.context_warnings(LIMITS, threshold=0.04),
    "compaction_triggers": ops.compaction_triggers(LIMITS, threshold=0.04, include_pending=True),
}

each_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)


@each_operator
def test_two_replays_are_equal(recorded: Any, operator: ops.Operator[Any]) -> None:
    """Virtual time is deterministic: every value and every time is the same again."""
    assert replayed(recorded, operator) == replayed(recorded, operator)


@each_operator
@pytest.mark.parametrize("name", TWINS)
def test_both_envelopes_give_the_same(recording_of: Any, operator: ops.Operator[Any], name: str) -> None:
    """S9: ``/global/event`` wraps and repeats, and says the same of every session."""
    plain, enveloped = (replayed(recording_of(stem), operator) for stem in (name, f"{name}.global"))
    assert timeless(plain) == timeless(enveloped)


def timeless(values: list[Any]) -> dict[str, list[dict[str, object]]]:
    """Values by session, in order, without when they were received."""
    by_session: dict[str, list[dict[str, object]]] = {}
    for value in values:
        fields = {name: getattr(value, name) for name in value.__struct_fields__ if name != "at"}
        by_session.setdefault(value.session_id, []).append(fields)
    return by_session


@each_operator
def test_every_event_twice_is_the_same(recorded: Any, operator: ops.Operator[Any]) -> None:
    """Said twice, nothing is counted twice."""
    events = recorded.events()
    once = outputs(operator, timed(events))
    twice = outputs(operator, timed(event for event in events for _ in range(2)))
    assert twice == once


def test_events_in_disorder_end_the_same(recorded_truth: Any) -> None:
    """Events that overtake a few others change the way and not the end."""
    events = recorded_truth.events()
    expected = last(outputs(ops.context_usage(LIMITS), timed(events)))
    for seed in range(3):
        shuffled = disordered(events, random.Random(seed))
        assert last(outputs(ops.context_usage(LIMITS), timed(shuffled))) == expected


def disordered(events: list[SessionEvent], chance: random.Random) -> list[SessionEvent]:
    """Each event up to four places from its own."""
    places = [number + chance.uniform(-2, 2) for number in range(len(events))]
    return [events[number] for number in sorted(range(len(events)), key=places.__getitem__)]


def test_late_joiners_know_or_say_nothing(recorded_truth: Any) -> None:
    """Whoever joins in the middle ends with the same reading, or with none where none followed."""
    events = recorded_truth.events()
    expected = last(outputs(ops.context_usage(LIMITS), timed(events)))
    for start in range(0, len(events), max(1, len(events) // 8)):
        usages = last(outputs(ops.context_usage(LIMITS), timed(events[start:])))
        assert usages.items() <= expected.items()
