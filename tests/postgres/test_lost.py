"""Connections that are lost, servers that are killed, owners that freeze: nothing lost, nothing doubled."""

import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest
from postgres_server import PostgresServer

from streams.checkpoints import Checkpoint, Fenced, Output, open_store, postgresql
from streams.checkpoints.postgresql import PostgresqlCheckpoints
from streams.checkpoints.tables import Statements

A = Checkpoint(at=1.5)


def output(sequence: int) -> Output:
    return Output("s", "op", sequence, b"{}")


@pytest.fixture
def at_commit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lose the connection at the next COMMIT: ``lose(before)`` before it, or after it was done."""
    real = psycopg.Connection.execute

    def lose(*, before: bool, then: Callable[[], None] = lambda: None) -> None:
        left = [1]

        def execute(self: Any, query: Any, *arguments: Any, **named: Any) -> Any:
            if query != "COMMIT" or not left[0]:
                return real(self, query, *arguments, **named)
            left[0] -= 1
            if not before:
                real(self, query, *arguments, **named)
            self.close()
            then()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

        monkeypatch.setattr(psycopg.Connection, "execute", execute)

    return lose


@pytest.mark.parametrize("before", [True, False])
def test_a_commit_whose_answer_was_lost_is_done_once(before: bool, at_commit: Any, url: str) -> None:
    """Whether the server had done it is seen in the partition's row."""
    with closing(open_store(url)) as store:
        store.claim("p")
        store.commit("p", 1, A, [output(1)])
        at_commit(before=before)
        store.commit("p", 1, Checkpoint(at=2.0), [output(2)])
        store.commit("p", 1, Checkpoint(at=3.0), [output(3)])
        assert store.outputs("p") == [output(1), output(2), output(3)]
        assert [(each.commits, each.at, each.emitted) for each in store.partitions()] == [(3, 3.0, 3)]
        assert store.claim("p") == (2, Checkpoint(at=3.0))


def test_a_claim_whose_answer_was_lost_holds(at_commit: Any, url: str) -> None:
    """Under the epoch that was answered."""
    with closing(open_store(url)) as store:
        at_commit(before=False)
        epoch, _ = store.claim("p")
        store.commit("p", epoch, A, [output(1)])
        assert [(each.epoch, each.commits) for each in store.partitions()] == [(epoch, 1)]


@pytest.mark.parametrize("before", [True, False])
def test_who_lost_the_partition_with_the_connection_is_refused(
    before: bool, at_commit: Any, url: str
) -> None:
    """What the server had done before that stays done: the next owner goes on from there."""
    with closing(open_store(url)) as store, closing(open_store(url)) as other:
        store.claim("p")
        claimed: list[Any] = []
        at_commit(before=before, then=lambda: claimed.append(other.claim("p", "two")))
        with pytest.raises(Fenced, match="is owned by two since epoch 2"):
            store.commit("p", 1, A, [output(1)])
        done = not before
        assert claimed == [(2, A if done else Checkpoint())]
        assert other.outputs("p") == [output(1)] * done


def test_a_connection_that_the_server_ends_is_made_again(url: str, sql: Any) -> None:
    """Between two calls, without a word to the caller."""
    with closing(open_store(url)) as store:
        store.claim("p")
        for n in range(3):
            sql(
                url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sessionstreams'",
            )
            store.commit("p", 1, A, [output(n)])
            sql(
                url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sessionstreams'",
            )
            assert store.outputs("p") == [output(each) for each in range(n + 1)]


def test_a_frozen_owner_does_not_keep_its_partition(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that freezes in the midst of a commit loses the lock; thawed, it is refused (engine 4)."""
    monkeypatch.setattr(postgresql, "SESSION", postgresql.SESSION.replace("10s", "200ms"))
    frozen, thawed = threading.Event(), threading.Event()

    class Freezing(PostgresqlCheckpoints):
        def _now(self, statements: Statements) -> float:
            frozen.set()
            thawed.wait(30)
            return super()._now(statements)

    refused: list[BaseException] = []

    def commit() -> None:
        with closing(Freezing(url)) as store:
            try:
                store.commit("p", 1, A, [output(1)])
            except Fenced as error:
                refused.append(error)

    with closing(open_store(url)) as other:
        other.claim("p", "one")
        thread = threading.Thread(target=commit)
        thread.start()
        assert frozen.wait(30)
        assert other.claim("p", "two") == (2, Checkpoint())
        other.commit("p", 2, A, [output(1)])
        thawed.set()
        thread.join(30)
        assert [str(each).split(":")[0] for each in refused] == [
            "the partition p is owned by two since epoch 2"
        ]
        assert other.outputs("p") == [output(1)]
        assert [(each.commits, each.refused) for each in other.partitions()] == [(1, 1)]


def test_a_lock_that_stays_is_said(url: str) -> None:
    """After a bounded time; when it is gone, the same store goes on."""
    with closing(PostgresqlCheckpoints(url, patience=0.2)) as store, psycopg.connect(url) as other:
        store.claim("p")
        other.execute("SELECT * FROM sessionstreams.partition FOR UPDATE")
        with pytest.raises(
            TimeoutError, match=r"the partition is locked by another process for more than 0.2 s"
        ):
            store.commit("p", 1, A, [output(1)])
        other.rollback()
        store.commit("p", 1, A, [output(1)])
        assert store.outputs("p") == [output(1)]


def test_the_server_is_killed_in_the_midst_of_commits(mortal: PostgresServer) -> None:
    """kill -9 and restart, three times: each output once, in order; nobody is told of it."""
    reached = {n: threading.Event() for n in (20, 60, 100)}
    failed: list[BaseException] = []

    def commit(name: str) -> None:
        try:
            with closing(open_store(mortal.url())) as store:
                epoch, _ = store.claim(name)
                for n in range(1, 151):
                    store.commit(name, epoch, Checkpoint(at=float(n)), [output(2 * n), output(2 * n + 1)])
                    if name == "a" and n in reached:
                        reached[n].set()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=commit, args=[name]) for name in "abc"]
    for thread in threads:
        thread.start()
    for event in reached.values():
        assert event.wait(60)
        mortal.kill()
        mortal.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    with closing(open_store(mortal.url())) as store:
        for row in store.partitions():
            assert (row.epoch, row.commits, row.at, row.refused, row.emitted) == (1, 150, 150.0, 0, 300)
            assert [each.sequence for each in store.outputs(row.name)] == list(range(2, 302))


def test_a_server_that_stays_away_is_said(mortal: PostgresServer) -> None:
    """After a bounded time; when it is back, the same store goes on."""
    with closing(PostgresqlCheckpoints(mortal.url(), patience=0.3)) as store:
        store.claim("p")
        mortal.kill()
        with pytest.raises(
            ConnectionError, match=f"PostgreSQL at 127.0.0.1:{mortal.port}, database postgres cannot"
        ):
            store.commit("p", 1, A, [output(1)])
        mortal.start()
        store.commit("p", 1, A, [output(1)])
        assert store.outputs("p") == [output(1)]
