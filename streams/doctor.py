"""What of this library works with a server, what does not, and what to do about it."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Final, Literal, TypeVar

import msgspec

from streams.events import MalformedEvent
from streams.limits import Limit
from streams.opencode import (
    NotOpencode,
    OpencodeError,
    Refused,
    TimedOut,
    Unauthorized,
    Unreachable,
    decode,
)
from streams.opencode.answers import directory_of
from streams.opencode.framing import Frames, Oversized
from streams.opencode.transport import JSON, Http, Transport, answer
from streams.schedulers import calling, daemon

__all__ = ["Finding", "State", "examine", "extras", "server_at"]

State = Literal["ok", "limited", "failed", "absent"]
"""``limited``: something will not work; ``failed``: nothing will; ``absent``: it is not installed."""

EXTRAS: Final[Mapping[str, tuple[str, str]]] = {
    "opencode": ("httpx2", "running servers"),
    "cli": ("typer", "the command line"),
    "notebook": ("altair", "plots and live displays"),
    "otel": ("opentelemetry", "metrics"),
    "postgres": ("psycopg", "checkpoints in PostgreSQL"),
    "cluster": ("ray", "many servers at once"),
}

PATIENCE: Final = 10.0
EVENT_STREAM: Final = "text/event-stream"
SHOWN: Final = 5
"""Models named at most."""

_T = TypeVar("_T")


class Finding(msgspec.Struct, frozen=True):
    """What one check found.

    Attributes:
        check: What was looked at.
        state: See ``State``.
        found: What there is.
        advice: What will not work, and what to do; empty when all is well.
    """

    check: str
    state: State
    found: str
    advice: str = ""


class _Health(msgspec.Struct):
    version: str = ""


class _Model(msgspec.Struct):
    limit: Limit = Limit()


class _Provider(msgspec.Struct):
    id: str
    models: dict[str, _Model]


class _Providers(msgspec.Struct):
    providers: list[_Provider]


def extras() -> Iterator[Finding]:
    """Which optional parts are installed."""
    for name, (module, purpose) in EXTRAS.items():
        if find_spec(module) is not None:
            yield Finding(f"extra {name}", "ok", "installed")
        else:
            advice = f"for {purpose}: pip install 'sessionstreams[{name}]'"
            yield Finding(f"extra {name}", "absent", "not installed", advice)


def examine(server: Transport) -> Iterator[Finding]:
    """Check a server, one thing after the other; blocks up to 10 s for each. Changes nothing there.

    Args:
        server: How to reach it.
    """
    greeted = _event_stream(server)
    yield greeted
    if greeted.state == "failed":
        return
    yield _version(server)
    yield _directory(server)
    yield _log(server)
    yield from _limits(server)


def server_at(url: str, password: str | None) -> Transport:
    """The server at an address.

    Raises:
        ValueError: It is no address.
        MissingExtra: httpx2 is not installed.
    """
    return Http(url, password=password)


def _event_stream(server: Transport) -> Finding:
    check = "event stream"
    try:
        _listen(server, "/global/event")
    except Unreachable as error:
        advice = "start it: opencode serve --port 4096; or give another address"
        return Finding(check, "failed", str(error), advice)
    except Unauthorized as error:
        return Finding(check, "failed", str(error), "set OPENCODE_SERVER_PASSWORD to the server's")
    except OpencodeError as error:
        return _older_stream(server, error)
    return Finding(check, "ok", "/global/event speaks")


def _older_stream(server: Transport, error: OpencodeError) -> Finding:
    check = "event stream"
    try:
        _listen(server, "/event")
    except OpencodeError:
        return Finding(check, "failed", str(error), "this is no opencode server: give its address")
    advice = "one directory only, and no log of what a lost connection missed: update opencode"
    return Finding(check, "limited", "only /event speaks", advice)


def _listen(server: Transport, path: str) -> None:
    """Until the first event, which is no event of opencode's if it has no type."""
    where = f"GET {server.url}{path}"
    exchange = server.exchange("GET", path, {}, None, EVENT_STREAM)
    late = TimedOut(f"{where}: no event within {PATIENCE:g} s")
    timer = daemon().schedule_relative(PATIENCE, calling(lambda: exchange.abort(late)))
    try:
        exchange.open()
        frames, payloads = Frames(), list[bytes | Oversized]()
        while not payloads:
            chunk = exchange.read()
            if not chunk:
                raise NotOpencode(f"{where} ends before its first event")
            payloads = frames.feed(chunk)
    finally:
        timer.dispose()
        exchange.close()
    first = payloads[0]
    if isinstance(first, Oversized) or isinstance(decode(first, 0.0), MalformedEvent):
        raise NotOpencode(f"{where} begins with what is no event of opencode's")


def _directory(server: Transport) -> Finding:
    check = "directory"
    try:
        found = directory_of(_answer(server, "GET", "/path"), f"GET {server.url}/path")
    except OpencodeError as error:
        return Finding(check, "limited", f"not told ({error})", "give one: --directory, or --everywhere")
    return Finding(check, "ok", f"{found}; --everywhere for the sessions of others too")


def _version(server: Transport) -> Finding:
    check = "version"
    try:
        health = _asked(server, "/global/health", _Health)
    except OpencodeError as error:
        return Finding(check, "ok", f"opencode, of a version that it does not tell ({error})")
    return Finding(check, "ok", f"opencode {health.version}")


def _log(server: Transport) -> Finding:
    """Asked for with a body that is refused: a right one would be answered with all there is."""
    check, path = "log of events", "/sync/history"
    advice = (
        "after a lost connection every session that changed is fetched whole, and deltas and deletions "
        "may be missed: update opencode"
    )
    try:
        _answer(server, "POST", path, body="?")
    except Refused as error:
        if error.status == 400:
            return Finding(check, "ok", f"{path} is there: what a lost connection missed is had again")
        return Finding(check, "limited", f"none ({error})", advice)
    except OpencodeError as error:
        return Finding(check, "limited", f"none ({error})", advice)
    return Finding(check, "ok", f"{path} is there")


def _limits(server: Transport) -> Iterator[Finding]:
    check = "limits"
    try:
        providers = _asked(server, "/config/providers", _Providers).providers
    except OpencodeError as error:
        advice = "no ratios, warnings and compactions but for models given as --limit PROVIDER/MODEL=N"
        yield Finding(check, "limited", f"not told ({error})", advice)
        return
    for provider in providers:
        yield _limits_of(provider)
    if not providers:
        yield Finding(check, "limited", "no provider", "configure one in opencode: it can do no work")


def _limits_of(provider: _Provider) -> Finding:
    check = f"limits of {provider.id}"
    known = {name: model.limit.context for name, model in provider.models.items() if model.limit.context}
    without = [f"{provider.id}/{name}" for name in provider.models if name not in known]
    models = f"{len(known)} of {len(provider.models)} models"
    some = ", ".join(f"{name} {tokens:,}" for name, tokens in list(known.items())[:SHOWN])
    found = f"{models}: {some}{', …' if len(known) > SHOWN else ''}" if known else models
    if not without:
        return Finding(check, "ok", found)
    named = " ".join(f"--limit {name}=N" for name in without[:SHOWN])
    advice = f"no ratios, warnings and compactions without: {named}"
    return Finding(check, "limited", found, f"{advice}{' …' if len(without) > SHOWN else ''}")


# --- asking ---------------------------------------------------------------------------------------


def _answer(server: Transport, method: str, path: str, body: object = None) -> bytes:
    exchange = server.exchange(method, path, {}, body, JSON)
    return answer(exchange, f"{method} {server.url}{path}", PATIENCE, daemon())


def _asked(server: Transport, path: str, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(_answer(server, "GET", path), type=kind)
    except (ValueError, RecursionError) as error:
        raise NotOpencode(f"GET {server.url}{path}: {error}") from None
