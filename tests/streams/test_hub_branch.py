"""``EventHub.branch``: some of a hub's subscribers, ended alone."""

import pytest

import operators as ops
from streams import EventHub
from streams.events import SessionEvent, SessionIdle
from streams.testing import Timeline, busy, idle, text


def test_a_branch_gets_what_its_hub_gets() -> None:
    """Narrowed or not, in the order of subscription among all subscribers of the hub."""
    hub, seen = EventHub(), list[tuple[str, SessionEvent]]()
    branch = hub.branch()
    hub.subscribe(lambda event: seen.append(("first", event)))
    branch.of(SessionIdle).subscribe(lambda event: seen.append(("branch", event)))
    hub.subscribe(lambda event: seen.append(("last", event)))
    hub.on_batch([idle("s"), busy("s")])
    assert [(who, type(event).__name__) for who, event in seen] == [
        ("first", "SessionIdle"),
        ("branch", "SessionIdle"),
        ("last", "SessionIdle"),
        ("first", "SessionStatus"),
        ("last", "SessionStatus"),
    ]


def test_ending_a_branch_flushes_it_alone() -> None:
    """What its operators hold back comes; the hub and its other subscribers go on."""
    line = Timeline()
    branch = line.hub.branch()
    seen: list[object] = []
    branch.pipe(ops.transcript_snapshots()).subscribe(
        lambda each: seen.append(each.reason), on_completed=lambda: seen.append("over")
    )
    others = line.watch(ops.transcript_snapshots())
    line.play((0.0, text("s", "m", "p", "a")))
    branch.on_completed()
    assert seen == ["end", "over"]
    assert line.scheduler.pending == 1, "its timer is gone, the other's is not"
    line.advance_to(1.0)
    assert [each.reason for _, each in others] == ["quiet"]
    line.play((2.0, text("s", "m", "p", "b")), (3.0, idle("s")))
    branch.on_completed()
    assert seen == ["end", "over"]


@pytest.mark.parametrize("ending", ["completed", "error"])
def test_ending_the_hub_ends_its_branches_once(ending: str) -> None:
    """Completed or failed; and to end the branch after that does nothing more."""
    hub, seen = EventHub(), list[object]()
    branch = hub.branch()
    branch.subscribe(seen.append, lambda error: seen.append("error"), lambda: seen.append("completed"))
    if ending == "error":
        hub.on_error(ValueError("x"))
    else:
        hub.on_completed()
    branch.on_completed()
    assert seen == [ending]


def test_a_late_subscriber_of_an_ended_branch_is_told() -> None:
    """Whichever of the two has ended."""
    for ended in ("hub", "branch"):
        hub, seen = EventHub(), list[object]()
        branch = hub.branch()
        (hub if ended == "hub" else branch).on_completed()
        branch.subscribe(seen.append, on_completed=lambda seen=seen: seen.append("over"))
        hub.on_next(idle("s"))
        assert seen == ["over"]


def test_what_is_published_to_a_branch_goes_to_all() -> None:
    """A branch is the same stream."""
    hub, seen = EventHub(), list[object]()
    branch = hub.branch()
    hub.subscribe(seen.append)
    branch.subscribe(seen.append)
    branch.on_next(idle("s"))
    branch.on_batch([busy("s")])
    assert len(seen) == 4


def test_unsubscribing_from_a_branch() -> None:
    """Leaves the hub too."""
    hub = EventHub()
    subscription = hub.branch().subscribe()
    subscription.dispose()
    assert hub._attached == ()


def test_faults_of_a_branch_are_faults_of_its_hub() -> None:
    """A subscriber that raises harms nobody else, and is reported once."""
    line, seen = Timeline(), list[object]()

    def refuse(event: SessionEvent) -> None:
        raise ValueError("no")

    branch = line.hub.branch()
    branch.subscribe(refuse)
    branch.subscribe(seen.append)
    line.play((1.0, idle("s")))
    assert len(seen) == 1
    assert [str(fault) for fault in line.faults] == ["subscriber [s]: ValueError: no"]
