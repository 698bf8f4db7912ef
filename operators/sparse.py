"""Dicts that a state has a field for and most sessions put nothing in."""

from typing import Any, Final, TypeVar

import msgspec

__all__ = ["put", "sparse"]

_K = TypeVar("_K")
_V = TypeVar("_V")

_NOTHING: Final[dict[Any, Any]] = {}


def sparse() -> Any:  # noqa: ANN401  # as msgspec.field does
    """A field of a state: a dict, and the same empty one for all until something is ``put`` in."""
    return msgspec.field(default_factory=_nothing)


def put(kept: dict[_K, _V], key: _K, value: _V) -> dict[_K, _V]:
    """The dict with an entry put in, to be kept in the place of the one given.

    An empty one may be everybody's, so the first entry makes a new one.
    """
    if not kept:
        return {key: value}
    kept[key] = value
    return kept


def _nothing() -> dict[Any, Any]:
    return _NOTHING
