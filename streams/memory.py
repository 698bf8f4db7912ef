"""What a pipeline's operators keep, taken as one value and put back into a new pipeline."""

from collections.abc import Mapping
from typing import Final, Protocol

__all__ = ["Memory"]

NOTHING: Final[Mapping[str, bytes]] = {}


class Remembering(Protocol):
    """A fold whose state can be written down."""

    name: str

    def snapshot(self) -> bytes:
        """All that it keeps."""
        ...

    def restore(self, snapshot: bytes) -> None:
        """Go on from there."""
        ...


class Memory:
    """Knows the folds of one pipeline. Give it to the pipeline's first ``EventHub``.

    Operators are told apart by their names and, where there are several of one name, by the order in
    which they were subscribed; so a pipeline that is to go on is built as it was built before.

    Args:
        snapshots: What ``take`` returned; each operator starts from its own. One without starts afresh.

    Memory: a reference to each fold for as long as this lives. It costs the events nothing.
    """

    def __init__(self, snapshots: Mapping[str, bytes] = NOTHING) -> None:
        self._restored = snapshots
        self._folds: dict[str, Remembering] = {}

    def enrol(self, fold: Remembering) -> None:
        """Somebody has subscribed to an operator.

        Raises:
            ValueError: Its snapshot is of another format, or damaged.
        """
        name, number = fold.name, 1
        while name in self._folds:
            number += 1
            name = f"{fold.name}/{number}"
        self._folds[name] = fold
        if (snapshot := self._restored.get(name)) is not None:
            fold.restore(snapshot)

    def take(self) -> dict[str, bytes]:
        """A snapshot of every operator. To be called between two events, on the hub's strand."""
        return {name: fold.snapshot() for name, fold in self._folds.items()}
