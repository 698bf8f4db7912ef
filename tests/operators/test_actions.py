"""acting: what a logic asks to be done is done, and how it ended comes back as an event."""

import asyncio
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, ClassVar

import msgspec
import pytest
import reactivex as rx
from reactivex import Observable, Subject, abc
from reactivex.disposable import Disposable, SerialDisposable

from operators.actions import ActionEnded, Begin, Release, acting
from operators.per_session import Logic
from streams.events import SessionDeleted, SessionEvent, SessionExpired, SessionIdle, SessionStatus
from streams.hub import EventHub
from streams.schedulers import Replay
from streams.testing import Timeline, busy, deleted, idle

Said = tuple[str, int, bool, str]


class State(msgspec.Struct):
    session_id: str
    number: int = 0


class OnIdle(Logic[State, "Said | Begin[str] | Release"]):
    """Begins an action whenever the session is idle, releases it when it is busy or over."""

    wants: ClassVar[tuple[type[SessionEvent], ...]] = (SessionIdle, SessionStatus, ActionEnded)

    def start(self, session_id: str, now: float) -> State:
        return State(session_id)

    def on_event(
        self, state: State, event: SessionEvent, now: float
    ) -> Iterable["Said | Begin[str] | Release"]:
        if isinstance(event, ActionEnded):
            yield Release(state.session_id)
            yield (state.session_id, event.number, event.answered, event.error)
        elif isinstance(event, SessionIdle):
            state.number += 1
            yield Begin(state.session_id, state.number, now, f"{state.session_id} is idle")
        else:
            yield Release(state.session_id)

    def on_end(self, state: State, now: float) -> Iterable["Said | Begin[str] | Release"]:
        return (Release(state.session_id),)


def heard(answer: Callable[[str], object], *events: SessionEvent, until: float = 9) -> list[Said]:
    line = Timeline()
    seen = line.watch(acting(answer, OnIdle()))
    line.play(*((float(at), event) for at, event in enumerate(events)))
    line.advance_to(until)
    assert line.faults == []
    return [said for _, said in seen]


def future(result: object = None, error: Exception | None = None) -> Future[object]:
    settled: Future[object] = Future()
    _ = settled.set_result(result) if error is None else settled.set_exception(error)
    return settled


def raising(error: Exception) -> Callable[[str], object]:
    def action(about: str) -> object:
        raise error

    return action


def two_at_once(observer: abc.ObserverBase[int], scheduler: object = None) -> Disposable:
    observer.on_next(1)
    observer.on_next(2)
    return Disposable()


class Unsure:
    def __len__(self) -> int:
        raise ValueError("how long is a piece of string")


@pytest.mark.parametrize(
    ("action", "answered", "error"),
    [
        (lambda about: rx.just("summary"), True, ""),
        (lambda about: rx.timer(3), True, ""),
        (lambda about: rx.of(True, False, None), True, ""),
        (lambda about: rx.concat(rx.just(1), rx.throw(ValueError("too late"))), True, ""),
        (lambda about: Observable(two_at_once), True, ""),
        (lambda about: "summary", True, ""),
        (lambda about: 0, True, ""),
        (lambda about: future("summary"), True, ""),
        (lambda about: None, False, ""),
        (lambda about: False, False, ""),
        (lambda about: {}, False, ""),
        (lambda about: rx.empty(), False, ""),
        (lambda about: rx.just(None), False, ""),
        (lambda about: future(None), False, ""),
        (raising(KeyError("x")), False, "KeyError: 'x'"),
        (lambda about: rx.throw(ValueError("no")), False, "ValueError: no"),
        (lambda about: future(error=OSError("gone")), False, "OSError: gone"),
        (lambda about: Unsure(), False, "ValueError: how long is a piece of string"),
        (lambda about: Observable(lambda *_: 1 / 0), False, "ZeroDivisionError: division by zero"),
        (lambda about, missing: None, False, "TypeError: "),
    ],
)
def test_an_action_ends_once(action: Any, answered: bool, error: str) -> None:
    """C16: whatever an action returns or raises, the logic is told of one end."""
    (said,) = heard(action, idle("s"))
    assert said[:3] == ("s", 1, answered)
    assert said[3].startswith(error)
    assert bool(said[3]) == bool(error)


def test_the_action_is_given_what_it_is_about() -> None:
    """The logic says what the action is told."""
    told: list[str] = []
    heard(told.append, idle("s"), idle("t"))
    assert told == ["s is idle", "t is idle"]


def test_a_new_action_takes_an_older_ones_place() -> None:
    """C10: one action per session: the older one is unsubscribed from, and not heard of again."""
    left: list[str] = []

    def action(about: str) -> object:
        return rx.timer(5).pipe(rx.operators.finally_action(lambda: left.append(about)))

    assert heard(action, idle("s"), idle("s"), until=4) == []
    assert left == ["s is idle"]
    assert heard(action, idle("s"), idle("s")) == [("s", 2, True, "")]


def test_a_released_action_is_unsubscribed_from() -> None:
    """X11: and its timer is gone."""
    line = Timeline()
    seen = line.watch(acting(lambda about: rx.timer(5), OnIdle()))
    line.play((0, idle("s")))
    assert line.scheduler.pending == 1
    line.play((1, busy("s")))
    assert line.scheduler.pending == 0
    line.advance_to(9)
    assert seen == []


@pytest.mark.parametrize("gone", [SessionExpired("s"), SessionDeleted("s")])
def test_a_result_brings_no_session_back(gone: SessionEvent) -> None:
    """E5: a result that is on its way when its session goes is dropped, and no state is made for it."""
    source: Subject[SessionEvent] = Subject()
    answers = {"s is idle": Subject[bool](), "t is idle": Subject[bool]()}
    seen: list[Said] = []

    def take(said: Said) -> None:
        """Told of t's result while the strand is taken: the end of s comes next, then its result."""
        seen.append(said)
        source.on_next(gone)
        answers["s is idle"].on_next(True)

    source.pipe(acting(answers.__getitem__, OnIdle(), Replay())).subscribe(take)
    source.on_next(idle("s"))
    source.on_next(idle("t"))
    answers["t is idle"].on_next(True)
    assert seen == [("t", 1, True, "")]


def test_a_result_from_another_thread_waits_for_its_turn() -> None:
    """X4: a result that comes while an event is being handled comes after it."""
    line = Timeline()
    order: list[str] = []
    answer: Subject[bool] = Subject()

    def action(about: str) -> object:
        thread = threading.Thread(target=answer.on_next, args=(True,))
        subscribed = answer.pipe(rx.operators.do_action(lambda _: order.append("answered")))
        line.hub.of(SessionStatus).subscribe(lambda _: (thread.start(), thread.join(timeout=30)))
        return subscribed

    line.hub.pipe(acting(action, OnIdle())).subscribe(lambda said: order.append(str(said[:3])))
    line.play((0, idle("s")), (1, busy("t")))
    assert order == ["answered", "('s', 1, True)"]


def test_a_coroutine_function_needs_a_running_loop() -> None:
    """Without one the action has failed with an error that says what to do; nothing is left unawaited."""

    async def action(about: str) -> str:
        return about

    (said,) = heard(action, idle("s"))
    assert said[3].startswith(
        "RuntimeError: the action is a coroutine function, and no asyncio loop runs"
    )


def test_a_coroutine_function_in_a_running_loop() -> None:
    """Its result is the answer, its exception the error, and it is cancelled when it is released."""
    cancelled: list[str] = []

    async def action(about: str) -> str:
        match about.split()[0]:
            case "fails":
                raise OSError("gone")
            case "hangs":
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    cancelled.append(about)
                    raise
            case _:
                await asyncio.sleep(0)
        return about

    async def main() -> list[Said]:
        hub = EventHub(scheduler=Replay())
        seen: list[Said] = []
        hub.pipe(acting(action, OnIdle())).subscribe(seen.append)
        for session_id in ("works", "fails", "hangs"):
            hub.on_next(idle(session_id))
        for _ in range(5):
            await asyncio.sleep(0)
        hub.on_next(busy("hangs"))
        for _ in range(5):
            await asyncio.sleep(0)
        return seen

    assert sorted(asyncio.run(main())) == [("fails", 1, False, "OSError: gone"), ("works", 1, True, "")]
    assert cancelled == ["hangs is idle"]


def test_a_subscriber_that_leaves_at_once_begins_nothing_more() -> None:
    """A cold source that has everything ready: after take(1) no other action is called."""
    called: list[str] = []

    def action(about: str) -> object:
        called.append(about)
        return True

    clock = Replay()
    seen: list[Said] = []
    source: Observable[SessionEvent] = rx.from_iterable([idle(f"s{n}") for n in range(9)])
    source.pipe(acting(action, OnIdle(), clock), rx.operators.take(1)).subscribe(seen.append)
    clock.advance_by(1)
    assert (called, [said[0] for said in seen]) == (["s0 is idle"], ["s0"])


def test_faults_reach_the_sources_errors() -> None:
    """S12: an exception of the logic is one fault on the hub that the events come from."""

    class Broken(OnIdle):
        def on_event(self, state: State, event: SessionEvent, now: float) -> Any:
            raise ValueError("broken")

    line = Timeline()
    line.watch(acting(lambda about: None, Broken()))
    line.play((3, idle("s")))
    assert [str(fault) for fault in line.faults] == ["Broken [s]: ValueError: broken"]


def test_it_listens_only_to_what_it_wants() -> None:
    """A hub is asked for the logic's types alone: what nobody wants costs nothing."""
    line = Timeline()
    line.watch(acting(lambda about: None, OnIdle()))
    line.play((0, deleted("s")))
    assert line.hub._route(SessionEvent) == ()
    assert len(line.hub._route(SessionIdle)) == 1


def test_a_release_that_ends_everything_begins_nothing_more() -> None:
    """Whoever is let go may dispose of the whole stream: what was to begin in its place does not."""
    called: list[str] = []
    subscription = SerialDisposable()

    def action(about: str) -> object:
        called.append(about)
        return Observable(lambda observer, scheduler=None: Disposable(subscription.dispose))

    line = Timeline()
    subscription.disposable = line.hub.pipe(acting(action, OnIdle())).subscribe(
        lambda said: None, scheduler=line.scheduler
    )
    line.play((0, idle("s")), (1, idle("s")), (2, idle("s")))
    assert called == ["s is idle"]


def test_a_source_without_a_report_logs_what_raises(log: list[str]) -> None:
    """S12: a plain Observable has no ``errors``; the stream goes on."""

    class BrokenOnce(OnIdle):
        def on_event(self, state: State, event: SessionEvent, now: float) -> Any:
            if isinstance(event, SessionStatus):
                raise TypeError("broken")
            return super().on_event(state, event, now)

    source, seen = Subject[SessionEvent](), list[Said]()
    source.pipe(acting(lambda about: True, BrokenOnce(), Replay())).subscribe(seen.append)
    source.on_next(busy("s"))
    source.on_next(idle("s"))
    assert [said[0] for said in seen] == ["s"]
    assert len(log) == 1
    assert "broken" in log[0]


def test_a_coroutine_without_a_loop_says_what_to_do() -> None:
    """In words that name both ways out."""

    async def never_run(about: str) -> None: ...

    ((_, _, _, what),) = heard(never_run, idle("s"))
    assert what == (
        "RuntimeError: the action is a coroutine function, and no asyncio loop runs in this thread; "
        "return an Observable, or connect the stream inside the loop"
    )
