"""The handle of a session that the engine's own code registered."""

from __future__ import annotations

from collections.abc import Callable

from ..in_any_case import finish
from ..wire.layout import Ended
from .session import Live


class Handle:
    """A session that the engine registered with ``Tap.register``.

    Closing it ends the session and makes room for another. Its counts stay readable afterwards. A
    context manager; closing twice is fine.
    """

    def __init__(self, live: Live, end: Callable[[Live, Ended], None]) -> None:
        self._live = live
        self._end = end

    @property
    def id(self) -> int:
        """The session's id: positive, unique in this lane, never used twice."""
        return self._live.row.id

    @property
    def captured(self) -> int:
        """Events written into the ring."""
        return self._live.writer.captured

    @property
    def dropped(self) -> int:
        """Events that found no room in the ring."""
        return self._live.writer.dropped

    @property
    def offered(self) -> int:
        """Events offered to the session, whether they were captured or not."""
        return self._live.writer.offered

    @property
    def sampled_out(self) -> int:
        """Events in batches that sampling skipped. They do not count as offered."""
        return self._live.writer.sampled_out

    @property
    def shed(self) -> int:
        """Events in batches that the engine's budget skipped. They do not count as offered."""
        return self._live.writer.shed

    @property
    def open(self) -> bool:
        """Whether the session still runs."""
        return self._live.open

    def close(self) -> None:
        """End the session. Its consumer can still read what is in the ring."""
        self._end(self._live, Ended.CLOSED)

    def __repr__(self) -> str:
        state = "open" if self.open else "closed"
        return f"<Handle {self.id} {state} captured={self.captured} dropped={self.dropped}>"

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *_: object) -> None:
        finish(self.close)
