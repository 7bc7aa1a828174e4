"""A line on a terminal that says, while a capture runs, how far it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from ..consumer.session import Session
from ..files.writing import Sink
from .messages import countdown

if TYPE_CHECKING:
    from rich.live import Live

_EVERY_NS: Final = 200_000_000


class Progress:
    """Events, rate, losses, fill and what is left, on standard error. ``tick`` it often."""

    def __init__(self, live: Live, session: Session, sink: Sink, limit: int | None) -> None:
        self._live = live
        self._session = session
        self._sink = sink
        self._limit = limit
        self._shown_ns = 0
        self._last = (monotonic_ns(), 0)

    def tick(self) -> None:
        """Show how far it is, five times a second at most."""
        now = monotonic_ns()
        if now - self._shown_ns < _EVERY_NS:
            return
        self._shown_ns = now
        self._live.update(self._line(now), refresh=True)

    def _line(self, now: int) -> str:
        events = self._sink.events
        before, had = self._last
        rate = (events - had) / max(1, now - before) * 1e9
        self._last = (now, events)
        stats = self._session.stats
        of = "" if self._limit is None else f" of {self._limit:,}"
        parts = [f"{events:,}{of} events", f"{rate:,.0f}/s", f"{stats.dropped:,} dropped"]
        if stats.filtered:
            parts.append(f"{stats.filtered:,} kept away")
        if stats.shed:
            parts.append(f"{stats.shed:,} shed by the engine's budget")
        parts.append(f"ring {self._session.fill:.0%}")
        parts.append(f"{countdown(self._session.remaining_s)} left")
        return ", ".join(parts)  # within 80 columns


@contextmanager
def shown(
    session: Session, sink: Sink, limit: int | None, *, wanted: bool = True
) -> Iterator[Progress | None]:
    """A Progress while standard error is a terminal that the events do not go to; else None."""
    if not wanted or sink.is_terminal or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, highlight=False, markup=False)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield Progress(live, session, sink, limit)
