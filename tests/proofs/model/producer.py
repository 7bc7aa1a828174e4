"""The producing end of a ring as a program: the real Writer, one batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, NamedTuple

from tapring.engine.fanout import Tally, Watched
from tapring.wire import layout
from tapring.wire.layout import Ended
from tapring.wire.writer import Writer

from .automaton import DEATH, Broken
from .ends import LINES, Barrier, Batch, Frozen, broken, freeze, shape
from .properties import no_overwrite_of_unread_slots, nobody_is_evicted
from .recording import Recorder, RingCells


class Produced(NamedTuple):
    """The ghost of a producer."""

    tail: int  # the last tail that it stored
    offered: int  # events of finished batches
    dead: bool
    interruptions: int  # exceptions that may still come
    posts: int = 0  # of a doorbell


class Producer:
    """A Writer that is offered batch after batch, as on the engine's hot path, and then ends."""

    name = "producer"
    locks = ()

    def __init__(
        self,
        cells: RingCells,
        batches: Sequence[Batch],
        *,
        barrier: Barrier,
        dies: bool,
        interruptions: int = 0,
        writer: type[Writer] = Writer,
    ) -> None:
        self.reads = frozenset((cells.page[layout.HEAD], cells.words[layout.ENDED]))
        self.writes = frozenset((*cells.words.values(), *range(cells.base, len(cells.names))))
        self._cells = cells
        self._batches = batches
        self._barrier = barrier
        self._dies = dies
        self._interruptions = interruptions
        self._class = writer
        self._tail = cells.words[layout.TAIL]
        self._head = cells.page[layout.HEAD]

    def start(self) -> tuple[Any, Any]:
        return 0, freeze(self._writer(Recorder(defers=False)))

    def run(self, label: int, private: Frozen, recorder: Recorder) -> tuple[Any, Any, Any]:
        writer = self._writer(recorder)
        for slot, value in private:
            setattr(writer, slot, value)
        if label == len(self._batches):
            try:
                self._end(writer, recorder)
            except KeyboardInterrupt:
                return label, freeze(writer), []
            return None, freeze(writer), []
        watched = self._watched(writer, recorder)
        with suppress(KeyboardInterrupt):  # the engine goes on with its next batch
            watched.commit(watched.gather(list(self._batches[label])), label + 1)
        errors = [error for _, error in watched.broken]
        return (None if errors else self._after(label)), freeze(writer), errors

    def dies(self, label: int) -> tuple[Any, Any] | None:
        return (None, ()) if self._dies else None

    def interrupt(self, ghost: Produced) -> Produced | None:
        left = ghost.interruptions
        return ghost._replace(interruptions=left - 1) if left else None

    def ghost(self) -> Produced:
        return Produced(0, 0, False, self._interruptions)

    def observe(
        self, ghost: Produced, label: int, result: Any, others: Any
    ) -> tuple[Produced, list[Broken]]:
        if result is DEATH:
            return ghost._replace(dead=True), []
        if label < len(self._batches):
            ghost = ghost._replace(offered=ghost.offered + len(self._batches[label]))
        return ghost, broken(nobody_is_evicted, result)

    def issue(
        self, ghost: Produced, cell: int, value: int, view: Callable[[int], int]
    ) -> tuple[Produced, list[Broken]]:
        slot = self._cells.slot_of(cell)
        if slot is not None:
            head, slots = view(self._head), self._cells.slots
            return ghost, broken(no_overwrite_of_unread_slots, slot, head, ghost.tail, slots)
        return ghost._replace(tail=value) if cell == self._tail else ghost, []

    def _after(self, label: int) -> int | None:
        """The operation after a batch: the next batch, or the end."""
        return label + 1

    def _watched(self, writer: Writer, recorder: Recorder) -> Watched:
        """The object that offers each batch to the writer."""
        lives = (SimpleNamespace(writer=writer),)
        return Watched(LINES, lives, Tally())  # type: ignore[arg-type]

    def _end(self, writer: Writer, recorder: Recorder) -> None:
        writer.end(Ended.ENGINE_EXIT)

    def _writer(self, recorder: Recorder) -> Writer:
        fence = self._barrier(recorder)
        return self._class(self._cells.buffers(recorder), shape(self._cells), fence)
