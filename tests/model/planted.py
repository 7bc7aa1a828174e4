"""Bugs of the real code's kind, planted into subclasses of it: the explorer must find each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tapring import layout
from tapring.ring import Reader, Writer

from .table import ModelRegistry


class PublishesFirst(Writer):
    """Stores the position before the payload that it publishes."""

    __slots__ = ()

    def publish(self, payload: bytes, count: int, time_ns: int) -> None:
        tail = self.at[0]
        slots = layout.slots_for(len(payload), 1 << self._shift)
        if tail + slots <= self._limit:
            self._words[layout.TAIL] = tail + slots
        super().publish(payload, count, time_ns)


class TrustsAStaleHead(Writer):
    """Goes on with the consumer's position that it has cached, once the ring has wrapped.

    It never loads it again, and takes the slots behind the tail for free, as they once were.
    """

    __slots__ = ()

    def _look_again(self) -> bool:
        if self.at[0] < self._slots:
            return super()._look_again()
        self._limit = self.at[0] + self._slots
        return True


class ReleasesFirst(Reader):
    """Releases a frame's slots before it has copied the payload out of them."""

    __slots__ = ()

    def take(self, *, keep: bool = False):
        if self._end == self._tail and not self._look_again():
            return None
        start = layout.SLOTS + (self._end % self._slots << self._shift)
        length = self._data.unpack_header(start)[4]  # type: ignore[attr-defined]
        self._page[layout.HEAD] = self._end + layout.slots_for(length, 1 << self._shift)
        return super().take(keep=keep)


class ForgetsToMark(ModelRegistry):
    """Changes rows without making the generation odd before."""

    @contextmanager
    def _changing(self) -> Iterator[None]:
        generation = self.words[layout.GENERATION]
        yield
        self._set(layout.GENERATION, generation + 2)
