"""What a tool part says of its call: read alike by every operator that follows tool calls."""

from typing import Final, Literal

import msgspec

from streams.events import NO_RAW, Part, ToolState

__all__ = [
    "ENDED",
    "Word",
    "exit_code",
    "json_of",
    "key_of",
    "known_input",
    "last_word",
    "output_of",
    "output_size",
    "reason_of",
]

ENDED: Final = ("completed", "error")
"""Statuses of a call that is over."""

Word = Literal["completed", "failed", "denied", "aborted"]
"""How a call ended, in the tool's own words."""

DENIALS: Final = ("The user rejected permission", "The user dismissed this question")
ABORTS: Final = ("Tool execution aborted", "Task cancelled")
"""How opencode words them; the wire has no other sign (recorded: permission, abort)."""


class _Metadata(msgspec.Struct, gc=False):
    exit: int | None = None


class _InvalidInput(msgspec.Struct, gc=False):
    error: str = ""


_metadata: Final = msgspec.json.Decoder(_Metadata).decode
_invalid_input: Final = msgspec.json.Decoder(_InvalidInput).decode
_text: Final = msgspec.json.Decoder(str).decode


def key_of(part: Part) -> str:
    """What tells one call of a session from another; empty when the part has no id at all (P12).

    Such a part cannot be told from its own repetition, so it is nobody's call.
    """
    return part.call_id or part.id


def json_of(raw: msgspec.Raw) -> bytes | None:
    """A copy of the JSON, whatever the buffer it was in becomes (I6); None when it says nothing."""
    text = bytes(raw)
    return None if text in (b"", b"null") else text


def known_input(state: ToolState) -> bytes | None:
    """The call's input as JSON, or None while it is not known.

    A pending call shows ``{}`` whatever will come, and so does one aborted before it ran (P14, I4).
    """
    if state.status == "pending":
        return None
    text = json_of(state.input)
    return None if text == b"{}" and state.status == "error" else text


def last_word(part: Part, state: ToolState) -> Word | None:
    """How the call ended; None while it has not.

    A call whose input could not be read becomes one of the tool ``invalid``, which completes.
    """
    if state.status == "completed":
        return "failed" if part.tool == "invalid" else "completed"
    if state.status != "error":
        return None
    if state.error.startswith(DENIALS):
        return "denied"
    return "aborted" if state.error.startswith(ABORTS) else "failed"


def reason_of(part: Part, state: ToolState) -> str:
    """Why it did not succeed; empty when it did, or did not say."""
    if part.tool != "invalid" or state.error:
        return state.error
    try:
        return _invalid_input(state.input).error
    except msgspec.DecodeError:
        return ""


def output_of(state: ToolState) -> str | None:
    """The output as text (as JSON where it is no text); None when there is none."""
    output = json_of(state.output)
    if output is None:
        return None
    return _text(output) if output.startswith(b'"') else output.decode()


def output_size(state: ToolState) -> int | None:
    """Characters of the output; None when there is none. Plain text is measured without being read."""
    json = bytes(state.output)
    if json.startswith(b'"') and json.isascii() and b"\\" not in json:
        return len(json) - 2
    output = output_of(state)
    return None if output is None else len(output)


def exit_code(state: ToolState) -> int | None:
    """What a shell command exited with; None when unknown, timed out or aborted."""
    if state.metadata == NO_RAW:
        return None
    try:
        return _metadata(state.metadata).exit
    except msgspec.DecodeError:
        return None
