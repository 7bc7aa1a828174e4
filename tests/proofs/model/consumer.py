"""The consuming end of a ring as a program: the real Reader, one operation at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tapring.frame import Origin
from tapring.wire import layout
from tapring.wire.ledger import Account
from tapring.wire.reader import Reader

from .automaton import DEATH, Broken
from .ends import LINES, Barrier, Frozen, broken, freeze, shape, thaw
from .properties import (
    delivered_is_prefix_consistent,
    no_frame_torn,
    resumed_at_the_very_event,
)
from .recording import Recorder, RingCells


class Delivered(NamedTuple):
    """A frame that was handed out, and where it stands according to its reader."""

    payload: bytes
    count: int
    missed: int
    place: int  # in the stream of offers
    first: int  # of its events, among those captured
    kept: bool


class Consumed(NamedTuple):
    """The ghost of a consumer."""

    at: int | None = 0  # the place after the last frame; None: another reader has just begun
    handled: int = 0  # captured events that were handed out
    released: int = 0  # of these, the events that were certainly released
    saw_end: bool = False
    sleep: int = 0  # the number of its sleep, while it announces one
    announced: int = 0  # how many sleeps all readers announced


class Consumer:
    """A Reader that follows a script; after its death, a second one with a script of its own.

    take: hand out the next frame. keep: the same, without releasing it. release: release that
    frame. rest: release it except for its last event. hold: keep and release in one operation.
    ended: look whether the producer has ended and, if so, take everything that is left.
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
        ends = [cells.words[word] for word in (layout.TAIL, layout.ENDED)]
        self.reads = frozenset((*ends, *cells.page.values(), *range(cells.base, len(cells.names))))
        self.writes = frozenset(cells.page.values())
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
        result = self._do(reader, script[step], label, recorder)
        if script[step] == "ended":
            if result:
                return (life, "drain"), freeze(reader), None
            result = None
        after = None if step + 1 == len(script) else (life, step + 1)
        return after, freeze(reader), result

    def _do(self, reader: Reader, what: str, label: tuple[int, Any], recorder: Recorder) -> Any:
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
        return self._class(self._cells.buffers(recorder), shape(self._cells), fence)

    def _fixed(self, recorder: Recorder) -> dict[str, Any]:
        words, page, data = self._cells.buffers(recorder)
        return {
            "account": Account(words, page),
            "_origin": Origin(),
            "_words": words,
            "page": page,
            "_data": data,
            "_cutter": LINES,
            "_barrier": self._barrier(recorder),
        }


def judge(
    found: Delivered, ghost: Consumed, offered: Sequence[bytes], at_least_once: bool
) -> tuple[Consumed, list[Broken]]:
    """The ghost after a frame was handed out, and the properties that the frame breaks."""
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
