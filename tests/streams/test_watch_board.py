"""The board: rows, notes and counts, from events and values alone."""

from collections.abc import Iterable

import msgspec
import pytest

from operators import CompactionTrigger, ContextUsage, ContextWarning
from streams.events import (
    MalformedEvent,
    SessionEvent,
    SessionExpired,
    StreamGap,
    UnknownEvent,
)
from streams.faults import Fault
from streams.testing import (
    busy,
    compacted,
    created,
    deleted,
    delta,
    error,
    heartbeat,
    idle,
    retry,
    text,
    updated,
)
from streams.watch import board as board_module
from streams.watch.board import Board
from streams.watch.derivations import Derived


def usage(session_id: str, tokens: int | None, limit: int | None = 200_000) -> ContextUsage:
    return ContextUsage(
        session_id=session_id,
        tokens=tokens,
        limit=limit,
        limit_kind="context",
        ratio=None if tokens is None or limit is None else tokens / limit,
        projected=tokens,
        provider_id="acme",
        model_id="x",
        message_id="m",
        at=0.0,
        messages_since=0,
        accounting="exclusive",
        reason="sample",
    )


def warning(session_id: str, at: float = 1.0) -> ContextWarning:
    return ContextWarning(session_id, at, 150_000, 200_000, "context", 0.75, 0.7, "m")


def trigger(session_id: str, at: float = 1.0, limit: int | None = 200_000) -> CompactionTrigger:
    ratio = None if limit is None else 160_000 / limit
    return CompactionTrigger(
        session_id, at, "sample", 160_000, 0, limit, "context", ratio, 0.78, 156_000, "m", "acme", "x", 1
    )


def board_of(*timed: tuple[float, SessionEvent]) -> Board:
    board = Board()
    take(board, timed)
    return board


def take(board: Board, timed: Iterable[tuple[float, SessionEvent]]) -> None:
    for at, event in timed:
        board.take(msgspec.structs.replace(event, at=float(at)))


def derive(board: Board, *values: msgspec.Struct) -> None:
    for value in values:
        board.derived(Derived(type(value).__name__, 0.0, value))


def test_a_session_is_a_row_from_its_first_event_on() -> None:
    """Title, parent and status come when they come; every event renews its age."""
    board = board_of(
        (1, delta("s", "m", "p", "x")),
        (2, created("c", "s", title="child")),
        (3, updated("s", title="parent")),
        (4, busy("s")),
        (5, retry("c", 2)),
        (6, delta("s", "m", "p", "y")),
    )
    rows = [
        (row.session_id, row.parent_id, row.title, row.status, row.last) for row in board.rows.values()
    ]
    assert rows == [("s", "", "parent", "busy", 6.0), ("c", "s", "child", "retry 2", 5.0)]


def test_an_update_without_a_title_keeps_it() -> None:
    """What an event does not say stays known."""
    board = board_of((1, created("c", "s", title="child")), (2, updated("c")))
    assert (board.rows["c"].title, board.rows["c"].parent_id) == ("child", "s")


def test_idle_alone_is_enough() -> None:
    """``session.idle`` and a status of idle are twins."""
    assert board_of((1, busy("s")), (2, idle("s"))).rows["s"].status == "idle"


def test_counts_of_what_came() -> None:
    """Events without a session make no row, and what expiry adds is no event of the source."""
    board = board_of(
        (1, heartbeat()),
        (2, UnknownEvent("", type="plugin.added")),
        (3, MalformedEvent("", reason="no JSON")),
        (4, created("s")),
        (700, SessionExpired("s", idle=600.0)),
    )
    assert (board.events, board.unknown, board.malformed, board.sessions) == (4, 1, 1, 1)
    assert (board.first, board.last) == (1.0, 4.0)
    assert (board.rows["s"].status, board.rows["s"].last) == ("expired", 4.0)


def test_values_move_their_rows_and_are_counted() -> None:
    """Usage moves the gauge, and the fullest reading stays; warnings and triggers are counted."""
    board = board_of((1, created("s")))
    derive(board, usage("s", 100_000), usage("s", 160_000), warning("s"), trigger("s"))
    derive(board, usage("s", None), usage("s", 9_000))
    row = board.rows["s"]
    assert row.measured == usage("s", 9_000)
    assert row.fullest == usage("s", 160_000)
    assert (row.warnings, row.triggers, row.model) == (1, 1, "acme/x")
    assert board.values == {"ContextUsage": 4, "ContextWarning": 1, "CompactionTrigger": 1}


def test_fullest_goes_by_tokens_while_no_limit_is_known() -> None:
    """Without ratios the largest prompt is the fullest; one with a ratio counts as fuller."""
    board = board_of((1, created("s")))
    derive(board, usage("s", 50_000, None), usage("s", 20_000, None))
    assert board.rows["s"].fullest == usage("s", 50_000, None)
    derive(board, usage("s", 20_000))
    assert board.rows["s"].fullest == usage("s", 20_000)


def test_notes_of_what_a_person_wants_to_know() -> None:
    """Warnings, triggers, compactions, errors, gaps and faults, in the order they came."""
    board = board_of((1, created("s")))
    derive(board, usage("s", 150_000), warning("s", 2.0), trigger("s", 3.0), trigger("s", 4.0, None))
    take(board, [(5, compacted("s")), (6, error("s", "APIError", "no\nsuch key"))])
    take(board, [(7, StreamGap(since=4.5))])
    board.fault(Fault("ContextLimits", "s", 8.0, KeyError("x")))
    assert [(note.at, note.session_id, note.kind, note.text) for note in board.notes] == [
        (2.0, "s", "warning", "75.0 % full, above 70.0 %"),
        (3.0, "s", "trigger", "compact now: 80.0 % full, 160,000/200,000"),
        (4.0, "s", "trigger", "compact now: 160,000"),
        (5.0, "s", "compacted", ""),
        (6.0, "s", "error", "APIError: no such key"),
        (7.0, "", "gap", "connection lost 2.5 s ago: what is shown may be stale"),
        (8.0, "s", "fault", "ContextLimits: KeyError: 'x'"),
    ]
    assert board.rows["s"].compactions == 1
    assert board.faults == 1


def test_stragglers_of_a_deleted_session_change_nothing() -> None:
    """``session.deleted`` is followed by deltas, statuses and errors for seconds."""
    board = board_of(
        (1, created("s")),
        (2, deleted("s")),
        (3, busy("s")),
        (4, error("s", "UnknownError", "Failed query")),
    )
    row = board.rows["s"]
    assert (row.status, row.gone, row.last, len(board.notes)) == ("deleted", True, 2.0, 0)
    take(board, [(5, created("s")), (6, busy("s"))])
    assert (row.status, row.gone) == ("busy", False)


def test_an_expired_session_may_be_heard_of_again() -> None:
    """Silence is no end: the row comes back with its history."""
    board = board_of((1, busy("s")), (700, SessionExpired("s")), (800, text("s", "m", "p", "hi")))
    row = board.rows["s"]
    assert (row.status, row.gone, row.last, board.sessions) == ("", False, 800.0, 1)
    take(board, [(801, deleted("s"))])
    assert row.status == "deleted"


def test_rows_of_sessions_long_gone_are_forgotten() -> None:
    """Watching a server for weeks: only the last of those that are gone are kept, all are counted."""
    board = Board()
    count = board_module.GONE + 5
    for number in range(count):
        take(board, [(number, created(f"s{number}")), (number, deleted(f"s{number}"))])
    take(board, [(count, created("live"))])
    assert len(board.rows) == board_module.GONE + 1
    assert board.sessions == count + 1
    assert "s4" not in board.rows
    assert {"s5", "live"} <= set(board.rows)


def test_what_an_agent_says_cannot_take_the_terminal_over() -> None:
    """Titles, statuses and errors lose control characters, escape sequences and line breaks."""
    hostile = "a\x1b]0;owned\x07\n\tb\u202ec"
    board = board_of((1, created("s", title=hostile)), (2, error("s", hostile, hostile)))
    shown = board.rows["s"].title + board.notes[0].text
    assert board.rows["s"].title == "a ]0;owned b c"
    assert shown.isprintable()


def test_values_of_unknown_sessions_and_unknown_kinds_are_counted() -> None:
    """A value that no row or note knows of is a count, not an error."""

    class Novel(msgspec.Struct):
        anything: int = 1

    board = Board()
    derive(board, usage("nobody", 10), Novel())
    assert board.values.total() == 2
    assert not board.rows


@pytest.mark.parametrize("stem", ["subagents", "abort", "lifecycle", "restart", "nextgen"])
def test_a_board_of_a_real_recording(recording_of: object, stem: str) -> None:
    """Every session of the truth that was heard of is a row, its status as at the end."""
    recorded = recording_of(stem)  # type: ignore[operator]
    board = Board()
    for event in recorded.events():
        board.take(event)
    titles = {each["id"]: each["title"] for each in recorded.truth["sessions"]}
    known = {key: row for key, row in board.rows.items() if row.status != "deleted" and row.title}
    assert known
    assert {key: row.title for key, row in known.items() if key in titles} == {
        key: titles[key] for key in known if key in titles
    }
