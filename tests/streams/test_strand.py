"""One thing at a time, in order, and nobody waits."""

import threading

import pytest

from streams.strand import Strand

TIMEOUT = 10.0


def test_a_call_on_a_free_strand_runs_at_once() -> None:
    """Its caller finds it done."""
    strand, seen = Strand(), []
    strand.run(seen.append, 1)
    strand.run(seen.append, 2)

    assert seen == [1, 2]


def test_a_call_made_inside_a_call_follows_it() -> None:
    """X6: first in, first out, and nothing nests."""
    strand, seen = Strand(), []

    def outer(name: str) -> None:
        strand.run(inner, f"{name}1")
        strand.run(inner, f"{name}2")
        seen.append(name)

    def inner(name: str) -> None:
        if len(name) == 2:
            strand.run(inner, f"{name}+")
        seen.append(name)

    strand.run(outer, "a")

    assert seen == ["a", "a1", "a2", "a1+", "a2+"]


def test_a_hundred_thousand_nested_calls_do_not_grow_the_stack() -> None:
    """X6: a Subject gives up at a depth of 198."""
    strand, seen = Strand(), []

    def step(number: int) -> None:
        seen.append(number)
        if number < 100_000:
            strand.run(step, number + 1)

    strand.run(step, 1)

    assert seen == list(range(1, 100_001))


def test_a_caller_that_finds_it_taken_leaves_its_call_and_goes_on() -> None:
    """X7: nobody waits for a slow call; who is busy with it runs what came meanwhile."""
    strand, seen = Strand(), []
    inside, go_on = threading.Event(), threading.Event()

    def slow(_: object) -> None:
        inside.set()
        assert go_on.wait(TIMEOUT)
        seen.append(("slow", threading.current_thread()))

    busy = threading.Thread(target=strand.run, args=(slow, None))
    busy.start()
    assert inside.wait(TIMEOUT)
    strand.run(lambda name: seen.append((name, threading.current_thread())), "left")
    assert seen == []
    go_on.set()
    busy.join(TIMEOUT)

    assert seen == [("slow", busy), ("left", busy)]


def test_calls_of_many_threads_never_overlap_and_none_is_lost() -> None:
    """X4, X5: 8 threads, 40 000 calls: each thread's calls in its order, one at a time."""
    strand, seen, inside = Strand(), [], []
    done = threading.Barrier(9)

    def call(which: tuple[int, int]) -> None:
        inside.append(which)
        assert inside == [which]
        seen.append(which)
        inside.remove(which)

    def bring(thread: int) -> None:
        for number in range(5000):
            strand.run(call, (thread, number))
        done.wait(TIMEOUT)

    threads = [threading.Thread(target=bring, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    done.wait(TIMEOUT)
    for thread in threads:
        thread.join(TIMEOUT)

    assert len(seen) == 40_000
    for thread in range(8):
        assert [number for which, number in seen if which == thread] == list(range(5000))


def test_what_waits_behind_an_interrupted_call_is_run_by_the_next_caller() -> None:
    """Ctrl-C in a callback neither takes the strand for ever nor loses what was brought meanwhile."""
    strand, seen = Strand(), []

    def interrupted(_: object) -> None:
        strand.run(seen.append, "waiting")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        strand.run(interrupted, None)
    assert seen == []
    strand.run(seen.append, "next")

    assert seen == ["waiting", "next"]


def test_nothing_is_kept_of_a_call_that_has_run() -> None:
    """R2: neither the call nor its argument stays referred to."""
    strand = Strand()
    for nested in (False, True):
        strand.run(lambda nest: strand.run(print, "") if nest else None, nested)

    assert not strand._calls
