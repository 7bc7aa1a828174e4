"""What a session asks of each lane: its standing requests, and opening it on one lane."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

import msgspec

from ..errors import EngineNotFound, RemoteAccessOff, SessionNotFound, StageNotFound, TapError
from ..events.kinds import Kind
from ..events.sieve import Sieves
from ..shm.limits import duration_in_ns, kept_duration_in_ns, slots_in, stage_index
from ..shm.platform import require
from ..shm.refusals import LaneRefused, refusal
from ..shm.registry import Registry
from ..shm.requests import Request, StandingRequest
from ..shm.room import check_reserve, fitting, share_of_joining
from ..shm.row import Row
from ..shm.segment import Segment
from ..shm.table import TABLE_TIMEOUT_S
from ..wire.layout import Owner, RowState
from .attachment import CLOSE_TIMEOUT_S, JOIN_TIMEOUT_S, Attachment, kind_of

_NS: Final = 1_000_000_000


class Asked(msgspec.Struct, frozen=True):
    """What each lane's session is asked for.

    duration: seconds; None is as long as the engine allows, but see ``KEPT_DURATION_S`` for an
    ``owner`` NOBODY. buffer_bytes: of the ring; None is the engine's default, or less if that
    does not fit into ``share`` bytes; without a ``share``, into what is free of shared memory.
    optional: a lane that has no such stage is none that cannot be read. among: it is one of several
    stages. since_ns: begin with what each lane has recorded from then on (CLOCK_MONOTONIC). sieves:
    what its events pass. remote: its events are handed on, which a lane may forbid.
    """

    stage: str
    duration: float | None = None
    buffer_bytes: int | None = None
    owner: Owner = Owner.CONSUMER
    sample: int = 1
    share: int | None = None
    optional: bool = False
    among: bool = False
    since_ns: int | None = None
    sieves: Sieves | None = None
    remote: bool = False

    def refusal(self, engine: str, lane: str, error: TapError) -> LaneRefused:
        """Return what ``error``, with which a lane refused this, says of it."""
        return refusal(engine, lane, error, self.stage if self.among else "")

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
        self._denied_by: set[str] = set()  # other stages of that lane are asked for, too

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

    def row_in(self, registry: Registry, stage: int | None = None) -> Row | None:
        """Return the row that the lane has opened for one of these; None if there is none.

        stage: only of this stage of the lane.
        """
        epochs = self._epochs()
        for row in registry.table.rows():
            if (
                row.state == RowState.OPEN
                and row.owner == Owner.REQUEST
                and row.request in epochs
                and stage in (None, row.stage)
            ):
                return row
        return None

    def were_denied_by(self, registry: Registry, timeout_s: float) -> bool:
        """Return whether the lane could not grant one as it started; tell it that this is known.

        Raises SessionBusy.
        """
        epochs = [each for each in registry.table.denied() if each in self._epochs()]
        if epochs:
            registry.table.note_denied(epochs, timeout_s)
            self._denied_by.add(registry.address)
        return registry.address in self._denied_by

    def _epochs(self) -> set[int]:
        return {each.epoch for each in self._standing.values()}

    def withdraw(self) -> None:
        """Take the requests back. Doing so twice is fine."""
        for owner in tuple(self._standing):
            self._standing[owner].withdraw()
            del self._standing[owner]

    def detach(self) -> None:
        """In a forked child: leave the requests to the parent."""
        for each in self._standing.values():
            each.detach()


def open_session(
    registry: Registry,
    asked: Asked,
    requests: Requests | None,
    first: Attachment | None,
    *,
    joins: bool = False,
) -> Attachment | None:
    """Open a session on one lane, or take the one that it has opened for one of ``requests``.

    Returns None if the lane has no such stage, and need not have it. first: a ring that is read
    already; raises StageNotFound unless this one is like it. joins: other lanes are being read, so
    wait little for a table that another process holds, and leave some shared memory free. Raises
    EngineNotFound if the lane has ended without such a session; ValueError, or StageNotFound if it
    joins, if its events cannot pass the sieve; and what ``Registry.register`` and ``Attachment``
    raise.
    """
    info, address = registry.info, registry.address
    timeout_s = JOIN_TIMEOUT_S if joins else TABLE_TIMEOUT_S
    stages = [each.name for each in info.stages]
    if asked.optional and asked.stage not in stages:
        return None
    row = None
    try:
        stage = stage_index(address, asked.stage, stages)
        row = None if requests is None else requests.row_in(registry, stage)
        if asked.remote:
            info.check_remote()
        _check_readable(registry, stage, asked, first)
    except (RemoteAccessOff, StageNotFound, ValueError) as error:
        if row is not None:
            registry.table.free(row, CLOSE_TIMEOUT_S)
        elif requests is not None:  # else the lane would stay for this consumer as it ends
            requests.were_denied_by(registry, timeout_s)
        if joins and isinstance(error, ValueError):
            reason = f"the stage {asked.stage!r} of {address} cannot be read as asked: {error}"
            raise StageNotFound(reason) from None
        raise
    if row is not None:  # if this fails, the row stays open, and the next look tries again
        return _take(registry, row, asked)
    denied = requests is not None and requests.were_denied_by(registry, timeout_s)
    if asked.duration is None and asked.owner == Owner.NOBODY:
        duration_ns = kept_duration_in_ns(info.max_duration_ns)
    else:
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
    rings: list[Segment] = []
    row = registry.register(
        stage=stage,
        slots=slots,
        slot_bytes=info.slot_bytes,
        duration_ns=duration_ns,
        owner=asked.owner,
        sample=asked.sample,
        timeout_s=timeout_s,
        keep=rings.append,
    )
    try:
        owned = asked.owner == Owner.CONSUMER
        return Attachment(
            registry,
            row,
            owned=owned,
            wanted=asked.buffer_bytes,
            sieves=asked.sieves,
            since_ns=asked.since_ns,
            ring=rings.pop(),
        )
    except BaseException:
        registry.table.free(row, CLOSE_TIMEOUT_S)
        raise


def _take(registry: Registry, row: Row, asked: Asked) -> Attachment:
    """Become the consumer of a session that a lane has opened for this process's request."""
    registry.table.lock_reader(row)
    try:
        return Attachment(
            registry,
            row,
            owned=True,
            wanted=asked.buffer_bytes,
            sieves=asked.sieves,
            since_ns=asked.since_ns,
        )
    except BaseException:
        registry.table.unlock_reader(row)
        raise


def _check_readable(registry: Registry, stage: int, asked: Asked, first: Attachment | None) -> None:
    """Raise StageNotFound if a stage is not like that of the lane ``first``: one kind is read.

    Raises ValueError if the stage's events cannot pass the sieve.
    """
    kind = kind_of(registry, stage)
    if first is not None:
        _check_alike(registry, stage, kind, first)
    if asked.sieves is not None:
        asked.sieves.of(kind)


def _check_alike(registry: Registry, stage: int, kind: Kind, first: Attachment) -> None:
    kinds = [kind, first.kind]
    here, there = (f"{kind.name} {kind.describe()}".strip() for kind in kinds)
    if here != there:
        name = registry.info.stages[stage].name
        raise StageNotFound(
            f"the stage {name!r} of {registry.address} carries {here}, but that of "
            f"{first.registry.address}, which is read, carries {there}; capture one lane at a "
            f"time: ENGINE.LANE"
        )
