"""Shared: one run for many subscribers."""

from collections.abc import Callable

import pytest
from reactivex import Subject, abc
from reactivex.disposable import CompositeDisposable, Disposable

from operators.sharing import Shared
from streams.events import SessionIdle
from streams.faults import Fault
from streams.schedulers import Replay


class Run:
    """Counts starts and stops of what is shared, and lets a test speak for it."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.faults: list[Fault] = []
        self.told: Subject[int] = Subject()

    def start(
        self,
        observer: abc.ObserverBase[int],
        scheduler: abc.SchedulerBase | None,
        running: CompositeDisposable,
    ) -> None:
        self.log.append("started")
        self.told = Subject()
        running.add(Disposable(lambda: self.log.append("stopped")))
        running.add(self.told.subscribe(observer))

    def shared(self) -> Shared[int]:
        return Shared(self.start, None, self.faults.append)


def test_the_first_starts_and_the_last_stops() -> None:
    """Two subscribers are one run; whoever comes after both have left is the first again."""
    run = Run()
    shared = run.shared()
    assert run.log == []
    one, two = shared.subscribe(), shared.subscribe()
    one.dispose()
    one.dispose()
    assert run.log == ["started"]
    two.dispose()
    assert run.log == ["started", "stopped"]
    shared.subscribe()
    assert run.log == ["started", "stopped", "started"]


def test_everybody_hears_everything_from_when_they_came() -> None:
    """A value reaches all who are there; who has left is not told."""
    run = Run()
    shared = run.shared()
    first: list[int] = []
    second: list[int] = []
    leaving = shared.subscribe(first.append)
    run.told.on_next(1)
    shared.subscribe(second.append)
    run.told.on_next(2)
    leaving.dispose()
    run.told.on_next(3)
    assert (first, second) == ([1, 2], [2, 3])


def test_a_raising_subscriber_harms_nobody() -> None:
    """S12: it is one fault a value; its siblings hear the value, and so does it the next one."""
    run = Run()
    shared = run.shared()
    first: list[int] = []
    second: list[int] = []

    def raising(value: int) -> None:
        first.append(value)
        raise ValueError(value)

    shared.subscribe(raising)
    shared.subscribe(second.append)
    run.told.on_next(1)
    run.told.on_next(2)
    assert first == second == [1, 2]
    assert [(fault.where, fault.session_id, fault.at, str(fault.error)) for fault in run.faults] == [
        ("subscriber", "", 0.0, "1"),
        ("subscriber", "", 0.0, "2"),
    ]


def test_a_fault_names_the_session_and_the_time_of_the_value() -> None:
    told: Subject[SessionIdle] = Subject()
    faults: list[Fault] = []

    def start(
        observer: abc.ObserverBase[SessionIdle],
        scheduler: abc.SchedulerBase | None,
        running: CompositeDisposable,
    ) -> None:
        running.add(told.subscribe(observer))

    def raising(value: SessionIdle) -> None:
        raise ValueError(value)

    Shared(start, None, faults.append).subscribe(raising)
    told.on_next(SessionIdle("s", 3.0))
    (fault,) = faults
    assert (fault.session_id, fault.at) == ("s", 3.0)


def test_the_first_subscriber_s_scheduler_is_handed_on() -> None:
    scheduler, given = Replay(), list[abc.SchedulerBase | None]()
    shared = Shared[int](
        lambda observer, given_scheduler, running: given.append(given_scheduler), None, print
    )
    shared.subscribe(scheduler=scheduler)
    assert given == [scheduler]


@pytest.mark.parametrize(
    ("end", "heard"),
    [
        (lambda told: told.on_completed(), "completed"),
        (lambda told: told.on_error(OSError("gone")), "gone"),
    ],
)
def test_everybody_hears_the_end(end: Callable[[Subject[int]], None], heard: str) -> None:
    """S12: also when the first one raises at it; after the end, who comes starts anew."""
    run = Run()
    shared = run.shared()
    ends: list[str] = []

    def raising(error: Exception | None = None) -> None:
        raise ValueError("at the end")

    shared.subscribe(None, raising, raising)
    shared.subscribe(None, lambda error: ends.append(str(error)), lambda: ends.append("completed"))
    end(run.told)
    assert ends == [heard]
    assert len(run.faults) == 1
    shared.subscribe()
    assert run.log.count("started") == 2


def test_who_comes_back_at_the_end_starts_anew() -> None:
    """A subscriber that subscribes again from inside the end, as ``repeat`` does, is the first again."""
    run = Run()
    shared = run.shared()
    shared.subscribe(None, None, lambda: shared.subscribe())
    run.told.on_completed()
    assert run.log.count("started") == 2
