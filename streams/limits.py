"""How large a model's context window is: data, given by whoever knows, looked up when it is needed."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

__all__ = ["ContextLimits", "Limit", "LimitKind"]

LimitKind = Literal["context", "input", "usable"]

LARGEST_RESERVE: Final = 32_000
"""Tokens that opencode keeps free for the answer at the most."""


class Limit(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What one model takes, in tokens. 0 means not known."""

    context: int = 0
    input: int = 0
    output: int = 0

    def tokens(self, kind: LimitKind) -> int | None:
        """The limit of one kind, or None when it is not known. Never below 1, never above context."""
        bounds = (self.context,) if kind == "context" else (self.context, self.input)
        room = min((bound for bound in bounds if bound > 0), default=None)
        if room is not None and kind == "usable" and self.input <= 0:
            room -= min(max(0, self.output), LARGEST_RESERVE, room // 2)
        return room


_Found = Limit | int | None
Resolver = Callable[[str, str], _Found]
"""Takes ``provider_id`` and ``model_id``; returns a limit in tokens, or None when it knows none."""

_Layer = Resolver | Mapping[str, Limit | int]
_Lookup = Callable[[str, str], int | None]


class _ModelData(msgspec.Struct):
    limit: Limit = Limit()


class _ProviderData(msgspec.Struct):
    """A provider of models.dev, where it is named by its key."""

    models: dict[str, _ModelData]


class _ProviderOfAgent(_ProviderData):
    """A provider of opencode's answer, a list."""

    id: str


class ContextLimits:
    """Limits per model, in layers: the first layer that knows a model answers.

    A layer is a table ``{"provider/model": tokens}`` (a key without a slash names the model of any
    provider; a value may be a ``Limit``) or a function ``(provider_id, model_id) -> tokens``. Nothing
    is assumed about a model that no layer knows: its limit is None, and so is every ratio.

    Args:
        layers: Tables and functions, the overriding ones first.
        kind: Which limit counts: ``context`` (the whole window, the default), ``input`` (what may be
            sent, where the provider says), or ``usable`` (input, else the window less the answer's
            reserve of at most 32 000 tokens and half of the window).

    Raises:
        ValueError: A table's value is no positive number of tokens, or ``kind`` is none of the three.

    Example:
        >>> limits = ContextLimits({"anthropic/claude-sonnet-4-5": 200_000})
        >>> limits.find("anthropic", "claude-sonnet-4-5")
        200000
        >>> limits.find("anthropic", "unheard-of") is None
        True
    """

    def __init__(self, *layers: _Layer, kind: LimitKind = "context") -> None:
        if kind not in ("context", "input", "usable"):
            raise ValueError(f"kind must be 'context', 'input' or 'usable', got {kind!r}")
        self.kind: LimitKind = kind
        self._layers = [_lookup(layer, kind) for layer in layers]

    def override(self, layer: _Layer) -> None:
        """Put a layer before all others. Publish ``LimitsChanged`` to measure idle sessions anew."""
        self._layers = [_lookup(layer, self.kind), *self._layers]

    def find(self, provider_id: str, model_id: str) -> int | None:
        """The model's limit in tokens, or None.

        Raises:
            Exception: Whatever a layer's function raises; operators turn it into one ``Fault`` and
                take the limit as not known.
        """
        for layer in self._layers:
            if (tokens := layer(provider_id, model_id)) is not None:
                return tokens
        return None

    @classmethod
    def load(cls, source: str | Path | bytes, *, kind: LimitKind = "context") -> "ContextLimits":
        """Read limits from what is at hand: opencode's answer to ``GET /config/providers``, or the
        ``api.json`` of models.dev.

        Args:
            source: A file's path, or its bytes.
            kind: As for the class.

        Raises:
            ValueError: It is neither of the two.
            OSError: The file cannot be read.
        """
        text = source if isinstance(source, bytes) else Path(source).read_bytes()
        try:
            providers = _providers(text)
        except (msgspec.MsgspecError, RecursionError) as error:
            where = "bytes" if isinstance(source, bytes) else str(source)
            raise ValueError(
                f"{where}: neither opencode's /config/providers nor models.dev's api.json: {error}"
            ) from None
        return cls(_table(providers), kind=kind)


def _providers(text: bytes) -> Iterable[tuple[str, _ProviderData]]:
    answer = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    if "providers" in answer:
        listed = msgspec.json.decode(answer["providers"], type=list[_ProviderOfAgent])
        return [(provider.id, provider) for provider in listed]
    return msgspec.json.decode(text, type=dict[str, _ProviderData]).items()


def _table(providers: Iterable[tuple[str, _ProviderData]]) -> dict[str, Limit]:
    return {
        f"{provider_id}/{model_id}": model.limit
        for provider_id, provider in providers
        for model_id, model in provider.models.items()
        if model.limit != Limit()
    }


def _lookup(layer: _Layer, kind: LimitKind) -> _Lookup:
    """A layer as a function to tokens. A table is copied, and its limits are worked out once."""
    if callable(layer):
        return lambda provider_id, model_id: _tokens(layer(provider_id, model_id), kind)
    for name, value in layer.items():
        if not isinstance(value, Limit) and not (type(value) is int and value > 0):
            raise ValueError(f"limit of {name!r} must be a positive number of tokens, got {value!r}")
    table = {name: _tokens(value, kind) for name, value in layer.items()}

    def look_up(provider_id: str, model_id: str) -> int | None:
        found = table.get(f"{provider_id}/{model_id}")
        return table.get(model_id) if found is None and "/" not in model_id else found

    return look_up


def _tokens(found: _Found, kind: LimitKind) -> int | None:
    if found is None or isinstance(found, int):
        return found if found and found > 0 else None
    return found.tokens(kind)
