"""``Transcript``: a sorted whole whose versions share what they can."""

import random
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from operators.transcript import Transcript
from operators.transcript_entry import TranscriptEntry
from streams.events import MessageUpdated

KEYS = st.integers(0, 60).map(lambda number: f"{number:03}")


def entry(key: str, body: bytes = b"{}", **more: Any) -> TranscriptEntry:
    return TranscriptEntry(key, "m", "text", key, 0.0, 0.0, "", body, **more)


def built(keys: list[str]) -> Transcript:
    whole = Transcript()
    for key in keys:
        whole = whole.put(entry(key))
    return whole


def keys_of(whole: Transcript) -> list[str]:
    return [each.key for each in whole]


@given(st.lists(st.tuples(st.booleans(), KEYS), max_size=200))
def test_it_is_a_sorted_map(steps: list[tuple[bool, str]]) -> None:
    """Whatever is put and removed in whatever order, it holds what a dict would, in order."""
    whole, expected = Transcript(), dict[str, bytes]()
    for number, (is_put, key) in enumerate(steps):
        if is_put:
            expected[key] = str(number).encode()
            whole = whole.put(entry(key, expected[key]))
        else:
            expected.pop(key, None)
            whole = whole.remove(key)
    assert [(each.key, each.body) for each in whole] == sorted(expected.items())
    assert len(whole) == len(expected)
    assert all((found := whole.get(key)) and found.body == body for key, body in expected.items())
    assert whole.get("absent") is None


@given(st.sets(st.integers(0, 2000), max_size=300), st.integers(0, 2000))
def test_iterating_from_anywhere(numbers: set[int], start: int) -> None:
    """Forwards from a key and backwards before it, over many leaves."""
    keys = sorted(f"{number:04}" for number in numbers)
    whole, key = built(keys), f"{start:04}"
    assert [each.key for each in whole.before(key)] == [each for each in keys if each < key][::-1]
    assert [each.key for each in whole.after_message(key)] == [each for each in keys if each > key]


def test_a_version_never_changes() -> None:
    """Later versions leave the earlier ones as they were."""
    versions = [Transcript()]
    for number in range(200):
        versions.append(versions[-1].put(entry(f"{number:04}")))
    last = versions[-1]
    for number in range(0, 200, 3):
        last = last.remove(f"{number:04}").put(entry(f"{number:04}x", b"new"))
    assert [len(each) for each in versions] == list(range(201))
    assert keys_of(versions[200]) == [f"{number:04}" for number in range(200)]


def test_versions_share_all_but_a_path() -> None:
    """T12: of 5 000 entries, adding one makes a handful of new nodes."""

    def nodes(node: Any) -> list[int]:
        return [id(node), *(each for inner in node.nodes for each in nodes(inner))]

    before = built([f"{number:05}" for number in range(5_000)])
    after = before.put(entry("99999"))
    assert len(set(nodes(after.root)) - set(nodes(before.root))) <= 4
    assert len(nodes(before.root)) < 200


def test_removing_all_in_any_order() -> None:
    """Nothing is left over."""
    keys = [f"{number:04}" for number in range(500)]
    whole = built(keys)
    random.Random(1).shuffle(keys)
    for key in keys:
        whole = whole.remove(key)
    assert keys_of(whole) == []
    assert whole.last is None
    assert whole == Transcript()
    assert whole.remove("0001") is whole


def test_a_message_and_its_parts() -> None:
    """Parts are found by what their keys begin with."""
    message = MessageUpdated("s", message_id="m")
    whole = Transcript()
    for key, of in (("m\0", message), ("m\0a", None), ("m\0b", None), ("n\0", message), ("n\0a", None)):
        whole = whole.put(entry(key, message=of))
    first = whole.get("m\0a")
    assert first is not None
    assert [each.key for each in whole.parts_of("m\0")] == ["m\0a", "m\0b"]
    assert [each.key for each in whole.last_parts_of("m\0")] == ["m\0b", "m\0a"]
    assert [each.key for each in whole.under("m\0")] == ["m\0", "m\0a", "m\0b"]
    assert [each.key for each in whole.after(first)] == ["m\0b"]
    assert [each.key for each in whole.after_message("m\0")] == ["n\0", "n\0a"]
    assert whole.message_of(first) is message
    assert whole.last is not None
    assert whole.last.key == "n\0a"


def test_a_part_before_its_message() -> None:
    """It has none yet; and what follows it may have a longer name that begins as its own."""
    whole = built(["m\0a", "m\0a!", "m\0aA", "m\0ab"])
    first = whole.get("m\0a")
    assert first is not None
    assert whole.message_of(first) is None
    assert [each.key for each in whole.after(first)] == ["m\0a!", "m\0aA", "m\0ab"]


def test_it_can_be_stored() -> None:
    """A checkpoint is one encode and one decode."""
    whole = built([f"{number:03}" for number in range(100)]).completed()
    for codec in (msgspec.json, msgspec.msgpack):
        assert codec.decode(codec.encode(whole), type=Transcript) == whole


def test_representations_are_short() -> None:
    """A transcript in a log is a line, not a book."""
    assert repr(built(["a", "b"])) == "Transcript(2 entries)"
    assert (
        repr(entry("a", tool="bash", status="running")) == "TranscriptEntry(text, a, bash, running, 2 B)"
    )
