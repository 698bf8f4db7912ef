"""The engine that is Ray: an actor for each partition, and one that supervises them."""

import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any, Final

from streams.checkpoints import CheckpointStore
from streams.cluster.owner import Owner, OwnerStatus
from streams.cluster.placement import by_partition
from streams.cluster.supervision import Placed, Supervision
from streams.partition import NO_OPTIONS, Partition, Sink
from streams.pipeline import Build
from streams.positions import Resumable

__all__ = ["Cluster", "ScaleOut"]

NAMESPACE: Final = "sessionstreams"
ANSWER: Final = 1.0
DRAIN: Final = 30.0
"""Seconds to wait for an owner's answer, and for its last commit."""

LEAST: Final = 0.001
"""Of a core: what needs nothing at all Ray places anywhere, whatever node it was told."""

GONE: Final = 10.0
LOOK: Final = 0.05
"""Seconds to wait until a killed owner is gone, and between two looks."""


def _ray() -> Any:
    try:
        return import_module("ray")
    except ImportError:
        raise ImportError("the cluster needs Ray: pip install 'sessionstreams[cluster]'") from None


class ScaleOut:
    """Partitions of sources, each derived from by one process somewhere in a Ray cluster.

    A partition has the sources whose names hash to it, so the sessions of a server stay together. Its
    owner is a detached actor: it outlives the program that started it, and Ray starts it anew, on
    another node if need be. Whoever claims the partition goes on from its last commit; who was thought
    dead and wakes up is refused.

    What is committed is in the store exactly once. A sink gets it at least once, under the same key.

    Args:
        sources: What to read. ``build``, ``sink`` and these are sent to other processes by Ray
            (cloudpickle), so everything they use must be installed there.
        build: Makes the operators, by name, from the events of a partition.
        store: The address of the store: ``postgresql://…``; a file does for one machine.
        partitions: How many; only those that have a source get a process. It must stay the same.
        sink: Gets each output once it is committed; None leaves them in the store.
        name: Tells deployments in one Ray cluster apart.
        options: What the operators are built with; see ``Partition``, also for what else there is.

    Memory: a process for each partition that has a source, about 100 MB and its sessions' states.
    Time: commits every 100 ms while there is something new.

    Example::

        ray.init(address="auto")
        cluster = ScaleOut(sources, build, "postgresql://…").start()
        for each in cluster.status():
            print(each.name, each.node, each.state, each.lag)
    """

    def __init__(
        self,
        sources: Sequence[Resumable],
        build: Build,
        store: str,
        partitions: int = 256,
        *,
        sink: Sink | None = None,
        name: str = "sessionstreams",
        options: Mapping[str, object] = NO_OPTIONS,
        **others: Any,
    ) -> None:
        if partitions < 1:
            raise ValueError(f"partitions must be at least 1, got {partitions!r}")
        names = [source.name for source in sources]
        if len(set(names)) < len(names):
            raise ValueError(f"sources must have different names, got {sorted(names)}")
        self._name = name
        self._store = store
        self._by_partition = by_partition(sources, partitions)
        self._make = partial(_make, build, sink, {"options": options, **others})

    def start(self) -> "Cluster":
        """Start what does not run yet: owners and their supervisor go on without this process.

        Ray must have been initialised; else it is started on this machine, and ends with this process.

        Raises:
            ImportError: The extra ``cluster`` is not installed.
            ValueError: A cluster of this name runs already.
        """
        ray = _ray()
        if not ray.is_initialized():
            ray.init(namespace=NAMESPACE)
        actor = ray.remote(_Supervisor).options(
            name=f"{self._name}/supervisor", **_DETACHED, max_concurrency=8
        )
        try:
            supervisor = actor.remote(self._name, self._by_partition, self._store, self._make)
        except ValueError:
            raise ValueError(f"a cluster of the name {self._name!r} runs already") from None
        ray.get(supervisor.ready.remote())
        return Cluster(supervisor)


class Cluster:
    """A cluster that runs, from whatever process that is connected to the same Ray.

    Args:
        supervisor: Ray's handle of the supervisor; ``Cluster.named`` finds it.
    """

    def __init__(self, supervisor: Any) -> None:
        self._supervisor = supervisor

    @classmethod
    def named(cls, name: str = "sessionstreams") -> "Cluster":
        """The running cluster of this name.

        Raises:
            ValueError: There is none.
        """
        try:
            return cls(_ray().get_actor(f"{name}/supervisor", namespace=NAMESPACE))
        except ValueError:
            raise ValueError(f"no cluster of the name {name!r} runs here") from None

    def status(self) -> list[Placed]:
        """How each partition is doing, as of less than a few seconds ago."""
        return _ray().get(self._supervisor.placed.remote())

    def drain(self, partition: str) -> bool:
        """Let its owner commit and end, and start no other; see ``move`` to take it up again.

        Returns:
            Whether the owner answered; if not, it was ended as it was.

        Raises:
            ValueError: There is no such partition.
        """
        return _get(self._supervisor.drain.remote(partition))

    def move(self, partition: str, node: str | None = None) -> bool:
        """Let its owner commit and end, and start another.

        Args:
            partition: Its name.
            node: Ray's id of the node that it should be on; None leaves it to Ray.

        Raises:
            ValueError: There is no such partition, or no such node is alive.
        """
        return _get(self._supervisor.move.remote(partition, node))

    def down(self) -> None:
        """Drain all partitions, and end the supervisor. The store keeps where to go on."""
        ray = _ray()
        ray.get(self._supervisor.end.remote())
        ray.kill(self._supervisor, no_restart=True)


_DETACHED: Final[Mapping[str, Any]] = {
    "namespace": NAMESPACE,
    "lifetime": "detached",
    "max_restarts": -1,
    "num_cpus": LEAST,
    "scheduling_strategy": "SPREAD",
}


class _Supervisor:
    """The actor that supervises."""

    def __init__(
        self, name: str, by_partition: Mapping[str, Sequence[Resumable]], store: str, make: Any
    ) -> None:
        sources = {name: [source.name for source in some] for name, some in by_partition.items()}
        self._supervision = Supervision(_Engine(name, by_partition, store, make), sources, store)
        self._stop = threading.Event()
        self._supervision.look()
        self._supervision.start(self._stop)

    def ready(self) -> None:
        """Answers once all owners were started."""

    def placed(self) -> list[Placed]:
        return self._supervision.placed()

    def drain(self, partition: str) -> bool:
        return self._supervision.drain(partition)

    def move(self, partition: str, node: str | None) -> bool:
        return self._supervision.move(partition, node)

    def end(self) -> None:
        self._stop.set()
        self._supervision.end()


class _Engine:
    """Ray, as what starts owners."""

    def __init__(
        self, name: str, by_partition: Mapping[str, Sequence[Resumable]], store: str, make: Any
    ) -> None:
        self._ray = _ray()
        self._name = name
        self._by_partition = by_partition
        self._store = store
        self._make = make
        self._owners: dict[str, Any] = {}

    def nodes(self) -> Sequence[str]:
        return [node["NodeID"] for node in self._ray.nodes() if node["Alive"]]

    def ensure(self, partition: str, node: str | None = None) -> None:
        if partition in self._owners and node is None:
            return
        options: dict[str, Any] = {**_DETACHED, "name": f"{self._name}/{partition}", "max_concurrency": 4}
        if node is not None:
            strategies = import_module("ray.util.scheduling_strategies")
            options["scheduling_strategy"] = strategies.NodeAffinitySchedulingStrategy(node, soft=True)
        actor = self._ray.remote(_OwnerActor).options(**options, get_if_exists=True)
        sources = self._by_partition[partition]
        self._owners[partition] = actor.remote(partition, sources, self._store, self._make)

    def statuses(self, partitions: Sequence[str]) -> Mapping[str, OwnerStatus]:
        asked = {self._owners[name].status.remote(): name for name in partitions}
        if not asked:
            return {}
        done, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER)
        answered: dict[str, OwnerStatus] = {}
        for reference in done:
            try:
                answered[asked[reference]] = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                if isinstance(error, self._ray.exceptions.ActorDiedError):
                    self._owners.pop(asked[reference], None)
        return answered

    def stop(self, partition: str) -> bool:
        owner = self._owners.pop(partition, None)
        if owner is None:
            return False
        try:
            answered = bool(self._ray.get(owner.drain.remote(), timeout=DRAIN))
        except self._ray.exceptions.RayError:
            answered = False
        self._ray.kill(owner, no_restart=True)
        self._wait_until_gone(partition)
        return answered

    def _wait_until_gone(self, partition: str) -> None:
        """Ray kills a moment later; an owner that was begun before would be the dying one."""
        end = time.monotonic() + GONE
        while time.monotonic() < end:
            try:
                self._ray.get_actor(f"{self._name}/{partition}", namespace=NAMESPACE)
            except ValueError:
                return
            time.sleep(LOOK)


class _OwnerActor:
    """The actor that owns a partition."""

    def __init__(self, partition: str, sources: Sequence[Resumable], store: str, make: Any) -> None:
        node = _ray().get_runtime_context().get_node_id()
        self._owner = Owner(partition, sources, store, make, node)

    def status(self) -> OwnerStatus:
        return self._owner.status()

    def drain(self) -> bool:
        return self._owner.drain(DRAIN)


def _make(
    build: Build,
    sink: Sink | None,
    others: Mapping[str, Any],
    name: str,
    sources: Sequence[Resumable],
    store: CheckpointStore,
    owner: str,
) -> Partition:
    return Partition(name, sources, build, store, sink, owner=owner, **others)


def _get(reference: Any) -> Any:
    """The answer; what the other side raised is raised as it was there."""
    ray = _ray()
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
