"""From the rings to the reader's hands: frames taken, sieved, released in time, and counted.

When a frame is released decides what the death of a consumer costs. At most once: a frame is
released before it is handed out, so the next consumer does not see the events in flight. At least
once: a frame is released when the next one is asked for, or by ``close``, so the next consumer sees
the events in flight again. Either way, a frame that was taken with ``keep`` is released only up to
the last event that was handed out, and the next consumer gets the rest.

Threads that share a session take turns (``turn``), and share what is left of the last frame: there
is one cursor at most, so every event has one place in the account. What iterates takes its events
out of the cursor's iterator, one by one and without a turn; CPython gives each of them out once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from time import monotonic_ns
from typing import Any, Final

from ..ended_by import EndedBy
from ..errors import TapError
from ..events.sieve import KeptAway, Sieve, Sieves
from ..frame import Frame
from ..literals import Delivery
from ..shm.hooks import Hooks
from .attachment import Attachment
from .cursor import Cursor
from .hand import Hand
from .merge import Merge
from .stats import HandedOut, Stats, account
from .turn import Turn

AT_MOST_ONCE: Final = "at-most-once"
AT_LEAST_ONCE: Final = "at-least-once"
DELIVERIES: Final[tuple[Delivery, ...]] = (AT_MOST_ONCE, AT_LEAST_ONCE)
_FRAMES_BETWEEN_TURNS: Final = 64  # 400 us of filtered frames; calling on_idle takes 1 us
# How long a close waits for another thread to come out, which is inside a callback, perhaps.
_PATIENCE_NS: Final = 5_000_000_000
_hooks: Final = Hooks()


class Intake:
    """The frames of a session on their way to its reader.

    All that hands something out is for the thread whose turn it is; ``stats`` and ``close`` are for
    any thread.

    ``keep``: delivery is at least once. ``cursor``: the position in the frame whose events are
    being handed out; None if there is none. ``failure``: an error that the next ``take`` raises.
    ``final_gaps``: see ``Session.final_gaps``. ``enough_ns``: when (CLOCK_MONOTONIC) to stop
    filtering frames away, if ever.
    """

    __slots__ = (
        "__weakref__",
        "_filtered_frames",
        "_final",
        "_hand",
        "_interrupted",
        "_is_closed",
        "_made_in",
        "_unreleased",
        "away",
        "cursor",
        "enough_ns",
        "failure",
        "final_gaps",
        "handed_out",
        "keep",
        "merge",
        "sieves",
        "turn",
    )

    def __init__(self, merge: Merge, sieves: Sieves, *, keep: bool) -> None:
        self.merge: Merge = merge
        self.turn: Turn = Turn(merge)
        self.sieves: Sieves = sieves
        self.keep: bool = keep
        self.away: KeptAway = sieves.away
        self.handed_out: HandedOut = HandedOut()
        self.cursor: Cursor | None = None
        self.enough_ns: int | None = None
        self.failure: TapError | None = None
        self._unreleased: Attachment | None = None  # the last frame of its ring is not released
        self._interrupted: tuple[Attachment, Frame] | None = None  # a frame in the sieve
        self.final_gaps: tuple[Frame, ...] = ()
        self._filtered_frames = 0
        self._final: Stats | None = None
        self._hand = Hand()
        self._is_closed = False
        self._made_in = os.getpid()
        _hooks.watch(self, in_child=Intake.detach, at_exit=Intake.free)

    def events(self, until: int | None) -> Iterator[Any] | None:
        """What is left of the last frame, or else the next one, to iterate over its events.

        None as from ``take``. Raises what ``take`` raises.
        """
        if self.keep:
            self._hand.ask()
        cursor = self.cursor
        if cursor is not None and (cursor.events is None or cursor.events.__length_hint__()):
            self.release_rest()
            return self.unpack(cursor)
        cursor = self.next(until)
        if cursor is None:
            return None
        events = cursor.unpack()  # as ``unpack`` does: 2 % of frames of one event
        if cursor.uneven:
            self._begin_uneven(cursor)
        return events

    def whole(self, until: int | None, left: int | None) -> Frame | None:
        """What is left of the last frame, or else the next one; ``left`` events of it at most.

        None as from ``take``. Raises what ``take`` raises.
        """
        if self.keep:
            self._hand.ask()
        if left is None and self.sieves.empty and self.cursor is None:
            # Without a cursor: a quarter less time per frame.
            direct = not (self.keep or self._unreleased or self.failure)
            got = self.merge.take(until, keep=False) if direct else self.take(until)
            if got is None:
                return None
            frame = got[1]
            self.handed_out.bytes += len(frame.payload)
            if frame.missed:
                got[0].told += frame.missed
            return frame
        cursor = self.rest_or_next(until, left is not None)
        return None if cursor is None else self.frame(cursor, left)

    def read(self, until: int | None, n: int) -> list[Any]:
        """At most ``n`` events; records, of an array. Raises what ``take`` raises."""
        events: list[Any] = []
        if self.keep and n > 0:
            self._hand.ask()
        self.release()
        while n > 0:
            cursor = self.cursor
            if cursor is None or not cursor.remaining():
                if events and self.keep:
                    break  # taking the next frame would release these, which are not handled yet
                try:
                    cursor = self.next(0 if events else until, keep=True)
                except TapError as error:
                    if not events:
                        raise
                    self.failure = error  # the next call raises it: these events come first
                    break
                if cursor is None:
                    break
                self.unpack(cursor)
            part = cursor.take(n)
            n -= sum(map(len, part)) if cursor.is_array else len(part)
            events += part
        if not self.keep:
            self.release()
        elif not events:
            self._hand.clear()
        return events

    def take(self, until: int | None, keep: bool = False) -> tuple[Attachment, Frame] | None:
        """The next frame as it was in its ring, and the ring.

        None at the session's end, or at ``until`` (CLOCK_MONOTONIC, ns; None waits for ever).
        Raises what ``Merge.take`` raises.
        """
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        if self._unreleased is not None:
            self.release()
        keep = keep or self.keep
        got = self.merge.take(until, keep=keep)
        if keep:
            if got is not None:
                self._unreleased = got[0]
            elif self._unreleased is None:
                self._hand.clear()
        return got

    def next(self, until: int | None, keep: bool = False) -> Cursor | None:
        """A cursor in the next frame of which the sieve leaves something; None as from ``take``."""
        while True:
            got = self._interrupted
            if got is None:
                direct = not (keep or self.keep or self._unreleased or self.failure)
                got = self.merge.take(until, keep=False) if direct else self.take(until, keep)
            if got is None:
                return None
            attachment, frame = got
            cursor = (
                Cursor(attachment, frame, frame.count)
                if attachment.sieve is None
                else self._sifted(attachment.sieve, attachment, frame)
            )
            if cursor is not None:
                self.cursor = cursor
                self.handed_out.bytes += len(cursor.frame.payload)
                return cursor
            bound = self.enough_ns if attachment.reader.has_more_seen else until
            if bound is not None and monotonic_ns() >= bound:
                return None  # all that was there is filtered; more might come for ever

    def rest_or_next(self, until: int | None, keep: bool) -> Cursor | None:
        """The frame of which something is left, or else the next one."""
        cursor, self.cursor = self.cursor, None
        return cursor if cursor is not None and cursor.remaining() else self.next(until, keep)

    def has_rest(self) -> bool:
        """Whether something is left of the last frame."""
        cursor = self.cursor
        return self._interrupted is not None or (cursor is not None and cursor.remaining() > 0)

    def unpack(self, cursor: Cursor) -> Iterator[Any]:
        """The events that are left of a frame, to be handed out one by one."""
        events = cursor.unpack()
        if cursor.uneven:
            self._begin_uneven(cursor)
        return events

    def _begin_uneven(self, cursor: Cursor) -> None:
        """At most once: release a frame whole whose parts cannot be released."""
        self.handed_out.split += abs(cursor.split)
        cursor.split = 0
        self.release_rest()

    def frame(self, cursor: Cursor, left: int | None) -> Frame:
        """The rest of a frame, to be handed out whole, or cut to ``left`` events, if not None.

        What is cut off stays under the cursor.
        """
        cursor.withdraw()
        frame = cursor.rest()
        cursor.attachment.told += frame.missed
        self.cursor = None
        if left is not None and frame.count > left:
            cursor.take(left)
            cursor.split = 0  # counted only for events that are handed out one by one
            if cursor.uneven:
                self.release_rest()
            self.cursor = cursor
            cursor.attachment.note_cut(frame, left)
            frame = frame.take(left)
        if not self.keep:
            self.release()
        if frame.count == left and self.merge.ended_by is None:
            self.merge.ended_by = EndedBy.LIMIT
        return frame

    def release(self) -> None:
        """Release the events that were handed out of the last frame."""
        if self._unreleased is not None:
            rest, _ = self._rest()
            self._unreleased.reader.release(rest)
            if not rest:
                self._unreleased = None

    def release_rest(self) -> None:
        """At most once: release the rest of the last frame, before it is handed out."""
        if self._unreleased is not None and not self.keep:
            self._unreleased.reader.release()
            self._unreleased = None

    @property
    def stats(self) -> Stats:
        """The session's account: so far, or the final one once this is closed. Any thread may ask.

        It never waits for a turn. While another thread reads, it may be a frame behind.
        """
        while self._final is None:
            rings = self.merge.rings
            try:
                return self._account()
            except ValueError:  # another thread has unmapped it meanwhile, or one of its rings
                if self._final is None and self.merge.rings is rings:
                    raise
        return self._final

    def close(self, *, handled: bool) -> None:
        """End the session: settle its account, free its rows, unmap and close everything.

        handled: whether the reader has handled the last events that were handed out. If not, and
        delivery is at least once, they are not released.

        Another thread that is reading comes out first. If this thread itself is (a signal handler,
        a finalizer, a callback has called this), then it closes the session as it comes out.
        """
        if os.getpid() != self._made_in:
            self.detach()  # a vanished thread's sessions are destroyed before the fork hook runs
        if self._is_closed:
            return
        self.merge.end(EndedBy.CLOSED)
        close = partial(self._close, handled)
        turn = self.turn
        if not turn.do(close, monotonic_ns() + _PATIENCE_NS, to_close=True):
            turn.callers.appendleft(partial(self.close, handled=handled))
            if turn.free:  # it has come out meanwhile
                turn.call_next()

    def free(self) -> None:
        """At the interpreter's exit: as ``close``, but a daemon thread may still be reading.

        So everything stays mapped, and nothing more is released.
        """
        if not self._is_closed:
            self._is_closed = True
            self.merge.end(EndedBy.CLOSED)
            self.turn.do(partial(self._settle, False), 0, to_close=True)
            self.merge.free()

    def detach(self) -> None:
        """In a forked child: the session stays with the parent; free and unlock nothing."""
        self._made_in = os.getpid()
        self.turn.forget()  # a thread that is gone may have had it
        if not self._is_closed:
            self._is_closed = True
            self._final, self.merge.ended_by = Stats(), EndedBy.FORK
            self._unreleased = self.cursor = self._interrupted = None
            self._hand.clear()
            self.merge.detach()

    def _close(self, handled: bool) -> bool:
        self._settle(handled)
        self.merge.close()
        self._is_closed = True  # last: what an exception interrupts, the next call finishes
        return True

    def _settle(self, handled: bool) -> None:
        """Make the account final, unless it is."""
        if self._final is not None:
            return
        cursor = self.cursor
        if cursor is not None:
            cursor.withdraw()
        if self.keep and handled:
            self.release()
        rest, of = self._rest()
        if rest and cursor is not None and self._interrupted is None:
            self.handed_out.bytes -= len(cursor.rest().payload)
        released = self._unreleased is None and not self.keep  # by iterating
        if rest and of is not None and (released or of.is_in_past):
            of.reader.note_abandoned(rest)
        self._unreleased = self.cursor = self._interrupted = None
        self._hand.clear()
        self.merge.settle()
        self.final_gaps = self.merge.rings.final_gaps()
        self._final = self._account()

    def _account(self) -> Stats:
        attachment = self._unreleased
        unreleased = attachment.reader.kept if attachment else 0
        rest, of = self._rest()
        in_past = rest if of is not None and of.is_in_past else 0
        if in_past or (self.keep and not unreleased):
            rest = 0
        return account(
            self.merge.rings,
            self.handed_out,
            self.away,
            unreleased=unreleased - rest,
            kept_of_past=in_past,
            lag_ns=self.merge.lag_ns(),
        )

    def _rest(self) -> tuple[int, Attachment | None]:
        """Events of the last frame that were not handed out, and where that frame is from."""
        interrupted, cursor = self._interrupted, self.cursor
        if interrupted is not None:
            return interrupted[1].count, interrupted[0]
        if cursor is None or (cursor.uneven and not self.keep):
            return 0, None
        return cursor.unreleased(), cursor.attachment

    def _sifted(self, sieve: Sieve, attachment: Attachment, frame: Frame) -> Cursor | None:
        """A cursor in what ``sieve`` leaves of a frame; None if it leaves nothing."""
        self._interrupted = attachment, frame  # if an exception comes, the next read begins with it
        sifted = sieve.sift(frame.payload, frame.count, attachment.time_ns(frame))
        self._interrupted = None
        attachment.note_sifted(frame, sifted.places)
        if self.away.failures:
            self.away.place(frame.lane, frame.timestamp)
        if sifted.count:
            missed, attachment.missed = attachment.missed, 0
            payload, count = sifted.payload, sifted.count
            at, origin, sequence = frame.timestamp, frame.origin, frame.sequence
            rest = Frame(payload, count, at, missed, origin, sieve.kind, sequence, frame.late)
            return Cursor(attachment, rest, frame.count, sifted)
        self._filtered_frames += 1
        on_idle = self.merge.on_idle
        if on_idle is not None and self._filtered_frames % _FRAMES_BETWEEN_TURNS == 0:
            on_idle()
        return None
