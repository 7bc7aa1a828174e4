"""Buffers that record every access of tapring's code, one at a time.

The values that its loads return drive a run. When they are used up, a Pause ends the run and says
which load comes next. The stores and fences since the last load are what the thread does before
that. ``automaton`` makes a graph of this.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import getattr_static
from struct import calcsize
from typing import Any, NamedTuple

from tapring.wire import frame, layout, overwrite, reader, writer
from tapring.wire.geometry import Buffers

LOAD, STORE, FENCE, DEFER, TRYLOCK, UNLOCK, POST, WAIT, END = (
    "load",
    "store",
    "fence",
    "defer",
    "trylock",
    "unlock",
    "post",
    "wait",
    "end",
)
_PLACEHOLDER = b"......\n"  # a word that is one event, so that it can be cut like one


class Effect(NamedTuple):
    """An access of a thread that returns no value to it."""

    kind: str
    cell: int = -1
    value: int = 0


class Pause(BaseException):
    """The run has used up its inputs and needs one more. No code of ours may swallow it."""

    def __init__(self, kind: str, cell: int) -> None:
        super().__init__(kind, cell)
        self.kind = kind
        self.cell = cell


class Recorder:
    """Gives inputs to a run and records its effects.

    ``defers``: loads of payload are deferred (DEFER), because nothing in the run depends on them
    until it has ended. ``settled`` has their values once they are known.
    """

    def __init__(self, *, defers: bool) -> None:
        self.defers = defers
        self.begin(())

    def begin(
        self,
        inputs: tuple[int, ...],
        settled: tuple[int, ...] | None = None,
        interrupted_at: tuple[int, int] | None = None,
    ) -> None:
        """Start a run with these inputs.

        ``interrupted_at``: a KeyboardInterrupt comes after so many inputs, and before that one of
        the effects that follow them.
        """
        self._inputs = iter(inputs)
        self._used = 0
        self._interrupted_at = interrupted_at
        self._settled = None if settled is None else iter(settled)
        self._pause: Pause | None = None
        self.effects: list[Effect] = []

    def load(self, cell: int) -> int:
        """The next input, for a load whose value the run looks at."""
        return self._ask(LOAD, cell)

    def load_later(self, cell: int, size: int) -> bytes:
        """A load of payload: its value, or a stand-in of its size."""
        if not self.defers:
            return self.load(cell).to_bytes(size, "little")
        if self._settled is not None:
            return next(self._settled).to_bytes(size, "little")
        self._do(Effect(DEFER, cell))
        return _PLACEHOLDER.rjust(size, b".")[-size:]

    def store(self, cell: int, value: int) -> None:
        """One store of one cell."""
        self._do(Effect(STORE, cell, value))

    def fence(self) -> None:
        """A full barrier, as Writer, Reader and Table are given it."""
        self._do(Effect(FENCE))

    def try_lock(self, cell: int) -> bool:
        """A system call that tries a lock of the kernel; it is a full barrier, too."""
        self.fence()
        return bool(self._ask(TRYLOCK, cell))

    def unlock(self, cell: int) -> None:
        """Give a lock of the kernel back; this is a full barrier, too."""
        self.fence()
        self._do(Effect(UNLOCK, cell))

    def post(self, cell: int) -> None:
        """Add one to a semaphore."""
        self._do(Effect(POST, cell))

    def wait(self, cell: int) -> None:
        """Wait without limit until a semaphore is above 0, and take one from it."""
        self._do(Effect(WAIT, cell))

    def _ask(self, kind: str, cell: int) -> int:
        if self._pause is not None:
            raise self._pause  # code that runs while a Pause passes through is not part of the run
        for value in self._inputs:
            self.effects.clear()
            self._used += 1
            return value
        self._pause = Pause(kind, cell)
        raise self._pause

    def _do(self, effect: Effect) -> None:
        if self._pause is not None:
            return
        if (self._used, len(self.effects)) == self._interrupted_at:
            self._interrupted_at = None
            raise KeyboardInterrupt
        self.effects.append(effect)


@dataclass(frozen=True)
class Cell:
    """A place in memory that is loaded and stored in one move."""

    name: str
    size: int = layout.WORD


class Words:
    """Stands in for a ``memoryview.cast("Q")``: each access of a word is one move."""

    def __init__(self, recorder: Recorder, cells: dict[int, int], first: int = 0) -> None:
        self._recorder = recorder
        self._cells = cells
        self._first = first

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Words(self._recorder, self._cells, self._first + index.start)
        return self._recorder.load(self._cells[self._first + index])

    def __setitem__(self, index: int, value: int) -> None:
        self._recorder.store(self._cells[self._first + index], int(value))

    def release(self) -> None:
        """Do nothing: there is no buffer."""


def _fields(format_: str) -> Iterator[tuple[int, int]]:
    offset = 0
    for code in format_.lstrip("="):
        size = calcsize("=" + code)
        yield offset, size
        offset += size


class Data:
    """Stands in for a ring's mapping. Its slots are accessed in the interpreter's own moves.

    ``pack_into`` first clears a header and then stores it field by field, and so does this. A slice
    is copied in moves of 8 bytes, or fewer at places where a header may have shorter fields, so
    that each field is a cell of its own.
    """

    def __init__(self, recorder: Recorder, starts: list[int], sizes: list[int], base: int) -> None:
        self.recorder = recorder
        self._starts = starts
        self._sizes = sizes
        self._base = base

    def __len__(self) -> int:
        return self._starts[-1] + self._sizes[-1]

    def __getitem__(self, part: slice) -> bytes:
        load = self.recorder.load_later
        return b"".join(load(self._base + i, self._sizes[i]) for i in self._cells(part))

    def __setitem__(self, part: slice, payload: bytes) -> None:
        assert len(payload) == part.stop - part.start
        for i in self._cells(part):
            offset = self._starts[i] - part.start
            chunk = payload[offset : offset + self._sizes[i]]
            self.recorder.store(self._base + i, int.from_bytes(chunk, "little"))

    def pack_header(self, start: int, *fields: int) -> None:
        """As ``FRAME.pack_into``: everything is cleared, then the fields are stored."""
        first = self._base + bisect_left(self._starts, start)
        for i in range(len(fields)):
            self.recorder.store(first + i, 0)
        for i, value in enumerate(fields):
            self.recorder.store(first + i, int(value))

    def unpack_header(self, start: int) -> tuple[int, ...]:
        """As ``FRAME.unpack_from``: field by field."""
        first = self._base + bisect_left(self._starts, start)
        count = sum(1 for _ in _fields(layout.FRAME.format))
        return tuple(self.recorder.load(first + i) for i in range(count))

    def _cells(self, part: slice) -> range:
        first = bisect_left(self._starts, part.start)
        last = bisect_left(self._starts, part.stop)
        ends_whole = self._starts[last] == part.stop if last < len(self._starts) else True
        assert self._starts[first] == part.start, "a slice begins inside a cell"
        assert ends_whole, "a slice ends inside a cell"
        return range(first, last)


class WholeHeaders(Data):
    """A ring's mapping whose headers are loaded in one move, and stored in two: cleared, filled."""

    def pack_header(self, start: int, *fields: int) -> None:
        """As ``FRAME.pack_into``."""
        cell = self._base + bisect_left(self._starts, start)
        self.recorder.store(cell, 0)
        self.recorder.store(cell, int.from_bytes(layout.FRAME.pack(*fields), "little"))

    def unpack_header(self, start: int) -> tuple[int, ...]:
        """As ``FRAME.unpack_from``."""
        value = self.recorder.load(self._base + bisect_left(self._starts, start))
        return layout.FRAME.unpack(value.to_bytes(layout.FRAME_BYTES, "little"))


class RingCells:
    """The cells of a ring: two pages of words, then the slots.

    whole_headers: a header is one cell. This is for a ring in which a header is read while it is
    stored: the ways to tear ten fields are too many to try.
    """

    PRODUCER = (
        "TAIL", "CAPTURED", "DROPPED", "OVERSIZE", "ERRORS", "ENDED", "SAMPLED_OUT", "SHED",
        "OVERTAKE", "OVERWRITTEN",
    )  # fmt: skip
    CONSUMER = ("HEAD", "RELEASED", "ABANDONED", "MISSED", "GAPS", "WAITING")

    def __init__(self, slots: int, slot_bytes: int, *, whole_headers: bool = False) -> None:
        self._data = WholeHeaders if whole_headers else Data
        self.slots = slots
        self.slot_bytes = slot_bytes
        self.names: list[Cell] = [Cell(name.lower()) for name in (*self.PRODUCER, *self.CONSUMER)]
        self.words = {getattr(layout, name): i for i, name in enumerate(self.PRODUCER)}
        behind = len(self.words)
        self.page = {getattr(layout, name): behind + i for i, name in enumerate(self.CONSUMER)}
        self.base = len(self.names)
        header = list(_fields(layout.FRAME.format))
        if whole_headers:
            header = [(0, layout.FRAME_BYTES)]
        rest = [(at, layout.WORD) for at in range(layout.FRAME_BYTES, slot_bytes, layout.WORD)]
        self._starts: list[int] = []
        self._sizes: list[int] = []
        for slot in range(slots):
            for at, size in header + rest:
                self._starts.append(layout.SLOTS + slot * slot_bytes + at)
                self._sizes.append(size)
                self.names.append(Cell(f"slot {slot}+{at}", size))
        self._per_slot = len(header + rest)

    def buffers(self, recorder: Recorder) -> Buffers:
        """The producer's page, the consumer's page and the segment, recorded by ``recorder``."""
        buffers: Any = (
            Words(recorder, self.words),
            Words(recorder, self.page),
            self._data(recorder, self._starts, self._sizes, self.base),
        )
        return Buffers(*buffers)

    def slot_of(self, cell: int) -> int | None:
        """The slot in which ``cell`` lies; None for a word."""
        return (cell - self.base) // self._per_slot if cell >= self.base else None

    def segment(self, memory: tuple[int, ...]) -> bytearray:
        """The bytes of a ring's segment that holds ``memory``."""
        segment = bytearray(layout.ring_bytes(self.slots, self.slot_bytes))
        with memoryview(segment) as view, view.cast("Q") as words:
            for index, cell in self.words.items():
                words[index] = memory[cell]
            for index, cell in self.page.items():
                words[layout.CONSUMER_PAGE // layout.WORD + index] = memory[cell]
        for i, (start, size) in enumerate(zip(self._starts, self._sizes, strict=True)):
            segment[start : start + size] = memory[self.base + i].to_bytes(size, "little")
        return segment


@contextmanager
def replaced(*stand_ins: tuple[Any, str, Any]) -> Iterator[None]:
    """Replace names of modules or classes while this lasts: (module, name, value)."""
    before = [getattr_static(module, name) for module, name, _ in stand_ins]
    for module, name, value in stand_ins:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(stand_ins, before, strict=True):
            setattr(module, name, value)


@contextmanager
def recorded_headers() -> Iterator[None]:
    """Pack and unpack the headers of a ``Data`` by its own methods while this lasts."""
    pack, unpack = frame.pack_header, frame.unpack_header

    def packs(data: Any, start: int, *fields: int) -> None:
        own: Callable[..., None] | None = getattr(data, "pack_header", None)
        own(start, *fields) if own else pack(data, start, *fields)

    def unpacks(data: Any, start: int) -> tuple[int, ...]:
        own: Callable[..., tuple[int, ...]] | None = getattr(data, "unpack_header", None)
        return own(start) if own else unpack(data, start)

    with replaced(
        (writer, "pack_header", packs),
        (reader, "unpack_header", unpacks),
        (overwrite, "unpack_header", unpacks),
    ):
        yield
