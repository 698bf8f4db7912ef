"""``live``: a cell that updates in place, without a kernel and in a real one."""

import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reactivex import Subject

pytest.importorskip("altair")
pytest.importorskip("nbclient")

import nbformat
from nbclient import NotebookClient

from operators import TaskProgress
from streams.notebook import Live, live
from streams.schedulers import Replay
from streams.testing import created, idle

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was displayed, one after the other."""
    shown: list[Any] = []
    module = sys.modules["streams.notebook.live"]  # the package has a function of that name
    monkeypatch.setattr(module, "_display", lambda what, **_: shown.append(what))
    monkeypatch.setattr(module, "_update", lambda what, **_: shown.append(what))
    return shown


def texts(cell: list[Any]) -> list[str]:
    return [repr(each) for each in cell]


def test_the_newest_of_each_session_at_a_bounded_rate(cell: list[Any]) -> None:
    """A hundred values in ten seconds, drawn once a second: ten pictures, each of the newest ones."""
    values, clock = Subject[Any](), Replay()
    shown = live(values, every=1.0, render=dict, scheduler=clock)
    for tenth in range(100):
        clock.advance_to(tenth / 10)
        values.on_next(created(f"s{tenth % 2}", title=f"{tenth}"))
    clock.advance_to(60.0)
    assert cell[0] == {}
    assert 9 <= shown.shown <= 11
    assert [each.title for each in cell[-1].values()] == ["98", "99"]
    assert clock.pending == 0


def test_the_end_is_drawn_at_once(cell: list[Any]) -> None:
    """The last value is not lost in the period, and nothing is pending after it."""
    values, clock = Subject[Any](), Replay()
    shown = live(values, render=dict, scheduler=clock)
    values.on_next(created("s"))
    values.on_completed()
    assert list(cell[-1]) == ["s"]
    assert shown.wait(0)
    assert clock.pending == 0


def test_disposed_it_shows_nothing_any_more(cell: list[Any]) -> None:
    """The cell keeps what it showed; a drawing that was due does not come."""
    values, clock = Subject[Any](), Replay()
    shown = live(values, render=dict, scheduler=clock)
    values.on_next(created("s"))
    shown.dispose()
    shown.dispose()
    values.on_next(created("t"))
    clock.advance_to(60.0)
    assert cell == [{}]
    assert (len(values.observers), clock.pending) == (0, 0)


def test_an_error_of_the_stream_is_said_in_the_cell(cell: list[Any]) -> None:
    """On a thread in the background nobody sees a traceback."""
    values, clock = Subject[Any](), Replay()
    shown = live(values, render=dict, scheduler=clock)
    values.on_next(created("s"))
    values.on_error(OSError("<gone>"))
    assert list(cell[-2]) == ["s"]
    assert repr(cell[-1]) == "live ended: OSError: <gone>"
    assert cell[-1]._repr_html_() == "<pre>live ended: OSError: &lt;gone&gt;</pre>"
    assert shown.wait(0)


def test_an_error_of_render_ends_it(cell: list[Any]) -> None:
    """Said once, not once a period."""

    def render(latest: dict[str, Any]) -> object:
        if latest:
            raise KeyError("mine")
        return "empty"

    values, clock = Subject[Any](), Replay()
    live(values, render=render, scheduler=clock)
    for second in range(5):
        clock.advance_to(float(second))
        values.on_next(created("s"))
    assert texts(cell) == ["'empty'", "live ended: KeyError: 'mine'"]
    assert len(values.observers) == 0


def test_a_hundred_sessions_are_shown_and_no_more(cell: list[Any]) -> None:
    """A server watched for weeks has more than anybody looks at."""
    values, clock = Subject[Any](), Replay()
    live(values, render=dict, scheduler=clock)
    for number in range(250):
        values.on_next(idle(f"s{number}"))
    clock.advance_to(60.0)
    assert list(cell[-1]) == [f"s{number}" for number in range(150, 250)]


def test_rows_are_the_values_own_html(cell: list[Any]) -> None:
    """What has none is escaped text; nothing yet is said."""
    values, clock = Subject[Any](), Replay()
    live(values, scheduler=clock)
    assert cell[0]._repr_html_() == "<em>nothing yet</em>"
    assert repr(cell[0]) == "nothing yet"
    values.on_next(created("s", title="<b>"))
    values.on_completed()
    assert "&lt;b&gt;" in cell[-1]._repr_html_()
    assert "<b>" not in cell[-1]._repr_html_()


@pytest.mark.parametrize("every", [0, -1])
def test_a_period_is_above_0(every: float) -> None:
    """Said when it is called."""
    with pytest.raises(ValueError, match=r"every must be .* above 0.*, got"):
        live(Subject[Any](), every=every)


def test_awaited_it_ends_with_the_stream(cell: list[Any]) -> None:
    """The loop runs on meanwhile: it is what completes the stream here."""

    async def notebook() -> None:
        values = Subject[Any]()
        asyncio.get_running_loop().call_soon(values.on_completed)
        await live(values, render=dict, scheduler=Replay())

    asyncio.run(notebook())


def test_cancelled_it_is_disposed(cell: list[Any]) -> None:
    """What Jupyter does with a cell that awaits when its stop button is pressed."""
    values = Subject[Any]()

    async def notebook() -> None:
        waiting = asyncio.ensure_future(_wait(live(values, render=dict, scheduler=Replay())))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(notebook())
    assert len(values.observers) == 0


async def _wait(shown: Live[TaskProgress]) -> None:
    await shown


# --- in a real kernel -----------------------------------------------------------------------------

SETUP = """
import threading, time
import reactivex
from reactivex import operators as rx
from streams.notebook import live
from streams.schedulers import daemon
values = reactivex.interval(0.01, scheduler=daemon()).pipe(rx.map(lambda n: {"n": n}))
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[NotebookClient]:
    """A real kernel, as Jupyter starts it."""
    notebook = nbformat.v4.new_notebook()
    client = NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    )
    with client.setup_kernel():
        yield client


def run(client: NotebookClient, *sources: str) -> list[str]:
    """Execute cells; the text that each has displayed in the end."""
    cells = [nbformat.v4.new_code_cell(source) for source in (SETUP, *sources)]
    client.nb.cells = cells
    for index, cell in enumerate(cells):
        client.execute_cell(cell, index)
    return ["".join(_text(output) for output in cell.outputs) for cell in cells[1:]]


def _text(output: Any) -> str:
    return (
        output.get("text", "")
        or output.get("data", {}).get("text/plain", "")
        or str(output.get("evalue", ""))
    )


def test_the_kernel_is_not_blocked_and_the_cell_updates(kernel: NotebookClient) -> None:
    """The cell returns at once, further cells run, and its own output changes meanwhile."""
    first, *_, said = run(
        kernel,
        "shown = live(values, every=0.05)",
        "drawn = shown.shown",
        "began = time.monotonic()\nwhile shown.shown < drawn + 5: time.sleep(0.01)",
        "seconds = time.monotonic() - began\nshown.dispose(); last = shown.shown; time.sleep(0.2)\n"
        "print(shown.shown == last, seconds >= 0.2)",
    )
    assert said == "True True\n"
    assert re.fullmatch(r"\{'n': \d+\}", first)
    assert first != "{'n': 0}"


@pytest.mark.parametrize("cell", ["shown.wait()", "await shown"])
def test_the_stop_button_ends_it(kernel: NotebookClient, cell: str) -> None:
    """Interrupting the cell ends the display, and the kernel goes on."""
    stop = "import os, signal\nthreading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
    kernel.allow_errors = True
    *_, said = run(
        kernel,
        "shown = live(values, every=0.05)",
        stop + cell,
        "last = shown.shown; time.sleep(0.2)\nprint(shown.shown == last, last > 0, shown.wait(0))",
    )
    assert said == "True True True\n"
