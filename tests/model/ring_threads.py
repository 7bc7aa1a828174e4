"""The two ends of a ring as programs: the real Writer and Reader, one operation at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, NamedTuple

from tapring import layout
from tapring.layout import Ended
from tapring.ring import Reader, Writer
from tapring.snapshot import Watched
from tapring.stages import Lines

from .automaton import DEATH, Broken
from .properties import (
    delivered_is_prefix_consistent,
    no_frame_torn,
    no_overwrite_of_unread_slots,
    nobody_is_evicted,
    resumed_at_the_very_event,
)
from .recording import Recorder, RingCells

LINES = Lines()
UNPACKABLE = None  # an event that no kind of text can serialize
Batch = Sequence[bytes | None]
Frozen = tuple[tuple[str, Any], ...]
Barrier = Callable[[Recorder], Callable[[], None] | None]  # what an end is handed as its barrier


def freeze(thing: Any) -> Frozen:
    """What an object with slots holds of plain values: its private state."""
    slots = [slot for base in type(thing).__mro__ for slot in getattr(base, "__slots__", ())]
    values = ((slot, getattr(thing, slot)) for slot in slots)
    return tuple((slot, value) for slot, value in values if isinstance(value, int | tuple))


def thaw(cls: type, private: Frozen, fixed: dict[str, Any]) -> Any:
    """An object in that state again, over the ``fixed`` rest."""
    thing = object.__new__(cls)
    for slot, value in (*private, *fixed.items()):
        setattr(thing, slot, value)
    return thing


def broken(check: Callable[..., str | None], *args: Any) -> list[Broken]:
    """A property that may be broken, as the explorer reports it."""
    message = check(*args)
    return [] if message is None else [Broken(check.__name__, message)]


def stream(batches: Sequence[Batch]) -> list[bytes]:
    """The events of some batches in the order in which a session is offered them.

    Those that cannot be serialized come before the rest of their batch, which is serialized whole.
    """
    events: list[bytes] = []
    for batch in batches:
        events += [b"" for event in batch if event is None]
        events += [event + b"\n" for event in batch if event is not None]
    return events


class Produced(NamedTuple):
    """What is remembered of a producer."""

    tail: int  # the last one it stored, in its own order
    offered: int  # events of finished batches
    dead: bool
    interruptions: int  # that may still come


class Producer:
    """A Writer that is offered batch after batch, as the engine's hot path does, and then ends."""

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
                writer.end(Ended.ENGINE_EXIT)
            except KeyboardInterrupt:
                return label, freeze(writer), []
            return None, freeze(writer), []
        watched = Watched(LINES, (SimpleNamespace(writer=writer),))  # type: ignore[arg-type]
        with suppress(KeyboardInterrupt):  # an engine that goes on with its next batch
            watched.write(list(self._batches[label]), label + 1)
        errors = [error for _, error in watched.broken]
        return (None if errors else label + 1), freeze(writer), errors

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

    def _writer(self, recorder: Recorder) -> Writer:
        fence = self._barrier(recorder)
        return self._class(*self._cells.buffers(recorder), **shape(self._cells), barrier=fence)


class Delivered(NamedTuple):
    """A frame as it was handed out, and where its reader says that it stands."""

    payload: bytes
    count: int
    missed: int
    place: int  # in the stream of offers
    first: int  # of its events, among those captured
    kept: bool


class Consumed(NamedTuple):
    """What is remembered of a consumer."""

    at: int | None = 0  # the place behind the last frame; None: another reader has just begun
    handled: int = 0  # captured events that were handed out
    released: int = 0  # of those, that were released for certain
    saw_end: bool = False


class Consumer:
    """A Reader that does what its script says; after its death a second one with its own script.

    take: hand out the next frame. keep: the same, not released yet. release: that frame.
    rest: the same but for its last event. hold: keep and release in one. ended: look whether the
    producer has ended and, if so, take all that is left.
    """

    name = "consumer"
    locks = ()

    def __init__(
        self,
        cells: RingCells,
        lives: Sequence[Sequence[str]],
        offered: Sequence[bytes],
        *,
        barrier: Barrier,
        reader: type[Reader] = Reader,
    ) -> None:
        ends = (cells.words[layout.TAIL], cells.words[layout.ENDED])
        self.reads = frozenset((*ends, *cells.page.values(), *range(cells.base, len(cells.names))))
        self._cells = cells
        self._lives = lives
        self._offered = offered
        self._barrier = barrier
        self._class = reader

    def start(self) -> tuple[Any, Any]:
        return (0, "open"), ()

    def run(
        self, label: tuple[int, Any], private: Frozen, recorder: Recorder
    ) -> tuple[Any, Any, Any]:
        life, step = label
        if step == "open":
            return (life, 0), freeze(self._open(recorder)), None
        reader = thaw(self._class, private, self._fixed(recorder))
        script = self._lives[life]
        if step == "drain":
            result = "saw the end" if reader.is_empty() else self._take(reader, keep=False)
            return (None if result == "saw the end" else label), freeze(reader), result
        result = self._do(reader, script[step])
        if script[step] == "ended":
            if result:
                return (life, "drain"), freeze(reader), None
            result = None
        after = None if step + 1 == len(script) else (life, step + 1)
        return after, freeze(reader), result

    def _do(self, reader: Reader, what: str) -> Any:
        if what in ("take", "keep"):
            return self._take(reader, keep=what == "keep")
        if what == "hold":
            found = self._take(reader, keep=True)
            if found is None:
                return None
            reader.release()
            return found._replace(kept=False)
        if what == "ended":
            return reader.ended()
        if reader.kept:
            reader.release(1 if what == "rest" else 0)
            return reader.released
        return None

    def _take(self, reader: Reader, *, keep: bool) -> Delivered | None:
        taken = reader.take(keep=keep)
        if taken is None:
            return None
        behind = reader._kept[0] if keep else reader.released
        missed = reader._missed + (taken.missed if keep else 0)
        first = behind - taken.count
        return Delivered(taken.payload, taken.count, taken.missed, first + missed, first, keep)

    def dies(self, label: tuple[int, Any]) -> tuple[Any, Any] | None:
        life = label[0]
        return ((life + 1, "open"), ()) if life + 1 < len(self._lives) else None

    def interrupt(self, ghost: Consumed) -> None:
        return None

    def ghost(self) -> Consumed:
        return Consumed()

    def observe(
        self, ghost: Consumed, label: Any, result: Any, others: Any
    ) -> tuple[Consumed, list[Broken]]:
        if result is DEATH:
            return ghost._replace(at=None), []
        if isinstance(result, Exception):
            return ghost, [Broken(no_frame_torn.__name__, f"{type(result).__name__}: {result}")]
        if isinstance(result, int):  # a frame that was kept was released up to here
            return ghost._replace(released=result), []
        if isinstance(result, Delivered):
            return judge(result, ghost, self._offered, "keep" in self._lives[0])
        return ghost._replace(saw_end=ghost.saw_end or result == "saw the end"), []

    def issue(self, ghost: Consumed, cell: int, value: int, view: Any) -> tuple[Consumed, list]:
        return ghost, []

    def _open(self, recorder: Recorder) -> Reader:
        fence = self._barrier(recorder)
        return self._class(*self._cells.buffers(recorder), **shape(self._cells), barrier=fence)

    def _fixed(self, recorder: Recorder) -> dict[str, Any]:
        words, page, data = self._cells.buffers(recorder)
        return {
            "_words": words,
            "_page": page,
            "_data": data,
            "_cutter": LINES,
            "_barrier": self._barrier(recorder),
        }


def judge(
    found: Delivered, ghost: Consumed, offered: Sequence[bytes], at_least_once: bool
) -> tuple[Consumed, list[Broken]]:
    """What a frame that was handed out breaks, and what is remembered after it."""
    payload, count = found.payload, found.count
    wrong = broken(no_frame_torn, payload, count, offered)
    if ghost.at is None:
        place = found.place
        handled = ghost.handled if at_least_once else None
        wrong += broken(resumed_at_the_very_event, found.first, ghost.released, handled)
    else:
        place = ghost.at + found.missed
    wrong += broken(delivered_is_prefix_consistent, payload, count, place, offered)
    behind = found.first + count
    released = found.first if found.kept else behind
    return ghost._replace(at=place + count, handled=behind, released=released), wrong


def shape(cells: RingCells) -> dict[str, Any]:
    """How a Writer or a Reader of this ring is made."""
    return {
        "slots": cells.slots,
        "slot_bytes": cells.slot_bytes,
        "stage": 0,
        "kind": LINES.code,
        "cutter": LINES,
    }
