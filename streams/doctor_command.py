"""``sessionstreams doctor``: what will work with a server, and what will not. Needs the extra ``cli``."""

from collections.abc import Iterable
from typing import Annotated, Final

import msgspec
import typer

from streams.doctor import Finding, State, examine, extras, server_at
from streams.refusals import one_line_errors
from streams.source_options import Password
from streams.watch.words import one_line

__all__ = ["doctor"]

MARKS: Final[dict[State, str]] = {"ok": "ok", "limited": "!", "failed": "!!", "absent": "-"}
STATUS: Final[dict[State, int]] = {"ok": 0, "absent": 0, "limited": 1, "failed": 2}


class Report(msgspec.Struct, frozen=True):
    """Everything found: what ``--json`` prints."""

    url: str
    status: int
    findings: list[Finding]


def doctor(
    url: Annotated[
        str, typer.Argument(metavar="[URL]", help="The server.", show_default=True)
    ] = "http://127.0.0.1:4096",
    password: Password = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Check a server and this installation: what works, what does not, and what to do about it.

    Status 0: all of it works; 1: some of it does not; 2: the server cannot be used. Nothing is changed.
    """
    with one_line_errors():
        server = server_at(url, password)
    findings: list[Finding] = []
    for finding in _all(extras(), examine(server)):
        findings.append(finding)
        if not as_json:
            _say(finding)
    status = max(STATUS[finding.state] for finding in findings)
    if as_json:
        typer.echo(msgspec.json.encode(Report(server.url, status, findings)).decode())
    raise typer.Exit(status)


def _all(*parts: Iterable[Finding]) -> Iterable[Finding]:
    for part in parts:
        yield from part


def _say(finding: Finding) -> None:
    """As soon as it is found: a server that does not answer takes a while."""
    typer.echo(f"{MARKS[finding.state]:<3} {finding.check:<20} {one_line(finding.found)}")
    if finding.advice:
        typer.echo(f"{'':<24} {finding.advice}")
