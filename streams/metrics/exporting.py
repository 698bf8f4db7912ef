"""From values to measurements."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from reactivex import Observable, abc

from operators import (
    CompactionOutcome,
    CompactionTrigger,
    ContextUsage,
    StallReport,
    TaskProgress,
    ToolCall,
    ToolLoop,
)
from streams.events import MalformedEvent, MessageUpdated, SessionCompacted, SessionEvent, StreamGap
from streams.faults import Fault
from streams.hub import EventHub
from streams.metrics.answers import Answers, model_attributes
from streams.metrics.connections import Connections
from streams.metrics.instruments import Instrument, Instruments
from streams.metrics.tasks import Tasks
from streams.opencode import ConnectionState

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

__all__ = ["Exporter", "export"]

FILL: Final = Instrument(
    "sessionstreams.context.fill",
    "histogram",
    "1",
    "How full a context window was at each measurement: the fraction of its limit.",
    tuple(tenths / 10 for tenths in range(1, 13)),
)
TRIGGERS: Final = Instrument(
    "sessionstreams.compaction.triggers", "counter", "{trigger}", "Calls for a compaction."
)
COMPACTIONS: Final = Instrument(
    "sessionstreams.compactions", "counter", "{compaction}", "Sessions compacted, whoever asked for it."
)
OUTCOMES: Final = Instrument(
    "sessionstreams.compaction.outcomes", "counter", "{outcome}", "What became of compactions asked for."
)
FREED: Final = Instrument(
    "sessionstreams.compaction.freed",
    "histogram",
    "{token}",
    "Tokens that a compaction asked for made room for.",
    tuple(float(4**power) for power in range(14)),
)
CALLS: Final = Instrument("sessionstreams.tool.calls", "counter", "{call}", "Tool calls settled.")
CALL_TIME: Final = Instrument("sessionstreams.tool.duration", "histogram", "s", "Duration of tool calls.")
LOOPS: Final = Instrument("sessionstreams.tool.loops", "counter", "{loop}", "Loops of tool calls.")
STALLS: Final = Instrument("sessionstreams.stalls", "counter", "{stall}", "Sessions silent at work.")
FAULTS: Final = Instrument("sessionstreams.faults", "counter", "{fault}", "Exceptions contained.")
GAPS: Final = Instrument("sessionstreams.stream.gaps", "counter", "{gap}", "Connections lost.")
MALFORMED: Final = Instrument(
    "sessionstreams.stream.malformed", "counter", "{event}", "Payloads that could not be read."
)


class Exporter(abc.DisposableBase):
    """A running export. Disposing it ends it, and tasks still active no longer count as such."""

    def __init__(self, observable: Observable[Any], meter: "Meter") -> None:
        self._instruments = Instruments(meter)
        self._tasks = Tasks(self._instruments)
        self._calls: dict[type, Callable[[Any], None]] = {
            MessageUpdated: Answers(self._instruments).take,
            SessionCompacted: self._compacted,
            StreamGap: self._gap,
            MalformedEvent: self._malformed,
            ContextUsage: self._usage,
            CompactionTrigger: self._trigger,
            CompactionOutcome: self._outcome,
            TaskProgress: self._tasks.take,
            ToolCall: self._tool_call,
            ToolLoop: self._loop,
            StallReport: self._stall,
            Fault: self._fault,
            ConnectionState: Connections(self._instruments).take,
        }
        values: Observable[Any] = observable
        if isinstance(observable, EventHub):  # which then hands over no event that nobody counts
            values = observable.of(*(each for each in self._calls if issubclass(each, SessionEvent)))
        self._source = values.subscribe(self._take, self._failed, self._end)

    def dispose(self) -> None:
        self._source.dispose()
        self._end()

    def _take(self, value: object) -> None:
        call = self._calls.get(type(value))
        if call is not None:
            call(value)

    def _failed(self, error: Exception) -> None:
        """Whoever runs the stream hears of it; for the metrics it is over."""
        self._end()

    def _end(self) -> None:
        self._tasks.close()

    # --- one value each ---------------------------------------------------------------------------

    def _usage(self, usage: ContextUsage) -> None:
        if usage.ratio is not None and usage.reason == "sample":
            model = model_attributes(usage.provider_id, usage.model_id)
            self._instruments.record(FILL, model, usage.ratio)

    def _trigger(self, trigger: CompactionTrigger) -> None:
        model = model_attributes(trigger.provider_id, trigger.model_id)
        self._instruments.count(TRIGGERS, model | {"sessionstreams.cause": trigger.cause})

    def _outcome(self, outcome: CompactionOutcome) -> None:
        self._instruments.count(OUTCOMES, {"sessionstreams.state": outcome.state})
        if outcome.after is not None:
            self._instruments.record(FREED, {}, max(0, outcome.before - outcome.after))

    def _tool_call(self, call: ToolCall) -> None:
        if call.corrects is not None:  # counted before
            return
        attributes = {"gen_ai.tool.name": call.tool, "sessionstreams.outcome": call.outcome}
        self._instruments.count(CALLS, attributes)
        if call.duration is not None:
            self._instruments.record(CALL_TIME, attributes, call.duration)

    def _loop(self, loop: ToolLoop) -> None:
        self._instruments.count(LOOPS, {"sessionstreams.kind": loop.kind})

    def _stall(self, stall: StallReport) -> None:
        self._instruments.count(STALLS, {"sessionstreams.kind": stall.kind})

    def _fault(self, fault: Fault) -> None:
        self._instruments.count(FAULTS, {"error.type": type(fault.error).__name__})

    def _compacted(self, event: SessionCompacted) -> None:
        self._instruments.count(COMPACTIONS, {})

    def _gap(self, event: StreamGap) -> None:
        self._instruments.count(GAPS, {})

    def _malformed(self, event: MalformedEvent) -> None:
        self._instruments.count(MALFORMED, {})


def export(observable: Observable[Any], meter: "Meter") -> abc.DisposableBase:
    """Measure whatever passes; ``streams.metrics`` has the table of what becomes of what.

    An exporter is one more subscriber: it changes nothing, and where there is none it costs nothing,
    not even an import. Instruments are made when they are first used.

    Args:
        observable: Events, values of operators, a hub's ``errors``, a live source's ``state``, or
            several of them merged. Give each stream once, or it counts twice.
        meter: Who makes the instruments: ``opentelemetry.metrics.get_meter("sessionstreams")``.

    Returns:
        What to dispose when metrics are no longer wanted.

    Memory: the ids of answers being written, at most 4096; the states of tasks that have not ended; at
        most 100 values of each attribute.
    Time: none.
    On completion and error: tasks that have not ended are counted as active no more.

    Example:
        >>> import operators as ops, reactivex as rx, streams
        >>> from opentelemetry.sdk.metrics import MeterProvider
        >>> from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        >>> from streams import metrics
        >>> reader = InMemoryMetricReader()
        >>> meter = MeterProvider([reader]).get_meter("sessionstreams")
        >>> replay = streams.recordings.replay("tests/recordings/basic.jsonl.gz", speed=None)
        >>> hub = streams.EventHub(replay)
        >>> running = metrics.export(rx.merge(hub, hub.pipe(ops.tool_calls()), hub.errors), meter)
        >>> _ = hub.connect()
        >>> [scope] = reader.get_metrics_data().resource_metrics[0].scope_metrics
        >>> [metric.name for metric in scope.metrics]
        ['gen_ai.client.token.usage', 'gen_ai.client.operation.duration']
    """
    return Exporter(observable, meter)
