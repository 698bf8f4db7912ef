"""Write ``outputs/``: what every operator says of the script and of some recordings, a line each.

Run it when an operator is meant to say something else than before, and read the difference.
"""

import hashlib
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "support"))

import msgspec
from every_operator import make_operator, operator_names
from session_script import dated, script

from streams import EventHub, recordings
from streams.events import SessionEvent, SessionExpired
from streams.schedulers import Replay

FOLDER = Path(__file__).parent / "outputs"
RECORDED = ("compaction", "errors", "permission", "subagents", "todos")

DAY = 86_400.0

LONGEST = 1000
"""Characters of a value; of what is longer, a whole transcript for example, the digest is kept."""


def sources() -> Iterator[tuple[str, list[SessionEvent]]]:
    """What the operators are given."""
    yield "script", [dated(event, at) for at, event in script()]
    for name in RECORDED:
        yield name, list(recordings.read(Path(__file__).parent / f"recordings/{name}.jsonl.gz"))


def said(name: str, events: list[SessionEvent], *, ends: bool) -> list[Any]:
    """What an operator says, with its defaults: to events that end, or that nothing follows for a day."""
    clock = Replay(events[0].at)
    hub, values = EventHub(scheduler=clock), list[Any]()
    hub.pipe(make_operator(name)).subscribe(values.append)
    for event in events:
        clock.advance_to(event.at)
        hub.on_next(event)
    if ends:
        hub.on_completed()
    else:
        clock.advance_by(DAY)
    return [value for value in values if not _handed_on(value)]


def outputs(name: str) -> list[str]:
    """A line for each value: what is said either way, then what silence and the end make it say."""
    lines = list[str]()
    for source, events in sources():
        silent, ended = (said(name, events, ends=ends) for ends in (False, True))
        both = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(silent, ended, strict=False))))
        lines += [line(source, value) for value in silent[:both]]
        lines += [line(f"{source}, silent", value) for value in silent[both:]]
        lines += [line(f"{source}, ended", value) for value in ended[both:]]
    return lines


def _handed_on(value: Any) -> bool:
    """``expire_after`` emits the events that it was given, and its own."""
    return isinstance(value, SessionEvent) and not isinstance(value, SessionExpired)


def line(source: str, value: Any) -> str:
    text = msgspec.json.encode(value, order="sorted").decode()
    if len(text) > LONGEST:
        text = msgspec.json.encode({"sha256": hashlib.sha256(text.encode()).hexdigest()}).decode()
    return f"{source} · {type(value).__name__} {text}"


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.txt"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in operator_names():
        path_of(name).write_text("".join(f"{each}\n" for each in outputs(name)), encoding="utf-8")


if __name__ == "__main__":
    main()
