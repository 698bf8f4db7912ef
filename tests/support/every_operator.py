"""Every operator that there is, with arguments that make it do something."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, get_args, get_type_hints

import msgspec
from reactivex import Observable

import operators as ops
from operators import lift
from operators.lift import Operator
from streams import ContextLimits
from streams.events import SessionEvent


class Counted(msgspec.Struct):
    """How many events are not yet told of, and when they will be."""

    session_id: str
    events: int = 0
    due: float | None = None


class Count(msgspec.Struct, frozen=True):
    """So many events of a session."""

    session_id: str
    events: int
    why: str


class CountLogic(ops.Logic[Counted, Count]):
    """The kernel's own part: something is always pending for 10 s, and no event may be lost."""

    wants: ClassVar[tuple[type[SessionEvent], ...]] = (SessionEvent,)

    def start(self, session_id: str, now: float) -> Counted:
        return Counted(session_id)

    def on_event(self, state: Counted, event: SessionEvent, now: float) -> Iterable[Count]:
        if event.session_id:
            state.events += 1
            state.due = state.due or now + 10.0
        return ()

    def deadline(self, state: Counted) -> float | None:
        return state.due

    def on_timer(self, state: Counted, now: float) -> Iterable[Count]:
        return self._tell(state, "timer")

    def on_end(self, state: Counted, now: float) -> Iterable[Count]:
        return self._tell(state, "end") if state.events else ()

    def _tell(self, state: Counted, why: str) -> Iterable[Count]:
        counted = Count(state.session_id, state.events, why)
        state.events, state.due = 0, None
        return (counted,)


ARGUMENTS: dict[str, Callable[[], Any]] = {
    "action": lambda: lambda trigger: "done",
    "limits": lambda: ContextLimits({"anthropic/x": 200_000, "acme/kestrel-large": 5000}),
    "logic": CountLogic,
}
"""What is given to a parameter without a default, by its name."""


def exported_functions() -> dict[str, Callable[..., Any]]:
    """Every function that ``operators`` exports, by name."""
    exported = {name: getattr(ops, name) for name in ops.__all__}
    return {name: each for name, each in exported.items() if inspect.isfunction(each)}


def makes_operator(function: Callable[..., Any]) -> bool:
    """Whether what it returns takes the event stream."""
    taken = get_args(get_type_hints(function).get("return"))[:1]
    return taken == ([Observable[SessionEvent]],)


def operator_names() -> list[str]:
    return [name for name, function in exported_functions().items() if makes_operator(function)]


def make_operator(name: str, **arguments: Any) -> Operator[Any]:
    """The operator with its defaults, and with what ``ARGUMENTS`` has for those that have none."""
    needed = [
        each.name
        for each in inspect.signature(getattr(ops, name)).parameters.values()
        if each.default is each.empty and each.kind is not each.VAR_KEYWORD
    ]
    for missing in [each for each in needed if each not in ARGUMENTS]:
        raise LookupError(
            f"{name}() needs {missing}=: add what it is given to ARGUMENTS in tests/support/every_operator.py"
        )
    return getattr(ops, name)(**{each: ARGUMENTS[each]() for each in needed}, **arguments)


def every_operator() -> dict[str, Operator[Any]]:
    """The operators that ``operators`` exports, by name, all with their default times."""
    return {name: make_operator(name) for name in operator_names()}


def watch_cores(note: Callable[[Any], None]) -> Callable[[], None]:
    """Call ``note`` with the fold of every subscription from now on; returns how to stop."""
    original = lift._Run.start

    def start(self: Any, *arguments: Any) -> Any:
        note(self._core)
        return original(self, *arguments)

    lift._Run.start = start
    return lambda: setattr(lift._Run, "start", original)
