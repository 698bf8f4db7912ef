"""Shared: one run for many subscribers."""

from collections.abc import Callable

import pytest
from reactivex import Subject, abc
from reactivex.disposable import CompositeDisposable, Disposable

from operators.sharing import Shared
from streams.faults import Fault


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
    assert [(fault.where, str(fault.error)) for fault in run.faults] == [
        ("subscriber", "1"),
        ("subscriber", "2"),
    ]


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
