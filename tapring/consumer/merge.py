"""Several lanes read as one: which ring is read next, waiting for it, and how the whole ends.

The frame that is taken next is the oldest one of all lanes (``order``); frames of one lane stay in
order. Lanes may join while it runs (``joining``). A lane that has ended is dropped once it is
drained. The whole ends at its deadline, when it is told to, or when it has no lane left and none
has joined for a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from threading import get_native_id
from time import monotonic_ns
from typing import Final

from msgspec.structs import replace

from ..ended_by import EndedBy
from ..errors import TapError
from ..frame import Frame
from ..in_any_case import do_all
from ..shm.refusals import LaneRefused, refusal
from .attachment import Attachment
from .joining import Following
from .lanes import LaneEnded, LaneJoined, ending
from .order import Order
from .rings import Retired, Rings
from .stages import Stages
from .turn import Turn
from .waiting import Waiter

_NEVER_NS: Final = 1 << 63  # later than any clock
_NS: Final = 1_000_000_000
_ASYNC_TURN_NS: Final = 50_000_000  # as long as a waiter waits
LAG_NS: Final = 10_000_000
_CHECK_NS: Final = 20_000_000
# Asking one lane takes 5 us. To ask all 64 each 20 ms was a quarter of what reading them cost.
_ASKED_AT_ONCE: Final = 8
_MAY_RESTART: Final = (EndedBy.ENGINE_EXIT, EndedBy.ENGINE_DEATH)


class Merge:
    """The rings of a session's lanes, in order of time.

    ``rings`` are all of them, ``open`` those that may still have frames. ``joined``: the lanes that
    there ever were. ``refused``: those that could not be read to their end. ``ended``: those that
    ended, in that order. These three go by the addresses of sessions, so that what an exception has
    interrupted can be done again. ``deadline_ns`` (CLOCK_MONOTONIC) is when the whole ends, None if
    only the lanes end it. ``ended_by`` is why it ended; None before. ``late``: events of frames
    that came after a later one. ``on_idle`` is called before each wait. ``sleeper``: see
    ``turn.Shared``.

    lag_ns: see ``Order``. following: finds the lanes that join; None if none may.
    """

    __slots__ = (
        "_alone_ns",
        "_check_ns",
        "_direct",
        "_due_ns",
        "_joining",
        "_last_ns",
        "_order",
        "_stop",
        "_timestamp",
        "deadline_ns",
        "ended",
        "ended_by",
        "following",
        "joined",
        "late",
        "on_idle",
        "open",
        "refused",
        "rings",
        "sleeper",
        "waiter",
    )

    def __init__(
        self,
        attachments: Iterable[Attachment],
        deadline_ns: int | None,
        waiter: Waiter,
        *,
        lag_ns: int = LAG_NS,
        following: Following | Stages | None = None,
    ) -> None:
        self.open: list[Attachment] = list(attachments)
        self.rings: Rings = Rings(Retired(), tuple(self.open))
        self.joined: dict[str, LaneJoined] = {}
        self.joined |= {each.joined.address: each.joined for each in self.open}
        self.deadline_ns: int | None = deadline_ns
        self.waiter: Waiter = waiter
        self.following: Following | Stages | None = following
        self.ended_by: str | None = None
        self.on_idle: Callable[[], object] | None = None
        self.refused: dict[str, LaneRefused] = {}
        self.ended: dict[str, LaneEnded] = {}
        self.late: int = 0
        self.sleeper: int = 0
        self._stop: str | None = None
        self._last_ns = deadline_ns  # younger frames are not taken
        self._due_ns: int | None = 0  # when to look up from the frames; None: never
        self._direct = True  # with one lane, its frames need no order
        self._timestamp = 0  # of the last frame that was taken so
        self._order = Order(lag_ns, self._give_up)
        self._joining: Attachment | None = None
        self._alone_ns = 0  # since when there is no lane
        self._check_ns = 0  # when to ask next whether a lane has ended
        self._order.restart(self.open)

    def take(self, until: int | None, *, keep: bool) -> tuple[Attachment, Frame] | None:
        """The next frame, and its ring. None once the whole has ended, or at ``until``.

        until: CLOCK_MONOTONIC in ns; None waits for ever. keep: do not release the frame yet.
        Raises RingCorrupt, and BufferLimit if the engine refused the session. If there are other
        lanes, it goes on with those, and ``refused`` names this one.
        """
        since = 0
        while True:
            due_ns = self._due_ns
            if (
                self.ended_by is not None or (due_ns is not None and monotonic_ns() >= due_ns)
            ) and not self._catch_up():
                return None
            open_ = self.open
            direct = self._direct and len(open_) == 1
            if direct:
                attachment: Attachment | None = open_[0]
            else:
                attachment = self._order.next(self._last_ns)
            if attachment is not None:
                try:
                    frame = attachment.reader.take(keep=keep)
                except TapError as error:
                    self._give_up(attachment, error)
                    continue
                if frame is not None:
                    if direct:
                        self._timestamp = frame.timestamp
                    elif self._order.late:
                        self.late += frame.count
                        frame = replace(frame, late=True)
                    else:  # what comes now from a lane that is left alone is not late
                        self._direct = len(open_) == 1
                    return attachment, frame
            now = monotonic_ns()
            self._drop_ended(now)
            if self._has_ended(now) or (until is not None and now >= until):
                return None
            if self.on_idle is not None:
                self.on_idle()
            since = since or now
            self._sleep(since, self._wait_until(until))

    async def ready(self, turn: Turn, until: int | None = None) -> None:
        """Let other tasks run until ``take`` would return at once, or until ``until``."""
        from asyncio import sleep

        since = monotonic_ns()
        while self.goes_on() and not turn.do(self._has_news, 0):
            if until is not None and monotonic_ns() >= until:
                return
            if self.on_idle is not None:
                self.on_idle()
            held_ns = self._held_ns()
            if held_ns is not None:
                await sleep(held_ns / _NS)
                continue
            wait_until = self._wait_until(until)
            wait = partial(self._wait, turn, since, wait_until)
            await self.waiter.wait_async(wait, since, wait_until)

    def end(self, reason: str) -> None:
        """End soon, for this reason. A signal handler may call it.

        Frames from before now are still taken, unless the reason is that the session is closed.
        """
        if self._stop is None:
            self._stop = reason
            now = monotonic_ns()
            self._last_ns = now if self._last_ns is None else min(self._last_ns, now)
            self._due_ns = 0

    def settle(self) -> None:
        """Say why it ended, if it is closed before it has a reason; count the last lanes, too."""
        if self.following is not None:
            with suppress(OSError):
                self._finish_joining()
                self.following.look(self._join, self._knows, last=True)
        self.rings.settle()
        if self.ended_by is None:
            self.ended_by = self._stop or EndedBy.CLOSED

    def close(self) -> None:
        """Free the rows that are ours, then unmap and close everything. Closing twice is fine."""
        withdraw = () if self.following is None else (self.following.withdraw,)
        closes = [each.close for each in self.rings.attachments]
        do_all([self.waiter.unlink, *closes, self.waiter.close, *withdraw])

    def free(self) -> None:
        """Free the rows that are ours; everything stays mapped."""
        self.waiter.unlink()
        for each in self.rings.attachments:
            with suppress(OSError):  # an interrupt has closed it half-way
                each.free()
        if self.following is not None:
            self.following.withdraw()

    def detach(self) -> None:
        """In a forked child: unmap and close the rings; free and unlock nothing."""
        for each in self.rings.attachments:
            each.detach()
        if self.following is not None:
            self.following.detach()

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
        """When it ends at the latest: at its deadline, or by the limits of the lanes there are."""
        if self.deadline_ns is not None:
            return self.deadline_ns
        return max([each.ends_ns() for each in tuple(self.open)], default=monotonic_ns())

    def goes_on(self) -> bool:
        """Whether it goes on. If it does not, ``ended_by`` says why. Any thread may ask."""
        if self.ended_by is None and self._last_ns is not None:
            held = self._held_ns() is not None and self._stop != EndedBy.CLOSED
            grace_ns = self._order.grace_ns if held else 0
            if monotonic_ns() >= self._last_ns + grace_ns:
                self.ended_by = self._stop or EndedBy.DURATION
        return self.ended_by is None

    def _catch_up(self) -> bool:
        """Do what is due; say whether it goes on."""
        following = self.following
        if following is not None and monotonic_ns() >= following.due_ns and self.goes_on():
            self._follow(following)
        bounds = [self._last_ns, None if following is None else following.due_ns]
        self._due_ns = min([each for each in bounds if each is not None], default=None)
        return self.goes_on()

    # ---- lanes come and go -------------------------------------------------------------

    def _follow(self, following: Following | Stages) -> None:
        """Take in the lanes that have joined; close those that have ended and are used up."""
        self._finish_joining()
        self._drop_ended(monotonic_ns())
        for each in self.rings.attachments:
            if each.joined.address in self.ended and not each.reader.kept and each not in self.open:
                self._order.leave(each)
                self.waiter.leave(each, self.open)
                self.rings = self.rings.without(each)
                with suppress(OSError):
                    each.close()
        following.look(self._join, self._knows)

    def _knows(self, engine: str, lane: str, stage: str) -> bool:
        return (engine, lane, stage) in {
            (each.engine, each.lane, each.stage) for each in self.joined.values()
        }

    def _join(self, attachment: Attachment) -> None:
        self._joining = attachment
        self._finish_joining()

    def _finish_joining(self) -> None:
        """Take in a lane; if an exception interrupts this, the next call goes on."""
        attachment = self._joining
        if attachment is None:
            return
        joined = replace(attachment.joined, initial=False)
        if self._direct and len(self.open) == 1 and self.open[0] is not attachment:
            self._order.note(self.open[0].by_this_clock(self._timestamp))
        self._direct = False
        retired, attachments = self.rings
        if attachment not in attachments:
            self.rings = Rings(retired, (*attachments, attachment))
        self.joined.setdefault(joined.address, joined)
        if attachment not in self.open:
            self.open.append(attachment)
        self._order.restart(self.open)
        self.waiter.join(attachment)
        self._joining = None

    def _give_up(self, attachment: Attachment, error: TapError) -> None:
        """Drop a lane that cannot be read any more, and name it. Raises if it was the only one."""
        if len(self.refused) + 1 == len(self.joined):
            self.ended_by = EndedBy.ERROR
            raise error
        info = attachment.registry.info
        self.refused[attachment.joined.address] = refusal(info.engine, info.lane, error)
        self.open.remove(attachment)
        self._order.leave(attachment)

    def _drop_ended(self, now: int) -> None:
        """Drop the lanes that have ended and are drained."""
        if len(self.open) > 1:
            if now < self._check_ns:
                return
            self._check_ns = now + _CHECK_NS * max(1, len(self.open) // _ASKED_AT_ONCE)
        for each in list(self.open):
            try:
                reason = each.ended_by()
                if reason is None or not each.reader.is_empty():
                    continue
                each.reader.note_final_gap()
            except TapError as error:
                self._give_up(each, error)
                continue
            if reason == EndedBy.EXPIRED and self.deadline_ns is not None:
                reason = EndedBy.DURATION  # the engine ended what was asked for here
            self.ended.setdefault(each.joined.address, ending(each.joined, reason))
            self.open.remove(each)
            self._order.leave(each)

    def _has_ended(self, now: int) -> bool:
        """Whether there is no lane, and none can be expected; ``ended_by`` then says why."""
        if self.open:
            self._alone_ns = 0
            return False
        reason = list(self.ended.values())[-1].reason if self.ended else EndedBy.ERROR
        self._alone_ns = self._alone_ns or now
        linger_ns = 0 if self.following is None else self.following.linger_ns
        if reason in _MAY_RESTART and now - self._alone_ns < linger_ns:
            return False
        self.ended_by = self.ended_by or reason
        return True

    # ---- waiting -----------------------------------------------------------------------

    def _wait(self, turn: Turn, since: int, until: int) -> None:
        """Wait for a frame in a turn, as a thread does that an event loop has sent."""

        def wait() -> None:
            if self.goes_on():
                self._sleep(since, until)

        turn.do(wait, min(until, monotonic_ns() + _ASYNC_TURN_NS))

    def _sleep(self, since: int, until: int) -> None:
        self.sleeper = get_native_id()
        try:
            held_ns = self._held_ns()
            if held_ns is None:
                self.waiter.wait(self.open, since, until)
            else:
                time.sleep(held_ns / _NS)
        finally:
            self.sleeper = 0

    def _held_ns(self) -> int | None:
        """How long the oldest frame waits for other lanes; None if there is none that waits."""
        return None if self._direct and len(self.open) == 1 else self._order.wait_ns()

    def _has_news(self) -> bool:
        """Whether there is a frame to take, or an end, an error or a lane to learn of."""
        if not self.goes_on():  # asked in its turn: a closed session's rings are unmapped
            return True
        if self.following is not None and monotonic_ns() >= self.following.due_ns:
            return True
        try:
            if self._direct and len(self.open) == 1:
                only = self.open[0]
                return not only.reader.is_empty() or only.ended_by() is not None
            if self._order.next(self._last_ns) is not None:
                return True
            now = monotonic_ns()
            return now >= self._check_ns and any(map(_has_ended_unseen, self.open))
        except TapError:
            return True  # ``take`` raises it again

    def _wait_until(self, until: int | None) -> int:
        bounds = [bound for bound in (until, self._last_ns) if bound is not None]
        return min(bounds, default=_NEVER_NS)


def _has_ended_unseen(each: Attachment) -> bool:
    return each.ended_by() is not None
