"""Which partition a source is of, and which partition moves."""

from collections import Counter

import pytest
from scripted_log import ScriptedLog, World

from streams.cluster.placement import by_partition, next_move, partition_of


def test_a_partition_is_the_same_for_ever() -> None:
    """These numbers are a promise: with others a source would begin anew in another partition."""
    names = ("http://127.0.0.1:4096", "/var/recordings", "größe")
    assert [partition_of(name, 256) for name in names] == [205, 3, 233]


def test_sources_spread_evenly() -> None:
    """A thousand sources over 16 partitions: none has twice its share."""
    counts = Counter(partition_of(f"http://host-{number}:4096", 16) for number in range(1000))
    assert set(counts) == set(range(16))
    assert max(counts.values()) < 2 * 1000 / 16


def test_only_partitions_with_a_source_are_there() -> None:
    """Named by their number and how many there are, whatever the order of the sources."""
    sources = [ScriptedLog(name, World(), []) for name in "abc"]
    found = by_partition(sources, 256)
    assert by_partition(sources[::-1], 256) == found
    assert {name: [each.name for each in some] for name, some in found.items()} == {
        f"{partition_of(name, 256):03} of 256": [name] for name in "abc"
    }
    assert list(by_partition(sources, 1)) == ["0 of 1"]


@pytest.mark.parametrize(
    ("nodes", "placed", "moved"),
    [
        ("", {}, None),
        ("ab", {}, None),
        ("ab", {"1": "a"}, None),
        ("ab", {"1": "a", "2": "a"}, ("1", "b")),
        ("ab", {"1": "a", "2": "b", "3": "a"}, None),
        ("abc", {"1": "a", "2": "a", "3": "b"}, ("1", "c")),
        ("b", {"1": "gone", "2": "b"}, None),
    ],
)
def test_a_move(nodes: str, placed: dict[str, str], moved: tuple[str, str] | None) -> None:
    """Only where a node has two more than another; one that is gone counts for nothing."""
    assert next_move(nodes, placed) == moved


def test_moves_come_to_an_end() -> None:
    """However it began, the nodes have as many each, but for one."""
    placed = {str(number): "a" for number in range(10)}
    moves: list[str] = []
    while (move := next_move("abc", placed)) is not None:
        placed[move[0]] = move[1]
        moves.append(move[0])
    assert sorted(Counter(placed.values()).values()) == [3, 3, 4]
    assert len(moves) == 6
