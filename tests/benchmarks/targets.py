"""What is to be reached."""

from dataclasses import dataclass

from compare import BUN_NAME, BYTEWAX, DECODE, EVERY, GROUPS, LOOP, SAME, SCAN, STREAMZ

Costs = dict[str, float]
"""CPU microseconds per event, by contestant."""


@dataclass
class Target:
    """One line of the table.

    Attributes:
        what: What was measured.
        value: The measurement.
        bound: What is to be reached.
        at_least: Whether more is better.
        unit: Of both.
    """

    what: str
    value: float
    bound: float
    at_least: bool = True
    unit: str = "x"

    @property
    def reached(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    @property
    def missing(self) -> float:
        """By which factor it is missed."""
        return max(1.0, self.bound / self.value if self.at_least else self.value / self.bound)

    def row(self) -> tuple[str, str, str, str]:
        sign = "≥" if self.at_least else "≤"
        verdict = "reached" if self.reached else f"MISSED by {self.missing:.2f} x"
        return self.what, f"{sign} {self.bound:g} {self.unit}", f"{self.value:.3g} {self.unit}", verdict


def at_most(what: str, value: float, bound: float, unit: str = "x") -> Target:
    return Target(what, value, bound, at_least=False, unit=unit)


def against_peers(alive: Costs, churned: Costs, real: Costs) -> list[Target]:
    """The comparisons; a peer that is not installed has no line."""
    wanted = [
        ("idiomatic reactivex, EventLoopScheduler, 100 sessions", alive, GROUPS, 20),
        ("the same, churn of 20-event sessions", churned, GROUPS, 80),
        ("reactivex, one scan over a dict", alive, SCAN, 2.5),
        ("streamz", alive, STREAMZ, 8),
        ("bytewax", alive, BYTEWAX, 2.5),
        ("bun, delta-heavy", alive, BUN_NAME, 1.5),
        ("bun, recordings", real, BUN_NAME, 1.2),
    ]
    return [
        *(
            Target(f"vs {what}", costs[peer] / costs[SAME], bound)
            for what, costs, peer, bound in wanted
            if peer in costs
        ),
        at_most("all operators vs decode alone", alive[EVERY] / alive[DECODE], 3),
    ]


def guards(alive: Costs, decile: float, call: float, idle: float) -> list[Target]:
    """What a change must not break: ratios, with about half as much again as slack for noise."""
    return [
        at_most("three operators vs decode alone", alive[SAME] / alive[DECODE], 5),
        at_most("all operators vs decode alone", alive[EVERY] / alive[DECODE], 28),
        at_most("three operators vs a plain loop", alive[SAME] / alive[LOOP], 3),
        Target("three operators vs reactivex, one scan", alive[SCAN] / alive[SAME], 0.8),
        at_most("cost per event, last by first decile", decile, 2),
        at_most("cost per tool call, 5000 by 50 messages", call, 2),
        at_most("idle session: usage + triggers + tasks + expiry", idle, 2200, "B"),
    ]
