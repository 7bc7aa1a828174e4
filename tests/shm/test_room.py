"""A ring that nobody asked a size for fits into what is free; one that does not fit is refused."""

from types import SimpleNamespace

import pytest

from tapring.errors import SharedMemoryFull
from tapring.shm import room

MIB = 1 << 20


@pytest.fixture
def free(monkeypatch):
    """Say how much is free; None: there is no limit."""

    def of(size: int | None) -> None:
        status = SimpleNamespace(f_blocks=0 if size is None else 99, f_bavail=size, f_frsize=1)
        monkeypatch.setattr(room.os, "statvfs", lambda _: status)

    return of


@pytest.mark.parametrize(
    ("bytes_free", "size", "rings", "fits"),
    [
        (64 * MIB, 4 * MIB, 1, 4 * MIB),
        (64 * MIB, 4 * MIB, 8, 4 * MIB),
        (64 * MIB, 4 * MIB, 9, 2 * MIB),
        (64 * MIB, 4 * MIB, 20, MIB),
        (8 * MIB, 4 * MIB, 1, 4 * MIB),
        (8 * MIB - 1, 4 * MIB, 1, 2 * MIB),
        (0, 4 * MIB, 1, 64 << 10),
        (0, 4096, 64, 4096),
        (1 << 40, 4 * MIB, 64, 4 * MIB),
        (None, 4 * MIB, 64, 4 * MIB),
    ],
)
def test_all_rings_take_half_of_what_is_free_at_most(free, bytes_free, size, rings, fits) -> None:
    free(bytes_free)
    assert room.fitting(size, room.fair_share(rings)) == fits


def test_a_size_that_was_asked_for_and_does_not_fit_is_refused_with_the_figures(free) -> None:
    free(60 * MIB)
    room.check_room(3 * MIB, 20)
    with pytest.raises(SharedMemoryFull) as error:
        room.check_room(16 * MIB, 20)
    assert str(error.value) == (
        "20 x 16 MiB do not fit into the 60.0 MiB that are free in /dev/shm; ask for a smaller "
        "buffer, or enlarge it"
    )
    free(None)
    room.check_room(1 << 40, 64)


def test_what_cannot_be_asked_is_left_to_whoever_makes_the_ring(monkeypatch) -> None:
    def fails(_: str) -> None:
        raise PermissionError(13, "denied")

    monkeypatch.setattr(room.os, "statvfs", fails)
    assert room.fitting(4 * MIB, room.fair_share()) == 64 << 10


def test_rings_of_lanes_that_join_leave_an_eighth_free(monkeypatch) -> None:
    def of(free: int) -> None:
        status = SimpleNamespace(f_blocks=64, f_bavail=free, f_frsize=MIB)
        monkeypatch.setattr(room.os, "statvfs", lambda _: status)

    of(24)
    assert room.share_of_joining() == 8 * MIB
    room.check_reserve(16 * MIB)
    with pytest.raises(SharedMemoryFull, match="too little of /dev/shm to others"):
        room.check_reserve(16 * MIB + 1)
    of(7)
    assert room.share_of_joining() == 0
    monkeypatch.setattr(room.os, "statvfs", lambda _: SimpleNamespace(f_blocks=0))
    assert room.share_of_joining() is None
    room.check_reserve(1 << 40)
