"""``Pattern``: how far back the last calls repeat, by input and result."""

import itertools

import pytest

from operators.call_signatures import WINDOW, Pattern, Signed, digest, signature


def calls(names: str, periods: int) -> Pattern:
    """One call for each letter; a dash is a call that nobody knows the input of."""
    pattern = Pattern()
    for name in names:
        pattern.add(Signed("t", None if name == "-" else name.encode()), periods)
    return pattern


def repeated(names: str, period: int) -> int:
    """How many letters at the end repeat with the period, by looking at all of them."""
    for length in range(len(names), period, -1):
        tail = names[-length:]
        if all(tail[n] == tail[n - period] != "-" for n in range(period, length)):
            return length
    return min(period, len(names))


@pytest.mark.parametrize("periods", [1, 2, 3])
def test_lengths_are_what_one_counts(periods: int) -> None:
    """P13: for every row of six calls, as if each were compared with all before it."""
    for names in map("".join, itertools.product("ab-", repeat=6)):
        expected = [repeated(names, period) for period in range(1, periods + 1)]
        assert calls(names, periods).lengths == expected, names


def test_more_periods_than_before_begin_at_nothing() -> None:
    """A pattern that was kept under another policy goes on."""
    pattern = calls("aa", 1)
    pattern.add(Signed("t", b"a"), 3)
    assert pattern.lengths == [3, 1, 1]


def test_a_round_is_no_loop_when_all_its_calls_are_equal() -> None:
    """P13: that is period 1's to judge; one that differs anywhere in the round is a loop of it."""
    assert calls("ababab", 2).loop(3) == (2, 6)
    assert calls("aabaabaab", 3).loop(3) == (3, 9)
    assert calls("abcabcabc", 3).loop(3) == (3, 9)
    assert calls("ababa", 2).loop(3) == (0, 0)
    equal = calls("aaaaaa", 2)
    equal.lengths[0] = 1  # results differed from one to the next
    assert equal.loop(3) == (0, 0)
    after_others = calls("bbbaaaaaa", 2)
    after_others.lengths[0] = 1
    assert after_others.loop(3) == (0, 0)


def test_a_result_that_differs_cuts_each_period_by_itself() -> None:
    """P15: of rounds of two, the last calls that follow the difference still count."""
    pattern = calls("ababab", 3)
    assert pattern.lengths == [1, 6, 3]
    for number, result in enumerate((b"1", b"x", b"1", b"x", b"2", b"x")):
        pattern.set_result(number, result)
    assert pattern.lengths == [1, 3, 3], "from the fifth on: its result, one call after it, one before"
    pattern.set_result(4, b"1")
    assert pattern.lengths == [1, 3, 3], "the first result counts"


def test_numbers_outlive_the_window() -> None:
    """Results of calls that are no longer kept are ignored; those that are kept have their number."""
    pattern = Pattern()
    numbers = [pattern.add(Signed("t", str(number % 7).encode()), 2) for number in range(3 * WINDOW)]
    assert numbers == list(range(3 * WINDOW))
    assert len(pattern.calls) == WINDOW + 2
    kept = [call.signature for call in pattern.calls]
    assert kept == [str(number % 7).encode() for number in range(2 * WINDOW - 2, 3 * WINDOW)]
    pattern.set_result(0, b"late")
    assert all(call.result is None for call in pattern.calls)
    pattern.set_result(3 * WINDOW - 1, b"last")
    assert pattern.calls[-1].result == b"last"


def test_a_signature_is_of_the_tool_and_its_input() -> None:
    """P13: in any order of keys; eight bytes, the same in every process."""
    assert signature("a", b'{"x":1,"y":2}') == signature("a", b'{"y":2, "x":1}')
    assert signature("a", b'"b"') != signature("ab", b'""')
    assert signature("read", b'{"path":"a"}').hex() == "7d74ea98b097369a"
    assert len(digest(b"")) == 8
