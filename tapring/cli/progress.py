"""What ``tapring attach`` shows on a terminal while it captures, and never amidst events.

Beside a file, or if events are discarded, there is a line of figures. On a terminal that shows the
events there is a line only while none come, and it is erased before the next one. If events go
into a pipe, whatever reads it may write to the terminal: nothing is shown.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from time import monotonic_ns
from typing import Final, Literal

from ..consumer.session import Session
from ..consumer.stats import Stats
from ..files.writing import STDOUT
from ..words import countdown, counted, rate_in_words
from .lane_news import LaneNews
from .silence import why_silent
from .status_line import StatusLine

_EVERY_NS: Final = 200_000_000
_SILENCE_NS: Final = 2_000_000_000
_FAR_S: Final = 43_200  # an end that is further off, as engines limit captures, is not worth a word

Place = Literal["terminal", "stored", "pipe"]


def place_of(output: str) -> Place:
    """Where the events go that are written to ``output``: a path, or ``-``."""
    try:
        status = os.fstat(sys.stdout.fileno()) if output == STDOUT else os.stat(output)
    except (OSError, ValueError, AttributeError):  # a file that is not there yet; a closed stream
        return "stored"
    if stat.S_ISCHR(status.st_mode):
        null = os.stat(os.devnull)
        return "stored" if status.st_rdev == null.st_rdev else "terminal"
    return "pipe" if stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode) else "stored"


class Progress:
    """Brings the terminal up to date. ``written``: how many events were written so far.

    place: where events go. wanted: whether anything may be shown. look: called as often as the
    line is drawn, if ever; it returns what to add: where the events go, if they go elsewhere.
    """

    def __init__(
        self,
        session: Session,
        place: Place,
        limit: int | None,
        *,
        wanted: bool = True,
        look: Callable[[], str] = str,
    ) -> None:
        self.written: Callable[[], int] = int
        self._session = session
        self._limit = limit
        self._look = look
        self._news = LaneNews()
        self._line = StatusLine()
        self._place: Place = place if wanted and self._line.on_terminal else "pipe"
        now = monotonic_ns()
        self._due_ns = 0
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
        if now < self._due_ns:
            return
        self._due_ns = now + _EVERY_NS
        elsewhere = self._look()
        if self._place == "pipe":
            return
        stats = self._session.stats
        for line in self._news.lines(stats):
            self._line.note(line)
        if self._place == "stored":
            self._line.show(self._figures(now, stats) + elsewhere)
        elif now - self._output_ns >= _SILENCE_NS:
            said = why_silent(self._session, stats, self.written())
            self._line.show(f"tapring: {said}" + elsewhere)

    def close(self) -> None:
        """Erase the line."""
        self._line.clear()

    def _figures(self, now: int, stats: Stats) -> str:
        events = self.written()
        last_ns, last_events = self._last
        rate = (events - last_events) / max(1, now - last_ns) * 1e9
        self._last = (now, events)
        of = "" if self._limit is None else f" of {self._limit:,}"
        parts = [f"{events:,}{of} events", rate_in_words(rate), f"{stats.dropped:,} dropped"]
        if stats.filtered:
            parts.append(f"{stats.filtered:,} filtered")
        if stats.shed:
            parts.append(f"{stats.shed:,} over budget")
        if stats.lanes_refused:
            parts.append(f"{counted(len(stats.lanes_refused), 'lane')} not read")
        parts.append(f"ring {self._session.fill:.0%}")
        if self._session.remaining_s < _FAR_S:
            parts.append(f"{countdown(self._session.remaining_s)} left")
        return ", ".join(parts)  # fits into 80 columns
