"""Opening sessions: of one's own, of somebody else's, and closing kept ones."""

from __future__ import annotations

import math
import time
from time import monotonic_ns
from typing import Any, Final

import msgspec

from ..errors import (
    BufferLimit,
    DurationLimit,
    EngineNotFound,
    NotPermitted,
    SessionBusy,
    StageNotFound,
    TapError,
    suggest,
)
from ..events.redaction import Redactor
from ..events.selection import Select
from ..events.sieve import OnDecodeError, make_sieve
from ..shm.discovery import find, split_address
from ..shm.limits import check_sample
from ..shm.registry import TABLE_TIMEOUT_S, Registry, Row
from ..wire import layout
from ..wire.layout import Owner
from .attachment import CLOSE_TIMEOUT_S, Source
from .session import AT_MOST_ONCE, DELIVERIES, Session
from .waiting import POLL, WAKES, make_waiter

_NS: Final = 1_000_000_000
_FIND_POLL_S: Final = 0.05


def capture(
    address: str,
    *,
    stage: str = "decoded",
    duration: float | None = None,
    buffer_bytes: int | None = None,
    wait: float = 0.0,
    keep: bool = False,
    delivery: str = AT_MOST_ONCE,
    sample: int = 1,
    wake: str = POLL,
    select: Select | None = None,
    redact: Redactor | None = None,
    type: Any = None,  # noqa: A002
    on_decode_error: OnDecodeError | None = None,
) -> Session:
    """Open a session of ``stage`` on every lane of an engine, or on one, and read them as one.

    Each batch that begins after it returned is offered, of those in the 2 ms before perhaps none:
    the engine takes a session up in parts.

    address: ``ENGINE`` or ``ENGINE.LANE``. duration: seconds; None for as long as the engine
    allows. buffer_bytes: of each ring; None for the engine's default. wait: seconds to wait for
    the engine to appear (``math.inf``: for ever). keep: the session outlives its consumer; who
    attaches to one of its ``addresses`` goes on at the very event, until its duration is over or
    ``close_session`` ends it. delivery: ``"at-most-once"`` or ``"at-least-once"``, which is what a
    killed consumer's successor does not see, or sees again: the events that it had in hand.
    sample: the engine offers one *batch* in so many and does not serialize the others, which
    ``stats.sampled_out`` counts (``Select(sample=...)`` takes one *event* in so many, here).
    wake: how to wait while nothing is there. ``"poll"`` sleeps, longer the longer nothing comes
    (50 us to 5 ms), and costs the engine nothing. ``"doorbell"`` sleeps on a semaphore: what comes
    is there as fast as the kernel wakes (15 to 90 us), for which the engine makes a system call
    (5 to 45 us) whenever it offers a batch to a consumer that sleeps, and only then. ``"spin"``
    looks again and again: some 7 us, and a whole core.

    select, redact: what is kept, and what is hidden, before anything is handed out. type: decode
    the events of a ``json`` or ``lines`` stage into it (a msgspec.Struct, say); one that cannot be
    is counted in ``stats.decode_errors`` and given, with the error, to ``on_decode_error``.

    Raises EngineNotFound, StageNotFound, SessionLimit, SessionBusy, DurationLimit, BufferLimit,
    SharedMemoryFull, RingCorrupt, VersionMismatch, NotPermitted, and ValueError for arguments
    that are wrong whatever the engine, or that the stage's kind cannot be asked.
    """
    engine, lane, session = split_address(address)
    if session is not None:
        raise ValueError(f"{address!r} names a session: attach_session reads one that exists")
    if duration is not None and not 0 < duration < math.inf:
        raise ValueError(f"a duration is a positive number of seconds, not {duration!r}")
    _check_delivery(delivery)
    _check_wake(wake)
    check_sample(sample)
    asked = _Asked(stage, duration, buffer_bytes, Owner.NOBODY if keep else Owner.CONSUMER, sample)
    sources = _open_sessions(_find(engine, lane, wait), asked)
    try:
        _check_alike(sources, stage)
        sieve = make_sieve(sources[0].kind, select, redact, type, on_decode_error)
        waiter = make_waiter(wake, sources)
        _let_be_taken_up(sources)
    except BaseException:
        _end(sources)
        raise
    # A kept session's duration is the engine's to end: a consumer's own would begin anew.
    deadline = None if duration is None or keep else monotonic_ns() + round(duration * _NS)
    return Session(sources, deadline_ns=deadline, delivery=delivery, sieve=sieve, waiter=waiter)


def attach_session(
    address: str,
    session: int | None = None,
    *,
    wait: float = 0.0,
    delivery: str = AT_MOST_ONCE,
    wake: str = POLL,
    select: Select | None = None,
    redact: Redactor | None = None,
    type: Any = None,  # noqa: A002
    on_decode_error: OnDecodeError | None = None,
) -> Session:
    """Read a session that was registered or kept: ``ENGINE[.LANE]:ID``, or its id apart.

    It goes on at the very event after the last one that the consumer before it had released.
    ``delivery``, ``wake``, ``select``, ``redact``, ``type`` and ``on_decode_error`` are as in
    ``capture``.
    Without a lane, the first lane that has a session of that id; also of an engine that died, as
    long as nobody has swept its lane. Raises EngineNotFound, SessionNotFound, SessionBusy where it
    is read already, the others of ``capture``, and ValueError for an address without an id.
    """
    engine, lane, session = _split_with_id(address, session)
    _check_delivery(delivery)
    _check_wake(wake)
    registry, row = _find_session(engine, lane, session, wait)
    try:
        registry.take_reader(row)
        row = registry.row_of(session)  # it may have ended, and its row be another's, meanwhile
        source = Source(registry, row, owned=False)
    except BaseException:
        registry.let_go()
        raise
    try:
        sieve = make_sieve(source.kind, select, redact, type, on_decode_error)
        waiter = make_waiter(wake, [source])
        _let_be_taken_up([source])
    except BaseException:
        source.close()
        raise
    return Session([source], delivery=delivery, sieve=sieve, waiter=waiter)


def close_session(address: str) -> None:
    """End a kept session (``ENGINE[.LANE]:ID``), whether somebody reads it or not.

    Raises EngineNotFound, SessionNotFound, SessionBusy (the table is held), NotPermitted where
    the session is somebody's own, and ValueError for an address without an id.
    """
    engine, lane, session = _split_with_id(address)
    registry, row = _find_session(engine, lane, session, 0.0)
    with registry:
        if row.owner != Owner.NOBODY:
            whose = "the engine" if row.owner == Owner.ENGINE else "its consumer"
            raise NotPermitted(
                f"session {registry.address}:{session} belongs to {whose}, and ends with it; only "
                f"one that was opened to be kept (tapring open) can be closed from outside"
            )
        if not registry.free(row, TABLE_TIMEOUT_S):
            raise SessionBusy(f"the session table of {registry.address} is held; try again")


def _split_with_id(address: str, session: int | None = None) -> tuple[str, str | None, int]:
    engine, lane, named = split_address(address)
    session = named if session is None else session
    if session is None:
        raise ValueError(f"{address!r} names no session: ENGINE:ID does, such as {engine}:7")
    return engine, lane, session


def _check_wake(wake: str) -> None:
    if wake not in WAKES:
        raise ValueError(f"wake is one of {', '.join(map(repr, WAKES))}, not {wake!r}")


def _check_delivery(delivery: str) -> None:
    if delivery not in DELIVERIES:
        raise ValueError(f"delivery is {' or '.join(map(repr, DELIVERIES))}, not {delivery!r}")


def _find_session(engine: str, lane: str | None, session: int, wait: float) -> tuple[Registry, Row]:
    registries = _find(engine, lane, wait, session)
    try:
        registry, row = _row_of(registries, session)
    except BaseException:
        for registry in registries:
            registry.let_go()
        raise
    for other in registries:
        if other is not registry:
            other.close()
    return registry, row


def _find(engine: str, lane: str | None, wait: float, session: int | None = None) -> list[Registry]:
    deadline = time.monotonic() + wait
    while True:
        try:
            return find(engine, lane, session)
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


class _Asked(msgspec.Struct, frozen=True):
    """What is asked of each lane's session."""

    stage: str
    duration: float | None
    buffer_bytes: int | None
    owner: Owner
    sample: int


def _open_sessions(registries: list[Registry], asked: _Asked) -> list[Source]:
    """A session on each lane; a lane that closes meanwhile is left out, unless it is the last."""
    sources: list[Source] = []
    gone: EngineNotFound | None = None
    try:
        while registries:
            try:
                sources.append(_open_session(registries[0], asked))
            except EngineNotFound as error:
                gone = error
                registries[0].close()
            del registries[0]
        if not sources and gone:
            raise gone
    except BaseException:
        _end(sources)
        for registry in registries:
            registry.let_go()
        raise
    return sources


def _let_be_taken_up(sources: list[Source]) -> None:
    """Give the engine its time, so that each batch that begins after this is seen, and rung for."""
    opened_ns = max(source.row.opened_ns for source in sources)
    left_ns = opened_ns + layout.TAKE_UP_NS - monotonic_ns()
    if 0 < left_ns <= layout.TAKE_UP_NS:  # else of another clock
        time.sleep(left_ns / _NS)


def _check_alike(sources: list[Source], stage: str) -> None:
    """Raise ValueError where lanes differ in what a stage carries: a Session is of one kind."""
    kinds = {
        (source.kind.name, source.kind.describe()): source.registry.address for source in sources
    }
    if len(kinds) > 1:
        said = ", ".join(f"{kind} {of}".strip() + f" in {at}" for (kind, of), at in kinds.items())
        raise ValueError(
            f"the lanes differ in what stage {stage!r} carries ({said}); capture one of them "
            f"at a time, ENGINE.LANE"
        )


def _end(sources: list[Source]) -> None:
    for source in sources:
        source.registry.free(source.row, CLOSE_TIMEOUT_S)
        source.close()


def _open_session(registry: Registry, asked: _Asked) -> Source:
    info = registry.info
    stages = [each.name for each in info.stages]
    if asked.stage not in stages:
        raise StageNotFound(
            f"the engine {info.engine} has no stage {asked.stage!r}"
            f"{suggest(asked.stage, stages)}; its stages: {', '.join(stages)}"
        )
    duration_ns = round((asked.duration or 0) * _NS)
    if duration_ns > info.max_duration_ns:
        raise DurationLimit(
            f"{asked.duration:g} s were asked for; the engine {info.engine} allows a session "
            f"{info.max_duration_ns / _NS:g} s at most"
        )
    size = info.buffer_bytes if asked.buffer_bytes is None else asked.buffer_bytes
    smallest = layout.MIN_SLOTS * info.slot_bytes
    if not smallest <= size <= info.max_buffer_bytes:
        raise BufferLimit(
            f"a buffer of {size} bytes was asked for; the engine {info.engine} allows "
            f"{smallest} to {info.max_buffer_bytes} bytes"
        )
    row = registry.register(
        stage=stages.index(asked.stage),
        slots=size // info.slot_bytes,
        slot_bytes=info.slot_bytes,
        duration_ns=duration_ns,
        owner=asked.owner,
        sample=asked.sample,
    )
    try:
        return Source(registry, row, owned=asked.owner == Owner.CONSUMER)
    except BaseException:
        registry.free(row, CLOSE_TIMEOUT_S)
        raise
