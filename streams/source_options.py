"""What a command reads from, and how that is said on the command line. Needs the extra ``cli``."""

from typing import Annotated, Final

import typer

from streams.opencode import Client, LiveEvents, connect

__all__ = ["SCHEMES", "Directory", "Everywhere", "Password", "Server", "Source", "Wait", "server_of"]

SCHEMES: Final = ("http://", "https://")

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A running opencode server (http://127.0.0.1:4096), or a recording, plain or gzipped; "
        "- reads standard input.",
        show_default=False,
    ),
]

Password = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        envvar="OPENCODE_SERVER_PASSWORD",
        help="The server's password. Better in the environment: others can read a command line.",
        show_default=False,
    ),
]

Wait = Annotated[bool, typer.Option("--wait", help="Keep trying until the server is there.")]

Directory = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="Only the sessions of this directory. Default: the one the server was started in.",
        show_default=False,
    ),
]

Everywhere = Annotated[
    bool, typer.Option("--everywhere", help="The sessions of all directories that the server works in.")
]


class Server:
    """A running server, and how to reach it.

    Args:
        url: Where it listens.
        password: For HTTP Basic authentication.
        directory: Of which directory; None for the one it was started in.
        everywhere: Of all directories.
        wait: Whether to wait until it is there.

    Raises:
        ValueError: Both a directory and all of them.
    """

    def __init__(
        self,
        url: str,
        *,
        password: str | None = None,
        directory: str | None = None,
        everywhere: bool = False,
        wait: bool = False,
    ) -> None:
        if everywhere and directory is not None:
            raise ValueError("--everywhere and --directory exclude each other")
        self._url = url
        self._password = password
        self._directory = directory
        self._everywhere = everywhere
        self._wait = wait

    def connect(self) -> LiveEvents:
        """Its events."""
        return connect(
            self._url,
            directory=self._directory,
            password=self._password,
            scope="global" if self._everywhere else "server",
            wait=self._wait,
        )

    def client(self) -> Client:
        """Who asks it, and tells it what to do."""
        return Client(self._url, directory=self._directory, password=self._password)


def server_of(
    source: str, password: str | None, directory: str | None, *, everywhere: bool, wait: bool
) -> Server | None:
    """The server that ``source`` is the address of; None for a recording.

    Raises:
        ValueError: Something was asked for that only a server has.
    """
    if source.startswith(SCHEMES):
        return Server(source, password=password, directory=directory, everywhere=everywhere, wait=wait)
    for name, given in (("directory", directory is not None), ("everywhere", everywhere), ("wait", wait)):
        if given:
            raise ValueError(f"--{name} needs a running server as SOURCE (http://…), got {source!r}")
    return None
