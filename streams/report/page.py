"""The page: one file, no script, nothing fetched."""

from datetime import UTC, datetime
from importlib import resources
from typing import Final
from xml.etree.ElementTree import Element

from streams.report.findings import Findings
from streams.report.markup import element, html, stylesheet
from streams.report.sections import SECTIONS
from streams.watch.words import counted, duration

__all__ = ["page"]

NOTHING_FETCHED: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What the page asks the browser to hold it to."""


def page(found: Findings) -> str:
    """Findings as the text of one HTML file.

    It needs nothing beside itself: no script, no font, no picture, no network. Whatever agents wrote
    is text in it.
    """
    sections = [
        element(
            "section",
            element("h2", heading, id=_anchor(heading)),
            *section(found),
            aria_labelledby=_anchor(heading),
        )
        for heading, section in SECTIONS.items()
    ]
    body = element(
        "body",
        element("a", "Skip to the report", href="#report", class_="skip"),
        element("header", element("h1", found.name), _summary(found), _contents()),
        element("main", *sections, id="report", tabindex="-1"),
        element("footer", element("p", "Made by sessionstreams. Times are since the first event.")),
    )
    return html(element("html", _head(found), body, lang="en"))


def _head(found: Findings) -> Element:
    styles = resources.files("streams.report")
    css = "\n".join(styles.joinpath(name).read_text("utf-8") for name in ("plot.css", "page.css"))
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=NOTHING_FETCHED),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", f"{found.name} · session report"),
        stylesheet(css),
    )


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")


def _contents() -> Element:
    links = [element("li", element("a", each, href=f"#{_anchor(each)}")) for each in SECTIONS]
    return element("nav", element("ul", *links), aria_label="Sections")


def _summary(found: Findings) -> Element:
    """The counts that come first."""
    if not found.events:
        return element("p", "The recording has no events.")
    overviews = found.sessions.values()
    facts = {
        "Recorded": _moment(found.begin),
        "Length": duration(found.end - found.begin),
        "Sessions": f"{len(found.sessions):,}",
        "Tool calls": f"{len(found.calls):,}",
        "Tokens used": f"{sum(each.used_tokens for each in overviews):,}",
        "Cost": f"{sum(each.cost for each in overviews):.4f} USD",
        "Compactions": f"{len(found.compacted):,}",
        "Events": f"{found.events:,}",
    }
    said = [element("div", element("dt", name), element("dd", value)) for name, value in facts.items()]
    return element("div", element("dl", *said, class_="facts"), _blemishes(found))


def _moment(seconds: float) -> Element | str:
    try:
        moment = datetime.fromtimestamp(seconds, tz=UTC)
    except (OverflowError, ValueError, OSError):  # a clock of somebody's own
        return f"{seconds:g} s"
    return element("time", f"{moment:%Y-%m-%d %H:%M:%S} UTC", datetime=moment.isoformat())


def _blemishes(found: Findings) -> Element | None:
    """What is missing from the recording, or went wrong in reading it."""
    said = [
        counted(count, what)
        for count, what in (
            (found.gaps, "lost connection"),
            (found.malformed, "event that could not be read"),
            (len(found.faults), "fault"),
        )
        if count
    ]
    return element("p", "Incomplete: " + ", ".join(said) + ".", class_="note") if said else None
