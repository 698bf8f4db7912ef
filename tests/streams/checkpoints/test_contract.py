"""The SQLite store keeps to what every store keeps to; the PostgreSQL store's turn is in tests/postgres."""

from pathlib import Path
from typing import Any

import pytest
import store_contract as contract

from streams.checkpoints import Checkpoints


@pytest.mark.parametrize("rule", contract.RULES, ids=lambda rule: rule.__name__)
def test_store(rule: Any, tmp_path: Path) -> None:
    """Engine 4: see each rule in ``store_contract.py``."""
    rule(lambda: Checkpoints(tmp_path / "state.db", patience=30))
