"""A session that the engine registered itself: its counts, and its end."""

import pytest

import tapring
from tests.helpers import interrupt_once


@pytest.fixture
def tap(name):
    with tapring.Tap(name, strict=True, slot_bytes=64) as tap:
        yield tap


def test_it_counts_what_became_of_each_event(tap) -> None:
    handle = tap.register("raw", buffer_bytes=128)
    for _ in range(3):
        tap.snapshot().offer("raw", [b"one"])
    assert (handle.offered, handle.captured, handle.dropped) == (3, 2, 1)
    assert (handle.sampled_out, handle.shed) == (0, 0)


def test_a_sampled_session_counts_the_skipped_batches_apart(tap) -> None:
    handle = tap.register("raw", sample=3)
    for _ in range(6):
        tap.snapshot().offer("raw", [b"one", b"two"])
    assert (handle.offered, handle.sampled_out) == (4, 8)


def test_its_counts_stay_readable_after_its_end(tap) -> None:
    with tap.register("raw") as handle:
        tap.snapshot().offer("raw", [b"one"])
        assert handle.open
    assert not handle.open
    assert tap.snapshot() is None
    assert (handle.offered, handle.captured) == (1, 1)
    handle.close()


def test_no_two_sessions_of_a_lane_have_the_same_id(tap) -> None:
    ids = []
    for _ in range(5):
        with tap.register("raw") as handle:
            ids.append(handle.id)
    assert ids == sorted(set(ids))
    assert ids[0] > 0


def test_its_repr_says_whether_it_is_open_and_what_it_counted(tap) -> None:
    handle = tap.register("raw", buffer_bytes=128)
    for _ in range(3):
        tap.snapshot().offer("raw", [b"one"])
    assert repr(handle) == f"<Handle {handle.id} open captured=2 dropped=1>"
    handle.close()
    assert repr(handle) == f"<Handle {handle.id} closed captured=2 dropped=1>"


def test_a_block_that_is_interrupted_at_its_end_has_ended_the_session(tap, monkeypatch) -> None:
    with pytest.raises(KeyboardInterrupt), tap.register("raw") as handle:
        interrupt_once(monkeypatch, handle, "_end")
    assert not handle.open
    assert tap.active_sessions == 0
