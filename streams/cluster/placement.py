"""Which partition a source is of, and which partition should move."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

from streams.positions import Resumable

__all__ = ["by_partition", "next_move", "partition_of"]


def partition_of(name: str, partitions: int) -> int:
    """A source's partition, from 0: the same in every process and version.

    Args:
        name: The source's name.
        partitions: How many there are; with another number sources are of other partitions.
    """
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") % partitions


def by_partition(sources: Sequence[Resumable], partitions: int) -> dict[str, list[Resumable]]:
    """The sources of each partition that has any, by its name: ``"007 of 256"``."""
    width = len(str(partitions - 1))
    found: dict[str, list[Resumable]] = {}
    for source in sorted(sources, key=lambda each: each.name):
        number = partition_of(source.name, partitions)
        found.setdefault(f"{number:0{width}} of {partitions}", []).append(source)
    return found


def next_move(nodes: Iterable[str], placed: Mapping[str, str]) -> tuple[str, str] | None:
    """A partition, and the node that it should move to; None while no node has two more than another.

    Args:
        nodes: The nodes that are alive.
        placed: The node of each partition.
    """
    counts = Counter({node: 0 for node in nodes})
    counts.update(node for node in placed.values() if node in counts)
    if not counts:
        return None
    fewest, most = (
        min(sorted(counts), key=counts.__getitem__),
        max(sorted(counts), key=counts.__getitem__),
    )
    if counts[most] - counts[fewest] < 2:
        return None
    return min(partition for partition, node in placed.items() if node == most), fewest
