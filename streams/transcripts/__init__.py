"""Transcripts on the disk: written as sessions go, read whatever happened to them, primed when late."""

from streams.transcripts.priming import Histories, Primed
from streams.transcripts.reader import StoredTranscript, TornLine, read
from streams.transcripts.store import TranscriptStore

__all__ = ["Histories", "Primed", "StoredTranscript", "TornLine", "TranscriptStore", "read"]
