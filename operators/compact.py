"""Compacts sessions before their context windows overflow, and says how every attempt ended."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import ClassVar, Final, Literal, TypeGuard, cast

import msgspec
from reactivex import Observable, abc
from reactivex import operators as rx

from operators.actions import ActionEnded, Begin, Release, acting
from operators.attempt import ABORTED, Attempt, AttemptState, Finding, Judge
from operators.breaker import Breaker
from operators.compaction_gate import Gate, GateState, Held, Veto
from operators.compaction_triggers import (
    Cause,
    CompactionTrigger,
    Pace,
    Pressure,
    is_compacting,
)
from operators.gauge import Accounting, Gauge
from operators.lift import Operator
from operators.per_session import Logic
from streams import checks
from streams.events import (
    AgentError,
    MessageUpdated,
    SessionCompacted,
    SessionDeleted,
    SessionError,
    SessionEvent,
    SessionExpired,
)
from streams.faults import Fault
from streams.hub import EventHub
from streams.limits import ContextLimits

__all__ = ["CompactionAction", "CompactionOutcome", "CompactionState", "Veto", "compact"]

CompactionAction = Callable[[CompactionTrigger], object]
"""Compacts ``trigger.session_id``. Returns an Observable of one answer; also a future, a coroutine (where
an asyncio loop runs) or the answer itself. None, False and what has length 0 are no answer."""

CompactionState = Literal[AttemptState, "dry_run", "breaker_open", "rate_limited", "deferred"]

NO_EVENTS: Final[tuple[type[SessionEvent], ...]] = ()

ENDINGS: Final = (ActionEnded, SessionError, SessionDeleted, SessionExpired)
"""Events that may end an attempt and measure nothing."""

ENDS: Final = ("succeeded", "failed", "empty", "timed_out", "superseded", "dry_run")


class CompactionOutcome(msgspec.Struct, frozen=True, gc=False):
    """What became of an attempt to compact a session, or why there was none.

    Each attempt has exactly one end:

    - ``succeeded``: the action answered, or the server said that the session was compacted;
    - ``failed``: the action raised, or the server said that the compaction failed;
    - ``empty``: the action ended without an answer;
    - ``timed_out``: neither came in time. The work may go on, so nothing else is attempted until the
      server says how it ended (``late_success``, ``late_failure``), or a ceiling is reached;
    - ``superseded``: the user aborted, the session was deleted or expired, or the stream ended;
    - ``dry_run``: nothing was done.

    The next measurement after a compaction says whether it was ``effective`` or ``ineffective``. No
    attempt is made while ``breaker_open`` (too many failures in a row), ``rate_limited`` (too many in an
    hour) or ``deferred`` (vetoed); each is said once, when it begins.

    Attributes:
        session_id: The session.
        at: Seconds, when this became known.
        state: What became known.
        trigger: Why the attempt was made, or would have been; ``trigger.number`` counts attempts.
        before: Tokens before the compaction: of the last measurement.
        after: Tokens of the first measurement after it; None until there is one.
        failures: Failures in a row now: ``failed``, ``empty``, ``ineffective``, and time-outs that no
            success followed.
        probe: Whether this was the one attempt that an open breaker lets through after a while.
        reason: Why: the veto's own words; ``aborted``, ``deleted``, ``expired`` or ``ended``;
            ``above_threshold`` or ``reclaimed_too_little``; the last failure's state for a breaker.
        error: What the action or the server failed with.
    """

    session_id: str
    at: float
    state: CompactionState
    trigger: CompactionTrigger
    before: int
    after: int | None = None
    failures: int = 0
    probe: bool = False
    reason: str = ""
    error: str = ""

    @property
    def ends_attempt(self) -> bool:
        """Whether this is the one end of an attempt."""
        return self.state in ENDS

    @property
    def reclaimed(self) -> float | None:
        """Share of the tokens that the compaction freed; None until it is measured."""
        return None if self.after is None else 1 - self.after / self.before

    def __str__(self) -> str:
        tokens = f"{self.before:_}" + ("" if self.after is None else f" -> {self.after:_}")
        why = f": {self.error or self.reason}" if self.error or self.reason else ""
        number = self.trigger.number
        return f"CompactionOutcome({self.session_id}, attempt {number}, {tokens}, {self.state}{why})"


class CompactState(GateState):
    """The gate, and the attempt that something is still to be learnt of."""

    attempt: Attempt | None = None


_Said = Iterable[CompactionOutcome | Begin[CompactionTrigger] | Release | Fault]


class CompactLogic(Logic[CompactState, CompactionOutcome | Begin[CompactionTrigger] | Release]):
    """Begins attempts when the pressure asks for them and nothing speaks against it."""

    version: ClassVar[int] = 2
    wants: ClassVar[tuple[type[SessionEvent], ...]] = (*Pressure.wants, *ENDINGS)

    def __init__(
        self,
        pressure: Pressure,
        pace: Pace,
        breaker: Breaker,
        judge: Judge,
        veto: Veto | None = None,
        *,
        dry_run: bool = False,
    ) -> None:
        self._pressure = pressure
        self._gate = Gate(pressure, pace, breaker, veto)
        self._breaker = breaker
        self._judge = judge
        self._dry_run = dry_run

    def start(self, session_id: str, now: float) -> CompactState:
        return CompactState(session_id=session_id)

    def on_event(self, state: CompactState, event: SessionEvent, now: float) -> _Said:
        if isinstance(event, ENDINGS):
            return self._ended(state, event, now) if state.attempt else ()
        was_compacting = state.compacting is not None
        cause = self._gate.take(state, event, now)
        if was_compacting and state.compacting is None and _has_failed(event):
            return self._compaction_failed(state, event, now)
        if cause is not None or isinstance(event, SessionCompacted):
            return self._consider(state, cause, now)
        return ()

    def deadline(self, state: CompactState) -> float | None:
        """Nothing is deferred before the last attempt is judged."""
        return state.attempt.due if state.attempt else state.deferred_until

    def on_timer(self, state: CompactState, now: float) -> _Said:
        attempt = state.attempt
        if attempt and attempt.due is not None and now >= attempt.due:
            yield from self._found(state, attempt, now, attempt.time_up(self._judge, now))
        if state.deferred_until is not None and now >= state.deferred_until:
            yield from self._begin(state, now, self._gate.ask_again(state, now))

    def on_end(self, state: CompactState, now: float) -> _Said:
        return self._superseded(state, "ended", now)

    # --- what becomes of an attempt ---------------------------------------------------------------

    def _ended(self, state: CompactState, event: SessionEvent, now: float) -> _Said:
        match event:
            case ActionEnded():
                return self._action_ended(state, event, now)
            case SessionDeleted():
                return self._superseded(state, "deleted", now)
            case SessionExpired():
                return self._superseded(state, "expired", now)
            case SessionError() if event.error.name == ABORTED:
                return self._aborted(state, now)
            case _:
                return ()

    def _action_ended(self, state: CompactState, event: ActionEnded, now: float) -> _Said:
        attempt = state.attempt
        if attempt is None or not attempt.occupied or not attempt.is_mine(event):
            return
        finding = attempt.answered(event, self._judge, now)
        if not attempt.occupied and not attempt.compacted:
            # What was measured before is void, even where no SessionCompacted is sent (C2).
            self._pressure.void(state, now)
        yield from self._found(state, attempt, now, finding)

    def _aborted(self, state: CompactState, now: float) -> _Said:
        attempt = state.attempt
        return self._found(state, attempt, now, attempt.aborted()) if attempt else ()

    def _superseded(self, state: CompactState, reason: str, now: float) -> _Said:
        attempt = state.attempt
        return self._found(state, attempt, now, attempt.superseded(reason)) if attempt else ()

    def _compaction_failed(self, state: CompactState, event: MessageUpdated, now: float) -> _Said:
        """A compaction that was running says itself that it failed: a definite failure (C3)."""
        attempt, error = state.attempt, event.error or AgentError("UnknownError")
        if attempt is None or not attempt.occupied:
            return ()
        if error.name == ABORTED:
            return self._found(state, attempt, now, attempt.aborted())
        what = f"{error.name}: {error.message}" if error.message else error.name
        return self._found(state, attempt, now, attempt.failed(what))

    def _measured(self, state: CompactState, attempt: Attempt, now: float) -> _Said:
        reading, faults = self._pressure.read(state, now)
        yield from faults
        if reading.sample is not None:
            tokens = reading.sample.tokens
            full = self._pressure.is_full(tokens, reading.limit)
            findings = attempt.measured(tokens, self._judge, full=full)
            yield from self._found(state, attempt, now, *findings)

    def _found(
        self, state: CompactState, attempt: Attempt, now: float, *findings: Finding | None
    ) -> _Said:
        for found in findings:
            if found is None:
                continue
            if found.over:
                state.attempt = None
            if found.over or not attempt.occupied:
                yield Release(state.session_id)
            opened = found.counts and self._breaker.failed(state.breaker, now)
            if found.state == "effective":
                self._breaker.succeeded(state.breaker)
            if found.state:
                yield _outcome(state, attempt, now, found.state, found)
            if opened:
                why = Finding(None, reason=found.state or found.reason)
                yield _outcome(state, attempt, now, "breaker_open", why)

    # --- whether to begin one ---------------------------------------------------------------------

    def _consider(self, state: CompactState, cause: Cause | None, now: float) -> _Said:
        """``cause`` is None for a compaction that voids no measurement."""
        attempt = state.attempt
        if attempt and cause in ("compacted", None):
            yield from self._found(state, attempt, now, attempt.server_compacted())
        if attempt and cause and not is_compacting(state, now):
            yield from self._measured(state, attempt, now)
        if cause and not (state.attempt and state.attempt.occupied):
            yield from self._begin(state, now, self._gate.ask(state, cause, now))

    def _begin(
        self,
        state: CompactState,
        now: float,
        answers: Iterable[CompactionTrigger | Held | Fault],
    ) -> _Said:
        for answer in answers:
            if isinstance(answer, Fault):
                yield answer
            elif isinstance(answer, Held):
                yield _no_attempt(state, answer.trigger, answer.state, answer.reason)
            elif self._dry_run:
                self._gate.begin(state, now)
                yield _no_attempt(state, answer, "dry_run")
            else:
                self._gate.begin(state, now)
                probe = self._breaker.is_open(state.breaker)
                due = now + self._judge.timeout
                state.attempt = Attempt(answer, answer.tokens, probe, due)
                yield Begin(state.session_id, answer.number, now, answer)


def _has_failed(event: SessionEvent) -> TypeGuard[MessageUpdated]:
    """Whether it ends a compaction badly: such a summary has an error, or finishes with one."""
    return isinstance(event, MessageUpdated) and (event.error is not None or event.finish == "error")


def _outcome(
    state: CompactState, attempt: Attempt, now: float, what: CompactionState, found: Finding
) -> CompactionOutcome:
    return CompactionOutcome(
        state.session_id,
        now,
        what,
        attempt.trigger,
        attempt.before,
        found.after,
        state.breaker.failures,
        attempt.probe,
        found.reason,
        found.error,
    )


def _no_attempt(
    state: CompactState, trigger: CompactionTrigger, what: CompactionState, reason: str = ""
) -> CompactionOutcome:
    return CompactionOutcome(
        state.session_id,
        trigger.at,
        what,
        trigger,
        trigger.tokens,
        failures=state.breaker.failures,
        reason=reason,
    )


def compact(
    action: CompactionAction,
    limits: ContextLimits,
    *,
    threshold: float = 0.78,
    cooldown: float | timedelta = 60.0,
    timeout: float | timedelta = 60.0,
    ceiling: float | timedelta = 300.0,
    breaker: int = 3,
    min_reclaim: float = 0.10,
    reset: float | timedelta = 300.0,
    max_per_hour: int | None = None,
    veto: Veto | None = None,
    dry_run: bool = False,
    enabled: bool = True,
    accounting: Accounting = "exclusive",
    scheduler: abc.SchedulerBase | None = None,
) -> Operator[CompactionOutcome]:
    """Calls ``action`` for a session that is getting full, and emits what became of it.

    Like ``flat_map`` on ``compaction_triggers``, with everything that must hold between two attempts:
    at most one per session at a time, somebody else's compaction counted in; a cooldown from the
    beginning of each; a circuit breaker per session; and a verdict by the next measurement.

    Marbles (10 s a character)::

        events  --a--c--b-----------d--c-e--|
        compact(lambda trigger: True, limits)
        result  --x-----y-----------z----v--|

        a = assistant("s", "m1", input=160_000)
        c = compacted("s")
        b = assistant("s", "m2", input=30_000)
        d = assistant("s", "m3", input=170_000)
        e = assistant("s", "m4", input=165_000)
        x: state="succeeded", before=160_000, after=None
        y: state="effective", before=160_000, after=30_000, failures=0
        z: state="succeeded", before=170_000
        v: state="ineffective", reason="above_threshold", after=165_000, failures=1

    Args:
        action: Compacts a session; see ``CompactionAction``. It is called on the thread that brought the
            event, so it must not block: return an Observable. It is called once, however many subscribe
            to the outcomes. Once it has answered, or its attempt is over, it is unsubscribed from.
        limits: Who knows the models' limits; nothing is attempted without a limit.
        threshold: Fraction of the limit, above 0, at most 1. Default 0.78: see ``compaction_triggers``.
        cooldown: Seconds from the beginning of one attempt to the next; 0 or more. Default 60.
        timeout: Seconds in which the action should answer, or the server say that the session was
            compacted; above 0. Default 60.
        ceiling: Seconds after a time-out in which nothing else is attempted unless it becomes known how
            the compaction went; above 0. Default 300: a summary that takes over a minute is common,
            and asking for another one doubles its cost.
        breaker: Failures in a row, at least 1, that stop attempts. Default 3.
        min_reclaim: Share of the tokens that a compaction must free to count as effective; above 0, at
            most 1. It must also fall below the threshold. Default 0.10.
        reset: Seconds after which an open breaker lets one attempt through, as a new message of the user
            does at once; above 0. Default 300.
        max_per_hour: At most so many attempts per session in any 3600 s, at least 1. Default None.
        veto: Puts an attempt off while it returns true or a reason, for 300 s at the longest and never
            from 95 % of the limit on. Asked at every measurement and settled tool call.
        dry_run: Only say what would be attempted.
        enabled: False: no action is ever called, and no state is kept.
        accounting: Whether ``input`` includes cached tokens; ``exclusive`` is opencode's way.
        scheduler: Clock and timer; see ``per_session``. Actions are subscribed to with it.

    Returns:
        An operator from events to ``CompactionOutcome``.

    Raises:
        ValueError: An argument is out of its range.

    Memory: as ``compaction_triggers``, and one attempt. Dropped with the session.
    Time: one pending timer, for the earliest time-out or end of a deferral; none while nothing is under
        way. The cooldown and the breaker are compared.
    On completion and error: an attempt under way is ``superseded``, its action unsubscribed from. On
        dispose: the same without a word. An action that fails is an outcome, never an error; a veto that
        raises is one ``Fault``, and no veto.

    Example:
        >>> import operators as ops
        >>> from streams import ContextLimits
        >>> from streams.testing import assistant, outputs
        >>> def summarize(trigger):
        ...     raise ConnectionError("no route to the server")
        >>> limits = ContextLimits({"anthropic/x": 200_000})
        >>> events = [(0, assistant("s", "m1", input=160_000)), (60, assistant("s", "m2", input=161_000))]
        >>> for outcome in outputs(ops.compact(summarize, limits, breaker=2), events):
        ...     print(outcome)
        CompactionOutcome(s, attempt 1, 160_000, failed: ConnectionError: no route to the server)
        CompactionOutcome(s, attempt 2, 161_000, failed: ConnectionError: no route to the server)
        CompactionOutcome(s, attempt 2, 161_000, breaker_open: failed)

    Source: field failures C1 to C17.
    """
    logic = CompactLogic(
        Pressure(Gauge(limits, accounting), checks.fraction("threshold", threshold)),
        Pace(
            checks.seconds("cooldown", cooldown, zero=True),
            None if max_per_hour is None else checks.count("max_per_hour", max_per_hour),
        ),
        Breaker(checks.count("breaker", breaker), checks.seconds("reset", reset)),
        Judge(
            checks.seconds("timeout", timeout),
            checks.seconds("ceiling", ceiling),
            checks.fraction("min_reclaim", min_reclaim),
        ),
        veto,
        dry_run=dry_run,
    )
    return acting(action, logic, scheduler) if enabled else _nothing


def _nothing(source: Observable[SessionEvent]) -> Observable[CompactionOutcome]:
    """Switched off: only the end passes."""
    ending: Observable[SessionEvent] = source
    if isinstance(source, EventHub):
        ending = source.of(*NO_EVENTS)
    return cast(Observable[CompactionOutcome], ending.pipe(rx.ignore_elements()))
