"""Metrics for OpenTelemetry: whatever passes is counted by its kind. Needs ``[otel]``.

``export`` takes any stream: events, the values of operators, a hub's ``errors``, a live source's
``state``, or several of them merged. A value of a kind that is not in the table passes by. Names of
OpenTelemetry's conventions for generative AI are used where there is one.

================================== ========= ============ ================= ==============================
instrument                         kind      unit         from              attributes
================================== ========= ============ ================= ==============================
gen_ai.client.token.usage          histogram {token}      MessageUpdated    operation provider model token
gen_ai.client.operation.duration   histogram s            MessageUpdated    operation provider model error
sessionstreams.context.fill        histogram 1            ContextUsage      provider model
sessionstreams.compactions         counter   {compaction} SessionCompacted
sessionstreams.compaction.triggers counter   {trigger}    CompactionTrigger provider model cause
sessionstreams.compaction.outcomes counter   {outcome}    CompactionOutcome state
sessionstreams.compaction.freed    histogram {token}      CompactionOutcome
sessionstreams.tasks               updown    {task}       TaskProgress      state
sessionstreams.tasks.ended         counter   {task}       TaskProgress      state
sessionstreams.tool.calls          counter   {call}       ToolCall          tool outcome
sessionstreams.tool.duration       histogram s            ToolCall          tool outcome
sessionstreams.tool.loops          counter   {loop}       ToolLoop          kind
sessionstreams.stalls              counter   {stall}      StallReport       kind
sessionstreams.faults              counter   {fault}      Fault             error
sessionstreams.stream.gaps         counter   {gap}        StreamGap
sessionstreams.stream.malformed    counter   {event}      MalformedEvent
sessionstreams.stream.dropped      counter   {event}      ConnectionState
sessionstreams.stream.lost         counter   {event}      ConnectionState
================================== ========= ============ ================= ==============================

operation is ``gen_ai.operation.name`` (always ``chat``), provider ``gen_ai.provider.name``, model
``gen_ai.request.model``, token ``gen_ai.token.type`` (``input``, cached input too, or ``output``,
reasoning too), tool ``gen_ai.tool.name``, and error ``error.type``, where there is one; cause, state,
outcome and kind are ``sessionstreams.cause`` and so on, with the values that the operators document.
None is a session: of each attribute at most 100 values are told apart, all others are ``_OTHER``.
"""

from streams.metrics.exporting import export

__all__ = ["export"]
