"""What is kept of one session to make its transcript."""

from typing import Final

import msgspec

from operators.sparse import put, sparse
from operators.streamed_text import StreamedText
from operators.transcript import Transcript
from operators.transcript_entry import TranscriptEntry
from operators.transcript_heard import Heard

__all__ = ["TranscriptState"]

SORTING_ID: Final = 30
"""Length of opencode's ids, which sort by time."""


class TranscriptState(msgspec.Struct, gc=False):
    """What is kept per session: the transcript, and what has come since its last version.

    Dicts are by the key of the entry.
    """

    session_id: str
    whole: Transcript = Transcript()
    version: int = 0
    heard: dict[str, Heard] = {}
    late: dict[str, Heard] = sparse()
    """User messages told again while the session works: taken in when it rests."""
    texts: dict[str, StreamedText] = {}
    grown: dict[str, None] = {}
    """Texts that got pieces."""
    last: str = ""
    """The text that got the last piece: it will get the next."""
    orphans: dict[str, float] = sparse()
    """Texts whose part has not come, and since when they wait for it."""
    excluded: dict[str, None] = sparse()
    gone: list[TranscriptEntry] = []
    removed: dict[str, float] = sparse()
    orders: dict[str, dict[str, str]] = sparse()
    """Places of what has no id that sorts by time, in the order of arrival: of messages, by ``""``, and
    of the parts of each message."""
    named: int = 0
    marks: bool = False
    """Whether the agent writes a part for each compaction."""
    compactions: int = 0
    since: float | None = None
    touched: float = 0.0
    asked: float = -1.0
    busy: bool = False
    dropped: int = 0
    directory: str = ""
    parent_id: str = ""

    def touch(self, now: float) -> None:
        """Something changed that a snapshot is due for."""
        self.touched = now
        if self.since is None:
            self.since = now

    def known(self, key: str) -> TranscriptEntry | None:
        """The newest that was heard of an entry."""
        heard = self.heard.get(key) or self.late.get(key)
        return heard.entry if heard else self.whole.get(key)

    def key(self, message_id: str, part_id: str = "") -> str:
        """The place of a message, or of a part of it."""
        if _sorts(message_id, "msg_") and _sorts(part_id, "prt_"):  # nearly always
            return f"{message_id}\0{part_id}"
        return f"{self._order(message_id, 'msg_', '')}\0{self._order(part_id, 'prt_', message_id)}"

    def _order(self, name: str, prefix: str, within: str) -> str:
        if not name or _sorts(name, prefix):
            return name
        orders = self.orders.get(within)
        if orders is not None and name in orders:
            return orders[name]
        return self._put(name, within, "", "")

    def put_in_order(self, names: list[str], prefix: str, within: str = "") -> None:
        """Messages, or parts within one, are told of in order: what was not heard of comes between."""
        names = [name for name in names if name and not _sorts(name, prefix)]
        heard = dict(self.orders.get(within) or {})
        following, gaps = "", list[str]()
        for name in reversed(names):
            following = heard.get(name, following)
            gaps.append(following)
        previous, first = "", min(heard.values(), default="")
        for name, following in zip(names, reversed(gaps), strict=True):
            if name in heard:
                previous = following
            else:  # before anything told of, all that was heard is newer
                self._put(name, within, previous, following or ("" if previous else first))

    def _put(self, name: str, within: str, previous: str, following: str) -> str:
        self.named += 1
        order = _between(previous, following, self.named)
        self.orders = put(self.orders, within, self.orders.get(within, {}))
        self.orders[within][name] = order
        return order


def _sorts(name: str, prefix: str) -> bool:
    """Whether it is an id that sorts by time."""
    return len(name) == SORTING_ID and name.startswith(prefix)


def _between(previous: str, following: str, number: int) -> str:
    """A place after one and before another, either of which may be missing."""
    if not previous and not following:
        return f"~{number:09}"
    stem = f"{previous}." if previous else ""
    rest = following.removeprefix(stem) if following.startswith(stem) else ""
    before = len(rest) - len(rest.lstrip("!")) + 1 if rest else 0
    return f"{stem}{'!' * before}{number:09}"
