"""How far a server's log was told."""

import msgspec
import pytest

from streams.opencode.log import Entry
from streams.opencode.progress import Dated, Progress


def entry(session_id: str, seq: int, kind: str = "message.updated.1") -> Entry:
    return Entry("", kind, seq, session_id, msgspec.Raw(b"{}"))


def rows(*numbers: tuple[str, int]) -> list[Dated]:
    """Stamped in this order."""
    return [Dated(stamp, entry(*number)) for stamp, number in enumerate(numbers)]


@pytest.mark.parametrize(("seq", "missing"), [(0, -1), (4, -1), (5, -1), (6, 0), (7, 1), (16, 10)])
def test_what_is_missing_before_an_entry(seq: int, missing: int) -> None:
    """Told up to 5: what is lower is known, 6 is the next one."""
    assert Progress({"a": 5}).missing_before(entry("a", seq)) == missing


@pytest.mark.parametrize("seq", [0, 1, 7])
def test_a_session_that_is_new(seq: int) -> None:
    """Its first number is 0."""
    assert Progress({"a": 5}).missing_before(entry("b", seq)) == seq


def test_a_deleted_session_is_over() -> None:
    """Its position is dropped, and whatever comes of it later counts as told."""
    progress = Progress({"a": 5, "b": 1})
    progress.tell(entry("a", 6, "session.deleted.1"))
    assert progress.last == {"b": 1}
    assert [progress.missing_before(entry("a", seq)) for seq in (0, 6, 9)] == [-1] * 3


def test_the_longest_logs_are_told() -> None:
    """900 at the most: of the others all comes again, so they should be the short ones."""
    lengths = {f"s{number}": number for number in range(1_000)}
    told = Progress(lengths).told()
    assert told == {f"s{number}": number for number in range(100, 1_000)}
    assert Progress({"a": 0, "b": 1, "c": 7}).told(but=1) == {"b": 0, "c": 6}


def test_logs_that_are_shorter_than_what_was_told() -> None:
    """The last entry must be in an answer that was asked for it; a session without any is behind, too."""
    progress = Progress({"a": 1, "b": 1, "c": 0, "d": 0})
    assert progress.behind(rows(("a", 1), ("b", 0), ("c", 3))) == ["b", "d"]


def test_what_is_untold_of_an_answer() -> None:
    """Each session's by number, all by time, and each once, though the answer has it twice."""
    progress = Progress({"a": 0})
    answer = rows(("a", 0), ("a", 1), ("b", 0), ("a", 2), ("b", 1))
    untold = progress.untold([*reversed(answer), *answer])
    assert [(row.entry.session_id, row.entry.seq) for row in untold] == [
        ("a", 1),
        ("b", 0),
        ("a", 2),
        ("b", 1),
    ]
