"""Bytes on the disk: appending, replacing, repairing, sweeping; a file is never left torn."""

import os
import secrets
import time
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Final

from streams.transcripts.locks import sole_writer
from streams.transcripts.reader import records_in

__all__ = ["Signature", "append", "make_directory", "replace", "signature", "sweep"]

TEMPORARY: Final = ".sessionstreams-temporary"
"""How the name of a file ends that is to replace another."""

ABANDONED: Final = 3600.0
"""Seconds after which such a file is nobody's any more."""

BINARY: Final = getattr(os, "O_BINARY", 0)
BUFFER: Final = 1 << 20

Signature = tuple[int, int, int]
"""Whether a file is the one it was: inode, size, time of change."""


def signature(path: Path) -> Signature | None:
    """The file's signature; None when there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def make_directory(directory: Path) -> None:
    """Readable by its owner alone, if it does not exist: transcripts hold secrets (T13)."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def append(path: Path, lines: Iterable[bytes], known: Signature | None) -> Signature | None:
    """Add lines by one write; what cannot be written whole is taken back.

    Returns:
        The file's new signature; None, and nothing is written, when it is not the file that was known.

    Raises:
        OSError: It cannot be written. The file is as it was.
    """
    if known is None:
        make_directory(path.parent)
    with sole_writer(path):
        if not _is_still(path, known):
            return None
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | BINARY, 0o600)
        try:
            _write_all(file, b"\n".join((*_mend(file), *lines, b"")))
        finally:
            os.close(file)
        return signature(path)


def _is_still(path: Path, known: Signature | None) -> bool:
    """Whether it is the file that was known; to be the only writer makes an empty one."""
    now = signature(path)
    return now == known if known else now is None or now[1] == 0


def _write_all(file: int, text: bytes) -> None:
    size = os.fstat(file).st_size
    rest = memoryview(text)
    try:
        while rest:
            rest = rest[os.write(file, rest) :]
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, size)
        raise


def _mend(file: int) -> tuple[bytes, ...]:
    """Take off what a killed writer left of a line. One that only wants its end: go on after that."""
    size = os.fstat(file).st_size
    if size == 0 or _read(file, size - 1, size) == b"\n":
        return ()
    start, step = size, 4096
    while start > 0 and b"\n" not in _read(file, start, size):
        start, step = max(0, start - step), step * 2
    tail = _read(file, start, size)
    last = tail[tail.rfind(b"\n") + 1 :]
    records, torn = records_in(last)
    if records and not torn:
        return (b"",)
    os.ftruncate(file, size - len(last))
    return ()


def _read(file: int, start: int, end: int) -> bytes:
    os.lseek(file, start, os.SEEK_SET)
    return os.read(file, end - start)


def replace(path: Path, lines: Iterable[bytes], known: Signature | None) -> Signature | None:
    """Put a new file in the place of the old one, at once.

    Returns:
        The new file's signature; None, and nothing is changed, when it is not the file that was known.

    Raises:
        OSError: It cannot be written, or not be put in place. The old file is as it was.
    """
    make_directory(path.parent)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}{TEMPORARY}")
    try:
        made = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, 0o600)
        with os.fdopen(made, "wb", buffering=BUFFER) as file:
            for line in lines:
                file.write(line)
                file.write(b"\n")
            file.flush()
            os.fsync(file.fileno())
        return _put_in_place(temporary, path, known)
    finally:
        temporary.unlink(missing_ok=True)


def _put_in_place(temporary: Path, path: Path, known: Signature | None) -> Signature | None:
    with sole_writer(path) if known else nullcontext():
        if known and not _is_still(path, known):
            return None
        os.replace(temporary, path)  # noqa: PTH105 - the atomic one, by its name
        return signature(path)


def sweep(directory: Path) -> int:
    """Remove what killed writers left behind, by name and age; returns how many files."""
    removed = 0
    for path in directory.glob(f"*{TEMPORARY}"):
        if time.time() - path.stat().st_mtime > ABANDONED:
            path.unlink(missing_ok=True)
            removed += 1
    return removed
