"""What becomes of a question that is not answered."""

from collections.abc import Mapping
from typing import Any

import pytest

from streams.opencode.asking import Asking
from streams.opencode.errors import NotFound, OpencodeError, ServerFailed, TimedOut, Unreachable


def asking(error: OpencodeError | None) -> Asking:
    """Of a server that answers every question with this error, or with a word."""

    def ask(
        method: str, path: str, parameters: Mapping[str, str] | None = None, body: object = None
    ) -> bytes:
        if error is not None:
            raise error
        return b"word"

    return Asking(ask)


def word(content: bytes, path: str) -> str:
    return f"{content.decode()} of {path}"


@pytest.mark.parametrize(
    ("error",                          "answer",        "complete", "missing"),
    [
        (None,                         "word of /path", True,       False),
        (NotFound("status 404", 404),  None,            False,      True),
        (ServerFailed("status 500", 500), None,         False,      False),
        (TimedOut("no answer"),        None,            False,      False),
    ],
)  # fmt: skip
def test_what_is_not_answered_is_noted(
    error: Any, answer: str | None, complete: bool, missing: bool
) -> None:
    """S1: the others are asked all the same; only a 404 says that there is no such thing."""
    asked = asking(error)
    assert asked.optional(word, "GET", "/path") == answer
    assert asked.complete is complete
    assert asked.is_missing("/path") is missing


def test_a_server_that_is_gone_is_asked_no_more() -> None:
    """S1: too slow is not gone; gone ends the asking, whatever was asked."""
    with pytest.raises(Unreachable):
        asking(Unreachable("gone")).optional(word, "GET", "/path")
    with pytest.raises(Unreachable):
        asking(Unreachable("gone")).is_missing("/path")
