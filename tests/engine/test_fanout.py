"""One batch for several sessions: each gets it, or counts it, whatever happens to another."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, repeat
from types import SimpleNamespace
from typing import Any
from unittest.mock import DEFAULT, Mock

import pytest

import tapring
from tapring.engine.fanout import (
    NO_ROOM,
    Attended,
    Tally,
    Turn,
    Watched,
    instead_of,
    is_outdated,
    watch,
)
from tapring.events.batches import NotABatch
from tapring.events.kinds import Array, Json
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


# ---- one batch, and an exception at any session's turn ---------------------------------------

BATCH = (b"1\n2\n3\n", 3, 2)  # three events, and two that could not be serialized


class Stage:
    """Three sessions of a stage that have captured, dropped and failed to serialize events."""

    def __init__(self, tap: tapring.Tap, **asked: int) -> None:
        self.handles = [tap.register("decoded", **asked) for _ in range(3)]
        self.watched = tap._lane.schedule.watched["decoded"]
        offer(tap, [1, object()], [2, 3])
        for handle in self.handles:
            handle._live.writer.drop(7)
            handle._live.writer.apart = 4, 1  # three events were larger than the ring
        self.before = {word: self.counts(word) for word in ("captured", "dropped", "offered")}
        self.batches = self.watched.tally.batches

    def counts(self, word: str) -> list[int]:
        return [getattr(handle, word) for handle in self.handles]

    def more(self, word: str) -> list[int]:
        """How many events more than at the beginning, by session."""
        pairs = zip(self.counts(word), self.before[word], strict=True)
        return [now - before for now, before in pairs]


@pytest.fixture
def three(tap) -> Stage:
    """Sessions with room for more."""
    return Stage(tap)


@pytest.fixture
def full(tap) -> Stage:
    """Sessions whose rings are full, and known to be."""
    stage = Stage(tap, buffer_bytes=128)
    offer(tap, [4])
    stage.before = {word: stage.counts(word) for word in stage.before}
    stage.batches = stage.watched.tally.batches
    return stage


def replace(monkeypatch, method: str, *outcomes: object) -> None:
    """Let a Writer's method raise in some of its calls.

    Not by a function of this file: what that raises is taken for a signal handler's.
    """
    mock = Mock(wraps=getattr(Writer, method), side_effect=outcomes)
    monkeypatch.setattr(Writer, method, property(lambda self: partial(mock, self)))


def words(handle: tapring.Handle, word: int) -> int:
    return handle._live.writer._words[word]


def test_a_full_stage_counts_a_batch_in_each_ring(full) -> None:
    assert full.watched.drop_if_full(5)
    assert full.more("dropped") == [5, 5, 5]
    assert full.watched.tally.batches == full.batches + 1
    assert full.watched.broken == []


def test_a_full_stage_counts_the_events_of_a_batch_and_serializes_none(full) -> None:
    assert full.watched.gather([object(), 2]) == (NO_ROOM, 2, 0)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_it_counts_nothing_if_a_ring_may_have_room_or_its_session_has_ended(
    tap, name, full, which
) -> None:
    with tapring.attach_session(name, full.handles[which].id) as session:
        session.read(1, timeout=0)
        assert not full.watched.drop_if_full(5)
    full.handles[which].close()
    assert not full.watched.drop_if_full(5)
    assert full.more("dropped") == [0, 0, 0]
    assert full.watched.tally.batches == full.batches


def test_a_ring_that_was_full_takes_the_next_batch_once_it_was_read(tap, name, full) -> None:
    with tapring.attach_session(name, full.handles[1].id) as session:
        session.read(10, timeout=0)
        offer(tap, [5])
        assert session.read(10, timeout=0) == [5]
    assert full.more("captured") == [0, 1, 0]
    assert full.more("dropped") == [1, 0, 1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, TimeoutError])
@pytest.mark.parametrize("counted", [False, True])
def test_an_exception_while_it_counts_reaches_the_engine_and_each_ring_counts_once(
    full, monkeypatch, error, counted
) -> None:
    drop, calls = Writer.drop, []

    def interrupted(writer: Writer, events: int) -> None:
        calls.append(writer)
        if len(calls) != 2:
            drop(writer, events)
            return
        if counted:
            drop(writer, events)
        raise error

    monkeypatch.setattr(Writer, "drop", interrupted)
    with pytest.raises(error):
        full.watched.drop_if_full(5)
    assert full.more("dropped") == [5, 5, 5]
    assert full.watched.broken == []


def test_an_exception_before_it_counts_offers_the_batch_to_none(full, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "dropped", property(Mock(side_effect=KeyboardInterrupt)))
        with pytest.raises(KeyboardInterrupt):
            full.watched.drop_if_full(5)
    assert full.more("offered") == [0, 0, 0]


def test_one_between_two_rings_is_made_up_for_in_those_that_come_after(full, monkeypatch) -> None:
    first, *others = [each._live.writer for each in full.handles]
    slot: Any = Writer.dropped

    def dropped(writer: Writer) -> int:
        if writer is others[0] and slot.__get__(first) == full.before["dropped"][0] + 5:
            monkeypatch.setattr(Writer, "dropped", slot)
            raise KeyboardInterrupt
        return slot.__get__(writer)

    monkeypatch.setattr(Writer, "dropped", property(dropped, slot.__set__))
    with pytest.raises(KeyboardInterrupt):
        full.watched.drop_if_full(5)
    assert full.more("dropped") == [5, 5, 5]


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_memory_that_runs_out_while_it_counts_is_no_sessions_fault(
    full, monkeypatch, error
) -> None:
    replace(monkeypatch, "drop", DEFAULT, error, DEFAULT, DEFAULT)
    assert full.watched.drop_if_full(5)
    assert full.more("dropped") == [5, 5, 5]
    assert full.watched.broken == []


def test_a_ring_that_cannot_count_is_found_broken(full, monkeypatch) -> None:
    odd = ValueError("odd")
    replace(monkeypatch, "drop", DEFAULT, odd, DEFAULT, DEFAULT)
    assert full.watched.drop_if_full(5)
    assert full.watched.broken == [(full.handles[1]._live.writer, odd)]
    assert full.more("dropped")[::2] == [5, 5]


def test_ctrl_c_before_a_frame_is_written_drops_it_there_and_in_those_that_come_after(
    three, monkeypatch
) -> None:
    replace(monkeypatch, "publish", DEFAULT, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        three.watched.commit(BATCH, 1)
    assert three.more("captured") == [3, 0, 0]
    assert three.more("dropped") == [0, 3, 5]
    assert three.more("offered") == [5, 5, 5]


def test_a_frame_that_is_written_when_ctrl_c_comes_is_published(three) -> None:
    """It comes before the word that publishes the frame."""
    writer = three.handles[1]._live.writer
    writer._barrier = Mock(side_effect=chain([KeyboardInterrupt], repeat(None)))
    with pytest.raises(KeyboardInterrupt):
        three.watched.commit(BATCH, 1)
    assert three.more("captured") == [3, 3, 0]
    assert three.more("offered") == [5, 5, 5]
    assert words(three.handles[1], layout.TAIL) == writer.at[0] > 0


@pytest.mark.parametrize("error", [RuntimeError, TimeoutError])
def test_a_handlers_exception_while_a_frame_is_written_reaches_the_engine(
    three, monkeypatch, error
) -> None:
    replace(monkeypatch, "publish", DEFAULT, error)
    with pytest.raises(error):
        three.watched.commit(BATCH, 1)
    assert three.more("offered") == [5, 5, 5]
    assert three.watched.broken == []


@pytest.mark.parametrize("at", [0, 1])
def test_an_exception_between_two_rings_offers_it_to_none_or_to_all(three, monkeypatch, at) -> None:
    writer = three.handles[at]._live.writer
    slot: Any = Writer.apart

    def apart(each: Writer) -> tuple[int, int]:
        if each is writer:
            monkeypatch.setattr(Writer, "apart", slot)
            raise KeyboardInterrupt
        return slot.__get__(each)

    monkeypatch.setattr(Writer, "apart", property(apart, slot.__set__))
    with pytest.raises(KeyboardInterrupt):
        three.watched.commit(BATCH, 1)
    assert three.more("offered") == [0 if at == 0 else 5] * 3


def test_a_ring_that_cannot_be_written_is_found_broken_and_the_next_one_goes_on(
    three, monkeypatch
) -> None:
    odd = ValueError("odd")
    replace(monkeypatch, "publish", DEFAULT, odd, DEFAULT)
    three.watched.commit(BATCH, 1)
    assert three.watched.broken == [(three.handles[1]._live.writer, odd)]
    assert three.more("captured")[::2] == [3, 3]


def test_a_batch_that_was_not_serialized_is_dropped_though_there_is_room_by_now(three) -> None:
    three.watched.commit((NO_ROOM, 2, 0), 1)
    assert three.more("dropped") == [2, 2, 2]
    assert three.watched.broken == []


def test_a_batch_of_events_that_cannot_be_serialized_at_all_publishes_no_frame(three) -> None:
    tails = [words(each, layout.TAIL) for each in three.handles]
    three.watched.commit((b"", 0, 2), 1)
    assert three.watched.tally.batches == three.batches + 1
    assert three.more("offered") == [2, 2, 2]
    assert [words(each, layout.ERRORS) for each in three.handles] == [3, 3, 3]
    assert [words(each, layout.TAIL) for each in three.handles] == tails


# ---- sessions that want only some of the batches ---------------------------------------------


def attended(tap, *samples: int) -> tuple[list[tapring.Handle], Attended, Turn]:
    handles = [tap.register("decoded", sample=sample) for sample in samples]
    lives = tuple(tap._lane.roster.live[each.id] for each in handles)
    turn = Turn()
    return handles, Attended(Json(), lives, Tally(), turn), turn


def test_a_batch_is_serialized_only_if_a_session_that_is_due_has_room(tap) -> None:
    (handle, other), stage, turn = attended(tap, 1, 2)
    handle._live.served = 0.5
    assert stage.gather([1])[0] == b"1\n"
    stage.commit(stage.gather([1]), 1)
    turn.now = 0.5  # not below the share of the first, and not the turn of the second
    payload, count, errors = stage.gather([2, 3])
    assert (count, errors) == (2, 0)
    assert not isinstance(payload, bytes)
    assert payload is not NO_ROOM
    stage.commit((payload, count, errors), 1)
    assert (handle.captured, handle.shed, handle.sampled_out) == (1, 2, 0)
    assert (other.captured, other.shed, other.sampled_out) == (1, 0, 2)
    assert stage.due == ()


@pytest.mark.parametrize(("sample", "left_out"), [(1, "shed"), (2, "sampled_out")])
def test_a_session_whose_turn_came_after_the_batch_was_gathered_gets_the_next_one(
    tap, sample, left_out
) -> None:
    """Another thread's batch came between."""
    (handle,), stage, turn = attended(tap, sample)
    live = handle._live
    live.served, turn.now = 0.5, 0.7
    if sample == 2:
        live.turn = 1
    gathered = stage.gather([1, 2])
    live.turn, turn.now = 0, 0.2
    stage.commit(gathered, 1)
    assert (handle.offered, getattr(handle, left_out)) == (0, 2)
    assert live.turn == 0
    stage.commit(stage.gather([3]), 1)
    assert (handle.captured, handle.shed + handle.sampled_out) == (1, 2)


def test_a_batch_that_is_left_out_counts_its_events_that_cannot_be_serialized_too(tap) -> None:
    (handle, _), stage, _ = attended(tap, 2, 1)
    for _ in range(2):
        stage.commit(BATCH, 1)
    assert (handle.offered, handle.sampled_out) == (5, 5)


def test_a_session_that_an_exception_has_half_closed_is_found_broken(tap) -> None:
    (handle, other), stage, turn = attended(tap, 1, 1)
    handle._live.served, turn.now = 0.5, 0.7
    handle._live.open = False
    handle._live.writer.close()
    stage.commit(stage.gather([1]), 1)
    assert [writer for writer, _ in stage.broken] == [handle._live.writer]
    assert other.captured == 1


def test_a_sampled_session_over_the_budget_gets_a_share_of_its_sample(tap) -> None:
    (handle,), stage, turn = attended(tap, 3)
    handle._live.served = 0.5
    for now in (0.7, 0.1, 0.1, 0.1, 0.7, 0.7):
        turn.now = now
        stage.commit(stage.gather([1]), 1)
    assert (handle.captured, handle.shed, handle.sampled_out) == (1, 1, 4)


def test_a_stage_where_none_that_is_due_has_room_counts_a_batch_as_dropped(tap) -> None:
    handle = tap.register("decoded", sample=2, buffer_bytes=128)
    offer(tap, *([n] for n in range(5)))
    watched = tap._lane.schedule.watched["decoded"]
    assert (handle.captured, handle.dropped, handle.sampled_out) == (2, 1, 2)
    watched.commit(watched.gather([5, 6]), 1)
    assert watched.gather([7, 8]) == (NO_ROOM, 2, 0)
    watched.commit((NO_ROOM, 2, 0), 1)
    assert (handle.captured, handle.dropped, handle.sampled_out) == (2, 3, 4)
    offer(tap, *([n] for n in range(6)))
    assert (handle.captured, handle.dropped, handle.sampled_out) == (2, 6, 7)


def test_a_stage_attends_only_to_sessions_that_ask_for_it(tap) -> None:
    kind, tally, turn = Json(), Tally(), Turn()
    assert watch(kind, (), tally, turn) is None
    live = tap.register("decoded")._live
    sampled = tap.register("decoded", sample=2)._live
    plain = watch(kind, (live,), tally, turn)
    assert type(plain) is Watched
    assert plain.tally is tally
    assert not is_outdated(plain)
    assert type(watch(kind, (live, sampled), tally, turn)) is Attended
    live.served = 0.9
    assert is_outdated(plain)
    cut = watch(kind, (live,), tally, turn)
    assert type(cut) is Attended
    assert not is_outdated(cut)
    live.served = 1.0
    assert is_outdated(cut)


# ---- a batch that cannot be read -------------------------------------------------------------


NUMBERS = Array("i4")


class Failing:
    """Like an array, but it raises one error after another when it is read, the last for ever."""

    def __init__(self, errors: tuple[Exception, ...]) -> None:
        self.errors = list(errors)

    @property
    def dtype(self) -> None:
        raise self.errors.pop(0) if len(self.errors) > 1 else self.errors[0]


def failing(*errors: Exception) -> tuple[Failing, Exception]:
    """Such a batch, and the error with which it was first read."""
    batch = Failing(errors)
    with pytest.raises(type(errors[0])) as raised:
        NUMBERS.pack(batch)
    return batch, raised.value


def test_a_batch_that_cannot_be_read_for_lack_of_memory_is_misuse_that_says_so() -> None:
    found = instead_of(NUMBERS, *failing(MemoryError()))
    assert isinstance(found, NotABatch)
    assert "there is no memory" in str(found)


def test_one_that_then_cannot_be_counted_for_another_reason_says_that() -> None:
    found = instead_of(NUMBERS, *failing(*[MemoryError()] * 4, ZeroDivisionError("gone")))
    assert isinstance(found, NotABatch)
    assert "gone" in str(found)


def test_one_that_can_be_counted_is_events_that_cannot_be_serialized() -> None:
    events = [1, 2, 3]
    kind = Json()
    kind._encoder = SimpleNamespace(encode_lines=Mock(side_effect=MemoryError))
    kind.report = Mock()
    assert instead_of(kind, events, MemoryError()) == (b"", 0, 3)


def test_a_memory_error_that_was_thrown_in_goes_on() -> None:
    assert instead_of(NUMBERS, *failing(MemoryError(), ZeroDivisionError("another"))) is None
