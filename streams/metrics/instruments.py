"""The instruments, each made when it is first used."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, Histogram, Meter, UpDownCounter

__all__ = ["Attributes", "Instrument", "Instruments"]

Attributes = Mapping[str, str]

VALUES: Final = 100
"""Values of one attribute that are told apart: a model, or a tool, can have any name (R1)."""

OTHER: Final = "_OTHER"


class Instrument(msgspec.Struct, frozen=True):
    """What is measured.

    Attributes:
        name: Its name.
        kind: ``updown`` is a counter that may fall.
        unit: As UCUM writes it.
        description: What it says.
        buckets: Upper bounds of a histogram's buckets; the exporter's own where there are none.
    """

    name: str
    kind: Literal["counter", "histogram", "updown"]
    unit: str
    description: str
    buckets: Sequence[float] = ()


class Instruments:
    """Makes instruments on first use, and keeps the values of their attributes few.

    Args:
        meter: Who makes them.
    """

    def __init__(self, meter: "Meter") -> None:
        self._meter = meter
        self._counters: dict[str, Counter | UpDownCounter] = {}
        self._histograms: dict[str, Histogram] = {}
        self._values: dict[str, set[str]] = {}

    def count(self, instrument: Instrument, attributes: Attributes, number: int = 1) -> None:
        """Add to a counter."""
        counter = self._counters.get(instrument.name)
        if counter is None:
            up = instrument.kind == "counter"
            make = self._meter.create_counter if up else self._meter.create_up_down_counter
            counter = make(instrument.name, instrument.unit, instrument.description)
            self._counters[instrument.name] = counter
        counter.add(number, self._few(attributes))

    def record(self, instrument: Instrument, attributes: Attributes, number: float) -> None:
        """Put a number into a histogram."""
        histogram = self._histograms.get(instrument.name)
        if histogram is None:
            histogram = self._histograms[instrument.name] = self._meter.create_histogram(
                instrument.name,
                instrument.unit,
                instrument.description,
                explicit_bucket_boundaries_advisory=instrument.buckets or None,
            )
        histogram.record(number, self._few(attributes))

    def _few(self, attributes: Attributes) -> dict[str, str]:
        """No session ids, no more than so many values, none that is empty."""
        return {name: self._known(name, value) for name, value in attributes.items() if value}

    def _known(self, name: str, value: str) -> str:
        values = self._values.setdefault(name, set())
        if value not in values and len(values) >= VALUES:
            return OTHER
        values.add(value)
        return value
