"""The last line: what can be done now, and with which key."""

from typing import Final

from rich.text import Text

from streams.watch.controls import Controls

__all__ = ["heading", "hint"]

LIST: Final = "q quit  space pause  s sort  / filter  up/down select  Enter open  Esc back"
DETAIL: Final = "q quit  space pause  up/down other session  Esc back"


def hint(controls: Controls | None) -> Text:
    """One line; short, because the terminal may echo ``^C`` behind it where there is no keyboard.

    Args:
        controls: What the person at the keyboard wants; None where there is no keyboard.
    """
    if controls is None:
        return Text("Ctrl-C ends", "dim")
    if controls.typing:
        return _line(f"/{controls.filter}_  Enter keeps the filter, Esc drops it", "")
    if controls.help:
        return _line(DETAIL if controls.opened else LIST, "")
    return _line("Esc back  ? keys" if controls.opened else "q quit  ? keys", "dim")


def heading(controls: Controls | None) -> str:
    """What is not as it was at the beginning: paused, sorted, filtered."""
    if controls is None:
        return ""
    said = (
        "PAUSED" if controls.paused else "",
        f"by {controls.sort}" if controls.sort != "recent" and not controls.opened else "",
        f"/{controls.filter}" if controls.filter and not (controls.typing or controls.opened) else "",
    )
    return "  ".join(filter(None, said))


def _line(text: str, style: str) -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")
