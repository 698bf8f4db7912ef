"""When an event happened, by its id."""

import re
from typing import Final

__all__ = ["seconds_of_stamp", "stamp", "stamp_at"]

BITS: Final = 48
PER_MILLISECOND: Final = 4_096
AHEAD: Final = 86_400
"""Seconds by which the server's clock may be ahead of ours."""

_DIGITS: Final = re.compile(r"[a-z]+_([0-9a-f]{12})")


def stamp(event_id: str, now: float) -> int:
    """The time in an id: milliseconds since the epoch, times 4096, plus a count within the millisecond.

    opencode's ids carry its lowest 48 bits, which begin anew every 2.18 years (2**36 ms). Of the moments
    that it may mean, the latest one that is at most a day ahead of ``now`` is taken.

    Args:
        event_id: Such as ``evt_205e1f890001R7xvLeFze``.
        now: The wall clock, in seconds.

    Raises:
        ValueError: It is no such id.

    Example:
        >>> seconds_of_stamp(stamp("evt_205e1f890001R7xvLeFze", now=1_795_400_000.0))
        1795395025.04
    """
    digits = _DIGITS.match(event_id)
    if digits is None:
        raise ValueError(f"no time is in the id {event_id!r}")
    latest = stamp_at(now + AHEAD)
    return latest - (latest - int(digits[1], 16)) % (1 << BITS)


def stamp_at(seconds: float) -> int:
    """The first stamp of a moment."""
    return round(seconds * 1000) * PER_MILLISECOND


def seconds_of_stamp(value: int) -> float:
    """A stamp as seconds since the epoch."""
    return value // PER_MILLISECOND / 1000
