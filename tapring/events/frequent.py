"""How often each of many keys occurs, in bounded memory: exact until there are too many keys.

Beyond that, the rarest keys are given up (Misra and Gries, "Finding repeated elements", 1982; half
of them at a time, as in "A High-Performance Algorithm for Identifying Frequent Items in Data
Streams", Anderson and others, 2017). Each count is then too low by at most ``error``, and a key
that occurs more often than that is never given up. The standard library's Counter counts a batch in
C; a library of sketches would cost a package, and a call for each key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable
from typing import Any, Final

MOST: Final = 20_000
"""Keys at most: some 10 MB if each is a few dozen characters."""


class Frequent:
    """Counts keys; at most ``most`` of them are kept.

    total: all that was counted. error: a key has occurred at least as often as it is counted, and
    at most by so many more; 0 while the counts are exact.
    """

    def __init__(self, most: int = MOST) -> None:
        self.total: int = 0
        self.error: int = 0
        self._most = most
        self._counts: Counter[Any] = Counter()

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, keys: Collection[Hashable]) -> None:
        """Count each of ``keys`` once."""
        self._counts.update(keys)
        self.total += len(keys)
        if len(self._counts) > self._most:
            self._prune()

    def add_many(self, key: Hashable, count: int) -> None:
        """Count ``key`` ``count`` times."""
        self._counts[key] += count
        self.total += count
        if len(self._counts) > self._most:
            self._prune()

    def merge(self, other: Frequent) -> None:
        """Count what ``other`` has counted, too."""
        self._counts.update(other._counts)
        self.total += other.total
        self.error += other.error
        if len(self._counts) > self._most:
            self._prune()

    def top(self, n: int) -> list[tuple[Any, int]]:
        """The ``n`` keys with the highest counts; of equal ones, those that came first."""
        return self._counts.most_common(n)

    def count(self, key: Hashable) -> int:
        """How often ``key`` was counted."""
        return self._counts[key]

    def _prune(self) -> None:
        """Keep half of the keys at most: take the count of the first one beyond them from all."""
        beyond = sorted(self._counts.values(), reverse=True)[self._most // 2]
        self._counts = Counter(
            {key: count - beyond for key, count in self._counts.items() if count > beyond}
        )
        self.error += beyond
