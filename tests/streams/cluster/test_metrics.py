"""How partitions are doing becomes measurements: read back from OpenTelemetry's own SDK."""

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Sum

from streams.cluster import Placed, metrics

RUNNING = Placed("0 of 2", state="running", epoch=3, lag=0.75, commits=40, refused=2, emitted=7)
STARTING = Placed("1 of 2")


def read(status: Any) -> dict[tuple[str, str], tuple[float, bool]]:
    """Values by instrument and partition, and whether each only grows."""
    reader = InMemoryMetricReader()
    metrics.export(status, MeterProvider([reader], shutdown_on_exit=False).get_meter("test"))
    found: dict[tuple[str, str], tuple[float, bool]] = {}
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for metric in resource.scope_metrics[0].metrics:
            for point in metric.data.data_points:
                key = metric.name.rpartition(".")[2], point.attributes["sessionstreams.partition"]
                found[key] = point.value, isinstance(metric.data, Sum)
    return found


def test_each_partition_is_measured() -> None:
    """Lag, epoch, commits, refusals; what has not begun has no lag and no epoch."""
    assert read(lambda: [RUNNING, STARTING]) == {
        ("lag", "0 of 2"): (0.75, False),
        ("epoch", "0 of 2"): (3, False),
        ("running", "0 of 2"): (1, False),
        ("running", "1 of 2"): (0, False),
        ("commits", "0 of 2"): (40, True),
        ("commits", "1 of 2"): (0, True),
        ("refused", "0 of 2"): (2, True),
        ("refused", "1 of 2"): (0, True),
        ("values", "0 of 2"): (7, True),
        ("values", "1 of 2"): (0, True),
    }


def test_a_status_that_cannot_be_had_measures_nothing(log: list[str]) -> None:
    """The collection goes on; the fault is told."""

    def status() -> list[Placed]:
        raise RuntimeError("the supervisor is away")

    assert read(status) == {}
    assert any("the supervisor is away" in line for line in log)
