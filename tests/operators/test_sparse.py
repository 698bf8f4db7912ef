"""Dicts of a state that most sessions put nothing in."""

import msgspec

from operators.sparse import put, sparse


class State(msgspec.Struct):
    kept: dict[str, int] = sparse()


def test_what_one_session_puts_in_no_other_sees() -> None:
    """The empty dict is shared; the first entry makes a dict of the session's own."""
    one, other = State(), State()
    assert one.kept is other.kept
    one.kept = put(one.kept, "a", 1)
    one.kept = put(one.kept, "b", 2)
    assert (one.kept, other.kept, State().kept) == ({"a": 1, "b": 2}, {}, {})


def test_an_entry_is_put_into_the_dict_that_there_is() -> None:
    """A dict of one's own is not copied."""
    own = put({}, "a", 1)
    assert put(own, "a", 2) is own == {"a": 2}


def test_a_stored_state_is_read_back() -> None:
    """Empty or not, a snapshot has the dict as it was."""
    for state in (State(), State({"a": 1})):
        assert msgspec.json.decode(msgspec.json.encode(state), type=State) == state
