"""The README's pictures are of the program as it is."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks/pictures"


@pytest.fixture
def pictures() -> dict[str, Callable[[], str]]:
    """What draws each picture, by its file's name."""
    return runpy.run_path(str(ROOT / "tests/pictures.py"))["PICTURES"]


def words(svg: str) -> list[str]:
    """What can be read in a picture, however it is laid out."""
    drawn = fromstring(svg)  # noqa: S314
    texts = (each for each in drawn.iter("{http://www.w3.org/2000/svg}text"))
    return " ".join("".join(each.itertext()) for each in texts).split()


def test_the_watch_picture_is_current(pictures: Any) -> None:
    """It reads as ``watch`` does now: ``make pictures`` if not. How rich writes SVG is its own affair."""
    drawn = pictures["watch.svg"]()
    assert words((FOLDER / "watch.svg").read_text("utf-8")) == words(drawn)
    for each in ("Survey", "helpers", "trigger", "84.3", "11,800/14,000", "completed"):
        assert each in words(drawn)


def test_the_usage_picture_is_current(pictures: Any) -> None:
    """To the byte: ``make pictures`` if not."""
    drawn = pictures["usage.svg"]()
    assert (FOLDER / "usage.svg").read_text("utf-8") == drawn
    for each in ("limit", "32,000", "threshold", "78", "▼"):
        assert each in words(drawn)


def test_pictures_ask_for_nothing(pictures: Any) -> None:
    """A page that shows one fetches one file."""
    for draw in pictures.values():
        drawn = draw().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in drawn
        assert "@import" not in drawn


def test_the_readme_shows_them() -> None:
    """Each with words for whoever does not see it."""
    readme = (ROOT / "README.md").read_text("utf-8")
    for path in FOLDER.iterdir():
        assert f"](notebooks/pictures/{path.name})" in readme
    assert "![](" not in readme
