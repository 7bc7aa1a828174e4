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
from typing import Final, NamedTuple

import msgspec

from ..errors import (
    EngineNotFound,
    SessionBusy,
    SessionNotFound,
    SharedMemoryFull,
    StageNotFound,
    TapError,
)
from ..shm.limits import duration_in_ns, slots_in, stage_index
from ..shm.platform import require
from ..shm.refusals import LaneRefused, may_live, refusal
from ..shm.registry import Registry
from ..shm.requests import Request, StandingRequest
from ..shm.room import check_reserve, fitting, share_of_joining
from ..shm.row import Row
from ..shm.segment import DIRECTORY
from ..shm.sweep import lanes_of, sweep_lane
from ..shm.table import TABLE_TIMEOUT_S
from ..wire.layout import Owner, RowState
from .attachment import CLOSE_TIMEOUT_S, JOIN_TIMEOUT_S, Attachment, kind_of

_NS: Final = 1_000_000_000
_LOOK_NS: Final = 20_000_000
_LONGEST_WAIT_NS: Final = 5_000_000_000
_AT_ONCE: Final = 64  # lanes that are tried in one look: the others wait for their frames
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

    def row_in(self, registry: Registry) -> Row | None:
        """Return the row that the lane has opened for one of these; None if there is none."""
        epochs = self._epochs()
        for row in registry.table.rows():
            if row.state == RowState.OPEN and row.owner == Owner.REQUEST and row.request in epochs:
                return row
        return None

    def denied_by(self, registry: Registry) -> list[int]:
        """Return the epochs of those that the lane could not grant as it started."""
        return [each for each in registry.table.denied() if each in self._epochs()]

    def _epochs(self) -> set[int]:
        return {each.epoch for each in self._standing.values()}

    def withdraw(self) -> None:
        """Take the requests back."""
        for each in self._standing.values():
            each.withdraw()

    def detach(self) -> None:
        """In a forked child: leave the requests to the parent."""
        for each in self._standing.values():
            each.detach()


class _Later(NamedTuple):
    """When a lane is tried again, after how long a wait, and why it could not be read so far."""

    due_ns: int
    wait_ns: int
    refused: LaneRefused | None


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
        self._blind: tuple[LaneRefused, ...] = ()  # why this process cannot look just now
        self._refused: dict[tuple[str, str], LaneRefused] = {}
        self._later: dict[tuple[str, str], _Later] = {}  # lanes that are tried again
        self._requests = requests
        self._asked = asked
        self._seen = set(seen)
        self._first = first
        self._changed_ns = 0
        self._unfinished = False

    @property
    def refused(self) -> tuple[LaneRefused, ...]:
        """The lanes that cannot be read, and why."""
        later = [each.refused for each in self._later.values() if each.refused is not None]
        return (*self._blind, *self._refused.values(), *later)

    def look(
        self,
        join: Callable[[Attachment], object],
        knows: Callable[[str, str], bool],
        *,
        last: bool = False,
    ) -> None:
        """Open a session on each lane that has appeared, and call ``join`` with it.

        knows: tells whether an engine's lane has joined already. last: no look follows, so look at
        all of them at once.
        """
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
        knows: Callable[[str, str], bool],
        at_once: int | None,
    ) -> None:
        there = lanes_of(self._requests.engines)
        self._seen &= set(there)
        for lane, later in list(self._later.items()):
            if lane not in there:
                if later.refused is not None:  # it ended before it could be read
                    self._refused[lane] = later.refused
                del self._later[lane]
        due = [lane for lane in there if lane not in self._seen and self._is_due(lane)]
        for lane in due[:at_once]:
            if knows(*lane) or self._meet(*lane, join):
                self._seen.add(lane)
                self._later.pop(lane, None)
        self._unfinished = not self._seen.issuperset(there)

    def _is_due(self, lane: tuple[str, str]) -> bool:
        later = self._later.get(lane)
        return later is None or monotonic_ns() >= later.due_ns

    def _try_later(self, engine: str, lane: str, error: TapError | None) -> bool:
        """Try a lane again, after twice the time; until then it is refused because of ``error``."""
        before = self._later.get((engine, lane))
        wait_ns = _LOOK_NS if before is None else min(2 * before.wait_ns, _LONGEST_WAIT_NS)
        refused = None if error is None else refusal(engine, lane, error)
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
                self._refuse(engine, lane, error)
            return True
        try:
            self._requests.publish([registry.segment.owner])
            attachment = open_session(
                registry, self._asked, self._requests, self._first, joins=True
            )
        except (SessionBusy, SharedMemoryFull) as error:
            registry.detach()
            return self._try_later(engine, lane, error)
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
        self._refused[engine, lane] = refusal(engine, lane, error)


def open_session(
    registry: Registry,
    asked: Asked,
    requests: Requests | None,
    first: Attachment | None,
    *,
    joins: bool = False,
) -> Attachment:
    """Open a session on one lane, or take the one that it has opened for one of ``requests``.

    first: a ring that is read already; raises StageNotFound unless this one is like it. joins:
    other lanes are being read, so wait little for a table that another process holds, and leave
    some shared memory free. Raises EngineNotFound if the lane has ended without such a session, and
    what ``Registry.register`` and ``Attachment`` raise.
    """
    info, address = registry.info, registry.address
    timeout_s = JOIN_TIMEOUT_S if joins else TABLE_TIMEOUT_S
    row = None if requests is None else requests.row_in(registry)
    denied = [] if requests is None else requests.denied_by(registry)
    if denied:
        registry.table.note_denied(denied, timeout_s)
    try:
        stage = stage_index(address, asked.stage, [each.name for each in info.stages])
        if first is not None:
            _check_alike(registry, stage, first)
    except StageNotFound:
        if row is not None:
            registry.table.free(row, CLOSE_TIMEOUT_S)
        raise
    if row is not None:  # if this fails, the row stays open, and the next look tries again
        return _take(registry, row, asked)
    duration_ns = duration_in_ns(address, asked.duration, info.max_duration_ns)
    size = asked.buffer_bytes
    if size is None:
        size = fitting(info.buffer_bytes, share_of_joining() if joins else asked.share)
    slots = slots_in(address, size, info.slot_bytes, info.max_buffer_bytes)
    if joins:
        check_reserve(size)
    if not registry.engine_is_alive() or registry.engine_has_closed():
        if denied:
            raise SessionNotFound(
                f"the engine {address} could not open this session as it started (it was full, or "
                f"shared memory was), and has ended since"
            )
        raise EngineNotFound(f"the engine {address} has just ended")
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
