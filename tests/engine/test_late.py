"""Batches that found the gate taken: the thread inside publishes or counts each exactly once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

import tapring
from tapring.engine import gate
from tapring.engine.fanout import NO_ROOM, Watched
from tapring.engine.late import Late
from tapring.shm.names import segment_name
from tapring.shm.segment import Segment
from tapring.wire import layout
from tapring.wire.writer import Writer
from tests.helpers import closes, offer

POINT = np.dtype([("n", "i8")])


@pytest.fixture
def tap(name) -> Iterator[tapring.Tap]:
    with tapring.Tap(name, stages={"points": tapring.array(POINT)}) as tap:
        yield tap


@pytest.fixture
def left(tap) -> Callable[..., Late]:
    """A batch that was gathered for the sessions of ``raw``, and is to be committed."""

    def make(gathered: tuple[Any, int, int], *, has_room: bool = True) -> Late:
        watched = tap.snapshot().watching.stages["raw"]
        return Late(watched, gathered, 1, tap._evict, has_room=has_room)

    return make


@pytest.fixture
def inside(monkeypatch) -> Callable[[Callable[[], object]], None]:
    """Calls something in the middle of the next ``publish``, as a signal handler may be."""

    def call(work: Callable[[], object]) -> None:
        publish = Writer.publish

        def interrupted(self: Writer, *args: Any) -> None:
            monkeypatch.setattr(Writer, "publish", publish)
            work()
            publish(self, *args)

        monkeypatch.setattr(Writer, "publish", interrupted)

    return call


def test_an_offer_that_interrupts_an_offer_is_published_after_it(tap, name, inside) -> None:
    with tapring.capture(name, stage="raw") as session:
        tap.snapshot()
        inside(lambda: offer(tap, "raw", [b"handler's"]))
        offer(tap, "raw", [b"engine's"])
        assert session.read(9, timeout=0) == [b"engine's", b"handler's"]
        assert closes(session.stats)
    assert (tap.faults, tap.misuse) == (0, 0)


def test_what_was_left_comes_before_the_next_batch(tap, name) -> None:
    """The one inside was interrupted after it had left, and before it could look for more work."""
    with tapring.capture(name, stage="raw") as session:
        tap.snapshot()
        token = tap._gate.take()
        offer(tap, "raw", [b"left"])
        token.home.append(token)
        offer(tap, "raw", [b"next"])
        assert session.read(9, timeout=0) == [b"left", b"next"]


def test_one_to_another_stage_is_published_too_also_at_the_last_batch(tap, name, inside) -> None:
    with tapring.capture(name, stage="decoded") as session:
        tap.register("raw")
        tap.snapshot()
        inside(lambda: offer(tap, "decoded", [1]))
        offer(tap, "raw", [b"last"])
        tap.close()
        assert list(session) == [1]
        assert closes(session.stats)


def test_an_array_that_changes_after_its_offer_is_published_as_it_was(tap, inside) -> None:
    handle = tap.register("points")
    raw = tap.register("raw")
    batch = np.ones(3, POINT)

    def offer_and_change() -> None:
        offer(tap, "points", batch)
        batch["n"] = 7

    inside(offer_and_change)
    with tapring.attach_session(tap.name, handle.id) as session:
        offer(tap, "raw", [b"one"])
        (frame,) = [session.read(3, timeout=0)]
        assert np.concatenate(frame)["n"].tolist() == [1, 1, 1]
    assert raw.captured == 1


def test_very_many_that_wait_are_counted_as_dropped(tap, inside, monkeypatch) -> None:
    monkeypatch.setattr(gate, "_MOST", 64)
    handle = tap.register("raw")
    tap.snapshot()
    inside(lambda: [offer(tap, "raw", [b"late", b"late"]) for _ in range(100)])
    offer(tap, "raw", [b"one"])
    assert handle.offered == 201
    assert (handle.captured, handle.dropped) == (129, 72)


def test_a_batch_that_may_not_wait_is_dropped_with_its_events_that_cannot_be_serialized(
    tap, left
) -> None:
    handle = tap.register("raw")
    left((b"one\ntwo\n", 2, 3), has_room=False)()
    assert (handle.captured, handle.dropped, handle.offered) == (0, 5, 5)


def test_a_batch_that_was_counted_but_not_serialized_is_dropped(tap, left) -> None:
    handle = tap.register("raw")
    left((NO_ROOM, 2, 0))()
    assert (handle.captured, handle.dropped) == (0, 2)


def test_one_whose_sessions_have_gone_meanwhile_is_offered_to_none(tap, left) -> None:
    handle, other = tap.register("raw"), tap.register("decoded")
    late = left((b"one\n", 1, 0))
    handle.close()
    for _ in range(2):
        late()
    assert (handle.offered, other.offered, tap.faults) == (0, 0, 0)


def test_a_broken_session_that_it_finds_is_evicted_and_the_others_get_it(tap, left, name) -> None:
    broken, whole = tap.register("raw", buffer_bytes=512), tap.register("raw")
    offer(tap, "raw", [b"x" * 300])
    with Segment.attach(segment_name(name, tap.lane, broken.id)) as ring:
        os.pwrite(ring.fd, b"\xff" * layout.WORD, layout.CONSUMER_PAGE)
    with pytest.warns(tapring.TapWarning, match="is evicted"):
        left((b"one\n", 1, 0))()
    assert (broken.open, whole.captured, tap.faults) == (False, 2, 1)


def test_a_batch_that_an_exception_interrupts_is_counted_at_once_and_once(
    tap, left, monkeypatch
) -> None:
    first, other = tap.register("raw"), tap.register("raw")
    late = left((b"one\ntwo\n", 2, 1))
    with monkeypatch.context() as patch:
        patch.setattr(Watched, "commit", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            late()
    assert [each.dropped for each in (first, other)] == [3, 3]
    late()
    assert [each.offered for each in (first, other)] == [3, 3]


def test_the_count_of_one_that_is_interrupted_again_is_finished(tap, left, monkeypatch) -> None:
    handles = [tap.register("raw") for _ in range(3)]
    late = left((b"one\ntwo\n", 2, 1))
    drop, calls = Writer.drop, []

    def interrupted(writer: Writer, events: int) -> None:
        calls.append(writer)
        if len(calls) == 2:
            raise KeyboardInterrupt
        drop(writer, events)

    with monkeypatch.context() as patch:
        patch.setattr(Watched, "commit", Mock(side_effect=KeyboardInterrupt))
        patch.setattr(Writer, "drop", interrupted)
        with pytest.raises(KeyboardInterrupt):
            late()
    assert [each.dropped for each in handles] == [3, 0, 0]
    late()
    assert [each.dropped for each in handles] == [3, 3, 3]


def test_one_for_a_stage_that_turns_out_to_have_no_sessions_is_offered_to_none(tap) -> None:
    other = tap.register("decoded")
    pending = tap._lane.schedule.pending(lambda _: None)
    if pending is None:
        pytest.fail("the Tap is there")
    stage = pending.watching.stages["raw"]
    Late(stage, (b"one\n", 1, 0), 1, tap._evict, has_room=True)()
    assert (other.offered, tap.faults) == (0, 0)


def test_one_that_an_exception_interrupts_harms_no_session_that_ended_meanwhile(
    tap, left, monkeypatch
) -> None:
    ended, other = tap.register("raw"), tap.register("raw")
    late = left((b"one\n", 1, 0))
    ended.close()
    with monkeypatch.context() as patch:
        patch.setattr(Watched, "commit", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            late()
    assert (ended.offered, other.dropped) == (0, 1)


def test_while_another_thread_changes_the_sessions_a_batch_goes_to_those_that_come_of_it(
    tap, name
) -> None:
    watched: dict[str, Watched | None] = {"raw": None, "decoded": None}
    pending = tap._lane.schedule.pending(watched.get)
    if pending is None:
        pytest.fail("the Tap is there")
    pending.offer("raw", [b"nobody's"])
    handle, broken = tap.register("raw"), tap.register("raw", buffer_bytes=512)
    offer(tap, "raw", [b"x" * 300])
    watched |= tap._lane.schedule.watched
    with Segment.attach(segment_name(name, tap.lane, broken.id)) as ring:
        os.pwrite(ring.fd, b"\xff" * layout.WORD, layout.CONSUMER_PAGE)
    with pytest.warns(tapring.TapWarning, match="is evicted"):
        pending.offer("raw", [b"one"])
    assert (handle.captured, broken.open, tap.faults) == (2, False, 1)


def test_misuse_from_inside_an_offer_is_counted_once(tap, inside) -> None:
    handle = tap.register("raw")
    tap.snapshot()
    inside(lambda: (offer(tap, "rw", [b"x"]), offer(tap, "raw", 5)))
    with pytest.warns(tapring.TapWarning):
        offer(tap, "raw", [b"one"])
    assert (tap.misuse, tap.faults, handle.offered) == (2, 0, 1)


def test_a_handle_that_is_closed_from_inside_an_offer_ends_after_it(tap, name, inside) -> None:
    handle, other = tap.register("raw"), tap.register("raw")
    with tapring.attach_session(name, handle.id) as session:
        tap.snapshot()
        inside(handle.close)
        offer(tap, "raw", [b"one"])
        assert list(session) == [b"one"]
        assert session.ended_by == "closed"
    assert not handle.open
    assert (other.open, other.captured, tap.faults) == (True, 1, 0)


def test_a_tap_that_is_closed_from_inside_an_offer_closes_after_it(tap, name, inside) -> None:
    with tapring.capture(name, stage="raw") as session:
        tap.snapshot()
        inside(tap.close)
        offer(tap, "raw", [b"one"])
        assert list(session) == [b"one"]
        assert session.ended_by == "engine-exit"
    assert tap.lane is None
    assert tap.snapshot() is None


def test_a_session_that_is_registered_from_inside_an_offer_is_refused(tap, inside) -> None:
    handle = tap.register("raw")
    made: list[tapring.Handle | None] = []
    inside(lambda: made.append(tap.register("decoded")))
    offer(tap, "raw", [b"one"])
    assert (made, handle.captured, tap.active_sessions) == ([None], 1, 1)
    assert len([tap.register("raw") for _ in range(7)]) == 7


def test_an_exception_while_it_is_published_reaches_who_is_inside_and_costs_nothing_else(
    tap, monkeypatch
) -> None:
    handle = tap.register("raw")
    tap.snapshot()
    entrance, publish = tap._gate, Writer.publish

    def interrupted(self: Writer, *args: Any) -> None:
        raise KeyboardInterrupt

    token = entrance.take()
    offer(tap, "raw", [b"one", b"two"])
    token.home.append(token)
    token = None
    monkeypatch.setattr(Writer, "publish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        entrance.settle()
    monkeypatch.setattr(Writer, "publish", publish)
    offer(tap, "raw", [b"three"])
    assert (handle.captured, handle.dropped, tap.faults) == (1, 2, 0)


@pytest.mark.parametrize("sample", [1, 3])
def test_threads_and_a_handler_that_offer_at_once_lose_nothing(tap, name, sample) -> None:
    offered = {"handler": 0}

    def handler(*_: object) -> None:
        offered["handler"] += 1
        offer(tap, "raw", [b"handler"])

    def work() -> None:
        for _ in range(300):
            offer(tap, "raw", [b"thread"] * 5)

    handle = tap.register("raw", sample=sample, buffer_bytes=8 << 20)
    before = signal.signal(signal.SIGALRM, handler)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=work) for _ in range(3)]
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0007, 0.0007)
        for thread in threads:
            thread.start()
        for _ in range(300):
            offer(tap, "raw", [b"main"] * 5)
        for thread in threads:
            thread.join()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        sys.setswitchinterval(interval)
    expected = offered["handler"] + 5 * 1200
    assert offered["handler"]
    with tapring.attach_session(name, handle.id) as session:
        handle.close()
        assert len(list(session)) == handle.captured
        assert closes(session.stats)
    assert handle.offered + handle.sampled_out == expected
    assert (handle.dropped, tap.faults, tap.misuse) == (0, 0, 0)
