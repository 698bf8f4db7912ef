"""The README's pictures, made from recordings in virtual time: ``make pictures``."""

from importlib import resources
from io import StringIO
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import tostring

from rich.console import Console
from rich.terminal_theme import TerminalTheme

import operators as ops
from streams import ContextLimits, EventHub, recordings, report
from streams.events import SessionEvent
from streams.report.markup import element, stylesheet
from streams.report.scale import Span
from streams.report.usage_plot import usage_plot
from streams.watch.board import Board
from streams.watch.cells import Look
from streams.watch.controls import Controls
from streams.watch.derivations import Derived, derivations
from streams.watch.view import frame

TESTS: Final = Path(__file__).parent
FOLDER: Final = TESTS.parent / "notebooks/pictures"
LIMITS: Final = ContextLimits({"acme/kestrel-tight": 32_000, "acme/kestrel-large": 14_000})

PAPER: Final = TerminalTheme(
    (255, 255, 255),
    (31, 35, 40),
    [
        (31, 35, 40),
        (164, 14, 38),
        (17, 99, 41),
        (127, 78, 0),
        (9, 80, 174),
        (130, 50, 180),
        (0, 95, 115),
        (89, 99, 110),
    ],
)
"""Dark on white, so that it reads on any page."""

# rich's own frame asks a network for its font.
FRAME: Final = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 16 {width} {height}" width="{width}" height="{height}">
<title>sessionstreams watch</title>
<style>
.{unique_id}-matrix {{
  font: {char_height}px/{line_height}px ui-monospace, Menlo, Consolas, "Liberation Mono", monospace;
}}
{styles}
</style>
<rect x="0.5" y="16.5" width="99.9%" height="99.6%" rx="6" fill="#ffffff" stroke="#d1d9e0"/>
<defs>
{lines}
</defs>
<g transform="translate({terminal_x}, {terminal_y})">
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
MOMENT: Final = 9.5
"""Seconds after the first event: the helpers are done, and their parent's window is too full."""

COLUMNS: Final = 110


def of(name: str) -> recordings.Replayed:
    return recordings.replay(TESTS / "recordings" / f"{name}.jsonl.gz", speed=None)


def watch() -> str:
    """``sessionstreams watch`` as it looks at one moment in the recording of the subagents."""
    replayed = of("subagents")
    hub, board, pictures = EventHub(replayed), Board(), list[str]()

    def take(event: SessionEvent) -> None:
        if not pictures and board.events and event.at - board.first >= MOMENT:
            pictures.append(screen(board, board.first + MOMENT))
        board.take(event)

    hub.subscribe(take)
    hub.pipe(ops.session_overview()).subscribe(board.overlook)
    for name, derive in derivations(LIMITS, threshold=0.78).items():
        hub.pipe(derive).subscribe(lambda value, name=name: board.derived(Derived(name, 0.0, value)))
    hub.connect()
    return pictures[0]


def screen(board: Board, now: float) -> str:
    """The live view, drawn as a terminal of so many columns draws it."""
    console = Console(
        file=StringIO(), record=True, width=COLUMNS, force_terminal=True, color_system="standard"
    )
    look = Look("subagents.jsonl.gz", threshold=0.78, width=COLUMNS, height=24)
    console.print(frame(board, now, look, Controls()))
    return console.export_svg(theme=PAPER, code_format=FRAME, unique_id="watch")


def usage() -> str:
    """The plot that a report has of a session: limit, threshold, two compactions."""
    found = report.gather(of("compaction"), LIMITS, name="compaction")
    [(session_id, usages)] = found.usages.items()
    compacted = [each.at for each in found.compacted]
    plot = usage_plot(usages, Span(found.begin, found.end), found.threshold, compacted)
    css = resources.files("streams.report").joinpath("plot.css").read_text("utf-8")
    picture = element(
        "svg",
        element("title", f"Context window of {found.title(session_id)!r}: limit, threshold, compactions"),
        stylesheet(css + "text { font-family: system-ui, sans-serif; }"),
        element("rect", width="100%", height="100%", rx="6", fill="var(--paper)"),
        element("svg", *plot, x="72", y="20", width="664", height="196"),
        xmlns="http://www.w3.org/2000/svg",
        width="760",
        height="260",
        viewBox="0 0 760 260",
    )
    return tostring(picture, encoding="unicode") + "\n"


PICTURES: Final = {"watch.svg": watch, "usage.svg": usage}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        (FOLDER / name).write_text(draw(), "utf-8")


if __name__ == "__main__":
    main()
