"""How fast timers are set."""

import time

from operators.deadlines import Deadlines
from streams.schedulers import DaemonScheduler, calling

ROUNDS = 5


def schedule_and_cancel(count: int = 50_000) -> float:
    """Timers scheduled and cancelled per second of CPU."""
    action = calling(lambda: None)
    best = float("inf")
    for _ in range(ROUNDS):
        scheduler = DaemonScheduler()
        before = time.process_time()
        for _ in range(count):
            scheduler.schedule_relative(600.0, action).dispose()
        best = min(best, time.process_time() - before)
    return count / best


def re_arm(count: int = 200_000) -> float:
    """Deadlines moved later per second of CPU: what every event of a session does."""
    keys = [f"ses_{number}" for number in range(1000)]
    best = float("inf")
    for _ in range(ROUNDS):
        deadlines = Deadlines()
        set_deadline = deadlines.set
        for key in keys:
            set_deadline(key, 1.0)
        before = time.process_time()
        for later in range(count // len(keys)):
            at = 2.0 + later
            for key in keys:
                set_deadline(key, at)
        best = min(best, time.process_time() - before)
    return count / best
