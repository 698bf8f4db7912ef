"""The option ``--limit`` of the commands. Needs the extra ``cli``."""

from collections.abc import Iterable
from typing import Annotated

import typer

__all__ = ["Limits", "limits_of"]

Limits = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="PROVIDER/MODEL=N",
        help="A model's context limit in tokens, such as anthropic/claude-sonnet-4-5=200000. Repeatable.",
        show_default=False,
    ),
]


def limits_of(texts: Iterable[str]) -> dict[str, int]:
    """The table that ``ContextLimits`` takes.

    Raises:
        ValueError: A text is not ``PROVIDER/MODEL=N``.
    """
    limits: dict[str, int] = {}
    for text in texts:
        model, _, tokens = text.rpartition("=")
        if not (model and tokens.isdecimal()):
            raise ValueError(f"limit must be PROVIDER/MODEL=N, N tokens, got {text!r}")
        limits[model] = int(tokens)
    return limits
