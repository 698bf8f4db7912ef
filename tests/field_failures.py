"""Which test proves that a failure from the field does not come back: ``python tests/field_failures.py``.

Writes ``tests/FIELD_FAILURES.md`` from two things: the catalogue, ``tests/field_failures.toml``, and the
docstrings of the tests, where the ids before the first colon are cited: ``C1, X4: …``. Exit status 1, and
what is wrong, when a failure has neither a test nor a reason, or when a test cites one that does not exist.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parent
CATALOGUE = TESTS / "field_failures.toml"
TABLE = TESTS / "FIELD_FAILURES.md"

CITED = re.compile(r"((?:[A-Z]\d+, )*[A-Z]\d+): ")

HEAD = """\
# Field failures

What has gone wrong, in public, wherever the session events of agents were turned into derived state, and the
tests that fail should it come back here. A ★ marks those that hurt most. Written by `make field-failures`
from the tests' docstrings; a test fails when a failure has neither a test nor a reason, and when this page is
not current.
"""


class Failure(NamedTuple):
    """One entry of the catalogue."""

    id: str
    title: str
    take_first: bool
    open: str


class Cited(NamedTuple):
    """A test, and an id that its docstring cites."""

    id: str
    file: str
    test: str


def catalogue() -> tuple[dict[str, str], list[Failure]]:
    """The groups by their letter, and the failures in order."""
    found = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))
    return found["groups"], [
        Failure(name, entry["title"], entry.get("take_first", False), entry.get("open", ""))
        for name, entry in found["failures"].items()
    ]


def citations() -> list[Cited]:
    """Of all tests, in the order of the files."""
    return [
        Cited(each, path.relative_to(TESTS).as_posix(), name)
        for path in sorted(TESTS.rglob("test_*.py"))
        for name, docstring in _tests(ast.parse(path.read_text(encoding="utf-8")))
        for each in cited(docstring)
    ]


def cited(docstring: str) -> list[str]:
    """The ids that a docstring begins with."""
    found = CITED.match(docstring)
    return found[1].split(", ") if found else []


def _tests(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The tests of a module or class by name, each with its docstring."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from _tests(node, f"{node.name}::")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield prefix + node.name, ast.get_docstring(node) or ""


def complaints(failures: list[Failure], tests: list[Cited]) -> Iterator[str]:
    """What is wrong with the two together."""
    known = {each.id for each in failures}
    proved = {each.id for each in tests}
    for each in tests:
        if each.id not in known:
            yield f"{each.file}::{each.test} cites {each.id}, which is no field failure"
    for each in failures:
        if each.id not in proved and not each.open:
            yield f"{each.id} ({each.title}) has neither a test nor a reason"


def table(groups: dict[str, str], failures: list[Failure], tests: list[Cited]) -> str:
    """The page."""
    proved: dict[str, list[Cited]] = {}
    for each in tests:
        proved.setdefault(each.id, []).append(each)
    covered = sum(each.id in proved and not each.open for each in failures)
    lines = [
        HEAD,
        f"{covered} of {len(failures)} are covered; {len(failures) - covered} in part, or not.",
    ]
    for letter, group in groups.items():
        lines += [
            "",
            f"## {group}",
            "",
            "| failure | what goes wrong | tests | state |",
            "|---|---|---|---|",
        ]
        lines += [_row(each, proved.get(each.id, [])) for each in failures if each.id[0] == letter]
    return "\n".join([*lines, ""])


def _row(failure: Failure, tests: list[Cited]) -> str:
    links = "<br>".join(f"[{each.file}::{each.test}]({each.file})" for each in tests)
    state = "covered"
    if failure.open:
        state = f"{'in part' if tests else 'not covered'}: {failure.open}"
    star = " ★" if failure.take_first else ""
    return f"| {failure.id}{star} | {failure.title} | {links} | {state} |"


def main() -> int:
    groups, failures = catalogue()
    tests = citations()
    wrong = list(complaints(failures, tests))
    for each in wrong:
        print(each, file=sys.stderr)
    TABLE.write_text(table(groups, failures, tests), encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
