"""A stream as a cell's output that updates in place."""

import asyncio
import threading
from collections.abc import Callable, Generator
from datetime import timedelta
from html import escape
from typing import Any, Final, Generic, TypeVar, cast
from uuid import uuid4

from IPython import display as jupyter
from reactivex import Observable, abc
from reactivex.disposable import SerialDisposable

from streams import checks
from streams.schedulers import calling, daemon

__all__ = ["Live", "Rows", "live"]

SESSIONS: Final = 100
"""More than anybody looks at in a cell; a server watched for weeks has many more."""

LOOK_UP: Final = 0.1
"""Seconds that a cell that awaits may go on after it is over."""

_T = TypeVar("_T")

_display = cast(Callable[..., None], jupyter.display)  # pyright: ignore[reportUnknownMemberType]
_update = cast(Callable[..., None], jupyter.update_display)  # pyright: ignore[reportUnknownMemberType]


class Live(abc.DisposableBase, Generic[_T]):
    """A running display. Whatever ends it, the cell keeps what it showed last.

    ``dispose()`` ends it, and leaving a ``with`` does. ``wait()`` and ``await`` let the cell run until
    the stream is over; the cell's stop button then ends the display too.

    Attributes:
        shown: How many times the cell was drawn anew.
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
        self._drawing = threading.Lock()
        self._waiting = False
        self._timer = SerialDisposable()
        self._ended = threading.Event()
        self._display_id = uuid4().hex
        _display(render({}), display_id=self._display_id)
        self._source = SerialDisposable()
        self._source.disposable = observable.subscribe(self._take, self._failed, self._completed)

    def dispose(self) -> None:
        """Show nothing any more, from whatever thread."""
        self._ended.set()
        self._source.dispose()
        self._timer.dispose()

    def wait(self, timeout: float | None = None) -> bool:
        """Let the cell run until the stream is over; true when it is.

        Args:
            timeout: Seconds to wait at the most; None is without end.

        Raises:
            KeyboardInterrupt: The stop button was pressed; the display has ended.
        """
        try:
            return self._ended.wait(timeout)
        except KeyboardInterrupt:
            self.dispose()
            raise

    def __await__(self) -> Generator[Any, None, None]:
        return self._awaited().__await__()

    async def _awaited(self) -> None:
        """A kernel's loop that sleeps is not woken by the stop button: it must wake by itself."""
        try:
            while not self._ended.is_set():
                await asyncio.sleep(LOOK_UP)
        except asyncio.CancelledError:  # how Jupyter stops a cell that awaits
            self.dispose()
            raise

    # --- what the stream says ---------------------------------------------------------------------

    def _take(self, value: _T) -> None:
        """Keep the newest per session; draw at most once per period, in the background."""
        session_id = getattr(value, "session_id", "")
        with self._changing:
            if session_id not in self._latest and len(self._latest) == SESSIONS:
                del self._latest[next(iter(self._latest))]
            self._latest[session_id] = value
            if self._waiting:
                return
            self._waiting = True
        self._timer.disposable = self._scheduler.schedule_relative(self._every, calling(self._show))

    def _completed(self) -> None:
        self._show()
        self.dispose()

    def _failed(self, error: Exception) -> None:
        self._show()
        self._tell(error)
        self.dispose()

    # --- drawing ----------------------------------------------------------------------------------

    def _show(self) -> None:
        with self._changing:
            self._waiting = False
            latest = dict(self._latest)
        try:
            shown = self._render(latest)
        except Exception as error:
            self._tell(error)
            self.dispose()
        else:
            self._put(shown)

    def _put(self, shown: object) -> None:
        with self._drawing:
            if not self._ended.is_set():
                _update(shown, display_id=self._display_id)
                self.shown += 1

    def _tell(self, error: Exception) -> None:
        """There is no traceback to be seen on a thread in the background: the cell says it, below."""
        _display(_Failure(error))


class _Failure:
    """What went wrong, as a cell shows it."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __repr__(self) -> str:
        return f"live ended: {type(self._error).__name__}: {self._error}"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"


def live(
    observable: Observable[_T],
    *,
    render: Callable[[dict[str, _T]], Any] | None = None,
    every: float | timedelta = 0.25,
    scheduler: abc.SchedulerBase | None = None,
) -> Live[_T]:
    """Show the newest value of each session in this cell's output, and keep it up to date.

    It returns at once and works beside the kernel's own loop: values come from wherever the stream
    runs, drawing happens on the daemon's thread. To have the cell run as long as the stream does, and
    its stop button end the display: ``await live(…)``, or ``live(…).wait()``.

    Args:
        observable: The values; each has a ``session_id``, or they share one place.
        render: Takes the newest value per session, returns what to display. By default a table of
            their own representations.
        every: Seconds between two drawings at the least; above 0. Default 0.25.
        scheduler: When to draw; by default ``streams.schedulers.daemon()``.

    Returns:
        The running display; ``dispose()`` it to stop. An error of the stream, or of ``render``, is shown
        below it and ends it.

    Raises:
        ValueError: ``every`` is not above 0.

    Memory: the newest value of each session, of 100 sessions at the most (then the first one goes).
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

    def __repr__(self) -> str:
        return "\n".join(map(str, self._latest.values())) or "nothing yet"

    def _repr_html_(self) -> str:
        return "".join(_html(value) for value in self._latest.values()) or "<em>nothing yet</em>"


def _html(value: object) -> str:
    own = getattr(value, "_repr_html_", None)
    return own() if own is not None else f"<pre>{escape(str(value))}</pre>"
