"""The report as a reader opens it: in a browser, with a keyboard, in a narrow window."""

import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from streams import ContextLimits, recordings, report

LIMITS = ContextLimits({"acme/kestrel-tight": 32_000, "acme/kestrel-large": 200_000})

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright: Playwright, chromium: str) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    yield browser
    browser.close()


@pytest.fixture
def opened(browser: Browser, tmp_path: Path, recording_of: Any) -> Iterator[Open]:
    """Open the report of a recording; nothing but the file itself may be asked for."""
    complaints: list[str] = []
    contexts = []

    def open_report(name: str, *, width: int = 1280, **options: Any) -> Page:
        path = tmp_path / f"{name}.html"
        replayed = recordings.replay(recording_of(name).path, speed=None)
        path.write_text(report.page(report.gather(replayed, LIMITS, name=name)), "utf-8")
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: request.url == path.as_uri() or complaints.append(request.url))
        page.goto(path.as_uri())
        return page

    yield open_report
    for context in contexts:
        context.close()
    assert complaints == []


def pixels(png: bytes) -> Counter[bytes]:
    """The colours of a screenshot (8 bits a channel, not interlaced) and how many pixels have each."""
    place, data, width, height, channels = 8, b"", 0, 0, 0
    while place < len(png):
        length, kind = struct.unpack(">I4s", png[place : place + 8])
        chunk = png[place + 8 : place + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", chunk[:10])
            channels = {2: 3, 6: 4}[colour]
            assert depth == 8
        elif kind == b"IDAT":
            data += chunk
        place += length + 12
    raw, stride = zlib.decompress(data), width * channels
    above, counts = bytearray(stride), Counter[bytes]()
    for row in range(height):
        start = row * (stride + 1)
        line = _unfiltered(raw[start], bytearray(raw[start + 1 : start + 1 + stride]), above, channels)
        counts.update(bytes(line[x : x + 3]) for x in range(0, stride, channels))
        above = line
    return counts


def _unfiltered(how: int, line: bytearray, above: bytearray, channels: int) -> bytearray:
    for x in range(len(line)):
        left = line[x - channels] if x >= channels else 0
        corner = above[x - channels] if x >= channels else 0
        line[x] = (line[x] + _predicted(how, left, above[x], corner)) & 255
    return line


def _predicted(how: int, left: int, up: int, corner: int) -> int:
    if how == 4:
        distances = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
        return (left, up, corner)[distances.index(min(distances))]
    return (0, left, up, (left + up) // 2)[how]


def colour(page: Page, name: str) -> bytes:
    """A colour of the page's style sheet."""
    said = page.evaluate(
        "name => getComputedStyle(document.documentElement).getPropertyValue(name)", name
    )
    return bytes.fromhex(said.strip().removeprefix("#"))


def test_each_child_session_is_shown(opened: Open, recording_of: Any) -> None:
    """By title and id in the table, in a plot of its own, and as a task."""
    page = opened("subagents")
    truth = recording_of("subagents").truth
    children = [each for each in truth["sessions"] if each.get("parentID")]
    assert len(children) == 3
    for child in children:
        for place in ("#report table", "#report figure", "#report .tasks"):
            assert page.locator(place, has_text=child["title"]).first.is_visible()
        assert page.get_by_text(child["id"]).is_visible()
    assert page.locator("h1").inner_text() == "subagents"


def test_plots_are_not_blank(opened: Open) -> None:
    """The line of each session, the bars of each task: pixels of their colours on the screen."""
    page = opened("subagents")
    plots, bars = page.locator("svg.usage"), page.locator("svg.gantt")
    assert (plots.count(), bars.count()) == (4, 3)
    blue, ink, paper = (colour(page, each) for each in ("--blue", "--ink", "--paper"))
    for number in range(plots.count()):
        counted = pixels(plots.nth(number).screenshot())
        assert counted[blue] > 80
        assert counted[ink] > 500  # the limit
        assert counted[paper] < sum(counted.values()) * 0.99
    for number in range(bars.count()):
        counted = pixels(bars.nth(number).screenshot())
        assert counted[blue] > 1000
        assert len(counted) >= 3


def test_compactions_are_marked(opened: Open) -> None:
    """Two of them, in the plot and in the table."""
    page = opened("compaction")
    counted = pixels(page.locator("svg.usage").screenshot())
    assert counted[colour(page, "--orange")] > 50
    assert page.locator(".compaction-mark").count() == 2
    assert (
        page.get_by_role("table", name="Tokens before and after each compaction").locator("tr").count()
        == 3
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["subagents", "errors"])
def test_accessible(opened: Open, axe: str, name: str, scheme: Any) -> None:
    """axe-core finds nothing at all: names, contrast, headings, tables, landmarks."""
    page = opened(name, color_scheme=scheme, bypass_csp=True)
    page.evaluate(axe)
    found = page.evaluate("async () => (await axe.run()).violations")
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []


def test_the_whole_page_by_keyboard(opened: Open) -> None:
    """Tab goes in reading order: skip link, sections, tables; each shows that it has the focus."""
    page = opened("subagents")
    focused = """() => {
        const at = document.activeElement, style = getComputedStyle(at)
        const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2
        return [at.getAttribute('aria-label') ?? at.textContent, outlined]
    }"""
    order = []
    for _ in range(9):
        page.keyboard.press("Tab")
        order.append(page.evaluate(focused))
    assert order == [
        ["Skip to the report", True],
        ["Sessions", True],
        ["Context windows", True],
        ["Compactions", True],
        ["Background tasks", True],
        ["Tools", True],
        ["Loops and stalls", True],
        ["Sessions, children under their parents", True],
        ["How the calls of each tool ended", True],
    ]


def test_a_link_leads_to_its_section(opened: Open) -> None:
    """And the skip link past the links."""
    page = opened("subagents", reduced_motion="reduce")
    page.get_by_role("link", name="Tools").click()
    assert page.get_by_role("heading", name="Tools").bounding_box()["y"] < 400
    page.keyboard.press("Home")
    page.get_by_role("link", name="Skip to the report").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label == "Sessions, children under their parents"


@pytest.mark.parametrize("width", [320, 768, 1280])
def test_any_width(opened: Open, width: int) -> None:
    """The page never scrolls sideways; wide tables scroll in themselves."""
    page = opened("errors", width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for box in (each.bounding_box() for each in page.locator("figure, .tasks li").all()):
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_reduced_motion(opened: Open) -> None:
    """Nothing glides for whoever does not want it."""
    smooth = "getComputedStyle(document.documentElement).scrollBehavior"
    assert opened("basic").evaluate(smooth) == "smooth"
    assert opened("basic", reduced_motion="reduce").evaluate(smooth) == "auto"
