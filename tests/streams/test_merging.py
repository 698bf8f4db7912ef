"""Several sources as one, in the order of the records' times."""

from typing import Any

from scripted_log import ScriptedLog, World, at

from streams.merging import Merging
from streams.testing import idle


def merging_of(world: World, *logs: ScriptedLog, **options: Any) -> Merging:
    return Merging([log.open({}) for log in logs], wall=world, seconds=world, **options)


def read_until(merging: Merging, world: World, until: float) -> list[tuple[float, str]]:
    """(time, session) of what came, in order."""
    taken: list[tuple[float, str]] = []
    while world.now < until and not merging.ended:
        taken += [(each.time, each.positioned.key) for each in merging.read(0.1)]
    return taken


def test_what_was_there_comes_in_the_order_of_its_times() -> None:
    """Two servers with a history: catching up gives what one log of both would."""
    world = World(100.0)
    one = ScriptedLog("one", world, [(0, at(1, idle("a"))), (0, at(4, idle("a")))], ends=True)
    two = ScriptedLog("two", world, [(0, at(2, idle("b"))), (0, at(3, idle("b")))], ends=True)
    merging = merging_of(world, one, two)
    assert read_until(merging, world, 200) == [(1, "a"), (2, "b"), (3, "b"), (4, "a")]
    assert merging.ended


def test_each_log_keeps_its_own_order() -> None:
    """A record that is older than the one before it in its log comes after it, at that one's time."""
    world = World(100.0)
    log = ScriptedLog("one", world, [(0, at(5, idle("a"))), (0, at(2, idle("a")))], ends=True)
    assert read_until(merging_of(world, log), world, 200) == [(5, "a"), (5, "a")]


def test_live_events_that_come_a_little_late_are_put_in_their_place() -> None:
    """Within the grace of half a second the order is the records', whatever the network does."""
    world = World(100.0)
    one = ScriptedLog("one", world, [(100.4, at(100.05, idle("a")))])
    two = ScriptedLog("two", world, [(100.1, at(100.1, idle("b")))])
    assert read_until(merging_of(world, one, two), world, 102) == [(100.05, "a"), (100.1, "b")]


def test_time_goes_on_behind_the_wall_clock_once_all_is_read() -> None:
    """Not while a source catches up: then only events say how late it is (engine 2)."""
    world = World(100.0)
    merging = merging_of(world, ScriptedLog("one", world, [(0, at(1, idle("a")))]))
    assert [each.time for each in merging.read(0.1)] == [1]
    assert merging.passed == float("-inf")
    read_until(merging, world, 100.3)
    assert merging.caught_up
    assert 99.5 <= merging.passed <= world.now - 0.5


def test_time_does_not_pass_what_waits() -> None:
    """An event within the grace has not happened yet for the timers either."""
    world = World(100.0)
    merging = merging_of(world, ScriptedLog("one", world, [(100.2, at(100.2, idle("a")))]))
    read_until(merging, world, 100.4)
    assert merging.passed < 100.2
    assert read_until(merging, world, 101) == [(100.2, "a")]
    assert merging.passed > 100.2


def test_a_server_that_is_down_holds_up_the_others_for_a_while() -> None:
    """What it tells later than its patience is late; nothing is lost."""
    world = World(100.0)
    down = ScriptedLog("down", world, [(0, at(90, idle("a")))], down_until=110)
    up = ScriptedLog("up", world, [(0, at(95, idle("b")))])
    merging = merging_of(world, down, up, patience=5.0)
    assert read_until(merging, world, 104.5) == []
    assert merging.passed == float("-inf")
    assert read_until(merging, world, 109) == [(95, "b")]
    assert not merging.caught_up
    assert merging.passed > 108
    assert read_until(merging, world, 112) == [(90, "a")]


def test_a_server_that_is_back_in_time_is_put_in_its_place() -> None:
    """Within its patience the order is the records'."""
    world = World(100.0)
    down = ScriptedLog("down", world, [(0, at(90, idle("a")))], down_until=103)
    up = ScriptedLog("up", world, [(0, at(95, idle("b")))])
    assert read_until(merging_of(world, down, up, patience=5.0), world, 112) == [(90, "a"), (95, "b")]


def test_a_record_from_the_future_waits_no_longer_than_the_grace() -> None:
    """The clock of another machine is ahead: its events happen when they come, and time does not jump."""
    world = World(100.0)
    log = ScriptedLog("ahead", world, [(100.1, at(500, idle("a")))])
    merging = merging_of(world, log)
    ((time, session_id),) = read_until(merging, world, 102)
    assert session_id == "a"
    assert 100.5 < time < 101


def test_what_ended_is_not_waited_for() -> None:
    """A finished recording beside a live server."""
    world = World(100.0)
    finished = ScriptedLog("finished", world, [(0, at(1, idle("a")))], ends=True)
    live = ScriptedLog("live", world, [(101, at(101, idle("b")))])
    merging = merging_of(world, finished, live)
    assert read_until(merging, world, 103) == [(1, "a"), (101, "b")]
    assert not merging.ended
    assert merging.passed > 102
