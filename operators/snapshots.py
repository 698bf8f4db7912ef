"""What an operator keeps, as bytes: written in one go, read back only by the same operator and format."""

from typing import Any, Generic, TypeVar, get_type_hints

import msgspec

__all__ = ["Kept", "SnapshotRefused", "decode", "encode", "state_type"]

_State = TypeVar("_State")


class SnapshotRefused(ValueError):
    """The snapshot is of another operator, of another format, or damaged. Nothing was restored."""


class Kept(msgspec.Struct, Generic[_State], omit_defaults=True):
    """All that a fold cannot make again. Deadlines and indexes are made from it.

    Attributes:
        states: By session, in the order they were heard of.
        gone: Sessions deleted a moment ago, and until when what follows of them is swallowed.
        children: Who started whom: by parent, in the order they became known.
        requests: Which session asked a human, by request.
        waiting: Sessions that wait for a human.
    """

    states: dict[str, _State]
    gone: dict[str, float] = {}
    children: dict[str, tuple[str, ...]] = {}
    requests: dict[str, str] = {}
    waiting: tuple[str, ...] = ()


class _Snapshot(msgspec.Struct, forbid_unknown_fields=True):
    """The envelope: it can be read whatever is inside."""

    operator: str
    version: int
    kept: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode_envelope = msgspec.msgpack.Decoder(_Snapshot).decode


def encode(operator: str, version: int, kept: Kept[Any]) -> bytes:
    """A snapshot, with the operator's name and the version of its format before it."""
    return _encode(_Snapshot(operator, version, _encode(kept)))


def decode(data: bytes, operator: str, version: int, state: type[_State]) -> Kept[_State]:
    """Read a snapshot back.

    Raises:
        SnapshotRefused: It is another operator's, another format's, or damaged.
    """
    try:
        found = _decode_envelope(data)
    except (ValueError, RecursionError) as error:
        raise SnapshotRefused(f"not a snapshot of {operator}: {error}") from None
    if (found.operator, found.version) != (operator, version):
        raise SnapshotRefused(
            f"a snapshot of {found.operator}, format {found.version}, "
            f"cannot be restored into {operator}, format {version}"
        )
    try:
        return msgspec.msgpack.decode(found.kept, type=Kept[state])
    except (ValueError, RecursionError) as error:
        raise SnapshotRefused(f"the snapshot of {operator} is damaged: {error}") from None


def state_type(start: object) -> type[Any]:
    """What the states of a fold are, as the annotation of its ``start`` says.

    Raises:
        SnapshotRefused: It does not say.
    """
    found = get_type_hints(start).get("return")
    if found is None or isinstance(found, TypeVar):
        raise SnapshotRefused(f"{start} must say in its annotation what it returns, got {found!r}")
    return found
