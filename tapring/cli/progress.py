"""The line that ``tapring attach`` shows on a terminal while it captures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from ..consumer.session import Session
from ..consumer.stats import Stats
from ..files.writing import Sink
from ..words import countdown, counted, visible
from .lane_news import LaneNews
from .messages import note

if TYPE_CHECKING:
    from rich.live import Live

_EVERY_NS: Final = 200_000_000


@contextmanager
def show_progress(
    session: Session, sink: Sink, limit: int | None, *, wanted: bool = True
) -> Iterator[Callable[[], None] | None]:
    """While entered, show the line; yields a function that brings it up to date.

    Yields None, and shows nothing, unless it is ``wanted`` and standard error is a terminal. On a
    terminal that shows the events there is no line, and lanes are spoken of between the events.
    """
    if not wanted or not sys.stderr.isatty():
        yield None
        return
    if sink.is_terminal:
        yield _Spoken(session).update
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, highlight=False, markup=False)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield _Line(live, session, sink, limit).update


class _Spoken:
    """Remarks on lanes that join, end, or cannot be read."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._news = LaneNews()
        self._shown_ns = 0

    def update(self) -> None:
        """Show what is new, at most five times a second. Call it often."""
        now = monotonic_ns()
        if now - self._shown_ns >= _EVERY_NS:
            self._shown_ns = now
            self._show(now, self._session.stats)

    def _show(self, now: int, stats: Stats) -> None:
        for line in self._news.lines(stats):
            note(line)


class _Line(_Spoken):
    """Events, rate, losses, the ring's fill and the time left; remarks stand above."""

    def __init__(self, live: Live, session: Session, sink: Sink, limit: int | None) -> None:
        super().__init__(session)
        self._live = live
        self._sink = sink
        self._limit = limit
        self._last = (monotonic_ns(), 0)

    def _show(self, now: int, stats: Stats) -> None:
        for line in self._news.lines(stats):
            self._live.console.print(visible(f"tapring: {line}"), soft_wrap=True)
        self._live.update(self._text(now, stats), refresh=True)

    def _text(self, now: int, stats: Stats) -> str:
        events = self._sink.events
        last_ns, last_events = self._last
        rate = (events - last_events) / max(1, now - last_ns) * 1e9
        self._last = (now, events)
        of = "" if self._limit is None else f" of {self._limit:,}"
        parts = [f"{events:,}{of} events", f"{rate:,.0f}/s", f"{stats.dropped:,} dropped"]
        if stats.filtered:
            parts.append(f"{stats.filtered:,} filtered")
        if stats.shed:
            parts.append(f"{stats.shed:,} over budget")
        if stats.lanes_refused:
            parts.append(f"{counted(len(stats.lanes_refused), 'lane')} not read")
        parts.append(f"ring {self._session.fill:.0%}")
        parts.append(f"{countdown(self._session.remaining_s)} left")
        return ", ".join(parts)  # fits into 80 columns
