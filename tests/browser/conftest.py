"""What the tests in a browser need beside Python packages. `make browser` gets it."""

import os
import shutil
from pathlib import Path

import pytest

AXE = Path(__file__).parents[2] / ".cache/browser/node_modules/axe-core/axe.min.js"


def _missing(what: str) -> None:
    """On a developer's machine a reason to skip; in CI a failure."""
    reason = f"{what} is missing: make browser"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where Chromium is."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        _missing("chromium")
    return found or ""


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core's source."""
    if not AXE.exists():
        _missing("axe-core")
    return AXE.read_text("utf-8")
