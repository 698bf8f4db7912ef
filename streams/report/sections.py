"""The sections of a report, one function each: what was found, as tables and plots."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Final
from xml.etree.ElementTree import Element

from operators import ContextUsage, SessionOverview, ToolCall
from streams.events import SessionCompacted
from streams.report.findings import Findings
from streams.report.markup import Column, Content, element, table
from streams.report.scale import Span, at_time
from streams.report.task_plot import legend, task_rows
from streams.report.usage_plot import usage_in_words, usage_plot
from streams.watch.words import duration, percent

__all__ = ["SECTIONS", "Section"]

Section = Callable[[Findings], list[Content]]

PLOTS: Final = 40
"""Plots drawn: nobody reads more, and a page of thousands is slow."""

TASKS: Final = 200


def sessions(found: Findings) -> list[Content]:
    """Every session in one table, children under their parents."""
    columns = (
        Column("Session"),
        Column("State"),
        Column("Agent and model"),
        Column("Fullest window", number=True),
        Column("Tool calls", number=True),
        Column("Tokens used", number=True),
        Column("Cost, USD", number=True),
        Column("Began", number=True),
        Column("Active", number=True),
    )
    rows = [_session(found, depth, each) for depth, each in found.family()]
    return (
        [table("Sessions, children under their parents", columns, rows, class_="wide")]
        if rows
        else [_none("sessions")]
    )


def _session(found: Findings, depth: int, session: SessionOverview) -> Sequence[Content]:
    fullest = found.fullest(session.session_id)
    return (
        _session_name(depth, session),
        _two_lines(session.state, session.error),
        _two_lines(session.agent, "/".join(filter(None, (session.provider_id, session.model_id)))),
        "" if fullest is None else _two_lines(f"{fullest.tokens:,}", _full(fullest)),
        f"{session.tool_calls:,}",
        f"{session.used_tokens:,}",
        f"{session.cost:.4f}",
        "" if session.started is None else at_time(session.started - found.begin),
        _active(session),
    )


def _session_name(depth: int, session: SessionOverview) -> Element:
    title = element("span", session.title or session.session_id, class_="title")
    below = element("span", "child session: ", class_="unseen") if depth else None
    session_id = element("code", session.session_id, class_="below") if session.title else None
    return element("div", below, title, session_id, style=f"--depth: {min(depth, 8)}", class_="session")


def _two_lines(first: str, second: str) -> Element:
    return element("div", first, element("span", second, class_="below") if second else None)


def _full(usage: ContextUsage) -> str:
    return "" if usage.ratio is None else percent(usage.ratio)


def _active(session: SessionOverview) -> str:
    if session.started is None or session.last_activity is None:
        return ""
    return duration(session.last_activity - session.started)


def context_windows(found: Findings) -> list[Content]:
    """A plot per session, on one time axis."""
    measured = [each for _, each in found.family() if found.fullest(each.session_id) is not None]
    if not measured:
        return [_none("readings of a context window")]
    told = "Tokens in use over time, on one time axis for all sessions. The line breaks where usage is "
    told += "unknown: from a compaction, marked ▼, to the next answer."
    content: list[Content] = [element("p", told), *_unknown_limits(found)]
    content += [_usage_figure(found, each) for each in measured[:PLOTS]]
    if len(measured) > PLOTS:
        content.append(element("p", f"{len(measured) - PLOTS} more sessions are in the table above."))
    return content


def _unknown_limits(found: Findings) -> list[Content]:
    readings = [each for session in found.usages.values() for each in session]
    models = sorted({f"{each.provider_id}/{each.model_id}" for each in readings if each.limit is None})
    options = [element("code", f"--limit {model}=N") for model in models]
    return [
        element("p", "The limit of a model is not known; give it with ", each, ".") for each in options
    ]


def _usage_figure(found: Findings, session: SessionOverview) -> Element:
    session_id, span = session.session_id, Span(found.begin, found.end)
    usages, fullest = found.usages[session_id], found.fullest(session_id)
    assert fullest is not None  # noqa: S101
    compacted = [each.at for each in found.compacted if each.session_id == session_id]
    title = found.title(session_id)
    drawn = element(
        "svg",
        *usage_plot(usages, span, found.threshold, compacted),
        role="img",
        aria_label=f"Tokens in the context window of {title}, over time",
        class_="usage",
    )
    words = usage_in_words(usages, fullest, span, compacted)
    return element("figure", element("h3", title), drawn, element("figcaption", *words))


def compactions(found: Findings) -> list[Content]:
    """When the window was emptied, and when it should have been."""
    if not found.compacted and not found.triggers:
        return [_none("compactions")]
    content: list[Content] = []
    if found.compacted:
        columns = (
            Column("Session"),
            Column("At", number=True),
            Column("Tokens before", number=True),
            Column("after", number=True),
            Column("reclaimed", number=True),
        )
        rows = [
            (found.title(each.session_id), at_time(each.at - found.begin), *_around(found, each))
            for each in found.compacted
        ]
        content.append(table("Tokens before and after each compaction", columns, rows))
    if found.triggers:
        columns = (
            Column("Session"),
            Column("At", number=True),
            Column("Tokens", number=True),
            Column("of limit", number=True),
        )
        rows = [
            (
                found.title(each.session_id),
                at_time(each.at - found.begin),
                f"{each.tokens:,}",
                "" if each.ratio is None else percent(each.ratio),
            )
            for each in found.triggers
        ]
        caption = f"When a session should have been compacted: {percent(found.threshold)} full or more"
        content.append(table(caption, columns, rows))
    return content


def _around(found: Findings, compacted: SessionCompacted) -> tuple[str, str, str]:
    """The reading before a compaction and the one after it."""
    usages = found.usages.get(compacted.session_id, [])
    known = [each for each in usages if each.tokens is not None]
    before = next((each.tokens for each in reversed(known) if each.at <= compacted.at), None)
    after = next((each.tokens for each in known if each.at > compacted.at), None)
    reclaimed = None if before is None or after is None else before - after
    return _number(before), _number(after), _number(reclaimed)


def background_tasks(found: Findings) -> list[Content]:
    """A Gantt chart of the sessions that other sessions started."""
    if not found.tasks:
        return [_none("background tasks")]
    names = list(dict.fromkeys(each.session_id for each in found.tasks))
    shown = set(names[:TASKS])
    tasks = [each for each in found.tasks if each.session_id in shown]
    span = Span(found.begin, found.end)
    axis = [
        element("text", label, x=f"{place:.2f}%", y="12", text_anchor=_side(place), class_="scale")
        for place, label in span.ticks()
    ]
    content: list[Content] = [
        legend(tasks),
        task_rows(tasks, span),
        element("svg", *axis, class_="axis", aria_hidden="true"),
    ]
    if len(names) > TASKS:
        content.append(element("p", f"{len(names) - TASKS} more are in the table of sessions."))
    return content


def _side(place: float) -> str:
    return "end" if place > 95 else "start" if place < 5 else "middle"


def tools(found: Findings) -> list[Content]:
    """How often each tool was called, how that ended, and how long it took."""
    by_tool: dict[str, list[ToolCall]] = {}
    for call in found.calls.values():
        by_tool.setdefault(call.tool, []).append(call)
    columns = (
        Column("Tool"),
        Column("Calls", number=True),
        Column("Completed", number=True),
        Column("Failed", number=True),
        Column("Stopped", number=True),
        Column("Exit not 0", number=True),
        Column("Median time", number=True),
        Column("Longest", number=True),
        Column("Output, characters", number=True),
    )
    rows = [_tool(name, by_tool[name]) for name in sorted(by_tool, key=lambda each: -len(by_tool[each]))]
    if not rows:
        return [_none("tool calls")]
    told = "Stopped are calls that were denied or aborted, or of which no end was heard."
    return [table("How the calls of each tool ended", columns, rows), element("p", told, class_="note")]


def _tool(name: str, calls: Sequence[ToolCall]) -> Sequence[Content]:
    ended = [call.outcome for call in calls]
    completed, failed = ended.count("completed"), ended.count("failed")
    times = [call.duration for call in calls if call.duration is not None]
    return (
        element("code", name),
        f"{len(calls):,}",
        f"{completed:,}",
        f"{failed:,}",
        f"{len(calls) - completed - failed:,}",
        f"{sum(bool(call.exit) for call in calls):,}",
        _seconds(median(times)) if times else "",
        _seconds(max(times)) if times else "",
        f"{sum(call.output_size or 0 for call in calls):,}",
    )


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms" if seconds < 1 else duration(seconds)


def loops_and_stalls(found: Findings) -> list[Content]:
    """Agents that went round in circles, and sessions that fell silent."""
    rows = [
        (
            each.at,
            each.session_id,
            "loop",
            f"{each.length:,} calls: {', '.join(each.tools) or 'of any kind'}",
        )
        for each in found.loops
    ]
    rows += [
        (each.at, each.session_id, "stall", f"{each.kind}, {duration(each.age)}" + _in(each.tool))
        for each in found.stalls
    ]
    if not rows:
        return [_none("loops or stalls")]
    columns = (Column("Session"), Column("At", number=True), Column("Kind"), Column("What"))
    cells = [
        (found.title(session_id), at_time(at - found.begin), kind, what)
        for at, session_id, kind, what in sorted(rows)
    ]
    return [table("In the order of their times", columns, cells)]


def _in(tool: str) -> str:
    return f" in {tool}" if tool else ""


def _number(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _none(what: str) -> Element:
    return element("p", f"No {what}.", class_="none")


SECTIONS: Final[dict[str, Section]] = {
    "Sessions": sessions,
    "Context windows": context_windows,
    "Compactions": compactions,
    "Background tasks": background_tasks,
    "Tools": tools,
    "Loops and stalls": loops_and_stalls,
}
"""In the order of the page, by their headings."""
