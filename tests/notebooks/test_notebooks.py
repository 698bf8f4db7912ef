"""The notebooks as they are committed: they were run, they show pictures, and they say nothing of a machine.

``make notebooks`` executes them; that takes too long here.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = [
    "01_first_look",
    "02_compaction_policies",
    "03_background_tasks",
    "04_write_your_own",
    "05_time_and_memory",
]
MACHINE = re.compile(
    r"""(?:^|[\s"'(=:])(?:/(?:home|root|tmp|work|usr|opt|var|Users|private|mnt)/|[A-Z]:\\\\)"""
    r"""|site-packages|\.venv|0x[0-9a-f]{6,}|/pypi/""",
    re.MULTILINE,
)


def cells_of(name: str) -> list[dict[str, Any]]:
    return json.loads((FOLDER / f"{name}.ipynb").read_text("utf-8"))["cells"]


def code_of(name: str) -> list[dict[str, Any]]:
    return [cell for cell in cells_of(name) if cell["cell_type"] == "code"]


def said(value: Any) -> str:
    """All text in it, without pictures."""
    if isinstance(value, dict):
        return "\n".join(said(each) for key, each in value.items() if key != "image/png")
    return "\n".join(map(said, value)) if isinstance(value, list) else str(value)


def test_these_are_all() -> None:
    """Each is named here, so none is forgotten."""
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_no_machine_is_spoken_of(name: str) -> None:
    """No path, no address of an object, no interpreter of whoever ran it last."""
    found = [match.group() for cell in cells_of(name) for match in MACHINE.finditer(said(cell))]
    assert found == []


@pytest.mark.parametrize("name", NAMES)
def test_the_outputs_are_those_of_one_run(name: str) -> None:
    """Run from top to bottom, and no cell failed or wrote to standard error."""
    cells = code_of(name)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert outputs
    assert not [
        each for each in outputs if each["output_type"] == "error" or each.get("name") == "stderr"
    ]


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("04")])
def test_plots_are_pictures(name: str) -> None:
    """A code host runs no script of a page: what is drawn is drawn already."""
    kinds = [set(output.get("data", ())) for cell in code_of(name) for output in cell["outputs"]]
    assert any("image/png" in each for each in kinds)
    assert not any("vegalite" in kind for each in kinds for kind in each)


def test_a_machine_would_be_noticed() -> None:
    """The check itself: what it finds and what it lets pass."""
    for text in ('File "/home/x/a.py"', "in /usr/lib", "<Rows at 0x7f08f7df1e90>", "C:\\\\Users"):
        assert MACHINE.search(text), text
    for text in ("../tests/recordings/long.jsonl.gz", "1/2", "http://127.0.0.1:4096", "a/tmp/b"):
        assert not MACHINE.search(text), text
