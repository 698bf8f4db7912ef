"""What was measured of one session's context window, and what of it still counts."""

from typing import Final

import msgspec

from streams.events import MessageUpdated

__all__ = ["Measurements", "Sample", "created_at", "is_finished"]

SAMPLES: Final = 64
"""Measurements kept per session, so that undoing messages falls back to an earlier one."""


class Sample(msgspec.Struct, frozen=True, gc=False, order=True, array_like=True):
    """What one answer measured. Ordered by when the message was made (U8)."""

    created: float
    message_id: str
    at: float
    tokens: int
    projected: int


class Measurements(msgspec.Struct, gc=False, array_like=True):
    """The measurements of one session. Every method says whether it changed anything.

    Attributes:
        samples: Measurements since the last compaction, by when their messages were made.
        unmeasured: Answers finished since the newest of them that measured nothing.
        last_unmeasured: When the newest of those was made, and its id.
        compacted: What was made up to here is void.
        announced: The ``compacted`` whose ``SessionCompacted`` has been heard.
        summary_created: When the newest compaction's answer was made; -1 once that has failed.
        revert: The first message that a pending revert hides.
    """

    samples: tuple[Sample, ...] = ()
    unmeasured: int = 0
    last_unmeasured: tuple[float, str] = (-1.0, "")
    compacted: float = -1.0
    announced: float = -1.0
    summary_created: float = -1.0
    revert: str = ""

    def visible(self) -> Sample | None:
        """The newest sample that no pending revert hides (U9). Message ids ascend with time."""
        if not self.revert:
            return self.samples[-1] if self.samples else None
        return next((each for each in reversed(self.samples) if each.message_id < self.revert), None)

    def add(self, sample: Sample) -> bool:
        """Place a measurement by when its message was made; said again, it changes nothing (U7)."""
        samples = self.samples
        newest = samples[-1] if samples else None
        if (
            newest is not None
            and newest.message_id == sample.message_id
            and _is_said_again(sample, newest)
        ):
            return False  # as nearly always: an answer's end is told two or three times
        index = _place_of(sample.message_id, samples)
        if index is not None:
            if _is_said_again(sample, samples[index]):
                return False
            samples = samples[:index] + samples[index + 1 :]
        is_newest = not samples or sample > samples[-1]
        samples = (*samples[1 - SAMPLES :], sample) if is_newest else sorted((*samples, sample))
        self.samples = tuple(samples[-SAMPLES:])
        if newest is None or self.samples[-1].message_id != newest.message_id:
            self.unmeasured = 0
        return True

    def add_unmeasured(self, event: MessageUpdated) -> bool:
        """An answer that the measurement does not know of; one that failed added nothing (U3)."""
        place = (created_at(event), event.message_id)
        newest = self.samples[-1] if self.samples else None
        known = newest is not None and place <= (newest.created, newest.message_id)
        if event.error is not None or known or place <= self.last_unmeasured:
            return False
        self.unmeasured += 1
        self.last_unmeasured = place
        return True

    def remove(self, message_id: str) -> bool:
        """A message was taken out, and what it measured with it (U9)."""
        before = len(self.samples)
        self.samples = tuple(each for each in self.samples if each.message_id != message_id)
        return len(self.samples) < before

    def summarise(self, event: MessageUpdated) -> bool:
        """A compaction's answer measures nothing (U1). Finished well, it has compacted the session: a
        reader who was away, and a fork, never hear ``SessionCompacted``."""
        created = created_at(event)
        if event.error is not None or event.finish == "error":
            if self.summary_created == created:
                self.summary_created = -1.0
            return False
        self.summary_created = max(self.summary_created, created)
        if not is_finished(event) or created <= self.compacted:
            return False
        if self.announced == self.compacted >= 0 and not self.samples:
            self.announced = created  # it is the one that was announced before
        self.void(created)
        return True

    def announce(self, at: float) -> bool:
        """``SessionCompacted``: void what was made before the summary, or, when none was seen, before
        the event itself (C2). Said again, or after its summary has done it, it changes nothing."""
        before = self.compacted
        if self.summary_created > self.compacted:
            self.void(self.summary_created)
        elif self.announced == self.compacted and (self.samples or self.compacted < 0):
            self.void(at)
        self.announced = self.compacted
        return self.compacted != before

    def void(self, until: float) -> None:
        """Forget what was measured up to a compaction."""
        self.compacted = until
        self.samples = tuple(each for each in self.samples if each.created > until)


def _place_of(message_id: str, samples: tuple[Sample, ...]) -> int | None:
    for index, each in enumerate(samples):
        if each.message_id == message_id:
            return index
    return None


def _is_said_again(sample: Sample, known: Sample) -> bool:
    """The same measurement of a message, whenever it was received."""
    return (
        sample.tokens == known.tokens
        and sample.projected == known.projected
        and sample.created == known.created
    )


def created_at(event: MessageUpdated) -> float:
    """When a message was made, as well as it is known."""
    return event.created or event.completed or event.at


def is_finished(event: MessageUpdated) -> bool:
    """Whether an answer is over: ``finish`` comes a little before ``completed``."""
    return bool(event.finish) or event.completed is not None
