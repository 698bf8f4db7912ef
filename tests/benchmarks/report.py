"""The results: a page, and plots beside it."""

from pathlib import Path

import altair as alt
from compare import SAME
from targets import Costs, Target

OURS, THEIRS, GREY = "#D55E00", "#0072B2", "#595959"
"""Told apart by the colour-blind too."""


LEAST = 0.1
"""Microseconds, where bars begin: a logarithmic scale has no zero."""


def targets_table(targets: list[Target]) -> str:
    rows = ["| what | to reach | measured | |", "|---|--:|--:|---|"]
    return "\n".join([*rows, *("| " + " | ".join(target.row()) + " |" for target in targets)])


def costs_table(measured: dict[str, Costs]) -> str:
    rows = [
        "| CPU per event; ours, three operators = 1 | " + " | ".join(measured) + " |",
        "|---|" + "--:|" * len(measured),
    ]
    for name in next(iter(measured.values())):
        cells = [f"{costs[name] / costs[SAME]:.2f} ({costs[name]:.2f} µs)" for costs in measured.values()]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def memory_rows(sizes: list[int], memory: dict[str, list[float]]) -> str:
    rows = [
        "| bytes per idle session | " + " | ".join(f"{size:,}" for size in sizes) + " |",
        "|---|" + "--:|" * len(sizes),
    ]
    rows += [
        f"| {name} | " + " | ".join(cells(values, len(sizes))) + " |" for name, values in memory.items()
    ]
    return "\n".join(rows)


def cells(values: list[float], count: int) -> list[str]:
    """A dash where nothing was measured."""
    return [f"{value:.0f}" for value in values] + ["–"] * (count - len(values))


def calls_table(calls: dict[int, tuple[float, float]], origin: dict[int, float]) -> str:
    rows = [
        "| messages | a tool call, all operators | parsing the history instead | the origin |",
        "|--:|--:|--:|--:|",
    ]
    rows += [
        f"| {size:,} | {call:.0f} µs | {fetch / 1000:.2f} ms | {origin[size]} ms |"
        for size, (call, fetch) in calls.items()
    ]
    return "\n".join(rows)


def plot_costs(costs: Costs, title: str, path: Path) -> None:
    """Bars on a logarithmic scale, ours in the warm colour."""
    rows = [
        {"who": name, "cost": cost, "label": f"{cost:,.1f}", "ours": name.startswith("ours")}
        for name, cost in costs.items()
    ]
    base = alt.Chart(alt.InlineData(values=rows), title=title).encode(
        x=alt.X(
            "cost:Q",
            scale=alt.Scale(type="log", domainMin=LEAST),
            title="CPU µs per event (log scale)",
        ),
        x2=alt.datum(LEAST),
        y=alt.Y("who:N", sort=None, title=None, axis=alt.Axis(labelLimit=300)),
    )
    colour = alt.condition("datum.ours", alt.value(OURS), alt.value(THEIRS))
    labels = base.mark_text(align="left", dx=4, color=GREY).encode(text="label:N")
    (base.mark_bar().encode(color=colour) + labels).properties(width=480).save(path)


def plot_calls(calls: dict[int, tuple[float, float]], path: Path) -> None:
    """A tool call beside a fetch of the history, by the length of the history."""
    told = {"a tool call, all operators": 0, "parsing the history": 1}
    rows = [
        {"messages": size, "cost": pair[which] / 1000, "what": name}
        for size, pair in calls.items()
        for name, which in told.items()
    ]
    chart = (
        alt.Chart(alt.InlineData(values=rows), title="A tool call, by the messages before it")
        .mark_line(point=alt.OverlayMarkDef(size=60))
        .encode(
            x=alt.X(
                "messages:Q", scale=alt.Scale(type="log"), title="messages in the session (log scale)"
            ),
            y=alt.Y("cost:Q", scale=alt.Scale(type="log"), title="CPU ms (log scale)"),
            color=alt.Color("what:N", scale=alt.Scale(range=[OURS, THEIRS]), title=None),
            shape=alt.Shape("what:N", title=None),
        )
    )
    chart.properties(width=420).save(path)


def plot_deciles(deciles: list[float], events: int, path: Path) -> None:
    """Flat is what it is to be."""
    rows = [{"tenth": number + 1, "cost": cost} for number, cost in enumerate(deciles)]
    chart = (
        alt.Chart(alt.InlineData(values=rows), title=f"One session of {events:,} events, all operators")
        .mark_bar(color=OURS)
        .encode(
            x=alt.X("tenth:O", title="tenth of the session", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("cost:Q", title="CPU µs per event"),
        )
    )
    chart.properties(width=420).save(path)
