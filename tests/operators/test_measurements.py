"""What was measured of one session, and what a compaction leaves of it."""

from operators.measurements import Measurements, Sample
from streams.events import MessageUpdated
from streams.testing import assistant


def sample(created: float, tokens: int = 1000) -> Sample:
    return Sample(created, f"m{created:04.0f}", created, tokens, tokens)


def summary(created: float) -> MessageUpdated:
    return assistant("s", "summary", created=created, agent="compaction", summary=True)


def test_a_measurement_told_again_changes_nothing() -> None:
    """U7: the newest or an older one, whenever it is received; with other tokens it counts, in its place."""
    known = Measurements()
    assert known.add(sample(1))
    assert known.add(sample(2))
    later = Sample(1.0, "m0001", 99.0, 1000, 1000)
    assert not known.add(later)
    assert not known.add(sample(2))
    assert [each.at for each in known.samples] == [1, 2]
    assert known.add(sample(1, tokens=1500))
    assert [each.tokens for each in known.samples] == [1500, 1000]
    for changed in (Sample(2.0, "m0002", 2.0, 1000, 1001), Sample(2.5, "m0002", 2.0, 1000, 1001)):
        assert known.add(changed)
        assert known.samples[-1] == changed
        assert len(known.samples) == 2


def test_only_the_newest_64_are_kept() -> None:
    """R1: and the newest of them is what counts."""
    known = Measurements()
    for number in range(100):
        assert known.add(sample(number))
    assert [each.created for each in known.samples] == [*range(36, 100)]
    assert known.add(sample(50, tokens=7))
    assert len(known.samples) == 64


def test_a_summary_told_again_compacts_once() -> None:
    """C2: what was made after it stays."""
    known = Measurements()
    known.add(sample(1))
    assert known.summarise(summary(5))
    known.add(sample(7))
    assert not known.summarise(summary(5))
    assert [each.created for each in known.samples] == [7]


def test_a_summary_is_announced_late() -> None:
    """C2: an answer that came before the announcement of its compaction is not void."""
    known = Measurements()
    assert known.summarise(summary(5))
    known.add(sample(7))
    assert not known.announce(8)
    assert [each.created for each in known.samples] == [7]


def test_a_compaction_at_the_beginning_of_time() -> None:
    """C2: announced at 0 and summarised later it is one; the next announcement is of another."""
    known = Measurements()
    assert known.announce(0.0)
    assert known.summarise(summary(5))
    known.add(sample(7))
    assert known.announce(8)
    assert known.samples == ()


def test_a_compaction_at_the_beginning_of_time_is_announced_once() -> None:
    """C2: said again later, it changes nothing while nothing was measured."""
    known = Measurements()
    assert known.announce(0.0)
    assert not known.announce(3.0)
    assert known.compacted == 0.0


def test_an_older_measurement_says_nothing_of_the_newest() -> None:
    """U3: what was answered since the newest measurement was answered since."""
    known = Measurements()
    known.add(sample(5))
    assert known.add_unmeasured(assistant("s", "m0006", created=6))
    assert known.add(sample(1))
    assert known.unmeasured == 1
    assert known.add(sample(8))
    assert known.unmeasured == 0
