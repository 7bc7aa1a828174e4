"""A frame, the unit of publishing, as it lies in a ring: its header, and how it is cut."""

from typing import Final, Protocol

from . import layout

pack_header: Final = layout.FRAME.pack_into
unpack_header: Final = layout.FRAME.unpack_from


class Cutter(Protocol):
    """Cuts a payload at an event boundary. Each kind of stage is one (see ``events.kinds``)."""

    def fit(self, payload: bytes, count: int, room: int) -> int:
        """Return how many leading events, at most ``count - 1``, fit into ``room`` bytes."""

    def split(self, payload: bytes, count: int, at: int) -> tuple[bytes, bytes]:
        """Return the payload of the first ``at`` events and the payload of the others."""
