"""Whole processes: whatever is pending, they end when main ends; and a forked child is fit to work."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TIMEOUT = 30.0
AT_ONCE = 1.0
"""Seconds (X2): on a quiet machine it is a tenth of that, most of it the interpreter's own end."""

BUSY = """
    import runpy, sys, threading
    import reactivex as rx
    import operators as ops
    from streams import EventHub
    from streams.schedulers import daemon
    from streams.testing import assistant, busy, text

    hub = EventHub()
    helpers = runpy.run_path("tests/support/every_operator.py")
    derived = [hub.pipe(operator) for operator in helpers["every_operator"]().values()]
    subscriptions = [each.subscribe(lambda value: None) for each in derived]
    rx.interval(600, scheduler=daemon()).subscribe(lambda value: None)
    for n in range(100):
        hub.on_batch([busy(f"s{n}"), text(f"t{n}", "m", "p", "x"), assistant(f"u{n}", "m")])
    assert daemon().pending >= 2
"""


@contextmanager
def running(script: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the script from the root of the repository."""
    source = textwrap.dedent(BUSY) + textwrap.dedent(script)
    process = subprocess.Popen(
        [sys.executable, "-c", source],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def seconds_to_end(process: subprocess.Popen[str]) -> float:
    """From when it says ``ready`` to its end."""
    assert process.stdout
    ready = process.stdout.readline()
    began = time.monotonic()
    assert ready == "ready\n", process.communicate()[1]
    process.wait(TIMEOUT)
    return time.monotonic() - began


@pytest.mark.parametrize(
    "how",
    [
        "",
        "for each in subscriptions: each.dispose()",
        "hub.on_completed()",
        "hub.errors.subscribe(lambda fault: None); hub.on_error(LookupError('gone'))",
        "threading.Thread(target=hub.on_batch, args=([busy('s')],)).start()",
    ],
    ids=["without dispose", "disposed", "completed", "after an error", "fed by another thread"],
)
def test_a_process_ends_when_main_returns(how: str) -> None:
    """X2: timers of 600 s are pending in every operator: exit 0, at once."""
    with running(f"{how}\nprint('ready', flush=True)") as process:
        assert seconds_to_end(process) < AT_ONCE
        assert process.returncode == 0


def test_a_process_ends_when_main_is_interrupted() -> None:
    """X2: Ctrl-C in a main that waits: the interrupt is the exit, at once."""
    with running("print('ready', flush=True)\nthreading.Event().wait()") as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        errors = process.communicate(timeout=TIMEOUT)[1]
        assert time.monotonic() - began < AT_ONCE
        assert process.returncode == -signal.SIGINT
        assert errors.endswith("KeyboardInterrupt\n")


def test_a_process_ends_when_main_raises() -> None:
    """X2: exit 1 and the traceback, at once."""
    with running("print('ready', flush=True)\nraise LookupError('main')") as process:
        assert seconds_to_end(process) < AT_ONCE
        assert process.returncode == 1


def test_building_pipelines_starts_nothing() -> None:
    """E6: 100 of each operator: no thread and no timer; subscribed, fed and disposed: as before."""
    script = """
        every = lambda: helpers["every_operator"]().values()
        for each in subscriptions: each.dispose()
        threads, timers = threading.active_count(), daemon().pending
        for _ in range(100):
            hub = EventHub()
            for operator in every():
                hub.pipe(operator)
        assert (threading.active_count(), daemon().pending) == (threads, timers)
        for _ in range(1000):
            subscriptions = [hub.pipe(each).subscribe(lambda _: None) for each in every()]
            hub.on_batch([busy("s"), text("s", "m", "p", "x")])
            for each in subscriptions: each.dispose()
        assert (threading.active_count(), daemon().pending) == (threads, timers)
        assert hub._attached == ()
        print("ready", flush=True)
    """
    with running(script) as process:
        seconds_to_end(process)
        assert process.returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_starts_without_timers_and_can_set_its_own() -> None:
    """X2: forked while threads set timers: the child has none of them, no lock is taken, and it works."""
    script = """
        import os
        from streams.events import SessionExpired
        stop = threading.Event()

        def set_and_cancel():
            while not stop.is_set():
                daemon().schedule_relative(600, lambda *_: None).dispose()
                daemon().seconds()

        threads = [threading.Thread(target=set_and_cancel) for _ in range(3)]
        for thread in threads: thread.start()
        for _ in range(20):
            child = os.fork()
            if child == 0:
                assert daemon().pending == 0
                fired, hub = threading.Event(), EventHub()
                note = lambda event: fired.set() if isinstance(event, SessionExpired) else None
                hub.pipe(ops.expire_after(0.001)).subscribe(note)
                hub.on_next(text("t", "m", "p", "x"))
                os._exit(0 if fired.wait(10) else 3)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        stop.set()
        for thread in threads: thread.join()
        assert daemon().pending >= 2
        print("ready", flush=True)
    """
    with running(script) as process:
        seconds_to_end(process)
        assert process.returncode == 0
