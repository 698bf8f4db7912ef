"""What is left to say at the end."""

from typing import Literal

import msgspec

from streams.watch.board import Board, SessionRow
from streams.watch.connection import Connection

__all__ = ["Outcome", "SessionSummary", "Summary", "summarise"]

Outcome = Literal["completed", "interrupted", "failed"]


class SessionSummary(msgspec.Struct, frozen=True, gc=False):
    """What one session came to.

    Attributes:
        session_id: The session.
        parent_id: The session that started it, if one did.
        title: What it is called.
        model: ``provider/model`` that it used last.
        status: What it was at the end.
        ratio: How full its context window was at the fullest; None when its limit is not known.
        tokens: Tokens of that prompt; None when none was measured.
        limit: The model's limit then, in tokens.
        warnings: Context warnings.
        triggers: Compaction triggers.
        compactions: Compactions.
    """

    session_id: str
    parent_id: str
    title: str
    model: str
    status: str
    ratio: float | None
    tokens: int | None
    limit: int | None
    warnings: int
    triggers: int
    compactions: int


class Summary(msgspec.Struct, frozen=True, gc=False):
    """What everything watched came to.

    Attributes:
        outcome: How it ended: the source was over, the user ended it, the source failed.
        seconds: From the first event to the last.
        events: Events of the source.
        unknown: Those of them that nothing derives from.
        malformed: Those of them that could not be read.
        torn: Lines missing at the end of a recording whose writer was killed.
        faults: Exceptions that were kept away from everything else.
        values: How many values each operator emitted.
        sessions: Sessions seen.
        limits_unknown: Models in use whose limit is not known.
        by_session: The sessions in the order of their first events; of those long gone, not all.
        connection: How the connection to the server was doing; None for a recording.
    """

    outcome: Outcome
    seconds: float
    events: int
    unknown: int
    malformed: int
    torn: int
    faults: int
    values: dict[str, int]
    sessions: int
    limits_unknown: list[str]
    by_session: list[SessionSummary]
    connection: Connection | None = None


def summarise(board: Board, outcome: Outcome, *, operators: tuple[str, ...], torn: int) -> Summary:
    """Sum a board up.

    Args:
        board: What was watched.
        outcome: How it ended.
        operators: The names to count values of, in this order.
        torn: Lines missing at the end of the recording.
    """
    rows = board.rows.values()
    return Summary(
        outcome,
        round(board.last - board.first, 3),
        board.events,
        board.unknown,
        board.malformed,
        torn,
        board.faults,
        {name: board.values[name] for name in operators},
        board.sessions,
        sorted({row.model for row in rows if row.model and row.fullest and row.fullest.limit is None}),
        [_session(row) for row in rows],
        board.connection,
    )


def _session(row: SessionRow) -> SessionSummary:
    fullest = row.fullest
    return SessionSummary(
        row.session_id,
        row.parent_id,
        row.title,
        row.model,
        row.status,
        None if fullest is None else fullest.ratio,
        None if fullest is None else fullest.tokens,
        None if fullest is None else fullest.limit,
        row.warnings,
        row.triggers,
        row.compactions,
    )
