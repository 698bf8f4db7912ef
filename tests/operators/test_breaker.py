"""Breaker: open after failures in a row, half-open after a while."""

from operators.breaker import Breaker, BreakerState


def test_it_opens_after_failures_in_a_row() -> None:
    """C7: a success in between starts the count afresh."""
    breaker, state = Breaker(3, 300), BreakerState()
    assert [breaker.failed(state, 0), breaker.failed(state, 1)] == [False, False]
    breaker.succeeded(state)
    assert [breaker.failed(state, at) for at in (2, 3, 4)] == [False, False, True]
    assert (breaker.allows(state, 4), breaker.is_open(state)) == (False, True)


def test_a_probe_after_the_reset() -> None:
    """C8: allowed at exactly the reset; its failure opens it for another one, its success closes it."""
    breaker, state = Breaker(1, 300), BreakerState()
    breaker.failed(state, 100)
    assert [breaker.allows(state, at) for at in (399.9, 400)] == [False, True]
    assert breaker.failed(state, 410)
    assert [breaker.allows(state, at) for at in (709.9, 710)] == [False, True]
    breaker.succeeded(state)
    assert (breaker.is_open(state), state.failures) == (False, 0)


def test_a_probe_at_once() -> None:
    """C8: hurried, an open one lets a probe through; a closed one stays closed."""
    breaker, state = Breaker(1, 300), BreakerState()
    breaker.hurry(state, 1)
    assert not breaker.is_open(state)
    breaker.failed(state, 100)
    breaker.hurry(state, 101)
    assert breaker.allows(state, 101)
    breaker.hurry(state, 150)
    assert breaker.allows(state, 102)
    assert breaker.is_open(state)
    breaker.failed(state, 200)
    assert [breaker.allows(state, at) for at in (499, 500)] == [False, True]
