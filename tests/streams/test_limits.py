"""``ContextLimits``: how large a model's window is, from whoever knows."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import ContextLimits, Limit
from streams.limits import LARGEST_RESERVE

PROVIDERS_ANSWER = {
    "providers": [
        {
            "id": "acme",
            "name": "Acme",
            "source": "config",
            "env": [],
            "options": {"baseURL": "http://127.0.0.1:4010/v1"},
            "models": {
                "kestrel-large": {
                    "id": "kestrel-large",
                    "providerID": "acme",
                    "api": {"id": "kestrel-large", "npm": "@ai-sdk/openai-compatible"},
                    "cost": {"input": 3, "output": 15, "cache": {"read": 0.3, "write": 3.75}},
                    "limit": {"context": 200_000, "output": 8_192},
                    "status": "active",
                },
                "kestrel-split": {
                    "id": "kestrel-split",
                    "limit": {"context": 400_000, "input": 272_000, "output": 128_000},
                },
                "kestrel-unsaid": {"id": "kestrel-unsaid", "limit": {"context": 0, "output": 0}},
            },
        },
        {"id": "bare", "models": {}},
    ],
    "default": {"acme": "kestrel-large"},
}
"""What opencode answers to ``GET /config/providers``."""

MODELS_DEV = {
    "anthropic": {
        "id": "anthropic",
        "env": ["ANTHROPIC_API_KEY"],
        "npm": "@ai-sdk/anthropic",
        "models": {
            "claude-sonnet-4-5": {
                "id": "claude-sonnet-4-5",
                "tool_call": True,
                "modalities": {"input": ["text", "image"], "output": ["text"]},
                "cost": {"input": 3, "output": 15, "cache_read": 0.3, "cache_write": 3.75},
                "limit": {"context": 200_000, "output": 64_000},
            },
        },
    },
    "openrouter": {
        "id": "openrouter",
        "models": {
            "anthropic/claude-sonnet-4.5": {"limit": {"context": 1_000_000, "output": 64_000}},
            "some/image-model": {"id": "some/image-model"},
        },
    },
}
"""What models.dev serves as ``api.json``."""


# --- layers ---------------------------------------------------------------------------------------


def test_nothing_is_assumed() -> None:
    """U10: a model that no layer knows has no limit."""
    assert ContextLimits().find("anthropic", "claude-sonnet-4-5") is None
    assert ContextLimits({"anthropic/x": 1}).find("anthropic", "y") is None
    assert ContextLimits({"anthropic/x": 1}).find("acme", "x") is None


def test_the_first_layer_that_knows_answers() -> None:
    """U11: overriding layers come first; one that knows nothing, or says 0, passes on."""
    limits = ContextLimits(
        {"acme/a": 1_000},
        lambda provider_id, model_id: {"a": 2_000, "b": 2_000, "c": 0}.get(model_id),
        {"acme/a": 3_000, "acme/b": 3_000, "acme/c": Limit(), "acme/d": 3_000},
        lambda provider_id, model_id: Limit(context=4_000),
    )
    found = {model_id: limits.find("acme", model_id) for model_id in "abcde"}
    assert found == {"a": 1_000, "b": 2_000, "c": 4_000, "d": 3_000, "e": 4_000}


def test_a_later_override_comes_before_all_others() -> None:
    """U11: what is put over the layers wins at the next look-up."""
    limits = ContextLimits({"acme/a": 1_000, "acme/b": 1_000})
    limits.override({"acme/a": 2_000})
    limits.override(lambda provider_id, model_id: 3_000 if model_id == "b" else None)
    assert [limits.find("acme", model_id) for model_id in "ab"] == [2_000, 3_000]


def test_a_table_is_copied() -> None:
    """U11: changing the table later changes nothing; ``override`` does."""
    table = {"acme/a": 1_000}
    limits = ContextLimits(table)
    table["acme/a"] = 2_000
    assert limits.find("acme", "a") == 1_000


def test_a_name_without_a_provider_is_any_provider_s() -> None:
    """U11: the whole name goes before it; and a model's own name may have slashes in it."""
    limits = ContextLimits({"a": 1_000, "acme/a": 2_000, "acme/b/c": 3_000, "b/c": 4_000})
    assert limits.find("acme", "a") == 2_000
    assert limits.find("other", "a") == 1_000
    assert limits.find("acme", "b/c") == 3_000
    assert limits.find("b", "c") == 4_000
    assert limits.find("other", "b/c") is None


def test_what_a_function_raises_is_raised() -> None:
    """U11: whoever asks decides what a failing look-up means; layers behind it are not asked."""

    def fail(provider_id: str, model_id: str) -> int:
        raise TimeoutError(f"{provider_id}/{model_id}")

    with pytest.raises(TimeoutError, match="acme/a"):
        ContextLimits(fail, {"acme/a": 1_000}).find("acme", "a")
    assert ContextLimits({"acme/a": 1_000}, fail).find("acme", "a") == 1_000


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "200000", None])
def test_a_table_with_no_number(value: int) -> None:
    """U10: a limit that is none is refused where it is written down, by name."""
    message = f"limit of 'acme/a' must be a positive number of tokens, got {value!r}"
    with pytest.raises(ValueError, match=message):
        ContextLimits({"acme/a": value})
    with pytest.raises(ValueError, match=message):
        ContextLimits().override({"acme/a": value})


# --- kinds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "context", "sent", "usable"),
    [
        (Limit(context=200_000, output=8_192), 200_000, 200_000, 191_808),
        (Limit(context=200_000, output=64_000), 200_000, 200_000, 168_000),
        (Limit(context=400_000, input=272_000, output=128_000), 400_000, 272_000, 272_000),
        (Limit(context=16_384, output=32_000), 16_384, 16_384, 8_192),
        (Limit(context=16_384), 16_384, 16_384, 16_384),
        (Limit(input=272_000), None, 272_000, 272_000),
        (Limit(context=100_000, input=272_000), 100_000, 100_000, 100_000),
        (Limit(context=1, output=1), 1, 1, 1),
        (Limit(output=8_192), None, None, None),
        (Limit(context=-1, input=-1, output=-1), None, None, None),
        (Limit(context=1_000, output=-1), 1_000, 1_000, 1_000),
    ],
)
def test_kinds(limit: Limit, context: int | None, sent: int | None, usable: int | None) -> None:
    """U14, C13: the whole window, what may be sent, and what is left beside the answer's reserve."""
    assert limit.tokens("context") == context
    assert limit.tokens("input") == sent
    assert limit.tokens("usable") == usable


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_usable_lies_within_the_window(context: int, output: int) -> None:
    """C13: never below 1, never above the window, never less for a larger one."""
    usable = Limit(context=context, output=output).tokens("usable")
    larger = Limit(context=context + 1, output=output).tokens("usable")
    assert usable is not None
    assert larger is not None
    assert max(1, context - LARGEST_RESERVE) <= usable <= context
    assert usable <= larger


@pytest.mark.parametrize(
    ("kind", "tokens"), [("context", 400_000), ("input", 272_000), ("usable", 272_000)]
)
def test_every_layer_counts_the_same_kind(kind: str, tokens: int) -> None:
    """U14: tables, functions and overrides are all read as the kind asked for."""
    limit = Limit(context=400_000, input=272_000)
    table = ContextLimits({"acme/a": limit}, kind=kind)  # pyright: ignore[reportArgumentType]
    function = ContextLimits(lambda provider_id, model_id: limit, kind=kind)  # pyright: ignore[reportArgumentType]
    overridden = ContextLimits(kind=kind)  # pyright: ignore[reportArgumentType]
    overridden.override({"acme/a": limit})
    for limits in (table, function, overridden):
        assert (limits.kind, limits.find("acme", "a")) == (kind, tokens)


def test_no_such_kind() -> None:
    """U14: a kind that is none is refused by name, value and range."""
    with pytest.raises(ValueError, match="kind must be 'context', 'input' or 'usable', got 'output'"):
        ContextLimits(kind="output")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="kind must be"):
        ContextLimits.load(b"{}", kind="")  # pyright: ignore[reportArgumentType]


# --- files ----------------------------------------------------------------------------------------


def test_opencode_s_answer_is_read(tmp_path: Path) -> None:
    """U11: the agent itself knows best; a model it says 0 of is not known."""
    path = tmp_path / "providers.json"
    path.write_text(json.dumps(PROVIDERS_ANSWER))
    limits = ContextLimits.load(path)
    assert limits.find("acme", "kestrel-large") == 200_000
    assert limits.find("acme", "kestrel-split") == 400_000
    assert limits.find("acme", "kestrel-unsaid") is None
    assert ContextLimits.load(str(path), kind="usable").find("acme", "kestrel-large") == 191_808


def test_models_dev_is_read() -> None:
    """U11: so does models.dev; a model without limits is not known."""
    limits = ContextLimits.load(json.dumps(MODELS_DEV).encode(), kind="context")
    assert limits.find("anthropic", "claude-sonnet-4-5") == 200_000
    assert limits.find("openrouter", "anthropic/claude-sonnet-4.5") == 1_000_000
    assert limits.find("anthropic", "claude-sonnet-4.5") is None
    assert limits.find("openrouter", "some/image-model") is None


def test_what_was_loaded_can_be_overridden() -> None:
    """U11: a user's own number goes before what a file says."""
    limits = ContextLimits.load(json.dumps(MODELS_DEV).encode())
    limits.override({"claude-sonnet-4-5": 1_000_000})
    assert limits.find("anthropic", "claude-sonnet-4-5") == 1_000_000


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "Input data was truncated"),
        (b"[]", "Expected `object`, got `array`"),
        (b'"nothing"', "Expected `object`, got `str`"),
        (b'{"name": "NotFoundError", "data": {}}', "Expected `object`, got `str` - at `$[...]`"),
        (b'{"acme": {"npm": "@acme/sdk"}}', "Object missing required field `models` - at `$[...]`"),
        (b'{"providers": {}}', "Expected `array`, got `object`"),
        (
            b'{"providers": ' + b"[" * 5_000,
            "maximum recursion depth exceeded while deserializing an object",
        ),
        (b'{"providers": [{"models": {}}]}', "Object missing required field `id` - at `$[0]`"),
        (
            b'{"providers": [{"id": "acme", "models": {"a": {"limit": {"context": "200k"}}}}]}',
            "Expected `int`, got `str` - at `$[0].models[...].limit.context`",
        ),
    ],
)
def test_a_file_of_another_kind(text: bytes, complaint: str, tmp_path: Path) -> None:
    """What is neither is refused with the file's name and the first thing that is wrong in it."""
    path = tmp_path / "limits.json"
    path.write_bytes(text)
    neither = "neither opencode's /config/providers nor models.dev's api.json"
    with pytest.raises(ValueError, match="neither") as raised:
        ContextLimits.load(path)
    assert str(raised.value) == f"{path}: {neither}: {complaint}"
    with pytest.raises(ValueError, match=f"^bytes: {neither}: "):
        ContextLimits.load(text)


def test_no_file(tmp_path: Path) -> None:
    """A file that cannot be read is the caller's ``OSError``."""
    with pytest.raises(FileNotFoundError):
        ContextLimits.load(tmp_path / "nothing.json")
