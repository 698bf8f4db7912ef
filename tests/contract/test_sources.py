"""The contract, on every source: hubs, the live server, recordings, the newest values, the hand-off."""

import pytest
import source_contract as contract


def test_every_exported_source_is_under_contract() -> None:
    """Whatever ``streams`` exports that is, or makes, an Observable has an entry in ``SOURCES``."""
    covered = {name.partition(" ")[0].partition(".")[0] for name in contract.SOURCES}
    assert contract.exported_sources() == covered, "add it to SOURCES in tests/support/source_contract.py"


@pytest.mark.parametrize("source", contract.SOURCES)
@pytest.mark.parametrize("rule", contract.RULES)
def test_contract(rule: str, source: str) -> None:
    """E6, R2, S12, T4, X4, X5, X6, X7, X8, X12: see each rule in ``source_contract.py``."""
    contract.RULES[rule](contract.SOURCES[source])
