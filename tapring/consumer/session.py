"""The session as its reader sees it: events, frames or lists, sync or async, from open to close.

A session reads one ring, or one ring per lane, merged by time (``merge``). While no frame is there
it waits (``waiting``). What it takes passes the sieve, is released and counted (``intake``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from time import monotonic_ns
from typing import Any, Final, Generic, Self, cast

from msgspec.structs import replace

from ..ended_by import EndedBy
from ..events.sieve import Failure, KeptAway, Sieves
from ..frame import Frame
from ..in_any_case import finish
from ..literals import Delivery, EndReason, Event, StageKind, Wake
from ..shm.refusals import LaneRefused
from ..thrown_in import was_thrown_in
from .attachment import Attachment
from .intake import AT_LEAST_ONCE, AT_MOST_ONCE, Intake
from .iterating import Batches
from .joining import Following
from .merge import LAG_NS, Merge
from .session_lanes import SessionLanes
from .stages import Stages
from .stats import Stats
from .tagged import Tagged, tagged
from .turn import takes_turns
from .waiting import Poll, Waiter

_NS: Final = 1_000_000_000


class Session(SessionLanes, Generic[Event]):
    """A capture that is being read. ``capture`` and ``attach_session`` make it.

    A context manager; closing twice is fine.

    Iterating yields events until the session ends: for ``lines``, bytes without their newline; for
    ``json``, decoded objects; for ``bytes``, bytes; for ``array``, one array per frame. You may mix
    iterating, ``frames`` and ``read``. You may also mix ``async for``, ``aframes`` and ``aread``,
    which let other tasks run while no frame is there and after each frame. ``read`` and a ``limit``
    leave the events that they did not hand out to the next consumer. Iterating takes whole frames;
    if it stops inside a frame, the rest of that frame counts as unread.

    Threads may share a session; so may tasks. They take turns, and each event goes to one of them.
    At least once, only the thread or task that has the last events may ask for the next ones:
    another one that does gets a RuntimeError, until ``read(0)`` says that they are handled, or
    their owner has ended. ``stats``, ``fill``, ``end`` and ``close`` are for any thread, always. A
    generator of ``frames`` is for one thread at a time; let each call ``frames`` itself.

    Filters and redaction apply however you read the session. ``away`` counts the events that each
    step took out.

    With several stages, iterating yields the events of each as its kind demands, and ``kind`` and
    ``dtype`` are those of the first one.

    ``ended_by`` is None until the session has ended, and then says why: ``duration``; ``expired``
    (the engine's own limit); ``limit``; ``engine-exit``; ``engine-death``; ``closed`` (by its
    owner); ``evicted``; ``error``; the reason that was given to ``end``; or, in a forked child,
    ``fork``, because the session stays with the parent.

    ``lanes_refused`` says which lanes of the engine could not be read, and why: as the session was
    opened, or later on.

    If you set ``on_idle``, it is called before each sleep while no frame is there, and now and then
    while all events are filtered.
    """

    def __init__(
        self,
        attachments: Sequence[Attachment],
        *,
        deadline_ns: int | None = None,
        delivery: Delivery = AT_MOST_ONCE,
        sieves: Sieves | None = None,
        waiter: Waiter | None = None,
        lanes_refused: tuple[LaneRefused, ...] = (),
        following: Following | Stages | None = None,
        lag_ns: int = LAG_NS,
        engine: str | None = None,
    ) -> None:
        merge = Merge(
            attachments, deadline_ns, waiter or Poll(), lag_ns=lag_ns, following=following
        )
        super().__init__(merge, lanes_refused)
        self._intake = Intake(merge, sieves or Sieves(), keep=delivery == AT_LEAST_ONCE)
        self._turn = self._intake.turn
        self.away: KeptAway = self._intake.away
        first = attachments[0]
        self.engine: str = engine or first.joined.engine
        self.kind: StageKind = first.kind_left.name
        self.dtype: Any = getattr(first.kind_left, "dtype", None)
        self.sample: int = first.row.sample
        self.budget: float | None = first.registry.budget
        self.engine_redacts: tuple[str, ...] = _redacted_by_engine(attachments)

    @property
    def ended_by(self) -> EndReason | None:
        """Why the session ended; None before."""
        return cast("EndReason | None", self._merge.ended_by)

    @ended_by.setter
    def ended_by(self, reason: EndedBy | EndReason | None) -> None:
        self._merge.ended_by = reason

    @property
    def on_idle(self) -> Callable[[], object] | None:
        """A function to call before each sleep while no frame is there; None if there is none."""
        return self._merge.on_idle

    @on_idle.setter
    def on_idle(self, call: Callable[[], object] | None) -> None:
        self._merge.on_idle = call

    @property
    def wake(self) -> Wake:
        """How the session waits for frames: ``"poll"``, ``"doorbell"`` or ``"spin"``."""
        return self._merge.waiter.wake

    @property
    def stats(self) -> Stats:
        """The account so far; after ``close``, the final one."""
        return replace(
            self._intake.stats,
            late=self._merge.late,
            lanes_refused=self.lanes_refused,
            lanes_joined=self.lanes_joined,
            lanes_ended=self.lanes_ended,
        )

    @property
    def failures(self) -> dict[str, Failure]:
        """What raised an exception for an event, by the exception's type: how often, where first.

        Such an event is left out, and the others of its frame are handed out. It is counted in
        ``stats.redaction_dropped`` if there is a ``redact``, otherwise in ``stats.decode_errors``.
        """
        return dict(self.away.failures)

    @property
    def fill(self) -> float:
        """How full the fullest ring is, 0.0 to 1.0. At 1.0 the engine drops events."""
        try:
            return self._merge.fill()
        except ValueError:  # closed: its rings are unmapped
            return 0.0

    @property
    def remaining_s(self) -> float:
        """Seconds until the duration or the engine's limit ends the session; 0 after that."""
        return max(0.0, (self._merge.ends_ns() - monotonic_ns()) / _NS)

    @property
    def seen_keys(self) -> Collection[str]:
        """Field names that selection and redaction have met, as dotted paths: a few hundred."""
        return self._intake.sieves.seen_keys

    @property
    def final_gaps(self) -> tuple[Frame, ...]:
        """Frames without events whose ``missed`` no other frame, and no ``tagged``, has told of.

        That is what is missing behind the last ones, and what was iterated over. Known once the
        session is closed. If it goes on without this consumer, because it is kept, the next one is
        told of what is missing behind the last frame.
        """
        return self._intake.final_gaps

    # ---- reading -----------------------------------------------------------------------

    def __iter__(self) -> Iterator[Event]:
        return chain.from_iterable(Batches(self._intake))

    @takes_turns
    def frames(self, *, limit: int | None = None) -> Iterator[Frame]:
        """Frames until the session ends, or until ``limit`` events; the last is cut to fit."""
        intake, turn = self._intake, self._turn
        left = limit
        while left is None or left > 0:
            token = None
            try:
                try:
                    token = turn.free.pop()
                except IndexError as error:
                    if was_thrown_in(error):
                        raise
                if token is None and (token := turn.wait(None)) is None:
                    return
                frame = intake.whole(None, left)
            finally:
                if token is not None:
                    token.home.append(token)
                    token = None  # a traceback may keep this frame
                if turn.callers:
                    turn.call_next()
            if frame is None:
                return
            if left is not None:
                left -= frame.count
            yield frame

    def tagged(self) -> Iterator[Tagged[Event]]:
        """Events with where and when each is from, and a record of its own for each gap.

        Takes whole frames, as iterating does. At the end it tells of the gaps behind the last
        frames, so all ``missed`` together are what ``stats`` counts as lost.
        """
        return tagged(self._intake)

    @takes_turns
    def read(self, n: int, timeout: float | None = None) -> list[Event]:
        """At most ``n`` events, waiting at most ``timeout`` seconds for the first.

        [] if none came in time or if the session has ended (``ended_by`` tells which). Of an
        ``array`` stage: arrays with at most ``n`` records in total. If another thread is reading,
        this waits for its turn, at most ``timeout`` seconds in all.
        """
        until = _until(timeout)
        intake, turn = self._intake, self._turn
        token = None
        try:
            try:
                token = turn.free.pop()
            except IndexError as error:
                if was_thrown_in(error):
                    raise
            if token is None and (token := turn.wait(until)) is None:
                return []
            return intake.read(until, n)
        finally:
            if token is not None:
                token.home.append(token)
                token = None  # a traceback may keep this frame
            if turn.callers:
                turn.call_next()

    def next_frame(
        self,
        timeout: float | None = None,
        limit: int | None = None,
        *,
        enough: float | None = None,
    ) -> Frame | None:
        """The next frame, waiting at most ``timeout`` seconds for it.

        limit: at most so many events of it; if it has as many, the session has ended, as by the
        ``limit`` of ``frames``. enough: after so many seconds, filter no more frames. None if
        none came in time or if the session has ended (``ended_by`` tells which).
        """
        until = _until(timeout)
        intake, enough_ns = self._intake, _until(enough)

        def take() -> Frame | None:
            intake.enough_ns = enough_ns
            try:
                return intake.whole(until, limit)
            finally:
                intake.enough_ns = None

        frame: Frame | None = self._turn.do(take, until)
        return frame

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Iterate; other tasks run while no frame is there, and between frames."""
        events = partial(self._intake.events, 0)
        while True:
            await self._ready()
            batch = self._turn.do(events, 0)
            if batch is not None:
                for event in batch:
                    yield event
            elif self.ended_by is not None:
                return

    async def aframes(self, *, limit: int | None = None) -> AsyncIterator[Frame]:
        """Frames, as ``frames`` yields them, for an event loop."""
        left = limit
        while left is None or left > 0:
            await self._ready()
            frame = self._turn.do(partial(self._intake.whole, 0, left), 0)
            if frame is not None:
                left = None if left is None else left - frame.count
                yield frame
            elif self.ended_by is not None:
                return

    async def aread(self, n: int, timeout: float | None = None) -> list[Event]:
        """Events, as ``read`` returns them, for an event loop."""
        until = _until(timeout)
        while True:
            await self._ready(until if n > 0 else 0)
            events = self.read(n, timeout=0)
            late = until is not None and monotonic_ns() >= until
            if events or n <= 0 or late or self.ended_by is not None:
                return events

    async def ready(self, timeout: float | None = None) -> None:
        """Let other tasks run until there is a frame or an end, or for ``timeout`` seconds.

        ``next_frame(0)`` then returns it at once.
        """
        await self._ready(_until(timeout))

    async def _ready(self, until: int | None = None) -> None:
        """Let other tasks run, then wait until there is a frame or an end, or until ``until``."""
        from asyncio import sleep

        await sleep(0)
        if self._intake.failure is None and not self._intake.has_rest():
            await self._merge.ready(self._turn, until)

    # ---- the end -----------------------------------------------------------------------

    def end(self, reason: EndedBy | EndReason) -> None:
        """Make reading end soon, with this ``ended_by``. A signal handler may call it."""
        self._merge.end(reason)

    def close(self, *, handled: bool = True) -> None:
        """Stop reading and free what was held. A session that ``capture`` opened ends, if not kept.

        handled: whether you have handled the last events that were handed out. If not, and delivery
        is at least once, the next consumer gets them again.

        Any thread may call it. One that is reading comes out first, within 50 ms, unless a callback
        keeps it: after 5 s, it is left to that thread to close the session. A signal handler, a
        finalizer or a callback may also call it in the middle of a read of this very thread: the
        session is closed as that read returns.
        """
        finish(partial(self._intake.close, handled=handled))

    async def aclose(self, *, handled: bool = True) -> None:
        """Close the session, as ``close`` does, while other tasks run."""
        from asyncio import get_running_loop, shield

        close = partial(self.close, handled=handled)
        try:
            closing = get_running_loop().run_in_executor(None, close)
        except RuntimeError:  # the loop has no threads any more, or there can be no more
            close()
        else:
            await shield(closing)  # a cancelled task has closed its session, too

    def __repr__(self) -> str:
        state = "open" if self.ended_by is None else f"ended by {self.ended_by}"
        return f"<Session {' '.join(self.addresses)} stage={self.stage} {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        finish(partial(self.close, handled=error is None))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, error: type[BaseException] | None, *_: object) -> None:
        await self.aclose(handled=error is None)

    def __del__(self) -> None:
        # Without this, a forgotten Session would keep its descriptor, and so the reader's lock.
        with suppress(Exception):
            self.close(handled=False)


def _redacted_by_engine(attachments: Iterable[Attachment]) -> tuple[str, ...]:
    """Return the paths that the engine redacts in the stages of these rings."""
    stages = [each.registry.info.stages[each.row.stage] for each in attachments]
    return tuple(dict.fromkeys(path for stage in stages for path in stage.redact))


def _until(timeout: float | None) -> int | None:
    """When ``timeout`` seconds are over, by CLOCK_MONOTONIC in ns."""
    return None if timeout is None else monotonic_ns() + round(timeout * _NS)
