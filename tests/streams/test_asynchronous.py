"""Observables in ``async for``."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
import reactivex
from reactivex import Subject

import operators as ops
import streams
from streams import ContextLimits, EventHub
from streams.backlog import Overflowed
from streams.testing import assistant, busy, delta, idle


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(main, 30))


def test_values_of_another_thread() -> None:
    """Values that come on a plain thread are iterated over in order, to the end."""

    async def main() -> list[int]:
        source = Subject[int]()

        def produce() -> None:
            for number in range(5_000):
                source.on_next(number)
            source.on_completed()

        iterating = streams.aiter(source)
        first = asyncio.ensure_future(anext(iterating))
        await asyncio.sleep(0)
        threading.Thread(target=produce, daemon=True).start()
        return [await first] + [number async for number in iterating]

    assert run(main()) == list(range(5_000))


def test_over_any_of_our_observables() -> None:
    """An operator's output, in the loop's own thread."""

    async def main() -> list[int | None]:
        hub = EventHub()
        usages = streams.aiter(hub.pipe(ops.context_usage(ContextLimits({"anthropic/x": 200_000}))))
        first = asyncio.ensure_future(anext(usages))
        await asyncio.sleep(0)
        hub.on_next(assistant("s", "m1", input=1_000, created=1.0))
        hub.on_next(assistant("s", "m2", input=2_000, created=2.0))
        hub.on_completed()
        return [(await first).tokens] + [usage.tokens async for usage in usages]

    assert run(main()) == [1_000, 2_000]


def test_an_error_comes_after_the_values() -> None:
    """The observable's error is raised once all that came before has been iterated over."""

    async def main() -> list[int]:
        seen: list[int] = []
        source = reactivex.concat(reactivex.of(1, 2), reactivex.throw(RuntimeError("mine")))

        async def iterate() -> None:
            async for number in streams.aiter(source):
                seen.append(number)

        with pytest.raises(RuntimeError, match="mine"):
            await iterate()
        return seen

    assert run(main()) == [1, 2]


@pytest.mark.parametrize("leaving", ["break", "aclose", "cancel", "raise"])
def test_leaving_unsubscribes(leaving: str) -> None:
    """However the loop is left, nothing stays subscribed."""

    async def iterate(iterating: AsyncIterator[Any]) -> None:
        async for _ in iterating:
            if leaving == "break":
                break
            if leaving == "raise":
                raise RuntimeError("mine")

    async def main() -> int:
        hub = EventHub()
        iterating = streams.aiter(hub)
        task = asyncio.ensure_future(iterate(iterating))
        await asyncio.sleep(0)
        assert hub.wants(type(busy("s")))
        if leaving == "cancel":
            task.cancel()
        elif leaving != "aclose":
            hub.on_next(busy("s"))
        if leaving == "aclose":
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await iterating.aclose()
        await asyncio.gather(task, return_exceptions=True)
        del task, iterating
        for _ in range(5):  # an exception's frames hold the iterator until they are collected
            gc.collect()
            await asyncio.sleep(0)
        return hub.wants(type(busy("s")))

    assert run(main()) is False


def test_nothing_is_subscribed_before_the_first_step() -> None:
    """An iterator that is never used costs nothing."""

    async def main() -> bool:
        hub = EventHub()
        iterating = streams.aiter(hub)
        wanted = hub.wants(type(busy("s")))
        await iterating.aclose()
        return wanted

    assert run(main()) is False


def test_a_slow_coroutine() -> None:
    """R1, S8: what waits is bounded; deltas are given up, what ends a turn is not."""

    async def main() -> list[Any]:
        hub = EventHub()
        iterating = streams.aiter(hub, capacity=100)
        first = asyncio.ensure_future(anext(iterating))
        await asyncio.sleep(0)
        for number in range(10_000):
            hub.on_next(delta("s", "m", f"p{number}", "x"))
        hub.on_next(idle("s"))
        hub.on_completed()
        return [await first] + [event async for event in iterating]

    seen = run(main())
    assert len(seen) <= 200
    assert seen[-1] == idle("s")


def test_too_slow_for_what_must_not_be_lost() -> None:
    """R1: then it ends with an error that says so."""

    async def main() -> int:
        hub = EventHub()
        iterating = streams.aiter(hub, capacity=10)
        first = asyncio.ensure_future(anext(iterating))
        await asyncio.sleep(0)
        for number in range(50):
            hub.on_next(idle(f"s{number}"))
        seen = [await first]

        async def iterate() -> None:
            async for event in iterating:
                seen.append(event)

        with pytest.raises(Overflowed):
            await iterate()
        return len(seen)

    assert run(main()) == 11


def test_a_loop_that_is_gone() -> None:
    """Values that come after the loop has ended harm nobody."""
    hub = EventHub()

    async def main() -> Any:
        iterating = streams.aiter(hub)
        task = asyncio.ensure_future(anext(iterating))
        await asyncio.sleep(0)
        task.cancel()
        return iterating

    kept = run(main())
    hub.on_next(busy("s"))
    assert kept is not None
