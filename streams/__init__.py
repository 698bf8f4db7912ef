"""The nouns: what flows, where it comes from, where it goes, and by which clock."""

from importlib import import_module
from typing import TYPE_CHECKING

from streams import events, opencode, recordings, schedulers
from streams.asynchronous import aiter  # noqa: A004
from streams.backlog import Overflowed
from streams.bounded import bounded
from streams.faults import Fault
from streams.hub import EventHub
from streams.latest import Latest, latest
from streams.limits import ContextLimits, Limit

if TYPE_CHECKING:
    from streams import metrics, report, transcripts
    from streams.transcripts import TranscriptStore

__all__ = [
    "ContextLimits",
    "EventHub",
    "Fault",
    "Latest",
    "Limit",
    "Overflowed",
    "TranscriptStore",
    "aiter",
    "bounded",
    "events",
    "latest",
    "metrics",
    "opencode",
    "recordings",
    "report",
    "schedulers",
    "transcripts",
]


def __getattr__(name: str) -> object:
    """Sinks stand above the operators, which stand above this: they are imported when asked for."""
    if name in ("metrics", "report", "transcripts"):
        return import_module(f"streams.{name}")
    if name == "TranscriptStore":
        return import_module("streams.transcripts").TranscriptStore
    raise AttributeError(f"module 'streams' has no attribute {name!r}")
