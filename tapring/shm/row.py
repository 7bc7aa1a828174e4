"""One row of the session table: its fields, and the words in which they are stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

import msgspec

from ..wire import layout


class BellOf(NamedTuple):
    """The doorbell that a row names: the session that it belongs to, and which one of that session.

    ``epoch`` is random: each new doorbell of a session has another one.
    """

    lane: int
    session: int
    epoch: int


NO_BELL: Final = BellOf(0, 0, 0)


class Row(msgspec.Struct, frozen=True, weakref=True):
    """One session's row, copied out of the table. See ``layout`` for what the fields mean."""

    index: int
    state: int
    id: int
    epoch: int
    stage: int = 0
    slots: int = 0
    slot_bytes: int = 0
    owner: int = 0
    opened_ns: int = 0
    duration_ns: int = 0
    pid: int = 0
    sample: int = 1
    bell: BellOf = NO_BELL
    request: int = 0


# The one list of fields: reading and writing both go by it.
_FIELDS: Final = {
    "id": layout.ROW_ID,
    "epoch": layout.ROW_EPOCH,
    "stage": layout.ROW_STAGE,
    "slots": layout.ROW_SLOTS,
    "slot_bytes": layout.ROW_SLOT_BYTES,
    "owner": layout.ROW_OWNER,
    "opened_ns": layout.ROW_OPENED_NS,
    "duration_ns": layout.ROW_DURATION_NS,
    "pid": layout.ROW_PID,
    "sample": layout.ROW_SAMPLE,
    "request": layout.ROW_REQUEST,
}
_BELL_FIELDS: Final = (layout.ROW_BELL_LANE, layout.ROW_BELL_ID, layout.ROW_BELL_EPOCH)


class _Words(Protocol):
    def __getitem__(self, index: int, /) -> int: ...


def read_row(index: int, state: int, words: _Words) -> Row:
    """Return the row whose words these are, as they stand; ``state`` was loaded before."""
    fields = {name: words[word] for name, word in _FIELDS.items()}
    fields["sample"] = fields["sample"] or 1
    bell = BellOf(*[words[word] for word in _BELL_FIELDS])
    return Row(index, state, bell=bell, **fields)


def words_of(row: Row) -> Iterator[tuple[int, int]]:
    """Yield each word of ``row`` and its value, except for the state, which is stored last."""
    for name, word in _FIELDS.items():
        yield word, getattr(row, name)
    yield from words_of_bell(row.bell)


def words_of_bell(bell: BellOf) -> Iterator[tuple[int, int]]:
    """Yield the words of a row that name its doorbell, and their values."""
    return zip(_BELL_FIELDS, bell, strict=True)
