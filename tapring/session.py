"""The consumer's side: reading sessions, and their account.

Never imports ``tap``: the two meet only in shared bytes.

A Session reads one ring, or one a lane of its engine, merged by time. It polls: while nothing is
there it sleeps, 50 us at first and growing to 5 ms, so that the engine makes no system call and
an idle consumer uses less than 1 % of a core.

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
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, islice
from operator import length_hint
from time import monotonic_ns
from typing import Any, Final

import msgspec

from .errors import TapError
from .ring import Taken
from .source import Frame, Source

AT_MOST_ONCE: Final = "at-most-once"
AT_LEAST_ONCE: Final = "at-least-once"
DELIVERIES: Final = (AT_MOST_ONCE, AT_LEAST_ONCE)
_NS: Final = 1_000_000_000
# 50 us is what the shortest sleep takes anyway; 5 ms costs an idle consumer 0.5 % of a core.
_FIRST_SLEEP_S: Final = 50e-6
_LONGEST_SLEEP_S: Final = 5e-3


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

    def __init__(
        self,
        sources: list[Source],
        *,
        deadline_ns: int | None = None,
        delivery: str = AT_MOST_ONCE,
    ) -> None:
        self._made_in = os.getpid()
        self._sources = sources
        self._keep = delivery == AT_LEAST_ONCE
        self._in_hand: Source | None = None  # whose frame is kept until it was handled
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
    def addresses(self) -> tuple[str, ...]:
        """``ENGINE.LANE:ID`` of each lane's session: what ``attach_session`` takes."""
        pairs = zip(self.lanes, self.ids, strict=True)
        return tuple(f"{self.engine}.{lane}:{number}" for lane, number in pairs)

    @property
    def stats(self) -> Stats:
        """The account so far; after ``close``, the last one."""
        return self._final or self._account()

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self._batches())

    def frames(self, *, limit: int | None = None) -> Iterator[Frame]:
        """Frames until the session ends, or until ``limit`` events: the last is cut to fit."""
        left = math.inf if limit is None else limit
        while left > 0 and (got := self._next_frame(keep=limit is not None)) is not None:
            source, taken = got
            frame = source.frame(taken)
            if limit is not None:
                frame = self._cut(source, frame, int(left))
                if not self._keep:
                    self._settle()  # but for what was cut off: that is the next consumer's
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
        if self._in_hand is not None:
            self._settle()
        while n > 0:
            if not length_hint(self._rest):
                if events and self._keep:
                    break  # to take the next frame would release these, which nobody has handled
                try:
                    got = self._take(0 if events else until, keep=True)
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
        if not self._keep:
            self._settle()
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
            for source in self._sources:
                source.close()

    def _leave(self) -> None:
        """At the interpreter's exit: all stays mapped, since a daemon thread may be reading."""
        if self._conclude(handled=False):
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

    def __del__(self) -> None:
        # Without this the descriptor, and so the reader's lock, would outlive a forgotten Session.
        with suppress(Exception):
            self.close(handled=False)

    def _after_fork(self) -> None:
        """In a forked child: the session stays the parent's; nothing is freed or unlocked."""
        self._made_in = os.getpid()
        if self._final is None:
            self._final, self.ended_by = Stats(), "fork"
            self._in_hand, self._rest, self._rest_of = None, iter(()), None
            for source in self._sources:
                source.let_go()

    # ---- taking frames -----------------------------------------------------------------

    def _batches(self) -> Iterator[Iterator[Any]]:
        if self._in_hand is not None and not self._keep:
            self._in_hand.reader.release()
            self._in_hand = None
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
        rest = bytes(source.kind.split(frame.payload, frame.count, left)[1])
        self._unpack(source, Taken(rest, frame.count - left, 0, 0))
        return frame.take(left)

    def _next_frame(self, keep: bool) -> tuple[Source, Taken] | None:
        """The next frame; first what is left of one whose events were only partly read."""
        if self._rest_of is None:
            return self._take(None, keep)
        source, taken = self._rest_of
        self._rest_of = None
        left = list(self._rest)
        if not left:
            return self._take(None, keep)
        payload, count, _ = source.kind.pack(left if self.dtype is None else left[0])
        self._bytes -= len(payload)
        self._rest = iter(())
        return source, Taken(bytes(payload), count, taken.time_ns, 0)

    def _records(self, n: int) -> list[Any]:
        records = next(self._rest)
        if len(records) > n:
            self._rest = iter([records[n:]])
        return [records[:n]]

    def _take(self, until: int | None, keep: bool = False) -> tuple[Source, Taken] | None:
        """The next frame of the lane that is furthest behind; None at the end, or at ``until``."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._in_hand is not None:
            self._settle()
        keep = keep or self._keep
        sleep = _FIRST_SLEEP_S
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

    def _settle(self) -> None:
        """Release what was handed out of the frame in hand."""
        if self._in_hand is not None:
            left = self._rest_count()
            self._in_hand.reader.release(left)
            if not left:
                self._in_hand = None

    def _abandon_rest(self) -> None:
        left = self._rest_count()
        if left and self._rest_of is not None:
            source = self._rest_of[0]
            events = list(self._rest)
            self._bytes -= len(source.kind.pack(events if self.dtype is None else events[0])[0])
            if self._in_hand is None and not self._keep:
                source.reader.note_abandoned(left)
        self._rest = iter(())

    def _account(self) -> Stats:
        ledgers = [source.ledger() for source in self._sources]
        in_hand = self._in_hand.reader.kept if self._in_hand else 0
        rest = 0 if self._keep and not in_hand else self._rest_count()
        times = [time_ns for source in self._open if (time_ns := source.oldest_ns())]
        captured = sum(ledger.captured for ledger in ledgers)
        delivered = sum(ledger.delivered for ledger in ledgers) + in_hand - rest
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


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for session in list(_sessions):
        session._after_fork()


def _close_all() -> None:
    for session in list(_sessions):
        session._leave()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_close_all)
