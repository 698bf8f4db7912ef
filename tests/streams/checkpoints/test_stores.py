"""A store by its address."""

import sys
from contextlib import closing
from pathlib import Path

import pytest

from streams.checkpoints import Checkpoints, MissingDriver, open_store


def test_a_path_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a path, as text, and as an address; relative ones belong to the working directory."""
    monkeypatch.chdir(tmp_path)
    for address in (
        tmp_path / "a.db",
        str(tmp_path / "b.db"),
        f"sqlite:///{tmp_path}/c.db",
        "sqlite:///d.db",
    ):
        with closing(open_store(address)) as store:
            assert isinstance(store, Checkpoints)
    assert {path.name for path in tmp_path.iterdir()} == {"a.db", "b.db", "c.db", "d.db"}


@pytest.mark.parametrize("address", ["mysql://u:secret@host/db", "sqlite://a.db", "sqlite:///"])
def test_no_store_there_is(address: str) -> None:
    """The error says what there is, and no password."""
    with pytest.raises(ValueError, match=r"a store of checkpoints is a path") as refused:
        open_store(address)
    assert "secret" not in str(refused.value)


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install; and the password is not said."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "streams.checkpoints.postgresql", raising=False)
    with pytest.raises(
        MissingDriver, match=r"need psycopg: pip install 'sessionstreams\[postgres\]'"
    ) as refused:
        open_store("postgresql://u:secret@127.0.0.1:1/db")
    assert "secret" not in str(refused.value)
