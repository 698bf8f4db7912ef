"""What the person at the keyboard wants to see, and how a key changes it. No terminal in here."""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

__all__ = ["Controls", "Sort", "press"]

Sort = Literal["recent", "fullest", "tools", "title"]

SORTS: Final[tuple[Sort, ...]] = ("recent", "fullest", "tools", "title")
"""In the order in which ``s`` goes through them."""

PAGE: Final = 10


class Controls(msgspec.Struct, frozen=True):
    """What to show.

    Attributes:
        paused: The picture stands, while the stream goes on.
        sort: ``recent``: those heard of last, as families. ``fullest``: by how full the context window
            is. ``tools``: by tool calls. ``title``: by name.
        filter: Show only sessions whose title, id, model or status has this in it.
        typing: Keys are letters of the filter.
        selected: The session that is marked; empty for none.
        opened: It is shown alone, in detail.
        help: Say what each key does.
        quit: It is over.
    """

    paused: bool = False
    sort: Sort = "recent"
    filter: str = ""
    typing: bool = False
    selected: str = ""
    opened: bool = False
    help: bool = False
    quit: bool = False


def press(controls: Controls, key: str, sessions: Sequence[str]) -> Controls:
    """What is wanted after a key.

    Args:
        controls: What was wanted before it.
        key: Its name, as ``Keys`` gives it.
        sessions: The ids of those that could be selected, in the order shown.
    """
    if controls.typing:
        return _typed(controls, key)
    match key:
        case "q":
            return replace(controls, quit=True)
        case " ":
            return replace(controls, paused=not controls.paused)
        case "?":
            return replace(controls, help=not controls.help)
        case "s" if not controls.opened:
            return replace(controls, sort=SORTS[(SORTS.index(controls.sort) + 1) % len(SORTS)])
        case "/" if not controls.opened:
            return replace(controls, typing=True)
        case "enter" if controls.selected in sessions:
            return replace(controls, opened=True)
        case "escape":
            return _back(controls)
        case _:
            return replace(controls, selected=_moved(controls.selected, key, sessions))


def _typed(controls: Controls, key: str) -> Controls:
    match key:
        case "enter":
            return replace(controls, typing=False)
        case "escape":
            return replace(controls, typing=False, filter="")
        case "backspace":
            return replace(controls, filter=controls.filter[:-1])
        case _:
            return replace(controls, filter=controls.filter + key) if len(key) == 1 else controls


def _back(controls: Controls) -> Controls:
    """One step: out of the session, then out of the selection, then out of the filter."""
    if controls.opened:
        return replace(controls, opened=False)
    if controls.selected:
        return replace(controls, selected="")
    return replace(controls, filter="")


def _moved(selected: str, key: str, sessions: Sequence[str]) -> str:
    """The session that a key moves to; the ends are ends."""
    steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -PAGE, "page down": PAGE}
    if not sessions:
        return selected
    if key in ("home", "end"):
        return sessions[0 if key == "home" else -1]
    if key not in steps:
        return selected
    if selected not in sessions:
        return sessions[0]
    return sessions[min(len(sessions) - 1, max(0, sessions.index(selected) + steps[key]))]
