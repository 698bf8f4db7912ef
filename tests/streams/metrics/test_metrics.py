"""Values become measurements: read back from OpenTelemetry's own SDK."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import reactivex as rx
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Histogram, InMemoryMetricReader, Sum
from reactivex import Subject

import operators as ops
from operators import CompactionOutcome
from streams import ContextLimits, EventHub, metrics, recordings
from streams.events import LimitsChanged, MalformedEvent, MessageUpdated, StreamGap
from streams.faults import Fault
from streams.opencode import ConnectionState
from streams.opencode.intake import Counts
from streams.testing import (
    Timeline,
    assistant,
    busy,
    compacted,
    created,
    deleted,
    idle,
    outputs,
    text,
    tool,
)

LIMITS = ContextLimits({"anthropic/x": 200_000, "acme/kestrel-tight": 32_000})
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "x"}

SHORT = {
    "operation": "gen_ai.operation.name",
    "provider": "gen_ai.provider.name",
    "model": "gen_ai.request.model",
    "token": "gen_ai.token.type",
    "tool": "gen_ai.tool.name",
    "error": "error.type",
    "cause": "sessionstreams.cause",
    "state": "sessionstreams.state",
    "outcome": "sessionstreams.outcome",
    "kind": "sessionstreams.kind",
}
"""The table's names of attributes."""


class Read:
    """A meter, and what was measured with it."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self.meter = self._provider.get_meter("test")

    def metrics(self) -> dict[str, Any]:
        data = self._reader.get_metrics_data()
        scopes = data.resource_metrics[0].scope_metrics if data and data.resource_metrics else []
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Attributes and value (of a histogram its sum) of each point."""
        metric = self.metrics().get(name)
        if metric is None:
            return []
        return [
            (dict(point.attributes), point.sum if isinstance(metric.data, Histogram) else point.value)
            for point in metric.data.data_points
        ]


@pytest.fixture
def read() -> Read:
    return Read()


@pytest.fixture
def export(read: Read) -> Callable[..., Read]:
    """Export these values; the source does not end."""

    def export(*values: object) -> Read:
        source = Subject[object]()
        metrics.export(source, read.meter)
        for value in values:
            source.on_next(value)
        return read

    return export


def answer(message_id: str = "m1", **options: Any) -> tuple[MessageUpdated, MessageUpdated]:
    """An answer as it is begun, and as it is over 2.5 s later."""
    over = assistant("s", message_id, created=10.0, completed=12.5, **options)
    return assistant("s", message_id, created=10.0, finish=""), over


def outcome(state: Any = "succeeded", **options: Any) -> CompactionOutcome:
    [trigger] = outputs(ops.compaction_triggers(LIMITS), [assistant("s", "m", input=190_000)])
    return CompactionOutcome("s", 0.0, state, trigger, 190_000, **options)


def one_of_each() -> list[object]:
    """Values of every kind that is measured, and some of others."""
    line = Timeline()
    derived = line.watch(
        ops.context_usage(LIMITS),
        ops.compaction_triggers(LIMITS),
        ops.task_progress(minimum_runtime=0),
        ops.tool_calls(),
        ops.tool_loops(repeats=2),
        ops.stalls(stale=100),
    )
    line.play(
        (0, created("p")),
        (0, created("c", "p")),
        (1, busy("c")),
        (2, assistant("c", "m1", input=190_000)),
        (3, tool("c", "c1", "bash", "completed", input={"a": 1}, output="b", started=2.0, ended=3.0)),
        (4, tool("c", "c2", "bash", "completed", input={"a": 1}, output="b")),
        (500, idle("c")),
    )
    return [
        *(value for _, value in derived),
        *answer(input=10, output=5, error="APIError"),
        compacted("s"),
        StreamGap(),
        LimitsChanged(),
        MalformedEvent(),
        outcome(after=20_000),
        Fault("here", "s", 0.0, ValueError("no")),
        ConnectionState(counts=Counts(dropped=3, lost=2)),
        "something else",
    ]


def test_the_table_is_what_is_measured(export: Any) -> None:
    """Name, kind, unit and attributes of every instrument, as the module's page has them."""
    rows = [line.split(None, 4) for line in metrics.__doc__.splitlines() if "." in line.split(" ")[0]]
    documented = {
        (name, kind, unit, frozenset(SHORT[each] for each in "".join(attributes).split()))
        for name, kind, unit, _, *attributes in rows
        if name.startswith(("gen_ai.", "sessionstreams."))
    }
    measured = set()
    for metric in export(*one_of_each()).metrics().values():
        kind = "histogram"
        if isinstance(metric.data, Sum):
            kind = "counter" if metric.data.is_monotonic else "updown"
        attributes = frozenset(name for point in metric.data.data_points for name in point.attributes)
        measured.add((metric.name, kind, metric.unit, attributes))
        assert metric.description
    assert len(documented) == 18
    assert measured == documented


def test_tokens_of_an_answer(export: Any) -> None:
    """Cached input is input, reasoning is output: as the conventions have it."""
    read = export(*answer(input=100, cache_read=20, cache_write=3, output=7, reasoning=2))
    assert read.points("gen_ai.client.token.usage") == [
        ({**CHAT, "gen_ai.token.type": "input"}, 123),
        ({**CHAT, "gen_ai.token.type": "output"}, 9),
    ]
    assert read.points("gen_ai.client.operation.duration") == [(CHAT, 2.5)]


def test_an_answer_counts_once(export: Any) -> None:
    """However often its end is told: three times is usual."""
    begun, over = answer(input=100)
    again = msgspec.structs.replace(over, at=99.0)
    assert export(begun, begun, over, over, again).points("gen_ai.client.operation.duration") == [
        (CHAT, 2.5)
    ]


def test_a_copy_is_no_answer(export: Any) -> None:
    """A fork tells the answers of its parent again, each once and over."""
    assert export(answer(input=100)[1]).metrics() == {}


def test_an_answer_that_failed(export: Any) -> None:
    """Its time has the error's name; without tokens there is no usage."""
    read = export(*answer(error="MessageAbortedError", tokens=False))
    assert read.points("gen_ai.client.operation.duration") == [
        ({**CHAT, "error.type": "MessageAbortedError"}, 2.5)
    ]
    assert read.points("gen_ai.client.token.usage") == []


def test_the_names_of_the_conventions(export: Any) -> None:
    """opencode calls some providers otherwise."""
    read = export(*answer(input=1, model="amazon-bedrock/claude"))
    [(attributes, _)] = read.points("gen_ai.client.operation.duration")
    assert attributes["gen_ai.provider.name"] == "aws.bedrock"


def test_tasks_by_state(export: Any, read: Read) -> None:
    """How many are in which state now; an end is counted once."""
    values = outputs(
        ops.task_progress(minimum_runtime=0),
        [
            created("a", "p"),
            created("b", "p"),
            busy("a"),
            busy("b"),
            text("a", "m", "x", "hi"),
            (9, idle("a")),
        ],
        complete=False,
    )
    export(*values, values[-1])
    active = {
        state["sessionstreams.state"]: number for state, number in read.points("sessionstreams.tasks")
    }
    assert active == {"pending": 0, "running": 1}
    assert read.points("sessionstreams.tasks.ended") == [({"sessionstreams.state": "completed"}, 1)]


@pytest.mark.parametrize("end", ["dispose", "complete", "fail"])
def test_no_task_is_active_after_the_end(read: Read, end: str) -> None:
    """Whoever starts anew begins with none; and what comes after a dispose counts no more."""
    values = outputs(ops.task_progress(), [created("a", "p"), busy("a")], complete=False)
    source = Subject[object]()
    running = metrics.export(source, read.meter)
    for value in values:
        source.on_next(value)
    assert sum(number for _, number in read.points("sessionstreams.tasks")) == 1
    if end == "dispose":
        running.dispose()
    elif end == "complete":
        source.on_completed()
    else:
        source.on_error(ValueError("gone"))
    source.on_next(compacted("a"))
    assert sum(number for _, number in read.points("sessionstreams.tasks")) == 0
    assert read.points("sessionstreams.compactions") == []


def test_a_correction_is_no_call(export: Any, read: Read) -> None:
    """A call that was abandoned and ended after all is one call (I4)."""
    running = tool("s", "c", "bash", "running", input={}, started=1.0)
    late = tool("s", "c", "bash", "completed", output="x", started=1.0, ended=3.0)
    calls = outputs(ops.tool_calls(), [running, idle("s"), late])
    assert [call.corrects for call in calls] == [None, "abandoned"]
    export(*calls)
    attributes = {"gen_ai.tool.name": "bash", "sessionstreams.outcome": "abandoned"}
    assert read.points("sessionstreams.tool.calls") == [(attributes, 1)]


def test_what_a_compaction_freed(export: Any, read: Read) -> None:
    """The difference; none while it is not known, none below 0."""
    export(outcome(), outcome("effective", after=20_000), outcome("ineffective", after=195_000))
    assert read.points("sessionstreams.compaction.freed") == [({}, 170_000)]
    assert len(read.points("sessionstreams.compaction.outcomes")) == 3


def test_drops_are_counted_on(export: Any, read: Read) -> None:
    """States tell the sum so far; a connection made anew begins at 0."""
    export(*(ConnectionState(counts=Counts(dropped=number)) for number in (0, 3, 3, 5, 2)))
    assert read.points("sessionstreams.stream.dropped") == [({}, 7)]
    assert read.points("sessionstreams.stream.lost") == []


def test_attributes_stay_few(export: Any, read: Read) -> None:
    """A tool can have any name: past a hundred they are one (R1)."""
    calls = [tool("s", f"c{n}", f"tool{n}", "completed", output="x") for n in range(300)]
    export(*outputs(ops.tool_calls(), calls))
    counted = {
        point["gen_ai.tool.name"]: number for point, number in read.points("sessionstreams.tool.calls")
    }
    assert len(counted) == 101
    assert counted["_OTHER"] == 200


def test_no_session_is_an_attribute(export: Any) -> None:
    """Thousands of sessions are no thousands of time series."""
    for metric in export(*one_of_each()).metrics().values():
        for point in metric.data.data_points:
            assert not {"s", "c", "p", "m1"} & set(point.attributes.values())


def test_a_hub_is_asked_for_what_counts(read: Read) -> None:
    """Deltas, 80 % of all events, do not come by."""
    line = Timeline()
    running = metrics.export(line.hub, read.meter)
    assert line.hub.wants(MessageUpdated)
    assert not line.hub.wants(type(deleted("s")))
    line.play((1, compacted("s")))
    assert read.points("sessionstreams.compactions") == [({}, 1)]
    running.dispose()
    assert not line.hub.wants(MessageUpdated)


def test_a_recording(read: Read, recording_of: Any) -> None:
    """Tokens as the server's own truth has them: of every answer that it told of."""
    recorded = recording_of("compaction")
    hub = EventHub(recordings.replay(recorded.path, speed=None))
    streams = rx.merge(hub, hub.pipe(ops.context_usage(LIMITS)), hub.pipe(ops.tool_calls()))
    metrics.export(streams, read.meter)
    hub.connect()
    answers = [
        each["info"]["tokens"]
        for messages in recorded.truth["messages"].values()
        for each in messages
        if each["info"]["role"] == "assistant"
    ]
    expected = {
        "input": sum(each["input"] + each["cache"]["read"] + each["cache"]["write"] for each in answers),
        "output": sum(each["output"] + each["reasoning"] for each in answers),
    }
    points = read.points("gen_ai.client.token.usage")
    assert {point["gen_ai.token.type"]: number for point, number in points} == expected
    assert read.points("sessionstreams.compactions") == [({}, 2)]
    assert sum(number for _, number in read.points("sessionstreams.tool.calls")) == 12


def test_off_costs_nothing() -> None:
    """Neither the library nor this module imports OpenTelemetry."""
    program = "import sys, streams, operators, streams.metrics\nassert 'opentelemetry' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
