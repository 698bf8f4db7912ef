"""Recordings as sources that can be read again from a position: one file, or a directory of them."""

import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Final

from streams.positions import Positioned, Reader
from streams.recordings import Recording, read

__all__ = ["DirectoryLog", "RecordingLog"]

CHUNK: Final = 256
"""Events that one call of ``read`` gives at most."""

_Timed = tuple[float, Positioned]
_Files = Callable[[], Mapping[str, Path]]


class RecordingLog:
    """One recording, to be read again from a position.

    Args:
        path: The file, plain or gzipped.
        follow: Wait for what is appended, as ``tail -f`` does; else the log ends where the file does. A
            gzipped file does not grow.
        sleep: Waits so many seconds.

    Attributes:
        name: The file's path, with no ``..`` and no link in it.

    Memory: one line. Time: with ``follow``, one look at the file's size for each ``read``.
    """

    def __init__(
        self, path: str | Path, *, follow: bool = False, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._path = Path(path)
        self._follow = follow
        self._sleep = sleep
        self.name = str(self._path.resolve())

    def open(self, positions: Mapping[str, int]) -> Reader:
        """Go on after a position, the byte offset under the file's name.

        Raises:
            OSError: There is no such file, or it cannot be read.
        """
        read(self._path)
        file = {_name_of(self._path): self._path}
        return _Following(lambda: file, positions, self._follow, self._sleep)


class DirectoryLog:
    """All recordings of a directory (``*.jsonl``, ``*.jsonl.gz``), in the order of the records' times.

    A file that is gzipped meanwhile keeps its position: it counts in bytes of the text.

    Args:
        path: The directory; those within it are not looked at.
        follow: Wait for what is appended, and for new files; else the log ends where the files do.
        sleep: Waits so many seconds.

    Attributes:
        name: The directory's path, with no ``..`` and no link in it.

    Memory: one line and one open file for each recording that is not yet read to its end.
    Time: with ``follow``, one listing and one look at each file's size for each ``read``.
    """

    def __init__(
        self, path: str | Path, *, follow: bool = True, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._path = Path(path)
        self._follow = follow
        self._sleep = sleep
        self.name = str(self._path.resolve())

    def open(self, positions: Mapping[str, int]) -> Reader:
        """Go on after the positions, a byte offset under each file's name without ``.gz``.

        Raises:
            OSError: There is no such directory, or it cannot be read.
        """
        next(self._path.iterdir(), None)
        return _Following(self._files, positions, self._follow, self._sleep)

    def _files(self) -> Mapping[str, Path]:
        """While a file is being gzipped there are both: the plain one, which is whole, wins."""
        found = sorted(self._path.glob("*.jsonl.gz")) + sorted(self._path.glob("*.jsonl"))
        by_name = {_name_of(path): path for path in found}
        return {name: by_name[name] for name in sorted(by_name)}


class _Following:
    """Reads files to their ends, then what they have grown by."""

    def __init__(
        self, files: _Files, positions: Mapping[str, int], follow: bool, sleep: Callable[[float], None]
    ) -> None:
        self.caught_up = False
        self.ended = False
        self._files = files
        self._positions = dict(positions)
        self._follow = follow
        self._sleep = sleep
        self._sizes: dict[str, int] = {}
        self._ahead = self._unread()

    def read(self, wait: float) -> list[Positioned]:
        """The next events in the order of their times; waits once all are read."""
        if self.ended:
            return []
        if not (found := self._next()):
            self.caught_up = True
            self.ended = not self._follow
            if wait > 0 and self._follow:
                self._sleep(wait)
                found = self._next()
        return found

    def close(self) -> None:
        """Let go of the files."""
        self.ended = True
        self._ahead = iter(())

    def _next(self) -> list[Positioned]:
        if not (found := list(islice(self._ahead, CHUNK))) and self._follow and self.caught_up:
            self._ahead = self._unread()
            found = list(islice(self._ahead, CHUNK))
        return [positioned for _, positioned in found]

    def _unread(self) -> Iterator[_Timed]:
        grown = [self._rest_of(*file) for file in self._files().items() if self._has_grown(*file)]
        return heapq.merge(*grown, key=itemgetter(0))

    def _has_grown(self, name: str, path: Path) -> bool:
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return False
        before, self._sizes[name] = self._sizes.get(name), size
        return size != before

    def _rest_of(self, name: str, path: Path) -> Iterable[_Timed]:
        """What comes after the file's position, never before what came before it in the file."""
        latest = 0.0
        try:
            for event, after in Recording(path).read(self._positions.get(name, 0)):
                latest = max(latest, event.at)
                self._positions[name] = after
                yield latest, Positioned(event, name, after)
        except (
            FileNotFoundError
        ):  # gzipped or gone: if it is there by another name, that is found next time
            del self._sizes[name]


def _name_of(path: Path) -> str:
    return path.name.removesuffix(".gz")
