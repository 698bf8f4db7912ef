"""``sessionstreams transcripts``: a recording's transcripts, as files. Needs the extra ``cli``."""

import gzip
from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from stat import S_ISREG
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from streams import recordings
from streams.events import SessionEvent
from streams.faults import Fault
from streams.hub import EventHub
from streams.recordings import GZIP_MAGIC, Replayed
from streams.transcripts import TranscriptStore, read

__all__ = ["FileFormat", "transcripts"]

SHOWN_EVERY = 512
"""Events between two steps of the progress bar."""


class FileFormat(StrEnum):
    """As for ``TranscriptStore``."""

    CLAUDE = "claude"
    MESSAGES = "messages"


def transcripts(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A recording, plain or gzipped; - reads standard input.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the files go; made if need be.", show_default=False)
    ],
    format_: Annotated[
        FileFormat,
        typer.Option(
            "--format",
            help="claude: the lines that hooks of Claude Code read. messages: one line per message.",
        ),
    ] = FileFormat.CLAUDE,
    cap: Annotated[
        int | None,
        typer.Option(help="Bytes that a tool call may take; a longer one is cut.", show_default=False),
    ] = None,
) -> None:
    """Write the transcript of every session in SOURCE, one JSON Lines file each.

    What is there already is gone on with. Prints a line per session written.
    """
    faults: list[Fault] = []
    with _one_line_errors():
        replayed = recordings.replay(source, speed=None)
        store = TranscriptStore(out, format=format_.value, cap=cap)
        store.errors.subscribe(faults.append)
        sessions = _play(replayed, store, _lines_in(source))
    for session_id in sorted(sessions):
        _say(store, session_id)
    for fault in faults:
        typer.echo(f"sessionstreams: {fault}", err=True)
    if faults:
        raise typer.Exit(1)


def _play(replayed: Replayed, store: TranscriptStore, total: int | None) -> set[str]:
    """Play it through the store; returns the sessions that were heard of."""
    sessions: set[str] = set()
    ended: list[Exception] = []
    with _progress() as progress:
        task = progress.add_task("events", total=total)
        count = 0

        def note(event: SessionEvent) -> None:
            nonlocal count
            count += 1
            sessions.add(event.session_id)
            if count % SHOWN_EVERY == 0:
                progress.update(task, completed=count)

        hub = EventHub(replayed)
        store.follow(hub)
        hub.subscribe(note, ended.append)
        with store:
            hub.connect()
        progress.update(task, completed=count, total=count)
    if ended:
        raise ended[0]
    return sessions


def _progress() -> Progress:
    """On standard error, and only if that is a terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _say(store: TranscriptStore, session_id: str) -> None:
    path = store.path(session_id)
    if session_id and path.exists():
        records = sum(1 for _ in read(path).lines())
        typer.echo(f"{session_id}  {records} records  {path.stat().st_size} bytes  {path}")


def _lines_in(source: str) -> int | None:
    """How many events there are to come, where that can be known beforehand."""
    path = Path(source)
    if source == "-" or not S_ISREG(path.stat().st_mode):
        return None
    with path.open("rb") as file:
        is_gzip = file.read(2) == GZIP_MAGIC
    try:
        with gzip.open(path) if is_gzip else path.open("rb") as text:
            return sum(1 for _ in text)
    except (EOFError, OSError):  # torn: said when it is read
        return None


@contextmanager
def _one_line_errors() -> Generator[None]:
    """An argument that turns out to be wrong, or a file that cannot be read, is told in one line."""
    try:
        yield
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        raise typer.BadParameter(f"{where}{error.strerror or error}") from None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
