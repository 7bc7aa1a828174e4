"""Bugs of the real code's kind, planted into subclasses of it: the explorer must find each."""

from __future__ import annotations

from tapring import layout
from tapring.ring import Reader, Writer


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
    """Takes the consumer for where it was last seen *plus a lap*, once the ring has wrapped.

    It never loads the consumer's position again: a wrapped tail is compared with a cached head as
    if both had been taken modulo the ring.
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
