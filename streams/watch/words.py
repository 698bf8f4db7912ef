"""Numbers and texts as a terminal shows them."""

from typing import Final

__all__ = ["counted", "duration", "one_line", "percent", "tokens_of_limit"]

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR


def percent(ratio: float) -> str:
    """A fraction as percent: ``83.6 %``. Not clamped: what overflows shows it."""
    return f"{ratio * 100:.1f} %"


def tokens_of_limit(tokens: int | None, limit: int | None) -> str:
    """``26,760/32,000``; a limit that is not known is left out, and tokens not known are ``?``."""
    shown = "?" if tokens is None else f"{tokens:,}"
    return shown if limit is None else f"{shown}/{limit:,}"


def duration(seconds: float) -> str:
    """At most six characters: ``0.3 s``, ``59 s``, ``12 min``, ``5 h``, ``3 d``."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{seconds // MINUTE:.0f} min"
    if seconds < 2 * DAY:
        return f"{seconds // HOUR:.0f} h"
    return f"{seconds // DAY:.0f} d"


def one_line(text: str) -> str:
    """Text from an agent, made harmless: no line breaks, no control or escape characters."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def counted(count: int, what: str) -> str:
    """``1 session``, ``2,364 events``."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
