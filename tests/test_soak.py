"""A small soak: the whole one is the command ``tests/soak.py``."""

import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).with_name("soak.py")


def test_nothing_is_kept_of_sessions_that_are_gone() -> None:
    """R6: a day of 1000 sessions, born and abandoned, leaves no state, timer or memory behind."""
    command = [sys.executable, str(SOAK), "--events", "30000", "--sessions", "1000"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr + run.stdout
