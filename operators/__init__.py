"""The verbs: what is derived from session events. One operator per file, each on the event stream."""

from operators.compact import CompactionOutcome, compact
from operators.compaction_health import CompactionHealth, compaction_health
from operators.compaction_triggers import CompactionTrigger, compaction_triggers
from operators.context_usage import ContextUsage, context_usage
from operators.context_warnings import ContextWarning, context_warnings
from operators.continuations import Continuation, continuations
from operators.expire_after import expire_after
from operators.lift import Operator
from operators.per_session import Logic, per_session
from operators.session_overview import SessionOverview, session_overview
from operators.session_tree import SessionNode, session_tree
from operators.stalls import StallReport, stalls
from operators.task_progress import TaskCounts, TaskProgress, task_progress
from operators.todo_progress import TodoProgress, todo_progress
from operators.tool_calls import ToolCall, tool_calls
from operators.tool_loops import ToolLoop, tool_loops
from operators.transcript import Transcript
from operators.transcript_entry import TranscriptEntry
from operators.transcript_snapshots import TranscriptSnapshot, transcript_snapshots

__all__ = [
    "CompactionHealth",
    "CompactionOutcome",
    "CompactionTrigger",
    "ContextUsage",
    "ContextWarning",
    "Continuation",
    "Logic",
    "Operator",
    "SessionNode",
    "SessionOverview",
    "StallReport",
    "TaskCounts",
    "TaskProgress",
    "TodoProgress",
    "ToolCall",
    "ToolLoop",
    "Transcript",
    "TranscriptEntry",
    "TranscriptSnapshot",
    "compact",
    "compaction_health",
    "compaction_triggers",
    "context_usage",
    "context_warnings",
    "continuations",
    "expire_after",
    "per_session",
    "session_overview",
    "session_tree",
    "stalls",
    "task_progress",
    "todo_progress",
    "tool_calls",
    "tool_loops",
    "transcript_snapshots",
]
