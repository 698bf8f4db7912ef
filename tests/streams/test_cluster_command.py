"""``sessionstreams cluster`` where Ray is not installed, or not there; with Ray, see ``tests/matrix``."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from streams.commands import run


@pytest.mark.parametrize("arguments", [["up", ".", "--store", "state.db"], ["status"], ["down"]])
def test_without_ray(
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line says what to install; nothing is written."""
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.chdir(tmp_path)
    assert run(["cluster", *arguments]) == 2
    refused = capsys.readouterr()
    assert refused.out == ""
    assert "the cluster needs Ray: pip install 'sessionstreams[cluster]'" in " ".join(refused.err.split())
    assert not list(tmp_path.iterdir())


def test_nobody_at_the_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that names the address, at once."""
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(shutdown=lambda: None))
    assert run(["cluster", "status", "--address", "127.0.0.1:9"]) == 2
    assert "no Ray cluster at 127.0.0.1:9: " in capsys.readouterr().err
