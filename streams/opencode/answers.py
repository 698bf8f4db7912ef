"""What the server's routes answer: bytes to values, and to the events that would have said the same."""

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import msgspec

from streams import events as ev
from streams.events import SessionEvent
from streams.opencode import wire
from streams.opencode.errors import BadAnswer
from streams.opencode.log import Entry, payload_of
from streams.opencode.session_history import history

__all__ = [
    "Listed",
    "asked_events",
    "directory_of",
    "entries_of",
    "history_of",
    "listed_of",
    "session_event",
    "status_events",
    "todo_event",
]

_T = TypeVar("_T")
_encode: Final = msgspec.json.encode


class _Times(msgspec.Struct, frozen=True):
    created: float = 0.0
    updated: float = 0.0


class Listed(msgspec.Struct, frozen=True):
    """One session of the server's list. Times are the server's, in seconds; ``raw`` is all of it."""

    id: str
    directory: str
    created: float
    updated: float
    raw: bytes


class _Session(msgspec.Struct):
    id: str
    directory: str = ""
    time: _Times = _Times()


class _Path(msgspec.Struct):
    directory: str


class _Row(msgspec.Struct):
    id: str
    type: str
    seq: int
    aggregate_id: str
    data: msgspec.Raw


def _decoder(kind: Any) -> Callable[[bytes, str], Any]:  # noqa: ANN401
    decode = msgspec.json.Decoder(kind).decode

    def decoded(answer: bytes, path: str) -> object:
        try:
            return decode(answer)
        except (ValueError, RecursionError) as error:
            raise BadAnswer(f"{path}: {error}") from None

    return decoded


_raws = cast(Callable[[bytes, str], list[msgspec.Raw]], _decoder(list[msgspec.Raw]))
_raws_by_name = cast(Callable[[bytes, str], dict[str, msgspec.Raw]], _decoder(dict[str, msgspec.Raw]))
_rows = cast(Callable[[bytes, str], list[_Row]], _decoder(list[_Row]))
_path = cast(Callable[[bytes, str], _Path], _decoder(_Path))
_session = cast(Callable[[bytes, str], _Session], _decoder(_Session))


def directory_of(answer: bytes, path: str) -> str:
    """``GET /path``: the directory that the server was started in."""
    return _path(answer, path).directory


def entries_of(answer: bytes, path: str) -> list[Entry]:
    """``POST /sync/history``."""
    rows = _rows(answer, path)
    return [Entry(row.id, row.type, row.seq, row.aggregate_id, row.data) for row in rows]


def listed_of(answer: bytes, path: str) -> list[Listed]:
    """``GET /session`` and ``GET /experimental/session``."""
    return [_listed(bytes(raw), path) for raw in _raws(answer, path)]


def _listed(raw: bytes, path: str) -> Listed:
    session = _session(raw, path)
    time = session.time
    return Listed(session.id, session.directory, time.created / 1000, time.updated / 1000, raw)


def session_event(listed: Listed, kind: str, at: float) -> SessionEvent:
    """A listed session as ``session.created`` or ``session.updated``."""
    properties = b'{"sessionID":%s,"info":%s}' % (_encode(listed.id), listed.raw)
    return wire.decode(payload_of(kind, properties), at)


def history_of(answer: bytes, path: str, session_id: str, asked: float, at: float) -> ev.SessionHistory:
    """``GET /session/{id}/message``."""
    try:
        return history(session_id, answer, asked=asked, at=at)
    except ValueError as error:
        raise BadAnswer(f"{path}: {error}") from None


def status_events(answer: bytes, path: str, at: float) -> dict[str, SessionEvent]:
    """``GET /session/status``; a session that is not in it is idle."""
    return {
        session_id: wire.decode(
            payload_of("session.status", b'{"sessionID":%s,"status":%s}' % (_encode(session_id), raw)),
            at,
        )
        for session_id, raw in _raws_by_name(answer, path).items()
    }


def todo_event(answer: bytes, path: str, session_id: str, at: float) -> SessionEvent:
    """``GET /session/{id}/todo``."""
    _raws(answer, path)
    properties = b'{"sessionID":%s,"todos":%s}' % (_encode(session_id), answer)
    return wire.decode(payload_of("todo.updated", properties), at)


def asked_events(answer: bytes, path: str, kind: str, at: float) -> list[SessionEvent]:
    """``GET /permission`` as ``permission.asked``, ``GET /question`` as ``question.asked``."""
    return [wire.decode(payload_of(kind, bytes(raw)), at) for raw in _raws(answer, path)]
