"""Partitions: several sources, one clock, one commit; killed at any moment, nothing lost or doubled."""

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from reactivex import Observable
from scripted_log import ScriptedLog, World, at

import operators as ops
from streams.checkpoints import Checkpoint, Checkpoints, Fenced, Output
from streams.hub import EventHub
from streams.logs import DirectoryLog, RecordingLog
from streams.partition import Partition
from streams.pipeline import OtherPipeline
from streams.positions import Resumable
from streams.testing import assistant, busy, idle, text

Make = Callable[[Checkpoints], Partition]


class Killed(BaseException):
    """What no code of ours catches: the next run finds what was committed."""


def dying(build: Any, after: int) -> Any:
    """Killed by its nth event."""
    left = [after]

    def count(_: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    def mortal(hub: EventHub) -> Any:
        hub.subscribe(count)
        return build(hub)

    return mortal


class DyingStore(Checkpoints):
    """Kills its user before, within, or after a commit."""

    commits_left = 10**9
    when = "before"

    def commit(self, *arguments: Any, **named: Any) -> None:
        self.commits_left -= 1
        if self.commits_left < 0 and self.when == "before":
            raise Killed
        super().commit(*arguments, **named)
        if self.commits_left < 0:
            raise Killed


class Sink:
    """Keeps what it got; refuses now and then."""

    def __init__(self, refuses: Callable[[], bool] = lambda: False) -> None:
        self.got: list[Output] = []
        self.refuses = refuses

    def __call__(self, output: Output) -> None:
        if self.refuses():
            raise OSError("the sink is away")
        self.got.append(output)


def build_of(table: Mapping[str, Any]) -> Callable[[EventHub], dict[str, Observable[Any]]]:
    return lambda hub: {name: hub.pipe(operator) for name, operator in table.items()}


@pytest.fixture
def build(every_operator: Callable[[], dict[str, Any]]) -> Any:
    return build_of(every_operator())


def outputs_of(path: Path, partition: str = "p") -> list[Output]:
    with closing(Checkpoints(path)) as store:
        return store.outputs(partition)


def by_key(outputs: Sequence[Output]) -> dict[tuple[str, str, int], bytes]:
    """What each key has; a key that is there twice is a failure."""
    found = {(each.session_id, each.operator, each.sequence): each.value for each in outputs}
    assert len(found) == len(outputs)
    return found


def run(
    path: Path, sources: Sequence[Resumable], build: Any, sink: Any = None, **options: Any
) -> Partition:
    """One run to the end of the sources."""
    with closing(Checkpoints(path)) as store:
        partition = Partition("p", sources, build, store, sink, **options)
        partition.run(threading.Event())
    return partition


@pytest.fixture
def sources(recording_of: Any, tmp_path: Path) -> list[Resumable]:
    """A recording beside a directory of two."""
    directory = tmp_path / "directory"
    directory.mkdir()
    for name in ("subagents", "todos"):
        path = recording_of(name).path
        (directory / path.name).write_bytes(path.read_bytes())
    return [RecordingLog(recording_of("compaction").path), DirectoryLog(directory, follow=False)]


def test_killed_at_any_moment(
    sources: list[Resumable], build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every operator, killed again and again: between two events, before, within and after commits."""
    monkeypatch.setattr("streams.logs.CHUNK", 16)
    run(tmp_path / "whole.db", sources, build)
    whole = outputs_of(tmp_path / "whole.db")
    assert len(whole) > 1000
    chosen, sink, killed = random.Random(7), Sink(), 0
    while True:
        with closing(DyingStore(tmp_path / "state.db")) as store:
            store.when = chosen.choice(("before", "after"))
            store.commits_left = chosen.randrange(8)
            mortal = dying(build, after=chosen.randrange(10, 300))
            try:
                Partition("p", sources, mortal, store, sink, every=0.0).run(threading.Event())
                break
            except Killed:
                killed += 1
    assert killed > 10
    assert by_key(outputs_of(tmp_path / "state.db")) == by_key(whole)
    assert {(each.session_id, each.operator, each.sequence) for each in sink.got} == set(by_key(whole))


def test_outputs_are_those_of_the_operators_alone(recording_of: Any, build: Any, tmp_path: Path) -> None:
    """Checkpoints change nothing that is derived, and say it in the same order per session."""
    source = recording_of("basic").path
    run(tmp_path / "state.db", [RecordingLog(source)], build, every=0.0)
    run(tmp_path / "rare.db", [RecordingLog(source)], build, every=1e9)
    assert outputs_of(tmp_path / "state.db") == outputs_of(tmp_path / "rare.db") != []


def test_what_ended_stays_ended(recording_of: Any, build: Any, tmp_path: Path) -> None:
    """A second run says nothing anew; what no sink has confirmed is delivered even so."""
    source = RecordingLog(recording_of("basic").path)
    run(tmp_path / "state.db", [source], build)
    whole, sink = outputs_of(tmp_path / "state.db"), Sink()
    again = run(tmp_path / "state.db", [source], build, sink)
    assert outputs_of(tmp_path / "state.db") == whole == sink.got
    assert again.status.ended
    assert again.status.events == 0


class Live:
    """A partition over live sources, on a wall clock that goes on while it reads, stopped at a time."""

    def __init__(self, path: Path, world: World) -> None:
        self.path = path
        self.world = world
        self.partition: Partition | None = None

    def run(self, until: float, sources: Sequence[Resumable], build: Any, **options: Any) -> Partition:
        stop = threading.Event()

        def wall() -> float:
            if self.world.now >= until:
                stop.set()
            return self.world.now

        with closing(Checkpoints(self.path)) as store:
            partition = Partition("p", sources, build, store, wall=wall, seconds=wall, **options)
            partition.run(stop)
        return partition


def test_timers_of_quiet_sessions_run_once_and_on_time(tmp_path: Path) -> None:
    """Live, stopped and started again in between: a stall is said once, at its own time."""

    def values(path: Path) -> list[tuple[str, int, bytes]]:
        return [(each.operator, each.sequence, each.value) for each in outputs_of(path)]

    def entries(ready: Callable[[float], float]) -> list[Any]:
        told = [(9, busy("s")), (10, text("s", "m", "p", "hi")), (400, text("s", "m", "p", "more"))]
        return [(ready(when), at(when, event)) for when, event in told]

    build = build_of({"stalls": ops.stalls(stale=60), "overview": ops.session_overview()})
    afterwards, later = Live(tmp_path / "later.db", World(2000.0)), World(2000.0)
    afterwards.world = later
    afterwards.run(2002, [ScriptedLog("server", later, entries(lambda when: 0.0))], build)
    whole = values(tmp_path / "later.db")

    world = World()
    live = Live(tmp_path / "live.db", world)
    for until in (5, 40, 100, 300, 450, 1200, 2002):
        live.run(until, [ScriptedLog("server", world, entries(lambda when: when))], build)
    assert values(tmp_path / "live.db") == whole
    said = [msgspec.json.decode(value)["at"] for name, _, value in whole if name == "stalls"]
    assert said[:4] == [70, 130, 250, 460]
    assert len(set(said)) == len(said)


def test_who_was_replaced_can_commit_nothing(recording_of: Any, build: Any, tmp_path: Path) -> None:
    """A frozen owner that wakes up is refused, and its status says so."""
    source = recording_of("basic").path
    with (
        closing(Checkpoints(tmp_path / "state.db")) as mine,
        closing(Checkpoints(tmp_path / "state.db")) as other,
    ):
        readings = iter(range(10**9))

        def seconds() -> float:
            if (reading := next(readings)) == 3:
                other.claim("p")
            return float(reading)

        partition = Partition("p", [RecordingLog(source)], build, mine, every=0.5, seconds=seconds)
        with pytest.raises(Fenced):
            partition.run(threading.Event())
    assert partition.status.refused == 1
    assert not partition.status.ended


def test_an_idle_partition_hears_of_another_owner(build: Any, tmp_path: Path) -> None:
    """With nothing to commit it commits every ten seconds even so."""
    world = World()
    with (
        closing(Checkpoints(tmp_path / "state.db")) as mine,
        closing(Checkpoints(tmp_path / "state.db")) as other,
    ):
        claimed: list[int] = []

        def wall() -> float:
            if world.now > 5 and not claimed:
                claimed.append(other.claim("p")[0])
            return world.now

        partition = Partition("p", [ScriptedLog("s", world, [])], build, mine, wall=wall, seconds=wall)
        with pytest.raises(Fenced):
            partition.run(threading.Event())
    assert claimed == [2]
    assert world.now < 16


def test_commits_that_take_long_come_rarer(tmp_path: Path) -> None:
    """A fifth of the time goes into commits that take 0.4 s each."""
    world = World()

    class Slow(Checkpoints):
        spent = 0.0

        def commit(self, *arguments: Any, **named: Any) -> None:
            super().commit(*arguments, **named)
            world.now += 0.4
            self.spent += 0.4

    entries = [(0.1 * n, at(0.1 * n, text("s", "m", f"p{n}", "hi"))) for n in range(1000)]
    with closing(Slow(tmp_path / "state.db")) as store:
        stop = threading.Event()

        def wall() -> float:
            if world.now > 100:
                stop.set()
            return world.now

        build = build_of({"usage": ops.task_progress()})
        Partition("p", [ScriptedLog("s", world, entries)], build, store, wall=wall, seconds=wall).run(
            stop
        )
        assert 10 <= store.spent <= 24


def test_a_sink_that_is_away_gets_it_later(recording_of: Any, build: Any, tmp_path: Path) -> None:
    """In order, and under the same keys; each refusal is a fault."""
    chosen = random.Random(1)
    sink = Sink(lambda: chosen.random() < 0.01)
    source = RecordingLog(recording_of("basic").path)
    run(tmp_path / "state.db", [source], build, sink, every=0.0)
    while (got := len(sink.got)) < len(outputs_of(tmp_path / "state.db")):
        run(tmp_path / "state.db", [source], build, sink)
        assert len(sink.got) >= got
    assert by_key(sink.got) == by_key(outputs_of(tmp_path / "state.db"))


def test_what_was_built_otherwise_is_refused(recording_of: Any, tmp_path: Path) -> None:
    """The error names each difference, and the store stays as it was."""
    source = RecordingLog(recording_of("basic").path)
    table = {"usage": ops.task_progress(), "todos": ops.todo_progress()}

    with closing(DyingStore(tmp_path / "state.db")) as store:
        store.commits_left, store.when = 0, "after"
        with pytest.raises(Killed):
            Partition("p", [source], build_of(table), store, every=0.0, options={"limit": 5}).run(
                threading.Event()
            )
    other: Iterator[tuple[Any, Any, str]] = iter(
        [
            (table, {"limit": 6}, r"limit was 5, is 6"),
            (table, {}, r"limit was 5, is not given"),
            ({"usage": table["usage"]}, {"limit": 5}, r"it had todos, which is not there now"),
            ({**table, "new": ops.stalls()}, {"limit": 5}, r"new is new"),
            (dict(reversed(table.items())), {"limit": 5}, r"the order was usage, todos"),
        ]
    )
    with closing(Checkpoints(tmp_path / "state.db")) as store:
        before = store.outputs("p"), store.claim("p")[1]
    for changed, options, message in other:
        with pytest.raises(OtherPipeline, match=message):
            run(tmp_path / "state.db", [source], build_of(changed), options=options)
    with closing(Checkpoints(tmp_path / "state.db")) as store:
        assert (store.outputs("p"), store.claim("p")[1]) == before
    run(tmp_path / "state.db", [source], build_of(table), options={"limit": 5})


def test_a_checkpoint_that_does_not_say_how_it_was_made_is_refused(
    recording_of: Any, tmp_path: Path
) -> None:
    """Going on from it would begin anew with old sequences: values would be told twice."""
    with closing(Checkpoints(tmp_path / "state.db")) as store:
        epoch, _ = store.claim("p")
        store.commit("p", epoch, Checkpoint(at=5.0, positions={"x": 3}))
        with pytest.raises(OtherPipeline, match="usage is new"):
            run(tmp_path / "state.db", [], build_of({"usage": ops.task_progress()}))


def test_positions_of_a_source_that_is_not_there_are_kept(tmp_path: Path) -> None:
    """A server that is taken out for a while goes on where it was."""
    world = World()
    logs = {name: [(0.0, at(1.0, idle(f"{name}-s")))] for name in ("one", "two")}
    live = Live(tmp_path / "state.db", world)
    build = build_of({"usage": ops.task_progress()})
    one, two = (ScriptedLog(name, world, entries) for name, entries in logs.items())
    live.run(2, [one, two], build)
    live.run(4, [two], build)
    live.run(6, [one, two], build)
    assert one.opened == [{}, {"one-s": 1}]
    assert two.opened == [{}, {"two-s": 1}, {"two-s": 1}]


def test_a_session_that_is_gone_takes_its_position_with_it(tmp_path: Path) -> None:
    """Positions do not pile up."""
    world = World()

    class Forgetting(ScriptedLog):
        def open(self, positions: Mapping[str, int]) -> Any:
            reader, inner = super().open(positions), self
            read = reader.read
            reader.read = lambda wait: [  # type: ignore[method-assign]
                msgspec.structs.replace(each, after=-1) if inner and each.after == 2 else each
                for each in read(wait)
            ]
            return reader

    log = Forgetting("one", world, [(0, at(1, idle("s"))), (0, at(2, idle("s"))), (0, at(2, idle("t")))])
    Live(tmp_path / "state.db", world).run(5, [log], build_of({"usage": ops.task_progress()}))
    with closing(Checkpoints(tmp_path / "state.db")) as store:
        assert store.claim("p")[1].positions == {"one\tt": 1}


def test_what_is_delivered_twice_is_taken_in_once(
    sources: list[Resumable], build: Any, tmp_path: Path
) -> None:
    """S4: every seventh event again, at once or much later, changes nothing."""

    class Repeating:
        def __init__(self, log: Resumable) -> None:
            self.name = log.name
            self._log = log

        def open(self, positions: Mapping[str, int]) -> Any:
            reader = self._log.open(positions)
            read, told = reader.read, []

            def read_again(wait: float) -> list[Any]:
                found: list[Any] = []
                for each in read(wait):
                    told.append(each)
                    found += [
                        each,
                        *(told[-1:] if len(told) % 7 == 0 else ()),
                        *told[:: 5 * len(told) // 3 + 1],
                    ]
                return found

            reader.read = read_again  # type: ignore[method-assign]
            return reader

    run(tmp_path / "whole.db", sources, build)
    run(tmp_path / "state.db", [Repeating(each) for each in sources], build)
    assert outputs_of(tmp_path / "state.db") == outputs_of(tmp_path / "whole.db")


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    """Their positions could not be told apart."""
    with (
        closing(Checkpoints(tmp_path / "state.db")) as store,
        pytest.raises(ValueError, match="different names"),
    ):
        Partition(
            "p", [ScriptedLog("a", World(), []), ScriptedLog("a", World(), [])], build_of({}), store
        )


def test_a_source_that_cannot_be_opened_lets_go_of_the_others(tmp_path: Path) -> None:
    """The error is its own; whoever runs the partition again goes on from the last commit."""
    world = World()
    readers: list[Any] = []

    class Noted(ScriptedLog):
        def open(self, positions: Mapping[str, int]) -> Any:
            readers.append(super().open(positions))
            return readers[-1]

    with closing(Checkpoints(tmp_path / "state.db")) as store:
        sources: list[Resumable] = [Noted("one", world, []), RecordingLog(tmp_path / "none.jsonl")]
        with pytest.raises(FileNotFoundError):
            Partition("p", sources, build_of({}), store).run(threading.Event())
    assert readers[0].closed


def test_status_tells_how_it_is_doing(tmp_path: Path) -> None:
    """From any thread, at any time."""
    world = World(1000.0)
    log = ScriptedLog("one", world, [(0, at(1, assistant("s", "m", input=5)))])
    with closing(Checkpoints(tmp_path / "state.db")) as store:
        partition = Partition("p", [log], build_of({}), store)
        assert (partition.status.epoch, partition.status.caught_up) == (0, False)
    status = Live(tmp_path / "state.db", world).run(1005, [log], build_of({})).status
    assert (status.name, status.epoch, status.events, status.caught_up) == ("p", 1, 1, True)
    assert status.commits >= 2
    assert 1003 < status.at < 1005
