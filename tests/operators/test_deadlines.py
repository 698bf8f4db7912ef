"""The earliest of many deadlines, against the plainest model of it."""

import sys
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.deadlines import Deadlines


def test_due_keys_come_earliest_first_and_once() -> None:
    """Each needs a new deadline to come up again."""
    deadlines = Deadlines()
    for key, at in (("b", 20.0), ("a", 10.0), ("c", 30.0)):
        deadlines.set(key, at)
    assert deadlines.earliest == 10.0

    assert list(deadlines.due(20.0)) == ["a", "b"]
    assert list(deadlines.due(20.0)) == []
    assert (deadlines.earliest, len(deadlines)) == (30.0, 1)
    assert list(deadlines.due(inf)) == ["c"]
    assert deadlines.earliest == inf


def test_a_deadline_that_moves_later_is_looked_at_when_the_earlier_one_comes() -> None:
    """A time to live that every event renews is one comparison per event."""
    deadlines = Deadlines()
    for at in range(10, 10_000):
        deadlines.set("a", float(at))

    assert deadlines.earliest == 10.0
    assert len(deadlines._heap) == 1
    assert list(deadlines.due(10.0)) == ["a"]


def test_an_earlier_deadline_replaces_a_later_one() -> None:
    """The later one is never heard of."""
    deadlines = Deadlines()
    deadlines.set("a", 20.0)
    deadlines.set("a", 10.0)

    assert list(deadlines.due(10.0)) == ["a"]
    assert list(deadlines.due(20.0)) == []


def test_forgetting_all_leaves_nothing() -> None:
    """E3: no key stays, not even the one that was first."""
    deadlines = Deadlines()
    for number in range(1000):
        deadlines.set(f"k{number}", float(number))
    for number in range(1000):
        deadlines.forget(f"k{number}")

    assert (len(deadlines), deadlines.earliest, deadlines._heap) == (0, inf, [])
    assert sys.getsizeof(deadlines.armed) == sys.getsizeof({})


def test_keys_that_come_and_go_do_not_pile_up() -> None:
    """E3: 100 000 sessions beside one that lives on: a few entries."""
    deadlines = Deadlines()
    deadlines.set("lives", 1e9)
    for number in range(100_000):
        deadlines.set(f"k{number}", float(number))
        deadlines.forget(f"k{number}")

    assert len(deadlines) == 1
    assert len(deadlines._heap) <= 64 + 2
    assert list(deadlines.due(1e9)) == ["lives"]


@pytest.mark.parametrize("never", [None, inf, nan])
def test_never_is_no_deadline(never: float | None) -> None:
    """It takes away the one that the key had, and that of no other."""
    deadlines = Deadlines()
    deadlines.set("a", 10.0)
    deadlines.set("b", 20.0)
    deadlines.set("a", never)
    deadlines.set("c", never)

    assert (len(deadlines), list(deadlines.due(30.0))) == (1, ["b"])


def test_a_key_may_be_set_anew_while_due_ones_are_taken_out() -> None:
    """That is what a timer that repeats does."""
    deadlines, seen = Deadlines(), []
    deadlines.set("a", 1.0)
    deadlines.set("b", 1.0)
    for key in deadlines.due(1.0):
        seen.append(key)
        deadlines.set(key, 2.0)
    assert sorted(seen) == ["a", "b"]
    for key in deadlines.due(2.0):
        seen.append(key)
        deadlines.forget("a")
        deadlines.forget("b")

    assert len(seen) == 3
    assert (len(deadlines), deadlines.earliest) == (0, inf)


TIMES = st.integers(0, 20).map(float)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from("abcd"), TIMES),
        st.tuples(st.just("forget"), st.sampled_from("abcd"), st.none()),
        st.tuples(st.just("due"), st.none(), TIMES),
    ),
    max_size=60,
)


@given(steps=STEPS)
def test_it_never_looks_too_late_and_never_forgets(steps: list[tuple[str, str, float]]) -> None:
    """A logic asks anew at each look, so early looks are harmless, and a late or lost one is not."""
    deadlines, wanted, now = Deadlines(), dict[str, float](), 0.0
    for step, key, at in steps:
        if step == "set":
            wanted[key] = max(at, now + 1.0)
            deadlines.set(key, wanted[key])
        elif step == "forget":
            wanted.pop(key, None)
            deadlines.forget(key)
        else:
            now = max(now, at)
            fired = set()
            for looked_at in deadlines.due(now):
                if wanted[looked_at] <= now:
                    fired.add(looked_at)
                else:
                    deadlines.set(looked_at, wanted[looked_at])
            assert fired == {key for key, due in wanted.items() if due <= now}
            wanted = {key: due for key, due in wanted.items() if due > now}
        assert deadlines.earliest <= min(wanted.values(), default=inf)
        assert len(deadlines) == len(wanted)
        assert len(deadlines._heap) <= 64 + 2 * len(wanted) + 1
