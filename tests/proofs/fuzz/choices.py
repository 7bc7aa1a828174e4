"""Reading choices from a fuzzer's bytes, and the mutations that they choose.

atheris has a FuzzedDataProvider for this. Ours also works with hypothesis and a random stream.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

WORD_MAX = (1 << 64) - 1
INTERESTING = (
    0,
    1,
    2,
    WORD_MAX,
    WORD_MAX - 1,
    (1 << 63) - 1,
    1 << 63,
    (1 << 55) - 1,
    1 << 55,
    1 << 40,
    1 << 32,
    (1 << 32) - 1,
    1 << 31,
    (1 << 31) - 1,
    (1 << 16) - 1,
    4096,
    256,
    255,
    64,
    63,
)


class Choices:
    """A cursor over a fuzzer's bytes. After their end every choice is the first one."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        at = self._at
        self._at = at + 1
        return self._data[at] if at < len(self._data) else 0

    def raw(self, length: int) -> bytes:
        at = self._at
        self._at = at + length
        return self._data[at : at + length].ljust(length, b"\0")

    def upto(self, highest: int) -> int:
        """An integer from 0 to ``highest``."""
        if highest < 256:
            return self.byte() % (highest + 1)
        return int.from_bytes(self.raw(8), "little") % (highest + 1)

    def pick(self, options: Sequence[T]) -> T:
        return options[self.upto(len(options) - 1)]

    def word(self, near: Sequence[int] = (0,)) -> int:
        """A 64-bit value: near one that matters, known to break things, small, or any."""
        how = self.byte() & 7
        if how < 3:
            return (self.pick(near) + self.byte() % 9 - 4) & WORD_MAX
        if how < 5:
            return self.pick(INTERESTING)
        if how < 7:
            return self.byte()
        return int.from_bytes(self.raw(8), "little")


Field = tuple[int, int]
"""Where a number stands and how many bytes long it is."""


def mutate(choices: Choices, data, fields: Sequence[Field], near: Callable[[], list[int]]) -> None:
    """Overwrite a field that matters, a word anywhere, or a run of bytes anywhere."""
    how = choices.byte() & 7
    if how < 5:
        offset, size = choices.pick(fields)
        store(data, offset, size, choices.word(near()))
    elif how < 6:
        offset = choices.upto(len(data) // 8 - 1) * 8
        store(data, offset, 8, choices.word(near()))
    else:
        offset = choices.upto(len(data) - 16)
        run = choices.raw(1 + choices.byte() % 15)
        data[offset : offset + len(run)] = run


def store(data, offset: int, size: int, value: int) -> None:
    data[offset : offset + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, sys.byteorder)
