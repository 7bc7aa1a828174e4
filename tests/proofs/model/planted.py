"""Plausible bugs, planted into subclasses of the real code. The explorer must find each one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

from tapring.consumer import waiting
from tapring.consumer.attachment import Attachment
from tapring.consumer.waiting import Doorbell
from tapring.engine import session as live
from tapring.engine.fanout import Attended, Watched
from tapring.errors import RingCorrupt
from tapring.events.kinds import Packed
from tapring.shm.row import BellOf, Row
from tapring.wire import layout, overwrite
from tapring.wire.frame import Payload
from tapring.wire.geometry import Barrier, producer_words
from tapring.wire.layout import MAX_WORD
from tapring.wire.overwrite import OverwritingWriter, PastReader, copy_past
from tapring.wire.reader import Reader
from tapring.wire.writer import Writer

from .recording import replaced
from .table import ModelRegistry, ModelTable
from .table_threads import Changer


class PublishesFirst(Writer):
    """Stores the position before the payload."""

    __slots__ = ()

    def publish(self, payload: Payload, count: int, time_ns: int, sequence: int) -> None:
        tail = self.at[0]
        slots = layout.slots_for(len(payload), 1 << self._shift)
        if tail + slots <= self.limit:
            self._words[layout.TAIL] = tail + slots
        super().publish(payload, count, time_ns, sequence)


class TrustsAStaleHead(Writer):
    """Once the ring has wrapped, never loads the consumer's position again.

    It takes the slots after the tail for free, as they once were.
    """

    __slots__ = ()

    def look_again(self) -> bool:
        if self.at[0] < self._slots:
            return super().look_again()
        self.limit = self.at[0] + self._slots
        return True

    def may_have_room(self) -> bool:
        return True


class ReleasesFirst(Reader):
    """Releases a frame's slots before it has copied the payload out of them."""

    __slots__ = ()

    def take(self, *, keep: bool = False):
        if self._end == self._tail and not self._look_again():
            return None
        start = layout.SLOTS + (self._end % self._slots << self._shift)
        length = self._data.unpack_header(start)[5]  # type: ignore[attr-defined]
        self.page[layout.HEAD] = self._end + layout.slots_for(length, 1 << self._shift)
        return super().take(keep=keep)


class AnnouncesTooLate(OverwritingWriter):
    """Stores over old frames, and only then announces that they are gone."""

    __slots__ = ()

    def publish(self, payload: Payload, count: int, time_ns: int, sequence: int) -> None:
        limit, self.limit = self.limit, MAX_WORD
        Writer.publish(self, payload, count, time_ns, sequence)
        self.limit = limit
        if self.at[0] > limit:
            self._overtake(self.at[0] - self._slots)


class LooksTooEarly(PastReader):
    """Looks whether a frame is gone before it copies it, and not after."""

    __slots__ = ()

    def take(self):
        oldest = self._words[layout.OVERTAKE]
        self._next = max(self._next, oldest)
        if self._next >= self._words[layout.TAIL]:
            return None
        copied = self._copy(self._next)
        if copied is None:
            raise RingCorrupt("impossible frame")
        return self._told(*copied)


def looks_before_it_copies(words: Any, *how: Any, since: int = 0) -> None:
    """Copies a ring, but looks which frames are gone before it copies them, and not after."""
    oldest = words[layout.OVERTAKE]
    copy_past(words, *how, since=since)
    with producer_words(how[1]) as copied:
        copied[layout.OVERTAKE] = max(oldest, since)


def takes_a_lap_for_damage(words: Any, *how: Any, since: int = 0) -> None:
    """Copies a ring, and leaves in the copy how far the producer is ahead of it by now."""
    copy_past(words, *how, since=since)
    with producer_words(how[1]) as copied:
        copied[layout.OVERTAKE] = max(words[layout.OVERTAKE], since)


def copies_without_barrier(number: int) -> Callable[..., None]:
    """Copies a ring, in one pass, without one of the barriers: the first is 0."""

    def copy(words: Any, read: Any, image: Any, shape: Any, barrier: Any, **how: Any) -> None:
        calls = count()
        with replaced((overwrite, "_PASSES", 1)):
            copy_past(words, read, image, shape, lambda: next(calls) == number or barrier(), **how)

    return copy


class SleepsAtOnce(Doorbell):
    """Does not look again for a frame or the end after it has announced its sleep."""

    def wait(self, attachments: Sequence[Attachment], since_ns: int, until_ns: int) -> None:
        sleep = waiting.monotonic_ns()
        for each in attachments:
            each.reader.say_waiting(sleep, waiting.full_barrier)
        self._bell.wait(0.0)
        for each in attachments:
            each.reader.say_awake(sleep)


class LooksOnlyForFrames(Doorbell):
    """Looks again for a frame, but not for the end."""

    def wait(self, attachments: Sequence[Attachment], since_ns: int, until_ns: int) -> None:
        sleep = waiting.monotonic_ns()
        for each in attachments:
            each.reader.say_waiting(sleep, waiting.full_barrier)
        if all(each.reader.is_empty() for each in attachments):
            self._bell.wait(0.0)
        for each in attachments:
            each.reader.say_awake(sleep)


class SaysItTooLate(Doorbell):
    """Looks again, and only then announces its sleep."""

    def wait(self, attachments: Sequence[Attachment], since_ns: int, until_ns: int) -> None:
        sleep = waiting.monotonic_ns()
        if any(not each.reader.is_empty() or each.reader.ended() for each in attachments):
            return
        for each in attachments:
            each.reader.say_waiting(sleep, waiting.full_barrier)
        self._bell.wait(0.0)
        for each in attachments:
            each.reader.say_awake(sleep)


class NumbersNoSleep(Reader):
    """Uses one number for all its sleeps, so that the producer takes them for one."""

    __slots__ = ()

    def say_waiting(self, sleep: int, barrier: Barrier) -> None:
        super().say_waiting(1, barrier)


class AsksFirst(Attended):
    """Looks whether the consumer sleeps before it publishes, instead of after."""

    def commit(self, gathered: Packed, time_ns: int) -> None:
        asleep = [each for each in self.lives if each.writer.is_awaited(live.full_barrier)]
        Watched.commit(self, gathered, time_ns)
        for each in asleep:
            each.bell.ring()  # type: ignore[union-attr]


class ForgetsWhomItInterrupts(Attended):
    """Does not wake the consumer if an exception ends an offer, even if it published a frame."""

    def commit(self, gathered: Packed, time_ns: int) -> None:
        Watched.commit(self, gathered, time_ns)
        self._wake()


class PostsUnasked(Attended):
    """Posts for each batch, whether a consumer sleeps or not."""

    def commit(self, gathered: Packed, time_ns: int) -> None:
        Watched.commit(self, gathered, time_ns)
        for each in self.lives:
            each.bell.ring()  # type: ignore[union-attr]


class PostsAgain(Writer):
    """Forgets for which sleep it has already posted."""

    __slots__ = ()

    def is_awaited(self, barrier: Barrier) -> bool:
        self._woken = 0
        return super().is_awaited(barrier)


class _UnmarkedTable(ModelTable):
    @contextmanager
    def _changing(self) -> Iterator[None]:
        generation = self.generation
        yield
        self._set(layout.GENERATION, generation + 2)


class ForgetsToMark(ModelRegistry):
    """Changes rows without making the generation odd first."""

    table_class = _UnmarkedTable


class NamesBellsAlike(Changer):
    """Names all doorbells of a session alike, so that the engine takes them for one."""

    def new_bell(self, row: Row, number: int) -> BellOf:
        return super().new_bell(row, 1)
