"""The consumer's side: reading sessions, and their account.

Never imports ``tap``: the two meet only in shared bytes.

A Session reads one ring, or one a lane of its engine, merged by time. While nothing is there it
waits, as ``waiting`` says.

When a frame is released decides what a consumer's death costs. At most once: before it is handed
out; what a killed consumer had in hand is lost to the next one. At least once: when the next is
asked for, or at ``close``; what a killed consumer had in hand the next one gets again. Either way
``read`` and a ``limit`` leave what they did not hand out to the next one; iterating hands out
whole frames, and the rest of one that is left in the middle counts as unread.
"""

from __future__ import annotations

import atexit
import math
import os
import weakref
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import suppress
from itertools import chain
from time import monotonic_ns
from typing import Any, Final

from ..errors import TapError
from ..events.sieve import KeptAway, Sieve, Sifted
from ..wire.frame import Taken
from .attachment import Frame, Source
from .cursor import Hand
from .stats import Stats, account
from .waiting import Poll, Waiter

AT_MOST_ONCE: Final = "at-most-once"
AT_LEAST_ONCE: Final = "at-least-once"
DELIVERIES: Final = (AT_MOST_ONCE, AT_LEAST_ONCE)
_NS: Final = 1_000_000_000
_NEVER_NS: Final = 1 << 63  # no clock comes so far
_FRAMES_BETWEEN_TURNS: Final = 64  # 400 us of filtered frames; a turn takes 1


class Session:
    """A capture that is being read. Made by ``capture`` and ``attach_session``.

    A context manager; closing twice is fine. Iterating gives events (``lines``: bytes without
    their newline; ``json``: decoded objects; ``bytes``: bytes; ``array``: an array a frame) until
    the session ends; ``ended_by`` then says why: ``duration``, ``expired`` (the engine's own
    limit), ``engine-exit``, ``engine-death``, ``closed`` (by its owner), ``evicted``, or what
    ``end`` was given; in a forked child ``fork``, since the session stays its parent's.
    Iterating, ``frames`` and ``read`` may be mixed; so may ``async for``, ``aframes`` and
    ``aread``, which give the event loop its turn while nothing is there and after each frame.

    What is handed out has passed the selection and redaction that the session was opened with;
    ``away`` counts what they kept, by the step. ``on_idle`` is called, where it is set, before
    each sleep while nothing is there to be read, and at times while all that comes is filtered.
    """

    def __init__(
        self,
        sources: list[Source],
        *,
        deadline_ns: int | None = None,
        delivery: str = AT_MOST_ONCE,
        sieve: Sieve | None = None,
        waiter: Waiter | None = None,
    ) -> None:
        self._made_in = os.getpid()
        self._sources = sources
        self._sieve = sieve
        self._waiter = waiter or Poll()
        self._sifted_away = 0  # frames of which nothing was left
        self._missed = 0  # events missing before the next frame that is handed out
        self._keep = delivery == AT_LEAST_ONCE
        self._in_hand: Source | None = None  # whose frame is kept until it was handled
        self._open = list(sources)
        self._deadline_ns = deadline_ns
        self._hand: Hand | None = None
        self._bytes = 0
        self._split = 0
        self._stop: str | None = None
        self._failure: TapError | None = None
        self._final: Stats | None = None
        self.ended_by: str | None = None
        self.on_idle: Callable[[], object] | None = None
        self.away = KeptAway() if sieve is None else sieve.away
        first = sources[0]
        self.engine = first.registry.info.engine
        self.lanes = tuple(source.registry.info.lane for source in sources)
        self.ids = tuple(source.row.id for source in sources)
        self.stage = first.registry.info.stages[first.row.stage].name
        kind = first.kind if sieve is None else sieve.kind
        self.kind = kind.name
        self.dtype = getattr(kind, "dtype", None)
        self.sample = first.row.sample
        self.budget = first.registry.budget
        self.engine_redacts = first.registry.info.stages[first.row.stage].redact
        _sessions.add(self)

    @property
    def wake(self) -> str:
        """How it waits: ``"poll"``, ``"doorbell"`` or ``"spin"``."""
        return self._waiter.wake

    @property
    def id(self) -> int:
        """The session's id in its lane; the first lane's, where there are several."""
        return self.ids[0]

    @property
    def addresses(self) -> tuple[str, ...]:
        """``ENGINE.LANE:ID`` of each lane's session: what ``attach_session`` takes."""
        pairs = zip(self.lanes, self.ids, strict=True)
        return tuple(f"{self.engine}.{lane}:{number}" for lane, number in pairs)

    @property
    def stats(self) -> Stats:
        """The account so far; after ``close``, the last one."""
        return self._final or self._account()

    @property
    def fill(self) -> float:
        """How full the fullest ring is, 0.0 to 1.0: at 1.0 the engine drops."""
        return max(
            (source.reader.account.fill(source.row.slots) for source in self._open), default=0.0
        )

    @property
    def remaining_s(self) -> float:
        """Seconds until it ends by its duration, or by the engine's limit; 0 once that is over."""
        ends = [source.ends_ns() for source in self._sources]
        if self._deadline_ns is not None:
            ends.append(self._deadline_ns)
        return max(0.0, (min(ends) - monotonic_ns()) / _NS)

    @property
    def seen_keys(self) -> Collection[str]:
        """Names of fields that selection and redaction have met, as dotted paths: a few hundred."""
        return () if self._sieve is None else self._sieve.seen_keys

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self._batches())

    def frames(self, *, limit: int | None = None) -> Iterator[Frame]:
        """Frames until the session ends, or until ``limit`` events: the last is cut to fit."""
        left = math.inf if limit is None else limit
        while left > 0 and (got := self._next_frame(None, limit is not None)) is not None:
            frame = self._handed_out(*got, left)
            left -= frame.count
            yield frame
            if limit is None and self._sieve is None and self._hand is None:
                yield from self._whole_frames()

    def _whole_frames(self) -> Iterator[Frame]:
        """Frames as they come, until one was begun by ``read``: spares 400 ns of 1,600 a frame."""
        while self._hand is None and (got := self._take(None)) is not None:
            source, taken = got
            self._bytes += len(taken.payload)
            yield source.whole_frame(taken)

    def read(self, n: int, timeout: float | None = None) -> list[Any]:
        """At most ``n`` events, waiting at most ``timeout`` seconds for the first.

        [] where none came in time or the session has ended (``ended_by`` tells). Of an ``array``
        stage: arrays of ``n`` records together at most.
        """
        until = None if timeout is None else monotonic_ns() + round(timeout * _NS)
        events: list[Any] = []
        if self._in_hand is not None:
            self._settle()
        while n > 0:
            if self._hand is None or not self._hand.remaining():
                if events and self._keep:
                    break  # to take the next frame would release these, which nobody has handled
                try:
                    hand = self._next_hand(0 if events else until, keep=True)
                except TapError as error:
                    if not events:
                        raise
                    self._failure = error  # raised by the next call: these events come first
                    break
                if hand is None:
                    break
            else:
                hand = self._hand
            part = hand.take(n)
            n -= len(part) if self.dtype is None else sum(map(len, part))
            events += part
        if not self._keep:
            self._settle()
        return events

    async def __aiter__(self) -> AsyncIterator[Any]:
        """As iterating; other tasks run while nothing is there, and between frames."""
        self._release_in_hand()
        hand = self._hand
        while True:
            if hand is not None:
                for event in hand.events:
                    yield event
            await self._ready()
            hand = self._next_hand(0)
            if hand is None and self.ended_by is not None:
                return

    async def aframes(self, *, limit: int | None = None) -> AsyncIterator[Frame]:
        """As ``frames``, for an event loop."""
        left = math.inf if limit is None else limit
        while left > 0:
            await self._ready()
            got = self._next_frame(0, limit is not None)
            if got is not None:
                frame = self._handed_out(*got, left)
                left -= frame.count
                yield frame
            elif self.ended_by is not None:
                return

    async def aread(self, n: int, timeout: float | None = None) -> list[Any]:
        """As ``read``, for an event loop."""
        until = None if timeout is None else monotonic_ns() + round(timeout * _NS)
        while True:
            await self._ready(until)
            events = self.read(n, timeout=0)
            late = until is not None and monotonic_ns() >= until
            if events or n <= 0 or late or self.ended_by is not None:
                return events

    def end(self, reason: str) -> None:
        """Make reading end soon, with this ``ended_by``. May be called from a signal handler."""
        if self._stop is None:
            self._stop = reason

    def close(self, *, handled: bool = True) -> None:
        """Stop reading and free what was held; a session that ``capture`` opened ends, if not kept.

        handled: whether what was handed out last was; if not, and delivery is at least once, the
        next consumer gets it again.
        """
        if os.getpid() != self._made_in:
            self._after_fork()  # a vanished thread's sessions are destroyed before that is called
        if self._conclude(handled):
            self._waiter.give_back()
            for source in self._sources:
                source.close()
            self._waiter.close()

    def _leave(self) -> None:
        """At the interpreter's exit: all stays mapped, since a daemon thread may be reading."""
        if self._conclude(handled=False):
            self._waiter.give_back()
            for source in self._sources:
                source.give_back()

    def _conclude(self, handled: bool) -> bool:
        """Settle the account; False where it was."""
        if self._final is not None:
            return False
        if self._keep and handled:
            self._settle()
        self._abandon_rest()
        self._in_hand = None
        self._final = self._account()
        if self.ended_by is None:
            self.ended_by = self._stop or "closed"
        return True

    def __enter__(self) -> Session:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.close(handled=error is None)

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.close(handled=error is None)

    def __del__(self) -> None:
        # Without this the descriptor, and so the reader's lock, would outlive a forgotten Session.
        with suppress(Exception):
            self.close(handled=False)

    def _after_fork(self) -> None:
        """In a forked child: the session stays the parent's; nothing is freed or unlocked."""
        self._made_in = os.getpid()
        if self._final is None:
            self._final, self.ended_by = Stats(), "fork"
            self._in_hand = self._hand = None
            for source in self._sources:
                source.let_go()

    # ---- taking frames -----------------------------------------------------------------

    def _batches(self) -> Iterator[Iterator[Any]]:
        self._release_in_hand()
        if self._hand is not None:
            yield self._hand.events
        while (hand := self._next_hand(None)) is not None:
            yield hand.events

    def _release_in_hand(self) -> None:
        """At most once: release what ``read`` left of a frame, which is handed out next."""
        if self._in_hand is not None and not self._keep:
            self._in_hand.reader.release()
            self._in_hand = None

    def _next_hand(self, until: int | None, keep: bool = False) -> Hand | None:
        """The next frame of which something is left, in hand; what is left of the last is gone."""
        if self._sieve is None:
            taking = self._take(until, keep)
            if taking is None:
                return None
            self._hand = hand = Hand(*taking, taking[0].kind)
        else:
            got = self._sifted(until, keep)
            if got is None:
                return None
            self._missed = 0
            self._hand = hand = Hand(*got[:2], self._sieve.kind, got[2])
        if hand.split:
            self._split += abs(hand.split)
        self._bytes += len(hand.payload)
        return hand

    def _next_frame(self, until: int | None, keep: bool) -> tuple[Source, Taken, Sifted] | None:
        """The next frame; first what is left of one whose events were only partly read."""
        hand = self._hand
        if hand is not None:
            self._hand = None
            if hand.remaining():
                rest = hand.rest()
                self._bytes -= len(rest.payload)
                return hand.source, hand.taken, rest
        return self._sifted(until, keep)

    def _sifted(self, until: int | None, keep: bool) -> tuple[Source, Taken, Sifted] | None:
        """The next frame of which something is left, and what that is."""
        while (got := self._take(until, keep)) is not None:
            source, taken = got
            self._missed += taken.missed
            if self._sieve is None:
                return source, taken, Sifted(taken.payload, taken.count)
            sifted = self._sieve.sift(taken.payload, taken.count, taken.time_ns)
            if sifted.count:
                return source, taken, sifted
            self._sifted_away += 1
            if self.on_idle is not None and self._sifted_away % _FRAMES_BETWEEN_TURNS == 0:
                self.on_idle()
            if until is not None and not source.reader.has_more_seen and monotonic_ns() >= until:
                return None  # what was there is looked through; more may come for ever
        return None

    def _handed_out(self, source: Source, taken: Taken, sifted: Sifted, left: float) -> Frame:
        """A frame of what is left of ``taken``, cut to ``left`` events."""
        kind = source.kind if self._sieve is None else self._sieve.kind
        frame = source.frame(taken, sifted, self._missed, kind)
        self._missed = 0
        if left < math.inf:
            frame = self._cut(source, taken, sifted, frame, int(left))
        self._bytes += len(frame.payload)
        return frame

    def _cut(self, source: Source, taken: Taken, sifted: Sifted, frame: Frame, left: int) -> Frame:
        if frame.count > left:
            self._hand = hand = Hand(source, taken, frame.kind, sifted)
            hand.take(left)
            self._bytes += len(hand.rest().payload)
            frame = frame.take(left)
        if not self._keep:
            self._settle()  # but for what was cut off: that is the next consumer's
        if frame.count == left and self.ended_by is None:
            self.ended_by = "limit"
        return frame

    def _take(self, until: int | None, keep: bool = False) -> tuple[Source, Taken] | None:
        """The next frame of the lane that is furthest behind; None at the end, or at ``until``."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._in_hand is not None:
            self._settle()
        keep = keep or self._keep
        since = 0
        while self._goes_on():
            try:
                source = self._open[0] if len(self._open) == 1 else self._furthest_behind()
                if source is not None and (taken := source.reader.take(keep=keep)):
                    if keep:
                        self._in_hand = source
                    return source, taken
                self._drop_ended()
            except TapError:
                self.ended_by = "error"
                raise
            if not self._open:
                return None
            now = monotonic_ns()
            if until is not None and now >= until:
                return None
            if self.on_idle is not None:
                self.on_idle()
            since = since or now
            self._waiter.wait(self._open, since, self._wait_until(until))
        return None

    def _wait_until(self, until: int | None) -> int:
        bounds = [bound for bound in (until, self._deadline_ns) if bound is not None]
        return min(bounds, default=_NEVER_NS)

    async def _ready(self, until: int | None = None) -> None:
        """Give the loop its turn, and wait until something can be taken or the session has ended.

        At ``until`` at the latest.
        """
        from asyncio import sleep

        await sleep(0)
        since = monotonic_ns()
        while self._goes_on() and self._failure is None and not self._has_news():
            if until is not None and monotonic_ns() >= until:
                return
            if self.on_idle is not None:
                self.on_idle()
            await self._waiter.wait_async(self._open, since, self._wait_until(until))

    def _has_news(self) -> bool:
        """Whether ``_take`` would find a frame, an end or an error."""
        if self._hand is not None and self._hand.remaining():
            return True
        try:
            return not self._open or any(
                not source.reader.is_empty() or source.ended_by() for source in self._open
            )
        except TapError:
            return True  # raised again by who takes

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
        return 0 if self._hand is None else self._hand.left()

    def _settle(self) -> None:
        """Release what was handed out of the frame in hand."""
        if self._in_hand is not None:
            left = self._rest_count()
            self._in_hand.reader.release(left)
            if not left:
                self._in_hand = None

    def _abandon_rest(self) -> None:
        left = self._rest_count()
        if left and self._hand is not None:
            self._bytes -= len(self._hand.rest().payload)
            if self._in_hand is None and not self._keep:
                self._hand.source.reader.note_abandoned(left)
        self._hand = None

    def _account(self) -> Stats:
        in_hand = self._in_hand.reader.kept if self._in_hand else 0
        rest = 0 if self._keep and not in_hand else self._rest_count()
        times = [time_ns for source in self._open if (time_ns := source.oldest_ns())]
        return account(
            [source.ledger() for source in self._sources],
            in_hand=in_hand - rest,
            bytes_=self._bytes,
            gaps=sum(source.reader.gaps for source in self._sources),
            split=self._split,
            lag_ns=max(0, monotonic_ns() - min(times)) if times else 0,
            served=min(source.reader.account.served() for source in self._sources),
            cost_ns=max(source.reader.account.cost_ns() for source in self._sources),
            engine_share=max(source.registry.cost_share for source in self._sources),
            away=self.away,
        )


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for session in list(_sessions):
        session._after_fork()


def _close_all() -> None:
    for session in list(_sessions):
        session._leave()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_close_all)
