"""Ids as opencode makes them for its events: they sort by time."""

from typing import TypeVar

from msgspec.structs import replace

from streams.events import SessionEvent

_Event = TypeVar("_Event", bound=SessionEvent)


def numbered(event: _Event, number: int) -> _Event:
    """The event with the id of the ``number``-th."""
    return replace(event, event_id=f"evt_{number:026}")
