"""The consumer's side: opening or attaching to sessions, reading them, and their account.

Never imports ``tap``: the two meet only in shared bytes.

A Session reads one ring, or one a lane of its engine, merged by time. It copies a frame out,
releases its slots, and hands the events out; what it took and was never asked for counts as
unread. It polls: while nothing is there it sleeps, 50 us at first and growing to 5 ms, so that
the engine makes no system call and an idle consumer uses less than 1 % of a core.
"""

from __future__ import annotations

import atexit
import math
import os
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, islice
from operator import length_hint
from time import monotonic_ns
from typing import Any, Final

import msgspec

from . import layout
from .discovery import find, split_address
from .errors import (
    BufferLimit,
    DurationLimit,
    EngineNotFound,
    StageNotFound,
    TapError,
    suggest,
)
from .layout import Owner
from .registry import Registry, Row
from .ring import Taken
from .source import CLOSE_TIMEOUT_S, Frame, Source

_NS: Final = 1_000_000_000
# 50 us is what the shortest sleep takes anyway; 5 ms costs an idle consumer 0.5 % of a core.
_FIRST_SLEEP_S: Final = 50e-6
_LONGEST_SLEEP_S: Final = 5e-3
_FIND_POLL_S: Final = 0.05


class Stats(msgspec.Struct, frozen=True):
    """The account of a session. Counts are events; ``bytes`` and ``lag_ns`` say their unit.

    ``offered == delivered + unread + dropped + oversize + errors`` at every quiet moment.

    offered: offered to the session since it was opened. captured: written into the ring.
    delivered: handed out. unread: captured and not delivered. dropped: found the ring full.
    oversize: larger than the ring. errors: could not be serialized. bytes: payload delivered.
    gaps: places at which events were missing. split: lines more than their frames said.
    lag_ns: age of the oldest frame that is not read yet, 0 while there is none.
    """

    offered: int = 0
    captured: int = 0
    delivered: int = 0
    unread: int = 0
    dropped: int = 0
    oversize: int = 0
    errors: int = 0
    bytes: int = 0
    gaps: int = 0
    split: int = 0
    lag_ns: int = 0


class Session:
    """A capture that is being read. Made by ``capture`` and ``attach_session``.

    A context manager; closing twice is fine. Iterating gives events (``lines``: bytes without
    their newline; ``json``: decoded objects; ``bytes``: bytes; ``array``: an array a frame) until
    the session ends; ``ended_by`` then says why: ``duration``, ``expired`` (the engine's own
    limit), ``engine-exit``, ``engine-death``, ``closed`` (by its owner), ``evicted``, or what
    ``end`` was given; in a forked child ``fork``, since the session stays its parent's.
    Iterating, ``frames`` and ``read`` may be mixed.
    """

    def __init__(self, sources: list[Source], *, deadline_ns: int | None = None) -> None:
        self._sources = sources
        self._open = list(sources)
        self._deadline_ns = deadline_ns
        self._rest: Iterator[Any] = iter(())
        self._rest_of: tuple[Source, Taken] | None = None
        self._bytes = 0
        self._split = 0
        self._stop: str | None = None
        self._failure: TapError | None = None
        self._final: Stats | None = None
        self.ended_by: str | None = None
        first = sources[0]
        self.engine = first.registry.info.engine
        self.lanes = tuple(source.registry.info.lane for source in sources)
        self.ids = tuple(source.row.id for source in sources)
        self.stage = first.registry.info.stages[first.row.stage].name
        self.kind = first.kind.name
        self.dtype = getattr(first.kind, "dtype", None)
        _sessions.add(self)

    @property
    def id(self) -> int:
        """The session's id in its lane; the first lane's, where there are several."""
        return self.ids[0]

    @property
    def stats(self) -> Stats:
        """The account so far; after ``close``, the last one."""
        return self._final or self._account()

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self._batches())

    def frames(self, *, limit: int | None = None) -> Iterator[Frame]:
        """Frames until the session ends, or until ``limit`` events: the last is cut to fit."""
        left = math.inf if limit is None else limit
        while left > 0 and (got := self._next_frame()) is not None:
            source, taken = got
            frame = source.frame(taken)
            if limit is not None:
                frame = self._cut(source, frame, int(left))
                left -= frame.count
                if not left and self.ended_by is None:
                    self.ended_by = "limit"
            self._bytes += len(frame.payload)
            yield frame

    def read(self, n: int, timeout: float | None = None) -> list[Any]:
        """At most ``n`` events, waiting at most ``timeout`` seconds for the first.

        [] where none came in time or the session has ended (``ended_by`` tells). Of an ``array``
        stage: arrays of ``n`` records together at most.
        """
        until = None if timeout is None else monotonic_ns() + round(timeout * _NS)
        events: list[Any] = []
        while n > 0:
            if not length_hint(self._rest):
                try:
                    got = self._take(0 if events else until)
                except TapError as error:
                    if not events:
                        raise
                    self._failure = error  # raised by the next call: these events come first
                    break
                if got is None:
                    break
                self._unpack(*got)
            part = list(islice(self._rest, n)) if self.dtype is None else self._records(n)
            n -= len(part) if self.dtype is None else sum(map(len, part))
            events += part
        return events

    def end(self, reason: str) -> None:
        """Make reading end soon, with this ``ended_by``. May be called from a signal handler."""
        if self._stop is None:
            self._stop = reason

    def close(self) -> None:
        """Stop reading and free what was held; a session that ``capture`` opened ends."""
        if self._final is not None:
            return
        self._abandon_rest()
        self._final = self._account()
        if self.ended_by is None:
            self.ended_by = self._stop or "closed"
        for source in self._sources:
            source.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # Without this the descriptor, and so the reader's lock, would outlive a forgotten Session.
        with suppress(Exception):
            self.close()

    def _after_fork(self) -> None:
        """In a forked child: the session stays the parent's; nothing is freed or unlocked."""
        if self._final is None:
            self._final, self.ended_by = Stats(), "fork"
            for source in self._sources:
                source.let_go()

    # ---- taking frames -----------------------------------------------------------------

    def _batches(self) -> Iterator[Iterator[Any]]:
        yield self._rest
        while (got := self._take(None)) is not None:
            self._unpack(*got)
            yield self._rest

    def _unpack(self, source: Source, taken: Taken) -> None:
        events, more = source.kind.unpack(taken.payload, taken.count)
        if more:
            self._split += abs(more)
        self._bytes += len(taken.payload)
        self._rest_of = source, taken
        self._rest = iter(events)

    def _cut(self, source: Source, frame: Frame, left: int) -> Frame:
        if frame.count <= left:
            return frame
        source.reader.note_abandoned(frame.count - left)
        return frame.take(left)

    def _next_frame(self) -> tuple[Source, Taken] | None:
        """The next frame; first what is left of one whose events were only partly read."""
        if self._rest_of is None:
            return self._take(None)
        source, taken = self._rest_of
        self._rest_of = None
        left = list(self._rest)
        if not left:
            return self._take(None)
        payload, count, _ = source.kind.pack(left if self.dtype is None else left[0])
        self._bytes -= len(payload)
        return source, Taken(bytes(payload), count, taken.time_ns, 0)

    def _records(self, n: int) -> list[Any]:
        records = next(self._rest)
        if len(records) > n:
            self._rest = iter([records[n:]])
        return [records[:n]]

    def _take(self, until: int | None) -> tuple[Source, Taken] | None:
        """The next frame of the lane that is furthest behind; None at the end, or at ``until``."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        sleep = _FIRST_SLEEP_S
        while self._goes_on():
            try:
                source = self._open[0] if len(self._open) == 1 else self._furthest_behind()
                if source is not None and (taken := source.reader.take()) is not None:
                    return source, taken
                self._drop_ended()
            except TapError:
                self.ended_by = "error"
                raise
            if not self._open:
                return None
            if until is not None and monotonic_ns() >= until:
                return None
            time.sleep(sleep)
            sleep = min(2 * sleep, _LONGEST_SLEEP_S)
        return None

    def _goes_on(self) -> bool:
        if self.ended_by is None:
            if self._stop is not None:
                self.ended_by = self._stop
            elif self._deadline_ns is not None and monotonic_ns() >= self._deadline_ns:
                self.ended_by = "duration"
        return self.ended_by is None

    def _furthest_behind(self) -> Source | None:
        waiting = [
            (time_ns, index)
            for index, source in enumerate(self._open)
            if (time_ns := source.reader.next_time_ns()) is not None
        ]
        return self._open[min(waiting)[1]] if waiting else None

    def _drop_ended(self) -> None:
        """Leave the lanes that have ended and are drained; the last one's reason is ours."""
        for source in list(self._open):
            reason = source.ended_by()
            if reason is None or not source.reader.is_empty():
                continue
            source.reader.note_final_gap()
            self._open.remove(source)
            source.reason = reason
        if not self._open and self.ended_by is None:
            reasons = [source.reason for source in self._sources]
            self.ended_by = "engine-death" if "engine-death" in reasons else reasons[-1]
            if self.ended_by == "expired" and self._deadline_ns is not None:
                self.ended_by = "duration"

    # ---- the account -------------------------------------------------------------------

    def _rest_count(self) -> int:
        left = length_hint(self._rest)
        if not left or self._rest_of is None:
            return 0
        count = self._rest_of[1].count
        if self.dtype is None:
            return min(left, count)
        records = list(self._rest)
        self._rest = iter(records)
        return min(sum(map(len, records)), count)

    def _abandon_rest(self) -> None:
        left = self._rest_count()
        if left and self._rest_of is not None:
            self._rest_of[0].reader.note_abandoned(left)
        self._rest = iter(())

    def _account(self) -> Stats:
        ledgers = [source.ledger() for source in self._sources]
        rest = self._rest_count()
        times = [time_ns for source in self._open if (time_ns := source.oldest_ns())]
        captured = sum(ledger.captured for ledger in ledgers)
        delivered = sum(ledger.delivered for ledger in ledgers) - rest
        dropped = sum(ledger.dropped for ledger in ledgers)
        oversize = sum(ledger.oversize for ledger in ledgers)
        errors = sum(ledger.errors for ledger in ledgers)
        return Stats(
            offered=captured + dropped + oversize + errors,
            captured=captured,
            delivered=delivered,
            unread=captured - delivered,
            dropped=dropped,
            oversize=oversize,
            errors=errors,
            bytes=self._bytes,
            gaps=sum(source.reader.gaps for source in self._sources),
            split=self._split,
            lag_ns=max(0, monotonic_ns() - min(times)) if times else 0,
        )


def capture(
    address: str,
    *,
    stage: str = "decoded",
    duration: float | None = None,
    buffer_bytes: int | None = None,
    wait: float = 0.0,
) -> Session:
    """Open a session of ``stage`` on every lane of an engine, or on one, and read them as one.

    address: ``ENGINE`` or ``ENGINE.LANE``. duration: seconds; None for as long as the engine
    allows. buffer_bytes: of each ring; None for the engine's default. wait: seconds to wait for
    the engine to appear (``math.inf``: for ever).

    Raises EngineNotFound, StageNotFound, SessionLimit, SessionBusy, DurationLimit, BufferLimit,
    SharedMemoryFull, RingCorrupt, VersionMismatch, NotPermitted, and ValueError for arguments
    that are wrong whatever the engine.
    """
    engine, lane, session = split_address(address)
    if session is not None:
        raise ValueError(f"{address!r} names a session: attach_session reads one that exists")
    if duration is not None and not 0 < duration < math.inf:
        raise ValueError(f"a duration is a positive number of seconds, not {duration!r}")
    sources = _open_sessions(_find(engine, lane, wait), stage, duration, buffer_bytes)
    deadline = None if duration is None else monotonic_ns() + round(duration * _NS)
    return Session(sources, deadline_ns=deadline)


def attach_session(address: str, session: int | None = None, *, wait: float = 0.0) -> Session:
    """Read a session that somebody registered: ``ENGINE[.LANE]:ID``, or its id apart.

    Without a lane, the first lane that has a session of that id. Raises EngineNotFound,
    SessionNotFound, SessionBusy where it is read already, the others of ``capture``, and
    ValueError for an address without an id.
    """
    engine, lane, named = split_address(address)
    session = named if session is None else session
    if session is None:
        raise ValueError(f"{address!r} names no session: ENGINE:ID does, such as {engine}:7")
    registries = _find(engine, lane, wait)
    try:
        registry, row = _row_of(registries, session)
    except BaseException:
        for registry in registries:
            registry.close()
        raise
    for other in registries:
        if other is not registry:
            other.close()
    try:
        registry.take_reader(row)
        return Session([Source(registry, row, owned=False)])
    except BaseException:
        registry.close()
        raise


def _find(engine: str, lane: str | None, wait: float) -> list[Registry]:
    deadline = time.monotonic() + wait
    while True:
        try:
            return find(engine, lane)
        except EngineNotFound:
            if time.monotonic() >= deadline:
                raise
        time.sleep(_FIND_POLL_S)


def _row_of(registries: list[Registry], session: int) -> tuple[Registry, Row]:
    for registry in registries[:-1]:
        try:
            return registry, registry.row_of(session)
        except TapError:
            continue
    return registries[-1], registries[-1].row_of(session)


def _open_sessions(
    registries: list[Registry], stage: str, duration: float | None, buffer_bytes: int | None
) -> list[Source]:
    """A session on each lane; a lane that closes meanwhile is left out, unless it is the last."""
    sources: list[Source] = []
    gone: EngineNotFound | None = None
    try:
        while registries:
            try:
                sources.append(_open_session(registries[0], stage, duration, buffer_bytes))
            except EngineNotFound as error:
                gone = error
                registries[0].close()
            del registries[0]
        if not sources and gone:
            raise gone
    except BaseException:
        for source in sources:
            source.close()
        for registry in registries:
            registry.close()
        raise
    return sources


def _open_session(
    registry: Registry, stage: str, duration: float | None, buffer_bytes: int | None
) -> Source:
    info = registry.info
    stages = [each.name for each in info.stages]
    if stage not in stages:
        raise StageNotFound(
            f"the engine {info.engine} has no stage {stage!r}{suggest(stage, stages)}; "
            f"its stages: {', '.join(stages)}"
        )
    duration_ns = round((duration or 0) * _NS)
    if duration_ns > info.max_duration_ns:
        raise DurationLimit(
            f"{duration:g} s were asked for; the engine {info.engine} allows a session "
            f"{info.max_duration_ns / _NS:g} s at most"
        )
    size = info.buffer_bytes if buffer_bytes is None else buffer_bytes
    smallest = layout.MIN_SLOTS * info.slot_bytes
    if not smallest <= size <= info.max_buffer_bytes:
        raise BufferLimit(
            f"a buffer of {size} bytes was asked for; the engine {info.engine} allows "
            f"{smallest} to {info.max_buffer_bytes} bytes"
        )
    row = registry.register(
        stage=stages.index(stage),
        slots=size // info.slot_bytes,
        slot_bytes=info.slot_bytes,
        duration_ns=duration_ns,
        owner=Owner.CONSUMER,
    )
    try:
        return Source(registry, row, owned=True)
    except BaseException:
        registry.free(row, CLOSE_TIMEOUT_S)
        raise


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for session in list(_sessions):
        session._after_fork()


def _close_all() -> None:
    for session in list(_sessions):
        session.close()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_close_all)
