"""Every source that can be read again from a position keeps to the same rules."""

import random
from collections.abc import Iterator

import pytest
import resumable_contract as contract

from streams.opencode import following
from streams.positions import Resumable


@pytest.fixture(params=contract.SOURCES)
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Resumable]:
    monkeypatch.setattr(following, "SETTLE", 0.001)
    with contract.SOURCES[request.param]() as source:
        yield source


@pytest.mark.parametrize("seed", range(3))
def test_it_is_read_alike_from_any_position(source: Resumable, seed: int) -> None:
    """From any position: the rest of the reading from the beginning, with the same times, in the same order."""
    chance = random.Random(seed)
    contract.is_read_alike_from_any_position(source, [0, 1, *(chance.random() for _ in range(4))])


@pytest.mark.parametrize("seed", range(3))
def test_it_is_read_alike_in_pieces(source: Resumable, seed: int) -> None:
    """Closed and opened again, time after time: nothing lost, nothing doubled."""
    chance = random.Random(seed)
    contract.is_read_alike_in_pieces(source, [chance.random() / 3 for _ in range(4)])


@pytest.mark.parametrize(
    "rule",
    [
        contract.positions_ascend,
        contract.readers_know_nothing_of_each_other,
        contract.is_named_alike,
    ],
)
def test_it_keeps_to(source: Resumable, rule: object) -> None:
    """Positions, readers and names are as ``streams.positions`` says."""
    assert callable(rule)
    rule(source)
