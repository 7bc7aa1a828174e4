"""Selection: which events a capture keeps, and what of them. Pure functions on events.

The steps, in their fixed order: ``grep`` (a regular expression on the event's text), ``where``
(JMESPath on the decoded event), ``sample`` (one in N, or by the value of a field), ``rate`` (so
many a second), and, after redaction, ``fields``. Nothing here knows of a frame; ``sieve`` applies
the steps to frames and counts what they kept away.

grep and where can say of a text, before anything of it is decoded, that certainly no event in it
passes. That is what makes them fast; they are never asked to say that one does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final

import msgspec

from .paths import NOTHING, Path, Tree, parse_paths
from .redaction import compile_regex
from .where import Where, searcher

_canonical: Final = msgspec.json.Encoder(order="sorted").encode
_SPECIAL: Final = frozenset(".^$*+?{}[]\\|()")
_PERIODS_NS: Final = {"s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_SLICES: Final = 10  # of a period: so evenly is a rate spread
_RATE: Final = re.compile(r"(\d+)/(s|m|h|sec|min|hour)")


class Select:
    """What a capture keeps. One Select a capture, since samples and rates count.

    grep: a regular expression (or compiled pattern) that an event's text must match somewhere: a
    line as it is, an event's JSON, the ndjson of a record. where: a JMESPath expression that must
    be true of the decoded event. sample: keep one in so many; ``by``: a path, and then all events
    with one value there are kept or none, the same ones in every capture. rate: ``"100/s"``,
    ``"30/m"`` or ``"5/h"``: at most so many in each second, minute or hour of the engine's time,
    spread over its tenths. fields: paths (``"a,b.c"``); the rest of each event is left out.

    Raises ValueError, with an example, for what is none of these, and ImportError where jmespath
    is not installed.
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
        self.grep = None if grep is None else Grep(grep)
        self.where = None if where is None else Where(where)
        self.sample = None if sample == 1 and by is None else Sample(sample, by)
        self.rate = None if rate is None else Rate(rate)
        self.fields = Fields(fields) if fields else None

    @property
    def needs_decoding(self) -> bool:
        """Whether it must look into events, and not only at their text."""
        by = self.sample is not None and self.sample.by is not None
        return self.where is not None or by or self.fields is not None

    @property
    def empty(self) -> bool:
        """Whether it keeps everything."""
        return not any((self.grep, self.where, self.sample, self.rate, self.fields))

    def describe(self) -> dict[str, Any]:
        """What was asked for, as a file's metadata has it."""
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
        self.pattern = compile_regex(pattern)
        literal = _literal_in(self.pattern)
        self._literal = literal
        self._is_literal = literal == self.pattern.pattern.encode("utf-8", "surrogateescape")
        self._search = searcher(literal) if literal else None

    def certainly_not(self, text: bytes) -> bool:
        """Whether no part of ``text`` can match."""
        return self._search is not None and self._search(text) is None

    def matches(self, text: bytes) -> bool:
        """Whether ``text``, one event's, matches."""
        if self._is_literal:
            return self._literal in text
        if self._literal and self._literal not in text:
            return False
        return self.pattern.search(text.decode("utf-8", "surrogateescape")) is not None


class Sample:
    """One event in ``one_in``: the first and each N-th after it, or all of one value of ``by``."""

    def __init__(self, one_in: int, by: str | None = None) -> None:
        if not isinstance(one_in, int) or one_in < 1:
            raise ValueError(f"a sample is one in a whole number from 1 on, not {one_in!r}; 10 is")
        self.one_in = one_in
        self.by = None if by is None else Path(by)
        self._turn = 0

    def takes_next(self) -> bool:
        """Whether the next event is taken."""
        turn = self._turn
        self._turn = (turn + 1) % self.one_in
        return turn == 0

    def takes(self, event: Any) -> bool:
        """Whether ``event`` is taken, by its value: the same ones in every capture.

        Events without that field are as one value, null.
        """
        assert self.by is not None
        values = self.by.values(event)
        value = values[0] if len(values) == 1 else values or None
        digest = blake2b(_canonical(value), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.one_in == 0


class Rate:
    """At most so many events in each period of the engine's time, spread over its tenths.

    What a quiet tenth leaves may be used later in the same period.
    """

    def __init__(self, text: str) -> None:
        match = _RATE.fullmatch(text.strip().lower())
        if not match or not int(match[1]):
            raise ValueError(f"{text!r} is no rate; 100/s, 30/m and 5/h are")
        self.text = text
        self._most = int(match[1])
        self._period_ns = _PERIODS_NS[match[2][0]]
        self._period = -1
        self._taken = 0

    def takes(self, time_ns: int, count: int) -> int:
        """How many of ``count`` events of that time are taken."""
        period, into = divmod(time_ns, self._period_ns)
        if period > self._period:  # the times of several lanes may go back a little
            self._period, self._taken = period, 0
        elapsed = into * _SLICES // self._period_ns + 1
        allowed = -(-self._most * elapsed // _SLICES)
        taken = min(count, max(0, allowed - self._taken))
        self._taken += taken
        return taken


class Fields:
    """What of an event a set of paths leaves, in its own structure."""

    def __init__(self, paths: str | Iterable[str]) -> None:
        self.paths = parse_paths(paths)
        self._tree = Tree.of(self.paths)

    def __call__(self, event: Any) -> Any:
        """A new event with what the paths lead to; ``{}`` where that is nothing."""
        kept = self._tree.keep(event)
        return {} if kept is NOTHING else kept

    @property
    def unmatched(self) -> tuple[str, ...]:
        """The paths that no event had so far."""
        return tuple(path.text for path in self.paths if not path.found)


def _literal_in(pattern: re.Pattern[str]) -> bytes:
    """A text that whatever matches must contain, or ``b""`` where none is known.

    Only what is plain to see: in a pattern with groups, sets, alternatives, escapes or flags
    nothing is known; elsewhere a character that a quantifier follows is left out.
    """
    text = pattern.pattern
    if set(text) & set("|()[]\\{") or pattern.flags & ~re.UNICODE:
        return b""
    runs = re.split(r".[*?][?+]?|\+[?+]?|[.^$]", text, flags=re.DOTALL)
    longest = max(runs, key=len)
    return longest.encode("utf-8", "surrogateescape")
