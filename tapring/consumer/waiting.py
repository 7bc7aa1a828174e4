"""How a consumer waits while nothing is there: it polls, sleeps on a doorbell, or spins."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic_ns
from typing import Final, Protocol

from ..errors import SessionBusy
from ..shm.doorbell import Bell
from ..shm.registry import NO_BELL
from ..wire.ordering import full_barrier
from .attachment import Source

POLL: Final = "poll"
DOORBELL: Final = "doorbell"
SPIN: Final = "spin"
WAKES: Final = (POLL, DOORBELL, SPIN)

_NS: Final = 1_000_000_000
# A sleep of an eighth of the time since the last frame adds a sixteenth of that to a latency,
# on average. 50 us is what the shortest sleep takes anyway; 5 ms costs an idle consumer 0.5 % of
# a core.
_SHARE: Final = 8
_FIRST_SLEEP_S: Final = 50e-6
_LONGEST_SLEEP_S: Final = 5e-3
# What a post that was missed costs at most, and how late an engine's death is seen.
_BOUND_S: Final = 50e-3
_LOOKS: Final = 512  # then there is one at whether the session goes on


class Waiter(Protocol):
    """A way of waiting."""

    wake: str

    def wait(self, sources: Sequence[Source], since_ns: int, until_ns: int) -> None:
        """Wait for ``sources`` to have something: for a while, and until ``until_ns`` at most.

        Times are CLOCK_MONOTONIC's; since ``since_ns`` there has been nothing.
        """

    async def wait_async(self, sources: Sequence[Source], since_ns: int, until_ns: int) -> None:
        """As ``wait``, while other tasks run."""

    def give_back(self) -> None:
        """Ask nothing of the engine any more."""

    def close(self) -> None:
        """Let go of everything."""


class Poll:
    """Sleep, longer the longer nothing comes: the engine has nothing to do with it."""

    wake = POLL

    def wait(self, sources: Sequence[Source], since_ns: int, until_ns: int) -> None:
        """Sleep an eighth of the time since ``since_ns``, between 50 us and 5 ms, again and again.

        For 50 ms: looking at nothing but the ring between two sleeps takes an idle consumer from
        1.6 to 0.8 % of a core, since little code is what wakes up cold.
        """
        readers = [source.reader for source in sources]
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

    async def wait_async(self, sources: Sequence[Source], since_ns: int, until_ns: int) -> None:
        """As ``wait``."""
        from asyncio import sleep

        await sleep(_pause_s(monotonic_ns(), since_ns, until_ns))

    def give_back(self) -> None:
        """Nothing was asked."""

    def close(self) -> None:
        """Nothing is held."""


class Spin(Poll):
    """Look again and again: the lowest latency, for a core of one's own."""

    wake = SPIN

    def wait(self, sources: Sequence[Source], since_ns: int, until_ns: int) -> None:
        """Look for some 50 us, without a pause.

        ``sleep(0)`` takes 50 us (cpython#125997), and ``sched_yield`` gives a core that is shared
        away for milliseconds (Linux 6.18).
        """
        readers = [source.reader for source in sources]
        for _ in range(_LOOKS):
            for reader in readers:
                if not reader.is_empty():
                    return

    async def wait_async(self, sources: Sequence[Source], since_ns: int, until_ns: int) -> None:
        """Give the loop its turn, and no more."""
        from asyncio import sleep

        await sleep(0)


class Doorbell:
    """Sleep on a semaphore, which the engines post while this side says that it sleeps.

    One for all lanes: that of the first one's session. Each of the others' rows names it.
    """

    wake = DOORBELL

    def __init__(self, sources: Sequence[Source]) -> None:
        first = sources[0]
        self._sources = sources
        self._bell = Bell.make(first.bell_name, first.registry.segment.owner)
        try:
            bell = first.new_bell()
            for source in sources:
                source.registry.hang_bell(source.row, bell)
        except BaseException:
            self.give_back()
            self.close()
            raise

    def wait(self, sources: Sequence[Source], since_ns: int, until_ns: int) -> None:
        """Sleep until something is published, or 50 ms."""
        sleep = monotonic_ns()
        try:
            for source in sources:
                source.reader.say_waiting(sleep, full_barrier)
            for source in sources:
                if not source.reader.is_empty() or source.reader.ended():
                    return
            self._bell.wait(min(_BOUND_S, max(0, until_ns - sleep) / _NS))
        finally:
            for source in sources:
                source.reader.say_awake(sleep)

    async def wait_async(self, sources: Sequence[Source], since_ns: int, until_ns: int) -> None:
        """As ``wait``, in a thread: an event loop cannot wait for a semaphore."""
        from asyncio import to_thread

        await to_thread(self.wait, sources, since_ns, until_ns)

    def give_back(self) -> None:
        """Take the bell's name out of the rows, and the bell's own out of /dev/shm."""
        for source in self._sources:
            if not source.owned:  # else the row itself goes
                with suppress(SessionBusy):
                    source.registry.hang_bell(source.row, NO_BELL)
        self._bell.unlink()

    def close(self) -> None:
        """Let go of the semaphore."""
        self._bell.close()


def make_waiter(wake: str, sources: Sequence[Source]) -> Waiter:
    """What ``wake`` names, for sessions that were just opened.

    Raises SharedMemoryFull, NotPermitted, SessionBusy where there can be no doorbell.
    """
    if wake == DOORBELL:
        return Doorbell(sources)
    return Spin() if wake == SPIN else Poll()


def _pause_s(now: int, since_ns: int, until_ns: int) -> float:
    pause_s = min(max(_FIRST_SLEEP_S, (now - since_ns) / _NS / _SHARE), _LONGEST_SLEEP_S)
    return min(pause_s, max(0, until_ns - now) / _NS)
