"""A terminal's keys, one by one, as they are pressed."""

import os
import select
import termios
import threading
from collections.abc import Callable
from typing import Final

from streams.watch.keys import Keys

__all__ = ["Keyboard", "open_keyboard"]

STDIN: Final = 0

ESCAPE: Final = 0.05
"""Seconds in which the rest of a key must follow its first byte, or it was the escape key."""


class Keyboard:
    """Reads keys on a daemon thread, without echo and without waiting for a line.

    Ctrl-C stays a signal. Ctrl-Z does nothing: it would leave the shell with a picture of us.

    Args:
        terminal: A file descriptor of a terminal; ``close`` closes it.
        press: Called with each key, on the thread.
    """

    def __init__(self, terminal: int, press: Callable[[str], None]) -> None:
        self._terminal = terminal
        self._press = press
        self._before = termios.tcgetattr(terminal)
        self._closing, self._close = os.pipe()
        self._thread = threading.Thread(target=self._read, name="sessionstreams keyboard", daemon=True)
        self._closed = False

    def start(self) -> None:
        """Begin to read."""
        mode = termios.tcgetattr(self._terminal)
        mode[3] &= ~(termios.ECHO | termios.ICANON)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        mode[6][termios.VSUSP] = bytes([os.fpathconf(self._terminal, "PC_VDISABLE")])
        # At once: output that waits for a reader must neither delay this nor its undoing.
        termios.tcsetattr(self._terminal, termios.TCSANOW, mode)
        self._thread.start()

    def close(self) -> None:
        """Put the terminal back; further calls do nothing."""
        if self._closed:
            return
        self._closed = True
        termios.tcsetattr(self._terminal, termios.TCSANOW, self._before)
        os.close(self._close)

    def _read(self) -> None:
        keys = Keys()
        try:
            while (sent := self._sent(ESCAPE if keys.pending else None)) != b"":
                for key in keys.flush() if sent is None else keys.feed(sent):
                    self._press(key)
        finally:
            os.close(self._closing)
            os.close(self._terminal)

    def _sent(self, timeout: float | None) -> bytes | None:
        """What was typed; None when nothing was, and no bytes when there will be no more."""
        ready, _, _ = select.select([self._terminal, self._closing], [], [], timeout)
        if self._closing in ready:
            return b""
        try:
            return os.read(self._terminal, 1024) if ready else None
        except OSError:  # the terminal is gone
            return b""


def open_keyboard(press: Callable[[str], None]) -> Keyboard | None:
    """The keyboard of the person who looks at the screen, started; None where there is none.

    Standard input if it is a terminal, else the terminal that the process was started from: events may
    come through a pipe while keys are pressed.

    Args:
        press: Called with each key, on a thread of the keyboard's own.
    """
    try:
        terminal = os.dup(STDIN) if os.isatty(STDIN) else os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    if not _in_foreground(terminal):
        os.close(terminal)
        return None
    keyboard = Keyboard(terminal, press)
    keyboard.start()
    return keyboard


def _in_foreground(terminal: int) -> bool:
    """Whether the keys are ours: a job in the background that reads them is stopped."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # a terminal that controls no process
        return True
