"""How far a session is with its todos, and what about a todo list is progress."""

from typing import Any

import msgspec
import pytest

import operators as ops
from operators.todo_list import incomplete
from operators.todo_progress import TodoProgress, TodosState
from streams.events import SessionEvent, SessionExpired, Todo, TodosUpdated
from streams.testing import Timeline, busy, deleted, outputs, text, todos, tool


def listed(*entries: Todo) -> TodosUpdated:
    return TodosUpdated("s", todos=entries)


def changes(*events: SessionEvent) -> list[str]:
    return [progress.change for progress in outputs(ops.todo_progress(), events)]


A = Todo("read", "in_progress", "high")
B = Todo("write", "pending", "low")
C = Todo("test", "pending", "low")


@pytest.mark.parametrize("ids", [("", "", ""), ("1", "2", "3")], ids=["without ids", "with ids"])
class TestWhatIsProgress:
    """D3: only a change of statuses is progress; opencode's todos have no ids, others' do."""

    def lists(self, ids: tuple[str, str, str], *lists: tuple[Todo, ...]) -> list[str]:
        """What is said of lists whose todos get the ids of their places in the first one."""
        place = {"read": 0, "write": 1, "test": 2, "read all": 0, "ship": 3}
        known = (*ids, "4" if ids[0] else "")
        events = (
            listed(*(msgspec.structs.replace(todo, id=known[place[todo.content]]) for todo in each))
            for each in lists
        )
        return changes(*events)

    def test_wording(self, ids: Any) -> None:
        """D3: a todo worded anew is no progress."""
        reworded = msgspec.structs.replace(A, content="read all")
        assert self.lists(ids, (A, B, C), (reworded, B, C)) == ["started", "edited"]

    def test_priority(self, ids: Any) -> None:
        """D3: another priority is no progress."""
        assert self.lists(ids, (A, B), (A, msgspec.structs.replace(B, priority="high"))) == [
            "started",
            "edited",
        ]

    def test_order(self, ids: Any) -> None:
        """D3: another order is no progress."""
        assert self.lists(ids, (A, B, C), (C, A, B)) == ["started", "edited"]

    def test_tool_calls(self, ids: Any) -> None:
        """D3: 50 tool calls are no progress; the same list said again is not even news."""
        calls = [tool("s", f"c{n}", "read", "completed") for n in range(50)]
        entries = tuple(
            msgspec.structs.replace(todo, id=each) for todo, each in zip((A, B, C), ids, strict=True)
        )
        assert changes(listed(*entries), *calls, listed(*entries)) == ["started"]

    def test_one_done_and_one_added(self, ids: Any) -> None:
        """D3: one completed and one added is progress, though as many are incomplete as before."""
        finished, added = msgspec.structs.replace(A, status="completed"), Todo("ship", "in_progress")
        assert self.lists(ids, (A, B, C), (finished, B, C, added)) == ["started", "progressed"]


def test_statuses_that_change_places() -> None:
    """D3: with ids, two todos that swap statuses are progress; without, nothing tells that they did."""
    one, other = Todo("a", "completed", id="1"), Todo("b", "pending", id="2")
    swapped = (Todo("a", "pending", id="1"), Todo("b", "completed", id="2"))
    assert changes(listed(one, other), listed(*swapped)) == ["started", "progressed"]
    without = [
        listed(*(msgspec.structs.replace(todo, id="") for todo in each))
        for each in ((one, other), swapped)
    ]
    assert changes(*without) == ["started", "edited"]


class TestStatuses:
    """D5: one rule of what is incomplete."""

    def test_what_is_not_actionable(self) -> None:
        """D5: of [blocked, deleted, cancelled, completed] 0 are incomplete."""
        [progress] = outputs(
            ops.todo_progress(), [todos("s", "blocked", "deleted", "cancelled", "completed")]
        )
        assert (progress.incomplete, progress.ratio, progress.unknown) == (0, 1.0, ())
        assert incomplete(progress.todos) == ()

    def test_unknown_statuses(self) -> None:
        """D5: a status nobody knows is incomplete, and reported."""
        [progress] = outputs(
            ops.todo_progress(), [todos("s", "paused", "completed", "someday", "paused")]
        )
        assert (progress.incomplete, progress.ratio, progress.unknown) == (3, 0.25, ("paused", "someday"))

    def test_counts(self) -> None:
        """Counts by status, what moved, and the share that is done."""
        first = todos("s", "in_progress", "pending", "pending", "pending")
        then = todos("s", "completed", "in_progress", "cancelled", "pending")
        progress = outputs(ops.todo_progress(), [first, then])[-1]
        assert progress.counts == {"completed": 1, "in_progress": 1, "cancelled": 1, "pending": 1}
        assert progress.moved == {"completed": 1, "cancelled": 1, "pending": -2}
        assert (progress.total, progress.incomplete, progress.ratio) == (4, 2, 0.5)


class TestLists:
    """D13: ids are optional, and the empty list counts."""

    def test_equal_todos(self) -> None:
        """D13: two todos without ids and with equal content are two."""
        [progress] = outputs(ops.todo_progress(), [listed(B, B)])
        assert (progress.total, progress.incomplete) == (2, 2)

    def test_cleared_for_good(self) -> None:
        """D13: `TODO([])` clears the list; no older event and no message brings it back."""
        line = Timeline()
        seen = line.watch(ops.todo_progress())
        older = TodosUpdated("s", at=1.0, todos=(A,))
        line.play((1, older), (2, listed()))
        line.hub.on_next(older)
        line.play(
            (3, tool("s", "c1", "todowrite", "completed", metadata={"todos": [{"content": "read"}]}))
        )
        assert [(at, progress.change, progress.total) for at, progress in seen] == [
            (1, "started", 1),
            (2, "cleared", 0),
        ]

    def test_an_empty_list_first(self) -> None:
        """A list that was always empty is not worth a word."""
        assert changes(listed(), listed()) == []
        assert changes(listed(), listed(A)) == ["started"]


class TestStream:
    def test_nothing(self) -> None:
        """No list, no progress."""
        assert changes() == []
        assert changes(busy("s"), text("s", "m", "p", "hi")) == []

    def test_two_sessions(self) -> None:
        """Each session has its own list."""
        seen = outputs(
            ops.todo_progress(), [todos("s", "pending"), todos("t", "pending"), todos("s", "completed")]
        )
        assert [(each.session_id, each.ratio) for each in seen] == [("s", 0.0), ("t", 0.0), ("s", 1.0)]

    @pytest.mark.parametrize("end", [deleted("s"), SessionExpired("s")])
    def test_a_session_that_ends(self, end: SessionEvent) -> None:
        """The list goes with its session."""
        line = Timeline()
        seen = line.watch(ops.todo_progress())
        line.play((0, todos("s", "pending")), (1, end), (62, todos("s", "completed")))
        assert [progress.change for _, progress in seen] == ["started", "started"]

    def test_completion_error_and_dispose(self) -> None:
        """Nothing is pending; an error goes through; after dispose nothing comes."""
        line = Timeline()
        notes: list[object] = []
        first = line.hub.pipe(ops.todo_progress()).subscribe(lambda each: notes.append(each.ratio))
        line.hub.pipe(ops.todo_progress()).subscribe(lambda each: None, notes.append)
        line.play((0, todos("s", "pending")))
        first.dispose()
        line.play((1, todos("s", "completed")))
        broken = RuntimeError("broken")
        line.hub.on_error(broken)
        assert notes == [0.0, broken]

    def test_an_event_from_inside_a_subscriber(self) -> None:
        """X6: a subscriber may publish; the event follows."""
        line = Timeline()
        seen: list[float | None] = []

        def answer(progress: TodoProgress) -> None:
            seen.append(progress.ratio)
            if progress.ratio == 0:
                line.hub.on_next(todos("s", "completed"))

        line.hub.pipe(ops.todo_progress()).subscribe(answer)
        line.hub.on_next(todos("s", "pending"))
        assert seen == [0.0, 1.0]

    def test_the_state_can_be_stored(self) -> None:
        """A session's state comes back from JSON as it was."""
        state = TodosState("s", (A, B), 3.0)
        assert msgspec.json.decode(msgspec.json.encode(state), type=TodosState) == state
