"""What every store of checkpoints keeps to: one function per rule.

A rule gets a function that opens the same store, empty at first, as another process would.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from math import inf, nan

import pytest

from streams.checkpoints import Checkpoint, CheckpointStore, Fenced, Output

Open = Callable[[], CheckpointStore]

A = Checkpoint(at=1.5, positions={"file": 7}, snapshots={"Fold": b"\x01"}, sequences={"op": {"s": 1}})
B = Checkpoint(at=2.5, positions={"file": 9}, ended=True)


def output(sequence: int, session_id: str = "s", value: bytes = b"{}") -> Output:
    return Output(session_id, "op", sequence, value)


def what_was_committed_is_found_again(open_: Open) -> None:
    """Opened anew, a store goes on where the last commit was, under the next epoch."""
    with closing(open_()) as store:
        assert store.claim("p") == (1, Checkpoint())
        store.commit("p", 1, A, [output(1)])
        store.commit("p", 1, B, [output(2)])
    with closing(open_()) as again:
        assert again.claim("p") == (2, B)
        assert again.outputs("p") == again.undelivered("p") == [output(1), output(2)]
        assert again.outputs("q") == again.undelivered("q") == []


def who_was_frozen_is_refused(open_: Open) -> None:
    """An owner that wakes up after another has claimed the partition commits nothing (engine 4)."""
    with closing(open_()) as frozen, closing(open_()) as other:
        epoch, _ = frozen.claim("p", "one")
        frozen.commit("p", epoch, A, [output(1)])
        assert other.claim("p", "two") == (epoch + 1, A)
        for _ in range(2):
            with pytest.raises(Fenced) as refused:
                frozen.commit("p", epoch, B, [output(2)])
        assert str(refused.value) == (
            "the partition p is owned by two since epoch 2: what was derived in epoch 1 is not committed"
        )
        assert other.outputs("p") == [output(1)]
        other.commit("p", epoch + 1, B, [output(2)])
        assert other.outputs("p") == [output(1), output(2)]
        assert [(each.commits, each.refused) for each in other.partitions()] == [(2, 2)]


def who_claims_again_is_refused_under_the_old_epoch(open_: Open) -> None:
    """The fence is the epoch, whoever it is."""
    with closing(open_()) as store:
        store.claim("p")
        store.claim("p")
        with pytest.raises(Fenced, match="owned by another process since epoch 2"):
            store.commit("p", 1, A)
        store.commit("p", 2, A)


def what_was_never_claimed_is_refused(open_: Open) -> None:
    """A commit makes no partition: the store may have been replaced by an empty one."""
    with closing(open_()) as store:
        with pytest.raises(Fenced, match="the partition p was never claimed in "):
            store.commit("p", 1, A)
        assert store.partitions() == []


def a_commit_is_all_or_nothing(open_: Open) -> None:
    """An output said twice, or one that cannot be made, refuses the checkpoint too."""

    def failing() -> Iterator[Output]:
        yield output(2)
        raise ArithmeticError

    with closing(open_()) as store:
        store.claim("p")
        store.commit("p", 1, A, [output(1)])
        with pytest.raises(ValueError, match="has one of these outputs already"):
            store.commit("p", 1, B, [output(2), output(1)])
        with pytest.raises(ArithmeticError):
            store.commit("p", 1, B, failing())
        assert store.outputs("p") == [output(1)]
        assert store.claim("p") == (2, A)
        store.commit("p", 2, B, [output(2)])
        assert store.outputs("p") == [output(1), output(2)]


def outputs_come_in_the_order_of_emission(open_: Open) -> None:
    """Not in that of their keys, nor in that in which others were delivered."""
    said = [output(1, "z"), output(1, "b"), output(2, "z"), output(1, "a"), output(2, "b")]
    with closing(open_()) as store:
        store.claim("p")
        store.claim("q")
        store.commit("p", 1, A, said[:2])
        store.commit("q", 1, A, [output(1, "q")])
        store.commit("p", 1, A, said[2:])
        assert store.outputs("p") == store.undelivered("p") == said
        store.delivered("p", [said[1], said[3]])
        assert store.undelivered("p") == [said[0], said[2], said[4]]
        assert store.outputs("p") == said


def what_no_sink_confirmed_comes_again(open_: Open) -> None:
    """At least once: a kill before the sink's answer gives it the same outputs, under the same keys."""
    with closing(open_()) as store:
        store.claim("p")
        store.commit("p", 1, A, [output(1), output(2)])
        store.delivered("p", store.undelivered("p")[:1])
    with closing(open_()) as again:
        assert again.undelivered("p") == [output(2)]
        again.delivered("p", [output(2), output(2), output(3)])
        assert again.undelivered("p") == []
        assert again.outputs("p") == [output(1), output(2)]


def partitions_are_told(open_: Open) -> None:
    """Who owns what, since which epoch, how far it is, and how often it committed."""
    with closing(open_()) as store:
        assert store.partitions() == []
        store.claim("q")
        store.claim("p", "one")
        store.claim("p", "two")
        store.commit("p", 2, A, [output(1), output(2)])
        first = store.partitions()
        store.commit("p", 2, B)
        last = store.partitions()
    p, q = first
    assert (p.name, p.owner, p.epoch, p.at) == ("p", "two", 2, 1.5)
    assert (p.commits, p.refused, p.emitted) == (1, 0, 2)
    assert (q.name, q.owner, q.epoch, q.at, q.committed_at, q.commits) == ("q", "", 1, 0.0, None, 0)
    assert (last[0].at, last[0].commits, last[0].emitted) == (2.5, 2, 2)
    assert p.committed_at is not None
    assert last[0].committed_at is not None
    assert p.committed_at <= last[0].committed_at


def any_text_is_a_name(open_: Open) -> None:
    """Names and keys come from outside."""
    texts = ["", "p'; --", "a\0b", "a\\0b", "ü\n\U0001f600", "%s ?", "x" * 5000]
    with closing(open_()) as store:
        for text in texts:
            store.claim(text, text)
            store.commit(text, 1, A, [Output(text, text, 1, b"\0")])
        for text in texts:
            assert store.outputs(text) == store.undelivered(text) == [Output(text, text, 1, b"\0")]
            store.delivered(text, store.outputs(text))
            assert store.undelivered(text) == []
        assert {(each.name, each.owner) for each in store.partitions()} == {(x, x) for x in texts}


def any_bytes_are_a_value(open_: Open) -> None:
    """Empty ones, all bytes, and a megabyte."""
    values = [b"", bytes(range(256)), b"\xff" * 1_000_000]
    large = Checkpoint(snapshots={"Fold": bytes(range(256)) * 4000})
    with closing(open_()) as store:
        store.claim("p")
        store.commit("p", 1, large, [output(n, "s", value) for n, value in enumerate(values)])
        assert [each.value for each in store.outputs("p")] == values
        assert store.claim("p")[1] == large


def any_number_is_a_time(open_: Open) -> None:
    """What is written can be read again, however databases keep numbers; what is none is not written."""
    with closing(open_()) as store:
        store.claim("p")
        for at in (0, -0.0, 1 / 3, 1e300, -1.5, 7, inf):
            store.commit("p", 1, Checkpoint(at=at))
            assert store.partitions()[0].at == at
        with pytest.raises(ValueError, match="the checkpoint of the partition p is at no time: nan"):
            store.commit("p", 1, Checkpoint(at=nan))
        assert store.claim("p") == (2, Checkpoint(at=inf))


def many_threads_may_use_it(open_: Open) -> None:
    """Each its own partition, and all of them one."""
    barrier = threading.Barrier(6)

    def work(store: CheckpointStore, name: str) -> None:
        barrier.wait(20)
        epoch, _ = store.claim(name)
        for n in range(15):
            store.commit(name, epoch, A, [output(n)])
            store.delivered(name, store.undelivered(name)[:1])
            store.commit("all", 1, A, [output(n, name)])
            store.partitions()

    with closing(open_()) as store, ThreadPoolExecutor(6) as pool:
        store.claim("all")
        names = [f"p{n}" for n in range(6)]
        for each in [pool.submit(work, store, name) for name in names]:
            each.result(60)
        for name in names:
            assert store.outputs(name) == [output(n) for n in range(15)]
            mine = [each.sequence for each in store.outputs("all") if each.session_id == name]
            assert mine == list(range(15))
        assert len(store.outputs("all")) == 90


def many_processes_may_fight_for_it(open_: Open) -> None:
    """Whoever has lost the partition commits nothing: each output once, each commit or refusal counted."""
    tries = count()

    def work(owner: str) -> int:
        refused = 0
        with closing(open_()) as store:
            for _ in range(6):
                epoch, last = store.claim("p", owner)
                for at in range(int(last.at) + 1, int(last.at) + 5):
                    next(tries)
                    try:
                        store.commit("p", epoch, Checkpoint(at=float(at)), [output(at)])
                    except Fenced:
                        refused += 1
                        break
        return refused

    with ThreadPoolExecutor(3) as pool:
        refused = sum(pool.map(work, ["one", "two", "three"]))
    with closing(open_()) as store:
        row = store.partitions()[0]
        said = store.outputs("p")
    assert [each.sequence for each in said] == list(range(1, len(said) + 1))
    assert (row.epoch, row.refused, row.commits, row.at) == (18, refused, len(said), float(len(said)))
    assert row.commits + row.refused == next(tries)


def it_is_made_once_by_all_who_open_it_at_once(open_: Open) -> None:
    """Several processes find nothing, and one store is there."""
    barrier = threading.Barrier(6)

    def work(name: str) -> None:
        barrier.wait(20)
        with closing(open_()) as store:
            store.claim(name)
            store.commit(name, 1, A, [output(1)])

    with ThreadPoolExecutor(6) as pool:
        for each in [pool.submit(work, f"p{n}") for n in range(6)]:
            each.result(60)
    with closing(open_()) as store:
        assert [each.commits for each in store.partitions()] == [1] * 6


def closed_is_closed(open_: Open) -> None:
    """Used after that it says so; closing it again is nothing."""
    store = open_()
    store.claim("p")
    store.close()
    store.close()
    with pytest.raises(ValueError, match=r"cannot be used any more|was closed"):
        store.claim("p")
    with pytest.raises(ValueError, match=r"cannot be used any more|was closed"):
        store.outputs("p")


RULES = [
    what_was_committed_is_found_again,
    who_was_frozen_is_refused,
    who_claims_again_is_refused_under_the_old_epoch,
    what_was_never_claimed_is_refused,
    a_commit_is_all_or_nothing,
    outputs_come_in_the_order_of_emission,
    what_no_sink_confirmed_comes_again,
    partitions_are_told,
    any_text_is_a_name,
    any_bytes_are_a_value,
    any_number_is_a_time,
    many_threads_may_use_it,
    many_processes_may_fight_for_it,
    it_is_made_once_by_all_who_open_it_at_once,
    closed_is_closed,
]
