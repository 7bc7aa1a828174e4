"""How a consumer waits while no frame is there: it polls, sleeps on a doorbell, or spins."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic_ns
from typing import Final, Protocol

from ..errors import SessionBusy, TapError
from ..literals import Wake
from ..shm.doorbell import Bell
from ..shm.row import NO_BELL
from ..wire.ordering import full_barrier
from .attachment import JOIN_TIMEOUT_S, Attachment

POLL: Final = "poll"
DOORBELL: Final = "doorbell"
SPIN: Final = "spin"
WAKES: Final[tuple[Wake, ...]] = (POLL, DOORBELL, SPIN)

Wait = Callable[[], object]

_NS: Final = 1_000_000_000
# Sleeping an eighth of the time since the last frame adds a sixteenth of that time to the latency,
# on average. 50 us is the shortest sleep there is; 5 ms costs an idle consumer 0.5 % of a core.
_SHARE: Final = 8
_FIRST_SLEEP_S: Final = 50e-6
_LONGEST_SLEEP_S: Final = 5e-3
# The longest delay after a missed post, and before an engine's death is noticed.
_BOUND_S: Final = 50e-3
_LOOKS: Final = 512  # between two checks whether the session goes on


class Waiter(Protocol):
    """A way of waiting. Times are CLOCK_MONOTONIC, in ns."""

    @property
    def wake(self) -> Wake:
        """The word for it."""

    def wait(self, attachments: Sequence[Attachment], since_ns: int, until_ns: int) -> None:
        """Wait for a frame in one of ``attachments``: for a while, and until ``until_ns`` at most.

        No frame has come since ``since_ns``.
        """

    async def wait_async(self, wait: Wait, since_ns: int, until_ns: int) -> None:
        """Wait as ``wait`` does, while other tasks run.

        The argument ``wait`` calls the method in the session's turn; a thread may call it.
        """

    def join(self, attachment: Attachment) -> None:
        """Wait for this one, too, from now on."""

    def leave(self, attachment: Attachment, others: Sequence[Attachment]) -> None:
        """Let go of a ring that is about to be closed, while the ``others`` go on."""

    def unlink(self) -> None:
        """Stop asking the engine to wake this consumer; remove what was made for it."""

    def close(self) -> None:
        """Let go of everything."""


class Poll:
    """Sleep, and longer the longer no frame comes. The engine does nothing for it."""

    wake: Wake = POLL

    def wait(self, attachments: Sequence[Attachment], since_ns: int, until_ns: int) -> None:
        """Sleep an eighth of the time since ``since_ns`` (50 us to 5 ms), repeatedly for 50 ms.

        Between two sleeps this looks at nothing but the rings. That takes an idle consumer from
        1.6 to 0.8 % of a core, because little code has to be brought back into the cache.
        """
        readers = [each.reader for each in attachments]
        now = monotonic_ns()
        enough_ns = now + round(_BOUND_S * _NS)
        while now < enough_ns:
            time.sleep(_pause_s(now, since_ns, until_ns))
            for reader in readers:
                if not reader.is_empty():
                    return
            now = monotonic_ns()
            if now >= until_ns:
                return

    async def wait_async(self, wait: Wait, since_ns: int, until_ns: int) -> None:
        """Sleep once, as ``wait`` would."""
        from asyncio import sleep

        await sleep(_pause_s(monotonic_ns(), since_ns, until_ns))

    def join(self, attachment: Attachment) -> None:
        """Do nothing: ``wait`` is told each time what to look at."""

    def leave(self, attachment: Attachment, others: Sequence[Attachment]) -> None:
        """Do nothing: ``wait`` is told each time what to look at."""

    def unlink(self) -> None:
        """Do nothing: the engine was asked for nothing."""

    def close(self) -> None:
        """Do nothing: nothing is open."""


class Spin(Poll):
    """Look again and again without a pause: the lowest latency, and it occupies a whole core."""

    wake: Wake = SPIN

    def wait(self, attachments: Sequence[Attachment], since_ns: int, until_ns: int) -> None:
        """Look for about 50 us, without a pause.

        A pause would be too long: ``sleep(0)`` takes 50 us (cpython#125997), and ``sched_yield``
        gives a shared core away for milliseconds (Linux 6.18).
        """
        readers = [each.reader for each in attachments]
        for _ in range(_LOOKS):
            for reader in readers:
                if not reader.is_empty():
                    return

    async def wait_async(self, wait: Wait, since_ns: int, until_ns: int) -> None:
        """Let other tasks run, and return."""
        from asyncio import sleep

        await sleep(0)


class Doorbell:
    """Sleep on a semaphore, which the engines post while this consumer says that it sleeps.

    All lanes share one, the doorbell of the first lane's session; the rows of the others name it.
    """

    wake: Wake = DOORBELL

    def __init__(self, attachments: Sequence[Attachment]) -> None:
        self._attachments = list(attachments)
        self._bell: Bell
        self._hang(attachments[0])

    def wait(self, attachments: Sequence[Attachment], since_ns: int, until_ns: int) -> None:
        """Sleep until a frame is published, but 50 ms at most."""
        sleep = monotonic_ns()
        try:
            for each in attachments:
                each.reader.say_waiting(sleep, full_barrier)
            for each in attachments:
                if not each.reader.is_empty() or each.reader.ended():
                    return
            self._bell.wait(min(_BOUND_S, max(0, until_ns - sleep) / _NS))
        finally:
            for each in attachments:
                each.reader.say_awake(sleep)

    async def wait_async(self, wait: Wait, since_ns: int, until_ns: int) -> None:
        """Wait as ``wait`` does, in a thread: an event loop cannot wait for a semaphore."""
        from asyncio import to_thread

        await to_thread(wait)

    def join(self, attachment: Attachment) -> None:
        """Let that lane's engine post the doorbell, too. If it cannot be told, 50 ms bound it."""
        if attachment not in self._attachments:
            self._attachments.append(attachment)
        with suppress(TapError):
            if self._holder in self._attachments:
                attachment.registry.table.hang_bell(attachment.row, self._of, JOIN_TIMEOUT_S)
            else:
                self._hang_again(attachment)

    def leave(self, attachment: Attachment, others: Sequence[Attachment]) -> None:
        """Go on without that ring. If the doorbell bears its name, hang another one."""
        if attachment in self._attachments:
            self._attachments.remove(attachment)
        if self._holder is attachment and others:
            with suppress(TapError):
                self._hang_again(others[0])

    def _hang_again(self, holder: Attachment) -> None:
        old = self._bell
        try:
            self._hang(holder)
        except BaseException:
            self._bell = old  # no engine posts this one any more, so each wait lasts its full 50 ms
            raise
        old.close()

    def _hang(self, holder: Attachment) -> None:
        """Make a doorbell in the name of one session, and tell the engines of all to post it."""
        self._bell = Bell.make(holder.bell_name, holder.registry.segment.owner)
        self._holder, self._of = holder, holder.new_bell()
        try:
            for each in self._attachments:
                each.registry.table.hang_bell(each.row, self._of)
        except BaseException:
            self.unlink()
            self.close()
            raise

    def unlink(self) -> None:
        """Take the doorbell out of the rows, and its name out of /dev/shm."""
        for each in self._attachments:
            if not each.owned and each.registry.segment.is_open:  # an owned row is freed anyway
                with suppress(SessionBusy):
                    each.registry.table.hang_bell(each.row, NO_BELL)
        self._bell.unlink()

    def close(self) -> None:
        """Close the semaphore."""
        self._bell.close()


def make_waiter(wake: Wake, attachments: Sequence[Attachment]) -> Waiter:
    """The way of waiting that ``wake`` names, for sessions that were just opened.

    Raises SharedMemoryFull, NotPermitted or SessionBusy if a doorbell cannot be made.
    """
    if wake == DOORBELL:
        return Doorbell(attachments)
    return Spin() if wake == SPIN else Poll()


def _pause_s(now: int, since_ns: int, until_ns: int) -> float:
    pause_s = min(max(_FIRST_SLEEP_S, (now - since_ns) / _NS / _SHARE), _LONGEST_SLEEP_S)
    return min(pause_s, max(0, until_ns - now) / _NS)
