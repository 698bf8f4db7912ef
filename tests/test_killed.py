"""A writer that is killed: the whole of it is the command ``tests/killed.py``."""

import subprocess
import sys
from pathlib import Path


def test_killed_recorder_leaves_a_readable_file() -> None:
    """Whatever kills the process, the file is read to its end and the next process goes on with it."""
    script = Path(__file__).with_name("killed.py")
    command = [sys.executable, str(script), "--kills", "20"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr + run.stdout
