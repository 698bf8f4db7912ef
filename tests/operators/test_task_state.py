"""What is kept of one task, event by event."""

from typing import Any

import pytest
from msgspec.structs import replace

from operators.task_state import TEXT, Task
from operators.turn import is_final
from streams import events as ev
from streams.testing import assistant, delta, text, tool, user


def reasoning(part_id: str) -> ev.PartUpdated:
    return ev.PartUpdated("s", part=ev.Part(part_id, "m", "reasoning", "thinking"))


def test_the_end_of_the_text_is_kept_as_it_grows() -> None:
    """P12: piece by piece, the last 200 characters; another part begins anew."""
    task = Task("s")
    task.take_delta(delta("s", "m", "a", "x" * TEXT), 1)
    task.take_delta(delta("s", "m", "a", "yz"), 2)
    assert task.last_text == "x" * (TEXT - 2) + "yz"
    task.take_delta(delta("s", "m", "b", "new"), 3)
    assert task.last_text == "new"


def test_what_is_no_text_changes_no_text() -> None:
    """P12: an empty piece, another field, and what the model only thinks."""
    task = Task("s")
    task.take_part(reasoning("r"), 1)
    task.take_delta(delta("s", "m", "a", "said"), 2)
    task.take_delta(delta("s", "m", "r", "thought"), 3)
    task.take_delta(delta("s", "m", "b", ""), 3)
    task.take_delta(replace(delta("s", "m", "b", "{}"), field="input"), 3)
    assert (task.last_text, task.text_part, task.reasoning_part) == ("said", "a", "r")


def test_a_piece_of_text_begins_the_work_when_it_comes() -> None:
    """P2: at that time, and not anew with the next."""
    task = Task("s")
    task.take_delta(delta("s", "m", "a", "x"), 4)
    task.take_delta(delta("s", "m", "a", "y"), 6)
    assert (task.active, task.started, task.turn, task.last) == (True, 4, 4, 6)


def test_a_whole_part_takes_the_place_of_its_pieces() -> None:
    """P12: unless it is empty yet, as a part is when it begins."""
    task = Task("s")
    task.take_delta(delta("s", "m", "a", "piece"), 1)
    task.take_part(text("s", "m", "a", ""), 2)
    assert task.last_text == "piece"
    task.take_part(text("s", "m", "a", "whole"), 3)
    assert task.last_text == "whole"
    task.take_part(text("s", "m", "b", ""), 4)
    assert (task.last_text, task.text_part) == ("", "b")


def test_a_prompt_is_no_answer() -> None:
    """U7: whatever is told of it costs nothing and brings nothing."""
    task = Task("s", active=True)
    prompt = replace(user("s", "m"), tokens=ev.Tokens(input=5), finish="stop", error=ev.AgentError("E"))
    task.take_answer(prompt, 1)
    assert (task.tokens, task.output, task.error) == (0, False, "")


def test_an_answer_is_output_once_it_is_finished() -> None:
    """P3: not before; and one that is told after the idle that overtook it was the turn's too (S4)."""
    task = Task("s", active=True)
    task.take_answer(assistant("s", "m", finish=""), 1)
    assert not task.output
    task.rest(ev.SessionIdle("s", event_id="evt_2"), 2)
    task.take_answer(replace(assistant("s", "m"), event_id="evt_3"), 3)
    assert not task.output
    task.take_answer(replace(assistant("s", "m"), event_id="evt_1"), 3)
    assert task.output


def test_an_answer_told_again_after_many_others_costs_nothing_more() -> None:
    """U7: 16 answers may still change; those before them are settled, by when they were made."""
    task = Task("s", active=True)
    for number in range(1, 19):
        task.take_answer(assistant("s", f"m{number}", created=number, input=10, output=0), number)
    assert (task.tokens, task.settled) == (180, 2.0)
    for number in (1, 2):
        task.take_answer(assistant("s", f"m{number}", created=number, input=10, output=0), 20)
    assert task.tokens == 180
    task.take_answer(assistant("s", "m3", created=3, input=11, output=0), 20)
    task.take_answer(assistant("s", "nobody knows when", created=0, input=10, output=0), 21)
    assert task.tokens == 191


def test_a_fork_begins_with_copies() -> None:
    """P4: messages that are older than the session; the last 256 are remembered, whose parts are not its own."""
    task = Task("s", created=500)
    for number in range(1, 259):
        task.note_message(assistant("s", f"m{number}", created=number))
    assert list(task.copied) == [f"m{number}" for number in range(3, 259)]
    assert not task.is_own(ev.Part("p", "m3", "text"))
    assert task.is_own(ev.Part("p", "m2", "text"))


@pytest.mark.parametrize(("made", "is_copy"), [(0, False), (0.5, True), (499.9, True), (500, False)])
def test_what_is_a_copy(made: float, is_copy: bool) -> None:
    """P4: made before the session was; one that does not say when is not known to be one."""
    assert Task("s", created=500).is_copy(assistant("s", "m", created=made)) is is_copy


@pytest.mark.parametrize("finish", ["stop", "length", "content-filter", "tool-calls", "error", ""])
def test_which_finish_ends_a_turn(finish: str) -> None:
    """P16: the preview's only sign that a session is done."""
    how: dict[str, Any] = {"finish": finish, "completed": 2.0}
    assert is_final(assistant("s", "m", **how)) == (finish in ("stop", "length", "content-filter"))
    assert not is_final(assistant("s", "m", finish=finish, completed=None))


@pytest.mark.parametrize(
    ("status", "event_id", "left"),
    [
        ("busy",   "evt_4",    "APIError"),
        ("busy",   "evt_5",    ""),
        ("busy",   "evt_6",    ""),
        ("busy",   "",         ""),
        ("retry",  "evt_6",    "APIError"),
    ],
)  # fmt: skip
def test_work_after_an_error_ends_it(status: str, event_id: str, left: str) -> None:
    """P17, S4: not while it is about to be tried again, and not what was said before the error."""
    task = Task("s", active=True, error="APIError", error_event="evt_5")
    task.take_status(ev.SessionStatus("s", event_id=event_id, status=status), 1.0)
    assert task.error == left


def test_a_copied_call_names_its_tool() -> None:
    """P4: a fork's calls are counted as the session's, and nobody is at work on them."""
    task = Task("s", copied={"m": None})
    task.take_part(tool("s", "c", "bash", "completed", message_id="m"), 1.0)
    assert (task.calls, task.last_tool, task.active, task.output) == (1, "bash", False, False)
