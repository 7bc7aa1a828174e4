"""The distribution of a number: quantiles within 1 % of the true value, in bounded memory.

A number is counted in a bucket by its logarithm (Masson and others, "DDSketch", 2019). The values
in a bucket differ by 2 %, and its middle stands for them. All doubles together have 71,000 buckets
of each sign; what occurs in practice has some hundred.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

RELATIVE_ERROR: Final = 0.01
_GAMMA: Final = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_PER_LOG: Final = 1 / math.log(_GAMMA)
_LARGEST: Final = 1.7976931348623157e308
_MOST_ROWS: Final = 20
_DECADES: Final = (0, 1, 2, 4, 8, 16, 32, 64)


class Row(NamedTuple):
    """A row of a histogram: how many ``numbers`` are at least ``start`` and less than ``end``."""

    start: float
    end: float
    numbers: int


class Histogram:
    """Counts numbers. ``others``: values that were not numbers. ``mean``: 0 without numbers."""

    def __init__(self) -> None:
        self.count: int = 0
        self.others: int = 0
        self.mean: float = 0.0
        self.min: float = math.inf
        self.max: float = -math.inf
        self._buckets: Counter[tuple[int, int]] = Counter()

    def add(self, values: Iterable[Any]) -> None:
        """Add decoded values; those that are not finite numbers are counted in ``others``."""
        numbers = []
        for value in values:
            if type(value) is float or type(value) is int:
                numbers.append(value)
            else:
                self.others += 1
        try:
            self._add(numbers)
        except (OverflowError, ValueError):  # an integer beyond all doubles; NaN, infinity
            for number in numbers:
                if -_LARGEST <= number <= _LARGEST:
                    self._add([float(number)])
                else:
                    self.others += 1

    def merge(self, other: Histogram) -> None:
        """Add what was added to ``other``."""
        self._weigh_in(other.mean, other.count)
        self.others += other.others
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)
        self._buckets.update(other._buckets)

    def quantile(self, share: float) -> float:
        """The number below which ``share`` of the numbers lie, within ``RELATIVE_ERROR``.

        0 without numbers.
        """
        rank, seen = share * (self.count - 1), 0
        for value, count in self._ordered():
            seen += count
            if seen > rank:
                return min(max(value, self.min), self.max)
        return 0.0

    def rows(self) -> list[Row]:
        """The histogram in at most 20 rows, without empty ones.

        Their bounds are 1, 2 and 5 times powers of ten; if that makes too many, powers of ten, then
        of a hundred, and so on. A number within 1 % of a bound may be in the row beside its own.
        """
        for decades in _DECADES:
            rows: Counter[tuple[float, float]] = Counter()
            for (sign, power), count in self._buckets.items():
                # The end of the bucket: numbers that are bounds themselves are counted right.
                value = _value(sign, power, 1.0)
                rows[_row_of(min(max(value, self.min), self.max), decades)] += count
            if len(rows) <= _MOST_ROWS:
                break
        return [Row(*bounds, count) for bounds, count in sorted(rows.items())]

    def _add(self, numbers: list[Any]) -> None:
        if not numbers:
            return
        log, ceil = math.log, math.ceil
        keys = [
            (1, ceil(log(number) * _PER_LOG))
            if number > 0
            else (-1, -ceil(log(-number) * _PER_LOG))
            if number
            else (0, 0)
            for number in numbers
        ]
        mean = _mean(numbers)
        self._weigh_in(mean, len(numbers))
        self._buckets.update(keys)
        self.min = min(self.min, min(numbers))
        self.max = max(self.max, max(numbers))

    def _weigh_in(self, mean: float, count: int) -> None:
        """Add so many numbers of this mean. A sum of all could be beyond all doubles."""
        self.count += count
        if count:
            weight = count / self.count
            self.mean = self.mean * (1 - weight) + mean * weight

    def _ordered(self) -> list[tuple[float, int]]:
        """The middle of each bucket and its count, in the order of the numbers."""
        middle = 2 / (1 + _GAMMA)  # within 1 % of all numbers in the bucket
        return [(_value(*key, middle), count) for key, count in sorted(self._buckets.items())]


def _value(sign: int, power: int, part: float) -> float:
    """The end of a bucket, times ``part``. Buckets of negative numbers have negated powers."""
    if not sign:
        return 0.0
    try:
        return sign * part * math.exp(sign * power / _PER_LOG)
    except OverflowError:
        return sign * _LARGEST


def _row_of(value: float, decades: int) -> tuple[float, float]:
    """The bounds of the row that a number is in. Rows of no decades end at 1, 2 and 5 times ten."""
    if not value:
        return 0.0, 0.0
    if value < 0:
        start, end = _row_of(-value, decades)
        return -end, -start
    power = math.floor(math.log10(value) + 1e-9)
    if decades:
        power = power // decades * decades
        return _power_of_ten(power), _power_of_ten(power + decades)
    ten = _power_of_ten(power)
    for start, end in ((5, 10), (2, 5), (1, 2)):
        if value >= start * ten * (1 - 1e-9):
            return float(start * ten), float(end * ten)
    return ten / 2, ten


def _power_of_ten(power: int) -> float:
    return float(f"1e{power}") if power <= 308 else _LARGEST


def _mean(numbers: Sequence[float]) -> float:
    """The mean of numbers of any size: their sum may be larger than a float can be."""
    try:
        return math.fsum([number / len(numbers) for number in numbers])
    except OverflowError:  # of the largest floats, by their rounding
        halves = math.fsum([number / 2 / len(numbers) for number in numbers])
        return max(-_LARGEST, min(_LARGEST, 2 * halves))
