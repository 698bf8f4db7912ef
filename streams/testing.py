"""For your tests: events in one word, virtual time, marbles.

Builders make events without a time; ``outputs`` and ``Timeline`` give them one. Nothing here sleeps,
starts a thread or reads a clock.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

import msgspec
from reactivex import Notification, Observable, abc, notification
from reactivex.observable.marbles import parse

from streams import events as ev
from streams.events import SessionEvent
from streams.faults import Fault
from streams.hub import EventHub
from streams.schedulers import Replay

__all__ = [
    "Timeline",
    "assistant",
    "busy",
    "compacted",
    "continuation_reply",
    "created",
    "deleted",
    "delta",
    "error",
    "heartbeat",
    "idle",
    "marbles",
    "outputs",
    "permission",
    "permission_reply",
    "play_marbles",
    "question",
    "question_reply",
    "removed",
    "retry",
    "step_finish",
    "step_start",
    "text",
    "todos",
    "tool",
    "tool_after",
    "tool_before",
    "updated",
    "user",
]

_T = TypeVar("_T")

MODEL: Final = "anthropic/x"


# --- events ---------------------------------------------------------------------------------------


def assistant(
    session_id: str,
    message_id: str,
    *,
    input: int = 0,
    output: int = 0,
    reasoning: int = 0,
    cache_read: int = 0,
    cache_write: int = 0,
    finish: str = "stop",
    created: float | None = None,
    completed: float | None = None,
    model: str = MODEL,
    agent: str = "build",
    summary: bool = False,
    tokens: bool = True,
    cost: float = 0.0,
    error: str = "",
) -> ev.MessageUpdated:
    """An assistant message, finished unless ``finish=""``. ``created`` defaults to when it plays."""
    provider_id, _, model_id = model.partition("/")
    counted = ev.Tokens(input, output, reasoning, ev.Cache(cache_read, cache_write))
    return ev.MessageUpdated(
        session_id,
        message_id=message_id,
        role="assistant",
        created=_WHEN_PLAYED if created is None else created,
        completed=completed,
        finish=finish,
        tokens=counted if tokens else None,
        provider_id=provider_id,
        model_id=model_id,
        agent=agent,
        summary=summary,
        cost=cost,
        error=ev.AgentError(error) if error else None,
    )


def user(
    session_id: str, message_id: str, *, created: float | None = None, model: str = MODEL
) -> ev.MessageUpdated:
    """A user message."""
    provider_id, _, model_id = model.partition("/")
    return ev.MessageUpdated(
        session_id,
        message_id=message_id,
        role="user",
        created=_WHEN_PLAYED if created is None else created,
        provider_id=provider_id,
        model_id=model_id,
    )


def text(
    session_id: str, message_id: str, part_id: str, text: str, *, synthetic: bool = False
) -> ev.PartUpdated:
    """A whole text part."""
    part = ev.Part(part_id, message_id, "text", text, synthetic)
    return ev.PartUpdated(session_id, part=part)


def delta(session_id: str, message_id: str, part_id: str, delta: str) -> ev.PartDelta:
    """Characters added to a text part."""
    return ev.PartDelta(session_id, message_id=message_id, part_id=part_id, field="text", delta=delta)


def step_start(session_id: str, message_id: str) -> ev.PartUpdated:
    """The mark where a step of an answer begins."""
    return ev.PartUpdated(session_id, part=ev.Part(f"{message_id}_start", message_id, "step-start"))


def step_finish(session_id: str, message_id: str) -> ev.PartUpdated:
    """The mark where it ends."""
    return ev.PartUpdated(session_id, part=ev.Part(f"{message_id}_end", message_id, "step-finish"))


def tool(
    session_id: str,
    call_id: str,
    name: str,
    status: str,
    *,
    input: object = None,
    output: str | None = None,
    error: str = "",
    message_id: str = "m",
    part_id: str = "",
    metadata: object = None,
    started: float | None = None,
    ended: float | None = None,
) -> ev.PartUpdated:
    """A tool part in one of its states: pending, running, completed, error. Times are the agent's own."""
    state = ev.ToolState(
        status,
        ev.NO_RAW if input is None else _raw(input),
        ev.NO_RAW if output is None else _raw(output),
        ev.NO_RAW if metadata is None else _raw(metadata),
        error,
        time=ev.Times(started and started * 1000, ended and ended * 1000),
    )
    part = ev.Part(
        part_id or f"prt_{call_id}", message_id, "tool", tool=name, call_id=call_id, state=state
    )
    return ev.PartUpdated(session_id, part=part)


def tool_before(session_id: str, name: str, call_id: str, input: object = None) -> ev.ToolExecuteBefore:
    """An integrator's hook before a tool runs."""
    return ev.ToolExecuteBefore(session_id, call_id=call_id, tool=name, input=_raw(input))


def tool_after(session_id: str, name: str, call_id: str, output: str = "") -> ev.ToolExecuteAfter:
    """An integrator's hook after a tool has run."""
    return ev.ToolExecuteAfter(session_id, call_id=call_id, tool=name, output=output)


def busy(session_id: str) -> ev.SessionStatus:
    """The session works."""
    return ev.SessionStatus(session_id, status="busy")


def retry(session_id: str, attempt: int, next: float | None = None) -> ev.SessionStatus:
    """The session waits to ask the model again."""
    return ev.SessionStatus(session_id, status="retry", attempt=attempt, next=next)


def idle(session_id: str) -> ev.SessionIdle:
    """The session's turn is over."""
    return ev.SessionIdle(session_id)


def compacted(session_id: str) -> ev.SessionCompacted:
    """The session's history was summarised."""
    return ev.SessionCompacted(session_id)


def created(session_id: str, parent_id: str = "", *, title: str = "") -> ev.SessionCreated:
    """A session came to be."""
    return ev.SessionCreated(session_id, parent_id=parent_id, title=title)


def updated(
    session_id: str, *, parent_id: str = "", revert: str = "", model: str = "", title: str = ""
) -> ev.SessionUpdated:
    """A session's own data."""
    provider_id, _, model_id = model.partition("/")
    return ev.SessionUpdated(
        session_id,
        parent_id=parent_id,
        revert=revert,
        provider_id=provider_id,
        model_id=model_id,
        title=title,
    )


def deleted(session_id: str) -> ev.SessionDeleted:
    """The session is gone."""
    return ev.SessionDeleted(session_id)


def error(session_id: str, name: str, message: str = "") -> ev.SessionError:
    """An error of the session."""
    return ev.SessionError(session_id, error=ev.AgentError(name, message))


def removed(session_id: str, message_id: str) -> ev.MessageRemoved:
    """A message was taken out."""
    return ev.MessageRemoved(session_id, message_id=message_id)


def todos(session_id: str, *statuses: str) -> ev.TodosUpdated:
    """A todo list; ``todos("s", "completed", "pending")`` has two entries named by their place."""
    entries = tuple(ev.Todo(f"todo {n}", status) for n, status in enumerate(statuses, 1))
    return ev.TodosUpdated(session_id, todos=entries)


def permission(session_id: str, request_id: str, call_id: str = "") -> ev.PermissionAsked:
    """A tool call waits for leave."""
    return ev.PermissionAsked(session_id, request_id=request_id, call_id=call_id)


def permission_reply(session_id: str, request_id: str, reply: str = "once") -> ev.PermissionReplied:
    """Leave was given (``once``, ``always``) or not (``reject``)."""
    return ev.PermissionReplied(session_id, request_id=request_id, reply=reply)


def question(session_id: str, request_id: str, call_id: str = "") -> ev.QuestionAsked:
    """A tool call waits for an answer."""
    return ev.QuestionAsked(session_id, request_id=request_id, call_id=call_id)


def question_reply(session_id: str, request_id: str, *, rejected: bool = False) -> ev.QuestionReplied:
    """The answer came."""
    return ev.QuestionReplied(session_id, request_id=request_id, rejected=rejected)


def continuation_reply(session_id: str, reply: str) -> ev.ContinuationReplied:
    """What became of a continuation: ``failed``, ``stop``, ``resume``."""
    return ev.ContinuationReplied(session_id, reply=reply)


def heartbeat() -> ev.Heartbeat:
    """The server is alive."""
    return ev.Heartbeat()


_WHEN_PLAYED: Final = -1.0


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _played(event: SessionEvent, at: float) -> SessionEvent:
    """The event as received at ``at``; a message without a time was made then."""
    if isinstance(event, ev.MessageUpdated) and event.created == _WHEN_PLAYED:
        return msgspec.structs.replace(event, at=at, created=at)
    return msgspec.structs.replace(event, at=at)


# --- virtual time ---------------------------------------------------------------------------------


class Timeline:
    """A stream under your hand: play events at virtual times into operators, see what comes out.

    Example:
        >>> import operators as ops
        >>> from streams import ContextLimits
        >>> line = Timeline()
        >>> seen = line.watch(ops.context_usage(ContextLimits({"anthropic/x": 200_000})))
        >>> line.play((3, assistant("s", "m1", input=100_000)), (9, compacted("s")))
        >>> [(at, usage.tokens) for at, usage in seen]
        [(3.0, 100000), (9.0, None)]

    Attributes:
        hub: The stream; pipe from it.
        scheduler: The virtual clock, at 0 to begin with; ``pending`` counts its timers.
        faults: Every ``Fault`` so far.
    """

    def __init__(self) -> None:
        self.scheduler = Replay()
        self.hub = EventHub(scheduler=self.scheduler)
        self.faults: list[Fault] = []
        self.hub.errors.subscribe(self.faults.append)

    def watch(
        self, *operators: Callable[[Observable[SessionEvent]], Observable[_T]]
    ) -> list[tuple[float, _T]]:
        """Subscribe operators; returns the list that their ``(time, value)`` are put into."""
        seen: list[tuple[float, _T]] = []
        for operator in operators:
            self.hub.pipe(operator).subscribe(
                lambda value: seen.append((self.scheduler.seconds(), value)),
                scheduler=self.scheduler,
            )
        return seen

    def play(self, *timed: tuple[float, SessionEvent]) -> None:
        """Advance to each time and publish its event, in the order given."""
        for at, event in timed:
            self.scheduler.advance_to(float(at))
            self.hub.on_next(_played(event, float(at)))

    def advance_to(self, seconds: float) -> None:
        """Let time pass."""
        self.scheduler.advance_to(seconds)


def outputs(
    operator: Callable[[Observable[SessionEvent]], Observable[_T]],
    events: Iterable[SessionEvent | tuple[float, SessionEvent]],
    *,
    until: float | None = None,
    complete: bool = True,
) -> list[_T]:
    """What an operator emits for these events, in virtual time.

    Args:
        operator: What to test.
        events: Events with their times, ``(seconds, event)``; those without come 1 s apart from 0.
        until: Let time pass to here after the last one.
        complete: End the stream then.

    Returns:
        The values, in order.

    Raises:
        AssertionError: Something raised on the way, which would be a ``Fault`` (``Timeline`` keeps them).
    """
    line = Timeline()
    seen = line.watch(operator)
    for number, each in enumerate(events):
        line.play(each if isinstance(each, tuple) else (float(number), each))
    if until is not None:
        line.advance_to(until)
    if complete:
        line.hub.on_completed()
    if line.faults:
        raise AssertionError(f"{line.faults[0]}") from line.faults[0].error
    return [value for _, value in seen]


# --- marbles --------------------------------------------------------------------------------------


def marbles(
    diagram: str, lookup: Mapping[str, _T], *, step: float = 1.0
) -> list[tuple[float, Notification[_T]]]:
    """Read a diagram in reactivex's own notation: ``-`` passes time, ``|`` completes, ``#`` fails.

    Args:
        diagram: Such as ``"--a-(b,c)-|"``; ``(b,c)`` come at one time.
        lookup: What the letters stand for.
        step: Seconds a character.

    Raises:
        ValueError: A letter stands for nothing.
    """
    missing = sorted(set(re.findall(r"\w+", diagram)) - set(lookup))
    if missing:
        known = ", ".join(sorted(lookup))
        raise ValueError(f"{missing[0]!r} in {diagram!r} stands for nothing; known: {known}")
    parsed = parse(diagram, timespan=step, lookup={**lookup})
    return [(Replay.to_seconds(at), each) for at, each in parsed]


def play_marbles(
    diagram: str,
    lookup: Mapping[str, SessionEvent],
    operator: Callable[[Observable[SessionEvent]], Observable[_T]],
    *,
    step: float = 1.0,
) -> list[tuple[float, Notification[_T]]]:
    """Play a diagram of events through an operator; returns the notifications with their times."""
    line = Timeline()
    seen: list[tuple[float, Notification[_T]]] = []

    def note(each: Notification[_T]) -> None:
        seen.append((line.scheduler.seconds(), each))

    line.hub.pipe(operator).subscribe(
        lambda value: note(notification.OnNext(value)),
        lambda error: note(notification.OnError(error)),
        lambda: note(notification.OnCompleted()),
        scheduler=line.scheduler,
    )
    for at, each in marbles(diagram, lookup, step=step):
        line.advance_to(at)
        each.accept(_Dated(line.hub, at))
    line.advance_to(len(diagram.replace(" ", "")) * step)
    return seen


class _Dated(abc.ObserverBase[SessionEvent]):
    """Gives events the time at which they are played."""

    def __init__(self, hub: EventHub, at: float) -> None:
        self._hub = hub
        self._at = at

    def on_next(self, value: SessionEvent) -> None:
        self._hub.on_next(_played(value, self._at))

    def on_error(self, error: Exception) -> None:
        self._hub.on_error(error)

    def on_completed(self) -> None:
        self._hub.on_completed()
