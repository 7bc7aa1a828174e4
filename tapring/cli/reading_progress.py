"""The line that shows how far recorded files were read, while nothing else is on the terminal."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns
from typing import Final

from ..delivery.recorded import Recorded
from ..words import rate_in_words
from .progress import Place
from .status_line import StatusLine

_EVERY_NS: Final = 200_000_000
_SILENCE_NS: Final = 2_000_000_000


class ReadingProgress:
    """Brings the terminal up to date; see ``Transfer``.

    place: where events go. Amidst events there is a line only while none come; beside a pipe, whose
    reader may write to the terminal, there is none. wanted: whether anything may be shown. written:
    how many events were written, or counted.
    """

    def __init__(
        self, recorded: Recorded, place: Place, written: Callable[[], int], *, wanted: bool = True
    ) -> None:
        self._recorded = recorded
        self._written = written
        self._line = StatusLine()
        self._place: Place = place if wanted and self._line.on_terminal else "pipe"
        now = monotonic_ns()
        self._due_ns = now + _EVERY_NS  # most files are read before that
        self._output_ns = now
        self._last = (now, 0)

    def make_way(self) -> None:
        """Events are about to be written."""
        if self._place == "terminal":
            self._line.clear()
            self._output_ns = monotonic_ns()

    def update(self) -> None:
        """Show what is new, at most five times a second. Call it often."""
        now = monotonic_ns()
        if self._place == "pipe" or now < self._due_ns:
            return
        self._due_ns = now + _EVERY_NS
        if self._place == "stored" or now - self._output_ns >= _SILENCE_NS:
            self._line.show(self._figures(now))

    def close(self) -> None:
        """Erase the line."""
        self._line.clear()

    def _figures(self, now: int) -> str:
        recorded = self._recorded
        read = recorded.read
        last_ns, last_read = self._last
        self._last = (now, read)
        rate = rate_in_words((read - last_read) / max(1, now - last_ns) * 1e9)
        known = [each.events for each in recorded.recordings]
        total = None if None in known else sum(each or 0 for each in known)
        of = f" of {total:,} ({read / total:.0%})" if total else ""
        left_out = recorded.outside or any(recorded.away.counts())
        kept = f", {self._written():,} kept" if left_out else ""
        return f"{read:,}{of} events read{kept}, {rate}"
