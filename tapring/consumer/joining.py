"""A session on each lane: on those that are there, and on those that join while one runs.

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
from typing import Final

import msgspec

from ..errors import EngineNotFound, SessionBusy, StageNotFound, TapError
from ..shm.limits import duration_in_ns, slots_in, stage_index
from ..shm.platform import require
from ..shm.refusals import LaneRefused, may_live, refusal
from ..shm.registry import Registry
from ..shm.requests import Request, StandingRequest
from ..shm.room import fair_share, fitting
from ..shm.row import Row
from ..shm.segment import DIRECTORY
from ..shm.sweep import lanes_of, sweep_lane
from ..shm.table import TABLE_TIMEOUT_S
from ..wire.layout import Owner, RowState
from .attachment import CLOSE_TIMEOUT_S, JOIN_TIMEOUT_S, Attachment, kind_of

_NS: Final = 1_000_000_000
_LOOK_NS: Final = 20_000_000
# The clock of a directory's times moves on with the kernel's tick, every 1 to 10 ms.
_TICK_NS: Final = 50_000_000


class Asked(msgspec.Struct, frozen=True):
    """What each lane's session is asked for.

    duration: seconds. buffer_bytes: of the ring; None is the engine's default, or less if that
    does not fit into ``share`` bytes; without a ``share``, into what is free of shared memory.
    """

    stage: str
    duration: float | None = None
    buffer_bytes: int | None = None
    owner: Owner = Owner.CONSUMER
    sample: int = 1
    share: int | None = None

    def request(self, engines: str) -> Request:
        """Return the same as a request to all lanes of ``engines``."""
        duration_ns = 0 if self.duration is None else round(self.duration * _NS)
        return Request(engines, self.stage, self.buffer_bytes or 0, duration_ns, self.sample)


class Requests:
    """The standing requests of one session: one for each user whose engines it reads.

    Only root reads engines of several users. Each user's engines look at their own user's requests.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._standing: dict[int, StandingRequest] = {}

    @property
    def engines(self) -> str:
        """The engine's name, or a pattern."""
        return self._request.engines

    def publish(self, owners: Iterable[int] = ()) -> bool:
        """Publish to this user's engines and to those of ``owners``. False: all were there.

        Raises SharedMemoryFull and NotPermitted.
        """
        require()
        new = {os.geteuid(), *owners} - self._standing.keys()
        for owner in new:
            self._standing[owner] = StandingRequest.publish(self._request, owner)
        return bool(new)

    def speak_of(self, engine: str) -> bool:
        """Return whether these want lanes of ``engine``."""
        return self._request.speaks_of(engine)

    def row_in(self, registry: Registry) -> Row | None:
        """Return the row that the lane has opened for one of these; None if there is none."""
        epochs = {each.epoch for each in self._standing.values()}
        for row in registry.table.rows():
            if row.state == RowState.OPEN and row.owner == Owner.REQUEST and row.request in epochs:
                return row
        return None

    def withdraw(self) -> None:
        """Take the requests back."""
        for each in self._standing.values():
            each.withdraw()

    def detach(self) -> None:
        """In a forked child: leave the requests to the parent."""
        for each in self._standing.values():
            each.detach()


class Following:
    """The lanes that join a session while it runs.

    seen: engine and lane of those that the session has met already. first: a ring that it reads;
    the others must be like that one. ``due_ns``: when to ``look`` next, on CLOCK_MONOTONIC.
    linger_ns: how long the session goes on when no lane is left.
    """

    def __init__(
        self,
        requests: Requests,
        asked: Asked,
        seen: Iterable[tuple[str, str]],
        first: Attachment,
        linger_ns: float,
    ) -> None:
        self.due_ns = 0
        self.linger_ns = linger_ns
        self._refused: list[LaneRefused] = []
        self._busy: dict[tuple[str, str], LaneRefused] = {}  # tried again at each look
        self._requests = requests
        self._asked = asked
        self._seen = set(seen)
        self._first = first
        self._changed_ns = 0
        self._unfinished = False

    @property
    def refused(self) -> tuple[LaneRefused, ...]:
        """The lanes that cannot be read, and why."""
        return (*self._refused, *self._busy.values())

    def look(self, join: Callable[[Attachment], object], knows: Callable[[str, str], bool]) -> None:
        """Open a session on each lane that has appeared, and call ``join`` with it.

        knows: tells whether an engine's lane has joined already.
        """
        if self._has_changed():
            try:
                self._look(join, knows)
            except TapError as error:
                self._refuse(self._requests.engines, "*", error)
        self.due_ns = monotonic_ns() + _LOOK_NS  # last: after an exception, the next call goes on

    def _look(
        self, join: Callable[[Attachment], object], knows: Callable[[str, str], bool]
    ) -> None:
        there = self._there()
        self._seen &= set(there)
        for each in there:
            if each not in self._seen and (knows(*each) or self._meet(*each, join)):
                self._seen.add(each)
        self._unfinished = not self._seen.issuperset(there)

    def withdraw(self) -> None:
        """Look for no more lanes; remove those that have ended since the last look."""
        self._requests.withdraw()
        with suppress(TapError, OSError):
            if self._has_changed():
                for each in self._there():
                    if each not in self._seen:
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

    def _there(self) -> list[tuple[str, str]]:
        return [each for each in lanes_of(None) if self._requests.speak_of(each[0])]

    def _meet(self, engine: str, lane: str, join: Callable[[Attachment], object]) -> bool:
        """Open a session on a lane, if it can be read; False if it is not finished yet."""
        try:
            registry = Registry.attach(engine, lane, patience_s=0.0)
        except EngineNotFound:
            return False
        except TapError as error:
            if may_live(engine, lane):
                self._refuse(engine, lane, error)
            return True
        self._busy.pop((engine, lane), None)
        try:
            attachment = open_session(
                registry, self._asked, self._requests, self._first, JOIN_TIMEOUT_S
            )
        except SessionBusy as error:
            self._busy[engine, lane] = refusal(engine, lane, error)
            registry.detach()
            return False
        except TapError as error:
            if not isinstance(error, EngineNotFound):
                self._refuse(engine, lane, error)
            registry.detach()
        except BaseException:
            registry.detach()
            raise
        else:
            join(attachment)
        return True

    def _refuse(self, engine: str, lane: str, error: TapError) -> None:
        each = refusal(engine, lane, error)
        if each not in self._refused:
            self._refused.append(each)


def open_session(
    registry: Registry,
    asked: Asked,
    requests: Requests | None,
    first: Attachment | None,
    timeout_s: float = TABLE_TIMEOUT_S,
) -> Attachment:
    """Open a session on one lane, or take the one that it has opened for one of ``requests``.

    first: a ring that is read already; raises StageNotFound unless this one is like it. timeout_s:
    how long to wait for a table that another process holds. Raises EngineNotFound if the lane has
    ended without such a session, and what ``Registry.register`` and ``Attachment`` raise.
    """
    info, address = registry.info, registry.address
    row = None if requests is None else requests.row_in(registry)
    stage = stage_index(address, asked.stage, [each.name for each in info.stages])
    try:
        if first is not None:
            _check_alike(registry, stage, first)
        if row is not None:
            return _take(registry, row, asked)
    except TapError:
        if row is not None:
            registry.table.free(row, CLOSE_TIMEOUT_S)
        raise
    if not registry.engine_is_alive() or registry.engine_has_closed():
        raise EngineNotFound(f"the engine {address} has just ended")
    duration_ns = duration_in_ns(address, asked.duration, info.max_duration_ns)
    size = asked.buffer_bytes
    if size is None:
        share = fair_share() if asked.share is None else asked.share
        size = fitting(info.buffer_bytes, share)
    slots = slots_in(address, size, info.slot_bytes, info.max_buffer_bytes)
    row = registry.register(
        stage=stage,
        slots=slots,
        slot_bytes=info.slot_bytes,
        duration_ns=duration_ns,
        owner=asked.owner,
        sample=asked.sample,
        timeout_s=timeout_s,
    )
    try:
        owned = asked.owner == Owner.CONSUMER
        return Attachment(registry, row, owned=owned, wanted=asked.buffer_bytes)
    except BaseException:
        registry.table.free(row, CLOSE_TIMEOUT_S)
        raise


def _take(registry: Registry, row: Row, asked: Asked) -> Attachment:
    """Become the consumer of a session that a lane has opened for this process's request."""
    registry.table.lock_reader(row)
    try:
        return Attachment(registry, row, owned=True, wanted=asked.buffer_bytes)
    except BaseException:
        registry.table.unlock_reader(row)
        raise


def _check_alike(registry: Registry, stage: int, first: Attachment) -> None:
    """Raise StageNotFound if a stage is not like that of the lane ``first``: one kind is read."""
    kinds = [kind_of(registry, stage), first.kind]
    here, there = (f"{kind.name} {kind.describe()}".strip() for kind in kinds)
    if here != there:
        name = registry.info.stages[stage].name
        raise StageNotFound(
            f"the stage {name!r} of {registry.address} carries {here}, but that of "
            f"{first.registry.address}, which is read, carries {there}; capture one lane at a "
            f"time: ENGINE.LANE"
        )
