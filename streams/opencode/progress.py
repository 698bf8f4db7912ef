"""How far a server's log was told, session by session."""

import heapq
from collections.abc import Iterable, Mapping

import msgspec

from streams.opencode.log import MAX_TOLD, Entry, is_deletion
from streams.opencode.recent import RecentIds

__all__ = ["Dated", "Progress"]


class Dated(msgspec.Struct, frozen=True, gc=False):
    """An entry, and when it was made: the higher the stamp, the later."""

    stamp: int
    entry: Entry


class Progress:
    """Knows of each entry whether it was told already, and what is missing before it.

    Args:
        positions: The number of the last entry of each session that was told.

    Attributes:
        last: The same, as of now. A deleted session is not in it.

    Memory: a number for each session that is not deleted, and 8 192 ids of deleted ones.
    """

    def __init__(self, positions: Mapping[str, int]) -> None:
        self.last = dict(positions)
        self._deleted = RecentIds()

    def missing_before(self, entry: Entry) -> int:
        """How many entries there must be before this one that were not told; -1 if it was told itself."""
        if entry.session_id in self._deleted:
            return -1
        return max(-1, entry.seq - self.last.get(entry.session_id, -1) - 1)

    def tell(self, entry: Entry) -> None:
        """This one was told, and nothing before it will be."""
        if is_deletion(entry):
            self.last.pop(entry.session_id, None)
            self._deleted.add(entry.session_id)
        else:
            self.last[entry.session_id] = entry.seq

    def told(self, *, but: int = 0) -> dict[str, int]:
        """What to tell ``/sync/history``.

        It answers with all of a session that it is not told of, so those with the longest logs are told.

        Args:
            but: So many of the entries that were told shall be in the answer, too, for ``behind``.
        """
        longest = heapq.nlargest(MAX_TOLD, self.last.items(), key=lambda item: item[1])
        return {session_id: last - but for session_id, last in longest if last >= but}

    def behind(self, rows: Iterable[Dated]) -> list[str]:
        """Sessions of which an answer has not even the last entry that was told, although it should."""
        highest: dict[str, int] = {}
        for row in rows:
            session_id = row.entry.session_id
            highest[session_id] = max(row.entry.seq, highest.get(session_id, -1))
        return [
            session_id for session_id, last in self.last.items() if highest.get(session_id, -1) < last
        ]

    def untold(self, rows: Iterable[Dated]) -> list[Dated]:
        """What is new of an answer: each session's in the order of its numbers, all by their stamps."""
        by_session: dict[str, list[Dated]] = {}
        for row in sorted(rows, key=lambda row: row.entry.seq):
            of_one = by_session.setdefault(row.entry.session_id, [])
            is_first = not of_one or of_one[-1].entry.seq < row.entry.seq
            if is_first and self.missing_before(row.entry) >= 0:
                of_one.append(row)
        return list(heapq.merge(*by_session.values(), key=lambda row: row.stamp))
