"""The PostgreSQL store keeps to what every store keeps to."""

from typing import Any

import pytest
import store_contract as contract

from streams.checkpoints import open_store


@pytest.mark.parametrize("rule", contract.RULES, ids=lambda rule: rule.__name__)
def test_store(rule: Any, url: str) -> None:
    """Engine 4: see each rule in ``store_contract.py``."""
    rule(lambda: open_store(url))
