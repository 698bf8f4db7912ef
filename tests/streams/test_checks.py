"""Arguments are checked where they are given."""

from datetime import timedelta
from math import inf, nan

import pytest

from streams import checks


@pytest.mark.parametrize(
    ("value", "seconds"), [(1, 1.0), (0.5, 0.5), (timedelta(minutes=1), 60.0), (1e9, 1e9)]
)
def test_seconds(value: float | timedelta, seconds: float) -> None:
    """A number or a ``timedelta`` becomes a float of seconds."""
    checked = checks.seconds("quiet", value)
    assert (checked, type(checked)) == (seconds, float)


def test_no_seconds_at_all_must_be_allowed() -> None:
    """0 is refused unless it makes sense, and the message says which it is."""
    assert checks.seconds("cooldown", 0, zero=True) == 0.0
    message = r"quiet must be seconds above 0 \(a number or a timedelta\), got 0"
    with pytest.raises(ValueError, match=message):
        checks.seconds("quiet", 0)


@pytest.mark.parametrize("value", [-1, -0.1, inf, nan, True, "5", None, timedelta(seconds=-1)])
@pytest.mark.parametrize("zero", [True, False])
def test_no_seconds(value: float, zero: bool) -> None:
    """What is negative, endless or no number is refused."""
    with pytest.raises(ValueError, match="quiet must be seconds"):
        checks.seconds("quiet", value, zero=zero)


@pytest.mark.parametrize("value", [0.78, 1, 1.0, 1e-9])
def test_fraction(value: float) -> None:
    """Above 0 and at most 1."""
    checked = checks.fraction("threshold", value)
    assert (checked, type(checked)) == (value, float)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (85, r" \(0.85\?\)"),
        (100, r" \(1\?\)"),
        (1.01, r" \(0.0101\?\)"),
        (101, ""),
        (0, ""),
        (-0.5, ""),
        (nan, ""),
        (True, ""),
        ("0.5", ""),
        (None, ""),
    ],
)
def test_no_fraction(value: float, hint: str) -> None:
    """C14: what is out of range is refused, and a percentage is told what it should have been."""
    message = f"threshold must be a fraction above 0 and at most 1, got {value!r}{hint}$"
    with pytest.raises(ValueError, match=message):
        checks.fraction("threshold", value)


def test_count() -> None:
    """A whole number of at least the least."""
    assert checks.count("max_per_hour", 1) == 1
    assert checks.count("recover", 0, least=0) == 0


@pytest.mark.parametrize("value", [1, 2.0, True, "3", None, inf])
def test_no_count(value: int) -> None:
    """What is less, or no whole number, is refused."""
    with pytest.raises(ValueError, match="tries must be a whole number of at least 2, got"):
        checks.count("tries", value, least=2)
