"""Whether a connection is alive: something must be read from it every now and then."""

from math import inf

from reactivex import abc
from reactivex.disposable import SerialDisposable

from streams.opencode.errors import TimedOut
from streams.opencode.transport import Exchange
from streams.schedulers import calling, seconds_of

__all__ = ["Watchdog"]


class Watchdog(abc.DisposableBase):
    """Reads from one exchange, and ends that one when a read takes too long.

    Any byte counts, a comment's as well. Time in which nobody reads, because events are being handled,
    does not. It knows one exchange only, so it can never end a later one.

    Args:
        exchange: What to read from.
        silence: Seconds without a byte after which the connection counts as dead.
        scheduler: The clock.

    Time: one timer, which looks when silence would be over rather than being set at each read.

    Source: field failure S2.
    """

    def __init__(self, exchange: Exchange, silence: float, scheduler: abc.SchedulerBase) -> None:
        self._exchange = exchange
        self._silence = silence
        self._scheduler = scheduler
        self._seconds = seconds_of(scheduler)
        self._reading_since = inf
        self._timer = SerialDisposable()
        self._look_after(silence)

    def read(self) -> bytes:
        """The next bytes; none at the end.

        Raises:
            OpencodeError: ``TimedOut`` after the silence, or whatever else ended the exchange.
        """
        self._reading_since = self._seconds()
        try:
            return self._exchange.read()
        finally:
            self._reading_since = inf

    def dispose(self) -> None:
        self._timer.dispose()

    def _look_after(self, delay: float) -> None:
        self._timer.disposable = self._scheduler.schedule_relative(delay, calling(self._look))

    def _look(self) -> None:
        left = self._reading_since + self._silence - self._seconds()
        if left <= 0:
            self._exchange.abort(TimedOut(f"nothing was heard for {self._silence:g} s"))
        else:
            self._look_after(min(left, self._silence))
