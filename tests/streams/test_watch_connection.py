"""How a connection, and what became of compactions, is put into words."""

from io import StringIO
from typing import Any

import msgspec
import pytest
from rich.console import Console

from operators import CompactionOutcome, CompactionTrigger
from streams.events import StreamResumed
from streams.opencode import ConnectionState, Counts, Unreachable
from streams.watch import cells
from streams.watch.board import Board
from streams.watch.cells import Look
from streams.watch.connection import connection_of, is_news
from streams.watch.notes import note_of_event, note_of_value
from streams.watch.view import frame

REFUSED = Unreachable("GET http://h/global/event: refused")
TRIGGER = CompactionTrigger(
    "s", 5.0, "sample", 160_000, 0, 200_000, "context", 0.8, 0.78, 156_000, "m", "acme", "x", 1
)


def state(status: Any, **counts: int) -> ConnectionState:
    return ConnectionState(status, 1.0, counts=Counts(**counts))


def test_an_attempt_has_the_last_ones_error() -> None:
    """Between two attempts that fail alike there is nothing new to say; the attempts are counted."""
    lost = connection_of(ConnectionState("reconnecting", 1.0, 1, REFUSED))
    trying = connection_of(ConnectionState("reconnecting", 2.0, 2), lost)
    failed = connection_of(ConnectionState("reconnecting", 3.0, 2, REFUSED), trying)
    assert (trying.attempt, trying.error) == (2, str(REFUSED))
    assert [is_news(None, lost), is_news(lost, trying), is_news(trying, failed)] == [True, False, False]
    assert is_news(failed, connection_of(state("connected"), failed))
    assert connection_of(state("connected"), failed).error == ""


def test_what_is_missed_is_news() -> None:
    """S8: what was dropped is said when it was; how many bytes have come is not."""
    before = connection_of(state("connected", bytes=1))
    assert not is_news(before, connection_of(state("connected", bytes=2, events_seen=5)))
    assert is_news(before, connection_of(state("connected", dropped=1)))


@pytest.mark.parametrize(
    ("shown",                                                                "text"),
    [
        (connection_of(state("connected")),                                  "connected"),
        (connection_of(state("connected", gaps=1, resumed=31, dropped=2)),   "connected   1 gap, 31 resumed, 2 dropped"),
        (connection_of(ConnectionState("connecting", 1.0, 1)),               "connecting"),
        (connection_of(ConnectionState("reconnecting", 1.0, 3, REFUSED)),    f"reconnecting, attempt 3: {REFUSED}"),
    ],
)  # fmt: skip
def test_in_the_view(shown: Any, text: str) -> None:
    """Under the title, before the first event too; the view is no higher for it."""
    assert cells.connection(shown).plain == text
    board = Board()
    board.connection = shown
    console = Console(file=StringIO(), width=100, height=24)
    with console.capture() as captured:
        console.print(frame(board, 1e9, Look("http://h", 0.78, 100, 24)))
    lines = captured.get().splitlines()
    assert lines[0].startswith("http://h   0.0 s   0 sessions")
    assert lines[1].rstrip() == text


@pytest.mark.parametrize(
    ("more",                                                          "text"),
    [
        ({"state": "dry_run"},                                        "would compact 160,000 tokens: --compact does it"),
        ({"state": "succeeded"},                                      "succeeded, 160,000 tokens"),
        ({"state": "effective", "after": 30_000},                     "effective, 160,000 -> 30,000 tokens"),
        ({"state": "timed_out"},                                      "timed out, 160,000 tokens"),
        ({"state": "failed", "error": "Refused: no"},                 "failed, 160,000 tokens: Refused: no"),
        ({"state": "ineffective", "after": 159_000, "reason": "above_threshold"},
                                                                      "ineffective, 160,000 -> 159,000 tokens: above threshold"),
    ],
)  # fmt: skip
def test_an_outcome_in_words(more: dict[str, Any], text: str) -> None:
    """C16: every end of an attempt is told."""
    outcome = CompactionOutcome("s", 5.0, "succeeded", TRIGGER, 160_000)
    note = note_of_value(msgspec.structs.replace(outcome, **more))
    assert note is not None
    assert (note.kind, note.session_id, note.text) == ("compact", "s", text)


def test_what_was_missed_in_words() -> None:
    """S1: how much came after all, and whether that was all of it."""
    whole, part = StreamResumed("", 5.0, events=1), StreamResumed("", 5.0, events=3, complete=False)
    assert [note.text for event in (whole, part) if (note := note_of_event(event))] == [
        "1 missed event delivered",
        "3 missed events delivered, not all",
    ]
