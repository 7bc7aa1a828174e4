"""Why no event comes out of a capture: the same words live, on a terminal, and in the summary."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from time import monotonic_ns
from typing import Final

from ..consumer.session import Session
from ..consumer.stats import Stats
from ..errors import TapError, suggest
from ..events.steps import KeptAway
from ..events.where import Where
from ..shm.discovery import engines
from ..shm.names import is_pattern, split_address
from ..words import counted
from .messages import note
from .status_line import StatusLine

_LIST_EVERY_NS: Final = 1_000_000_000
_FIELDS_SHOWN: Final = 12
_STEPS: Final = ("grep", "where", "sample", "rate")


def why_silent(session: Session, stats: Stats, written: int) -> str:
    """What was seen and what became of it, in one line, while few or no events come out.

    ``shop/decoded: 1,256 events seen, 0 match --where; fields seen: level, msg, user.id``
    """
    address = f"{session.engine}/{session.stage}"
    if not stats.offered:
        return f"{address}: no events so far"
    seen = f"{address}: {counted(stats.delivered, 'event')} seen"
    if written:
        return f"{seen}, {written:,} shown"
    return f"{seen}{_fate(session.away, stats)}{_fields_seen(session.seen_keys, session.away)}"


def elsewhere_in_words(busy: Sequence[str], unseen: Sequence[str] = ()) -> str:
    """What to try if other stages get events, or may, and the one that is read gets none."""
    if busy:
        stages = f"stage {busy[0]} gets" if len(busy) == 1 else f"stages {', '.join(busy)} get"
        return f"; {stages} events: try --stage {','.join(busy)}"
    if unseen:
        stages = "stage" if len(unseen) == 1 else "stages"
        return f"; {stages} {', '.join(unseen)} could not be watched: try --stage {unseen[0]}"
    return ""


def _fate(away: KeptAway, stats: Stats) -> str:
    """What became of the events of which none came out."""
    withheld = stats.redaction_dropped + stats.decode_errors
    steps = [f"--{step}" for step in _STEPS if getattr(away, step)]
    said = f", 0 match {' and '.join(steps)}" if steps else ""
    if withheld:
        said += f", {withheld:,} could not be read as JSON"
    return said


def _fields_seen(keys: Collection[str], away: KeptAway) -> str:
    """The names of fields, if an expression found none of its events."""
    if not (away.where and keys):
        return ""
    shown = list(keys)[:_FIELDS_SHOWN]
    more = len(keys) - len(shown)
    return f"; fields seen: {', '.join(shown)}{f' and {more} more' if more else ''}"


def where_typos(where: Where | None, seen: Collection[str]) -> Iterator[str]:
    """A line for each field of an expression that no event had."""
    if where is None:
        return
    names = sorted(seen)
    for path in where.unmet:
        had = (
            "none of the events that were looked into had"
            if path in where.unsure
            else "no event had"
        )
        text = path in where.compared
        hint = f". For the text, use single quotes: '{path}'" if text else suggest(path, names)
        yield f"--where {path}: {had} this field{hint}"


class Waiting:
    """What is said while the engine at ``address`` does not run: a line on a terminal, or one note.

    shows: whether the line is wanted. A context manager that erases it. Call it often.
    """

    def __init__(self, address: str, *, shows: bool = True) -> None:
        self._address = address
        self._line = StatusLine()
        self._shows = shows and self._line.on_terminal
        self._due_ns = 0
        self._said = False

    def __call__(self) -> None:
        """Say what is waited for, and what runs instead."""
        now = monotonic_ns()
        if now < self._due_ns:
            return
        self._due_ns = now + _LIST_EVERY_NS
        if self._shows:
            self._line.show(f"tapring: {_waiting_for(self._address)}")
        elif not self._said:
            self._said = True
            note(_waiting_for(self._address))

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.clear()


def _waiting_for(address: str) -> str:
    engine = split_address(address)[0]
    try:
        known = sorted({each.name for each in engines(sweep=False)})
    except (TapError, OSError):
        known = []
    running = f"running: {', '.join(known)}" if known else "no engine runs"
    what = "engines like" if is_pattern(engine) else "an engine called"
    near = suggest(engine, known).removeprefix("; ")
    return f"waiting for {what} {engine!r}{f' ({near})' if near else ''}; {running}"
