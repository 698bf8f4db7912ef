"""One session in detail, drawn without a terminal; and the journal it is drawn from."""

from io import StringIO

import pytest
from msgspec.structs import replace
from rich.console import Console

from streams.events import Part, PartRemoved, SessionEvent
from streams.limits import ContextLimits
from streams.testing import Timeline, assistant, busy, created, delta, idle, text, tool, user
from streams.watch.board import Board
from streams.watch.cells import Look
from streams.watch.controls import Controls
from streams.watch.derivations import Derived, derivations
from streams.watch.detail import detail
from streams.watch.journal import CALLS, PARTS, TAIL, Journal, Journals

LOOK = Look("talk.jsonl", threshold=0.78)
OPEN = Controls(selected="s", opened=True)

TALK: tuple[tuple[float, SessionEvent], ...] = (
    (0, created("p", title="The parent")),
    (0, created("s", "p", title="Fix [bold]it[/bold]")),
    (1, user("s", "m1")),
    (1, text("s", "m1", "p1", "Make the tests pass, please.\nAll of them.")),
    (2, busy("s")),
    (3, text("s", "m2", "p2", "")),
    (4, delta("s", "m2", "p2", "I run \x1b[31mthem ")),
    (5, delta("s", "m2", "p2", "first.")),
    (6, tool("s", "c1", "bash", "running", input={"command": "make test"})),
    (9, tool("s", "c1", "bash", "completed", input={"command": "make test"}, output="ok")),
    (10, tool("s", "c2", "read", "running", input={"path": "a"})),
    (11, tool("s", "c2", "read", "error", input={"path": "a"}, error="no such file")),
    (12, assistant("s", "m2", input=160_000)),
)


def told(*timed: tuple[float, SessionEvent]) -> tuple[Board, Journals]:
    board, journals, line = Board(), Journals(), Timeline()
    line.hub.subscribe(board.take)
    journals.follow(line.hub)
    limits = ContextLimits({"anthropic/x": 200_000})
    for name, operator in derivations(limits, threshold=0.78).items():
        line.hub.pipe(operator).subscribe(
            lambda value, name=name: board.derived(Derived(name, 0.0, value))
        )
    line.play(*timed)
    return board, journals


def drawn(look: Look = LOOK, *timed: tuple[float, SessionEvent], controls: Controls = OPEN) -> list[str]:
    board, journals = told(*(timed or TALK))
    console = Console(file=StringIO(), width=look.width, no_color=True)
    row = board.rows["s"]
    console.print(detail(board, row, journals.still("s"), 72.0, look, controls))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_picture() -> None:
    """How it stands, the tool log, the transcript's tail; what agents say is text, whatever it looks like."""
    assert drawn() == [
        "Fix [bold]it[/bold]   busy   anthropic/x   last heard of 1 min ago",
        "███████████████████░░░░░  80.0 % !! 160,000/200,000",
        "of The parent   0 tool calls",
        "",
        "tool log",
        '   9.0 s completed bash      3.0 s {"command":"make test"}',
        "  11.0 s failed    read      1.0 s no such file",
        "",
        "transcript",
        "user    Make the tests pass, please.",
        "        All of them.",
        "agent   I run [31mthem first.",
        "tool    bash completed",
        "tool    read error",
        "Esc back  ? keys",
    ]


def test_a_session_of_which_nothing_is_known_yet() -> None:
    """Its name is there, and what is not there is said."""
    shown = drawn(LOOK, (0, created("s")))
    assert shown[0] == "s   last heard of 1 min ago"
    assert shown.count("  nothing yet") == 2


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 12), (40, 11), (120, 40), (20, 24)])
def test_it_fits_its_terminal(width: int, height: int) -> None:
    """The newest lines are those that stay."""
    many = [(20 + n, text("s", "m3", f"q{n}", f"part {n} " + "word " * 40)) for n in range(30)]
    calls = [(60 + n, tool("s", f"d{n}", "bash", "completed", input={"n": n})) for n in range(30)]
    shown = drawn(replace(LOOK, width=width, height=height), *TALK, *many, *calls)
    assert len(shown) < height
    assert max(map(len, shown)) <= width
    assert shown[-1] == "Esc back  ? keys"
    assert shown[-2].endswith("completed")


def test_wide_characters_are_wrapped_by_their_width() -> None:
    """A word longer than a line is cut; a character of two cells counts as two."""
    shown = drawn(replace(LOOK, width=20), (0, text("s", "m1", "p1", "日" * 12)))
    assert shown[-4:-1] == ["agent   " + "日" * 5, " " * 8 + "日" * 5, " " * 8 + "日" * 2]


def test_paused_is_said() -> None:
    """The picture stands, and says so."""
    assert drawn(controls=replace(OPEN, paused=True))[0].startswith("PAUSED  Fix")


# --- the journal ----------------------------------------------------------------------------------


def journal_of(*events: SessionEvent) -> Journal:
    return told(*((float(n), event) for n, event in enumerate(events)))[1].still("s")


def test_a_journal_is_bounded() -> None:
    """A thousand sessions of any length stay small."""
    parts = [text("s", "m1", f"p{n}", "x" * 5_000) for n in range(100)]
    calls = [tool("s", f"c{n}", "bash", "completed", output="x" * 5_000) for n in range(100)]
    users = [user("s", f"m{n}") for n in range(100)]
    journal = journal_of(*users, *calls, *parts, delta("s", "m1", "p99", "end"))
    assert len(journal.said) == PARTS
    assert {len(said.text) for said in journal.said.values()} == {TAIL}
    assert journal.said["p99"].text.endswith("xend")
    assert (len(journal.calls), len(journal.users)) == (CALLS, PARTS)


def test_a_late_listener_shows_what_it_hears() -> None:
    """The beginning of a part was missed: its rest is text of the agent. The whole part corrects it."""
    assert journal_of(delta("s", "m1", "p1", "the rest")).said["p1"].text == "the rest"
    whole = (delta("s", "m1", "p1", "rest"), text("s", "m1", "p1", "all of the rest"))
    assert journal_of(*whole).said["p1"].text == "all of the rest"


def test_only_text_is_text() -> None:
    """A delta of another field, and parts that say nothing, are no transcript."""
    other = replace(delta("s", "m1", "p1", "{"), field="input")
    step = replace(text("s", "m1", "p2", ""), part=Part(id="p2", type="step-start"))
    assert journal_of(other, step).said == {}


def test_a_removed_part_is_gone() -> None:
    """A revert takes parts out of the history."""
    assert (
        journal_of(text("s", "m1", "p1", "x"), PartRemoved("s", message_id="m1", part_id="p1")).said == {}
    )


def test_a_corrected_call_is_shown_once() -> None:
    """I5: what was inferred of a call gives way to what its tool says."""
    started = tool("s", "c1", "bash", "running", input={})
    journal = journal_of(started, idle("s"), tool("s", "c1", "bash", "completed", output="ok"))
    assert [(call.call_id, call.outcome) for call in journal.calls] == [("c1", "completed")]


def test_journals_of_dropped_sessions_are_dropped() -> None:
    """The board says which sessions there are."""
    journals = told((0, text("s", "m", "p", "x")), (1, text("t", "m", "p", "x")))[1]
    journals.keep({"t": 1})
    assert list(journals.by_session) == ["t"]
    assert journals.still("s") == Journal()
