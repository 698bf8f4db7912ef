"""A terminal that a test looks at: a program runs in it, and what it draws is read back."""

import fcntl
import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, Final

import pyte

__all__ = ["Terminal"]

DEADLINE: Final = 15.0
"""Seconds that the screen has to say what is waited for."""

ALTERNATE: Final = 1049


class _Screen(pyte.Screen):
    """One with a second page, as every real terminal has and pyte does not."""

    page: Any = None

    def set_mode(self, *modes: int, **options: Any) -> None:
        super().set_mode(*modes, **options)
        if options.get("private") and ALTERNATE in modes:
            self.page = deepcopy((self.buffer, self.cursor))
            self.erase_in_display(2)

    def reset_mode(self, *modes: int, **options: Any) -> None:
        super().reset_mode(*modes, **options)
        if options.get("private") and ALTERNATE in modes and self.page is not None:
            self.buffer, self.cursor = self.page
            self.page = None


class Terminal:
    """The terminal that controls one process, as a shell's user has it.

    Args:
        command: What to run.
        columns: Characters a line.
        lines: Lines.
        stdin: Where the process reads from, if not from the terminal.
        environment: Of the process.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        *,
        columns: int = 80,
        lines: int = 24,
        stdin: int | None = None,
    ) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (lines, columns))
        self.before = termios.tcgetattr(theirs)
        self._screen = _Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.process = subprocess.Popen(
            command,
            stdin=theirs if stdin is None else stdin,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0),
        )
        self._theirs = theirs

    @property
    def lines(self) -> list[str]:
        """What is on the screen."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def in_view(self) -> bool:
        """Whether the program has the second page."""
        return self._screen.page is not None

    @property
    def cursor_hidden(self) -> bool:
        return self._screen.cursor.hidden

    @property
    def modes(self) -> list[Any]:
        """What the terminal does with keys."""
        return termios.tcgetattr(self._theirs)

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._ours, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """As when a window is dragged; the system sends SIGWINCH."""
        self._screen.resize(lines, columns)
        termios.tcsetwinsize(self._theirs, (lines, columns))

    def until(self, *said: str | Callable[[str], bool]) -> str:
        """Read until the screen says all of this, or fulfils it."""
        deadline = time.monotonic() + DEADLINE
        while not all(each(self.text) if callable(each) else each in self.text for each in said):
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"the screen does not say {said!r}:\n{self.text}")
        return self.text

    def drain(self, seconds: float) -> int:
        """Read for so long without looking at it; how many bytes came."""
        deadline, count = time.monotonic() + seconds, 0
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._ours], [], [], left)[0]:
                count += len(os.read(self._ours, 65536))
        return count

    def end(self) -> int:
        """Read what is left, until the process is over; its exit status."""
        deadline = time.monotonic() + DEADLINE
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read(0.05)
        while self._read(0):
            pass
        return self.process.wait(0)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._ours], [], [], max(0.0, seconds))
        if ready:
            self._stream.feed(os.read(self._ours, 65536))
        return bool(ready)
