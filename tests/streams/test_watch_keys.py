"""What a terminal sends, as keys."""

import pytest

from streams.watch.keys import Keys


def keys_of(*sent: bytes) -> list[str]:
    keys = Keys()
    return [key for each in sent for key in keys.feed(each)] + list(keys.flush())


@pytest.mark.parametrize(
    ("sent", "pressed"),
    [
        (b"q", ["q"]),
        (b"/ab ", ["/", "a", "b", " "]),
        ("ü→".encode(), ["ü", "→"]),
        (b"\r\n", ["enter", "enter"]),
        (b"\x7f\x08", ["backspace", "backspace"]),
        (b"\x1b[A\x1b[B", ["up", "down"]),
        (b"\x1bOA\x1bOB", ["up", "down"]),
        (b"\x1b[5~\x1b[6~\x1b[H\x1b[F", ["page up", "page down", "home", "end"]),
        (b"\x1b", ["escape"]),
        (b"\x1b\x1b", ["escape", "escape"]),
        (b"\x1bq", ["escape", "q"]),
        (b"\x1b[1;5Cq", ["q"]),
        (b"\x1bOPq", ["q"]),
        (b"\t\x01q", ["q"]),
        (b"\x1b[" + b"1" * 40 + b"q", ["1"] * 10 + ["q"]),
        (b"", []),
    ],
)
def test_keys(sent: bytes, pressed: list[str]) -> None:
    """Letters, special keys by name, the escape key; keys without a name here are swallowed whole."""
    assert keys_of(sent) == pressed


@pytest.mark.parametrize("sent", ["ü".encode(), b"\x1b[A", b"\x1b[5~", b"\x1bOB"])
def test_a_key_may_come_in_pieces(sent: bytes) -> None:
    """A slow connection cuts where it likes."""
    assert keys_of(*(bytes([byte]) for byte in sent)) == keys_of(sent)


def test_the_escape_key_is_known_by_what_does_not_follow() -> None:
    """Until then it is pending; a letter is not."""
    keys = Keys()
    assert (list(keys.feed(b"q\x1b")), keys.pending) == (["q"], True)
    assert (list(keys.flush()), keys.pending) == (["escape"], False)
    assert list(keys.flush()) == []


def test_what_is_no_text_is_no_key() -> None:
    """Bytes that are no UTF-8 become a replacement character, not an exception."""
    assert keys_of(b"\xffq") == ["�", "q"]
