"""Which lane's frame comes next: the oldest one, once no lane can be expected to have an older one.

Theory of operation. The lanes that have a frame wait in a heap, by the time of that frame. The
others are quiet, and are looked at together, a few times in each bound. The oldest frame is taken
if no lane is quiet, or if all quiet lanes were looked at ``lag_ns`` after its batch began: an
engine publishes a batch soon after it began, so an older frame would be there by then. One that
still comes later is late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from time import monotonic_ns
from typing import Final

from ..errors import TapError
from .attachment import Attachment

_LOOKS: Final = 4  # at quiet lanes, while the oldest frame waits

GiveUp = Callable[[Attachment, TapError], object]


class Order:
    """The lanes in the order of their oldest frames. All times are this process's CLOCK_MONOTONIC.

    lag_ns: how long a frame waits at most, from the beginning of its batch, for older ones of other
    lanes; looking adds a quarter of that. give_up: called for a lane that turned out to be corrupt;
    unless it raises, that lane is left out. ``late``: whether the frame of the lane that ``next``
    gave last is older than one that was taken before.
    """

    __slots__ = (
        "_give_up",
        "_heap",
        "_lag_ns",
        "_latest_ns",
        "_looked_ns",
        "_pause_ns",
        "_quiet",
        "_rank",
        "_sound",
        "_taken",
        "late",
    )

    def __init__(self, lag_ns: int, give_up: GiveUp) -> None:
        self._lag_ns = lag_ns
        self._pause_ns = lag_ns // _LOOKS
        self._give_up = give_up
        self._latest_ns = 0
        self.late: bool = False
        self.restart(())

    @property
    def grace_ns(self) -> int:
        """How long after a moment all frames of before it have been taken, or are late."""
        return self._lag_ns + 2 * self._pause_ns

    def restart(self, lanes: Iterable[Attachment]) -> None:
        """Go by these lanes from now on.

        Frames of equal times, as of one batch, come in the order of their stages in the engine.
        """
        in_order = sorted(lanes, key=lambda lane: lane.row.stage)
        self._rank = {lane: rank for rank, lane in enumerate(in_order)}
        self._quiet = list(self._rank)
        self._heap: list[tuple[int, int, Attachment]] = []
        self._taken: Attachment | None = None
        self._looked_ns = 0
        self._sound = True  # not so if an exception has left ``next``: a lane may be nowhere

    def next(self, last_ns: int | None) -> Attachment | None:
        """Return the lane whose frame is to be taken now, which must follow; None if there is none.

        last_ns: leave frames that are younger.
        """
        if not self._sound:
            self.restart(tuple(self._rank))
        self._sound = False
        taken, heap = self._taken, self._heap
        if taken is not None:
            self._taken = None
            self._place(taken)
        ready = not self._quiet or (bool(heap) and heap[0][0] <= self._looked_ns - self._lag_ns)
        if (ready or self._look(heap)) and heap and (last_ns is None or heap[0][0] <= last_ns):
            time_ns, _, self._taken = heappop(heap)
            self.late = time_ns < self._latest_ns
            if not self.late:
                self._latest_ns = time_ns
        self._sound = True
        return self._taken

    def note(self, time_ns: int) -> None:
        """Say that a frame of this time was taken while there was only one lane."""
        # A time out of a recording is as the wall clock was then, which may have been set since.
        self._latest_ns = max(self._latest_ns, min(time_ns, monotonic_ns()))

    def wait_ns(self) -> int | None:
        """Return how long to wait before ``next`` may return a lane; None if no frame is there."""
        if not self._heap:
            return None
        return min(max(0, self._looked_ns + self._pause_ns - monotonic_ns()), self._pause_ns)

    def leave(self, lane: Attachment) -> None:
        """Leave out a lane from now on."""
        self._rank.pop(lane, None)
        self._heap[:] = [each for each in self._heap if each[2] is not lane]
        heapify(self._heap)
        if lane is self._taken:
            self._taken = None
        if lane in self._quiet:
            self._quiet.remove(lane)

    def _look(self, heap: list[tuple[int, int, Attachment]]) -> bool:
        """Look at the quiet lanes, if it is time for that; say whether the oldest frame is next."""
        now = monotonic_ns()
        if heap and now - self._looked_ns < self._pause_ns:
            return False
        self._looked_ns = now
        quiet, self._quiet = self._quiet, []
        for lane in quiet:
            self._place(lane)
        return not self._quiet or (bool(heap) and heap[0][0] <= now - self._lag_ns)

    def _place(self, lane: Attachment) -> None:
        try:
            time_ns = lane.next_time_ns()
        except TapError as error:
            self._give_up(lane, error)
            self._rank.pop(lane, None)
            return
        if time_ns is None:
            self._quiet.append(lane)
            return
        if time_ns > self._looked_ns:
            # A clock that is ahead must not make its lane wait for all others.
            time_ns = min(time_ns, monotonic_ns())
        heappush(self._heap, (time_ns, self._rank[lane], lane))
