"""Model answers: tokens and time, by the conventions for generative AI."""

from typing import Final

from streams.events import MessageUpdated
from streams.metrics.instruments import Attributes, Instrument, Instruments

__all__ = ["Answers", "model_attributes"]

TOKEN_USAGE: Final = Instrument(
    "gen_ai.client.token.usage",
    "histogram",
    "{token}",
    "Number of input and output tokens used.",
    tuple(float(4**power) for power in range(14)),
)
DURATION: Final = Instrument(
    "gen_ai.client.operation.duration",
    "histogram",
    "s",
    "GenAI operation duration.",
    tuple(0.01 * 2**power for power in range(14)),
)
"""The buckets of both are those that the conventions give."""

PROVIDERS: Final = {
    "amazon-bedrock": "aws.bedrock",
    "azure": "azure.ai.openai",
    "google": "gcp.gemini",
    "google-vertex": "gcp.vertex_ai",
    "google-vertex-anthropic": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}
"""opencode's names of providers that the conventions call otherwise."""

OPEN: Final = 4096
"""Answers followed to their ends at a time: those that a crash cut short never end."""


def model_attributes(provider_id: str, model_id: str) -> dict[str, str]:
    """Whose model, and which."""
    provider = PROVIDERS.get(provider_id, provider_id)
    return {"gen_ai.provider.name": provider, "gen_ai.request.model": model_id}


class Answers:
    """Counts an answer once, when it is over.

    Only one that was heard of while it was being written: a fork tells its parent's answers again, and
    a history is no news.
    """

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._open: dict[str, None] = {}

    def take(self, event: MessageUpdated) -> None:
        """Follow one answer."""
        if event.role != "assistant":
            return
        if event.completed is None:
            self._open[event.message_id] = None
            if len(self._open) > OPEN:
                del self._open[next(iter(self._open))]
        elif event.message_id in self._open:
            del self._open[event.message_id]
            self._over(event, event.completed)

    def _over(self, event: MessageUpdated, completed: float) -> None:
        model = model_attributes(event.provider_id, event.model_id)
        attributes = {"gen_ai.operation.name": "chat"} | model
        self._use(event, attributes)
        error = {"error.type": event.error.name or "_OTHER"} if event.error is not None else {}
        if event.created > 0:
            seconds = max(0.0, completed - event.created)
            self._instruments.record(DURATION, attributes | error, seconds)

    def _use(self, event: MessageUpdated, attributes: Attributes) -> None:
        """Cached input is input, and reasoning is output, as the conventions have it."""
        used = event.tokens
        if used is None:
            return
        prompt = used.input + used.cache_read + used.cache_write
        for kind, tokens in (("input", prompt), ("output", used.output + used.reasoning)):
            if tokens:
                by_type = {**attributes, "gen_ai.token.type": kind}
                self._instruments.record(TOKEN_USAGE, by_type, tokens)
