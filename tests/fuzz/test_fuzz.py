"""No bytes from outside raise out of a reader: a short run, and every case that was ever found."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest


def _targets() -> ModuleType:
    """By path: test modules are no package."""
    spec = spec_from_file_location("fuzz_targets", Path(__file__).with_name("targets.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FUZZ = _targets()


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("answer", 2_000),
        ("checkpoint", 1_000),
        ("decoder", 4_000),
        ("framing", 2_000),
        ("limits", 2_000),
        ("recording", 1_000),
        ("snapshot", 2_000),
        ("transcript", 2_000),
    ],
)
def test_no_exception_escapes(name: str, number: int) -> None:
    """S6, S12: what mutations of real bytes make is an event, a record, or said to be none."""
    target = FUZZ.TARGETS[name]
    for data in FUZZ.inputs(name, number, seed=7):
        target(data)


@pytest.mark.parametrize("path", FUZZ.corpus(), ids=lambda path: path.name)
def test_found_cases_stay_fixed(path: Path) -> None:
    """What once failed does not fail again."""
    FUZZ.TARGETS[path.name.rpartition("-")[0]](path.read_bytes())
