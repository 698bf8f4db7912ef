"""``StreamedText``: pieces of a text, put together."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.streamed_text import FOLD, StreamedText, TextView, order_of, quoted


def add(text: StreamedText, event_id: str, piece: str, cap: int | None = None) -> None:
    text.pieces.append((event_id, piece))
    if len(text.pieces) >= FOLD:
        text.fold(cap)


def event(number: int) -> str:
    """An event id as opencode makes them."""
    return f"evt_{number:026}"


def told(text: StreamedText, base: str = "", cap: int | None = None) -> str:
    """The text as it is now."""
    text.start_with(quoted(base))
    return json.loads(text.view(cap).json())


def test_pieces_in_order() -> None:
    """Pieces follow what the part's snapshot said."""
    text = StreamedText()
    for piece in ("b", "c", "d"):
        add(text, "", piece)
    assert told(text, "a") == "abcd"


def test_pieces_reordered_within_a_few() -> None:
    """T11: pieces that carry event ids are put in their order."""
    text = StreamedText()
    for number in (1, 3, 2, 5, 4):
        add(text, event(number), str(number))
    assert told(text) == "12345"


def test_a_late_piece_is_put_in_after_a_view() -> None:
    """T11: a snapshot between two pieces that were swapped does not lose the late one."""
    text = StreamedText()
    add(text, event(1), "1")
    add(text, event(3), "3")
    assert told(text) == "13"
    add(text, event(2), "2")
    assert told(text) == "123"


def test_a_repeated_piece_counts_once() -> None:
    """T11, S4: the same event twice, at once or later."""
    text = StreamedText()
    for number in (1, 1, 2, 1, 2, 3):
        add(text, event(number), str(number))
    assert told(text) == "123"


def test_a_piece_that_is_too_late_is_refused() -> None:
    """What is older than all that was folded cannot be told from a repeated one: the part will say."""
    text = StreamedText()
    for number in range(10, 10 + FOLD + 1):
        add(text, event(number), "x")
    add(text, event(1), "late")
    assert told(text) == "x" * (FOLD + 1)


def test_pieces_without_an_order_keep_that_of_arrival() -> None:
    """Ids that do not sort by time are no order."""
    assert order_of("0b8e-uuid") == ""
    text = StreamedText()
    for name, piece in (("z", "1"), ("a", "2"), ("z", "3")):
        add(text, name, piece)
    assert told(text) == "123"


def test_a_snapshot_supersedes_what_came_before_it() -> None:
    """T11: the part's snapshot is a barrier; what carries a later id stays."""
    text = StreamedText()
    add(text, event(1), "old")
    add(text, event(3), "new")
    text.snapshot_came(event(2))
    assert told(text, "base ") == "base new"


def test_views_share_and_never_change() -> None:
    """A view stays what it was, whatever is added or superseded after it."""
    text = StreamedText()
    for number in range(FOLD * 2):
        add(text, "", f"{number} ")
    text.start_with(b'""')
    early = text.view(None)
    before = early.json()
    for number in range(FOLD * 2):
        add(text, "", f"{number} ")
    late = text.view(None)
    text.snapshot_came("")
    assert early.json() == before
    assert late.json().startswith(before[:-1])
    assert late.chunks is early.chunks
    assert early != late


def test_views_of_the_same_text_are_equal() -> None:
    """However it was put together, and after it was stored."""
    texts = [StreamedText(), StreamedText()]
    for number in range(FOLD * 2):
        add(texts[0], "", "ab")
        add(texts[1], "", "abab"[: 4 * (number % 2)])
        if number % 10 == 0:
            told(texts[1])
    views = []
    for text in texts:
        text.start_with(b'""')
        views.append(text.view(None))
    assert views[0] == views[1]
    assert views[0] == texts[0].view(None)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(views[0]), type=TextView) == views[0]
    add(texts[0], "", "c")
    assert texts[0].view(None) not in views
    assert views[0] != "abab"


@pytest.mark.parametrize("piece", ['quo"te\\', "line\nfeed\r\u2028\x85\x0b", "ß🙂", "\ud800 alone", ""])
def test_any_text_survives(piece: str) -> None:
    """T6: whatever is in it; a lone surrogate, which UTF-8 has not, becomes U+FFFD."""
    text = StreamedText()
    add(text, "", piece)
    assert told(text) == piece.replace("\ud800", "\ufffd")


def test_a_cap_cuts_with_a_mark_and_leaves_no_hole() -> None:
    """T12: beyond the cap pieces are counted; a short one does not slip in after a long one."""
    text = StreamedText()
    for piece in ("a" * 90, "b" * 20, "c"):
        add(text, "", piece, 100)
    assert told(text, cap=100) == "a" * 90 + "b" * 10 + "… [11 characters cut]"


def test_a_cap_leaves_no_hole_between_chunks() -> None:
    """T12: what fits beside a long character that did not comes after it, so it is cut too."""
    text = StreamedText()
    for piece in ("a" * 98, "🙂🙂", "c"):
        for each in (piece, *[""] * 8):
            add(text, "", each, 100)
        seen = told(text, cap=100)
    assert seen == "a" * 98 + "… [3 characters cut]"


def test_a_cap_never_cuts_within_a_character() -> None:
    """Neither an escape nor a character of several bytes is halved."""
    for cap in range(1, 30):
        text = StreamedText()
        add(text, "", '"ß"🙂\n', cap)
        assert told(text, cap=cap).partition("…")[0] in ["", '"', '"ß', '"ß"', '"ß"🙂', '"ß"🙂\n']


@given(st.permutations(range(8)), st.integers(0, 7))
def test_any_order_within_a_few_gives_the_text(order: list[int], seen: int) -> None:
    """T11: eight pieces, in any order, with a view after any of them, end in the right text."""
    text = StreamedText()
    for count, number in enumerate(order):
        add(text, event(number + 1), str(number))
        if count == seen:
            told(text)
    assert told(text) == "01234567"


def test_the_snapshot_itself_is_in_it() -> None:
    """T11: a piece with the very id of the snapshot is in the snapshot; where ids tell nothing, all are."""
    text = StreamedText()
    for number in (1, 2, 3):
        add(text, event(number), str(number))
    text.snapshot_came(event(2))
    assert told(text, "12") == "123"
    text.snapshot_came("no order")
    assert told(text, "123") == "123"
    mixed = StreamedText()
    add(mixed, "no order", "old")
    mixed.snapshot_came(event(2))
    assert told(mixed, "new") == "new"


def test_what_was_folded_before_the_first_look_follows_the_base() -> None:
    """T11: a long text has chunks before anybody asks for it; what the part said goes before them."""
    text = StreamedText()
    for number in range(FOLD + 9):
        add(text, event(number + 1), f"{number} ")
    assert len(text) == FOLD + 9
    text.fold(None)
    assert len(text) == FOLD + 9
    whole = "base " + "".join(f"{number} " for number in range(FOLD + 9))
    assert told(text, "base ") == whole
    add(text, event(FOLD + 1), "the last of what is folded, again")
    assert told(text, "base ") == whole


def test_the_cap_counts_the_base_and_every_chunk() -> None:
    """T12: of 1000 characters, the base took 400 and the chunks before a look take the rest."""
    text = StreamedText()
    text.start_with(quoted("b" * 400))
    for _ in range(2):
        for number in range(9):
            add(text, "", "x" * 100 if number == 0 else "", 1000)
        text.fold(1000)
    assert text.size == 600
    for number in range(9):
        add(text, "", "y" * 500 if number == 0 else "", 1000)
    assert told(text, cap=1000) == "b" * 400 + "x" * 200 + "y" * 400 + "… [100 characters cut]"
    late = StreamedText()
    for number in range(9):
        add(late, "", "x" * 100 if number == 0 else "", 1000)
    late.fold(1000)
    late.start_with(quoted("b" * 850))
    add(late, "", "y" * 60)
    assert told(late, cap=1000) == "b" * 850 + "x" * 100 + "y" * 50 + "… [10 characters cut]"


def test_nothing_fits_into_no_room() -> None:
    """T12: a base that fills the cap leaves room for not one character; a snapshot makes room anew."""
    text = StreamedText()
    text.start_with(quoted("b" * 20))
    add(text, "", "c")
    assert json.loads(text.view(20).json()) == "b" * 20 + "… [1 characters cut]"
    text.snapshot_came("")
    for each in ("c" * 20, *[""] * 8):
        add(text, "", each)
    text.fold(20)
    assert (text.size, text.cut) == (20, 0)


def test_a_view_is_no_other_thing() -> None:
    """Not equal to it, and it says so."""
    view: object = StreamedText().view(None)
    assert view != "x"
    assert not view == b'""'  # noqa: SIM201 - the operator is what is tested


@pytest.mark.parametrize("name", ["evt_1", "x" * 30, "msg_" + "0" * 26])
def test_only_ids_of_events_sort(name: str) -> None:
    """Both their beginning and their length tell them."""
    assert order_of(name) == ""
