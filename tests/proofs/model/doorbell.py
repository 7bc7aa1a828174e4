"""The ends of a ring with a doorbell between them: the real Attended, Live and Doorbell.

The semaphore is a cell. In production a wait for it ends after 50 ms. Here it never does, so that a
missed wake-up shows as a consumer that sleeps for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from tapring.consumer import waiting
from tapring.consumer.waiting import Doorbell
from tapring.engine import session as live
from tapring.engine.fanout import Attended, Tally, Turn
from tapring.wire import layout
from tapring.wire.layout import Ended
from tapring.wire.reader import Reader
from tapring.wire.writer import Writer

from .automaton import DEATH, Broken
from .consumer import Consumed, Consumer
from .ends import LINES, Batch, broken
from .producer import Produced, Producer
from .properties import posts_only_while_asked
from .recording import Recorder, RingCells, replaced

FullBarrier = Callable[[Recorder], Callable[[], None]]
_FOREVER_NS = 1 << 63
_EVERY_BATCH: Any = SimpleNamespace(sample=1)  # a row
_SEGMENT: Any = SimpleNamespace(close=lambda: None)
_REGISTRY: Any = None  # no doorbell is opened by its name here


class Bell:
    """Stands in for a ``doorbell.Bell``: its semaphore is a cell."""

    def __init__(self, recorder: Recorder, cell: int) -> None:
        self._recorder = recorder
        self._cell = cell

    def ring(self) -> None:
        """Post the semaphore."""
        self._recorder.post(self._cell)

    def wait(self, seconds: float) -> None:
        """Sleep until the semaphore is posted."""
        self._recorder.wait(self._cell)

    def close(self) -> None:
        """Do nothing: nothing is open."""


class Ringer(Producer):
    """A producer that posts a doorbell for a consumer that announces a sleep.

    ends: whether the producer ends after its last batch. The post at the end wakes the consumer
    anyway, and so would hide that an earlier post is missing.
    """

    def __init__(
        self,
        cells: RingCells,
        batches: Sequence[Batch],
        *,
        semaphore: int,
        full_barrier: FullBarrier,
        ends: bool,
        attended: type[Attended],
        **how: Any,
    ) -> None:
        super().__init__(cells, batches, **how)
        self.reads |= {cells.page[layout.WAITING]}
        self.writes |= {semaphore}
        self._semaphore = semaphore
        self._full_barrier = full_barrier
        self._ends = ends
        self._attended = attended

    def run(self, label: int, private: Any, recorder: Recorder) -> tuple[Any, Any, Any]:
        with replaced((live, "full_barrier", self._full_barrier(recorder))):
            return super().run(label, private, recorder)

    def observe(
        self, ghost: Produced, label: int, result: Any, others: Any
    ) -> tuple[Produced, list[Broken]]:
        ghost, wrong = super().observe(ghost, label, result, others)
        sleeps = sum(other.announced for other in others if isinstance(other, Consumed))
        ends = int(label == len(self._batches))
        return ghost, wrong + broken(posts_only_while_asked, ghost.posts, sleeps, ends)

    def issue(
        self, ghost: Produced, cell: int, value: int, view: Callable[[int], int]
    ) -> tuple[Produced, list[Broken]]:
        if cell == self._semaphore:
            return ghost._replace(posts=ghost.posts + 1), []
        return super().issue(ghost, cell, value, view)

    def _after(self, label: int) -> int | None:
        is_last = label + 1 == len(self._batches)
        return None if is_last and not self._ends else label + 1

    def _watched(self, writer: Writer, recorder: Recorder) -> Attended:
        return self._attended(LINES, (self._live(writer, recorder),), Tally(), Turn())

    def _end(self, writer: Writer, recorder: Recorder) -> None:
        self._live(writer, recorder).end(Ended.ENGINE_EXIT)

    def _live(self, writer: Writer, recorder: Recorder) -> live.Live:
        session = live.Live(_REGISTRY, _EVERY_BATCH, _SEGMENT, writer, _FOREVER_NS)
        session.bell = Bell(recorder, self._semaphore)  # type: ignore[assignment]
        return session


class Sleeper(Consumer):
    """A consumer that may also "sleep": until a frame is there or the producer ends."""

    def __init__(
        self,
        cells: RingCells,
        *args: Any,
        semaphore: int,
        full_barrier: FullBarrier,
        doorbell: type[Doorbell],
        **how: Any,
    ) -> None:
        super().__init__(cells, *args, **how)
        self.writes |= {semaphore}
        self._semaphore = semaphore
        self._full_barrier = full_barrier
        self._doorbell = doorbell
        self._waiting = cells.page[layout.WAITING]

    def observe(
        self, ghost: Consumed, label: Any, result: Any, others: Any
    ) -> tuple[Consumed, list[Broken]]:
        if result is DEATH:
            ghost = ghost._replace(sleep=0)
        return super().observe(ghost, label, result, others)

    def issue(self, ghost: Consumed, cell: int, value: int, view: Any) -> tuple[Consumed, list]:
        if cell == self._waiting:
            announced = ghost.announced + (value != 0)
            ghost = ghost._replace(sleep=value, announced=announced)
        return ghost, []

    def _do(self, reader: Reader, what: str, label: tuple[int, Any], recorder: Recorder) -> Any:
        if what != "sleep":
            return super()._do(reader, what, label, recorder)
        life, step = label
        doorbell = object.__new__(self._doorbell)
        doorbell._bell = Bell(recorder, self._semaphore)  # type: ignore[assignment]
        source: Any = SimpleNamespace(reader=reader)
        with replaced(
            (waiting, "full_barrier", self._full_barrier(recorder)),
            (waiting, "monotonic_ns", lambda: 100 * life + step + 1),  # unique to each sleep
        ):
            doorbell.wait([source], 0, _FOREVER_NS)
        return None
