"""The full shape: one line per message."""

import json
from pathlib import Path
from typing import Any

from streams import TranscriptStore, transcripts
from streams.testing import (
    Timeline,
    assistant,
    busy,
    compacted,
    delta,
    idle,
    removed,
    text,
    tool,
    user,
)


class Stage:
    """A store that follows a stream under our hand."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.line = Timeline()
        self.store = TranscriptStore(directory, format="messages", **options).follow(self.line.hub)

    def lines(self) -> list[tuple[str, list[str]]]:
        """Of each message its id and the ids of its parts."""
        path = self.store.path("s")
        stored: Any = list(transcripts.read(path)) if path.exists() else []
        return [(each["info"]["id"], [part["id"] for part in each["parts"]]) for each in stored]


def test_a_message_is_written_when_it_is_over(tmp_path: Path) -> None:
    """Until then its line would change with each part."""
    stage = Stage(tmp_path)
    stage.line.play(
        (0.0, busy("s")),
        (0.0, user("s", "m1")),
        (0.0, text("s", "m1", "p1", "fix")),
        (1.0, assistant("s", "m2", finish="", tokens=False)),
        (1.0, text("s", "m2", "p2", "so")),
        (2.0, tool("s", "c", "bash", "running", message_id="m2")),
    )
    stage.line.advance_to(9.0)
    assert stage.lines() == [("m1", ["p1"])]
    stage.line.play((9.0, assistant("s", "m2", completed=9.0)))
    stage.line.advance_to(10.0)
    assert stage.lines() == [("m1", ["p1"]), ("m2", ["p2", "prt_c"])]
    stage.store.close()


def test_the_next_answer_ends_one_that_crashed(tmp_path: Path) -> None:
    """No event ever completes it."""
    stage = Stage(tmp_path)
    crashed = assistant("s", "m1", finish="", tokens=False)
    stage.line.play((0.0, busy("s")), (0.0, crashed), (0.0, text("s", "m1", "p", "a")))
    stage.line.play((1.0, assistant("s", "m2", finish="", tokens=False)))
    stage.line.advance_to(2.0)
    assert stage.lines() == [("m1", ["p"])]
    stage.store.close()


def test_a_session_at_rest_has_all_there_is(tmp_path: Path) -> None:
    """Even of a message that is not over."""
    stage = Stage(tmp_path)
    stage.line.play((0.0, busy("s")), (0.0, assistant("s", "m1", finish="")), (9.0, idle("s")))
    assert stage.lines() == [("m1", [])]
    stage.store.close()


def test_a_message_that_was_never_introduced(tmp_path: Path) -> None:
    """Joined in the middle: what is known of it is its id."""
    stage = Stage(tmp_path)
    stage.line.play((0.0, tool("s", "c", "bash", "completed", output="x")), (1.0, idle("s")))
    (stored,) = transcripts.read(stage.store.path("s"))
    assert stored["info"] == {"id": "m", "sessionID": "s"}
    stage.store.close()


def test_a_removed_message_leaves_the_file(tmp_path: Path) -> None:
    """And the others stay as they are."""
    stage = Stage(tmp_path)
    stage.line.play(*((float(n), text("s", f"m{n}", f"p{n}", "a")) for n in range(3)))
    stage.line.play((9.0, removed("s", "m1")))
    stage.line.advance_to(10.0)
    assert stage.lines() == [("m0", ["p0"]), ("m2", ["p2"])]
    stage.store.close()


def test_a_compaction_told_of_as_an_event_is_no_message(tmp_path: Path) -> None:
    """The server's history has none either."""
    stage = Stage(tmp_path)
    stage.line.play(
        (0.0, text("s", "m", "p", "a")), (1.0, compacted("s")), (2.0, delta("s", "m", "p", "b"))
    )
    stage.store.close()
    assert stage.lines() == [("m", ["p"])]


def test_a_cap_cuts_what_a_call_says(tmp_path: Path) -> None:
    """T12: a 30 MB diff in a call's metadata gives a line below the cap; texts stay whole."""
    stage = Stage(tmp_path, cap=65_536)
    big = tool("s", "c", "edit", "completed", output="ok", metadata={"diff": "d" * 30_000_000})
    stage.line.play((0.0, big), (1.0, text("s", "m2", "p", "t" * 100_000)), (2.0, idle("s")))
    first, second = stage.store.path("s").read_bytes().splitlines()
    state = json.loads(first)["parts"][0]["state"]
    assert len(first) < 65_536
    assert state["output"] == "ok"
    assert state["metadata"]["diff"].endswith("characters cut]")
    assert len(second) > 100_000
    stage.store.close()
