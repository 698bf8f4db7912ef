"""The audit of dependencies: what is vulnerable fails, what could not be asked is said."""

import json
import runpy
from pathlib import Path

import pytest

pytest.importorskip("packaging")
AUDIT = runpy.run_path(str(Path(__file__).parents[1] / ".ci" / "audit.py"))

CLEAN = {"name": "msgspec", "version": "0.19.0", "vulns": []}
BAD = {"name": "httpx2", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "reactivex", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("answer", "complaint", "said", "vulnerable"),
    [
        ([CLEAN], "", ["1 of 1 packages have no known vulnerability"], False),
        ([BAD], "", ["httpx2 2.0: PYSEC-1, fixed in 2.1", "0 of 1 packages have no known vulnerability"], True),
        ([UNKNOWN], "", ["not audited: reactivex: not found", "0 of 1 packages have no known vulnerability"], False),
        (None, "Traceback\nConnectionError: no route\n", ["not audited: ConnectionError: no route"], False),
        (None, "", ["not audited: no answer"], False),
    ],
)  # fmt: skip
def test_what_is_said(answer: object, complaint: str, said: list[str], vulnerable: bool) -> None:
    """A vulnerable package fails the audit; a service that does not answer is said, and does not."""
    text = "" if answer is None else json.dumps({"dependencies": answer, "fixes": []})
    assert AUDIT["report"](text, complaint) == (said, vulnerable)


def test_what_a_user_installs_is_asked_about() -> None:
    """The package's requirements with what they need in turn, and no tool of development."""
    found = AUDIT["installed"](AUDIT["requirements"]())
    assert {"reactivex", "msgspec", "loguru"} <= set(found)
    assert not {"pytest", "ruff", "hypothesis"} & set(found)
