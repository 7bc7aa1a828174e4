"""A session's ring: mapped only if it is the ring that its row describes."""

import os

import msgspec
import pytest

from tapring.errors import NotPermitted, RingCorrupt, VersionMismatch
from tapring.shm import rings
from tapring.shm.info import LaneInfo
from tapring.shm.names import bell_file
from tapring.shm.rings import (
    account_of,
    create_ring,
    map_ring,
    names_of,
    names_of_sessions,
    unlink_ring,
)
from tapring.shm.row import Row
from tapring.shm.segment import DIRECTORY, Segment, names
from tapring.wire import layout
from tapring.wire.layout import RowState
from tapring.wire.ledger import Ledger

ROW = Row(index=0, state=RowState.OPEN, id=7, epoch=11, slots=4, slot_bytes=64)
ME = os.geteuid()


@pytest.fixture
def info(describe_lane) -> LaneInfo:
    return describe_lane()


@pytest.fixture
def ring(info):
    with create_ring(info, ROW, ME) as segment:
        yield segment
    unlink_ring(info, ROW)


def test_a_ring_is_mapped_as_its_row_describes_it(ring) -> None:
    assert len(map_ring(ring, ROW, ME, writable=False)) == layout.ring_bytes(4, 64)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"epoch": 12}, "ring of another session"),
        ({"id": 8}, "ring of another session"),
        ({"slots": 5}, "its row announces 5 slots of 64 bytes"),
        ({"slots": 2, "slot_bytes": 128}, "its row announces 2 slots of 128 bytes"),
    ],
)
def test_a_ring_that_does_not_fit_its_row_is_refused(ring, other, said) -> None:
    with pytest.raises(RingCorrupt, match=said):
        map_ring(ring, msgspec.structs.replace(ROW, **other), ME, writable=False)


@pytest.mark.parametrize(
    ("word", "error", "said"),
    [
        (layout.MAGIC, RingCorrupt, "is not a ring of tapring"),
        (layout.FORMAT, VersionMismatch, "uses version"),
        (layout.FEATURES, VersionMismatch, "with features"),
        (layout.SEGMENT_BYTES, RingCorrupt, "its row announces"),
    ],
)
def test_a_damaged_header_is_refused(ring, word, error, said) -> None:
    os.pwrite(ring.fd, b"\x07" * layout.WORD, word * layout.WORD)
    with pytest.raises(error, match=said):
        map_ring(ring, ROW, ME, writable=False)


def test_a_ring_of_another_user_is_refused_unless_it_is_roots(ring) -> None:
    ring.owner = 65533
    with pytest.raises(RingCorrupt, match="belongs to user 65533, but the engine to user 65534"):
        map_ring(ring, ROW, 65534, writable=False)
    ring.owner = 0
    assert map_ring(ring, ROW, 65534, writable=False)


def test_a_name_that_is_taken_is_not_used(ring, info) -> None:
    with pytest.raises(NotPermitted, match="another process made .* first"):
        create_ring(info, ROW, ME)


def test_a_new_ring_has_an_empty_account(ring) -> None:
    account = account_of(ring)
    assert account.is_of_ring()
    assert account.ledger() == Ledger()


def test_where_stores_may_be_reordered_the_magic_follows_a_barrier(info, monkeypatch) -> None:
    at_the_barrier: list[tuple[int, ...]] = []

    def barrier() -> None:
        with Segment.attach(info.segment_name(ROW.id)) as segment:
            header = memoryview(segment.map(0, layout.PAGE, writable=False)).cast("Q")
            at_the_barrier.append((header[layout.MAGIC], header[layout.RING_SLOTS]))
            header.release()

    monkeypatch.setattr(rings, "publish_barrier", barrier)
    with create_ring(info, ROW, ME) as segment:
        assert map_ring(segment, ROW, ME, writable=False)
    unlink_ring(info, ROW)
    assert at_the_barrier == [(0, ROW.slots)]


def test_a_session_has_a_ring_and_perhaps_a_doorbell(ring, info) -> None:
    assert names_of(info, ROW) == (ring.name, bell_file(ring.name))
    assert names_of_sessions(info.segment_name()) == [ring.name]
    unlink_ring(info, ROW)
    assert names(ring.name) == []


@pytest.mark.parametrize("odd", ["\x1b]0;x\x07", "7\n", "7 8", "notes", ""])
def test_a_name_that_tapring_does_not_give_is_no_ring_of_a_lane(info, ring, odd) -> None:
    """It is neither removed nor shown on a terminal."""
    path = f"{DIRECTORY}/{info.segment_name()}.{odd}"
    with open(path, "wb"):
        assert names_of_sessions(info.segment_name()) == [info.segment_name(ROW.id)]
    os.unlink(path)
