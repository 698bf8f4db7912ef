"""The marble diagrams in the docstrings of the operators are run: one that lies fails.

A block begins with ``Marbles (N s a character)::``. In it, the line ``events`` has what goes in, the
line ``result`` what comes out, and the line between them is the operator. ``a = …`` says what event a
letter stands for, ``x: attribute=value, …`` what is expected of a value; an event's own letter in the
result stands for the event itself. A line that is indented deeper goes on with the one before.
"""

import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from reactivex import Notification

import operators as ops
from streams import ContextLimits, testing
from streams.events import SessionEvent
from streams.testing import Timeline, marbles, play_marbles

SECTIONS = ["Args", "Returns", "Raises", "Memory", "Time", "On completion and error", "Example", "Source"]

SCOPE: dict[str, object] = {
    **{name: getattr(testing, name) for name in testing.__all__},
    **{name: getattr(ops, name) for name in ops.__all__},
    "limits": ContextLimits({"anthropic/x": 200_000}),
    "unlimited": ContextLimits(),
}
"""What a diagram may name."""

PUBLIC = {
    name: getattr(ops, name)
    for name in ops.__all__
    if inspect.isfunction(getattr(ops, name)) and name != "per_session"
}
"""Every operator by name. ``per_session`` is none: it makes one of a logic that the reader writes."""

each_operator = pytest.mark.parametrize("operator", PUBLIC.values(), ids=PUBLIC)


class Diagram(NamedTuple):
    """One block, read."""

    step: float
    events: str
    operator: str
    result: str
    definitions: dict[str, str]
    expectations: dict[str, str]

    def check(self) -> None:
        """Run it, and compare every notification and its time with the line ``result``."""
        events = {letter: evaluate(text) for letter, text in self.definitions.items()}
        expected: dict[str, Any] = events | self.expectations
        assert letters(self.events) == set(events), "every event is defined, every definition used"
        assert set(self.expectations) <= letters(self.result) <= set(expected)
        planned = marbles(self.result, expected, step=self.step)
        happened = play_marbles(self.events, events, evaluate(self.operator), step=self.step)
        assert [shape(*each) for each in happened] == [shape(*each) for each in planned]
        for (at, seen), (_, wanted) in zip(happened, planned, strict=True):
            if seen.kind == "N":
                check_value(at, getattr(seen, "value", None), getattr(wanted, "value", None))


def check_value(at: float, value: object, wanted: str | SessionEvent) -> None:
    """An event is the one that went in; of any other value the named attributes are compared."""
    if not isinstance(wanted, str):
        assert value == played(wanted, at)
        return
    expected = evaluate(f"dict({wanted})")
    assert expected, "an expectation expects something"
    assert {name: getattr(value, name) for name in expected} == expected


def shape(at: float, notification: Notification[Any]) -> tuple[float, str]:
    return round(at, 6), notification.kind


def played(event: SessionEvent, at: float) -> SessionEvent:
    """The event as it is when it has been played at this time."""
    line = Timeline()
    seen = line.watch(lambda events: events)
    line.play((at, event))
    return seen[0][1]


def letters(diagram: str) -> set[str]:
    return set(re.findall(r"\w+", diagram))


def evaluate(text: str) -> Any:
    return eval(text, dict(SCOPE))  # noqa: S307


def diagrams(docstring: str) -> list[Diagram]:
    """Every block of a docstring."""
    lines = inspect.cleandoc(docstring).splitlines()
    starts = [number for number, line in enumerate(lines) if line.strip().startswith("Marbles (")]
    return [read(lines[start].strip(), block_below(lines, start)) for start in starts]


def block_below(lines: list[str], start: int) -> list[str]:
    """The indented lines below a heading, continuations joined to what they continue."""
    block: list[str] = []
    for line in lines[start + 1 :]:
        if line.strip() and not line.startswith("    "):
            break
        if line.startswith("     "):
            block[-1] += " " + line.strip()
        elif line.strip():
            block.append(line[4:].rstrip())
    return block


def read(heading: str, block: list[str]) -> Diagram:
    title = re.fullmatch(r"Marbles \((?P<step>\d+(\.\d+)?) s a character\)::", heading)
    assert title, f"{heading!r} is not 'Marbles (N s a character)::'"
    definitions = dict(re.findall(r"^(\w+) = (.+)$", "\n".join(block[3:]), re.MULTILINE))
    expectations = dict(re.findall(r"^(\w+): (.+)$", "\n".join(block[3:]), re.MULTILINE))
    assert len(block) == 3 + len(definitions) + len(expectations), "a line is neither, or said twice"
    above = re.fullmatch(r"(events +)(\S+)", block[0])
    below = re.fullmatch(r"(result +)(\S+)", block[2])
    assert above, f"{block[0]!r} is not 'events' and a diagram"
    assert below, f"{block[2]!r} is not 'result' and a diagram"
    assert len(above[1]) == len(below[1]), "both diagrams begin in one column"
    return Diagram(float(title["step"]), above[2], block[1], below[2], definitions, expectations)


# --- the operators --------------------------------------------------------------------------------


@each_operator
def test_diagrams_tell_the_truth(operator: Callable[..., Any]) -> None:
    """Every public operator has a diagram, it shows that operator, and running it gives what it shows."""
    found = diagrams(operator.__doc__ or "")
    assert found, f"{operator.__name__} has no 'Marbles (N s a character)::' block"
    for diagram in found:
        assert re.match(rf"(ops\.)?{operator.__name__}\(", diagram.operator)
        diagram.check()


@each_operator
def test_docstrings_have_their_sections_in_order(operator: Callable[..., Any]) -> None:
    """Every public operator is documented in the same order, and begins with one sentence."""
    lines = inspect.cleandoc(operator.__doc__ or "").splitlines()
    sections = re.findall(rf"^({'|'.join(SECTIONS)}):", "\n".join(lines), re.MULTILINE)
    assert sections == SECTIONS
    heading = next(number for number, line in enumerate(lines) if line.startswith("Marbles ("))
    assert heading < lines.index("Args:")
    assert lines[0].endswith(".")


@each_operator
def test_every_argument_is_documented(operator: Callable[..., Any]) -> None:
    """``Args`` names the operator's arguments, all of them, in their order; ``scheduler`` is the last."""
    section = re.search(r"^Args:\n(.*?)\n\n", inspect.cleandoc(operator.__doc__ or ""), re.M | re.S)
    assert section
    documented = re.findall(r"^    \*{0,2}(\w+):", section[1], re.MULTILINE)
    assert documented == list(inspect.signature(operator).parameters)
    assert documented[-1] == "scheduler"


# --- the reading of them --------------------------------------------------------------------------

HONEST = """What a docstring has.

    Marbles (0.5 s a character)::

        events  --a---b-(b,c)-|
        context_usage(limits)
        result  --x---y-------|

        a = assistant("s", "m1",
                      input=100_000)
        b = compacted("s")
        c = heartbeat()
        x: tokens=100_000, at=1.0
        y: tokens=None

    Args:
        none: At all.
    """


def test_an_honest_diagram_passes() -> None:
    """The block ends where the docstring goes on; a definition may take two lines."""
    (diagram,) = diagrams(HONEST)
    assert (diagram.step, diagram.definitions["a"]) == (
        0.5,
        'assistant("s", "m1", input=100_000)',
    )
    diagram.check()


@pytest.mark.parametrize(
    ("truth", "lie"),
    [
        ("result  --x", "result  -x-"),
        ("result  --x---y", "result  --x----"),
        ("result  --x---y-", "result  --x---yx"),
        ("y-------|", "y--------"),
        ("y-------|", "y-------#"),
        ("x: tokens=100_000", "x: tokens=100_001"),
        ("at=1.0", "at=2.0"),
        ("tokens=None", "tokens=0"),
        ("tokens=None", "token=None"),
        ("y: tokens=None", "z: tokens=None"),
        ("(limits)", "(unlimited, accounting='raw')"),
        ("0.5 s", "1 s"),
        ("0.5 s", "half a s"),
        ("events  --", "events --"),
        ("result", "output"),
        ("y: tokens=None", "y tokens=None"),
        ("b = compacted", "b = compaction"),
        ("c = heartbeat()", "c = compacted('s')\n        d = heartbeat()"),
        ("(b,c)", "(b,b)"),
        ("--a---b", "--b---a"),
    ],
)
def test_a_lie_fails(truth: str, lie: str) -> None:
    """Whatever is changed in an honest diagram, it does not pass."""
    assert HONEST.count(truth) == 1
    with pytest.raises((AssertionError, AttributeError, NameError, ValueError)):
        diagrams(HONEST.replace(truth, lie))[0].check()
