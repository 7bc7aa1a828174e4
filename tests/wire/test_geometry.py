"""The shape of a ring: which slots and sizes make one."""

import pytest

from tapring.errors import RingCorrupt
from tapring.wire.geometry import check_geometry


@pytest.mark.parametrize(
    ("slots", "slot_bytes"), [(0, 64), (1, 64), (8, 63), (8, 96), (8, 8192), (1 << 60, 64)]
)
def test_impossible_shapes_are_refused_at_the_door(slots: int, slot_bytes: int) -> None:
    with pytest.raises(RingCorrupt, match="do not make a ring"):
        check_geometry(slots, slot_bytes, 1 << 20)
