"""The pipeline: one source to its end, whatever ends it."""

import json
import threading
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any, ClassVar

import pytest
from reactivex import Observable, Subject
from reactivex.disposable import Disposable

from operators import Logic, per_session
from streams import recordings
from streams.events import MessageUpdated, SessionEvent
from streams.faults import Fault
from streams.limits import ContextLimits
from streams.schedulers import Replay, calling, daemon
from streams.testing import assistant, created
from streams.watch.board import Board
from streams.watch.derivations import Derivations, Derived, derivations
from streams.watch.lines import JsonLines
from streams.watch.summary import Summary
from streams.watch.watching import Watching

EVENTS = (created("s"), assistant("s", "m1", input=10, created=1.0))
TABLE = derivations(ContextLimits(), threshold=0.78)


class Noted:
    """An output that notes what it is told; ``fail`` may raise."""

    frame_every: float | None = None

    def __init__(self, fail: Callable[[Derived], None] = lambda _: None) -> None:
        self.told: list[Any] = []
        self.closed = False
        self._fail = fail

    def begin(self, watched: object) -> None:
        pass

    def value(self, derived: Derived) -> None:
        self._fail(derived)
        self.told.append((derived.operator, derived.value))

    def fault(self, fault: Fault) -> None:
        self.told.append(("fault", str(fault)))

    def frame(self, board: Board, now: float) -> None:
        self.told.append(("frame", now))

    def end(self, board: Board, summary: Summary) -> None:
        self.told.append(("end", summary.outcome))

    def close(self) -> None:
        self.closed = True


def watching(source: Observable[SessionEvent], output: Any, table: Derivations = TABLE) -> Watching:
    return Watching(source, Replay(5.0), table, output)


def source_of(*events: SessionEvent, then: Exception | str = "end") -> Observable[SessionEvent]:
    """A source of these events that then ends, fails, or (``"never"``) does neither."""

    def subscribe(observer: Any, _: Any = None) -> Disposable:
        for event in events:
            observer.on_next(event)
        if isinstance(then, Exception):
            observer.on_error(then)
        elif then == "end":
            observer.on_completed()
        return Disposable()

    return Observable(subscribe)


def test_values_then_the_summary() -> None:
    """Every value with its operator's name, in the table's order, and the end last."""
    output = Noted()
    watched = watching(source_of(*EVENTS), output)
    watched.run()
    assert [name for name, _ in output.told] == ["context_usage", "end"]
    assert output.told[-1] == ("end", "completed")
    assert (watched.board.events, watched.source_error, watched.output_error) == (2, None, None)


def test_a_source_that_fails_keeps_what_came_before() -> None:
    """The summary of what was seen, and the error for whoever asks."""
    output, error = Noted(), OSError("connection lost")
    watched = watching(source_of(*EVENTS, then=error), output)
    watched.run()
    assert output.told[-1] == ("end", "failed")
    assert watched.source_error is error


def test_a_source_that_cannot_be_read_has_no_summary() -> None:
    """Nothing came: an error is all there is to say, and what was drawn meanwhile is taken away."""
    output = Noted()
    watched = watching(source_of(then=OSError("no such file")), output)
    watched.run()
    assert (output.told, output.closed) == ([], True)
    assert watched.source_error is not None


@pytest.mark.parametrize("error", [BrokenPipeError(), TypeError("a bug")])
def test_an_output_that_raises_ends_it(error: Exception) -> None:
    """Nobody reads any more: even a source without an end is let go, and nothing more is written."""

    def fail(_: Derived) -> None:
        raise error

    output = Noted(fail)
    watched = watching(source_of(*EVENTS, then="never"), output)
    watched.run()
    assert (watched.output_error, output.told) == (error, [])


def test_a_fault_is_told_and_harms_nothing_else() -> None:
    """One operator's logic raises: a fault goes out, the other operators and the end do too."""

    class Broken(Logic[list[str], Any]):
        wants: ClassVar = (MessageUpdated,)

        def start(self, session_id: str, now: float) -> list[str]:
            return []

        def on_event(self, state: list[str], event: SessionEvent, now: float) -> Iterable[Any]:
            raise KeyError("x")

    output = Noted()
    watched = watching(source_of(*EVENTS), output, {"broken": per_session(Broken()), **TABLE})
    watched.run()
    assert [name for name, _ in output.told] == ["fault", "context_usage", "end"]
    assert output.told[0][1] == "Broken [s]: KeyError: 'x'"
    assert watched.board.faults == 1


def test_frames_come_by_real_time_once_there_is_something_to_show() -> None:
    """A view is drawn again and again, not before the first event, and on the hub's strand."""
    source, seen = Subject[SessionEvent](), threading.Event()

    class Framed(Noted):
        frame_every = 0.001

        def frame(self, board: Board, now: float) -> None:
            super().frame(board, now)
            seen.set()

    output = Framed()
    watched = watching(source, output)
    thread = threading.Thread(target=watched.run)
    thread.start()
    while not source.observers:
        pass
    many_frames_later = threading.Event()
    daemon().schedule_relative(0.02, calling(many_frames_later.set))
    assert many_frames_later.wait(5)
    assert output.told == []
    source.on_next(EVENTS[0])
    assert seen.wait(5)
    source.on_completed()
    thread.join(5)
    assert output.told[0] == ("frame", 5.0)
    assert output.told[-1] == ("end", "completed")


def test_sessions_expire_while_watched() -> None:
    """A session silent for 600 s is shown as expired, in the recording's own time."""
    clock = Replay()

    def subscribe(observer: Any, _: Any = None) -> Disposable:
        for at, event in ((0.0, created("s")), (700.0, created("t"))):
            clock.advance_to(at)
            observer.on_next(event)
        observer.on_completed()
        return Disposable()

    watched = Watching(Observable(subscribe), clock, TABLE, Noted())
    watched.run()
    assert [row.status for row in watched.board.rows.values()] == ["expired", ""]


def test_json_lines_of_values_faults_and_the_summary() -> None:
    """Each line is whole and flushed; a fault is a line, its exception as text."""
    file = BytesIO()
    lines = JsonLines(file)
    lines.fault(Fault("ContextLimits", "s", 1.23456, KeyError("x")))
    watching(source_of(*EVENTS), lines).run()
    told = [json.loads(line) for line in file.getvalue().splitlines()]
    assert told[0] == {
        "operator": "fault",
        "at": 1.235,
        "value": {"where": "ContextLimits", "session_id": "s", "error": "KeyError: 'x'"},
    }
    assert told[1]["value"]["tokens"] == 10
    assert told[1]["at"] == 5.0
    assert told[2]["operator"] == "summary"


def test_every_recording_is_watched_to_its_end(recorded: Any) -> None:
    """Real talk of a real server: every event counted, no fault, and the same again."""
    written = []
    for _ in range(2):
        file = BytesIO()
        replayed = recordings.replay(recorded.path, speed=None)
        watched = Watching(replayed, replayed.scheduler, TABLE, JsonLines(file))
        watched.run()
        assert (watched.board.faults, watched.board.malformed) == (0, 0)
        written.append(file.getvalue())
    assert watched.board.events == len(recorded.events())
    assert written[0] == written[1]
