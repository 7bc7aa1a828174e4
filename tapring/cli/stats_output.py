"""Where ``tapring stats`` shows its facts: a table on a terminal, JSON elsewhere, and remarks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

import msgspec

from ..delivery.counting import Counting, Interval, LiveCounting, RecordedCounting
from ..delivery.statistics import Account, Statistics, statistics
from ..files.writing import STDOUT, Output
from ..words import counted, visible_json, were
from .progress import Place, place_of
from .stats_options import Options
from .summary import not_met

if TYPE_CHECKING:
    from rich.live import Live as RichLive

_REFRESH_NS: Final = 500_000_000


class Shown:
    """The output of one count."""

    def __init__(self, asked: Options) -> None:
        self._top = asked.top
        self._is_terminal = sys.stdout.isatty()
        self._as_json = asked.as_json or not self._is_terminal
        self._output = Output()
        self._is_live = False
        place = place_of(STDOUT)
        in_between = self._as_json or asked.every_ns is not None
        self.place: Place = place if in_between else "stored"
        """Where what is shown goes before the end, as ``progress`` asks."""

    def interval(self, interval: Interval) -> None:
        """Show an interval that is over. Raises OSError; BrokenPipeError once nothing reads it."""
        if self._as_json:
            self._write(statistics(interval, self._top))
        elif not self._is_live:
            from .stats_view import line_of

            self._output.write(f"{line_of(statistics(interval, self._top))}\n".encode())

    def live(self, counting: LiveCounting, look: Callable[[], object]) -> Live:
        """What shows the count so far, on a terminal, and calls ``look`` now and then."""
        self._is_live = not self._as_json
        return Live(counting, self._top, look, shows=self._is_live)

    def end(self, counting: LiveCounting | RecordedCounting, account: Account) -> Statistics:
        """Show the total, unless a table has shown it. Raises OSError, as ``interval`` does."""
        facts = self.facts(counting, account)
        if self._as_json:
            self._write(facts)
        elif not self._is_live:
            from rich.console import Console

            from .stats_view import view

            Console(highlight=False, markup=False, emoji=False).print(view(facts))
        return facts

    def facts(self, counting: LiveCounting | RecordedCounting, account: Account) -> Statistics:
        """The total."""
        return statistics(counting.total, self._top, account=account)

    def _write(self, facts: Statistics) -> None:
        line = msgspec.json.encode(facts)
        if self._is_terminal:
            line = visible_json(line.decode()).encode()
        self._output.write(line + b"\n")


class Live:
    """A table of the count so far, which stays at the end. A context manager.

    shows: whether there is one. look: called some times a second, in any case.
    """

    def __init__(
        self, counting: LiveCounting, top: int, look: Callable[[], object], *, shows: bool
    ) -> None:
        self._counting = counting
        self._top = top
        self._look = look
        self._shows = shows
        self._table: RichLive | None = None
        self._due_ns = 0

    def __enter__(self) -> Live:
        if self._shows:
            from rich.console import Console
            from rich.live import Live as RichLive

            console = Console(highlight=False, markup=False, emoji=False)
            self._table = RichLive(console=console, auto_refresh=False)
            self._table.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._table is not None:
            with suppress(OSError):  # the terminal has gone
                self._show(self._table)
                self._table.stop()

    def make_way(self) -> None:
        """Nothing is written but the table."""

    def update(self) -> None:
        """Show the count so far, twice a second. Call it often."""
        now = monotonic_ns()
        if now < self._due_ns:
            return
        self._due_ns = now + _REFRESH_NS
        self._look()
        if self._table is not None:
            self._show(self._table)

    def _show(self, table: RichLive) -> None:
        from .stats_view import view

        counting = self._counting
        facts = statistics(counting.total, self._top, recent=counting.last)
        table.update(view(facts), refresh=True)


def remarks(facts: Statistics, counting: Counting) -> Iterator[str]:
    """What a reader of the counts must know to take them for what they are."""
    account = facts.account or None
    if account is not None and account.lost:
        lost = (
            counted(account.lost, "event")
            if account.offered is None
            else f"{account.lost:,} of {account.offered:,} offered events"
        )
        yield (f"{lost} {were(account.lost)} lost: counts and shares are of those that were seen")
    if account is not None and account.scale != 1:
        yield (
            f"the events are a sample: counts times {account.scale:.4g} are an estimate of all "
            f"events"
        )
    if facts.count_error:
        yield (
            f"there were too many combinations to count each exactly: a count may be too low by "
            f"up to {facts.count_error:,}"
        )
    if facts.undecoded:
        yield (
            f"{counted(facts.undecoded, 'event')} could not be looked into, and count as events "
            f"without any field: not JSON, or nested too deeply"
        )
    if isinstance(counting, RecordedCounting) and counting.late:
        yield f"{counted(counting.late, 'event')} came late, and count in the interval after theirs"
    for option, paths in (facts.unmatched or {}).items():
        for path in paths:
            yield not_met(option, path, counting.question.seen)
