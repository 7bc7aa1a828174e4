"""The sessions that an engine writes to follow the session table: in parts, at once, or later.

The roster is told the time and one call stands for one batch. The other side is a registry that
is attached as a consumer's is: its locks exclude those of the engine.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import msgspec
import pytest

import tapring
from tapring.consumer.asked import Asked, Requests
from tapring.engine.roster import AGAIN, CHANGED, Roster
from tapring.engine.session import Live
from tapring.shm.registry import Registry
from tapring.shm.row import Row
from tapring.shm.table import Table
from tapring.wire import layout
from tapring.wire.layout import Ended, Owner, Verdict

LARGE = 1 << 20  # a ring of this size is unmapped in parts
WHOLE_BYTES = 128 << 10  # one of this size at once, which takes 40 us
LINES = [b"one", b"two"]
PAUSE = 64  # batches between two tries of the table's lock


class Lane:
    """A lane of this process, and the other end of its table."""

    def __init__(self, tap: tapring.Tap, consumer: Registry) -> None:
        self.tap = tap
        self.consumer = consumer
        self.now = 10**15

    @property
    def roster(self) -> Roster:
        return self.tap._lane.roster

    def open(self, *, owner: Owner = Owner.NOBODY, slots: int = 16, stage: int = 0) -> Row:
        """A consumer opens a session at the time of the next batch."""
        made = self.consumer.register(
            stage=stage, slots=slots, slot_bytes=256, duration_ns=0, owner=owner
        )
        row = msgspec.structs.replace(made, opened_ns=self.now)
        self.consumer.table.write(row)
        return row

    def end(self, row: Row) -> None:
        assert self.consumer.table.free(row, 1.0)

    def follow(self) -> int:
        """What one batch does; the snapshots of a batch that finds a change are made anew."""
        seen = self.roster.follow(self.now)
        if seen == CHANGED:
            self.tap._lane.restart()
        return seen

    def settle(self) -> list[int]:
        """Follow until nothing is left to do; return what each batch found."""
        found = []
        while not found or found[-1] < 0:
            found.append(self.follow())
            assert len(found) < 1_000
        return found

    def live(self, row: Row) -> Live:
        return self.roster.live[row.id]


@pytest.fixture
def lane(name) -> Iterator[Lane]:
    with tapring.Tap(name, max_sessions=4, buffer_bytes=LARGE, max_buffer_bytes=2 * LARGE) as tap:
        with Registry.attach(name, tap.lane) as consumer:
            yield Lane(tap, consumer)


# ---- sessions that open ----------------------------------------------------------------------


def test_a_table_that_has_not_changed_leaves_nothing_to_do(lane) -> None:
    assert lane.settle() == [lane.consumer.table.generation]


def test_a_new_session_is_taken_in_a_step_a_batch(lane) -> None:
    """Its ring is opened, then mapped; then snapshots are made; then the batches go on."""
    row = lane.open()
    assert lane.follow() == AGAIN
    assert lane.consumer.verdict_on(row.index, row.id) == Verdict.NONE
    assert lane.follow() == AGAIN
    assert lane.consumer.verdict_on(row.index, row.id) == Verdict.ACCEPTED
    assert lane.settle() == [CHANGED, lane.consumer.table.generation]


@pytest.mark.parametrize(
    ("later_ns", "in_parts"),
    [
        (-1, False),  # of another boot, or forged
        (0, True),
        (layout.TAKE_UP_NS - 1, True),
        (layout.TAKE_UP_NS, False),
    ],
)
def test_it_is_taken_in_at_once_unless_it_has_just_opened(lane, later_ns, in_parts) -> None:
    lane.open()
    lane.now += later_ns
    generation = lane.consumer.table.generation
    steps = [AGAIN] * 2 if in_parts else []
    assert lane.settle() == [*steps, CHANGED, generation]


def test_two_that_have_just_opened_are_taken_in_one_after_the_other(lane) -> None:
    lane.open()
    second = lane.open()
    assert [lane.follow() for _ in range(2)] == [AGAIN] * 2
    assert second.id not in lane.roster.live
    assert lane.settle() == [AGAIN, AGAIN, CHANGED, lane.consumer.table.generation]


def test_all_are_taken_in_at_once_if_one_has_waited_long_enough(lane) -> None:
    first = lane.open()
    second = lane.open()
    lane.now = first.opened_ns + layout.TAKE_UP_NS
    assert lane.follow() == CHANGED
    assert lane.roster.live.keys() == {first.id, second.id}


def test_one_that_ends_while_another_opens_is_let_go_first(lane) -> None:
    old = lane.open()
    lane.settle()
    new = lane.open()
    lane.end(old)
    assert lane.follow() == CHANGED
    assert not lane.roster.live
    lane.settle()
    assert lane.roster.live.keys() == {new.id}


def test_both_are_seen_at_once_if_there_is_no_time_for_steps(lane) -> None:
    old = lane.open()
    lane.settle()
    new = lane.open()
    lane.end(old)
    lane.now = new.opened_ns + layout.TAKE_UP_NS
    assert lane.follow() == CHANGED
    assert lane.roster.live.keys() == {new.id}


def test_one_that_ends_between_its_steps_keeps_no_descriptor(lane) -> None:
    before = len(os.listdir("/proc/self/fd"))
    row = lane.open()
    lane.follow()
    lane.end(row)
    assert lane.settle() == [lane.consumer.table.generation]
    assert len(os.listdir("/proc/self/fd")) == before


def test_one_that_was_opened_in_part_does_not_become_another(lane) -> None:
    first = lane.open()
    lane.follow()
    second = lane.open()
    lane.roster.take_in(second)
    assert lane.live(second).segment.name.endswith(f".{second.id}")
    lane.settle()
    assert lane.live(first).segment.name.endswith(f".{first.id}")


@pytest.mark.parametrize("more", [0, 1])
def test_a_ring_may_be_as_large_as_the_engine_says_and_no_larger(lane, more) -> None:
    row = lane.open(slots=(lane.tap.max_buffer_bytes >> 8) + more)
    lane.settle()
    verdict = Verdict.TOO_LARGE if more else Verdict.ACCEPTED
    assert lane.consumer.verdict_on(row.index, row.id) == verdict
    assert lane.consumer.table.is_open(row) is not bool(more)
    assert (row.id in lane.roster.live) is not bool(more)
    assert lane.tap.faults == 0


@pytest.mark.parametrize("in_parts", [True, False])
def test_a_refused_session_is_asked_for_once_though_its_row_cannot_be_freed_yet(
    lane, in_parts
) -> None:
    row = lane.open(stage=99)
    steps = [AGAIN] * 2 if in_parts else []
    lane.now += 0 if in_parts else layout.TAKE_UP_NS
    with lane.consumer.table.held(1.0), pytest.warns(tapring.TapWarning, match="is refused"):
        found = [lane.follow() for _ in range(3 * PAUSE)]
    assert found == [*steps, CHANGED, *[AGAIN] * (3 * PAUSE - len(steps) - 1)]
    assert lane.tap.faults == 1
    assert lane.roster.has_rows_to_free
    lane.settle()
    assert not lane.roster.has_rows_to_free
    assert not lane.consumer.table.is_open(row)


def test_one_that_ended_before_its_ring_was_opened_is_no_fault(lane) -> None:
    row = lane.open()
    lane.end(row)
    assert isinstance(lane.roster.take_in(row), FileNotFoundError)
    assert lane.tap.faults == 0
    assert not lane.roster.has_rows_to_free


def test_a_handlers_timeout_while_a_ring_is_mapped_reaches_the_engine_and_refuses_nobody(
    lane, monkeypatch
) -> None:
    row = lane.open()
    with monkeypatch.context() as patch:
        patch.setattr("tapring.engine.mapping.map_ring", Mock(side_effect=TimeoutError))
        assert lane.follow() == AGAIN
        with pytest.raises(TimeoutError):
            lane.follow()
    lane.settle()
    assert lane.live(row).open
    assert lane.tap.faults == 0


def test_sessions_that_are_there_hurry_no_new_one(lane) -> None:
    lane.open()
    lane.now += layout.TAKE_UP_NS
    lane.settle()
    lane.open()
    assert lane.settle() == [AGAIN, AGAIN, CHANGED, lane.consumer.table.generation]


def test_taking_in_what_is_there_changes_nothing(lane) -> None:
    row = lane.open()
    lane.settle()
    live = lane.live(row)
    assert lane.roster.take_in(row) is None
    assert lane.live(row) is live
    assert not lane.roster.outdated


def test_an_id_that_is_given_again_is_another_session(lane) -> None:
    """A broken consumer has set the table's next id back."""
    first = lane.open()
    lane.settle()
    live = lane.live(first)
    again = msgspec.structs.replace(first, epoch=first.epoch + 1)
    with pytest.warns(tapring.TapWarning, match="epoch"):
        assert isinstance(lane.roster.take_in(again), tapring.RingCorrupt)
    assert (live.open, live.reason) == (False, Ended.CLOSED)
    assert first.id not in lane.roster.live


# ---- the table is being changed, or held -----------------------------------------------------


def make_odd(lane: Lane) -> None:
    table = lane.consumer.table
    table._set(layout.GENERATION, table.generation + 1)


def test_what_a_dead_consumer_left_half_changed_is_repaired(lane) -> None:
    make_odd(lane)
    before = lane.consumer.table.generation
    assert lane.follow() == AGAIN
    assert lane.consumer.table.generation > before
    assert lane.settle()[-1] == lane.consumer.table.generation


def test_the_lock_of_a_table_that_is_being_changed_is_tried_every_64_batches(lane) -> None:
    with lane.consumer.table.held(1.0):
        make_odd(lane)
        assert lane.follow() == AGAIN
    odd = lane.consumer.table.generation
    tries = 0
    while lane.consumer.table.generation == odd:
        assert lane.follow() == AGAIN
        tries += 1
    assert tries == PAUSE + 1


def test_a_change_that_comes_meanwhile_is_seen_by_the_next_batch(lane) -> None:
    with lane.consumer.table.held(1.0):
        make_odd(lane)
        assert lane.follow() == AGAIN
        lane.consumer.table._set(layout.GENERATION, lane.consumer.table.generation + 1)
    row = lane.open()
    lane.now += layout.TAKE_UP_NS
    assert lane.follow() == CHANGED
    assert row.id in lane.roster.live


def test_a_table_that_changes_while_it_is_read_is_read_again(lane, monkeypatch) -> None:
    row = lane.open()
    lane.now += layout.TAKE_UP_NS
    rows = Table.rows

    def changing(table: Table) -> list[Row]:
        found = rows(table)
        lane.consumer.table._set(layout.GENERATION, lane.consumer.table.generation + 2)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Table, "rows", changing)
        assert lane.follow() == AGAIN
        assert not lane.roster.live
    assert lane.follow() == CHANGED
    assert row.id in lane.roster.live


def test_a_doorbell_that_may_be_half_written_stays_as_it_was(lane) -> None:
    with tapring.capture(lane.tap.name, stage="raw", wake="doorbell"):
        lane.now = time.monotonic_ns() + layout.TAKE_UP_NS
        assert lane.settle() == [CHANGED, lane.consumer.table.generation]  # no time for steps
        (live,) = lane.roster.live.values()
        bell = live.bell
        assert bell
        with lane.consumer.table.held(1.0):
            make_odd(lane)
            first = layout.row(live.row.index)
            epoch = lane.consumer.table._get(first + layout.ROW_BELL_EPOCH)
            lane.consumer.table._set(first + layout.ROW_BELL_EPOCH, epoch ^ 1)
            assert lane.follow() == AGAIN
            assert live.bell is bell
            lane.consumer.table._set(first + layout.ROW_BELL_EPOCH, epoch)
            lane.consumer.table._set(layout.GENERATION, lane.consumer.table.generation + 1)


def test_a_doorbell_of_a_session_that_has_just_opened_is_a_step_of_its_own(lane) -> None:
    with tapring.capture(lane.tap.name, stage="raw", wake="doorbell"):
        (row,) = lane.consumer.table.rows()
        lane.now = row.opened_ns
        assert lane.settle() == [*[AGAIN] * 3, CHANGED, lane.consumer.table.generation]
        assert lane.live(row).bell


def test_the_session_of_a_consumer_that_died_is_ended(lane, name) -> None:
    with Registry.attach(name, lane.tap.lane) as dying:
        row = dying.register(stage=0, slots=16, slot_bytes=256, duration_ns=0, owner=Owner.CONSUMER)
        lane.now = row.opened_ns
        lane.settle()
        live = lane.live(row)
    assert lane.follow() < lane.consumer.table.generation  # it found that one, and freed the row
    assert lane.follow() == CHANGED
    assert (live.open, live.reason) == (False, Ended.CLOSED)


# ---- sessions that end -----------------------------------------------------------------------


def handle_of(lane: Lane, size: int) -> tuple[tapring.Handle, Live]:
    handle = lane.tap.register("raw", buffer_bytes=size)
    return handle, lane.roster.live[handle.id]


@pytest.mark.parametrize("more", [0, 256])
def test_a_ring_of_at_most_so_many_bytes_is_unmapped_at_once(lane, more) -> None:
    handle, live = handle_of(lane, WHOLE_BYTES - layout.SLOTS + more)
    assert live.segment.size == WHOLE_BYTES + more
    handle.close()
    assert live.segment.is_mapped is bool(more)
    assert len(lane.roster.leaving) == bool(more)


def test_rings_that_leave_do_so_once_each_and_in_turn(lane) -> None:
    lives = [handle_of(lane, LARGE)[1] for _ in range(2)]
    for _ in range(2):
        for live in lives:
            lane.roster.end(live, Ended.CLOSED)
    assert [each.segment for each in lane.roster.leaving] == [live.segment for live in lives]
    parts = []
    while lane.roster.leaving:
        parts.append(lane.roster.unmap_some())
    assert sum(parts) == 2
    assert len(parts) >= 2 * LARGE // (64 << 10)
    assert not lane.roster.unmap_some()
    for live in lives:
        lane.roster.end(live, Ended.CLOSED)
    assert not lane.roster.leaving


def test_no_more_rings_leave_at_a_time_than_there_may_be_sessions(lane) -> None:
    lives = []
    for _ in range(5):
        handle, live = handle_of(lane, LARGE)
        lives.append(live)
        handle.close()
    assert [live.segment.is_mapped for live in lives] == [False, True, True, True, True]


def test_a_session_of_another_lane_does_not_end_that_of_the_same_id(lane, name) -> None:
    """After a fork, ids begin anew; a Handle of the parent may be closed in the child."""
    mine, live = handle_of(lane, 1 << 12)
    with tapring.Tap(name) as other:
        theirs = other._lane.roster.live[other.register("raw").id]
        assert theirs.row.id == mine.id
        lane.roster.dismiss(theirs, Ended.CLOSED)
    assert lane.roster.live == {mine.id: live}
    assert not lane.roster.has_rows_to_free
    assert mine.open


def test_a_row_whose_session_never_began_is_freed(lane) -> None:
    row = lane.open()
    lane.roster.leave(row)
    assert not lane.consumer.table.is_open(row)
    assert not lane.roster.has_rows_to_free


def test_rows_that_cannot_be_freed_yet_are_tried_again_every_64_batches(lane) -> None:
    handle, live = handle_of(lane, 1 << 12)
    with lane.consumer.table.held(1.0):
        lane.roster.dismiss(live, Ended.CLOSED)
        assert not lane.roster.free_rows()
        assert [lane.follow(), lane.follow()] == [CHANGED, AGAIN]
    tries = 0
    while lane.roster.has_rows_to_free:
        lane.follow()
        tries += 1
    assert tries == PAUSE + 1
    assert lane.roster.free_rows()
    assert not handle.open


def test_a_row_that_the_kernel_has_no_lock_for_costs_a_warning(lane, monkeypatch) -> None:
    handle, _ = handle_of(lane, 1 << 12)
    with monkeypatch.context() as patch:
        patch.setattr(Table, "free", Mock(side_effect=OSError(37, "No locks available")))
        with pytest.warns(tapring.TapWarning, match="could not be freed.*No locks"):
            handle.close()
    assert lane.roster.has_rows_to_free
    lane.settle()
    assert not lane.roster.has_rows_to_free


def test_a_handlers_timeout_while_a_row_is_freed_reaches_the_engine(lane, monkeypatch) -> None:
    handle, _ = handle_of(lane, 1 << 12)
    with monkeypatch.context() as patch:
        patch.setattr(Table, "free", Mock(side_effect=TimeoutError))
        with pytest.raises(TimeoutError):
            handle.close()
    lane.settle()
    assert not lane.roster.has_rows_to_free


def test_a_lane_that_closes_unmaps_what_lives_and_what_leaves(lane) -> None:
    _, live = handle_of(lane, LARGE)
    leaving, ended = handle_of(lane, LARGE)
    leaving.close()
    roster, arriving = lane.roster, lane.open()
    lane.follow()
    assert arriving.id in open_rings(lane)
    lane.tap.close()
    assert not open_rings(lane)
    assert not roster.live[live.row.id].open
    assert live.reason == Ended.ENGINE_EXIT
    assert not live.open
    assert not live.segment.is_mapped
    assert not ended.segment.is_mapped


def test_a_child_lets_go_of_rings_that_live_leave_or_arrive_and_harms_none(lane) -> None:
    _, live = handle_of(lane, LARGE)
    leaving, ended = handle_of(lane, LARGE)
    leaving.close()
    lane.open()
    lane.follow()
    roster = lane.roster
    pid = os.fork()
    if pid == 0:
        kept = [live.segment.is_mapped, ended.segment.is_mapped, live.open, *open_rings(lane)]
        os._exit(0 if kept == [False] * 3 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert live.open
    lane.settle()
    assert len(roster.live) == 2


def open_rings(lane: Lane) -> list[int]:
    """The ids of the sessions whose ring's descriptor is open: those that arrive."""
    links = [str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
    ring = f"{lane.consumer.segment.name}."
    return [int(link.rpartition(".")[2].split()[0]) for link in links if ring in link]


@pytest.mark.parametrize("changes", ["half", "just then"])
def test_a_lanes_first_batch_is_for_the_sessions_that_it_has_opened_whoever_changes_the_table(
    name, monkeypatch, changes
) -> None:
    """A consumer may open another one, or hang a doorbell, just as the first batch comes."""
    requests = Requests(Asked("raw").request(name))
    requests.publish()
    try:
        with tapring.Tap(name) as tap:
            with monkeypatch.context() as patch:
                patch.setattr(Table, "stable_rows", lambda _: None)
                if changes == "just then":
                    patch.setattr(Table, "half_changed_rows", lambda _: None)
                tap.snapshot().offer("raw", LINES)
            tap.snapshot().offer("raw", LINES)
            (session,) = tapring.engines(name)[0].sessions
            assert session.offered == 4
            requests.withdraw()
    finally:
        requests.withdraw()


def test_a_session_that_ended_before_the_first_batch_is_not_taken_in(name, monkeypatch) -> None:
    requests = Requests(Asked("raw").request(name))
    requests.publish()
    with tapring.Tap(name) as tap, Registry.attach(name, tap.lane) as consumer:
        (row,) = consumer.table.rows()
        assert consumer.table.free(row, 1.0)
        requests.withdraw()
        with monkeypatch.context() as patch:
            patch.setattr(Table, "stable_rows", lambda _: None)
            patch.setattr(Table, "half_changed_rows", lambda _: None)
            assert tap.snapshot() is None
        assert tap.snapshot() is None
        assert tap.active_sessions == 0


def test_a_batch_that_meets_a_change_of_the_table_reads_it_again(lane, monkeypatch) -> None:
    """If batches come seldom, a session that is open for long is taken in by this very one."""
    row = lane.open()
    lane.now += layout.TAKE_UP_NS
    reads = [Table.stable_rows, *[lambda _: None] * 3]
    monkeypatch.setattr(Table, "stable_rows", lambda table: reads.pop()(table))
    monkeypatch.setattr(Table, "half_changed_rows", lambda _: None)
    lane.follow()
    assert row.id in lane.roster.live


def test_a_table_that_never_stops_changing_is_left_for_the_next_batch(lane, monkeypatch) -> None:
    reads = []
    monkeypatch.setattr(Table, "stable_rows", lambda _: reads.append(1))
    monkeypatch.setattr(Table, "half_changed_rows", lambda _: None)
    assert lane.follow() == AGAIN
    assert 1 < len(reads) <= 8
