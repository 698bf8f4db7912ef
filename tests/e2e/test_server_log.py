"""The log of opencode itself, read again from any position."""

import threading
from collections.abc import Callable
from typing import Any

import msgspec
from opencode_server import OpencodeServer
from scripted_model import Answer, Call, Gate, ScriptedModel

from streams import events as ev
from streams.opencode import ServerLog
from streams.positions import Positioned, Reader

Read = list[Positioned]


def read_to(reader: Reader, found: Callable[[Read], Any]) -> Read:
    """What comes, until that is in it and there is no more for half a second."""
    read: Read = []
    while not (reader.caught_up and found(read)):
        read += reader.read(0.2)
    while more := reader.read(0.5):
        read += more
    return read


def said(read: Read) -> list[tuple[str, int, float, ev.SessionEvent]]:
    """What must be the same at every reading; of raw bytes, the order of an object's keys is not."""
    return [
        (each.key, each.after, each.event.at, msgspec.structs.replace(each.event, raw=b""))
        for each in read
    ]


def positions(read: Read) -> dict[str, int]:
    return {each.key: each.after for each in read if each.after >= 0}


def answered(read: Read, count: int) -> bool:
    """Whether so many turns are over."""
    ends = {
        each.event.message_id
        for each in read
        if isinstance(each.event, ev.MessageUpdated) and each.event.finish == "stop"
    }
    return len(ends) >= count


def test_read_while_it_happens_and_read_again(drive: Any, model: ScriptedModel) -> None:
    """Two turns with tools and a child: told live, from the beginning, and from any position, alike."""
    log = ServerLog(drive.server.url)
    live = log.open({})
    child = model.plan("child", Answer("The child is done."))
    task = Call("task", {"description": "a part", "prompt": f"Do it {child}", "subagent_type": "general"})
    shell = Call("bash", {"command": "echo hello", "description": "say hello"})
    first = model.plan("first", Answer("I look.", [shell, task]), Answer("Both are done."))
    second = model.plan("second", Answer("That is all."))
    session_id = drive.new_session()
    drive.turn(session_id, f"Work {first}")
    drive.turn(session_id, f"And then {second}")
    whole = read_to(live, lambda read: answered(read, 3))
    live.close()
    assert {each.key for each in whole} == {session_id, *_children(whole, session_id)}
    assert len(_children(whole, session_id)) == 1
    for each in whole:
        created = getattr(each.event, "created", 0) if isinstance(each.event, ev.SessionCreated) else 0
        assert not created or abs(each.event.at - created) < 5
    for start in range(0, len(whole), max(1, len(whole) // 5)):
        again = log.open(positions(whole[:start]))
        assert said(read_to(again, lambda read: True)) == said(whole[start:]), start
        again.close()
    last = log.open(positions(whole))
    assert read_to(last, lambda read: True) == []
    last.close()


def _children(read: Read, parent_id: str) -> set[str]:
    return {
        each.key
        for each in read
        if isinstance(each.event, ev.SessionCreated) and each.event.parent_id == parent_id
    }


def test_killed_and_started_again(
    serve: Any, driver_of: Callable[[OpencodeServer], Any], model: ScriptedModel
) -> None:
    """kill -9 amid a turn, a restart, a deletion that nobody saw: the same reader goes on, and a new one agrees."""
    drive = driver_of(serve(password="secret"))
    log = ServerLog(drive.server.url, password="secret")
    reader = log.open({})
    gate = Gate()
    cut = model.plan("cut", Answer("This is cut off by the end of the server.", gate=gate))
    after = model.plan("after", Answer("Here again."))
    session_id, doomed = drive.new_session(), drive.new_session()
    drive.prompt(session_id, f"Talk {cut}")
    assert gate.reached.wait(60)
    read = read_to(reader, lambda read: len(positions(read)) == 2)
    drive.server.kill()
    gate.open()
    while reader.caught_up:
        read += reader.read(0.1)
    early = positions(read)
    drive.server.start()
    drive.turn(session_id, f"Go on {after}")
    read += read_to(reader, lambda read: answered(read, 1))
    before = log.open(early)
    of_session = [row for row in said(read) if row[0] == session_id and row[1] > early[session_id]]
    assert said(read_to(before, lambda read: True)) == of_session
    before.close()
    drive.call("DELETE", f"/session/{doomed}")
    read += read_to(reader, lambda read: read)
    reader.close()
    assert isinstance(read[-1].event, ev.SessionDeleted)
    assert (read[-1].key, read[-1].after) == (doomed, -1)
    late = log.open(early)
    (gone,) = [each for each in read_to(late, lambda read: True) if each.key == doomed]
    assert isinstance(gone.event, ev.SessionDeleted)
    assert gone.after == -1
    late.close()
    names = [
        thread.name for thread in threading.enumerate() if thread.name == "sessionstreams server log"
    ]
    assert len(names) <= 3
