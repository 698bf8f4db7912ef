"""Who started whom: parents, children and roots, in whatever order they become known."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec
from reactivex import abc

from operators.deadlines import Deadlines
from operators.lift import Call, Operator, lift
from operators.snapshots import Kept, decode, encode
from operators.tombstones import Tombstones
from streams.events import SessionCreated, SessionDeleted, SessionEvent, SessionExpired, SessionInfo

__all__ = ["SessionNode", "SessionTree", "session_tree"]


class SessionNode(msgspec.Struct, frozen=True, gc=False):
    """A session's place among the others, as far as it is known.

    Attributes:
        session_id: The session.
        parent_id: The session that started it; empty for a root, or while that is not known.
        root_id: The topmost session known above it; itself for a root.
        depth: How many sessions are above it; 0 for a root.
        children: The sessions it started, in the order they became known.
        gone: Whether the session was deleted or has expired.
    """

    session_id: str
    parent_id: str
    root_id: str
    depth: int
    children: tuple[str, ...]
    gone: bool = False


class SessionTree:
    """The links between sessions. Cycles and unknown parents are tolerated.

    Memory: one entry per session that has a parent, dropped by ``forget``.
    """

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}
        self._children: dict[str, dict[str, None]] = {}

    def link(self, session_id: str, parent_id: str) -> bool:
        """Note who started a session; true when that is news. A session never becomes its own parent."""
        known = self._parent.get(session_id, "")
        if not parent_id or parent_id in (known, session_id):
            return False
        if known:
            self._unlink(session_id, known)
        self._parent[session_id] = parent_id
        self._children.setdefault(parent_id, {})[session_id] = None
        return True

    def forget(self, session_id: str) -> None:
        """Take a session out. Its children stay linked to its name, should it be heard of again."""
        parent_id = self._parent.pop(session_id, "")
        if parent_id:
            self._unlink(session_id, parent_id)

    def parent(self, session_id: str) -> str:
        """The session above, or ``""``."""
        return self._parent.get(session_id, "")

    def children(self, session_id: str) -> tuple[str, ...]:
        """The sessions right below."""
        return tuple(self._children.get(session_id, ()))

    def ancestors(self, session_id: str) -> Iterator[str]:
        """The sessions above, the nearest first; each once, even in a cycle."""
        seen = {session_id}
        while (session_id := self._parent.get(session_id, "")) and session_id not in seen:
            seen.add(session_id)
            yield session_id

    def descendants(self, session_id: str) -> Iterator[str]:
        """The sessions below, parents before their children; each once, even in a cycle."""
        seen, waiting = {session_id}, list(self.children(session_id))
        while waiting:
            each = waiting.pop(0)
            if each not in seen:
                seen.add(each)
                yield each
                waiting += self.children(each)

    def root(self, session_id: str) -> str:
        """The topmost session known; in a cycle, the smallest id of it."""
        above = list(self.ancestors(session_id))
        if above and self._parent.get(above[-1]) in (session_id, *above):
            return min(session_id, *above)
        return above[-1] if above else session_id

    def depth(self, session_id: str) -> int:
        """How many sessions are above."""
        return sum(1 for _ in self.ancestors(session_id))

    def kept(self) -> dict[str, tuple[str, ...]]:
        """Who started whom, by parent."""
        return {parent_id: tuple(children) for parent_id, children in self._children.items()}

    def restore(self, children: Mapping[str, Iterable[str]]) -> None:
        """Put back what ``kept`` said."""
        for parent_id, session_ids in children.items():
            for session_id in session_ids:
                self.link(session_id, parent_id)

    def _unlink(self, session_id: str, parent_id: str) -> None:
        siblings = self._children[parent_id]
        del siblings[session_id]
        if not siblings:
            del self._children[parent_id]


_NOT_SAID: Final = SessionNode("", "", "", 0, ())


class TreeFold:
    """Says each session's place when it becomes known, and again when it changes."""

    version: Final = 1
    """The format of what is kept: one more whenever an older snapshot would be read wrongly."""

    def __init__(self) -> None:
        self.name = type(self).__name__
        self.deadlines = Deadlines()
        self.states: dict[str, SessionNode] = {}
        self._tree = SessionTree()
        self._tombstones = Tombstones(self.deadlines)

    def calls(self) -> Mapping[type[SessionEvent], Call[SessionNode]]:
        return {
            SessionInfo: self._described,
            SessionCreated: self._described,
            SessionDeleted: self._gone,
            SessionExpired: self._gone,
        }

    def fire(self, now: float) -> Iterable[SessionNode]:
        for session_id in self.deadlines.due(now):
            self._tombstones.come_due(session_id, now)
        return ()

    def end(self, now: float) -> Iterable[SessionNode]:
        self.states.clear()
        self._tombstones.clear()
        return ()

    def snapshot(self) -> bytes:
        """All that is kept. To be taken between two events."""
        kept = Kept(self.states, self._tombstones.kept(), self._tree.kept())
        return encode(self.name, self.version, kept)

    def restore(self, snapshot: bytes) -> None:
        """Go on from a snapshot; to be called before the first event."""
        kept = decode(snapshot, self.name, self.version, SessionNode)
        self.states.update(kept.states)
        self._tombstones.restore(kept.gone)
        self._tree.restore(kept.children)

    def _described(self, event: SessionEvent, now: float) -> Iterable[SessionNode]:
        if not isinstance(event, SessionInfo):
            return ()
        session_id, parent_id = event.session_id, event.parent_id
        if isinstance(event, SessionCreated):
            self._tombstones.take_away(session_id)
        elif session_id in self._tombstones:
            return ()
        before = self._tree.parent(session_id)
        linked = self._tree.link(session_id, parent_id)
        if session_id not in self.states:
            self.states[session_id] = _NOT_SAID
        elif not linked:
            return ()
        return self._changed([session_id, parent_id, before, *self._tree.descendants(session_id)])

    def _gone(self, event: SessionEvent, now: float) -> Iterable[SessionNode]:
        node = self.states.pop(event.session_id, None)
        if isinstance(event, SessionDeleted):
            self._tombstones.put(event.session_id, now)
        if node is None:
            return ()
        below = list(self._tree.descendants(event.session_id))
        self._tree.forget(event.session_id)
        gone = msgspec.structs.replace(node, gone=True)
        return [gone, *self._changed([node.parent_id, *below])]

    def _changed(self, session_ids: Iterable[str]) -> list[SessionNode]:
        """The new places of those that were heard of and whose place is another now."""
        changed: list[SessionNode] = []
        for session_id in dict.fromkeys(session_ids):
            node = self._node(session_id)
            if self.states.get(session_id, node) != node:
                self.states[session_id] = node
                changed.append(node)
        return changed

    def _node(self, session_id: str) -> SessionNode:
        tree = self._tree
        return SessionNode(
            session_id,
            tree.parent(session_id),
            tree.root(session_id),
            tree.depth(session_id),
            tree.children(session_id),
        )


def session_tree(*, scheduler: abc.SchedulerBase | None = None) -> Operator[SessionNode]:
    """Emits a ``SessionNode`` when a session's place among the others becomes known, or changes.

    Like ``scan`` over all sessions, emitting only what changed.

    Marbles (1 s a character)::

        events  --c--p--d------|
        session_tree()
        result  --x--y--(z,w)--|

        c = created("child", "parent")
        p = created("parent")
        d = deleted("child")
        x: session_id="child", parent_id="parent", root_id="parent", depth=1
        y: session_id="parent", parent_id="", children=("child",)
        z: session_id="child", gone=True
        w: session_id="parent", children=()

    Args:
        scheduler: The clock; see ``per_session``.

    Returns:
        An operator from events to ``SessionNode``.

    Raises:
        Nothing.

    Memory: per session its last ``SessionNode`` and its link, about 0.4 kB; dropped with the session.
    Time: none.
    On completion and error: nothing is pending.

    Example:
        >>> import operators as ops
        >>> from streams.testing import created, outputs
        >>> events = [created("a"), created("b", "a"), created("c", "b")]
        >>> [(node.session_id, node.depth) for node in outputs(ops.session_tree(), events)]
        [('a', 0), ('b', 1), ('a', 0), ('c', 2), ('b', 1)]

    Source: field failures S10, S11.
    """
    return lift(lambda report: TreeFold(), scheduler)
