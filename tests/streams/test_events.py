"""The vocabulary: every kind, and how it shows itself."""

import msgspec
import pytest

from streams import events as ev


def subclasses(kind: type[ev.SessionEvent]) -> set[type[ev.SessionEvent]]:
    below = {each for each in kind.__subclasses__() if each.__module__ == ev.__name__}
    return below | {deeper for each in below for deeper in subclasses(each)}


def test_every_kind_of_event_is_listed() -> None:
    """What can be encoded can be decoded; the two bases are no kinds of their own."""
    assert set(ev.KINDS) == subclasses(ev.SessionEvent) - {ev.SessionInfo, ev.StreamEvent}


@pytest.mark.parametrize("kind", ev.KINDS)
def test_every_event_is_a_small_frozen_value(kind: type[ev.SessionEvent]) -> None:
    """Every field has a default, so that an event needs only say what it knows."""
    event = kind("s", 1.0)

    assert (event.session_id, event.at, event.event_id, event.raw) == ("s", 1.0, "", b"")
    assert event == kind("s", 1.0)
    with pytest.raises(AttributeError):
        event.at = 2.0  # pyright: ignore


def test_an_event_shows_what_it_says() -> None:
    """Neither its payload nor what it leaves at its default."""
    event = ev.ToolExecuteBefore("s", 1.5, raw=b"{}", call_id="c", input=msgspec.Raw(b""))

    assert repr(event) == "ToolExecuteBefore(session_id='s', at=1.5, call_id='c')"


def test_times_of_parts_and_tools_are_seconds() -> None:
    """The wire's are milliseconds."""
    part = ev.Part(time=ev.Times(start=1500.0), state=ev.ToolState(time=ev.Times(2500.0, 3500.0)))

    assert (part.started, part.ended) == (1.5, None)
    assert part.state is not None
    assert (part.state.started, part.state.ended) == (2.5, 3.5)


@pytest.mark.parametrize(
    ("name", "on_the_wire"),
    [
        ("id", "id"),
        ("session_id", "sessionID"),
        ("status_code", "statusCode"),
        ("request_id", "requestID"),
    ],
)
def test_names_on_the_wire_are_opencode_s(name: str, on_the_wire: str) -> None:
    """Ours in camel case, with ID in capitals."""
    assert ev.wire_name(name) == on_the_wire
