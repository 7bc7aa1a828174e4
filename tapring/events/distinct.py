"""How many different values there are: exact up to a bound, then an estimate.

The values' hashes are kept, and once there are too many, only the smallest of them: those below a
threshold. As hashes are spread evenly, the share of all hashes that lies below the threshold is
known, and so is about how many there are in all (Bar-Yossef and others, "Counting Distinct Elements
in a Data Stream", 2002, as in the theta sketch of Apache DataSketches). One set does both, and two
of them can be united.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from typing import Final

MOST: Final = 1 << 14
"""Hashes that are kept at least, once values are estimated: 1.6 % of error, and 2 MB."""
_SPACE: Final = 1 << 64
_HALF: Final = 1 << 63


class Distinct:
    """Counts different values: exactly, as long as there are at most 2 * ``most``."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._hashes: set[int] = set()
        self._below = _SPACE

    @property
    def values(self) -> int:
        """How many different values were added; about so many, if it is not ``exact``."""
        return round(len(self._hashes) * _SPACE / self._below)

    @property
    def exact(self) -> bool:
        """Whether ``values`` is exact."""
        return self._below == _SPACE

    @property
    def relative_error(self) -> float:
        """By which share ``values`` may be wrong: two standard errors, so 19 times out of 20."""
        return 0.0 if self.exact else 2 / math.sqrt(max(1, len(self._hashes)))

    def add(self, values: Iterable[Hashable]) -> None:
        """Add values. Those that are equal are one."""
        below = self._below
        # A str and the bytes of its UTF-8 have one hash, and are two values.
        hashes = {hash(each if type(each) is str else (each,)) + _HALF for each in values}
        self._hashes |= hashes if below == _SPACE else {each for each in hashes if each < below}
        if len(self._hashes) > 2 * self._most:
            self._prune()

    def merge(self, other: Distinct) -> None:
        """Add what was added to ``other``."""
        below = min(self._below, other._below)
        self._hashes = {each for each in self._hashes | other._hashes if each < below}
        self._below = below
        if len(self._hashes) > 2 * self._most:
            self._prune()

    def _prune(self) -> None:
        smallest = sorted(self._hashes)
        self._below = smallest[self._most]
        self._hashes = set(smallest[: self._most])
