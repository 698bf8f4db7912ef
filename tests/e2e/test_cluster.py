"""A cluster over two opencode servers, one of whose owners is killed amid a turn."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import ray
from opencode_server import OpencodeServer
from scripted_model import Answer, Call, Gate, ScriptedModel
from uninterrupted import Differences, compare, until

from streams import ContextLimits
from streams.checkpointed import build_of
from streams.checkpoints import open_store
from streams.cluster import ScaleOut
from streams.cluster.placement import by_partition
from streams.opencode import ServerLog
from streams.watch.derivations import derivations

GRACE = 2.0


@pytest.fixture
def local_ray() -> Iterator[None]:
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    yield
    ray.shutdown()


def a_turn(model: ScriptedModel, name: str, gate: Gate | None = None) -> str:
    """A prompt whose turn runs two tools and a subagent, whose answer is held at the gate."""
    child = model.plan(f"{name}-child", Answer("The child is done.", gate=gate))
    task = Call("task", {"prompt": f"Do it {child}", "description": "a part", "subagent_type": "general"})
    shell = Call("bash", {"description": "say hello", "command": "echo hello"})
    todos = [{"content": "hello", "status": "completed", "priority": "low", "id": "1"}]
    list_todos = Call("todowrite", {"todos": todos})
    plan = model.plan(name, Answer("I look.", [shell, list_todos]), Answer("", [task]), Answer("Done."))
    return f"Work {plan}"


def test_an_owner_is_killed_amid_a_turn(
    serve: Callable[..., OpencodeServer],
    driver_of: Callable[[OpencodeServer], Any],
    model: ScriptedModel,
    tmp_path: Path,
    local_ray: None,
) -> None:
    """What the cluster has stored is what one process says that reads the servers' logs afterwards."""
    drives = [driver_of(serve()) for _ in range(2)]
    logs = [ServerLog(drive.server.url) for drive in drives]
    partitions = next(number for number in count(64) if len(by_partition(logs, number)) == len(logs))
    store = str(tmp_path / "state.db")
    build = build_of(derivations(ContextLimits({"acme/kestrel-large": 5000}), threshold=0.78))
    cluster = ScaleOut(logs, build, store, partitions, name="real", grace=GRACE).start()
    until(lambda: all(each.state == "running" for each in cluster.status()), "the owners")
    sessions = [drive.new_session() for drive in drives]
    gate = Gate()
    drives[0].prompt(sessions[0], a_turn(model, "held", gate))
    assert gate.reached.wait(60)
    drives[1].turn(sessions[1], a_turn(model, "other"))
    until(lambda: sum(each.emitted for each in cluster.status()), "the first outputs")
    for each in cluster.status():
        os.kill(each.process, signal.SIGKILL)
    gate.open()
    drives[0].fold.wait_for_idle(sessions[0])
    drives[0].turn(sessions[0], a_turn(model, "after"))
    drives[1].turn(sessions[1], a_turn(model, "another"))
    ended = time.time()
    with closing(open_store(store)) as outcome:
        until(lambda: all(row.at > ended for row in outcome.partitions()), "the new owners")
        assert [row.epoch for row in outcome.partitions()] == [2, 2]
        cluster.down()
        of_partition = by_partition(logs, partitions)
        values, differences = compare(outcome, build, of_partition.__getitem__, GRACE)
    assert values > 20
    assert differences == Differences(0, 0, 0)
