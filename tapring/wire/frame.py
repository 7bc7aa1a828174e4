"""A frame, the unit of publishing, as it lies in a ring: its header, and how it is cut."""

from struct import Struct
from typing import Any, Final, Protocol

from . import layout

pack_header: Final = layout.FRAME.pack_into
unpack_header: Final = layout.FRAME.unpack_from
unpack_time: Final = Struct(layout.FRAME.format[: len("=QQ")]).unpack_from
"""The same for the first two fields alone: ``pos`` and ``time_ns``."""

Payload = bytes | memoryview
"""The packed events of a frame."""


class Parts(Protocol):
    """A payload that is taken in parts, from its first event on. ``count`` events are left."""

    count: int

    def take(self, room: int) -> tuple[Payload, int]:
        """Take as many events as fit into ``room`` bytes: their payload, and their number."""

    def fits(self, room: int) -> bool:
        """Return whether the first event fits into ``room`` bytes."""

    def skip(self) -> None:
        """Leave out the first event."""


class Cutter(Protocol):
    """Cuts a payload at an event boundary. Each kind of stage is one (see ``events.kinds``)."""

    def parts(self, payload: Any, count: int) -> Parts:
        """Return the payload, to be taken in parts that fit into the ring."""

    def split(self, payload: bytes, count: int, at: int) -> tuple[bytes, bytes]:
        """Return the payload of the first ``at`` events and the payload of the others."""
