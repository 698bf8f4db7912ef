"""The page itself, without a browser: what stands in it, and that text stays text."""

import re
from collections.abc import Callable, Iterable
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest
import reactivex

from streams import ContextLimits, recordings, report
from streams.events import SessionEvent, StreamGap
from streams.report.findings import Findings
from streams.testing import (
    Timeline,
    assistant,
    busy,
    compacted,
    created,
    deleted,
    idle,
    text,
    tool,
)

LIMITS = ContextLimits({"anthropic/x": 200_000, "acme/kestrel-tight": 32_000})
VOID = ("meta", "link", "br", "img", "input", "hr")

Timed = Iterable[tuple[float, SessionEvent]]


class Outline(HTMLParser):
    """The elements of a page, their texts and attributes; fails on anything that is not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


class Played(reactivex.Observable[SessionEvent]):
    """These ``(seconds, event)``, once somebody subscribes; it brings its clock, as a replay does."""

    def __init__(self, timed: Timed) -> None:
        super().__init__()
        self._timed = timed
        self._line = Timeline()
        self.scheduler = self._line.scheduler

    def _subscribe_core(self, observer: Any, scheduler: Any = None) -> Any:
        subscribed = self._line.hub.subscribe(observer)
        self._line.play(*self._timed)
        self._line.hub.on_completed()
        return subscribed


@pytest.fixture
def gathered() -> Callable[..., Findings]:
    """What is found in these ``(seconds, event)``, played in virtual time."""
    return lambda *timed: report.gather(Played(timed), LIMITS, name="talk")


def of_recording(recorded: Any) -> Findings:
    replayed = recordings.replay(recorded.path, speed=None)
    return report.gather(replayed, LIMITS, name=recorded.stem)


# --- structure ------------------------------------------------------------------------------------


def test_every_recording_makes_a_sound_page(recorded: Any) -> None:
    """Closed elements, unique ids, links that lead somewhere, one h1, no heading skipped."""
    outline = Outline(report.page(of_recording(recorded)))
    ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [attributes["href"] for attributes in outline.all("a")]
    assert all((target or "").removeprefix("#") in ids for target in targets)
    levels = [int(tag[1]) for tag, _ in outline.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_nothing_is_fetched(recorded: Any) -> None:
    """No script, no address but those within the page; the browser is told to hold it to that."""
    page = report.page(of_recording(recorded))
    outline = Outline(page)
    assert not {"script", "iframe", "object", "embed", "img"} & {tag for tag, _ in outline.elements}
    for _, attributes in outline.elements:
        for name in ("src", "href", "srcset", "xlink:href", "style"):
            value = attributes.get(name) or ""
            assert "//" not in value
            assert "url(" not in value
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_the_same_page_every_time(recording_of: Any) -> None:
    """Nothing in it depends on when or where it was made."""
    recorded = recording_of("subagents")
    assert report.page(of_recording(recorded)) == report.page(of_recording(recorded))


def test_tables_and_plots_have_names(recording_of: Any) -> None:
    """A caption and scopes for each table, a label for each plot."""
    outline = Outline(report.page(of_recording(recording_of("compaction"))))
    assert len(outline.texts["caption"]) == len(outline.all("table")) == 4
    assert {each["scope"] for each in outline.all("th")} == {"col", "row"}
    pictures = [each for each in outline.all("svg") if each.get("role") == "img"]
    assert len(pictures) == 1
    assert all(each["aria-label"] for each in pictures)


# --- what stands in it ----------------------------------------------------------------------------


def test_sessions_stand_under_their_parents(recording_of: Any) -> None:
    """As a tree: the root, then its three children, one deeper."""
    found = of_recording(recording_of("subagents"))
    depths = [depth for depth, _ in found.family()]
    assert depths == [0, 1, 1, 1]
    (root, *children) = [session for _, session in found.family()]
    assert {child.parent_id for child in children} == {root.session_id}


def test_sessions_that_name_each_other_as_parents(gathered: Any) -> None:
    """Each stands once all the same (S11)."""
    found = gathered((0, created("a", "b", title="A")), (1, created("b", "a", title="B")), (2, busy("a")))
    assert sorted(session.session_id for _, session in found.family()) == ["a", "b"]


def test_a_compaction_in_numbers(recording_of: Any) -> None:
    """Tokens before, after, and the difference."""
    outline = Outline(report.page(of_recording(recording_of("compaction"))))
    cells = " ".join(outline.texts["td"])
    assert "28,860 5,900 22,960" in cells
    assert "29,700 900 28,800" in cells


def test_limit_and_threshold_are_drawn(gathered: Any) -> None:
    """At their heights, with their numbers, and the usage in words."""
    found = gathered((0, assistant("s", "m1", input=100_000)), (8, assistant("s", "m2", input=160_000)))
    page = report.page(found)
    assert "limit 200,000" in page
    assert "threshold 78 %" in page
    assert (
        "2 readings, 100,000 tokens first and 160,000 last. Fullest at 0:08: 160,000 tokens, 80.0 % of 200,000."
        in page
    )


def test_without_a_limit(gathered: Any) -> None:
    """Nothing is guessed: the plot has its own height, and the page says how to give the limit."""
    page = report.page(gathered((0, assistant("s", "m1", input=12_000, model="acme/new"))))
    assert "--limit acme/new=N" in page
    assert "12,000 tokens." in page
    assert "threshold 78 %" not in page


def test_a_line_ends_where_usage_is_unknown(gathered: Any) -> None:
    """U1: from a compaction to the next answer; there are two lines, and the first ends at the mark."""
    found = gathered(
        (0, assistant("s", "m1", input=100_000)),
        (5, compacted("s")),
        (8, assistant("s", "m2", input=10_000, created=8)),
        (10, idle("s")),
    )
    paths = [each["d"] for each in Outline(report.page(found)).all("path")]
    assert [re.findall(r"[\d.]+", path or "")[::2][0] for path in paths] == ["0.00", "80.00"]
    assert (paths[0] or "").endswith("H50.00")
    assert (paths[1] or "").endswith("H100.00")


def test_tasks_are_bars(gathered: Any) -> None:
    """A bar per state, in its place; a line of text says the same."""
    found = gathered(
        (0, created("p", title="Parent")),
        (0, created("c", "p", title="Child")),
        (2, busy("c")),
        (4, tool("c", "call", "bash", "running", started=4.0)),
        (6, text("c", "m", "prt", "done")),
        (10, idle("c")),
    )
    outline = Outline(report.page(found))
    bars = [(each["class"], each["x"], each["width"]) for each in outline.all("rect") if each["x"] != "0"]
    assert bars == [("pending", "0.00%", "20.00%"), ("running", "20.00%", "80.00%")]
    assert any(
        "completed · active for 4.0 s · 1 tool call · 0 tokens" in each for each in outline.texts["span"]
    )


def test_tools_loops_and_stalls(gathered: Any) -> None:
    """Counted by tool; a loop and a stall stand in their table."""
    calls = [
        (
            n,
            tool(
                "s", f"c{n}", "grep", "completed", input={"a": 1}, output="none", started=n, ended=n + 0.5
            ),
        )
        for n in range(20)
    ]
    found = gathered(
        *calls, (30, tool("s", "x", "bash", "error", error="no")), (40, busy("s")), (4000, created("t"))
    )
    outline = Outline(report.page(found))
    cells = outline.texts["td"]
    assert "20 calls: grep" in cells
    assert any(each.startswith("stale, ") for each in cells)
    assert "500 ms" in cells
    assert found.calls["s", "x"].outcome == "failed"


def test_an_empty_recording(gathered: Any) -> None:
    """Every section says that there is nothing."""
    page = report.page(gathered())
    assert "The recording has no events." in page
    for each in (
        "sessions",
        "readings of a context window",
        "compactions",
        "background tasks",
        "tool calls",
    ):
        assert f"No {each}." in page


def test_what_is_missing_is_said(gathered: Any) -> None:
    """A report of a recording with a hole does not pretend to be whole."""
    page = report.page(gathered((0, created("s")), (3, StreamGap(since=1.0))))
    assert "Incomplete: 1 lost connection." in page


def test_a_deleted_session_stays(gathered: Any) -> None:
    """As it stood last."""
    found = gathered((0, created("s", title="Gone with it")), (1, busy("s")), (2, deleted("s")))
    assert "Gone with it" in report.page(found)
    assert "gone" in Outline(report.page(found)).texts["div"]


# --- text stays text ------------------------------------------------------------------------------


HOSTILE = """<script>alert(1)</script>"onload='x' &amp; \x00\x1b[31m \u202e \ud800 </title></style>"""


def test_whatever_an_agent_writes_is_text(gathered: Any) -> None:
    """A title, a tool, an agent, an error, a model: in texts and in attributes."""
    found = gathered(
        (0, created("p", title=HOSTILE)),
        (0, created("c", "p", title=HOSTILE)),
        (1, busy("c")),
        (2, tool("c", HOSTILE, HOSTILE, "completed", output="x")),
        (3, assistant("c", HOSTILE, input=10, model=f"acme/{HOSTILE}", agent=HOSTILE)),
        (4, compacted("c")),
        (9, idle("c")),
    )
    found.name = HOSTILE
    page = report.page(found)
    outline = Outline(page)
    assert not outline.all("script")
    assert not [attributes for _, attributes in outline.elements if "onload" in attributes]
    assert not re.search("[\x00\x1b\u202e\ud800]", page)
    assert "<script>alert(1)</script>" in "".join(outline.texts["span"])
    page.encode("utf-8")


def test_any_clock(gathered: Any) -> None:
    """Times that are no date, and spans longer than any axis."""
    page = report.page(gathered((0, created("s")), (1e18, busy("s"))))
    assert "1970-01-01" in page
    assert "1e+17 s" in report.page(gathered((1e17, created("s"))))


def test_a_threshold_out_of_range() -> None:
    """Told at once, by name."""
    with pytest.raises(ValueError, match="threshold must be"):
        report.gather(reactivex.empty(), LIMITS, name="none", threshold=1.5)


def test_many_sessions_are_not_many_plots(gathered: Any) -> None:
    """Forty plots; what is left out is said, and stands in the table."""
    found = gathered(*[(n, assistant(f"s{n:02}", "m", input=1000 + n)) for n in range(50)])
    outline = Outline(report.page(found))
    assert len(outline.all("figure")) == 40
    assert "10 more sessions are in the table above." in outline.texts["p"]
