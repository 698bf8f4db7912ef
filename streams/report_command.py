"""``sessionstreams report``: a recording as one page. Needs the extra ``cli``."""

from pathlib import Path
from typing import Annotated

import typer

from streams import recordings
from streams.limit_option import Limits, limits_of
from streams.limits import ContextLimits
from streams.refusals import one_line_errors
from streams.report import gather, page

__all__ = ["report"]


def report(
    recording: Annotated[
        str,
        typer.Argument(
            metavar="RECORDING",
            help="A recording, plain or gzipped; - reads standard input.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="Where the page goes; replaced if there.",
            show_default=False,
        ),
    ],
    limit: Limits = None,
    threshold: Annotated[
        float, typer.Option(help="Fraction of the limit at which a session should be compacted.")
    ] = 0.78,
) -> None:
    """Write what is in RECORDING as one HTML page that needs no network.

    Sessions, context windows, compactions, background tasks, tools, loops and stalls.
    """
    with one_line_errors():
        limits = ContextLimits(limits_of(limit or ()))
        if recording != "-" and out.exists() and out.samefile(recording):
            raise ValueError(f"{out} is the recording: it cannot be replaced by its report")
        name = "standard input" if recording == "-" else Path(recording).name
        replayed = recordings.replay(recording, speed=None)
        out.write_text(page(gather(replayed, limits, name=name, threshold=threshold)), "utf-8")
    typer.echo(f"written to {out}", err=True)
