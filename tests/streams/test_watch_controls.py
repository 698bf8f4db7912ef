"""What the keys do, without a terminal: a value, a key, a value."""

from functools import reduce

import pytest

from streams.watch.controls import Controls, press
from streams.watch.hints import heading, hint

SESSIONS = ("a", "b", "c")
KEYS = ["q", " ", "?", "s", "/", "x", "j", "k", "up", "down", "page up", "page down", "home", "end"]
KEYS += ["enter", "escape", "backspace", "~", "ü"]


def after(*keys: str, sessions: tuple[str, ...] = SESSIONS) -> Controls:
    return reduce(lambda controls, key: press(controls, key, sessions), keys, Controls())


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        (["q"], Controls(quit=True)),
        ([" "], Controls(paused=True)),
        ([" ", " "], Controls()),
        (["?"], Controls(help=True)),
        (["?", "?"], Controls()),
        (["s"], Controls(sort="fullest")),
        (["s", "s"], Controls(sort="tools")),
        (["s", "s", "s"], Controls(sort="title")),
        (["s", "s", "s", "s"], Controls()),
        (["/"], Controls(typing=True)),
        (["/", "q", " "], Controls(typing=True, filter="q ")),
        (["/", "q", "s", "backspace", "enter"], Controls(filter="q")),
        (["/", "q", "escape"], Controls()),
        (["/", "up", "ü"], Controls(typing=True, filter="ü")),
        (["/", "backspace"], Controls(typing=True)),
        (["/", "q", "enter", "escape"], Controls()),
        (["down"], Controls(selected="a")),
        (["up"], Controls(selected="a")),
        (["down", "down", "down", "down"], Controls(selected="c")),
        (["j", "j", "j", "k"], Controls(selected="b")),
        (["down", "page down"], Controls(selected="c")),
        (["end", "page up"], Controls(selected="a")),
        (["end"], Controls(selected="c")),
        (["end", "home"], Controls(selected="a")),
        (["down", "escape"], Controls()),
        (["enter"], Controls()),
        (["down", "enter"], Controls(selected="a", opened=True)),
        (["down", "enter", "down"], Controls(selected="b", opened=True)),
        (["down", "enter", "s", "/"], Controls(selected="a", opened=True)),
        (["down", "enter", "escape"], Controls(selected="a")),
        (["down", "enter", " ", "escape", "escape"], Controls(paused=True)),
        (["x", "~", "backspace"], Controls()),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_keys(keys: list[str], wanted: Controls) -> None:
    """Every key does one thing; while a filter is typed, letters are letters."""
    assert after(*keys) == wanted


@pytest.mark.parametrize("key", KEYS)
def test_a_key_with_no_session_harms_nothing(key: str) -> None:
    """Nothing is selected, so nothing is opened."""
    controls = after(key, sessions=())
    assert (controls.selected, controls.opened) == ("", False)


def test_a_selected_session_that_has_gone_is_left_for_the_first() -> None:
    """Its row was filtered out or dropped: the next arrow begins at the top, and Enter opens nothing."""
    gone = Controls(selected="x")
    assert press(gone, "down", SESSIONS).selected == "a"
    assert not press(gone, "enter", SESSIONS).opened


@pytest.mark.parametrize(
    "controls",
    [
        Controls(help=True),
        Controls(help=True, opened=True),
        Controls(typing=True, filter="abc"),
        Controls(opened=True),
        Controls(),
        None,
    ],
)
def test_the_hint_fits_80_columns(controls: Controls | None) -> None:
    """One line in the smallest terminal that counts."""
    assert len(hint(controls).plain) < 80


def test_what_is_changed_is_said() -> None:
    """Nothing is hidden by a state that the screen does not tell of."""
    assert heading(Controls(paused=True, sort="tools", filter="ses")) == "PAUSED  by tools  /ses"
    assert heading(Controls()) == heading(None) == ""
