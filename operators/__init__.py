"""The verbs: what is derived from session events. One operator per file, each on the event stream."""

from operators.compaction_triggers import CompactionTrigger, compaction_triggers
from operators.context_usage import ContextUsage, context_usage
from operators.context_warnings import ContextWarning, context_warnings
from operators.expire_after import expire_after
from operators.lift import Operator
from operators.per_session import Logic, per_session
from operators.transcript import Transcript
from operators.transcript_entry import TranscriptEntry
from operators.transcript_snapshots import TranscriptSnapshot, transcript_snapshots

__all__ = [
    "CompactionTrigger",
    "ContextUsage",
    "ContextWarning",
    "Logic",
    "Operator",
    "Transcript",
    "TranscriptEntry",
    "TranscriptSnapshot",
    "compaction_triggers",
    "context_usage",
    "context_warnings",
    "expire_after",
    "per_session",
    "transcript_snapshots",
]
