"""Sessions that were deleted a moment ago."""

from operators.deadlines import Deadlines
from operators.tombstones import Tombstones


def stones() -> tuple[Tombstones, Deadlines]:
    deadlines = Deadlines()
    return Tombstones(deadlines), deadlines


def pass_to(now: float, tombstones: Tombstones, deadlines: Deadlines) -> None:
    for session_id in deadlines.due(now):
        tombstones.come_due(session_id, now)


def test_a_tombstone_stands_for_a_minute() -> None:
    """E5, E2: it goes by itself, and takes its deadline along."""
    tombstones, deadlines = stones()
    tombstones.put("s", 10.0)
    pass_to(69.9, tombstones, deadlines)
    assert "s" in tombstones
    pass_to(70.0, tombstones, deadlines)

    assert "s" not in tombstones
    assert (len(tombstones), len(deadlines)) == (0, 0)


def test_deleted_again_it_stands_for_another_minute() -> None:
    """E5: the last deletion counts."""
    tombstones, deadlines = stones()
    tombstones.put("s", 10.0)
    tombstones.put("s", 40.0)
    pass_to(70.0, tombstones, deadlines)
    assert "s" in tombstones
    pass_to(100.0, tombstones, deadlines)

    assert (len(tombstones), len(deadlines)) == (0, 0)


def test_taking_one_away_touches_no_deadline_of_a_living_session() -> None:
    """E5: a session that is created twice keeps its deadline."""
    tombstones, deadlines = stones()
    deadlines.set("s", 5.0)
    tombstones.take_away("s")
    assert len(deadlines) == 1
    deadlines.forget("s")
    tombstones.put("s", 10.0)
    tombstones.take_away("s")

    assert (len(tombstones), len(deadlines)) == (0, 0)


def test_the_end_of_the_stream_clears_all() -> None:
    """E6: no tombstone and no deadline outlives it, but those of living sessions."""
    tombstones, deadlines = stones()
    deadlines.set("lives", 5.0)
    for session_id in ("s", "t"):
        tombstones.put(session_id, 10.0)
    tombstones.clear()

    assert (len(tombstones), list(deadlines.due(100.0))) == (0, ["lives"])


def test_a_hundred_thousand_at_once_cost_the_same_each() -> None:
    """E3: deleting many sessions within a minute; all are gone after it."""
    tombstones, deadlines = stones()
    for number in range(100_000):
        tombstones.put(f"s{number}", number / 10_000)
    assert len(tombstones) == 100_000
    pass_to(70.0, tombstones, deadlines)

    assert (len(tombstones), len(deadlines), deadlines._heap) == (0, 0, [])


def test_what_was_kept_stands_as_long_as_before() -> None:
    """E5: a restart does not shorten the minute, nor lengthen it, and leaves nothing behind."""
    before, _ = stones()
    before.put("s", 10.0)
    tombstones, deadlines = stones()
    tombstones.restore(before.kept())
    pass_to(69.9, tombstones, deadlines)
    assert ("s" in tombstones, deadlines.earliest) == (True, 70.0)
    pass_to(70.0, tombstones, deadlines)

    assert (len(tombstones), len(deadlines)) == (0, 0)
