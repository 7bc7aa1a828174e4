"""What iterating over a session goes through: one iterator after the other, each over one frame."""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Iterator
from typing import Any

from ..ended_by import EndedBy
from ..thrown_in import was_thrown_in
from .intake import Intake
from .turn import takes_turns


class Batches:
    """An iterator of iterators: each over the events of the next frame.

    If several threads share what chains them, one may come while the events of the last frame are
    not handed out: it gets the same iterator. At least once, they must not share it. If the second
    one is refused, ``chain`` is at its end for the first one, too: so the session ends, and says
    that it is by an error.
    """

    __slots__ = ("_intake", "_reader", "_turn")

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._turn = intake.turn
        self._reader = 0  # the thread that had the last frame, at least once

    def __iter__(self) -> Batches:
        return self

    @takes_turns
    def __next__(self) -> Iterator[Any]:
        intake, turn = self._intake, self._turn
        token = None
        try:
            try:
                token = turn.free.pop()
            except IndexError as error:
                if was_thrown_in(error):
                    raise
            if token is None and (token := turn.wait(None)) is None:
                raise StopIteration
            events = intake.events(None)
            if intake.keep:
                self._reader = get_ident()
        except RuntimeError:
            if self._reader not in (0, get_ident()):
                intake.merge.end(EndedBy.ERROR)
            raise
        finally:
            if token is not None:
                token.home.append(token)
                token = None  # a traceback may keep this frame
            if turn.callers:
                turn.call_next()
        if events is None:
            raise StopIteration
        return events
