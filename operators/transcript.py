"""A whole transcript: every version of it stays as it is, and shares with the next what is equal."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import takewhile
from typing import Final

import msgspec

from operators.transcript_entry import TranscriptEntry
from streams.events import MessageUpdated

__all__ = ["LAST", "Transcript"]

WIDTH: Final = 32
"""Entries in a leaf, and nodes in a node, at most."""

LAST: Final = "\uffff"
"""After the key of every part of a message."""


class _Node(msgspec.Struct, frozen=True, gc=False):
    """A leaf has entries, any other node has nodes; ``keys`` are the first key of each."""

    keys: tuple[str, ...] = ()
    entries: tuple[TranscriptEntry, ...] = ()
    nodes: tuple["_Node", ...] = ()


class Transcript(msgspec.Struct, frozen=True, gc=False):
    """All entries of a session at one version. It never changes; the next version shares what is equal.

    Attributes:
        complete: Whether it holds the whole history: the session was seen to begin, or its history was
            fetched. If not, there may be older entries that nobody told us of.

    Memory: what differs from the version before.
    Time: adding, replacing and removing O(log n).
    """

    root: _Node = _Node()
    size: int = 0
    complete: bool = False

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[TranscriptEntry]:
        return _forwards(self.root, "")

    def __repr__(self) -> str:
        return f"Transcript({self.size} entries)"

    def get(self, key: str) -> TranscriptEntry | None:
        """The entry at a key."""
        node = self.root
        while node.nodes:
            node = node.nodes[max(0, bisect_right(node.keys, key) - 1)]
        place = bisect_left(node.keys, key)
        return node.entries[place] if place < len(node.keys) and node.keys[place] == key else None

    @property
    def last(self) -> TranscriptEntry | None:
        """The last entry."""
        node = self.root
        while node.nodes:
            node = node.nodes[-1]
        return node.entries[-1] if node.entries else None

    def message_of(self, entry: TranscriptEntry) -> MessageUpdated | None:
        """The message that an entry is, or belongs to; None while its own data has not come."""
        found = entry if entry.message is not None else self.get(entry.message_key)
        return None if found is None else found.message

    def under(self, key: str) -> Iterator[TranscriptEntry]:
        """The entry at a key; if it is a message, its parts after it."""
        return takewhile(lambda entry: entry.key.startswith(key), _forwards(self.root, key))

    def parts_of(self, message_key: str) -> Iterator[TranscriptEntry]:
        """The parts of one message, in order."""
        return (entry for entry in self.under(message_key) if entry.message is None)

    def after(self, entry: TranscriptEntry) -> Iterator[TranscriptEntry]:
        """The later parts of the same message, in order."""
        entries = _forwards(self.root, entry.key + "\0")
        return takewhile(lambda each: each.key.startswith(entry.message_key), entries)

    def last_parts_of(self, message_key: str) -> Iterator[TranscriptEntry]:
        """The parts of one message, the last one first."""
        entries = self.before(message_key + LAST)
        own = takewhile(lambda entry: entry.key.startswith(message_key), entries)
        return (entry for entry in own if entry.message is None)

    def completed(self) -> "Transcript":
        """The same, known to be the whole history."""
        return msgspec.structs.replace(self, complete=True)

    def after_message(self, message_key: str) -> Iterator[TranscriptEntry]:
        """The entries after a message and its parts."""
        return _forwards(self.root, message_key + LAST)

    def before(self, key: str) -> Iterator[TranscriptEntry]:
        """The entries before a key, the last one first."""
        return _backwards(self.root, key)

    def put(self, *entries: TranscriptEntry) -> "Transcript":
        """The version with entries added, or put in the places of those with their keys."""
        nodes, added = _put(self.root, sorted(entries, key=_key))
        while nodes[1:]:
            nodes = _in_nodes(nodes)
        return Transcript(nodes[0], self.size + added, self.complete)

    def remove(self, key: str) -> "Transcript":
        """The version without the entry at a key."""
        if self.get(key) is None:
            return self
        root = _remove(self.root, key) or _Node()
        while len(root.nodes) == 1:
            root = root.nodes[0]
        return Transcript(root, self.size - 1, self.complete)


def _put(node: _Node, entries: list[TranscriptEntry]) -> tuple[tuple[_Node, ...], int]:
    """The nodes that it becomes, and how many entries it gains."""
    if not node.nodes:
        merged = dict(zip(node.keys, node.entries, strict=True))
        merged.update((entry.key, entry) for entry in entries)
        return _in_leaves(sorted(merged.values(), key=_key)), len(merged) - len(node.keys)
    nodes, added = list(node.nodes), 0
    while entries:  # from the last one, so that the places before stay what they are
        place = max(0, bisect_right(node.keys, entries[-1].key) - 1)
        first = bisect_left(entries, node.keys[place], key=_key) if place else 0
        nodes[place : place + 1], gained = _put(nodes[place], entries[first:])
        entries, added = entries[:first], added + gained
    return _in_nodes(tuple(nodes)), added


def _key(entry: TranscriptEntry) -> str:
    return entry.key


def _in_leaves(entries: list[TranscriptEntry]) -> tuple[_Node, ...]:
    """Most entries come last, so all but the last leaf are full."""
    leaves = (tuple(entries[start : start + WIDTH]) for start in range(0, len(entries), WIDTH))
    return tuple(_Node(tuple(entry.key for entry in leaf), leaf) for leaf in leaves) or (_Node(),)


def _in_nodes(nodes: tuple[_Node, ...]) -> tuple[_Node, ...]:
    groups = (nodes[start : start + WIDTH] for start in range(0, len(nodes), WIDTH))
    return tuple(map(_inner, groups))


def _inner(nodes: tuple[_Node, ...]) -> _Node:
    return _Node(tuple(node.keys[0] for node in nodes), (), nodes)


def _remove(node: _Node, key: str) -> _Node | None:
    """What is left of the node, if anything."""
    if node.nodes:
        place = max(0, bisect_right(node.keys, key) - 1)
        left = _remove(node.nodes[place], key)
        nodes = (*node.nodes[:place], *((left,) if left else ()), *node.nodes[place + 1 :])
        return _inner(nodes) if nodes else None
    place = node.keys.index(key)
    keys = (*node.keys[:place], *node.keys[place + 1 :])
    return _Node(keys, (*node.entries[:place], *node.entries[place + 1 :])) if keys else None


def _forwards(node: _Node, key: str) -> Iterator[TranscriptEntry]:
    """The entries from a key on."""
    if node.nodes:
        place = max(0, bisect_right(node.keys, key) - 1)
        for each in node.nodes[place:]:
            yield from _forwards(each, key)
    else:
        yield from node.entries[bisect_left(node.keys, key) :]


def _backwards(node: _Node, key: str) -> Iterator[TranscriptEntry]:
    """The entries before a key, the last one first."""
    if node.nodes:
        for each in reversed(node.nodes[: max(1, bisect_right(node.keys, key))]):
            yield from _backwards(each, key)
    else:
        yield from reversed(node.entries[: bisect_left(node.keys, key)])
