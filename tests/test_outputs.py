"""What every operator says, all of it, is what it said when somebody last looked."""

import runpy
from pathlib import Path

import pytest
from every_operator import operator_names

WRITER = runpy.run_path(str(Path(__file__).with_name("outputs.py")))


@pytest.mark.parametrize("name", operator_names())
def test_what_an_operator_says_is_what_it_said(name: str) -> None:
    """Each field of each value over the script and recordings; ``python tests/outputs.py`` writes them anew."""
    assert WRITER["outputs"](name) == WRITER["path_of"](name).read_text(encoding="utf-8").splitlines()


def test_nothing_is_kept_of_an_operator_that_is_gone() -> None:
    """A file for each operator, and no other."""
    kept = {path.stem for path in WRITER["FOLDER"].iterdir()}
    assert kept == set(operator_names())
