"""The commands of ``sessionstreams``. Needs the extra ``cli``; ``streams.cli`` says so without it."""

import os
import sys
from collections.abc import Callable
from importlib import metadata
from math import isfinite
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer
from reactivex import Observable, abc
from rich.console import Console

from streams import recordings
from streams.checkpointed import limits_of_servers, log_of, watch_checkpointed
from streams.cluster_command import cluster
from streams.doctor_command import doctor
from streams.events import SessionEvent
from streams.faults import Fault
from streams.limit_option import Limits, limits_of
from streams.limits import ContextLimits
from streams.refusals import one_line_errors
from streams.report_command import report
from streams.source_options import (
    Directory,
    Everywhere,
    Password,
    Server,
    Source,
    Wait,
    server_of,
)
from streams.transcripts_command import transcripts
from streams.watch.derivations import Derivations, derivations
from streams.watch.interruptible import Interruptible
from streams.watch.lines import JsonLines
from streams.watch.live import Live
from streams.watch.output import Output
from streams.watch.screen import Screen
from streams.watch.watching import Watching
from streams.watch.words import counted, one_line

__all__ = ["app"]

STDOUT: Final = 1


app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(transcripts)
app.command()(doctor)
app.command()(report)
app.add_typer(cluster, name="cluster")


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
    password: Password = None,
    directory: Directory = None,
    everywhere: Everywhere = False,
    wait: Wait = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="One JSON line per derived value; so too when stdout is no terminal."
        ),
    ] = False,
    speed: Annotated[
        float | None,
        typer.Option(
            help="Of a recording: 1 plays as recorded, 0 as fast as possible in virtual time. "
            "Default 1 in a terminal, 0 for JSON.",
            show_default=False,
        ),
    ] = None,
    limit: Limits = None,
    threshold: Annotated[
        float, typer.Option(help="Fraction of the limit at which a session should be compacted.")
    ] = 0.78,
    compact: Annotated[
        bool,
        typer.Option(
            "--compact",
            help="Have the server compact a session that is above the threshold, by the model of its "
            "last answer. Without it, what would be done is shown.",
        ),
    ] = False,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="STORE",
            help="Commit what is derived, and how far SOURCE was read, into this SQLite file (or "
            "postgresql://…), and go on from there. JSON lines. SOURCE may be a directory of recordings "
            "too, which is followed; of a server what is in its log is derived from.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Watch sessions: how full each context window is, warnings, and when to compact.

    A server tells the limits of its models; --limit goes before. Ctrl-C ends it, and leaves the summary.
    """
    lines = as_json or not os.isatty(STDOUT)
    with one_line_errors():
        yours = limits_of(limit or ())
        if checkpoint is not None:
            _not_with_checkpoint(
                compact=compact, directory=directory, everywhere=everywhere, wait=wait, speed=speed
            )
            _checkpointed(source, password, yours, threshold, checkpoint)
            return
        server = server_of(source, password, directory, everywhere=everywhere, wait=wait)
        if server is None:
            _only_of("a running server", source, compact=compact or None)
            watched = _recording(source, _speed(speed, lines=lines), yours, threshold)
        else:
            _only_of("a recording", source, speed=speed)
            watched = _running(server, yours, threshold, compact=compact)
        output = _lines() if lines else _screen(watched.name, threshold)
    watching = Watching(
        watched.events,
        watched.scheduler,
        watched.table,
        output,
        torn=watched.torn,
        live=watched.live,
    )
    watching.run()
    _report_end(watching)


def _checkpointed(
    source: str, password: str | None, yours: dict[str, int], threshold: float, store: str
) -> None:
    limits = limits_of_servers((source,), yours, password)
    table = derivations(limits, threshold=threshold)
    watch_checkpointed(log_of(source, password), table, store, {"limit": yours, "threshold": threshold})


def _not_with_checkpoint(**given: object) -> None:
    for name, value in given.items():
        if value:
            raise ValueError(f"--{name} and --checkpoint exclude each other")


class _Watched(NamedTuple):
    """What is watched, by which clock, and what is derived from it."""

    name: str
    events: Observable[SessionEvent]
    scheduler: abc.SchedulerBase
    table: Derivations
    torn: Callable[[], int] = int
    live: Live | None = None


def _recording(source: str, speed: float | None, limits: dict[str, int], threshold: float) -> _Watched:
    table = derivations(ContextLimits(limits), threshold=threshold)
    replayed = recordings.replay(source, speed)
    name = "standard input" if source == "-" else Path(source).name
    recording = replayed.recording
    return _Watched(name, replayed, replayed.scheduler, table, lambda: recording.torn)


def _running(server: Server, limits: dict[str, int], threshold: float, *, compact: bool) -> _Watched:
    live = Live(server.connect(), server.client(), limits)
    table = live.derivations(threshold, compact=compact)
    return _Watched(live.server.url, live.events, live.server.clock, table, live=live)


def _only_of(what: str, source: str, **given: object) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"--{name} needs {what} as SOURCE, got {source!r}")


@app.command()
def record(
    source: Source,
    file: Annotated[Path, typer.Argument(help="Where to; appended to if it exists.", show_default=False)],
    password: Password = None,
    directory: Directory = None,
    everywhere: Everywhere = False,
    wait: Wait = False,
) -> None:
    """Record the events of a source into a file, one JSON line each. Ctrl-C ends it.

    Of a server: each event once, as it came; what a lost connection missed is in it, after a mark.
    """
    faults: list[Fault] = []  # what the recorder reports is its ``error`` too
    with one_line_errors():
        server = server_of(source, password, directory, everywhere=everywhere, wait=wait)
        existed = file.exists()
        if server is None:
            if existed and source != "-" and file.samefile(source):
                raise ValueError(f"{file} cannot be recorded into itself")
            replayed = recordings.replay(source, speed=None)
            events = Interruptible(replayed, replayed.scheduler)
        else:
            live = server.connect()
            events = Interruptible(live, live.clock)
        recorder = recordings.Recorder(file, report=faults.append)
        recorder.follow(events.hub)
        events.run(recorder.ended)
        if recorder.error is not None:
            if not (existed or recorder.written):
                file.unlink()
            raise recorder.error
    typer.echo(f"{counted(recorder.written, 'event')} written to {file}", err=True)


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


def _screen(name: str, threshold: float) -> Output:
    terminal = os.fdopen(STDOUT, "w", encoding=sys.stdout.encoding, errors="replace", closefd=False)
    return Screen(Console(file=terminal), name=one_line(name), threshold=threshold)


def _speed(speed: float | None, *, lines: bool) -> float | None:
    """The speed of ``replay``, which calls virtual time None."""
    if speed is None:
        speed = 0.0 if lines else 1.0
    if not (isfinite(speed) and speed >= 0):
        raise ValueError(f"speed must be 0 (virtual time) or more, got {speed!r}")
    return speed or None


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit status. An empty one asks for help."""
    try:
        status = app(arguments or ["--help"], prog_name="sessionstreams", standalone_mode=False)
    except typer.TyperException as error:
        sys.stderr.write(f"sessionstreams: {one_line(error.format_message())}\n")
        return error.exit_code
    return status if isinstance(status, int) else 0
