"""``sessionstreams cluster``: up, status, down. Needs the extras ``cli`` and ``cluster``."""

import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from streams.checkpointed import build_of, limits_of_servers, log_of, stopped_by_ctrl_c
from streams.cluster import Cluster, Placed, ScaleOut
from streams.limit_option import Limits, limits_of
from streams.refusals import one_line_errors
from streams.source_options import Password
from streams.watch.derivations import derivations

__all__ = ["cluster"]

LOOK: Final = 2.0
"""Seconds between two tables, while it runs in the foreground."""

ANSWER: Final = 5.0
"""Seconds to wait for a connection to Ray."""

cluster = typer.Typer(help="Derive from many servers on many machines, with Ray.", no_args_is_help=True)

Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="The Ray cluster; auto finds the one this machine is of.",
        envvar="RAY_ADDRESS",
        show_default=False,
    ),
]

Name = Annotated[str, typer.Option(help="Tells deployments in one Ray cluster apart.")]


@cluster.command()
def up(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Servers, directories of recordings, recordings.",
            show_default=False,
        ),
    ],
    store: Annotated[
        str, typer.Option(help="Where to commit: postgresql://…; a file does for one machine.")
    ],
    password: Password = None,
    address: Address = None,
    name: Name = "sessionstreams",
    partitions: Annotated[
        int, typer.Option(help="How many partitions sources are spread over. It must stay the same.")
    ] = 256,
    limit: Limits = None,
    threshold: Annotated[
        float, typer.Option(help="Fraction of the limit at which a session should be compacted.")
    ] = 0.78,
) -> None:
    """Start deriving: until Ctrl-C, on this machine; or with --address, without this command."""
    with one_line_errors(), _connected(address, start=True):
        limits = limits_of(limit or ())
        scale_out = ScaleOut(
            [log_of(source, password) for source in sources],
            build_of(derivations(limits_of_servers(sources, limits, password), threshold=threshold)),
            store,
            partitions,
            name=name,
            options={"limit": limits, "threshold": threshold},
        )
        running = scale_out.start()
        if address is None:
            _stay(running)


@cluster.command()
def status(
    address: Address = "auto",
    name: Name = "sessionstreams",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line for each partition.")] = False,
) -> None:
    """Show each partition: where it is, how far behind, and what was refused."""
    with one_line_errors(), _connected(address):
        placed = Cluster.named(name).status()
    if as_json:
        for each in placed:
            typer.echo(msgspec.json.encode(each))
    else:
        _show(placed)


@cluster.command()
def down(address: Address = "auto", name: Name = "sessionstreams") -> None:
    """Commit everything and end. The store keeps where to go on."""
    with one_line_errors(), _connected(address):
        Cluster.named(name).down()


@contextmanager
def _connected(address: str | None, *, start: bool = False) -> Generator[None]:
    try:
        ray: Any = import_module("ray")
    except ImportError:
        raise ValueError("the cluster needs Ray: pip install 'sessionstreams[cluster]'") from None
    if address is not None:
        _look_for(address)
    try:
        ray.init(
            address=address or ("local" if start else "auto"),
            log_to_driver=False,
            logging_level="ERROR",
            configure_logging=True,
        )
    except ConnectionError as error:
        raise ValueError(f"no Ray cluster at {address}: {error}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _look_for(address: str) -> None:
    """Ray itself would try for minutes.

    Raises:
        ValueError: Nobody listens there.
    """
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdigit()):
        return
    try:
        socket.create_connection((host, int(port)), ANSWER).close()
    except OSError as error:
        raise ValueError(f"no Ray cluster at {address}: {error}") from None


def _stay(running: Cluster) -> None:
    console = Console()
    with stopped_by_ctrl_c() as stop:
        while not stop.wait(LOOK):
            if console.is_terminal:
                console.clear()
            _show(running.status())
    running.down()


def _show(placed: list[Placed]) -> None:
    table = Table(box=None)
    for column in ("partition", "state", "node"):
        table.add_column(column)
    for column in ("epoch", "lag", "commits/s", "commits", "values", "refused"):
        table.add_column(column, justify="right")
    table.add_column("sources")
    for each in placed:
        table.add_row(
            each.name,
            f"{each.state}: {each.error}" if each.state in ("failing", "replaced") else each.state,
            each.node[:8],
            str(each.epoch),
            "" if each.lag is None else f"{each.lag:.1f} s",
            f"{each.commits_per_second:.1f}",
            str(each.commits),
            str(each.emitted),
            str(each.refused),
            " ".join(each.sources),
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table)
