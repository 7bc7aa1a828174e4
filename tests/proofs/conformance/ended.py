"""How sessions end, and what is read before: each ending that docs/protocol.md has."""

from __future__ import annotations

import time
from typing import Final

from tapring.wire import layout
from tapring.wire.layout import Ended, EngineState, RowState, Verdict

from .cases import REFUSED, add, case
from .image import SESSION, Image
from .payloads import KINDS
from .running import Failed, wait_until

_SHORT_NS: Final = 50_000_000
_MOMENT_S: Final = 0.05  # what ends too early ends within; what does not is never wrong


def _frames(image: Image) -> None:
    image.put_next(3)
    image.lose(4)
    image.put_next(1)
    image.lose(2)


def _one(image: Image) -> None:
    image.put_next(1)


def _is_read(image: Image) -> None:
    """Wait until the reader has read all that there is: it is attached, and looks for more."""
    wait_until(
        lambda: image.consumer[layout.HEAD] == image.tail,
        "all frames to be released",
        image.reader,
    )


# ---- before it attached ------------------------------------------------------------------------


def _add_ended() -> None:
    for kind in KINDS:
        for ended in (*list(Ended)[1:], 5, 6, 9, layout.MAX_WORD):

            def prepare(image: Image, ended: int = ended) -> None:
                _frames(image)
                image.end(ended)

            add(f"{kind}-ended-{ended:x}-with-frames-left", prepare, kind)


@case(KINDS)
def closed_engine_with_frames_left(image: Image) -> None:
    _frames(image)
    image.lane[layout.ENGINE_STATE] = EngineState.CLOSED


@case(KINDS)
def dead_engine_with_frames_left(image: Image) -> None:
    _frames(image)
    image.die()


@case()
def dead_engine_that_had_said_why(image: Image) -> None:
    _frames(image)
    image.lane[layout.ENGINE_STATE] = EngineState.CLOSED
    image.end(Ended.ENGINE_EXIT)
    image.die()


@case()
def dead_engine_that_had_not_looked(image: Image) -> None:
    image.answer(Verdict.NONE)
    image.die()


# ---- while it reads ----------------------------------------------------------------------------


def _closed_unseen(image: Image) -> None:
    _is_read(image)
    image.row[layout.ROW_STATE] = RowState.FREE


@case(meanwhile=_closed_unseen)
def closed_before_the_engine_had_seen_it(image: Image) -> None:
    _one(image)
    image.answer(Verdict.ACCEPTED, SESSION - 1)


def _freed_and_then_ended(image: Image) -> None:
    _is_read(image)
    image.row[layout.ROW_STATE] = RowState.FREE
    _not_over(image)


@case(meanwhile=_freed_and_then_ended)
def a_freed_row_whose_session_goes_on(image: Image) -> None:
    _one(image)


def _unknown_state_and_then_ended(image: Image) -> None:
    _is_read(image)
    image.lane[layout.ENGINE_STATE] = 3
    _not_over(image)


@case(meanwhile=_unknown_state_and_then_ended)
def an_engine_in_a_state_that_is_not_known_runs(image: Image) -> None:
    _one(image)


def _not_over(image: Image) -> None:
    """Frames come after what a wrong reader may take for the end."""
    time.sleep(_MOMENT_S)
    _frames(image)
    _is_read(image)
    _frames(image)
    image.end()


def _last_frames_with_the_end(image: Image) -> None:
    for _ in range(20):
        _is_read(image)
        _one(image)
    _is_read(image)
    _frames(image)
    image.end(Ended.EXPIRED)


@case(KINDS, meanwhile=_last_frames_with_the_end)
def the_last_frames_come_with_the_end(image: Image) -> None:
    _one(image)


def _holds_its_row(image: Image) -> None:
    _is_read(image)
    if not image.is_read():
        raise Failed("expected a lock on the session's row while it is read, but nobody holds it")
    _frames(image)
    image.end()


@case(meanwhile=_holds_its_row)
def the_row_is_locked_while_it_is_read(image: Image) -> None:
    _one(image)


def _dies_later(image: Image) -> None:
    _is_read(image)
    _frames(image)
    image.die()


@case(meanwhile=_dies_later)
def an_engine_dies_while_it_is_read(image: Image) -> None:
    _one(image)


def _refused_later(image: Image) -> None:
    wait_until(image.is_read, "the lock of the session's row", image.reader)
    time.sleep(_MOMENT_S)
    image.answer(Verdict.TOO_LARGE)


@case(meanwhile=_refused_later, outcome=REFUSED)
def refused_by_the_engine_later(image: Image) -> None:
    image.answer(Verdict.NONE)


# ---- an engine that makes no batch ends no session ---------------------------------------------


def _after_its_deadline(image: Image) -> None:
    """A reader may leave at its deadline. One that does has not seen the session's end."""
    _is_read(image)
    time.sleep(_SHORT_NS / 1e9 + 2 * _MOMENT_S)
    image.is_over = None if image.is_read() else False
    image.end(Ended.EXPIRED)


def _deadline(duration_ns: int, longest_ns: int, opened_ago_ns: int) -> None:
    def prepare(image: Image) -> None:
        image.info["max_duration_ns"] = longest_ns
        image.describe()
        image.row[layout.ROW_DURATION_NS] = duration_ns
        image.row[layout.ROW_OPENED_NS] = time.monotonic_ns() - opened_ago_ns
        _frames(image)

    name = f"deadline-of-{duration_ns}-of-{longest_ns}-from-{opened_ago_ns}-ago"
    add(name, prepare, meanwhile=_after_its_deadline)


_add_ended()
_deadline(_SHORT_NS, 300 * 10**9, 0)
_deadline(0, _SHORT_NS, 0)
_deadline(200 * 10**9, _SHORT_NS, 0)
_deadline(_SHORT_NS, 300 * 10**9, 10**9)
_deadline(_SHORT_NS, 300 * 10**9, -(10**15))
