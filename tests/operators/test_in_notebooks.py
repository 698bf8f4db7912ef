"""How derived values show themselves in a notebook."""

from typing import Any
from xml.etree import ElementTree

import pytest
from every_operator import make_operator, operator_names

import operators as ops
from streams import ContextLimits
from streams.testing import assistant, busy, created, outputs, text, todos, tool

EVIL = '<img src="x">&'

EVENTS = [
    created("a", title=EVIL),
    created("b", "a", title=EVIL),
    busy("b"),
    tool("b", "c1", EVIL, "running", input={"command": EVIL}),
    todos("b", "completed", "pending"),
    assistant("b", "m1", input=150_000, model=f"anthropic/{EVIL}"),
    text("b", "m1", "p1", EVIL),
]


def shown(name: str) -> list[str]:
    values: list[Any] = outputs(make_operator(name), EVENTS, until=60)
    return [value._repr_html_() for value in values if hasattr(value, "_repr_html_")]


def parsed(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(html)  # noqa: S314


SHOWN = [name for name in operator_names() if shown(name)]


def test_some_values_show_themselves() -> None:
    """The ones that a person looks at."""
    assert {"context_usage", "session_overview", "task_progress"} <= set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_what_an_agent_said_is_no_html(name: str) -> None:
    """Titles and tools are shown as they are: whatever stands in them, nothing of it becomes an element."""
    for html in shown(name):
        root = parsed(html)
        assert [each.tag for each in root.iter() if each.tag == "img"] == []
        assert root.tag == "div"


@pytest.mark.parametrize(
    ("name",             "words"),
    [
        ("context_usage",    ("b", "150_000/unknown")),
        ("session_overview", (EVIL, "running", "todos 1/2", "1 calls")),
        ("task_progress",    (EVIL, "running", "1 calls, last")),
    ],
)  # fmt: skip
def test_what_they_show(name: str, words: tuple[str, ...]) -> None:
    """Who it is, what it does, and how much."""
    shown_last = "".join(parsed(shown(name)[-1]).itertext())
    for each in words:
        assert each in shown_last


def test_a_reading_shows_a_bar_where_it_is_known() -> None:
    """U10: how full, in per cent and as a bar; of an unknown limit neither."""
    limits = ContextLimits({"anthropic/x": 200_000})
    (known,) = outputs(ops.context_usage(limits), [assistant("s", "m1", input=150_000)])
    bar = '<progress max="100" value="75.0"></progress> 75.0 %'
    assert known._repr_html_() == f"<div><code>s</code> {bar} 150_000/200_000</div>"
    (unknown,) = outputs(ops.context_usage(ContextLimits()), [assistant("s", "m1", input=150_000)])
    assert unknown._repr_html_() == "<div><code>s</code>  150_000/unknown</div>"


def test_a_task_in_full() -> None:
    """Its name, what it does, its calls, and how far its siblings are."""
    pending, named = [
        each._repr_html_()
        for each in outputs(ops.task_progress(), [created("b", "a"), tool("b", "c1", "bash", "running")])
    ]
    bar = '<progress max="1" value="0"></progress>'
    assert pending == f"<div><b>b</b> pending: 0 calls {bar}</div>"
    assert named == f"<div><b>b</b> running: 1 calls, last <code>bash</code> {bar}</div>"
    (titled,) = outputs(ops.task_progress(), [created("b", "a", title="Fix it")])
    assert titled._repr_html_() == f"<div><b>Fix it</b> pending: 0 calls {bar}</div>"


def test_an_overview_in_full() -> None:
    """Only what is known of it is shown."""
    limits = ContextLimits({"anthropic/x": 200_000})
    events = [
        busy("s"),
        (5, assistant("s", "m1", input=150_000)),
        (9, todos("s", "completed", "pending")),
    ]
    shown_values = [
        each._repr_html_() for each in outputs(ops.session_overview(limits), events, until=20)
    ]
    assert shown_values == [
        "<div><b>s</b> running: 0 calls</div>",
        "<div><b>s</b> running: 75.0 % full, 0 calls</div>",
        "<div><b>s</b> running: 75.0 % full, todos 1/2, 0 calls</div>",
    ]
