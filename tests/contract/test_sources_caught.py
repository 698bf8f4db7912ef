"""The proof that the contract of sources can fail: for each rule, a source that breaks it is caught."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import source_contract as contract
from reactivex import Observable, Subject, abc
from reactivex.disposable import CompositeDisposable, Disposable

from streams import EventHub
from streams.events import SessionEvent
from streams.schedulers import Replay, calling

Join = Callable[[EventHub, Replay, abc.ObserverBase[Any]], abc.DisposableBase]


def source(join: Join) -> contract.Make:
    """A source from what happens when somebody subscribes to it."""

    class Source(contract.Fed):
        whole = True

        def __init__(self) -> None:
            super().__init__(
                lambda hub, clock: Observable(lambda observer, _=None: join(hub, clock, observer))
            )

    return Source


def rest(observer: abc.ObserverBase[Any]) -> tuple[Any, Any]:
    return observer.on_error, observer.on_completed


@source
def is_right(hub: EventHub, clock: Replay, observer: Any) -> abc.DisposableBase:
    """What the others differ from."""
    return hub.subscribe(observer.on_next, *rest(observer))


@source
def completes_twice(hub: EventHub, clock: Replay, observer: Any) -> abc.DisposableBase:
    def end() -> None:
        observer.on_completed()
        observer.on_completed()

    return hub.subscribe(observer.on_next, observer.on_error, end)


@source
def swallows_errors(hub: EventHub, clock: Replay, observer: Any) -> abc.DisposableBase:
    return hub.subscribe(observer.on_next, lambda error: observer.on_completed(), observer.on_completed)


@source
def leaves_a_timer(hub: EventHub, clock: Replay, observer: Any) -> abc.DisposableBase:
    clock.schedule_relative(10 * contract.LONG, calling(lambda: None))
    return hub.subscribe(observer.on_next, *rest(observer))


@source
def cannot_be_left(hub: EventHub, clock: Replay, observer: Any) -> abc.DisposableBase:
    hub.subscribe(observer.on_next, *rest(observer))
    return Disposable()


@source
def remembers_who_was_there(hub: EventHub, clock: Replay, observer: Any) -> abc.DisposableBase:
    there.append(observer)
    return hub.subscribe(observer.on_next, *rest(observer))


there: list[Any] = []


@source
def stops_for_all_when_one_leaves(hub: EventHub, clock: Replay, observer: Any) -> abc.DisposableBase:
    following = CompositeDisposable(hub.subscribe(observer.on_next, *rest(observer)))
    return Disposable(lambda: (following.dispose(), hub.on_completed()))


class PlainSubject(contract.Fed):
    """A Subject of reactivex: no order among threads, no queue, and a subscriber that raises harms others."""

    whole = True

    def __init__(self) -> None:
        super().__init__(lambda hub, clock: hub)
        self.observable = self.subject = Subject[SessionEvent]()
        self.feed = self.subject.on_next

    def play(self) -> None:
        for at, event in contract.script():
            self.feed(contract.dated(event, at))

    def complete(self) -> None:
        self.subject.on_completed()


@source
def greets_who_comes(hub: EventHub, clock: Replay, observer: Any) -> abc.DisposableBase:
    observer.on_next(SessionEvent())
    return hub.subscribe(observer.on_next, *rest(observer))


@source
def nobody_knows_that_it_is_over(hub: EventHub, clock: Replay, observer: Any) -> abc.DisposableBase:
    over = getattr(hub, "_ended", None) is not None
    return Disposable() if over else hub.subscribe(observer.on_next, *rest(observer))


@source
def loses_every_seventh(hub: EventHub, clock: Replay, observer: Any) -> abc.DisposableBase:
    numbers = iter(range(1, 1_000_000))
    return hub.subscribe(
        lambda event: observer.on_next(event) if next(numbers) % 7 else None, *rest(observer)
    )


@source
def reads_the_clock(hub: EventHub, clock: Replay, observer: Any) -> abc.DisposableBase:
    return hub.subscribe(lambda event: observer.on_next(time.time()), *rest(observer))


@source
def starts_a_thread(hub: EventHub, clock: Replay, observer: Any) -> abc.DisposableBase:
    threading.Thread(target=lambda: None, daemon=True).start()
    return hub.subscribe(observer.on_next, *rest(observer))


CAUGHT: dict[str, list[contract.Make]] = {
    "keeps_the_grammar": [completes_twice, leaves_a_timer],
    "passes_an_error_on": [swallows_errors, leaves_a_timer],
    "may_be_left_from_inside": [cannot_be_left, leaves_a_timer],
    "frees_who_leaves": [remembers_who_was_there],
    "siblings_notice_nothing": [stops_for_all_when_one_leaves, PlainSubject],
    "tells_who_comes_late": [greets_who_comes, nobody_knows_that_it_is_over],
    "never_overlaps": [loses_every_seventh, PlainSubject],
    "takes_feedback_flat": [PlainSubject, loses_every_seventh],
    "virtual_time_is_all_it_needs": [reads_the_clock, starts_a_thread],
}
"""What breaks which rule."""


def test_every_rule_is_shown_to_fail() -> None:
    """A rule that nothing breaks is no rule."""
    assert set(CAUGHT) == set(contract.RULES)


@pytest.mark.parametrize("rule", contract.RULES)
def test_what_is_right_is_let_through(rule: str) -> None:
    """The sources below are caught for the one thing that is wrong with each."""
    contract.RULES[rule](is_right)


@pytest.mark.parametrize(
    ("rule", "number"), [(rule, number) for rule, each in CAUGHT.items() for number in range(len(each))]
)
def test_the_suite_catches(rule: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each source that breaks a rule fails it."""
    monkeypatch.setattr(contract, "TIMEOUT", 0.2)
    with pytest.raises((AssertionError, RecursionError, LookupError)):
        again_and_again(contract.RULES[rule], CAUGHT[rule][number])


def again_and_again(rule: Callable[[contract.Make], None], make: contract.Make) -> None:
    """Threads may happen not to meet."""
    for _ in range(50):
        rule(make)
