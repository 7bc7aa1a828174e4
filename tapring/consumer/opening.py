"""Opening a session of one's own, attaching to one that exists, and closing a kept one."""

from __future__ import annotations

import math
from contextlib import suppress
from functools import partial
from time import monotonic_ns
from typing import Any, Final, TypeVar, overload

from ..errors import NotPermitted, SessionBusy, SessionNotFound
from ..events.redaction import Redactor
from ..events.selection import Select
from ..events.sieve import OnDecodeError, Sieves
from ..literals import Delivery, StageNames, Wake
from ..shm.discovery import has_ring
from ..shm.limits import LONGEST_S, check_sample
from ..shm.names import is_pattern, split_address
from ..shm.refusals import LaneRefused, alike, in_words
from ..shm.registry import Registry
from ..shm.requests import ALL_STAGES, is_standing
from ..shm.row import Row
from ..shm.table import TABLE_TIMEOUT_S
from ..wire.layout import Owner
from .asked import Asked
from .attachment import Attachment
from .beginning import Beginning, OnWait, find_lanes, wait_for_the_engine
from .intake import AT_MOST_ONCE, DELIVERIES
from .merge import LAG_NS
from .session import Session
from .waiting import DOORBELL, POLL, WAKES, make_waiter

_NS: Final = 1_000_000_000
LINGER_S: Final = 1.0
_LONGEST_LAG_S: Final = 10.0

Decoded = TypeVar("Decoded")


@overload
def capture(
    address: str,
    *,
    stage: str = ...,
    stages: StageNames | None = ...,
    duration: float | None = ...,
    buffer_bytes: int | None = ...,
    wait: float = ...,
    keep: bool = ...,
    delivery: Delivery = ...,
    sample: int = ...,
    wake: Wake = ...,
    select: Select | None = ...,
    redact: Redactor | None = ...,
    guard: Redactor | None = ...,
    type: type[Decoded],
    on_decode_error: OnDecodeError | None = ...,
    follow: bool = ...,
    linger: float = ...,
    merge_lag: float = ...,
    last: float | None = ...,
    remote: bool = ...,
    on_wait: OnWait | None = ...,
) -> Session[Decoded]: ...
@overload
def capture(
    address: str,
    *,
    stage: str = ...,
    stages: StageNames | None = ...,
    duration: float | None = ...,
    buffer_bytes: int | None = ...,
    wait: float = ...,
    keep: bool = ...,
    delivery: Delivery = ...,
    sample: int = ...,
    wake: Wake = ...,
    select: Select | None = ...,
    redact: Redactor | None = ...,
    guard: Redactor | None = ...,
    type: Any = ...,
    on_decode_error: OnDecodeError | None = ...,
    follow: bool = ...,
    linger: float = ...,
    merge_lag: float = ...,
    last: float | None = ...,
    remote: bool = ...,
    on_wait: OnWait | None = ...,
) -> Session[Any]: ...
def capture(
    address: str,
    *,
    stage: str = "decoded",
    stages: StageNames | None = None,
    duration: float | None = None,
    buffer_bytes: int | None = None,
    wait: float = 0.0,
    keep: bool = False,
    delivery: Delivery = AT_MOST_ONCE,
    sample: int = 1,
    wake: Wake = POLL,
    select: Select | None = None,
    redact: Redactor | None = None,
    guard: Redactor | None = None,
    type: Any = None,  # noqa: A002
    on_decode_error: OnDecodeError | None = None,
    follow: bool = False,
    linger: float = LINGER_S,
    merge_lag: float = LAG_NS / _NS,
    last: float | None = None,
    remote: bool = False,
    on_wait: OnWait | None = None,
) -> Session[Any]:
    """Open a session of ``stage`` on every lane of an engine, or on one lane, and read them as one.

    You receive every batch that starts after this call returns. The call takes 2 ms: the engine
    maps a new ring in small steps, so batches that start before may be missing.

    Of an engine, lanes that start while the session runs are read, too, from their first batch: new
    workers, those that replace others, and a restarted engine. The session ends when no lane has
    been left for ``linger`` seconds.

    If some lanes cannot be read, the others are: ``lanes_refused`` of the session, and of its
    stats, says which and why. The errors below are raised if no lane can be read, or if the one
    that ``address`` names cannot.

    address: ``ENGINE``, a pattern of engines (``web-*``), ``ENGINE.LANE``, or the pid of one of
    its processes.
    stage: the stage to read; ``"*"`` reads all of them. stages: several stages, instead. Each batch
    then comes once for each of its stages, in the order of the engine's stages and with the same
    ``timestamp``: ``session.frames()`` and ``session.tagged()`` say which is which. With ``"*"``, a
    stage that a lane brings along later is read, too.
    duration: seconds, at most the engine's ``max_duration``. None lasts as long as each lane
    allows, a day by default; a kept session lasts 300 seconds, or the engine's limit if that is
    less. ``lanes_joined`` says how long each lane's session may last.
    buffer_bytes: the size of each ring; None takes the engine's default, or less if all rings
    would take more than half of what is free of shared memory.
    wait: seconds to wait for the engine to appear; ``math.inf`` waits for ever.
    keep: the session outlives this consumer. ``attach_session`` with one of its ``addresses``
    continues at the next event. It ends with its duration, or with ``close_session``.
    delivery: what happens to the events in flight if this consumer is killed. With
    ``"at-most-once"`` the next consumer skips them; with ``"at-least-once"`` it gets them again.
    sample: the engine offers one *batch* in this many and does not serialize the others; they are
    counted in ``stats.sampled_out``. (``Select(sample=...)`` keeps one *event* in this many, and
    does so in the consumer.)
    wake: how to wait for the next frame. ``"poll"`` sleeps, and longer the longer no frame comes
    (50 us to 5 ms); it costs the engine nothing. ``"doorbell"`` sleeps until the engine wakes it
    (15 to 90 us); each wake-up costs the engine a system call (5 to 45 us). ``"spin"`` looks all
    the time: about 7 us, and it occupies a whole core.
    select, redact: what to keep and what to hide, before any event is handed out.
    guard: what to hide before that, so that ``select`` does not see it: for a program that hands
    events on to people who choose their own filters.
    type: decode the events of a ``json`` or ``lines`` stage into this type (a msgspec.Struct, for
    example). An event that does not fit is counted in ``stats.decode_errors`` and passed, with the
    error, to ``on_decode_error``.
    follow: stay when no lane is left, until a new one starts, as with an infinite ``linger``. Also
    wait for the first lane, as with an infinite ``wait``.
    linger: how many seconds to stay then. If the last lane did not exit or die, but its session
    ended (by the engine's limit, for example), this session ends at once.
    merge_lag: how many seconds an event waits at most for earlier events of other lanes. A frame
    that comes later is handed out, marked as ``late``, and counted. 0: nothing waits.
    last: begin so many seconds in the past, with what the engine's recorders hold of it
    (``Tap(recorder=...)``). No event comes twice, and none is left out that is still there.
    ``stats.pasts`` says what was found, and ``stats.recorded`` counts it.
    remote: the events are handed on to other machines or users. Lanes that forbid it
    (``Tap(remote=False)``) are refused.
    on_wait: called about every 50 ms while ``wait`` waits for the engine. What it raises ends the
    call.

    Raises EngineNotFound, StageNotFound, SessionLimit, SessionBusy, DurationLimit, BufferLimit,
    SharedMemoryFull, RingCorrupt, VersionMismatch, NotPermitted, RemoteAccessOff; NotRecorded if
    ``last`` is asked of lanes of which none records the stage; SessionNotFound if the session is
    over before this process could open it; and ValueError for an invalid argument, or for a filter
    that cannot apply to this kind of stage.
    """
    engine, lane, session = split_address(address)
    if session is not None:
        raise ValueError(
            f"{address!r} names a session; use attach_session() to read one that exists"
        )
    if follow and (lane is not None or keep):
        raise ValueError(
            "follow reads lanes that start later, so it needs an engine and not one lane of it, "
            "and a session that is not kept"
        )
    if is_pattern(engine) and wake == DOORBELL:
        raise ValueError("a doorbell is for one engine; wait for several with wake='poll'")
    names = _stages_asked(stage, stages)
    if keep and len(names) + (names[0] == ALL_STAGES) > 1:
        raise ValueError("a session that is kept is of one stage; open one for each")
    if duration is not None and not 0 < duration < LONGEST_S:
        raise ValueError(
            f"duration must be more than 0 and less than {LONGEST_S:.0f} seconds, not {duration!r}"
        )
    _check_delivery(delivery)
    _check_wake(wake)
    check_sample(sample)
    if not (linger >= 0 and 0 <= merge_lag <= _LONGEST_LAG_S):
        raise ValueError(
            f"linger must be at least 0 s, not {linger!r}, and merge_lag from 0 to "
            f"{_LONGEST_LAG_S} s, not {merge_lag!r}"
        )
    if last is not None and not 0 < last < LONGEST_S:
        raise ValueError(f"last must be a positive number of seconds, not {last!r}")
    asked = Asked(
        names[0],
        duration,
        buffer_bytes,
        Owner.NOBODY if keep else Owner.CONSUMER,
        sample,
        among=len(names) > 1 or names[0] == ALL_STAGES,
        since_ns=None if last is None else monotonic_ns() - round(last * _NS),
        sieves=Sieves(select, redact, type, on_decode_error, guard),
        remote=remote,
    )
    beginning = Beginning(engine, lane, names, asked, joins=lane is None and not keep)
    try:
        attachments = beginning.open(math.inf if follow else wait, on_wait)
        waiter = make_waiter(wake, attachments)
        wait_for_the_engine(attachments)
        for each in attachments:
            each.look_into_past()
        # The engine ends a kept session: each consumer's own deadline would begin anew.
        deadline = None if duration is None or keep else monotonic_ns() + round(duration * _NS)
        return Session(
            attachments,
            deadline_ns=deadline,
            delivery=delivery,
            sieves=asked.sieves,
            waiter=waiter,
            lanes_refused=tuple(beginning.refused),
            following=beginning.following(math.inf if follow else linger * _NS),
            lag_ns=round(merge_lag * _NS),
            engine=engine if is_pattern(engine) else None,
        )
    except BaseException:
        beginning.undo()
        raise


@overload
def attach_session(
    address: str,
    session: int | None = ...,
    *,
    wait: float = ...,
    delivery: Delivery = ...,
    wake: Wake = ...,
    select: Select | None = ...,
    redact: Redactor | None = ...,
    type: type[Decoded],
    on_decode_error: OnDecodeError | None = ...,
    on_wait: OnWait | None = ...,
) -> Session[Decoded]: ...
@overload
def attach_session(
    address: str,
    session: int | None = ...,
    *,
    wait: float = ...,
    delivery: Delivery = ...,
    wake: Wake = ...,
    select: Select | None = ...,
    redact: Redactor | None = ...,
    type: Any = ...,
    on_decode_error: OnDecodeError | None = ...,
    on_wait: OnWait | None = ...,
) -> Session[Any]: ...
def attach_session(
    address: str,
    session: int | None = None,
    *,
    wait: float = 0.0,
    delivery: Delivery = AT_MOST_ONCE,
    wake: Wake = POLL,
    select: Select | None = None,
    redact: Redactor | None = None,
    type: Any = None,  # noqa: A002
    on_decode_error: OnDecodeError | None = None,
    on_wait: OnWait | None = None,
) -> Session[Any]:
    """Read a session that the engine registered, or that was opened to be kept.

    address: ``ENGINE:ID`` or ``ENGINE.LANE:ID``; or without the id, which ``session`` then gives.
    Without a lane, the first lane that has a session of that id is taken. The other arguments are
    those of ``capture``.

    Reading continues at the event after the last one that the previous consumer released. This also
    works after the engine has died, until its lane is swept.

    Raises SessionNotFound; SessionBusy if another consumer reads the session; the errors of
    ``capture``; and ValueError for an address without an id.
    """
    engine, lane, session = _split_with_id(address, session)
    _check_delivery(delivery)
    _check_wake(wake)
    registry, row = _find_session(engine, lane, session, wait, on_wait)
    try:
        registry.table.lock_reader(row)
        row = registry.table.row_of(
            session
        )  # meanwhile it may have ended, and another have its row
        if row.owner == Owner.REQUEST and is_standing(row.request):
            raise SessionBusy(
                f"session {registry.address}:{session} was opened for a consumer that is about to "
                f"read it; open another session with tapring attach {registry.info.engine}"
            )
        sieves = Sieves(select, redact, type, on_decode_error)
        attachment = Attachment(registry, row, owned=False, sieves=sieves)
    except BaseException:
        registry.detach()
        raise
    try:
        waiter = make_waiter(wake, [attachment])
        wait_for_the_engine([attachment])
        return Session([attachment], delivery=delivery, sieves=sieves, waiter=waiter)
    except BaseException:
        attachment.close()
        raise


def close_session(address: str) -> None:
    """End a kept session (``ENGINE[.LANE]:ID``), whether or not a consumer reads it.

    Raises EngineNotFound; SessionNotFound; SessionBusy if another process holds the session table;
    NotPermitted if the session belongs to the engine or to a consumer; and ValueError for an
    address without an id.
    """
    engine, lane, session = _split_with_id(address)
    registry, row = _find_session(engine, lane, session, 0.0)
    with registry:
        if row.owner != Owner.NOBODY:
            whose = "the engine" if row.owner == Owner.ENGINE else "its consumer"
            raise NotPermitted(
                f"session {registry.address}:{session} belongs to {whose} and ends with it; only "
                f"sessions that were opened to be kept (tapring open) can be closed from outside"
            )
        if not registry.table.free(row, TABLE_TIMEOUT_S):
            raise SessionBusy(
                f"another process holds the session table of {registry.address}; try again"
            )


def _split_with_id(address: str, session: int | None = None) -> tuple[str, str | None, int]:
    engine, lane, named = split_address(address)
    session = named if session is None else session
    if session is None:
        raise ValueError(f"{address!r} names no session; add its id, as in {engine}:7")
    return engine, lane, session


def _stages_asked(stage: str, stages: StageNames | None) -> tuple[str, ...]:
    """Return the names of the stages, each once; ``ALL_STAGES`` alone for all of them."""
    names = tuple(dict.fromkeys([stage] if stages is None else stages))
    if isinstance(stages, str) or not names:
        raise ValueError(f"stages must be a list of names, not {stages!r}; for one, use stage")
    return (ALL_STAGES,) if ALL_STAGES in names else names


def _check_wake(wake: str) -> None:
    if wake not in WAKES:
        raise ValueError(f"wake must be one of {', '.join(map(repr, WAKES))}, not {wake!r}")


def _check_delivery(delivery: str) -> None:
    if delivery not in DELIVERIES:
        raise ValueError(f"delivery must be {' or '.join(map(repr, DELIVERIES))}, not {delivery!r}")


def _find_session(
    engine: str, lane: str | None, session: int, wait: float, on_wait: OnWait | None = None
) -> tuple[Registry, Row]:
    (registries, refused), _ = find_lanes(engine, lane, wait, partial(has_ring, session), on_wait)
    try:
        registry, row = _row_of(registries, session, refused)
    except BaseException:
        for registry in registries:
            registry.detach()
        raise
    for other in registries:
        if other is not registry:
            other.close()
    return registry, row


def _row_of(
    registries: list[Registry], session: int, refused: list[LaneRefused]
) -> tuple[Registry, Row]:
    """The first row of that id. Raises SessionNotFound, which says what lanes may also have it."""
    for registry in registries[:-1]:
        with suppress(SessionNotFound):
            return registry, registry.table.row_of(session)
    try:
        return registries[-1], registries[-1].table.row_of(session)
    except SessionNotFound as error:
        if not refused:
            raise
        others = ". ".join(map(in_words, alike(refused)))
        raise SessionNotFound(f"{error}. Lanes that cannot be read: {others}") from None
