"""The contract, on every operator: one is covered from the moment it stands in ``operators.__all__``."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, get_type_hints

import operator_contract as contract
import pytest
import reactivex as rx
from every_operator import ARGUMENTS, exported_functions, make_operator, operator_names
from session_script import dated, script

import operators as ops
from streams import ContextLimits, testing
from streams.events import SessionEvent
from streams.schedulers import Replay

SHARED = {"compact": "its subscribers share one run, so that nothing is compacted twice"}
"""Whose subscriptions are not independent of each other, and why."""

OPERATORS: dict[str, Callable[[], Any]] = {
    name: partial(make_operator, name) for name in operator_names()
}
each_operator = pytest.mark.parametrize("name", OPERATORS)


def limits() -> ContextLimits:
    return ContextLimits({"anthropic/x": 200_000})


BUSY_AT_THE_END = {"compact": lambda: ops.compact(lambda trigger: rx.never(), limits())}
"""What has something pending only with other arguments."""


def test_every_exported_function_is_under_contract() -> None:
    """A function that ``operators`` exports makes an operator, and says so by its return annotation."""
    assert set(exported_functions()) == set(OPERATORS)


@each_operator
def test_every_operator_can_be_made(name: str) -> None:
    """A new operator's parameter without a default needs a value; the failure says where to put it."""
    make_operator(name)


def test_the_script_has_every_builder_in_it() -> None:
    """A new builder of ``streams.testing`` comes into the script, and so before every operator."""
    kinds = {type(event) for _, event in script()}
    for name in testing.__all__:
        builder = getattr(testing, name)
        kind = get_type_hints(builder).get("return") if inspect.isfunction(builder) else None
        if inspect.isclass(kind) and issubclass(kind, SessionEvent):
            assert kind in kinds, (
                f"the script has no {name}(…): add one in tests/support/session_script.py"
            )


def test_an_operator_that_cannot_be_made_says_what_to_add(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the operator, the parameter and the table."""
    monkeypatch.delitem(ARGUMENTS, "limits")
    with pytest.raises(LookupError, match=r"context_usage\(\) needs limits=: .* ARGUMENTS in tests/"):
        make_operator("context_usage")


@each_operator
@pytest.mark.parametrize("rule", contract.RULES)
def test_contract(name: str, rule: str) -> None:
    """E3, E5, E6, R2, S12, T4, X1, X4, X5, X6, X7, X8, X12: see each rule in ``operator_contract.py``."""
    if name in SHARED and rule == "runs_have_no_state_in_common":
        pytest.skip(SHARED[name])
    contract.RULES[rule](OPERATORS[name])


@each_operator
def test_a_scheduler_given_is_the_clock(name: str) -> None:
    """X8: it says by a clock of its own what it says by the stream's, which stands still; and hands it on."""
    expected = contract.played(make_operator(name), script(), until=contract.LONG).values
    line, given = testing.Timeline(), Replay()
    stream = line.hub.pipe(make_operator(name, scheduler=given))
    seen: list[Any] = []
    stream.subscribe(seen.append)
    for at, event in script():
        given.advance_to(at)
        line.hub.on_next(dated(event, at))
    given.advance_to(contract.LONG)
    assert seen == expected
    assert stream.scheduler is given  # type: ignore[attr-defined]


@each_operator
def test_subscriptions_share_nothing(name: str) -> None:
    """X12: two subscriptions to one pipeline say the same; one that comes late, or leaves, changes nothing."""
    contract.subscriptions_share_nothing(OPERATORS[name], shared=name in SHARED)


@each_operator
def test_the_docstring_is_right_about_the_end(name: str) -> None:
    """T4: values are added at completion and error if, and only if, the docstring says so."""
    docstring = inspect.getdoc(exported_functions()[name]) or ""
    contract.keeps_its_word_at_the_end(BUSY_AT_THE_END.get(name, OPERATORS[name]), docstring)


def test_the_kernel_loses_nothing_at_the_end() -> None:
    """T4, X5: the counts of all events come out, whether told by a timer, a deletion or the end."""
    contract.counts_every_event(OPERATORS["per_session"])


@each_operator
def test_a_recording_keeps_the_grammar(name: str, recording_of: Any) -> None:
    """X4, T4: a real server's events, ended by completion and by error: one end, equal values."""
    contract.plays_a_recording(OPERATORS[name], timed(recording_of("subagents")))


def timed(recorded: Any) -> list[tuple[float, SessionEvent]]:
    """A recording from 0 on; its times are made monotonic, as a clock's are."""
    played, at = [], 0.0
    events = recorded.events()
    for event in events:
        at = max(at, event.at - events[0].at)
        played.append((at, event))
    return played
