"""A process with every sink open that is killed: the whole of it is the command ``tests/killed.py``."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")
def test_a_killed_process_leaves_readable_files_and_the_next_one_goes_on() -> None:
    """T5, X3: a recording and transcripts in both formats: one torn line at most, and nothing is lost."""
    script = Path(__file__).with_name("killed.py")
    command = [sys.executable, str(script), "--kills", "20"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr + run.stdout
