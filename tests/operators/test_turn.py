"""``Turn``: work told from the bookkeeping around it."""

import pytest
from event_ids import numbered
from msgspec.structs import replace

from operators.turn import LATE, Turn, is_over
from streams import events as ev
from streams.testing import busy, text, tool


def made(number: int) -> ev.SessionEvent:
    return numbered(busy("s"), number)


def rested() -> Turn:
    """Idle since 10 s, by event 5."""
    turn = Turn("s", active=True)
    turn.rest(made(5), 10.0)
    return turn


@pytest.mark.parametrize(
    ("number", "now",         "late"),
    [
        (4,     10.0,        True),
        (4,     10.0 + LATE, True),
        (4,     10.1 + LATE, False),
        (5,     10.0,        False),
        (6,     10.0,        False),
    ],
)  # fmt: skip
def test_what_the_idle_overtook_is_late_for_five_seconds(number: int, now: float, late: bool) -> None:
    """S4: made before the idle, and heard within five seconds after it, the fifth among them."""
    assert rested().is_late(made(number), now) is late


def test_nobody_knows_without_an_id_and_nothing_is_late_at_work() -> None:
    """S4: an event without an id may be new; and at work, whatever comes is work."""
    turn = rested()
    assert not turn.is_late(busy("s"), 10.0)
    turn.active = True
    assert not turn.is_late(made(1), 10.0)
    assert not turn.is_late(busy("s"), 10.0)


def test_what_is_over() -> None:
    """A call that ended either way; a text that says when it ended."""
    ended = {
        name: is_over(tool("s", "c", "bash", name).part) for name in ("running", "completed", "error")
    }
    assert ended == {"running": False, "completed": True, "error": True}
    part = text("s", "m", "p", "x").part
    assert not is_over(part)
    assert is_over(replace(part, time=ev.Times(1.0, 2.0)))
