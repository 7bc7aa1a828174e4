"""A frame's header lies in the ring as the layout says."""

from tapring.wire import layout
from tapring.wire.frame import pack_header, unpack_header


def test_a_header_is_read_back_as_it_was_packed() -> None:
    buffer = bytearray(2 * layout.FRAME_BYTES)
    fields = tuple(range(1, 11))
    pack_header(buffer, layout.FRAME_BYTES, *fields)
    assert unpack_header(buffer, layout.FRAME_BYTES) == fields
    assert not any(buffer[: layout.FRAME_BYTES]), "nothing before its offset is touched"
