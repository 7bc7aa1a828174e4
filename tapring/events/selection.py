"""Selection: which events a capture keeps, and which parts of them.

The steps, in their fixed order: ``grep`` (a regular expression on the event's text), ``where``
(JMESPath on the decoded event), ``sample`` (one in N, or by the value of a field), ``rate`` (so
many a second), and, after redaction, ``fields``. ``sieve`` applies them to frames and counts what
each step leaves out; frames are unknown here.

grep and where can say that certainly no event in a text passes, before any of it is decoded. That
makes them fast. They are never asked to say that an event does pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from .paths import NOTHING, Path, Tree, parse_paths
from .redaction import compile_regex
from .where import Where, searcher

_canonical: Final = msgspec.json.Encoder(order="sorted").encode
_SPECIAL: Final = frozenset(".^$*+?{}[]\\|()")
_PERIODS_NS: Final = {"s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_SLICES: Final = 10  # a rate is spread over so many parts of its period
Turns = tuple[int, int, int, int]
_RATE: Final = re.compile(r"(\d+)(?:\s*/\s*(s|m|h|sec|min|hour))?")


class Select:
    """What a capture keeps. Use one Select for each capture, since samples and rates count.

    grep: a regular expression (or compiled pattern) that must match somewhere in an event's text:
    the line itself, the JSON of an event, the ndjson of a record. where: a JMESPath expression
    that must be true for the decoded event. sample: keep one event in so many. by: a path; then
    all events with the same value at that path are kept or none, the same ones in every capture.
    rate: ``"100/s"``, ``"30/m"`` or ``"5/h"``: keep at most so many in each second, minute or
    hour of the engine's time, spread over its tenths. fields: paths (``"a,b.c"``) to keep of each
    event; the rest is left out.

    Raises ValueError, with an example, for an invalid value, and ImportError if ``where`` is given
    and jmespath is not installed.
    """

    def __init__(
        self,
        *,
        grep: str | re.Pattern[str] | None = None,
        where: str | None = None,
        sample: int = 1,
        by: str | None = None,
        rate: str | None = None,
        fields: str | Iterable[str] = (),
    ) -> None:
        self.grep: Grep | None = None if grep is None else Grep(grep)
        self.where: Where | None = None if where is None else Where(where)
        self.sample: Sample | None = None if sample == 1 and by is None else Sample(sample, by)
        self.rate: Rate | None = None if rate is None else Rate(rate)
        self.fields: Fields | None = Fields(fields) if fields else None

    def __repr__(self) -> str:
        asked = " ".join(f"{what}={value!r}" for what, value in self.describe().items())
        return f"<Select {asked or 'everything'}>"

    @property
    def needs_decoding(self) -> bool:
        """Whether the steps look into events, and not only at their text."""
        by = self.sample is not None and self.sample.by is not None
        return self.where is not None or by or self.fields is not None

    @property
    def empty(self) -> bool:
        """Whether every event is kept, unchanged."""
        return not any((self.grep, self.where, self.sample, self.rate, self.fields))

    def turns(self) -> Turns:
        """How far the steps have come that count events."""
        where, sample, rate = self.where, self.sample, self.rate
        return (
            0 if where is None else where.failed,
            0 if sample is None else sample.turn,
            0 if rate is None else rate.period,
            0 if rate is None else rate.taken,
        )

    def go_back(self, turns: Turns) -> None:
        """Forget what was counted since ``turns`` returned this."""
        failed, turn, period, taken = turns
        if self.where is not None:
            self.where.failed = failed
        if self.sample is not None:
            self.sample.turn = turn
        if self.rate is not None:
            self.rate.period, self.rate.taken = period, taken

    def describe(self) -> dict[str, Any]:
        """What was asked for, as in a file's metadata."""
        asked: dict[str, Any] = {}
        if self.grep is not None:
            asked["grep"] = self.grep.pattern.pattern
        if self.where is not None:
            asked["where"] = self.where.text
        if self.sample is not None:
            asked["sample"] = self.sample.one_in
            if self.sample.by is not None:
                asked["by"] = self.sample.by.text
        if self.rate is not None:
            asked["rate"] = self.rate.text
        if self.fields is not None:
            asked["fields"] = [path.text for path in self.fields.paths]
        return asked


class Grep:
    """A regular expression that an event's text must match."""

    def __init__(self, pattern: str | re.Pattern[str]) -> None:
        self.pattern: re.Pattern[str] = compile_regex(pattern)
        literal = _literal_in(self.pattern)
        self._literal = literal
        self._is_literal = literal == self.pattern.pattern.encode("utf-8", "surrogateescape")
        self._search = searcher(literal) if literal else None

    def certainly_not(self, text: bytes) -> bool:
        """Whether no event in ``text`` can match."""
        return self._search is not None and self._search(text) is None

    def matches(self, text: bytes) -> bool:
        """Whether ``text``, that of one event, matches."""
        if self._is_literal:
            return self._literal in text
        if self._literal and self._literal not in text:
            return False
        return self.pattern.search(text.decode("utf-8", "surrogateescape")) is not None


class Sample:
    """One event in ``one_in``: the first and every N-th after it, or by the values at ``by``."""

    def __init__(self, one_in: int, by: str | None = None) -> None:
        if not isinstance(one_in, int) or one_in < 1:
            raise ValueError(
                f"Invalid sample {one_in!r}. Use a whole number of at least 1: 10 keeps one "
                f"event in ten."
            )
        self.one_in = one_in
        self.by: Path | None = None if by is None else Path(by)
        if self.by is not None:
            from hashlib import blake2b  # loads OpenSSL: 5 ms that no engine needs

            self._hash = blake2b
        self.turn: int = 0

    def takes_next(self) -> bool:
        """Whether the next event is taken."""
        turn = self.turn
        self.turn = (turn + 1) % self.one_in
        return turn == 0

    def takes(self, event: Any) -> bool:
        """Whether ``event`` is taken, by its value at ``by``; the same in every capture.

        Events without that field count as having the value null.
        """
        assert self.by is not None
        values = self.by.values(event)
        value = values[0] if len(values) == 1 else values or None
        digest = self._hash(_canonical(value), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.one_in == 0


class Rate:
    """At most so many events in each period of the engine's time, spread over its tenths.

    ``5`` is ``5/s``; the others are ``30/m`` and ``5/h``.

    What a quiet tenth leaves unused may be used later in the same period.
    """

    def __init__(self, text: str) -> None:
        match = _RATE.fullmatch(text.strip().lower())
        if not match or not int(match[1]):
            raise ValueError(f"Invalid rate {text!r}. Try 100/s, 30/m or 5/h.")
        self.text = text
        self._most = int(match[1])
        self._period_ns = _PERIODS_NS[(match[2] or "s")[0]]
        self.period: int = -1
        self.taken: int = 0

    def takes(self, time_ns: int, count: int) -> int:
        """How many of ``count`` events are taken at ``time_ns``."""
        period, into = divmod(time_ns, self._period_ns)
        if period > self.period:  # with several lanes, times can go back a little
            self.period, self.taken = period, 0
        elapsed = into * _SLICES // self._period_ns + 1
        allowed = -(-self._most * elapsed // _SLICES)
        taken = min(count, max(0, allowed - self.taken))
        self.taken += taken
        return taken


class Fields:
    """The parts of an event that a set of paths keeps, in its own structure."""

    def __init__(self, paths: str | Iterable[str]) -> None:
        self.paths: tuple[Path, ...] = parse_paths(paths)
        self._tree = Tree.of(self.paths)

    def __call__(self, event: Any) -> Any:
        """A new event with the values that the paths lead to; ``{}`` if there are none."""
        kept = self._tree.keep(event)
        return {} if kept is NOTHING else kept

    @property
    def unmatched(self) -> tuple[str, ...]:
        """The paths that no event had so far."""
        return tuple(path.text for path in self.paths if not path.found)


def _literal_in(pattern: re.Pattern[str]) -> bytes:
    """A text that every match must contain; ``b""`` if none is known.

    Only the plain cases: nothing is known of a pattern with groups, sets, alternatives, escapes
    or flags; in others, a character that a quantifier follows is left out.
    """
    text = pattern.pattern
    if set(text) & set("|()[]\\{") or getattr(pattern, "flags", 0) & ~re.UNICODE:
        return b""
    runs = re.split(r".[*?][?+]?|\+[?+]?|[.^$]", text, flags=re.DOTALL)
    longest = max(runs, key=len)
    return longest.encode("utf-8", "surrogateescape")
