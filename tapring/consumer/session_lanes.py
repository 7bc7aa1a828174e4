"""What a session says of its lanes: which it reads, of which stages, which ended, which refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..frame import Frame, Origin
from ..shm.refusals import LaneRefused
from .attachment import Attachment
from .lanes import LaneEnded, LaneJoined
from .merge import Merge


class Sifting(NamedTuple):
    """What a filter has looked at, of one lane and stage. For numbers, see ``Frame.sequence``.

    first: the number of the first event, or of the first one that was missing before it. behind:
    the number behind the last event. time_ns: when that one was offered (ns since the epoch).
    """

    origin: Origin
    first: int
    behind: int
    time_ns: int


class SessionLanes:
    """The part of a ``Session`` that tells of its lanes.

    lanes_refused: those that could not be read as it was opened.
    """

    def __init__(self, merge: Merge, lanes_refused: tuple[LaneRefused, ...]) -> None:
        self._merge = merge
        self._lanes_refused = lanes_refused

    @property
    def lanes_joined(self) -> tuple[LaneJoined, ...]:
        """The lanes that this session reads or has read, in the order in which they joined."""
        return tuple(self._merge.joined.values())

    @property
    def lanes(self) -> tuple[str, ...]:
        """The ids of these lanes, each once."""
        return tuple(dict.fromkeys(each.lane for each in self.lanes_joined))

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that this session reads or has read."""
        return tuple(dict.fromkeys(each.stage for each in self.lanes_joined))

    @property
    def stage(self) -> str:
        """The stage that it reads; several are separated by commas."""
        return ",".join(self.stages)

    @property
    def ids(self) -> tuple[int, ...]:
        """The session's id in each of these lanes, and for each stage."""
        return tuple(each.session for each in self.lanes_joined)

    @property
    def unknown_clocks(self) -> tuple[str, ...]:
        """The lanes whose clocks cannot be compared with this process's.

        One of the two has no /proc that tells its time namespace. The clocks are then taken to be
        the same, and wall-clock times are as of the engine's start.
        """
        unknown = [each.lane for each in self.lanes_joined if not each.clock_known]
        return tuple(dict.fromkeys(unknown))

    @property
    def id(self) -> int:
        """The session's id in its lane; with several lanes, in the first one."""
        return self.ids[0]

    @property
    def addresses(self) -> tuple[str, ...]:
        """``ENGINE.LANE:ID`` for each lane: the addresses that ``attach_session`` takes."""
        return tuple(each.address for each in self.lanes_joined)

    def sifted(self) -> Iterator[Sifting]:
        """Yield what a filter has looked at, for each lane and stage of which it has seen events.

        Nothing without a filter, and nothing of lanes that are not read any more.
        """
        for each in tuple(self._merge.rings.attachments):
            if each.first is not None:
                yield Sifting(each.origin, each.first, each.behind, each.looked_ns)

    def sifted_up_to(self, frame: Frame) -> int:
        """The number behind the last event that was looked at for the frame that was just taken.

        A filter may have left out the last ones. See ``Frame.sequence``. If a limit has cut the
        frame, it is the number of the first event that was cut off.
        """
        sifted = self._sifted(frame)
        return frame.sequence + frame.count if sifted is None else sifted.behind

    def places_of(self, frame: Frame) -> Sequence[int]:
        """The indices, in its batch, of the events of the frame that was just taken."""
        sifted = self._sifted(frame)
        places = None if sifted is None else sifted.places
        return range(frame.count) if places is None else places

    def _sifted(self, frame: Frame) -> Attachment | None:
        """What a frame's lane and stage have left of it; None without a filter, or the lane."""
        for each in tuple(self._merge.rings.attachments):
            if each.origin == frame.origin and each.sieve is not None:
                return each
        return None

    @property
    def lanes_refused(self) -> tuple[LaneRefused, ...]:
        """The lanes that could not be read when the session was opened, or not to their end."""
        following = self._merge.following
        joining = () if following is None else following.refused
        return (*self._lanes_refused, *joining, *self._merge.refused.values())

    @property
    def lanes_ended(self) -> tuple[LaneEnded, ...]:
        """The lanes that have ended so far, in that order, each with the reason and the time."""
        return tuple(self._merge.ended.values())
