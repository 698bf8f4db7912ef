"""After a gap: what was missed, from the server's log where it has one.

The log gives exactly the missing events. It answers with the whole log of every session that it is not
told of, so it is told of all of them, and of more than 900 it cannot be told. Then, and where a server
has no log, each session that changed has its messages fetched once, if anybody listens to messages.
"""

import heapq
from functools import partial
from math import inf
from operator import attrgetter
from typing import Final

from streams import events as ev
from streams.events import SessionEvent
from streams.opencode import answers
from streams.opencode.answers import Listed
from streams.opencode.asking import Ask, Asking
from streams.opencode.intake import Intake
from streams.opencode.known import KnownSessions
from streams.opencode.log import MAX_TOLD, Entry
from streams.opencode.present import Present, Wants

__all__ = ["Resumption"]

MAX_LISTED: Final = 1_000
MAX_LOOKED_FOR: Final = 100

NOTHING_AFTER: Final = 2**53 - 1
"""A number that no log reaches: nothing is asked of that session."""

Sessions = dict[str, Listed]


class Resumption:
    """Asks what was missed, between the greeting of a new connection and its first event.

    Args:
        ask: How to ask; blocks.
        intake: What has come so far; what is asked for goes through it, so that it comes once.
        known: What was the last word of each session.
        wants: Whether anybody listens to events of these types.

    Attributes:
        directory: Only sessions of this directory; None for all.

    Source: field failures S1, S4; the recordings of restarts.
    """

    def __init__(self, ask: Ask, intake: Intake, known: KnownSessions, wants: Wants) -> None:
        self.directory: str | None = None
        self._asking = Asking(ask)
        self._intake = intake
        self._known = known
        self._wants = wants
        self._present = Present(self._asking, known, wants)

    @property
    def complete(self) -> bool:
        """Whether nothing is left out of the last answer, as far as can be told."""
        return self._asking.complete

    def begin(self, greeting: SessionEvent) -> None:
        """A first connection: what was there before it will not have been missed later."""
        self._intake.newest_id = max(self._intake.newest_id, greeting.event_id)
        newest = self._list(1)
        self._known.updated = max((each.updated for each in (newest or {}).values()), default=0.0)

    def after_gap(self, greeting: SessionEvent, at: float) -> list[SessionEvent]:
        """What was missed before the greeting; what happened after it comes by itself."""
        self._asking.complete = True
        sessions = self._list(MAX_LISTED)
        unsure = set(self._known.unsure())
        gone = self._gone(sessions)
        entries = self._entries(sessions)
        if entries is None or sessions is None:
            events = self._refetched(sessions, unsure - gone, at)
        else:
            events = self._missed(entries, sessions, greeting.event_id, at)
        self._intake.counts.resumed += len(events)
        unsure |= {event.session_id for event in events if event.session_id}
        here = [(each, self._directory_of(each, sessions)) for each in sorted(unsure - gone)]
        deleted = [ev.SessionDeleted(session_id, at) for session_id in sorted(gone)]
        return [*events, *deleted, *self._present.events(here, at)]

    def fill_holes(self, at: float) -> list[SessionEvent]:
        """What is missing amid a connection, and what waited for it: each session's in order."""
        self._asking.complete = True
        sequence = self._intake.sequence
        wanted = {session_id: sequence.missing(session_id) for session_id in sequence.held}
        found: dict[str, dict[int, SessionEvent | None]] = {session_id: {} for session_id in wanted}
        for entry in self._entries(self._list(MAX_LISTED)) or ():
            if entry.seq in wanted.get(entry.session_id, ()):
                found[entry.session_id][entry.seq] = self._intake.take_entry(entry, at)
        self._intake.counts.resumed += sum(map(len, found.values()))
        self._asking.complete &= all(len(wanted[each]) == len(found[each]) for each in wanted)
        return [event for each in wanted for event in sequence.fill(each, found[each])]

    # --- which sessions there are -----------------------------------------------------------------

    def _list(self, limit: int) -> Sessions | None:
        """All sessions of the server, the last updated first; None where there is no such list."""
        path, parameters = "/experimental/session", {"limit": str(limit), "archived": "true"}
        listed = self._asking.optional(answers.listed_of, "GET", path, parameters)
        return None if listed is None else {each.id: each for each in listed}

    def _gone(self, sessions: Sessions | None) -> set[str]:
        """Sessions that were deleted meanwhile; their log is deleted with them, so it cannot tell."""
        unlisted = [each for each in self._known.sessions if sessions and each not in sessions]
        return {session_id for session_id in unlisted[:MAX_LOOKED_FOR] if self._is_gone(session_id)}

    def _is_gone(self, session_id: str) -> bool:
        return self._asking.is_missing(f"/session/{session_id}")

    def _in_scope(self, session: Listed) -> bool:
        return self.directory in (None, session.directory)

    def _directory_of(self, session_id: str, sessions: Sessions | None) -> str:
        session = (sessions or {}).get(session_id)
        return self.directory or (session.directory if session else "")

    # --- with the log -----------------------------------------------------------------------------

    def _entries(self, sessions: Sessions | None) -> list[Entry] | None:
        """The log after what is known; None when it cannot be asked for."""
        if sessions is None:
            return None
        last, since = self._intake.sequence.last, self._known.updated
        told = {
            each.id: last.get(each.id, NOTHING_AFTER)
            for each in sessions.values()
            if each.id in last or each.updated <= since or not self._in_scope(each)
        }
        if len(told) > MAX_TOLD or len(sessions) >= MAX_LISTED:
            return None
        entries = self._asking.optional(answers.entries_of, "POST", "/sync/history", body=told)
        if entries is None:
            self._intake.without_log()
        return entries

    def _missed(
        self, entries: list[Entry], sessions: Sessions, until: str, at: float
    ) -> list[SessionEvent]:
        """Entries as events: per session in the order of their numbers, over all in that of their ids."""
        last, before = self._intake.sequence.last, self._intake.newest_id
        by_session: dict[str, list[Entry]] = {}
        for entry in sorted(entries, key=attrgetter("seq")):
            session = sessions.get(entry.session_id)
            if session and self._in_scope(session) and (not until or entry.id < until):
                by_session.setdefault(entry.session_id, []).append(entry)
        missed = [
            [entry for entry in of_one if session_id in last or entry.id > before]
            for session_id, of_one in by_session.items()
        ]
        for session_id, of_one in by_session.items():
            self._intake.sequence.set_last(session_id, of_one[-1].seq)
        taken = (
            self._intake.take_entry(entry, at) for entry in heapq.merge(*missed, key=attrgetter("id"))
        )
        return [event for event in taken if event is not None]

    # --- without it -------------------------------------------------------------------------------

    def _refetched(self, sessions: Sessions | None, unsure: set[str], at: float) -> list[SessionEvent]:
        """At most one fetch per session, of the sessions that changed or were not known to be idle."""
        self._asking.complete = False
        since = self._known.updated
        changed = [
            each
            for each in reversed(list((sessions or {}).values()))
            if self._in_scope(each) and (each.updated > since or each.id in unsure)
        ]
        events: list[SessionEvent] = []
        for each in changed:
            is_new = each.created > since and each.id not in self._known.sessions
            kind = "session.created" if is_new else "session.updated"
            events.append(answers.session_event(each, kind, at))
        for session_id in sorted(unsure) if sessions is None else [each.id for each in changed]:
            self._intake.sequence.forget(session_id)
            if self._wants(ev.MessageUpdated, ev.PartUpdated, ev.SessionHistory):
                events += self._history_of(session_id, since, at)
        return events

    def _history_of(self, session_id: str, since: float, at: float) -> list[SessionEvent]:
        """The history as what it is, and what of it is news as the events that were missed."""
        read = partial(answers.history_of, session_id=session_id, asked=at, at=at)
        history = self._asking.optional(read, "GET", f"/session/{session_id}/message")
        if history is None:
            return []
        news: list[SessionEvent] = []
        is_news = False
        for event in history.events:
            if isinstance(event, ev.MessageUpdated):
                completed = (
                    inf if event.role == "assistant" and event.completed is None else event.completed
                )
                is_news = event.created > since or (completed or 0) > since
            if is_news:
                news.append(event)
        return [history, *news]
