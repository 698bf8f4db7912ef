"""One source, watched to its end: the pipeline, and the thread that waits for it."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
import reactivex
from reactivex import Observable, abc
from reactivex import operators as rx

import operators as ops
from streams.events import SessionEvent
from streams.faults import Fault
from streams.hub import EventHub
from streams.opencode import ConnectionState
from streams.schedulers import daemon, seconds_of
from streams.watch.board import Board
from streams.watch.connection import connection_of, is_news
from streams.watch.derivations import Derivations, Derived
from streams.watch.interruptible import Interruptible
from streams.watch.live import Live
from streams.watch.output import Output
from streams.watch.summary import Outcome, summarise

__all__ = ["Watching"]

SILENT: Final = 600.0
"""Seconds after which a session that nothing is heard of counts as expired."""


class Watching:
    """Derives values from a source and hands them to an output, until the source or the user ends it.

    Everything happens on the hub's strand, one thing at a time.

    Args:
        source: The events.
        scheduler: The clock they play on.
        derivations: The operators, by name.
        output: Where values go.
        torn: How many lines the source had to skip at its end, asked when it is over.
        live: The server that the source is of, if it is of one.

    Attributes:
        board: What is known so far.
        source_error: What the source ended with, if it did not complete.
        output_error: What the output raised, if it did: that ends watching.
    """

    def __init__(
        self,
        source: Observable[SessionEvent],
        scheduler: abc.SchedulerBase,
        derivations: Derivations,
        output: Output,
        *,
        torn: Callable[[], int] = int,
        live: Live | None = None,
    ) -> None:
        self.board = Board()
        self.source_error: Exception | None = None
        self.output_error: Exception | None = None
        self._derivations = derivations
        self._output = output
        self._torn = torn
        self._live = live
        self._seconds = seconds_of(scheduler)
        self._ended = threading.Event()
        watched = source.pipe(ops.expire_after(SILENT, scheduler=scheduler))
        self._source = Interruptible(watched, scheduler)
        self._hub = self._source.hub

    def run(self) -> None:
        """Watch until it is over; Ctrl-C ends it too."""
        self._hub.errors.subscribe(self._fault)
        self._hub.subscribe(self.board.take, _ignored)
        if self._live is not None:
            self._follow(self._live)
        self._hub.pipe(ops.session_overview()).subscribe(self.board.overlook, _ignored)
        self._values().subscribe(self._value, self._failed, self._end)
        try:
            self._output.begin(self)
            with self._start_frames():
                self._source.run(self._ended)
        finally:
            self._output.close()

    @property
    def hub(self) -> EventHub:
        """The events, while it runs."""
        return self._hub

    def show(self) -> None:
        """Have a frame drawn at once, from whatever thread."""
        self._hub.strand.run(self._frame, None)

    def stop(self) -> None:
        """End it as Ctrl-C does, from whatever thread."""
        self._source.interrupt()

    def _follow(self, live: Live) -> None:
        strand = self._hub.strand
        live.follow(self._hub)
        live.server.state.subscribe(lambda state: strand.run(self._connection, state))
        live.server.errors.subscribe(lambda fault: strand.run(self._fault, fault))

    def _values(self) -> Observable[Derived]:
        return reactivex.merge(
            *(
                self._hub.pipe(operator, rx.map(partial(self._named, name)))
                for name, operator in self._derivations.items()
            )
        )

    def _named(self, name: str, value: msgspec.Struct) -> Derived:
        return Derived(name, round(self._seconds(), 3), value)

    def _start_frames(self) -> abc.DisposableBase:
        """Frames come by real time, whatever clock the events play on."""
        every = self._output.frame_every
        frames = reactivex.never() if every is None else reactivex.interval(every, scheduler=daemon())
        return frames.subscribe(lambda _: self.show())

    # --- on the strand ----------------------------------------------------------------------------

    def _value(self, derived: Derived) -> None:
        self.board.derived(derived)
        self._write(self._output.value, derived)

    def _fault(self, fault: Fault) -> None:
        self.board.fault(fault)
        self._write(self._output.fault, fault)

    def _connection(self, state: ConnectionState) -> None:
        connection = connection_of(state, self.board.connection)
        if state.status in ("idle", "closed") or self._ended.is_set():
            return
        if is_news(self.board.connection, connection):
            self._write(self._output.value, Derived("connection", round(state.at, 3), connection))
        self.board.connection = connection

    def _frame(self, _: None) -> None:
        board = self.board
        if (board.events or board.connection is not None) and not self._ended.is_set():
            self._write(self._output.frame, self.board, self._seconds())

    def _failed(self, error: Exception) -> None:
        self.source_error = error
        self._end()

    def _end(self) -> None:
        try:
            # A source that could not be read at all has nothing to be summed up.
            if self.board.events or self.source_error is None:
                self._sum_up()
        finally:
            self._ended.set()

    def _sum_up(self) -> None:
        summary = summarise(
            self.board, self._outcome(), operators=tuple(self._derivations), torn=self._torn()
        )
        self._write(self._output.end, self.board, summary)

    def _outcome(self) -> Outcome:
        if self.source_error is not None:
            return "failed"
        return "interrupted" if self._source.interrupted else "completed"

    def _write(self, write: Callable[..., None], *what: object) -> None:
        if self.output_error is not None:
            return
        try:
            write(*what)
        except Exception as error:
            self.output_error = error
            self._source.let_go()


def _ignored(_: Exception) -> None:
    """The values' own end tells of it."""
