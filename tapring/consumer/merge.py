"""Several lanes read as one: which ring is read next, waiting for it, and how the whole ends.

The frame that is taken next is the oldest one of all lanes; frames of one lane stay in order. A
lane that has ended is dropped once it is drained. The whole ends with its last lane, at its
deadline, or when it is told to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import get_native_id
from time import monotonic_ns
from typing import Final

from ..ended_by import EndedBy
from ..errors import TapError
from ..frame import Frame
from ..shm.refusals import LaneRefused, refusal
from .attachment import Attachment
from .lane_ended import LaneEnded, ending
from .turn import Turn
from .waiting import Waiter

_NEVER_NS: Final = 1 << 63  # later than any clock
_ASYNC_TURN_NS: Final = 50_000_000  # as long as a waiter waits


class Merge:
    """The rings of a session's lanes, in order of time.

    ``attachments`` are all of them, ``open`` those that may still have frames. ``deadline_ns``
    (CLOCK_MONOTONIC) is when the whole ends, None if only the lanes end it. ``ended_by`` is why it
    ended; None before. ``refused``: lanes that could not be read to their end. ``ended``: lanes
    that ended, in that order. ``on_idle`` is called before each wait. ``sleeper``: see
    ``turn.Shared``.
    """

    __slots__ = (
        "_stop",
        "attachments",
        "deadline_ns",
        "ended",
        "ended_by",
        "on_idle",
        "open",
        "refused",
        "sleeper",
        "waiter",
    )

    def __init__(
        self, attachments: Sequence[Attachment], deadline_ns: int | None, waiter: Waiter
    ) -> None:
        self.attachments = tuple(attachments)
        self.open = list(attachments)
        self.deadline_ns = deadline_ns
        self.waiter = waiter
        self.ended_by: str | None = None
        self.on_idle: Callable[[], object] | None = None
        self._stop: str | None = None
        self.refused: list[LaneRefused] = []
        self.ended: list[LaneEnded] = []
        self.sleeper = 0

    def take(self, until: int | None, *, keep: bool) -> tuple[Attachment, Frame] | None:
        """The next frame, and its ring. None once the whole has ended, or at ``until``.

        until: CLOCK_MONOTONIC in ns; None waits for ever. keep: do not release the frame yet.
        Raises RingCorrupt, and BufferLimit if the engine refused the session. If there are other
        lanes, it goes on with those, and ``refused`` names this one.
        """
        since = 0
        while True:
            # What ``goes_on`` says, without a call.
            if (
                self.ended_by is not None or self._stop is not None or self.deadline_ns is not None
            ) and not self.goes_on():
                return None
            open_ = self.open
            attachment = open_[0] if len(open_) == 1 else self._furthest_behind()
            if attachment is not None:
                try:
                    frame = attachment.reader.take(keep=keep)
                except TapError as error:
                    if not self._goes_on_without(attachment, error):
                        raise
                    continue
                if frame is not None:
                    return attachment, frame
            self._drop_ended()
            now = monotonic_ns()
            if not self.open or (until is not None and now >= until):
                return None
            if self.on_idle is not None:
                self.on_idle()
            since = since or now
            self._sleep(since, self._wait_until(until))

    async def ready(self, turn: Turn, until: int | None = None) -> None:
        """Let other tasks run until ``take`` would return at once, or until ``until``."""
        since = monotonic_ns()
        while self.goes_on() and not turn.do(self._has_news, 0):
            if until is not None and monotonic_ns() >= until:
                return
            if self.on_idle is not None:
                self.on_idle()
            wait_until = self._wait_until(until)
            wait = partial(self._wait, turn, since, wait_until)
            await self.waiter.wait_async(wait, since, wait_until)

    def end(self, reason: str) -> None:
        """End soon, for this reason. A signal handler may call it."""
        if self._stop is None:
            self._stop = reason

    def settle(self) -> None:
        """Say why it ended, if it is closed before it has a reason."""
        if self.ended_by is None:
            self.ended_by = self._stop or EndedBy.CLOSED

    def close(self) -> None:
        """Free the rows that are ours, then unmap and close everything."""
        self.waiter.unlink()
        for each in self.attachments:
            each.close()
        self.waiter.close()

    def free(self) -> None:
        """Free the rows that are ours; everything stays mapped."""
        self.waiter.unlink()
        for each in self.attachments:
            each.free()

    def detach(self) -> None:
        """In a forked child: unmap and close the rings; free and unlock nothing."""
        for each in self.attachments:
            each.detach()

    def fill(self) -> float:
        """How full the fullest ring is, 0.0 to 1.0. Any thread may ask."""
        fills = [each.reader.account.fill(each.row.slots) for each in tuple(self.open)]
        return max(fills, default=0.0)

    def lag_ns(self) -> int:
        """The age of the oldest frame that is not taken yet, in ns; 0 if there is none.

        Any thread may ask.
        """
        times = [at_ns for each in tuple(self.open) if (at_ns := each.oldest_ns()) is not None]
        return max(0, monotonic_ns() - min(times)) if times else 0

    def ends_ns(self) -> int:
        """When it ends at the latest, by its deadline or by an engine's limit."""
        ends = [each.ends_ns() for each in self.attachments]
        return min(ends if self.deadline_ns is None else [*ends, self.deadline_ns])

    def goes_on(self) -> bool:
        """Whether it goes on. If it does not, ``ended_by`` says why."""
        if self.ended_by is None:
            if self._stop is not None:
                self.ended_by = self._stop
            elif self.deadline_ns is not None and monotonic_ns() >= self.deadline_ns:
                self.ended_by = EndedBy.DURATION
        return self.ended_by is None

    def _wait(self, turn: Turn, since: int, until: int) -> None:
        """Wait for a frame in a turn, as a thread does that an event loop has sent."""

        def wait() -> None:
            if self.goes_on():
                self._sleep(since, until)

        turn.do(wait, min(until, monotonic_ns() + _ASYNC_TURN_NS))

    def _sleep(self, since: int, until: int) -> None:
        self.sleeper = get_native_id()
        try:
            self.waiter.wait(self.open, since, until)
        finally:
            self.sleeper = 0

    def _has_news(self) -> bool:
        """Whether there is a frame to take, or an end or an error to learn of."""
        if not self.goes_on():  # asked in its turn: a closed session's rings are unmapped
            return True
        try:
            return not self.open or any(
                not each.reader.is_empty() or each.ended_by() for each in self.open
            )
        except TapError:
            return True  # ``take`` raises it again

    def _furthest_behind(self) -> Attachment | None:
        first, earliest = None, _NEVER_NS
        for each in tuple(self.open):
            try:
                time_ns = each.next_time_ns()
            except TapError as error:
                if not self._goes_on_without(each, error):
                    raise
                continue
            if time_ns is not None and time_ns < earliest:
                first, earliest = each, time_ns
        return first

    def _goes_on_without(self, attachment: Attachment, error: TapError) -> bool:
        """Drop a lane that cannot be read any more, and name it; False if there is no other one."""
        if len(self.refused) + 1 == len(self.attachments):
            self.ended_by = EndedBy.ERROR
            return False
        self.open.remove(attachment)
        info = attachment.registry.info
        self.refused.append(refusal(info.engine, info.lane, error))
        return True

    def _drop_ended(self) -> None:
        """Drop the lanes that have ended and are drained; after the last one, say why."""
        for each in list(self.open):
            try:
                reason = each.ended_by()
                if reason is None or not each.reader.is_empty():
                    continue
                each.reader.note_final_gap()
            except TapError as error:
                if not self._goes_on_without(each, error):
                    raise
                continue
            self.open.remove(each)
            if reason == EndedBy.EXPIRED and self.deadline_ns is not None:
                reason = EndedBy.DURATION  # the engine ended what was asked for here
            self.ended.append(ending(each.registry, reason))
        if not self.open and self.ended_by is None:
            self.ended_by = self.ended[-1].reason if self.ended else EndedBy.ERROR

    def _wait_until(self, until: int | None) -> int:
        bounds = [bound for bound in (until, self.deadline_ns) if bound is not None]
        return min(bounds, default=_NEVER_NS)
