"""The two views, drawn without a terminal: pictures of what a person reads."""

from functools import partial
from io import BytesIO, StringIO, TextIOWrapper
from math import inf

import pytest
from msgspec.structs import replace
from reactivex import Observable
from rich.console import Console, RenderableType

from streams.events import SessionEvent
from streams.faults import Fault
from streams.limits import ContextLimits
from streams.testing import Timeline, assistant, busy, compacted, created, deleted, error, idle
from streams.watch.board import Board
from streams.watch.cells import Look, bar
from streams.watch.closing import closing
from streams.watch.derivations import Derived, derivations
from streams.watch.pace import Pace
from streams.watch.screen import Screen
from streams.watch.summary import Summary, summarise
from streams.watch.view import frame

LIMITS = ContextLimits({"anthropic/x": 200_000})
LOOK = Look("talk.jsonl", threshold=0.78)

TALK: tuple[tuple[float, SessionEvent], ...] = (
    (0, created("s", title="Refactor [bold]the parser[/bold] of the price file")),
    (1, created("c", "s", title="Look around")),
    (1, created("t", title="Write the report")),
    (2, busy("s")),
    (2, assistant("c", "m1", input=150_000)),
    (3, assistant("s", "m1", input=160_000)),
    (4, assistant("t", "m1", input=100_000)),
    (5, compacted("t")),
    (6, created("u")),
    (7, assistant("u", "m1", input=12_345, model="acme/kestrel")),
    (8, idle("c")),
    (9, deleted("c")),
    (60, error("u", "APIError", "no such key")),
)


def board_of(*timed: tuple[float, SessionEvent]) -> Board:
    """The board after these events, fed by the real operators."""
    board, line = Board(), Timeline()
    line.hub.subscribe(board.take)
    for name, operator in derivations(LIMITS, threshold=0.78).items():
        values: Observable[object] = line.hub.pipe(operator)
        values.subscribe(lambda value, name=name: board.derived(Derived(name, 0.0, value)))
    line.play(*timed)
    return board


def lines_of(shown: RenderableType, *, width: int = 80) -> list[str]:
    console = Console(file=StringIO(), width=width, no_color=True)
    console.print(shown)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


summary_of = partial(summarise, operators=("context_usage", "context_warnings"), torn=0)


def test_the_live_view() -> None:
    """Sessions as a tree with bar, percent, mark, tokens, status and age; then what happened.

    What an agent calls its session is text, whatever it looks like.
    """
    assert lines_of(frame(board_of(*TALK), 72.0, LOOK)) == [
        "talk.jsonl   72.0 s   4 sessions   13 events",
        "",
        "session                context                       tokens/limit status    last",
        "Refactor [bold]the pa… ████████████░░░  80.0 % !! 160,000/200,000 busy     1 min",
        "  Look around          ███████████░░░░  75.0 % !  150,000/200,000 deleted  1 min",
        "Write the report       unknown                                             1 min",
        "u                      limit unknown                       12,345           12 s",
        "",
        "  2.0 s warning   Look around          75.0 % full, above 70.0 %",
        "  3.0 s warning   Refactor [bold]the … 80.0 % full, above 70.0 %",
        "  3.0 s trigger   Refactor [bold]the … compact now: 80.0 % full, 160,000/200,000",
        "  5.0 s compacted Write the report",
        " 60.0 s error     u                    APIError: no such key",
        "Ctrl-C ends",
    ]


def test_the_closing_view() -> None:
    """What happened, what every session came to at its fullest, the counts, and what to do better."""
    board = board_of(*TALK)
    summary = summarise(board, "interrupted", operators=("context_usage", "context_warnings"), torn=1)
    assert lines_of(closing(board, summary, LOOK)) == [
        "  2.0 s warning   Look around          75.0 % full, above 70.0 %",
        "  3.0 s warning   Refactor [bold]the … 80.0 % full, above 70.0 %",
        "  3.0 s trigger   Refactor [bold]the … compact now: 80.0 % full, 160,000/200,000",
        "  5.0 s compacted Write the report",
        " 60.0 s error     u                    APIError: no such key",
        "",
        "session                      fullest       tokens/limit warned trigger compacted",
        "Refactor [bold]the parser[/…  80.0 % !! 160,000/200,000      1       1",
        "  Look around                 75.0 % !  150,000/200,000      1",
        "Write the report              50.0 %    100,000/200,000                        1",
        "u                            limit ?             12,345",
        "",
        "talk.jsonl: 13 events of 4 sessions in 60.0 s, interrupted",
        "values: context_usage 5, context_warnings 2",
        "besides: 1 torn",
        "limit unknown, give it: --limit acme/kestrel=N",
    ]


def test_an_empty_board_closes_with_its_counts() -> None:
    """Nothing was heard: nothing but that is said."""
    board = Board()
    assert lines_of(closing(board, summary_of(board, "completed"), LOOK)) == [
        "talk.jsonl: 0 events of 0 sessions in 0.0 s",
        "values: context_usage 0, context_warnings 0",
    ]


@pytest.mark.parametrize("height", [8, 12, 24, 50])
def test_the_live_view_fits_its_terminal(height: int) -> None:
    """More sessions than lines: those heard of last are shown, the others counted."""
    sessions = [(number, created(f"s{number}", title=f"title {number}")) for number in range(100)]
    failures = [(100 + number, error(f"s{number}", "APIError")) for number in range(20)]
    board = board_of(*sessions, *failures)
    shown = lines_of(frame(board, 120.0, replace(LOOK, height=height)))
    assert len(shown) < height
    (rest,) = (line for line in shown if line.startswith("and "))
    titles = [line for line in shown if line.startswith("title ")]
    assert rest == f"and {100 - len(titles)} sessions more, silent for longer"
    assert any(line.startswith("title 19 ") for line in titles)


def test_a_narrow_terminal_keeps_the_numbers() -> None:
    """Below about 66 characters the bars go, not the percent."""
    shown = lines_of(frame(board_of(*TALK), 72.0, replace(LOOK, width=60)), width=60)
    assert shown[3] == "Refactor [bold]th…  80.0 % !! 160,000/200,000 busy     1 min"
    assert shown[5] == "Write the report   unknown                             1 min"


@pytest.mark.parametrize("width", [1, 20, 40, 80, 200])
def test_no_width_is_too_small(width: int) -> None:
    """It may be ugly, but it is drawn, and no line is longer than the terminal."""
    board, look = board_of(*TALK), replace(LOOK, width=width)
    shown = lines_of(frame(board, 72.0, look), width=width)
    shown += lines_of(closing(board, summary_of(board, "completed"), look), width=width)
    assert max(map(len, shown)) <= width


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [
        (0.0, "░░░░░░░░░░"),
        (0.001, "█░░░░░░░░░"),
        (0.5, "█████░░░░░"),
        (1.0, "██████████"),
        (1.447, "██████████"),
    ],
)
def test_bars(ratio: float, shown: str) -> None:
    """U13: an overflow fills the bar and no more; a little is not nothing."""
    assert bar(ratio, 10) == shown
    assert bar(ratio, 10, ascii_only=True) == shown.replace("█", "#").replace("░", "-")


def test_marks_say_what_colours_say() -> None:
    """Without colours, ``!`` and ``!!`` tell a warning from a trigger, at the user's own threshold."""
    board = board_of((0, assistant("s", "m1", input=100_000)))
    for threshold, mark in ((0.78, ""), (0.51, ""), (0.5, "!!")):
        shown = lines_of(frame(board, 0.0, replace(LOOK, threshold=threshold)))
        assert shown[3].split("%")[1].split()[:-3] == mark.split()


def test_malformed_events_and_faults_are_told() -> None:
    """What went wrong is seen while it runs and when it is over."""
    board = board_of(*TALK)
    board.malformed, board.unknown = 2, 1_000
    board.fault(Fault("ContextLimits", "s", 70.0, KeyError("x")))
    summary = summary_of(board, "completed")
    assert "2 malformed" in lines_of(frame(board, 72.0, LOOK))[0]
    assert lines_of(frame(board, 72.0, LOOK))[-2].endswith("ContextLimits: KeyError: 'x'")
    assert "besides: 1,000 of types that nothing derives from, 2 malformed, 1 faults" in lines_of(
        closing(board, summary, LOOK)
    )


def test_the_screen_gives_the_cursor_back() -> None:
    """Frames are drawn over each other; the end leaves the summary and the cursor."""
    console = Console(file=StringIO(), width=80, height=24, force_terminal=True, _environ={})
    screen, board = (
        Screen(console, name="talk.jsonl", threshold=0.78, pace=Pace(share=inf)),
        board_of(*TALK),
    )
    screen.frame(board, 10.0)
    screen.frame(board, 20.0)
    drawn = console.file.getvalue()
    screen.end(board, summary_of(board, "completed"))
    left = console.file.getvalue().removeprefix(drawn)
    assert "20.0 s" in drawn
    assert drawn.count("\x1b[?25l") == 1
    assert left.count("\x1b[?25h") == 1
    assert "talk.jsonl: 13 events of 4 sessions in 60.0 s" in left


def test_a_terminal_without_blocks_gets_other_characters() -> None:
    """An encoding that cannot say it is no reason to fail."""
    written = BytesIO()
    file = TextIOWrapper(written, encoding="ascii", errors="replace")
    console = Console(file=file, width=120, height=24, force_terminal=True, _environ={})
    screen, board = (
        Screen(console, name="talk.jsonl", threshold=0.78, pace=Pace(share=inf)),
        board_of(*TALK),
    )
    screen.frame(board, 10.0)
    screen.end(board, summary_of(board, "completed"))
    file.flush()
    assert b"####----" in written.getvalue()


def test_a_summary_names_the_models_without_a_limit_once() -> None:
    """Sessions of one model, and one whose model is not known either."""
    board = board_of(
        (0, assistant("a", "m1", input=10, model="acme/kestrel")),
        (1, assistant("b", "m1", input=10, model="acme/kestrel")),
        (2, assistant("c", "m1", input=10, model="")),
        (3, assistant("d", "m1", input=10)),
    )
    summary: Summary = summary_of(board, "completed")
    assert summary.limits_unknown == ["acme/kestrel"]
    assert [each.ratio for each in summary.by_session] == [None, None, None, 0.00005]
