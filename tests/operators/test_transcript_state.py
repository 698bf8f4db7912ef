"""``TranscriptState``: the places of messages and parts."""

import itertools

import pytest

from operators.transcript_state import TranscriptState

MESSAGE = "msg_" + "1" * 26
PART = "prt_" + "1" * 26


def placed(state: TranscriptState, *names: str, within: str = "") -> list[str]:
    """The names in the order of their places."""
    place = {name: state.key(within, name) if within else state.key(name) for name in names}
    return sorted(names, key=place.__getitem__)


def test_ids_that_sort_are_their_own_place() -> None:
    """Only opencode's own: a message's as a message's, a part's as a part's."""
    state = TranscriptState("s")
    assert state.key(MESSAGE, PART) == f"{MESSAGE}\0{PART}"
    assert state.key(MESSAGE) == f"{MESSAGE}\0"
    assert state.orders == {}


@pytest.mark.parametrize(
    ("message", "part"), [(MESSAGE, "p"), ("m", PART), ("m", "p"), (PART, MESSAGE), (MESSAGE, MESSAGE)]
)
def test_other_names_get_a_place_once(message: str, part: str) -> None:
    """And keep it; an id of the wrong kind is another name."""
    state = TranscriptState("s")
    key = state.key(message, part)
    assert state.key(message, part) == key
    assert key.startswith(f"{message}\0") is (message == MESSAGE)
    assert key.endswith(f"\0{part}") is (part == PART)
    assert key.startswith(state.key(message))


def test_names_are_in_the_order_of_arrival() -> None:
    """After what sorts by time; the parts of each message apart."""
    state = TranscriptState("s")
    assert placed(state, "z", "a", "m") == ["z", "a", "m"]
    assert placed(state, "z", "a", within="m") == ["z", "a"]
    assert state.key("z") > f"{MESSAGE}\0"
    assert state.key("z", "a") != state.key("m", "a")


@pytest.mark.parametrize("heard", ["", "a", "c", "e", "ac", "ae", "ce", "ace", "bd", "abcde", "de", "x"])
def test_what_is_told_in_order_is_put_in_order(heard: str) -> None:
    """Whatever was heard of it: before, between and after, for a part as for a message."""
    for within in ("", "m"):
        state = TranscriptState("s")
        placed(state, *heard, within=within)
        state.put_in_order([*"abcde"], "msg_", within)
        assert placed(state, *"abcde", within=within) == [*"abcde"]
        if heard == "x":  # it was heard live, and the rest is older
            assert placed(state, *"abcde", "x", within=within)[-1] == "x"


@pytest.mark.parametrize("first", [*itertools.combinations("abcdef", 2)])
def test_told_twice_in_order(first: tuple[str, ...]) -> None:
    """What a first answer had, and a second one has between: any number of times."""
    state = TranscriptState("s")
    state.put_in_order([*first], "msg_")
    state.put_in_order([*"abcdef"], "msg_")
    assert placed(state, *"abcdef") == [*"abcdef"]
    state.put_in_order([*"aAbBcCdDeEfF"], "msg_")
    state.put_in_order([*"a0A1b2B3c4C5d6D7e8E9fF"], "msg_")
    assert placed(state, *"a0A1b2B3c4C5d6D7e8E9fF") == [*"a0A1b2B3c4C5d6D7e8E9fF"]


def test_empty_names_and_those_that_sort_are_not_put() -> None:
    """An id of a message says its place, and no name none."""
    state = TranscriptState("s")
    state.put_in_order(["", MESSAGE, "a", ""], "msg_")
    assert state.orders == {"": {"a": "~000000001"}}


def test_places_stay_short() -> None:
    """A thousand put one before the other take a few characters each, not one for each before."""
    state = TranscriptState("s")
    names = [f"n{number}" for number in range(1000)]
    state.key(names[-1])
    state.put_in_order(names, "msg_")
    assert placed(state, *names) == names
    assert max(len(state.key(name)) for name in names) < 40
