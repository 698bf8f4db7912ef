"""One session's context window over time, as a picture and in words."""

from collections.abc import Iterable, Sequence
from typing import Final
from xml.etree.ElementTree import Element

from operators import ContextUsage
from streams.report.markup import Content, element
from streams.report.scale import Span, at_time, round_steps
from streams.timelines import readings
from streams.watch.words import counted, percent

__all__ = ["usage_in_words", "usage_plot"]

HEADROOM: Final = 1.14
"""Of the largest number, so that a line at the limit has room above it for its name."""

DOTS: Final = 80
"""Readings above which dots would hide the line."""


def usage_plot(
    usages: Sequence[ContextUsage], span: Span, threshold: float, compacted: Iterable[float]
) -> list[Element]:
    """What to draw inside an ``svg`` of any size: all places are in percent of it.

    Args:
        usages: One session's readings, in order.
        span: The time to show.
        threshold: Fraction of the limit to draw a line at.
        compacted: Seconds, when the session was compacted.
    """
    known = [each for each in usages if each.tokens is not None]
    limit = next((each.limit for each in reversed(known) if each.limit is not None), None)
    top = max([limit or 0, *(each.tokens or 0 for each in known), 1]) * HEADROOM
    return [
        *_scale(top, span),
        *_lines(limit, threshold, top),
        *(_compaction(span, at) for at in compacted),
        *_course(readings(usages), [each.at for each in usages if each.tokens is None], span, top),
    ]


def _scale(top: float, span: Span) -> Iterable[Element]:
    step = round_steps(top, 4)
    for number in range(int(top // step) + 1):
        y = _percent(100 - number * step / top * 100)
        yield element("line", x1="0", x2="100%", y1=y, y2=y, class_="grid")
        label = f"{int(number * step):,}"
        yield element("text", label, x="0", y=y, dx="-8", dy="4", text_anchor="end", class_="scale")
    for place, label in span.ticks():
        yield element("text", label, x=_percent(place), y="100%", dy="20", **_anchor(place))


def _anchor(place: float) -> dict[str, str]:
    """A label at an edge stays inside."""
    return {"text_anchor": "end" if place > 95 else "start" if place < 5 else "middle", "class_": "scale"}


def _lines(limit: int | None, threshold: float, top: float) -> Iterable[Element]:
    if limit is None:
        return
    named = (
        ("limit", f"limit {limit:,}", 1.0),
        ("threshold", f"threshold {threshold * 100:.0f} %", threshold),
    )
    for kind, label, ratio in named:
        y = _percent(100 - limit * ratio / top * 100)
        yield element("line", x1="0", x2="100%", y1=y, y2=y, class_=kind)
        yield element("text", label, x="0", y=y, dx="4", dy="-5", class_="named")


def _compaction(span: Span, at: float) -> Element:
    x = _percent(span.place(at))
    line = element("line", x1=x, x2=x, y1="0", y2="100%", class_="compaction")
    mark = element("text", "▼", x=x, y="0", dy="9", text_anchor="middle", class_="compaction-mark")
    told = element("title", f"compacted at {at_time(at - span.begin)}")
    return element("g", told, line, mark)


def _course(
    parts: Sequence[Sequence[ContextUsage]], unknown: Sequence[float], span: Span, top: float
) -> Iterable[Element]:
    """Usage stays what it was until the next reading; from where it is ``unknown`` the line is broken."""
    paths = [
        element(
            "path",
            d=_steps(part, _end(part, unknown, span), span, top),
            vector_effect="non-scaling-stroke",
        )
        for part in parts
    ]
    yield element(
        "svg",
        *paths,
        viewBox="0 0 100 100",
        preserveAspectRatio="none",
        width="100%",
        height="100%",
        class_="course",
        overflow="visible",
    )
    if sum(map(len, parts)) <= DOTS:
        for part in parts:
            yield from (_dot(usage, span, top) for usage in part)


def _end(part: Sequence[ContextUsage], unknown: Sequence[float], span: Span) -> float:
    return next((at for at in unknown if at >= part[-1].at), span.end)


def _steps(part: Sequence[ContextUsage], end: float, span: Span, top: float) -> str:
    first, *others = part
    path = f"M{span.place(first.at):.2f} {_height(first, top):.2f}"
    path += "".join(f"H{span.place(each.at):.2f}V{_height(each, top):.2f}" for each in others)
    return f"{path}H{span.place(end):.2f}"


def _dot(usage: ContextUsage, span: Span, top: float) -> Element:
    full = "" if usage.ratio is None else f", {percent(usage.ratio)}"
    told = element("title", f"{at_time(usage.at - span.begin)}: {usage.tokens:,} tokens{full}")
    x, y = _percent(span.place(usage.at)), _percent(_height(usage, top))
    return element("circle", told, cx=x, cy=y, r="3", class_="reading")


def _height(usage: ContextUsage, top: float) -> float:
    return 100 - (usage.tokens or 0) / top * 100


def _percent(number: float) -> str:
    return f"{number:.2f}%"


def usage_in_words(
    usages: Sequence[ContextUsage], fullest: ContextUsage, span: Span, compacted: Sequence[float]
) -> list[Content]:
    """The same for whoever does not see the plot."""
    known = [each.tokens for each in usages if each.tokens is not None]
    full = f"{fullest.tokens:,} tokens"
    if fullest.ratio is not None:
        full += f", {percent(fullest.ratio)} of {fullest.limit:,}"
    said = [counted(len(known), "reading")]
    said[0] += f", {known[0]:,} tokens first and {known[-1]:,} last." if len(known) > 1 else "."
    said.append(f"Fullest at {at_time(fullest.at - span.begin)}: {full}.")
    if compacted:
        said.append("Compacted at " + ", ".join(at_time(at - span.begin) for at in compacted) + ".")
    return [" ".join(said)]
