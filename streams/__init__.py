"""The nouns: what flows, where it comes from, where it goes, and by which clock."""

from streams import events, opencode, recordings, schedulers, transcripts
from streams.faults import Fault
from streams.hub import EventHub
from streams.latest import Latest, latest
from streams.limits import ContextLimits, Limit
from streams.transcripts import TranscriptStore

__all__ = [
    "ContextLimits",
    "EventHub",
    "Fault",
    "Latest",
    "Limit",
    "TranscriptStore",
    "events",
    "latest",
    "opencode",
    "recordings",
    "schedulers",
    "transcripts",
]
