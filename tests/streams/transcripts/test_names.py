"""``file_stem``: one safe component per session id."""

import re

from hypothesis import given
from hypothesis import strategies as st

from streams.transcripts.names import file_stem

HOSTILE = [
    "../../x",
    "..",
    ".",
    "",
    "a/b",
    "a\\b",
    "C:x",
    "x" * 300,
    "X" * 300,
    "con",
    "CON",
    "com1",
    "nul.txt",
    "a\0b",
    "ß",
    "SS",
    "ss",
    "a:b",
    "a_b",
    "a b",
    "-rf",
    "~root",
    "\ud800",
    "\n",
    "日本",
    ".hidden",
]


def test_plain_ids_stay_as_they_are() -> None:
    """opencode's, UUIDs, and other plain lower-case ids."""
    for name in ("ses_dfa1e0772ffeMhOQd7mHgpF7Tg", "0e8a4f3c-93d2-4f6e-8f0e-8a1f5f3b7c11", "a_b", "s"):
        assert file_stem(name) == name


def test_hostile_ids_are_safe_and_distinct() -> None:
    """T13: all inside, all distinct, even where the file system knows no case."""
    stems = [file_stem(name) for name in HOSTILE]
    assert all(re.fullmatch(r"[a-z0-9_]+(\.[0-9a-f]{20})?", stem) for stem in stems)
    assert len({stem.lower() for stem in stems}) == len(HOSTILE)
    assert not {"con", "nul", "com1"} & {stem.partition(".")[0] for stem in stems if "." not in stem}


def test_a_cleaned_name_cannot_be_claimed_by_another_id() -> None:
    """T13: an id that looks like a cleaned one is cleaned itself."""
    stem = file_stem("a:b")
    assert file_stem(stem) != stem


@given(st.text(st.characters(), max_size=400), st.text(st.characters(), max_size=400))
def test_any_two_ids(one: str, other: str) -> None:
    """Whatever they hold: short, within the alphabet, and the same only for the same."""
    stems = [file_stem(one), file_stem(other)]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", stem) and stem[0] != "." for stem in stems)
    assert (stems[0] == stems[1]) == (one == other)
