"""The commands of ``sessionstreams``. Needs the extra ``cli``; ``streams.cli`` says so without it."""

import os
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from importlib import metadata
from math import isfinite
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from streams import recordings
from streams.faults import Fault
from streams.limits import ContextLimits
from streams.report_command import report
from streams.transcripts_command import transcripts
from streams.watch.derivations import derivations
from streams.watch.interruptible import Interruptible
from streams.watch.lines import JsonLines
from streams.watch.output import Output
from streams.watch.screen import Screen
from streams.watch.watching import Watching
from streams.watch.words import counted, one_line

__all__ = ["app"]

STDOUT: Final = 1


class Refused(typer.TyperException):
    """What was asked for cannot be done: the argument's fault, told in one line."""

    exit_code = 2


app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(transcripts)
app.command()(report)

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A recording, plain or gzipped; - reads standard input.",
        show_default=False,
    ),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sessionstreams {_version()}")
        raise typer.Exit


def _version() -> str:
    try:
        return metadata.version("sessionstreams")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "0+unknown"


@app.callback()
def sessionstreams(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Session events of AI coding agents as reactive streams."""


@app.command()
def watch(
    source: Source,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="One JSON line per derived value; so too when stdout is no terminal."
        ),
    ] = False,
    speed: Annotated[
        float | None,
        typer.Option(
            help="1 plays as recorded, 0 as fast as possible in virtual time. "
            "Default 1 in a terminal, 0 for JSON.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PROVIDER/MODEL=N",
            help="A model's context limit in tokens, such as anthropic/claude-sonnet-4-5=200000. "
            "Repeatable.",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float, typer.Option(help="Fraction of the limit at which a session should be compacted.")
    ] = 0.78,
) -> None:
    """Watch sessions: how full each context window is, warnings, and when to compact.

    Ctrl-C ends it, and leaves the summary.
    """
    lines = as_json or not os.isatty(STDOUT)
    if speed is None:
        speed = 0.0 if lines else 1.0
    with one_line_errors():
        table = derivations(ContextLimits(_limits(limit or ())), threshold=threshold)
        replayed = recordings.replay(source, _speed(speed))
        output = _lines() if lines else _screen(source, threshold)
    recording = replayed.recording
    watching = Watching(replayed, replayed.scheduler, table, output, torn=lambda: recording.torn)
    watching.run()
    _report_end(watching)


@app.command()
def record(
    source: Source,
    file: Annotated[Path, typer.Argument(help="Where to; appended to if it exists.", show_default=False)],
) -> None:
    """Record the events of a source into a file, one JSON line each."""
    faults: list[Fault] = []  # what the recorder reports is its ``error`` too
    with one_line_errors():
        replayed = recordings.replay(source, speed=None)
        existed = file.exists()
        if existed and source != "-" and file.samefile(source):
            raise ValueError(f"{file} cannot be recorded into itself")
        recorder = recordings.Recorder(file, report=faults.append)
        events = Interruptible(replayed, replayed.scheduler)
        recorder.follow(events.hub)
        events.run(recorder.ended)
        if recorder.error is not None:
            if not (existed or recorder.written):
                file.unlink()
            raise recorder.error
    typer.echo(f"{counted(recorder.written, 'event')} written to {file}", err=True)


@contextmanager
def one_line_errors() -> Generator[None]:
    """An argument that turns out to be wrong, or a file that cannot be opened, is told in one line."""
    try:
        yield
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        raise Refused(f"{where}{error.strerror or error}") from None
    except ValueError as error:
        raise Refused(str(error)) from None


def _report_end(watching: Watching) -> None:
    """A reader that has gone (``| head -1``) has what it wanted: that is no error."""
    if isinstance(watching.output_error, OSError):
        _abandon_stdout()
    if watching.source_error is not None:
        with one_line_errors():
            raise watching.source_error
    match watching.output_error:
        case None | BrokenPipeError():
            return
        case OSError() as error:
            raise typer.TyperException(f"standard output: {error.strerror}")
        case error:
            raise error


def _abandon_stdout() -> None:
    """What could not be written is still in a buffer, and closing it would fail once more, aloud."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STDOUT)
    os.close(nowhere)


# Both outputs get files of their own: a thread that hangs in a write (the reader sleeps, the terminal is
# stopped) then holds no lock that the interpreter wants when it ends.


def _lines() -> Output:
    return JsonLines(os.fdopen(STDOUT, "wb", closefd=False))


def _screen(source: str, threshold: float) -> Output:
    name = "standard input" if source == "-" else Path(source).name
    terminal = os.fdopen(STDOUT, "w", encoding=sys.stdout.encoding, errors="replace", closefd=False)
    return Screen(Console(file=terminal), name=one_line(name), threshold=threshold)


def _speed(speed: float) -> float | None:
    """The speed of ``replay``, which calls virtual time None."""
    if not (isfinite(speed) and speed >= 0):
        raise ValueError(f"speed must be 0 (virtual time) or more, got {speed!r}")
    return speed or None


def _limits(texts: Iterable[str]) -> dict[str, int]:
    limits: dict[str, int] = {}
    for text in texts:
        model, _, tokens = text.rpartition("=")
        if not (model and tokens.isdecimal()):
            raise ValueError(f"limit must be PROVIDER/MODEL=N, N tokens, got {text!r}")
        limits[model] = int(tokens)
    return limits


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit status. An empty one asks for help."""
    try:
        status = app(arguments or ["--help"], prog_name="sessionstreams", standalone_mode=False)
    except typer.TyperException as error:
        sys.stderr.write(f"sessionstreams: {one_line(error.format_message())}\n")
        return error.exit_code
    return status if isinstance(status, int) else 0
