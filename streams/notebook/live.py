"""A stream as a cell's output that updates in place."""

import threading
from collections.abc import Callable
from datetime import timedelta
from html import escape
from typing import Any, Generic, TypeVar, cast
from uuid import uuid4

from IPython import display as jupyter
from reactivex import Observable, abc

from streams import checks
from streams.schedulers import calling, daemon

__all__ = ["Live", "Rows", "live"]

_T = TypeVar("_T")

_display = cast(Callable[..., None], jupyter.display)  # pyright: ignore[reportUnknownMemberType]
_update = cast(Callable[..., None], jupyter.update_display)  # pyright: ignore[reportUnknownMemberType]


class Live(abc.DisposableBase, Generic[_T]):
    """A running display. ``dispose()`` stops it; the cell keeps what it showed last.

    Attributes:
        shown: How many times the cell was drawn.
    """

    def __init__(
        self,
        observable: Observable[_T],
        render: Callable[[dict[str, _T]], Any],
        every: float,
        scheduler: abc.SchedulerBase,
    ) -> None:
        self.shown = 0
        self._latest: dict[str, _T] = {}
        self._render = render
        self._every = every
        self._scheduler = scheduler
        self._changing = threading.Lock()
        self._waiting = False
        self._display_id = uuid4().hex
        _display(render({}), display_id=self._display_id)
        self._source = observable.subscribe(self._take, on_completed=self._show)

    def dispose(self) -> None:
        self._source.dispose()

    def _take(self, value: _T) -> None:
        """Keep the newest per session; draw at most once per period, in the background."""
        with self._changing:
            self._latest[getattr(value, "session_id", "")] = value
            if self._waiting:
                return
            self._waiting = True
        self._scheduler.schedule_relative(self._every, calling(self._show))

    def _show(self) -> None:
        with self._changing:
            self._waiting = False
            latest = dict(self._latest)
        _update(self._render(latest), display_id=self._display_id)
        self.shown += 1


def live(
    observable: Observable[_T],
    *,
    render: Callable[[dict[str, _T]], Any] | None = None,
    every: float | timedelta = 0.25,
    scheduler: abc.SchedulerBase | None = None,
) -> Live[_T]:
    """Show the newest value of each session in this cell's output, and keep it up to date.

    It returns at once and works beside the kernel's own loop: values come from wherever the stream
    runs, drawing happens on the daemon's thread.

    Args:
        observable: The values; each has a ``session_id``, or they share one place.
        render: Takes the newest value per session, returns what to display. By default a table of
            their own representations.
        every: Seconds between two drawings at the least; above 0. Default 0.25.
        scheduler: When to draw; by default ``streams.schedulers.daemon()``.

    Returns:
        The running display; ``dispose()`` it to stop.

    Raises:
        ValueError: ``every`` is not above 0.

    Memory: the newest value per session.
    """
    seconds = checks.seconds("every", every)
    return Live(observable, render or Rows, seconds, scheduler or daemon())


class Rows(Generic[_T]):
    """The newest value per session, each in its own HTML if it has one.

    Args:
        latest: The values by session.
    """

    def __init__(self, latest: dict[str, _T]) -> None:
        self._latest = latest

    def _repr_html_(self) -> str:
        return "".join(_html(value) for value in self._latest.values()) or "<em>nothing yet</em>"


def _html(value: object) -> str:
    own = getattr(value, "_repr_html_", None)
    return own() if own is not None else f"<pre>{escape(str(value))}</pre>"
