"""One batch for several sessions: each gets it, or counts it, whatever happens to another."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest.mock import DEFAULT, Mock

import pytest

import tapring
from tapring.events.kinds import Json
from tapring.shm.names import segment_name
from tapring.shm.segment import Segment
from tapring.wire import layout
from tapring.wire.writer import Writer


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


class Calling(deque):
    """A batch that calls a function when it is first read."""

    def __init__(self, events: list[Any], call: Callable[[], object]) -> None:
        super().__init__(events)
        self.call = call

    def __iter__(self) -> Iterator[Any]:
        call, self.call = self.call, lambda: None
        call()
        return super().__iter__()


@pytest.mark.parametrize("share", ["all", "sampled"])
def test_memory_that_ran_out_after_serializing_costs_one_session_its_batch(
    tap, monkeypatch, share
) -> None:
    first, short, last = (
        tap.register("decoded", sample=2 if share == "sampled" else 1) for _ in range(3)
    )
    # Not by a function of this file: what that raises is taken for a signal handler's.
    publish = Mock(wraps=Writer.publish, side_effect=[DEFAULT, MemoryError, DEFAULT])
    monkeypatch.setattr(Writer, "publish", property(lambda self: partial(publish, self)))
    offer(tap, [1, 2, 3])
    monkeypatch.undo()
    offer(tap, [4], [5])
    captured = 4 if share == "sampled" else 5
    assert [each.captured for each in (first, short, last)] == [captured, captured - 3, captured]
    assert [each.dropped for each in (first, short, last)] == [0, 3, 0]
    assert tap.faults == 0


def test_what_is_offered_to_a_session_that_the_same_offer_closes_harms_no_other(tap) -> None:
    raw, decoded = tap.register("raw"), tap.register("decoded")

    def offer_and_close() -> None:
        tap.snapshot().offer("raw", [b"late"])
        raw.close()

    offer(tap, Calling([1], offer_and_close), [2])
    assert (decoded.captured, raw.captured, tap.faults) == (2, 1, 0)


def test_ctrl_c_reaches_an_engine_that_closes_a_session_from_inside_an_offer(
    tap, monkeypatch
) -> None:
    """The session is half-closed: its ring is let go of, and its doorbell is not."""
    other = tap.register("decoded")
    closed = tap.register("decoded")
    offer(tap, [0])
    with tapring.attach_session(tap.name, closed.id, wake="doorbell"):
        tap.snapshot()
        assert tap._lane.roster.live[closed.id].bell
        close = Writer.close

        def interrupted(writer: Writer) -> None:
            close(writer)
            raise KeyboardInterrupt

        def close_it() -> None:
            with monkeypatch.context() as patch:
                patch.setattr(Writer, "close", interrupted)
                closed.close()

        with pytest.raises(KeyboardInterrupt):
            offer(tap, Calling([1], close_it))
        closed.close()
    offer(tap, [2])
    # The batch that was being read just then is offered to no session.
    assert (other.offered, other.captured, tap.faults) == (2, 2, 0)


@pytest.mark.parametrize("sample", [1, 2])
def test_ctrl_c_reaches_an_engine_whose_batch_cannot_be_read_either(tap, sample) -> None:
    handle, other = tap.register("decoded", sample=sample), tap.register("decoded")

    def interrupted() -> None:
        batch.call = unreadable
        raise KeyboardInterrupt

    def unreadable() -> None:
        batch.call = unreadable
        raise RuntimeError("gone")

    batch = Calling([1], interrupted)
    with pytest.raises(KeyboardInterrupt):
        offer(tap, batch)
    offer(tap, [2], [3])
    assert (handle.captured, other.captured) == (2 // sample, 2)
    assert (handle.open, tap.faults, tap.misuse) == (True, 0, 0)


@pytest.mark.parametrize("left_out", ["sampled_out", "shed"])
def test_a_batch_that_is_left_out_for_a_session_that_ended_meanwhile_does_nothing(
    tap, left_out
) -> None:
    other = tap.register("decoded")
    handle = tap.register("decoded", sample=2 if left_out == "sampled_out" else 1)
    if left_out == "shed":
        tap._lane.roster.live[handle.id].served = 0.0
        tap._lane.schedule.watch()
        tap._lane.schedule.set_due()
        tap._adopt(tap._lane)
    snapshot = tap.snapshot()
    snapshot.offer("decoded", [1])
    handle.close()
    snapshot.offer("decoded", [2])
    assert (other.captured, tap.faults, tap.active_sessions) == (2, 0, 1)
