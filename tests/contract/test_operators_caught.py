"""The proof that the contract can fail: for each rule, operators that break it, and are caught."""

import threading
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import operator_contract as contract
import pytest
from every_operator import Count, Counted, CountLogic
from reactivex import Observable, abc
from reactivex import operators as rxops
from reactivex.disposable import CompositeDisposable, Disposable
from reactivex.scheduler import TimeoutScheduler
from session_script import script

import operators as ops
from operators.lift import lift
from operators.per_session import SessionFold
from streams.events import SessionEvent
from streams.schedulers import calling, daemon

Broken = Callable[[Observable[SessionEvent]], Observable[Any]]
Subscribe = Callable[[Observable[SessionEvent], abc.ObserverBase[Any]], abc.DisposableBase]


def operator(subscribe: Subscribe) -> Broken:
    """An operator from what happens at its subscription; nothing stands between it and its subscriber."""

    def of(source: Observable[SessionEvent]) -> Observable[Any]:
        made = Observable(lambda observer, scheduler=None: subscribe(source, observer))
        made.scheduler = getattr(source, "scheduler", None)  # type: ignore[attr-defined]
        return made

    return of


def clock_of(source: Any) -> abc.SchedulerBase:
    return getattr(source, "scheduler", None) or daemon()


# --- operators that are wrong ---------------------------------------------------------------------


@operator
def never_ends(source: Any, observer: Any) -> Any:
    return source.subscribe(observer.on_next)


@operator
def says_more_an_hour_after_the_end(source: Any, observer: Any) -> Any:
    def end() -> None:
        observer.on_completed()
        clock_of(source).schedule_relative(3600.0, calling(lambda: observer.on_next("more")))

    return source.subscribe(observer.on_next, observer.on_error, end)


@operator
def goes_on_after_the_end(source: Any, observer: Any) -> Any:
    def end() -> None:
        observer.on_completed()
        observer.on_next("one more")

    return source.subscribe(observer.on_next, observer.on_error, end)


@operator
def ends_twice(source: Any, observer: Any) -> Any:
    def end() -> None:
        observer.on_completed()
        observer.on_completed()

    return source.subscribe(observer.on_next, observer.on_error, end)


def leaks_a_timer(at_the_end: bool) -> Broken:
    @operator
    def leaks(source: Any, observer: Any) -> Any:
        timer = clock_of(source).schedule_relative(600.0, calling(lambda: None))

        def end() -> None:
            if not at_the_end:
                timer.dispose()
            observer.on_completed()

        return source.subscribe(observer.on_next, observer.on_error, end)

    return leaks


@operator
def stays_subscribed(source: Any, observer: Any) -> Any:
    source.subscribe(lambda event: None)
    return source.subscribe(observer)


@operator
def goes_on_after_dispose(source: Any, observer: Any) -> Any:
    def echo(event: Any) -> None:
        observer.on_next(event)
        clock_of(source).schedule_relative(1.0, calling(lambda: observer.on_next(event)))

    return source.subscribe(echo, observer.on_error, observer.on_completed)


def remembers_its_subscribers() -> Broken:
    @operator
    def remembering(source: Any, observer: Any) -> Any:
        remembered.append(observer)
        return source.subscribe(observer)

    return remembering


remembered: list[Any] = []


@operator
def thrice_whoever_listens(source: Any, observer: Any) -> Any:
    def say(event: Any) -> None:
        for _ in range(3):
            observer.on_next(event)

    return source.subscribe(say, observer.on_error, observer.on_completed)


@operator
def locks_downstream(source: Any, observer: Any) -> Any:
    lock = threading.RLock()

    def say(event: Any) -> None:
        with lock:
            observer.on_next(event)

    def leave() -> None:
        with lock:
            following.dispose()

    following = CompositeDisposable(source.subscribe(say, observer.on_error, observer.on_completed))
    return Disposable(leave)


@operator
def overlaps(source: Any, observer: Any) -> Any:
    def echo(event: Any) -> None:
        clock_of(source).schedule(calling(lambda: observer.on_next(event)))
        observer.on_next(event)

    return source.subscribe(echo, observer.on_error, observer.on_completed)


def loses_every_seventh() -> Broken:
    return lambda source: source.pipe(
        rxops.map_indexed(lambda event, number: event if number % 7 else None),
        rxops.filter(lambda event: event is not None and event.session_id != ""),
    )


def remembers_what_came(source: Observable[SessionEvent]) -> Observable[Any]:
    return source.pipe(rxops.scan(lambda came, event: came.append(event) or len(came), came_before))


came_before: list[Any] = []


def counts_for_ever() -> Broken:
    numbers = iter(range(1_000_000))
    return rxops.map(lambda event: next(numbers))


def accumulates_into_its_seed() -> Broken:
    def add(sum_so_far: list[int], event: SessionEvent) -> list[int]:
        sum_so_far[0] += 1
        return sum_so_far

    return lambda source: source.pipe(rxops.scan(add, [0]), rxops.map(tuple))


class OneState(CountLogic):
    def __init__(self) -> None:
        self._state = Counted("")

    def start(self, session_id: str, now: float) -> Counted:
        return self._state


class LosesTheLast(CountLogic):
    def on_end(self, state: Counted, now: float) -> Iterable[Count]:
        return ()


def dies_of_one_session() -> Broken:
    return rxops.map(lambda event: Count(event.session_id, len(getattr(event, "delta", "")), ""))


def blames_another() -> Broken:
    class Blaming(CountLogic):
        def on_event(self, state: Counted, event: SessionEvent, now: float) -> Iterable[Count]:
            len(getattr(event, "delta", ""))
            return (Count(event.session_id, 0, getattr(event, "delta", "")),)

        def start(self, session_id: str, now: float) -> Counted:
            if session_id == "bad":
                raise RuntimeError("no state, and every event is tried anew")
            return Counted(session_id)

    class Fold(SessionFold[Counted, Count]):
        def _fault(self, session_id: str, now: float, error: Exception) -> None:
            super()._fault("a", now, error)

    return lift(lambda report: Fold(Blaming(), report))


def reads_the_clock() -> Broken:
    return rxops.map(lambda event: time.time() > 0)


def starts_a_thread() -> Broken:
    return rxops.debounce(1.0, scheduler=TimeoutScheduler())


def counts_for_all_subscribers() -> Broken:
    return lambda source: source.pipe(rxops.scan(lambda number, event: number + 1, 0), rxops.share())


class Hoards(SessionFold[Counted, Count]):
    """Keeps the names of all sessions there ever were."""

    def __init__(self, report: Any) -> None:
        super().__init__(CountLogic(), report)
        self.names: set[str] = set()
        fold = self.on_event
        self.on_event = lambda event, now: self.names.add(event.session_id) or fold(event, now)


class KeepsStates(SessionFold[Counted, Count]):
    """Has not heard that a session can be deleted."""

    def __init__(self, report: Any) -> None:
        super().__init__(CountLogic(), report)

    def _deleted(self, event: SessionEvent, now: float) -> Iterable[Count]:
        return ()


# --- and how they are caught ----------------------------------------------------------------------

PENDING = "On completion and error: what waits is said first.\n\n"
NOTHING_PENDING = "On completion and error: nothing is pending.\n\n"

CAUGHT: dict[str, list[Callable[[], Broken]]] = {
    "speaks": [rxops.ignore_elements],
    "ends_once_after_what_was_pending": [
        lambda: never_ends,
        lambda: goes_on_after_the_end,
        lambda: ends_twice,
        lambda: leaks_a_timer(at_the_end=True),
        lambda: rxops.take_last(1),
    ],
    "stays_over": [lambda: rxops.start_with("hello"), lambda: never_ends],
    "dispose_is_total": [
        lambda: leaks_a_timer(at_the_end=False),
        lambda: stays_subscribed,
        lambda: goes_on_after_dispose,
        remembers_its_subscribers,
    ],
    "needs_no_thread_of_its_own": [
        lambda: rxops.debounce(timedelta(seconds=2.0)),
        lambda: leaks_a_timer(at_the_end=False),
        lambda: stays_subscribed,
    ],
    "may_be_left_on_the_source_s_thread": [lambda: thrice_whoever_listens],
    "may_be_left_on_a_timer_s_thread": [lambda: thrice_whoever_listens],
    "may_be_left_on_a_loop_s_thread": [lambda: thrice_whoever_listens],
    "never_overlaps": [lambda: overlaps, lambda: says_more_an_hour_after_the_end],
    "loses_nothing_between_threads": [loses_every_seventh],
    "takes_feedback_flat": [lambda: rxops.map(lambda event: event)],
    "starts_afresh": [lambda: remembers_what_came, counts_for_ever],
    "runs_have_no_state_in_common": [lambda: ops.per_session(OneState())],
    "a_bad_session_harms_no_other": [dies_of_one_session, blames_another],
    "a_raising_subscriber_harms_no_other": [rxops.share],
    "virtual_time_is_all_it_needs": [reads_the_clock, starts_a_thread],
    "what_is_deleted_is_forgotten": [lambda: lift(Hoards), lambda: lift(KeepsStates)],
}
"""What breaks which rule."""


def test_every_rule_is_shown_to_fail() -> None:
    """A rule that nothing breaks is no rule."""
    assert set(CAUGHT) == set(contract.RULES)


@pytest.mark.parametrize(
    ("rule", "number"), [(rule, number) for rule, each in CAUGHT.items() for number in range(len(each))]
)
def test_the_suite_catches(rule: str, number: int) -> None:
    """Each operator that breaks a rule fails it."""
    with pytest.raises((AssertionError, RecursionError)):
        contract.RULES[rule](CAUGHT[rule][number])


def test_the_suite_catches_a_lock_that_is_held_downstream() -> None:
    """X7: another thread that disposes waits for the subscriber, who waits for it."""
    with pytest.raises(AssertionError, match="lock"):
        contract.on_next_may_do_anything(
            lambda: locks_downstream, contract.on_the_source_s_thread, patience=0.2
        )


@pytest.mark.parametrize("make", [accumulates_into_its_seed, counts_for_all_subscribers])
def test_the_suite_catches_what_subscriptions_share(make: Callable[[], Broken]) -> None:
    """X12: an accumulator that all subscriptions add to; a run that late subscribers join."""
    shared = make()
    with pytest.raises(AssertionError):
        contract.subscriptions_share_nothing(lambda: shared)


@pytest.mark.parametrize(
    ("make",                                       "docstring"),
    [
        (lambda: ops.per_session(CountLogic()),    NOTHING_PENDING),
        (lambda: ops.per_session(LosesTheLast()),  PENDING),
        (lambda: rxops.map(lambda event: event),   PENDING),
        (lambda: ops.per_session(CountLogic()),    "It says nothing of its end.\n\n"),
    ],
)  # fmt: skip
def test_the_suite_catches_a_docstring_that_lies(make: Callable[[], Any], docstring: str) -> None:
    """T4: what waits comes out although the docstring says that nothing does, or the other way round."""
    with pytest.raises(AssertionError):
        contract.keeps_its_word_at_the_end(make, docstring)


def test_the_suite_catches_a_loss() -> None:
    """X5: a logic that forgets what it has counted when its session ends."""
    with pytest.raises(AssertionError):
        contract.counts_every_event(lambda: ops.per_session(LosesTheLast()))


def test_the_suite_catches_a_recording_that_ends_unequally() -> None:
    """T4: what comes with completion must come with an error."""
    with pytest.raises(AssertionError):
        contract.plays_a_recording(lambda: rxops.take_last(1), [*script()])
