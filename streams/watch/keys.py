"""What a terminal sends when a key is pressed, as the key's name."""

import codecs
from collections.abc import Iterator
from typing import Final

__all__ = ["Keys"]

NAMED: Final = {
    "\x1b": "escape",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1bOH": "home",
    "\x1b[F": "end",
    "\x1bOF": "end",
}

ESCAPE: Final = "\x1b"
LONGEST: Final = 32
"""Characters: no key sends more, so what is longer is not waited for."""


class Keys:
    """Bytes in, keys out: ``q``, ``ü``, ``enter``, ``escape``, ``up``, …

    The escape key sends what every other special key begins with, so it is only known by what does not
    follow: ``pending`` says that it may be one, ``flush`` that nothing came.
    """

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._text = ""

    @property
    def pending(self) -> bool:
        """Whether what came last may be the beginning of a key."""
        return bool(self._text)

    def feed(self, sent: bytes) -> Iterator[str]:
        """The keys that these bytes complete; a key that has no name here is swallowed whole."""
        self._text += self._decode(sent)
        while length := _length(self._text):
            key, self._text = self._text[:length], self._text[length:]
            if (name := NAMED.get(key, key)).isprintable():
                yield name

    def flush(self) -> Iterator[str]:
        """Nothing more came: what was pending was the escape key."""
        if self._text:
            self._text = ""
            yield "escape"


def _length(text: str) -> int:
    """Characters of the first key; 0 while it is not whole."""
    if not text.startswith(ESCAPE):
        return min(1, len(text))
    if len(text) == 1:
        return 0
    if text[1] == "O":
        return 3 if len(text) > 2 else 0
    if text[1] != "[":  # the escape key, and another one right after it
        return 1
    for place, character in enumerate(text[2:LONGEST], 3):
        if "@" <= character <= "~":
            return place
    return 0 if len(text) < LONGEST else LONGEST
