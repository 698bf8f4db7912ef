"""Elements of a page. Whatever text an agent gave stays text: the serialiser escapes it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element, tostring

__all__ = ["Column", "Content", "element", "html", "stylesheet", "table"]

Content = Element | str | None


def element(tag: str, *content: Content, **attributes: str | float | None) -> Element:
    """An element. ``class_`` is its class, ``aria_label`` its aria-label; None leaves one out."""
    made = Element(tag)
    for name, value in attributes.items():
        if value is not None:
            made.set(name.rstrip("_").replace("_", "-"), _said(value))
    for each in content:
        if isinstance(each, Element):
            made.append(each)
        elif each:
            _add_text(made, _printable(each))
    return made


def _said(value: str | float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else _printable(str(value))


def _add_text(made: Element, text: str) -> None:
    if len(made):
        made[-1].tail = (made[-1].tail or "") + text
    else:
        made.text = (made.text or "") + text


def _printable(text: str) -> str:
    """Without control characters, lone surrogates and marks that turn the direction of writing."""
    return "".join(each if each.isprintable() else " " for each in text)


def stylesheet(css: str) -> Element:
    """A style sheet, which is the one content that is not escaped."""
    made = Element("style")
    made.text = css
    return made


def html(root: Element) -> str:
    """A whole document."""
    return "<!doctype html>\n" + tostring(root, encoding="unicode", method="html") + "\n"


class Column(NamedTuple):
    """A column of a table; one of numbers is aligned to the right."""

    head: str
    number: bool = False


def table(
    caption: str, columns: Sequence[Column], rows: Iterable[Sequence[Content]], **attributes: str
) -> Element:
    """A table in a frame of its own, which scrolls by keyboard where the window is too narrow.

    The first cell of each row is its head.
    """
    sides = ["number" if column.number else None for column in columns]
    heads = [
        element("th", column.head, scope="col", class_=side)
        for column, side in zip(columns, sides, strict=True)
    ]
    body = element("tbody")
    for row in rows:
        first, *others = row
        cells = [element("td", each, class_=side) for each, side in zip(others, sides[1:], strict=True)]
        body.append(element("tr", element("th", first, scope="row"), *cells))
    drawn = element(
        "table", element("caption", caption), element("thead", element("tr", *heads)), body, **attributes
    )
    return element("div", drawn, class_="scroll", role="region", aria_label=caption, tabindex="0")
