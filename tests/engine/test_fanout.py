"""One batch for several sessions: each gets it, or counts it, whatever happens to another."""

import os

import pytest

import tapring
from tapring.events.kinds import Json
from tapring.shm.names import segment_name
from tapring.shm.segment import Segment
from tapring.wire import layout


@pytest.fixture
def tap(name):
    with tapring.Tap(name, slot_bytes=64) as tap:
        yield tap


def offer(tap, *batches: list) -> None:
    for batch in batches:
        tap.snapshot().offer("decoded", batch)


def test_a_full_ring_keeps_no_other_from_its_batch(tap) -> None:
    small, large = tap.register("decoded", buffer_bytes=128), tap.register("decoded")
    offer(tap, *([n] for n in range(5)))
    assert (small.captured, small.dropped) == (2, 3)
    assert (large.captured, large.dropped) == (5, 0)


def test_a_ring_that_is_evicted_keeps_no_other_from_its_batch(tap, name) -> None:
    first, bad, last = (tap.register("decoded", buffer_bytes=128 << n) for n in (4, 0, 4))
    with Segment.attach(segment_name(name, tap.lane, bad.id)) as ring:
        os.pwrite(ring.fd, b"\xff" * layout.WORD, layout.CONSUMER_PAGE)
    with pytest.warns(tapring.TapWarning, match="position"):
        offer(tap, [1], [2], [3])
    assert not bad.open
    assert (first.captured, last.captured) == (3, 3)


def test_a_batch_with_an_event_that_cannot_be_serialized_counts_once_in_each(tap) -> None:
    handles = [tap.register("decoded") for _ in range(3)]
    offer(tap, [1, object(), 3])
    for handle in handles:
        assert (handle.offered, handle.captured, handle.dropped) == (3, 2, 0)


def test_each_sampled_session_takes_its_own_turns(tap) -> None:
    every, second, third = (tap.register("decoded", sample=n) for n in (1, 2, 3))
    offer(tap, *([n] for n in range(12)))
    assert [each.captured for each in (every, second, third)] == [12, 6, 4]
    assert [each.sampled_out for each in (every, second, third)] == [0, 6, 8]


def test_a_batch_is_serialized_once_for_all_that_have_room(tap, monkeypatch) -> None:
    packed: list[object] = []
    pack = Json.pack
    monkeypatch.setattr(Json, "pack", lambda self, batch: packed.append(batch) or pack(self, batch))
    for _ in range(3):
        tap.register("decoded")
    offer(tap, [1], [2])
    assert packed == [[1], [2]]
