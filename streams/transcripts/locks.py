"""One writer per file at a time: across processes where the system can, else within this one."""

import os
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

__all__ = ["sole_writer"]


@contextmanager
def sole_writer(path: Path) -> Generator[None]:
    """Hold a file alone, making it if there is none; the system lets go of it when the process dies.

    Raises:
        BlockingIOError: Another writer has it now.
        OSError: It cannot be opened.
    """
    if sys.platform == "win32":
        with _of_process():
            yield
        return
    import fcntl

    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(file)  # which lets go of the lock too


@cache
def _of_process() -> threading.Lock:
    return threading.Lock()
