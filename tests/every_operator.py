"""Every operator that there is, with arguments that make it do something."""

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import operators as ops
from operators import lift
from operators.lift import Operator
from streams import ContextLimits
from streams.events import SessionEvent

ARGUMENTS: dict[str, Callable[[], Any]] = {
    "action": lambda: lambda trigger: "done",
    "limits": lambda: ContextLimits({"anthropic/x": 200_000, "acme/kestrel-large": 5000}),
}
"""What is given to a parameter without a default, by its name."""


def every_operator() -> dict[str, Operator[Any]]:
    """The operators that ``operators`` exports, by name, all with their default times."""
    return {
        name: function(**_arguments(name, function))
        for name in ops.__all__
        if inspect.isfunction(function := getattr(ops, name))
        and get_type_hints(function).get("return") == Operator[_out(function)]
        and name != "per_session"
    }


def _out(function: Callable[..., Any]) -> Any:
    """The type of what an operator emits."""
    returned = get_type_hints(function).get("return")
    emitted = getattr(returned, "__args__", (None,))[-1]
    return getattr(emitted, "__args__", (SessionEvent,))[-1]


def _arguments(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    needed = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]
    missing = [parameter for parameter in needed if parameter not in ARGUMENTS]
    if missing:
        raise LookupError(f"say in ARGUMENTS what {name}({missing[0]}=…) is given")
    return {parameter: ARGUMENTS[parameter]() for parameter in needed}


def watch_cores(note: Callable[[Any], None]) -> Callable[[], None]:
    """Call ``note`` with the fold of every subscription from now on; returns how to stop."""
    original = lift._Run.start

    def start(self: Any, *arguments: Any) -> Any:
        note(self._core)
        return original(self, *arguments)

    lift._Run.start = start
    return lambda: setattr(lift._Run, "start", original)
