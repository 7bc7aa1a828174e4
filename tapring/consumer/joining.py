"""The lanes that join a session while it runs: finding them, and opening it on each.

Theory of operation. A capture of an engine publishes what it wants as standing requests (see
``requests``), so that a lane that starts opens a session by itself. ``Following`` looks for such
lanes a few times each 100 ms and maps their rings. A lane without such a session is asked for one,
as at the beginning: it may be one that was there, or one whose limits forbid what is wanted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic_ns
from typing import Final, NamedTuple

from ..errors import EngineNotFound, SessionBusy, SharedMemoryFull, TapError
from ..shm.refusals import LaneRefused, may_live, refusal
from ..shm.registry import Registry
from ..shm.segment import DIRECTORY
from ..shm.sweep import lanes_of, sweep_lane, sweep_requests
from .asked import Asked, Requests, open_session
from .attachment import Attachment

_LOOK_NS: Final = 20_000_000
_LONGEST_WAIT_NS: Final = 5_000_000_000
_TIDY_NS: Final = 1_000_000_000
_TIDIED_AT_ONCE: Final = 16
_AT_ONCE: Final = 64  # lanes that are tried in one look: the others wait for their frames
# The clock of a directory's times moves on with the kernel's tick, every 1 to 10 ms.
_TICK_NS: Final = 50_000_000


class _Later(NamedTuple):
    """When a lane is tried again, after how long a wait, and why it could not be read so far."""

    due_ns: int
    wait_ns: int
    refused: LaneRefused | None


class Following:
    """The lanes that join a session while it runs.

    seen: engine and lane of those that the session has met already. first: a ring that it reads;
    the others must be like that one; None: like the first that joins. ``due_ns``: when to ``look``
    next, on CLOCK_MONOTONIC. linger_ns: how long the session goes on when no lane is left. met:
    called with the registry of each lane that is looked at.
    """

    def __init__(
        self,
        requests: Requests,
        asked: Asked,
        seen: Iterable[tuple[str, str]],
        first: Attachment | None,
        linger_ns: float,
        met: Callable[[Registry], object] = lambda _: None,
    ) -> None:
        self.due_ns: int = 0
        self.linger_ns = linger_ns
        self._blind: tuple[LaneRefused, ...] = ()  # why this process cannot look just now
        self._refused: dict[tuple[str, str], LaneRefused] = {}
        self._later: dict[tuple[str, str], _Later] = {}  # lanes that are tried again
        self._requests = requests
        self._asked = asked
        self._seen = set(seen)
        self._first = first
        self._changed_ns = 0
        self._unfinished = False
        self._met = met
        self._tidy_ns = monotonic_ns() + _TIDY_NS
        self._untidy: list[tuple[str, str]] = []

    @property
    def refused(self) -> tuple[LaneRefused, ...]:
        """The lanes that cannot be read, and why."""
        later = [each.refused for each in self._later.values() if each.refused is not None]
        return (*self._blind, *self._refused.values(), *later)

    def look(
        self,
        join: Callable[[Attachment], object],
        knows: Callable[[str, str, str], bool],
        *,
        last: bool = False,
    ) -> None:
        """Open a session on each lane that has appeared, and call ``join`` with it.

        knows: tells whether an engine's lane has joined already, with this stage. last: no look
        follows, so look at all of them at once.
        """
        if monotonic_ns() >= self._tidy_ns:
            self._tidy()
        if self._has_changed():
            try:
                self._look(join, knows, None if last else _AT_ONCE)
                self._blind = ()
            except TapError as error:
                self._blind = (refusal(self._requests.engines, "*", error),)
        self.due_ns = monotonic_ns() + _LOOK_NS  # last: after an exception, the next call goes on

    def _look(
        self,
        join: Callable[[Attachment], object],
        knows: Callable[[str, str, str], bool],
        at_once: int | None,
    ) -> None:
        there = lanes_of(self._requests.engines)
        self._seen &= set(there)
        for lane, later in list(self._later.items()):
            if lane not in there:
                if later.refused is not None:  # it ended before it could be read
                    self._refused[lane] = later.refused
                del self._later[lane]
        last = at_once is None
        due = [each for each in there if each not in self._seen and (last or self._is_due(each))]
        for lane in due[:at_once]:
            if knows(*lane, self._asked.stage) or self._meet(*lane, join):
                self._seen.add(lane)
                self._later.pop(lane, None)
        self._unfinished = not self._seen.issuperset(there)

    def _tidy(self) -> None:
        """Free what dead consumers have left in these lanes: an idle engine does not.

        Some lanes at a time: each takes 0.1 ms.
        """
        self._tidy_ns = monotonic_ns() + _TIDY_NS
        if not self._untidy:
            self._untidy = sorted(self._seen)
        some, self._untidy = self._untidy[:_TIDIED_AT_ONCE], self._untidy[_TIDIED_AT_ONCE:]
        with suppress(TapError, OSError):  # this process may lack what it takes to look
            for engine, lane in some:
                sweep_lane(engine, lane)
            sweep_requests()

    def _is_due(self, lane: tuple[str, str]) -> bool:
        later = self._later.get(lane)
        return later is None or monotonic_ns() >= later.due_ns

    def _try_later(self, engine: str, lane: str, error: TapError | None) -> bool:
        """Try a lane again, after twice the time; until then it is refused because of ``error``."""
        before = self._later.get((engine, lane))
        wait_ns = _LOOK_NS if before is None else min(2 * before.wait_ns, _LONGEST_WAIT_NS)
        refused = None if error is None else self._asked.refusal(engine, lane, error)
        self._later[engine, lane] = _Later(monotonic_ns() + wait_ns, wait_ns, refused)
        return False

    def withdraw(self) -> None:
        """Look for no more lanes; remove those that have ended since the last look."""
        self._requests.withdraw()
        with suppress(TapError, OSError):
            if self._has_changed():
                there = lanes_of(self._requests.engines)
                for each in [each for each in there if each not in self._later][:_AT_ONCE]:
                    sweep_lane(*each)

    def detach(self) -> None:
        """In a forked child: leave everything to the parent."""
        self._requests.detach()

    def _has_changed(self) -> bool:
        """Whether a name may have come since the last look. Listing them all takes much longer."""
        try:
            changed_ns = os.stat(DIRECTORY).st_mtime_ns
        except OSError:
            return True
        if changed_ns == self._changed_ns and not self._unfinished:
            return False
        self._unfinished = True  # until a look has come to its end
        # Names that come within one tick of each other leave the same time.
        self._changed_ns = changed_ns if time.time_ns() - changed_ns > _TICK_NS else 0
        return True

    def _meet(self, engine: str, lane: str, join: Callable[[Attachment], object]) -> bool:
        """Open a session on a lane, if it can be read; False if it is not finished yet."""
        try:
            registry = Registry.attach(engine, lane, patience_s=0.0)
        except EngineNotFound:  # it is being made, or is gone
            return self._try_later(engine, lane, None)
        except SharedMemoryFull as error:  # what this process lacks now, it may have later
            return self._try_later(engine, lane, error)
        except TapError as error:
            if may_live(engine, lane):
                self._refused[engine, lane] = refusal(engine, lane, error)
            return True
        try:
            self._met(registry)
            self._requests.publish([registry.segment.owner])
            attachment = open_session(
                registry, self._asked, self._requests, self._first, joins=True
            )
        except (SessionBusy, SharedMemoryFull) as error:
            registry.detach()
            return self._try_later(engine, lane, error)
        except TapError as error:
            if not isinstance(error, EngineNotFound):
                self._refused[engine, lane] = self._asked.refusal(engine, lane, error)
            registry.detach()
            sweep_lane(engine, lane)  # it may have stayed for this
        except BaseException:
            registry.detach()
            raise
        else:
            if attachment is None:
                registry.close()
            else:
                self._first = self._first or attachment
                join(attachment)
        return True
