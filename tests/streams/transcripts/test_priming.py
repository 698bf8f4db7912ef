"""A history is asked for once, whoever wants it and how often."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from reactivex import Observable, Subject, just, never, throw
from reactivex.scheduler.eventloop import AsyncIOScheduler

from streams import TranscriptStore, transcripts
from streams.events import SessionExpired, SessionHistory, StreamConnected, StreamGap
from streams.faults import Fault
from streams.schedulers import Replay
from streams.testing import Timeline, deleted, idle, text, tool, user
from streams.transcripts import Histories, Primed


def answer(*texts: str) -> bytes:
    """What a server says of a session with these texts."""
    return json.dumps(
        [
            {
                "info": {"id": f"m{text}", "sessionID": "s", "role": "user", "time": {"created": 1}},
                "parts": [{"id": f"p{text}", "messageID": f"m{text}", "type": "text", "text": text}],
            }
            for text in texts
        ]
    ).encode()


class Server:
    """Counts what is asked, and answers when told to."""

    def __init__(self, clock: Replay) -> None:
        self.asked: list[float] = []
        self.answers: list[Subject[bytes]] = []
        self.given: bytes | None = None
        self._clock = clock

    def fetch(self, session_id: str) -> Observable[bytes]:
        self.asked.append(self._clock.seconds())
        if self.given is not None:
            return just(self.given)
        self.answers.append(Subject())
        return self.answers[-1]

    def answer(self, number: int, said: bytes) -> None:
        self.answers[number].on_next(said)
        self.answers[number].on_completed()


class Stage:
    """Histories under virtual time, and what came of them."""

    def __init__(self, **options: Any) -> None:
        self.clock = Replay()
        self.server = Server(self.clock)
        self.published: list[SessionHistory] = []
        self.faults: list[Fault] = []
        self.histories = Histories(
            self.published.append, scheduler=self.clock, report=self.faults.append, **options
        )

    def prime(self, session_id: str = "s") -> list[object]:
        """Ask; returns the list that what comes of it is put into."""
        seen: list[object] = []
        self.histories.prime(session_id, self.server.fetch).subscribe(seen.append, seen.append)
        return seen


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_history_is_put_into_the_stream(stage: Stage) -> None:
    """And whoever asked is told."""
    stage.clock.advance_to(7.0)
    seen = stage.prime()
    stage.clock.advance_to(8.0)
    stage.server.answer(0, answer("a", "b"))
    (published,) = stage.published
    assert (published.session_id, published.asked, published.at) == ("s", 7.0, 8.0)
    assert seen == [Primed("s", 7.0, 4)]
    assert stage.clock.pending == 0


def test_one_fetch_for_many_callers(stage: Stage) -> None:
    """T10: 200 tool events in 100 s: one fetch, shared while it runs and used after it."""
    early = [stage.prime() for _ in range(3)]
    stage.server.answer(0, answer("a"))
    for each in range(200):
        stage.clock.advance_to(each / 2)
        assert stage.prime() == [Primed("s", 0.0, 2)]
    assert stage.server.asked == [0.0]
    assert early == [[Primed("s", 0.0, 2)]] * 3
    assert len(stage.published) == 1


def test_the_time_to_live_counts_from_the_fetch(stage: Stage) -> None:
    """T1: one use a minute for 601 s: fetches at 0, 300, 600; using it renews nothing."""
    stage.server.given = answer("a")
    for minute in range(11):
        stage.clock.advance_to(minute * 60.0)
        stage.prime()
    assert stage.server.asked == [0.0, 300.0, 600.0]


def test_a_fetch_that_never_settles_fails_for_all(stage: Stage) -> None:
    """T10: every caller fails at 5 s, one fault; the next call asks again."""
    first, second = stage.prime(), stage.prime()
    stage.clock.advance_to(4.9)
    assert first == second == []
    stage.clock.advance_to(5.0)
    assert [type(each) for each in first + second] == [TimeoutError] * 2
    assert str(first[0]) == "no history of s within 5 s"
    assert [str(fault) for fault in stage.faults] == [
        "prime [s]: TimeoutError: no history of s within 5 s"
    ]
    third = stage.prime()
    stage.server.answer(1, answer("a"))
    assert third == [Primed("s", 5.0, 2)]


def test_an_answer_after_its_time_is_dropped(stage: Stage) -> None:
    """T10: answers r1 and r2, arriving r2, r1: r2 is kept."""
    stage.prime()
    stage.clock.advance_to(5.0)
    stage.prime()
    stage.server.answer(1, answer("r2"))
    stage.server.answer(0, answer("r1"))
    assert [each.events[1].part.text for each in stage.published] == ["r2"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("fetch", "error"),
    [
        (lambda session_id: throw(ConnectionError("refused")), ConnectionError),
        (lambda session_id: just(b"no json"), ValueError),
        (lambda session_id: just(b'[{"info": ' + b"[" * 5_000), ValueError),
        (lambda session_id: just(b'{"name":"NotFoundError"}'), ValueError),
        (lambda session_id: Observable(lambda observer, _: observer.on_completed()), ValueError),
        (lambda session_id: {}[session_id], KeyError),
    ],
)
def test_failures_are_not_kept(stage: Stage, fetch: Callable[[str], Any], error: type) -> None:
    """T10: the caller is told, and the next call asks again."""
    seen: list[object] = []
    for _ in range(2):
        stage.histories.prime("s", fetch).subscribe(seen.append, seen.append)
    assert [isinstance(each, error) for each in seen] == [True, True]
    assert len(stage.faults) == 2
    assert stage.published == []
    assert stage.clock.pending == 0


def test_sessions_have_fetches_of_their_own(stage: Stage) -> None:
    """Each its own answer."""
    stage.server.given = answer("a")
    for _ in range(2):
        stage.prime("a")
        stage.prime("b")
    assert [each.session_id for each in stage.published] == ["a", "b"]


def test_what_may_have_missed_something_is_asked_again(stage: Stage) -> None:
    """After a gap: what was fetched before it, and what was being fetched in it."""
    stage.server.given = answer("a")
    stage.prime("a")
    stage.server.given = None
    stage.prime("b")
    stage.histories.forget()
    stage.server.answer(0, answer("b"))
    stage.server.given = answer("c")
    stage.prime("a")
    stage.prime("b")
    assert len(stage.server.asked) == 4
    stage.histories.forget("a")
    stage.prime("a")
    stage.prime("b")
    assert len(stage.server.asked) == 5


def test_little_is_kept(stage: Stage) -> None:
    """R4: of a session fetched, one small value, for as long as it counts."""
    stage.server.given = answer("a")
    for number in range(100):
        stage.clock.advance_to(number * 10.0)
        stage.prime(f"s{number}")
    assert len(stage.histories._primed) == 30


def test_a_future(stage: Stage) -> None:
    """As of ``executor.submit(get, session_id)``."""
    future, seen = Future[bytes](), list[object]()
    stage.histories.prime("s", lambda session_id: future).subscribe(seen.append)
    future.set_result(answer("a"))
    assert seen == [Primed("s", 0.0, 2)]


def test_the_bytes_themselves(stage: Stage) -> None:
    """As of a file, or a blocking call that is fast."""
    seen: list[object] = []
    stage.histories.prime("s", lambda session_id: answer("a")).subscribe(seen.append)
    assert seen == [Primed("s", 0.0, 2)]


def test_a_coroutine() -> None:
    """On a loop that runs; the caller may await what comes of it."""

    async def get(session_id: str) -> bytes:
        await asyncio.sleep(0)
        return answer(session_id)

    async def main() -> tuple[object, list[SessionHistory]]:
        published: list[SessionHistory] = []
        loop = asyncio.get_running_loop()
        histories = Histories(published.append, scheduler=AsyncIOScheduler(loop))
        return await histories.prime("s", get), published  # type: ignore[misc]

    primed, published = asyncio.run(main())
    assert isinstance(primed, Primed)
    assert [each.session_id for each in published] == ["s"]


@pytest.mark.parametrize("argument", ["ttl", "timeout"])
def test_bad_arguments(argument: str) -> None:
    """They are refused when given."""
    with pytest.raises(ValueError, match=f"{argument} must be seconds above 0"):
        Stage(**{argument: 0})


# --- with a store -------------------------------------------------------------------------------


def test_a_cold_start(tmp_path: Path) -> None:
    """T1: what was before, then what follows; asked for at each call, fetched once, never twice there."""
    line = Timeline()
    store = TranscriptStore(tmp_path).follow(line.hub)
    server = Server(line.scheduler)
    server.given = answer("before")
    for number in range(3):
        line.play((float(number), tool("s", "c", "bash", "running", input={"n": number})))
        store.prime("s", server.fetch)
    line.advance_to(9.0)
    stored: Any = list(transcripts.read(store.path("s")))
    assert [each["message"]["content"] for each in stored[:1]] == ["before"]
    assert len(stored) == 2
    assert server.asked == [0.0]
    store.close()


def test_a_gap_makes_a_history_worth_asking_for_again(tmp_path: Path) -> None:
    """So does the end of the session."""
    line = Timeline()
    store = TranscriptStore(tmp_path).follow(line.hub)
    server = Server(line.scheduler)
    server.given = answer("a")
    for at, event in enumerate(
        [idle("s"), StreamGap(), StreamConnected(), SessionExpired("s"), deleted("s")]
    ):
        line.play((float(at), event))
        store.prime("s", server.fetch)
        store.prime("s", server.fetch)
    assert server.asked == [0.0, 1.0, 2.0, 3.0, 4.0]
    store.close()


def test_a_failure_is_an_item_on_errors(tmp_path: Path) -> None:
    """Of the store."""
    line, faults = Timeline(), list[Fault]()
    store = TranscriptStore(tmp_path).follow(line.hub)
    store.errors.subscribe(faults.append)
    store.prime("s", lambda session_id: never())
    line.advance_to(5.0)
    assert [type(fault.error) for fault in faults] == [TimeoutError]
    store.close()


def test_a_store_that_follows_nothing_cannot_prime(tmp_path: Path) -> None:
    """There is no stream to put a history into."""
    with pytest.raises(ValueError, match=r"call follow\(events\) first"):
        TranscriptStore(tmp_path).prime("s", lambda session_id: b"[]")


def test_a_primed_transcript_is_put_in_order(tmp_path: Path) -> None:
    """What is fetched after something was written comes before it."""
    line = Timeline()
    store = TranscriptStore(tmp_path, format="messages").follow(line.hub)
    line.play((1.0, user("s", "new")), (1.0, text("s", "new", "p", "new")))
    line.advance_to(2.0)
    line.play((3.0, text("s", "new", "p", "newer")))
    store.prime("s", lambda session_id: answer("a", "b"))
    line.advance_to(9.0)
    stored: Any = list(transcripts.read(store.path("s")))
    assert [each["info"]["id"] for each in stored] == ["ma", "mb", "new"]
    store.close()
