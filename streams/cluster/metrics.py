"""A cluster as OpenTelemetry metrics: looked at whenever a reader collects. Needs ``[otel]``.

=================================== ======= ======== ==================================================
instrument                          kind    unit     what
=================================== ======= ======== ==================================================
sessionstreams.partition.lag        gauge   s        seconds behind the wall clock; none before it began
sessionstreams.partition.epoch      gauge   1        how often it was claimed
sessionstreams.partition.running    gauge   1        1 while its owner is at work, else 0
sessionstreams.partition.commits    counter {commit} commits of all owners
sessionstreams.partition.refused    counter {commit} commits refused, since another had claimed it
sessionstreams.partition.values     counter {value}  outputs in the store
=================================== ======= ======== ==================================================

The attribute ``sessionstreams.partition`` is its name. Commits a second are the rate of the counter.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from streams.cluster.supervision import Placed
from streams.faults import Fault, log_fault

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation

__all__ = ["export"]

_Read = Callable[[Placed], float | None]

GAUGES: Final[Sequence[tuple[str, str, str, _Read]]] = (
    ("lag", "s", "By what it is behind the wall clock.", lambda each: each.lag),
    ("epoch", "1", "How often it was claimed.", lambda each: each.epoch or None),
    ("running", "1", "Whether its owner is at work.", lambda each: each.state == "running"),
)
COUNTERS: Final[Sequence[tuple[str, str, str, _Read]]] = (
    ("commits", "{commit}", "Commits of all owners.", lambda each: each.commits),
    ("refused", "{commit}", "Commits refused, since another had claimed it.", lambda each: each.refused),
    ("values", "{value}", "Outputs in the store.", lambda each: each.emitted),
)


def export(status: Callable[[], Sequence[Placed]], meter: "Meter") -> None:
    """Measure each partition whenever the meter's readers collect.

    Args:
        status: How the partitions are doing: ``Cluster.named().status``. While it fails, nothing is
            measured, and a warning is logged.
        meter: Such as ``opentelemetry.metrics.get_meter("sessionstreams")``. An instrument of
            OpenTelemetry cannot be taken away again: it lives as long as the meter.

    Raises:
        ImportError: The extra ``otel`` is not installed.

    Memory: none. Time: a call of ``status`` for each of six instruments and collection.

    Example::

        export(Cluster.named().status, metrics.get_meter("sessionstreams"))
    """
    for instruments, make in (
        (GAUGES, meter.create_observable_gauge),
        (COUNTERS, meter.create_observable_counter),
    ):
        for name, unit, description, read in instruments:
            make(f"sessionstreams.partition.{name}", [_observing(status, read)], unit, description)


def _observing(
    status: Callable[[], Sequence[Placed]], read: _Read
) -> Callable[["CallbackOptions"], Iterable["Observation"]]:
    from opentelemetry.metrics import Observation

    def observe(_: "CallbackOptions") -> Iterable["Observation"]:
        try:
            placed = status()
        except Exception as error:  # whatever Ray raises: the next collection asks again
            log_fault(Fault("cluster metrics", "", time.time(), error))
            return
        for each in placed:
            value = read(each)
            if value is not None:
                yield Observation(value, {"sessionstreams.partition": each.name})

    return observe
