"""A frame, the unit of publishing: its header, the copy of it that a reader returns, its cutter."""

from typing import Final, Protocol

import msgspec

from . import layout

pack_header: Final = layout.FRAME.pack_into
unpack_header: Final = layout.FRAME.unpack_from


class Cutter(Protocol):
    """Cuts a payload at an event boundary. Each kind of stage is one (see ``events.kinds``)."""

    def fit(self, payload: bytes, count: int, room: int) -> int:
        """Return how many leading events, at most ``count - 1``, fit into ``room`` bytes."""

    def split(self, payload: bytes, count: int, at: int) -> tuple[bytes, bytes]:
        """Return the payload of the first ``at`` events and the payload of the others."""


class Taken(msgspec.Struct, frozen=True, gc=False):
    """One frame as it was copied out of the ring.

    ``count`` is the number of events in ``payload``. ``time_ns`` is the engine's CLOCK_MONOTONIC.
    ``missed`` counts the events that were offered to this session just before this frame and did
    not reach the ring.
    """

    payload: bytes
    count: int
    time_ns: int
    missed: int
