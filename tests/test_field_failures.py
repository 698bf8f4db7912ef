"""The table of field failures: complete, true to the tests, and current."""

import runpy
from pathlib import Path
from typing import Any

import pytest

LEDGER = runpy.run_path(str(Path(__file__).with_name("field_failures.py")))


@pytest.fixture
def failures() -> Any:
    return LEDGER["catalogue"]()[1]


def test_every_failure_has_a_test_or_a_reason(failures: Any) -> None:
    """And no test cites a failure that there is not."""
    assert list(LEDGER["complaints"](failures, LEDGER["citations"]())) == []


def test_the_table_is_current(failures: Any) -> None:
    """``make field-failures`` writes it."""
    groups, _ = LEDGER["catalogue"]()
    written = LEDGER["TABLE"].read_text(encoding="utf-8")
    assert written == LEDGER["table"](groups, failures, LEDGER["citations"]())


def test_what_is_missing_or_wrong_is_named(failures: Any) -> None:
    """A failure that nobody cites, and a citation of none, are one line each; a reason is enough."""
    some = LEDGER["Cited"]
    first, second, *_ = failures
    excused = first._replace(open="not built")
    wrong = LEDGER["complaints"](
        [first, excused, second], [some(second.id, "f.py", "test_a"), some("U99", "f.py", "test_b")]
    )
    assert list(wrong) == [
        "f.py::test_b cites U99, which is no field failure",
        f"{first.id} ({first.title}) has neither a test nor a reason",
    ]


@pytest.mark.parametrize(
    ("docstring", "cited"),
    [
        ("C1: said once.", ["C1"]),
        ("C1, X4: said once.", ["C1", "X4"]),
        ("Said once (C1).", []),
        ("C1 and X4: said once.", []),
        ("", []),
    ],
)
def test_what_is_a_citation(docstring: str, cited: list[str]) -> None:
    """The ids before the first colon, and nothing else: what is only mentioned proves nothing."""
    assert LEDGER["cited"](docstring) == cited


def test_the_catalogue_is_in_order(failures: Any) -> None:
    """Each group's failures are numbered from 1."""
    groups, _ = LEDGER["catalogue"]()
    for letter in groups:
        own = [int(each.id[1:]) for each in failures if each.id[0] == letter]
        assert own == list(range(1, len(own) + 1))
    assert {each.id[0] for each in failures} == set(groups)
