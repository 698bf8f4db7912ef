"""Arguments: checked where they are given, with an error that names the argument, value and range."""

from datetime import timedelta
from math import inf, isfinite

__all__ = ["count", "fraction", "seconds"]


def seconds(name: str, value: float | timedelta, *, zero: bool = False) -> float:
    """A duration as seconds: finite, above 0 (or 0 too)."""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if not _is_number(number) or not isfinite(number) or number < 0 or (number == 0 and not zero):
        least = "0 or more" if zero else "above 0"
        raise ValueError(f"{name} must be seconds {least} (a number or a timedelta), got {value!r}")
    return float(number)


def fraction(name: str, value: float) -> float:
    """A share: above 0, at most 1."""
    if not _is_number(value) or not 0 < value <= 1:
        hint = f" ({value / 100:g}?)" if _is_number(value) and 1 < value <= 100 else ""
        raise ValueError(f"{name} must be a fraction above 0 and at most 1, got {value!r}{hint}")
    return float(value)


def count(name: str, value: int, *, least: int = 1) -> int:
    """A whole number of at least ``least``."""
    if type(value) is not int or not least <= value < inf:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
