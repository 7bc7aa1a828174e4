"""How many events fit into the rings, as of the last look at them."""

from types import SimpleNamespace

from tapring.adapters.room import PATIENCE_S, Room
from tests.adapters.played import Clock


def session(number: int, fill: float, captured: int = 0, buffer_bytes: int = 10_000):
    """A session as a look at its ring shows it."""
    return SimpleNamespace(id=number, fill=fill, captured=captured, buffer_bytes=buffer_bytes)


class Looked:
    """A Room whose sessions the test sets; it counts the looks."""

    def __init__(self, *sessions) -> None:
        self.sessions = list(sessions)
        self.looks = 0
        self.clock = Clock()
        self.room = Room(self._look, self.clock)

    def _look(self) -> list:
        self.looks += 1
        return self.sessions


BATCH = [b"x" * 96] * 10  # 1,000 bytes plus the overhead of a frame


def test_rings_are_looked_at_again_only_once_the_room_last_seen_is_used_up() -> None:
    looked, watched = Looked(session(1, 0.0)), object()
    assert [looked.room.fitting(watched, BATCH) for _ in range(6)] == [10] * 6
    assert looked.looks == 1
    looked.sessions = [session(1, 0.95)]
    assert looked.room.fitting(watched, BATCH) == 0
    looked.sessions = [session(1, 0.5)]
    assert looked.room.fitting(watched, BATCH) == 10
    assert looked.looks == 3


def test_the_fullest_ring_decides_and_a_new_session_is_looked_at() -> None:
    looked = Looked(session(1, 0.0))
    assert looked.room.fitting("before", BATCH) == 10
    looked.sessions = [session(1, 0.0), session(2, 0.9)]
    assert looked.room.fitting("after", BATCH) == 0


def test_a_batch_larger_than_a_ring_is_cut_and_an_event_that_is_waits_for_an_empty_one() -> None:
    looked = Looked(session(1, 0.0, buffer_bytes=1_100))
    assert looked.room.fitting("watched", BATCH) == 5
    looked.sessions = [session(1, 0.1, buffer_bytes=1_100)]
    assert looked.room.fitting("watched", [b"x" * 5_000]) == 0
    looked.sessions = [session(1, 0.0, buffer_bytes=1_100)]
    assert looked.room.fitting("watched", [b"x" * 5_000]) == 1


def test_a_consumer_that_stops_reading_is_waited_for_only_a_second() -> None:
    looked = Looked(session(1, 1.0, captured=50))
    patience_ns = round(PATIENCE_S * 1e9)
    assert looked.room.fitting("watched", BATCH) == 0
    looked.clock.now += patience_ns - 1
    assert looked.room.fitting("watched", BATCH) == 0
    looked.clock.now += 1
    assert [looked.room.fitting("watched", BATCH) for _ in range(20)] == [10] * 20
    looked.sessions = [session(1, 0.9, captured=50)]
    assert looked.room.fitting("new look", BATCH) == 0
