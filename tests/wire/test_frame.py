"""A frame's header lies in the ring as the layout says."""

import pytest

from tapring.events.kinds import Blobs, Lines
from tapring.wire import layout
from tapring.wire.frame import pack_header, unpack_header


def test_a_header_is_read_back_as_it_was_packed() -> None:
    buffer = bytearray(2 * layout.FRAME_BYTES)
    fields = tuple(range(1, 10))
    pack_header(buffer, layout.FRAME_BYTES, *fields)
    assert unpack_header(buffer, layout.FRAME_BYTES) == fields
    assert not any(buffer[: layout.FRAME_BYTES]), "nothing before its offset is touched"


@pytest.mark.parametrize("kind", [Lines(), Blobs()], ids=lambda kind: kind.name)
def test_a_payload_is_cut_between_events(kind) -> None:
    payload, count, _ = kind.pack([b"first", b"second", b"third"])
    head, rest = kind.split(payload, count, 1)
    assert kind.unpack(head, 1)[0] == [b"first"]
    assert kind.unpack(rest, 2)[0] == [b"second", b"third"]


@pytest.mark.parametrize("kind", [Lines(), Blobs()], ids=lambda kind: kind.name)
def test_as_many_leading_events_fit_as_there_is_room_for(kind) -> None:
    events = [b"x" * 10] * 5
    payload, count, _ = kind.pack(events)
    for room in range(len(payload)):
        fits = kind.fit(payload, count, room)
        assert 0 <= fits < count
        assert len(kind.pack(events[:fits])[0]) <= room or not fits
        assert len(kind.pack(events[: fits + 1])[0]) > room
