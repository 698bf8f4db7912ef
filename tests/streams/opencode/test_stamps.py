"""When something happened, by its id."""

from typing import Any

import pytest

from streams.opencode.stamps import seconds_of_stamp, stamp, stamp_at

SPAN = 2**36 / 1000
"""Seconds after which ids begin anew."""

WRAP = round(26 * SPAN, 3)
"""Such a moment: 2026-08-19."""


def event_id(seconds: float, count: int = 1) -> str:
    """As opencode makes them."""
    return f"evt_{(round(seconds * 1000) * 4096 + count) % 2**48:012x}XvLeFzeRandomPart"


def test_a_recorded_id(recording_of: Any) -> None:
    """The time in an id is that of its event: it was received a little later (a new instance stalls)."""
    for event in recording_of("tools.global").events():
        if event.event_id:
            at = seconds_of_stamp(stamp(event.event_id, event.at + 1e6))
            assert -0.001 <= event.at - at < 5


@pytest.mark.parametrize("age", [-86_399.0, -1.0, 0.0, 0.001, 5.0, 86_400.0, SPAN - 86_401])
@pytest.mark.parametrize(
    "now", [WRAP - 90_000, WRAP - 1.0, WRAP, WRAP + 1.0, WRAP + 90_000, WRAP + SPAN / 2]
)
def test_around_the_moment_at_which_ids_begin_anew(now: float, age: float) -> None:
    """A time up to a day ahead of now, and up to 2.18 years before that, is read as it was written."""
    assert seconds_of_stamp(stamp(event_id(now - age), now)) == round(now - age, 3)


def test_stamps_ascend_where_ids_do_not() -> None:
    """Across that moment the later id is the lower one; its stamp is the higher one."""
    earlier, later = event_id(WRAP - 0.001, 4_000), event_id(WRAP, 1)
    assert earlier > later
    assert stamp(earlier, WRAP) < stamp(later, WRAP)
    assert stamp(event_id(WRAP, 1), WRAP) < stamp(event_id(WRAP, 2), WRAP)


def test_a_stamp_of_now_is_of_now() -> None:
    """Made of a time, it says that time, and sorts among those of ids."""
    assert seconds_of_stamp(stamp_at(WRAP)) == WRAP
    assert stamp(event_id(WRAP - 0.001), WRAP) < stamp_at(WRAP) < stamp(event_id(WRAP), WRAP)


@pytest.mark.parametrize(
    "bad", ["", "evt_", "evt_205e1f89000", "evt_205E1F890001R7", "205e1f890001", "evt_é"]
)
def test_no_such_id(bad: str) -> None:
    """An id without a time is named, not guessed at."""
    with pytest.raises(ValueError, match="no time is in the id"):
        stamp(bad, WRAP)
