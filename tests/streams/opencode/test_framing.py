"""Framing of server-sent events: the same payloads however the bytes were cut."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.opencode.framing import Frames, Oversized


def payloads(*chunks: bytes, max_bytes: int = 1_000_000) -> list[Any]:
    frames = Frames(max_bytes)
    return [payload for chunk in chunks for payload in frames.feed(chunk)]


@pytest.mark.parametrize(
    ("stream",                                      "expected"),
    [
        (b"data: a\n\ndata: b\n\n",                 [b"a", b"b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n",         [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r",                 [b"a", b"b"]),
        (b"data:a\n\n",                             [b"a"]),
        (b"data:  a\n\n",                           [b" a"]),
        (b"data: a\ndata: b\n\n",                   [b"a\nb"]),
        (b"data: a\r\ndata: b\r\n\r\n",             [b"a\nb"]),
        (b"data\n\n",                               [b""]),
        (b"\xef\xbb\xbfdata: a\n\n",                [b"a"]),
        (b": heartbeat\n\ndata: a\n\n",             [b"a"]),
        (b"id: 1\nevent: x\nretry: 5\ndata: a\n\n", [b"a"]),
        (b"data: a\n: in between\ndata: b\n\n",     [b"a\nb"]),
        (b"database: a\n\n",                        []),
        (b"data: a\n\ndata: cut off",               [b"a"]),
        (b"\n\n\n",                                 []),
        ("data: ü€😀\n\n".encode(),                 ["ü€😀".encode()]),
    ],
)  # fmt: skip
def test_every_form_of_a_frame(stream: bytes, expected: list[bytes]) -> None:
    """S6: line ends, spaces, comments, byte-order mark and unknown fields, at every cut."""
    assert payloads(stream) == expected
    assert payloads(*(stream[at : at + 1] for at in range(len(stream)))) == expected
    for at in range(len(stream)):
        assert payloads(stream[:at], stream[at:]) == expected


def test_a_recorded_stream_cut_at_every_byte(recording_of: Any) -> None:
    """S6: a real stream cut in two at every byte position gives identical events."""
    expected = [event.raw for event in recording_of("basic.global").events()]
    for raw in expected:
        frame = b"data: " + raw + b"\n\n"
        for at in range(len(frame)):
            assert payloads(frame[:at], frame[at:]) == [raw]
    stream = b"".join(b"data: " + raw + b"\n\n" for raw in expected)
    assert payloads(*(stream[at : at + 1] for at in range(len(stream)))) == expected


@settings(deadline=None)
@given(st.data())
def test_any_cuts(data: st.DataObject) -> None:
    """S6: any number of cuts anywhere, in any mixture of line ends, changes nothing."""
    texts = data.draw(st.lists(st.text(max_size=20), min_size=1, max_size=5))
    expected = [json.dumps(text).encode() for text in texts]
    ends = data.draw(st.lists(st.sampled_from([b"\n", b"\r\n", b"\r"]), min_size=len(texts)))
    stream = b"".join(b"data: " + each + end + end for each, end in zip(expected, ends, strict=False))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=12)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert payloads(*chunks) == expected


def test_an_oversized_payload_is_let_go() -> None:
    """S7: above the maximum it becomes a record with its size and first KiB; the next one is fine."""
    big = b"x" * 5_000
    stream = b"data: " + big + b"\n\ndata: next\n\n"
    for size in (1, 7, 1000, len(stream)):
        chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
        oversized, after = payloads(*chunks, max_bytes=4_000)
        assert oversized == Oversized(5_006, big[:1024])
        assert after == b"next"


def test_an_endless_payload_is_not_kept() -> None:
    """S7: memory is bounded while a payload grows without end, in one line or in many."""
    for chunk in (b"x" * 1_000, b"data: " + b"x" * 993 + b"\n"):
        frames = Frames(10_000)
        frames.feed(b"data: ")
        for _ in range(1_000):
            assert frames.feed(chunk) == []
        kept = sum(map(len, frames._line)) + sum(map(len, frames._data))
        assert kept <= 11_000


def test_a_large_payload_below_the_maximum_is_delivered() -> None:
    """S7: 5 MiB in reads of 64 KiB come whole."""
    big = b"x" * 5 * 1024 * 1024
    stream = b"data: " + big + b"\n\n"
    chunks = [stream[at : at + 65_536] for at in range(0, len(stream), 65_536)]
    assert payloads(*chunks, max_bytes=16 * 1024 * 1024) == [big]


def test_comments_do_not_add_up() -> None:
    """S7: comments and other fields never make an event oversized."""
    assert payloads(b": x\n" * 1_000 + b"data: a\n\n", max_bytes=100) == [b"a"]
