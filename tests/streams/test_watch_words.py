"""Numbers and texts as a terminal shows them."""

import pytest

from streams.watch.words import counted, duration, one_line, percent, tokens_of_limit


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0.0 s"),
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10.0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (47 * 3600, "47 h"),
        (48 * 3600, "2 d"),
        (999 * 86400, "999 d"),
    ],
)
def test_durations_fit_their_column(seconds: float, shown: str) -> None:
    """Never more than six characters; a clock that went back shows 0."""
    assert duration(seconds) == shown
    assert len(shown) <= 6


def test_percent_is_not_clamped() -> None:
    """U13: 289 370 of 200 000 is 144.7 %, and it is shown."""
    assert percent(289_370 / 200_000) == "144.7 %"


def test_tokens_and_limit() -> None:
    """U10: a limit that is not known is not invented."""
    assert tokens_of_limit(26_760, 32_000) == "26,760/32,000"
    assert tokens_of_limit(26_760, None) == "26,760"


def test_one_line() -> None:
    """Control characters and line breaks become single spaces."""
    assert one_line(" a\r\n\x1b[31mb\x00 c ") == "a [31mb c"


def test_counted() -> None:
    """One is singular."""
    assert (counted(1, "event"), counted(0, "event"), counted(5297, "event")) == (
        "1 event",
        "0 events",
        "5,297 events",
    )
