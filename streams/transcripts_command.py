"""``sessionstreams transcripts``: a recording's transcripts, as files. Needs the extra ``cli``."""

import gzip
import threading
from enum import StrEnum
from functools import partial
from pathlib import Path
from stat import S_ISREG
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from streams import recordings
from streams.events import SessionCreated, SessionEvent, StreamResumed
from streams.faults import Fault
from streams.hub import EventHub
from streams.opencode import Client
from streams.recordings import GZIP_MAGIC, Replayed
from streams.refusals import one_line_errors
from streams.source_options import Directory, Everywhere, Password, Server, Source, Wait, server_of
from streams.transcripts import TranscriptStore, read
from streams.watch.interruptible import Interruptible

__all__ = ["FileFormat", "transcripts"]

SHOWN_EVERY = 512
"""Events between two steps of the progress bar."""


class FileFormat(StrEnum):
    """As for ``TranscriptStore``."""

    CLAUDE = "claude"
    MESSAGES = "messages"


def transcripts(
    source: Source,
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
    password: Password = None,
    directory: Directory = None,
    everywhere: Everywhere = False,
    wait: Wait = False,
) -> None:
    """Write the transcript of every session in SOURCE, one JSON Lines file each.

    What is there already is gone on with. Prints a line per session written. Of a server: of every
    session that something is heard of, with all that came before, until Ctrl-C.
    """
    faults: list[Fault] = []
    with one_line_errors():
        server = server_of(source, password, directory, everywhere=everywhere, wait=wait)
        play = (
            partial(_follow, server)
            if server
            else partial(_play, recordings.replay(source, speed=None), _lines_in(source))
        )
        store = TranscriptStore(out, format=format_.value, cap=cap)
        store.errors.subscribe(faults.append)
        sessions = play(store)
    for session_id in sorted(sessions):
        _say(store, session_id)
    for fault in faults:
        typer.echo(f"sessionstreams: {fault}", err=True)
    if faults:
        raise typer.Exit(1)


def _play(replayed: Replayed, total: int | None, store: TranscriptStore) -> set[str]:
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


class _Live:
    """Follows a server; asks once for the history of each session that began before it was heard of.

    Attributes:
        sessions: Every session heard of.
        ended: Set when the stream is over.
        error: What it ended with.
    """

    def __init__(self, store: TranscriptStore, client: Client) -> None:
        self.sessions: set[str] = set()
        self.ended = threading.Event()
        self.error: Exception | None = None
        self._store = store
        self._client = client
        self._whole: set[str] = set()

    def take(self, event: SessionEvent) -> None:
        if isinstance(event, StreamResumed) and not event.complete:
            self._whole.clear()
        session_id = event.session_id
        if not session_id or session_id in self._whole:
            return
        self.sessions.add(session_id)
        self._whole.add(session_id)
        if not isinstance(event, SessionCreated):
            self._store.prime(session_id, self._client.messages)

    def fail(self, error: Exception) -> None:
        self.error = error
        self.ended.set()


def _follow(server: Server, store: TranscriptStore) -> set[str]:
    """Follow a server until Ctrl-C; returns the sessions that were heard of."""
    events = server.connect()
    live, source = _Live(store, server.client()), Interruptible(events, events.clock)
    store.follow(source.hub)
    source.hub.subscribe(live.take, live.fail, live.ended.set)
    with store:
        source.run(live.ended)
    if live.error is not None:
        raise live.error
    return live.sessions


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
