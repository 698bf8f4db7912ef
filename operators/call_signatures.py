"""The fold behind ``tool_loops``: how many calls in a row repeat a pattern, by tool, input and result.

Input and result are kept as digests of 8 bytes: what is looked for is equality in a row of many, and
the inputs and outputs themselves may be large.
"""

from hashlib import blake2b
from typing import Final

import msgspec

__all__ = ["Pattern", "Signed", "digest", "signature"]

WINDOW: Final = 32
"""Signed calls kept per session beside the longest period: results of parallel calls come late."""


class Signed(msgspec.Struct, gc=False):
    """A call whose input is known. ``signature`` is None when it ended and never was (P13)."""

    tool: str
    signature: bytes | None
    result: bytes | None = None


class Pattern(msgspec.Struct):
    """The last signed calls, and for each period how many of them, up to the last, repeat with it.

    ``first`` is the number of the oldest call in ``calls``; numbers only grow.
    """

    calls: list[Signed] = []
    first: int = 0
    lengths: list[int] = []

    def add(self, call: Signed, periods: int) -> int:
        """Take the next call in; returns its number."""
        calls, lengths = self.calls, self.lengths
        lengths.extend([0] * (periods - len(lengths)))
        for period in range(1, periods + 1):
            longer = lengths[period - 1] + 1
            repeats = len(calls) >= period and _same(calls[-period], call)
            lengths[period - 1] = longer if repeats else min(period, longer)
        calls.append(call)
        if len(calls) > WINDOW + periods:
            del calls[0]
            self.first += 1
        return self.first + len(calls) - 1

    def set_result(self, number: int, result: bytes) -> None:
        """A call's result: differing from the one a period before, it is progress, not a loop (P15)."""
        index = number - self.first
        if index < 0 or self.calls[index].result is not None:
            return
        self.calls[index].result = result
        for period in range(1, len(self.lengths) + 1):
            for later in (index, index + period):
                if self._differ(later - period, later):
                    since = len(self.calls) - 1 - later
                    self.lengths[period - 1] = min(self.lengths[period - 1], since + period)

    def loop(self, repeats: int) -> tuple[int, int]:
        """Period and length of the loop that the last call completes a multiple of, or zeros."""
        last = self.calls[-1]
        for period, length in enumerate(self.lengths, 1):
            if length % repeats or length < max(repeats, 2 * period):
                continue
            # A round of equal calls is none: its repetition is period 1's to judge, results and all.
            if period == 1 or not all(_same(last, each) for each in self.calls[-period:]):
                return period, length
        return 0, 0

    def _differ(self, earlier: int, later: int) -> bool:
        if earlier < 0 or later >= len(self.calls):
            return False
        a, b = self.calls[earlier].result, self.calls[later].result
        return a is not None and b is not None and a != b


def _same(a: Signed, b: Signed) -> bool:
    return a.signature is not None and a.signature == b.signature


def signature(tool: str, text: bytes) -> bytes:
    """The same for equal inputs of one tool, however their keys are ordered (P13)."""
    canonical = msgspec.json.encode(msgspec.json.decode(text), order="sorted")
    return digest(tool.encode() + b"\0" + canonical)


def digest(text: bytes) -> bytes:
    """Eight bytes that stand for many, the same in every process."""
    return blake2b(text, digest_size=8).digest()
