"""Kill a process that has every sink open, at random points: ``python tests/killed.py --kills 200``.

It records a talk of three sessions and keeps their transcripts in both formats, as fast as it can. Half of
the kills come from outside at any moment, half within a write: the disk takes a few bytes at a time, and the
process dies of one of them. After each kill every file must be readable with one
torn line more at most, what had been there must be there still, and the next process goes on with the same
files; the last one of ten ends well, and then nothing is torn. Exit status 1 otherwise.
"""

import argparse
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from streams import EventHub, TranscriptStore, recordings, transcripts
from streams import testing as say
from streams.events import MalformedEvent, PartUpdated, SessionEvent, SessionIdle

SESSIONS = ("a", "b", "c")
FORMATS = ("claude", "messages")
REMOVED = 7
"""Every so many messages of a session, one is taken out again: its files are replaced."""

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where the files are: what a killed process leaves is the same on any disk."""

WRITE = os.write

NUMBERED = re.compile(rb'"number (\d+) ')


def talk(first: int) -> Iterator[SessionEvent]:
    """Messages without end, numbered; one session after the other, each idle after its message."""
    number = first
    while True:
        session = SESSIONS[number % len(SESSIONS)]
        message = f"msg_{number:09}"
        said = f"number {number} " + "x" * random.Random(number).choice((3, 300, 2_000))
        yield say.user(session, message, created=float(number + 1))
        yield say.text(session, message, f"prt_{number:09}", said)
        if is_removed(taken := number - 2 * len(SESSIONS)) and taken >= first:
            yield say.removed(session, f"msg_{taken:09}")
        yield say.idle(session)
        number += 1


def is_removed(number: int) -> bool:
    """Whether a message is taken out again, a little later."""
    return number // len(SESSIONS) % REMOVED == REMOVED - 1


def write(folder: Path, first: int, count: int, told: int) -> None:
    """Say ``count`` messages into all sinks, and a byte to the parent for each; then end well."""
    hub = EventHub()
    recordings.record(hub, folder / "recording.jsonl")
    stores = [TranscriptStore(folder / each, format=each).follow(hub) for each in FORMATS]
    for at, event in enumerate(talk(first)):
        hub.on_next(replace(event, at=float(at)))
        if isinstance(event, SessionIdle):
            WRITE(told, b".")
            count -= 1
            if count == 0:
                break
    for store in stores:
        assert store.close(timeout=30.0)


def die_of(step: int) -> None:
    """Make this process die of its ``step``-th step in writing transcripts: 16 bytes, a sync, a replacement."""
    steps = iter(range(step))

    def then(call: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*arguments: Any) -> Any:
            if next(steps, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments)

        return stepping

    os.write = then(lambda file, text: WRITE(file, text[:16]))
    os.fsync, os.replace = then(os.fsync), then(os.replace)


def run(folder: Path, first: int, dice: random.Random, *, kill: bool) -> None:
    """One process, until it is killed or, after a dozen messages, ends."""
    heard, told = os.pipe()
    step = dice.randrange(4_000) if kill and dice.random() < 0.5 else 0
    messages, moment = dice.randrange(60), dice.random() * 0.005
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(heard)  # so that it ends by itself when there is no parent any more
            if step:
                die_of(step)
            write(folder, first, 1_000_000 if kill else 12, told)
            status = 0
        finally:
            os._exit(status)
    os.close(told)
    while (step or not kill or messages > 0) and os.read(heard, 1):
        messages -= 1
    if kill and not step:
        until = time.perf_counter() + moment
        while time.perf_counter() < until:
            pass
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(heard)
    assert os.WIFSIGNALED(status) if kill else status == 0, f"a process ended with {status}"


class Folder:
    """The files of some processes, one after the other, and what they must hold."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.firsts = [0]
        self.torn: dict[str, int] = {}
        self.known: dict[str, set[int]] = {}
        self.temporary = 0

    def look(self) -> Iterator[str]:
        """What is wrong with the files now; remembers what they hold."""
        for name, (numbers, torn) in self.files():
            if torn > self.torn.get(name, 0) + 1:
                yield f"{name}: {torn} torn lines, {self.torn.get(name, 0)} before"
            if numbers != sorted(set(numbers)):
                yield f"{name}: not in order, or not once each"
            found = {each for each in numbers if not is_removed(each)}
            if lost := self.known.get(name, set()) - found:
                yield f"{name}: {sorted(lost)[:5]} were there before"
            if missing := self.missing(name, found):
                yield f"{name}: {missing[:5]} are not there, and later ones are"
            self.torn[name], self.known[name] = torn, found
        temporary = len([*self.path.rglob("*temporary")])
        if temporary > self.temporary + len(FORMATS):
            yield f"{temporary} temporary files, {self.temporary} before"
        self.temporary = temporary

    def files(self) -> Iterator[tuple[str, tuple[list[int], int]]]:
        """Each file's numbers, and how many of its lines are torn."""
        recording = self.path / "recording.jsonl"
        if recording.exists() or self.known:  # the first process may die before it makes one
            yield recording.name, _recorded(recording)
        for path in sorted(self.path.glob("*/*.jsonl")):
            stored = transcripts.read(path)
            numbers = [int(each) for line in stored.lines() for each in NUMBERED.findall(line)]
            yield f"{path.parent.name}/{path.name}", (numbers, stored.torn)

    def missing(self, name: str, found: set[int]) -> list[int]:
        """What a process must have written of a session before the last that it has written."""
        session = Path(name).name.split(".")[0]
        gaps: list[int] = []
        for first, after in zip(self.firsts, [*self.firsts[1:], 1 << 60], strict=True):
            own = [each for each in found if first <= each < after]
            said = range(first, max(own, default=first))
            gaps += [
                each
                for each in said
                if not is_removed(each) and each not in found
                if session in ("recording", SESSIONS[each % len(SESSIONS)])
            ]
        return gaps


def _recorded(path: Path) -> tuple[list[int], int]:
    recording = recordings.read(path)
    numbers, broken = [], 0
    for event in recording:
        broken += isinstance(event, MalformedEvent)
        if isinstance(event, PartUpdated):
            numbers.append(int(event.part.text.split(" ", 2)[1]))
    return numbers, broken + recording.torn


def kill_often(kills: int, seed: int) -> tuple[list[str], int, int]:
    """Returns what is wrong, and how many lines were torn and temporary files left, which is not."""
    dice = random.Random(seed)
    wrong: list[str] = []
    torn = temporary = 0
    for start in range(0, kills, 10):
        with tempfile.TemporaryDirectory(dir=MEMORY) as name:
            folder = Folder(Path(name))
            for kill in range(start, min(kills, start + 10)):
                first = folder.firsts[-1]
                run(folder.path, first, dice, kill=True)
                wrong += [f"kill {kill}: {each}" for each in folder.look()]
                torn += sum(torn > 0 for _, (_, torn) in folder.files())
                said = max((max(numbers, default=0) for _, (numbers, _) in folder.files()), default=0)
                folder.firsts.append(said + len(SESSIONS) + 1)
            temporary += folder.temporary
            run(folder.path, folder.firsts[-1], dice, kill=False)
            wrong += [f"after kill {start + 9}: {each}" for each in folder.look()]
            last = [each for each in folder.known if "/" in each]
            wrong += [f"{each}: still torn" for each in last if folder.torn[each]]
            if not all(max(folder.known[each]) >= folder.firsts[-1] for each in last):
                wrong.append(f"after kill {start + 9}: nothing was added")
    return wrong, torn, temporary


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    started = time.perf_counter()
    wrong, torn, temporary = kill_often(arguments.kills, arguments.seed)
    seconds = time.perf_counter() - started
    print(
        f"{arguments.kills} kills in {seconds:.0f} s: {torn} files with a torn line, "
        f"{temporary} temporary files, {len(wrong)} faults"
    )
    for each in wrong:
        print(each, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
