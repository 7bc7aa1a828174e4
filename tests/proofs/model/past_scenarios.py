"""A ring in overwrite mode: a producer that waits for nobody, and readers that it never notices.

Readers store nothing, so any number of them is as good as one: the machine checks that. One
scenario has two all the same. Some take frame by frame out of the ring, and others copy the ring
whole (``copy_past``), and read the copy when they have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tapring.errors import RingCorrupt
from tapring.frame import Frame, Origin
from tapring.wire import layout
from tapring.wire.geometry import Buffers, producer_words
from tapring.wire.ledger import COUNTER_WORDS
from tapring.wire.overwrite import OverwritingWriter, PastReader, copy_past

from .automaton import Broken, Program
from .ends import LINES, Barrier, Batch, Frozen, broken, freeze, shape, stream, thaw
from .machine import MODELS, SC, TSO, WEAK, Memory
from .producer import Produced, Producer
from .properties import (
    a_copy_leaves_nothing_out,
    nobody_is_evicted,
    overwritten_only_once_announced,
    past_is_where_it_says,
    what_was_not_overwritten_is_there,
)
from .recording import Cell, Recorder, RingCells
from .ring_scenarios import ONE, Sizes, _events

TWO = (64,)  # two slots
Copy = Callable[..., None]  # as ``copy_past``


class PastProducer(Producer):
    """A Writer in overwrite mode. Each store over a frame must have been announced."""

    def run(self, label: int, private: Frozen, recorder: Recorder) -> tuple[Any, Any, Any]:
        """Publish a batch; an event's number is its place in the stream. At the end, flush."""
        writer = self._writer(recorder)
        for slot, value in private:
            setattr(writer, slot, value)
        if label == len(self._batches):
            writer.flush()
            return None, freeze(writer), []
        batch = list(self._batches[label])
        payload, count, _ = LINES.pack(batch)
        first = sum(map(len, self._batches[:label]))
        with suppress(KeyboardInterrupt):  # the engine goes on with its next batch
            writer.publish(payload, count, label + 1, first)
        return self._after(label), freeze(writer), []

    def issue(
        self, ghost: Produced, cell: int, value: int, view: Callable[[int], int]
    ) -> tuple[Produced, list[Broken]]:
        slot = self._cells.slot_of(cell)
        if slot is None:
            return ghost._replace(tail=value) if cell == self._tail else ghost, []
        oldest = view(self._cells.words[layout.OVERTAKE])
        check = overwritten_only_once_announced
        return ghost, broken(check, slot, oldest, ghost.tail, self._cells.slots)


class Seen(NamedTuple):
    """The ghost of a reader."""

    behind: int | None = None  # the number of the event after the last one it was handed


class Looker:
    """A reader that takes a few frames, or finds that there are none yet."""

    locks = ()
    writes = frozenset[int]()

    def __init__(
        self,
        name: str,
        cells: RingCells,
        takes: int,
        offered: Sequence[bytes],
        barrier: Barrier,
        reader: type[PastReader],
    ) -> None:
        self.name = name
        words = [cells.words[word] for word in (layout.TAIL, layout.OVERTAKE)]
        self.reads = frozenset((*words, *range(cells.base, len(cells.names))))
        self._cells = cells
        self._takes = takes
        self._offered = offered
        self._barrier = barrier
        self._class = reader

    def start(self) -> tuple[Any, Any]:
        fresh = self._class(self._cells.buffers(Recorder(defers=False)), shape(self._cells))
        return 0, freeze(fresh)

    def run(self, label: int, private: Frozen, recorder: Recorder) -> tuple[Any, Any, Any]:
        words, page, data = self._cells.buffers(recorder)
        fixed = {
            "_origin": Origin(),
            "_words": words,
            "page": page,
            "_data": data,
            "_cutter": LINES,
            "_barrier": self._barrier(recorder),
        }
        reader = thaw(self._class, private, fixed)
        taken = reader.take()
        after = None if label + 1 == self._takes else label + 1
        return after, freeze(reader), taken

    def dies(self, label: Any) -> None:
        return None

    def interrupt(self, ghost: Seen) -> None:
        return None

    def ghost(self) -> Seen:
        return Seen()

    def observe(
        self, ghost: Seen, label: Any, result: Any, others: Any
    ) -> tuple[Seen, list[Broken]]:
        if isinstance(result, Exception):
            return ghost, broken(nobody_is_evicted, result)
        if not isinstance(result, Frame):
            return ghost, []
        behind = result.sequence + result.count
        check = past_is_where_it_says
        wrong = broken(
            check, result.payload, result.count, result.sequence, ghost.behind, self._offered
        )
        if ghost.behind is not None and result.missed != result.sequence - ghost.behind:
            wrong.append(Broken(check.__name__, f"{result.missed} missed before {result}"))
        return Seen(behind), wrong

    def issue(self, ghost: Seen, cell: int, value: int, view: Any) -> tuple[Seen, list[Broken]]:
        return ghost, []


class Copied(NamedTuple):
    """The ghost of a reader that copies: where its last copy ended."""

    position: int = 0
    behind: int | None = None  # as of ``Seen``


class Image(bytes):
    """A copy of a ring."""

    def __repr__(self) -> str:
        words = producer_words(self)
        return f"a copy from {words[layout.OVERTAKE]} to {words[layout.TAIL]}"


class Copier:
    """A reader that copies the ring a few times, each time what came since the last copy."""

    locks = ()
    writes = frozenset[int]()

    def __init__(
        self,
        name: str,
        cells: RingCells,
        copies: int,
        offered: Sequence[bytes],
        barrier: Barrier,
        copy: Copy,
    ) -> None:
        self.name = name
        copied = (*COUNTER_WORDS.values(), layout.TAIL, layout.OVERTAKE)
        words = [cells.words[word] for word in copied]
        self.reads = frozenset((*words, *range(cells.base, len(cells.names))))
        self._cells = cells
        self._copies = copies
        self._offered = offered
        self._barrier = barrier
        self._copy = copy

    def start(self) -> tuple[Any, Any]:
        return 0, 0

    def run(self, label: int, since: int, recorder: Recorder) -> tuple[Any, Any, Any]:
        words, _, data = self._cells.buffers(recorder)
        image = bytearray(len(data))

        def read(offset: int, length: int) -> None:
            image[offset : offset + length] = data[offset : offset + length]

        cells = self._cells
        self._copy(words, read, image, shape(cells), self._barrier(recorder), since=since)
        after = None if label + 1 == self._copies else label + 1
        return after, producer_words(image)[layout.TAIL], Image(image)

    def dies(self, label: Any) -> None:
        return None

    def interrupt(self, ghost: Copied) -> None:
        return None

    def ghost(self) -> Copied:
        return Copied()

    def observe(
        self, ghost: Copied, label: Any, result: Any, others: Any
    ) -> tuple[Copied, list[Broken]]:
        if isinstance(result, Exception):
            return ghost, broken(nobody_is_evicted, result)
        buffers = Buffers.of(bytearray(result))
        reader = PastReader(buffers, shape(self._cells))
        oldest, tail = buffers.words[layout.OVERTAKE], buffers.words[layout.TAIL]
        behind = ghost.behind if oldest <= ghost.position else None  # None: some are gone
        last = ghost.behind
        wrong: list[Broken] = []
        try:
            while (frame := reader.take()) is not None:
                place = frame.sequence, last, self._offered
                wrong += broken(past_is_where_it_says, frame.payload, frame.count, *place)
                wrong += broken(a_copy_leaves_nothing_out, frame.sequence, behind)
                behind = last = frame.sequence + frame.count
        except RingCorrupt as error:
            wrong += broken(nobody_is_evicted, error)
        return Copied(tail, last), wrong

    def issue(self, ghost: Copied, cell: int, value: int, view: Any) -> tuple[Copied, list[Broken]]:
        return ghost, []


@dataclass
class PastScenario:
    """A ring in overwrite mode, the batches that are offered, and how often each reader takes.

    copies: how often each of some more readers copies the ring.
    """

    name: str
    slots: int
    sizes: Sizes
    takes: tuple[int, ...] = ()
    copies: tuple[int, ...] = ()
    producer_dies: bool = False
    models: tuple[str, ...] = MODELS
    writer: type[OverwritingWriter] = OverwritingWriter
    reader: type[PastReader] = PastReader
    copy: Copy = copy_past
    unfenced: bool = False
    ring: RingCells = field(init=False)
    batches: list[Batch] = field(init=False)
    offered: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.ring = RingCells(self.slots, layout.MIN_SLOT_BYTES, whole_headers=True)
        self.batches = list(_events(self.sizes))
        self.offered = stream(self.batches)

    @property
    def cells(self) -> list[Cell]:
        """The cells of the memory."""
        return self.ring.names

    def memory(self) -> Memory:
        """A new ring is empty."""
        return (0,) * len(self.cells)

    def programs(self, model: str) -> list[Program]:
        """The producer and the readers, with a barrier if the machine needs one."""

        def barrier(recorder: Recorder) -> Callable[[], None] | None:
            return recorder.fence if model == WEAK and not self.unfenced else None

        producer = PastProducer(
            self.ring,
            self.batches,
            barrier=barrier,
            dies=self.producer_dies,
            writer=self.writer,
        )
        readers = [
            Looker(f"reader {i}", self.ring, takes, self.offered, barrier, self.reader)
            for i, takes in enumerate(self.takes)
        ]
        copiers = [
            Copier(f"copier {i}", self.ring, copies, self.offered, barrier, self.copy)
            for i, copies in enumerate(self.copies)
        ]
        return [producer, *readers, *copiers]

    def final(self, memory: Memory, ghosts: tuple[Any, ...]) -> Iterator[Broken]:
        """What is broken at rest: another reader finds all that was not announced as gone."""
        produced = ghosts[0]
        segment = self.ring.segment(memory)
        reader = PastReader(Buffers.of(segment), shape(self.ring))
        found: list[Frame] = []
        try:
            while (frame := reader.take()) is not None:
                found.append(frame)
        except RingCorrupt as error:
            yield Broken(past_is_where_it_says.__name__, f"at rest: {error}")
        for each in found:
            check = past_is_where_it_says
            yield from broken(check, each.payload, each.count, each.sequence, None, self.offered)
        words = Buffers.of(segment).words
        counted = words[layout.CAPTURED] - words[layout.OVERWRITTEN]
        there = sum(each.count for each in found)
        # It may die between two of the words that count a batch.
        unsure = sum(map(len, self.sizes)) if produced.dead else 0
        yield from broken(what_was_not_overwritten_is_there, there, counted, unsure)


SHORT = (
    PastScenario("past: laps", 2, (ONE, ONE, ONE, ONE), (2,)),
    PastScenario("past: frames of two slots", 3, (TWO, ONE, TWO), (2,)),
    PastScenario("past: the writer dies", 2, (ONE, ONE, ONE), (2,), producer_dies=True),
    PastScenario("past: a copy", 2, (ONE, ONE, ONE, ONE), copies=(1,)),
    PastScenario("past: a copy, and what came since", 2, (ONE, ONE, ONE), copies=(2,)),
    PastScenario("past: a copy of frames of two slots", 3, (TWO, ONE, TWO), copies=(1,)),
    PastScenario("past: a copy, the writer dies", 2, (ONE,) * 3, copies=(1,), producer_dies=True),
)
LONG = (
    PastScenario("past: more laps", 2, (ONE, TWO, ONE, ONE, ONE), (3,)),
    PastScenario("past: an odd ring", 4, (TWO, ONE, TWO, TWO), (3,)),
    PastScenario("past: a copy that is lapped", 2, (ONE,) * 5, copies=(1,), models=(SC, TSO)),
    PastScenario("past: a copy, more laps", 2, (ONE, TWO, ONE, ONE), copies=(2,), models=(SC, TSO)),
    PastScenario("past: a copy of an odd ring", 4, (TWO, ONE, TWO, TWO), copies=(1,)),
    PastScenario("past: a reader and a copier", 2, (ONE, ONE, ONE), (1,), (1,), models=(SC,)),
    PastScenario("past: two readers", 2, (ONE, ONE, ONE), (1, 1), models=(SC,)),
)
