"""What dead lanes have recorded stays as long as the limits allow, and what lives always stays."""

from __future__ import annotations

import os
from time import time_ns

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.shm.evidence import (
    DeadLane,
    dead_lanes,
    limit_evidence,
    make_room,
    recordings_of,
    remove_evidence,
    remove_unfinished,
)
from tapring.shm.names import recording_name, segment_name
from tapring.shm.recording import Kept
from tapring.shm.segment import Segment, unlink
from tapring.shm.sweep import sweep
from tapring.wire import layout
from tests.conftest import SHM, unique_name
from tests.helpers import put_word
from tests.shm.recorded_lane import SIZE, TRIGGERS, Recorded

pytestmark = pytest.mark.usefixtures("recordings")
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")
STRANGER = 12345
UNLIMITED = Kept(1 << 30, 1 << 60)
HOUR = 3600 * 10**9
# What one recording takes: two pages, the slots, and a description.
BYTES = layout.SLOTS + SIZE + layout.PAGE


def lane_of(number: int) -> str:
    return f"{number:08x}"


def left_by(name: str, number: int, age_h: float, *stages: int, size: int = SIZE) -> list[str]:
    """Let a lane record some stages and die so many hours ago; return its recordings."""
    made = []
    for stage in stages or (0,):
        one = Recorded(name, lane_of(number), stage, size=size)
        one.die()
        put_word(one.name, layout.ACTIVE_NS, time_ns() - round(age_h * HOUR))
        made.append(one.name)
    return made


def lanes_left(name: str) -> list[str]:
    return sorted({each.split(".")[2] for each in recordings_of(name)})


# ---- what there is -----------------------------------------------------------------------------


def test_the_recordings_of_an_engine_are_found_by_their_names(name) -> None:
    (raw,) = left_by(name, 1, 0)
    decoded, triggers = left_by(name, 2, 0, 1, TRIGGERS)
    (other,) = left_by(f"{name}-x", 3, 0)
    looks_like = [
        segment_name(name, lane_of(4)),
        f"{segment_name(name, lane_of(4))}.7",
        f"{segment_name(name, lane_of(4))}.~",
        f"{segment_name(name, lane_of(4))}.~RAW",
        f"sem.{segment_name(name, lane_of(4))}.~raw",
    ]
    for each in looks_like:
        (SHM / each).touch()
    try:
        assert recordings_of(name) == [raw, *sorted([decoded, triggers])]
        assert recordings_of(name, lane_of(2)) == sorted([decoded, triggers])
        assert recordings_of(f"{name}*") == sorted([raw, decoded, triggers, other])
        assert set(recordings_of()) >= {raw, decoded, triggers, other}
        assert recordings_of(name, lane_of(4)) == []
    finally:
        for each in looks_like:
            unlink(each)


def test_each_dead_lane_is_described_the_newest_first(name) -> None:
    left_by(name, 1, 3)
    left_by(name, 2, 1, 0, 1, TRIGGERS)
    newest = Recorded(name, lane_of(3))
    newest.end()
    found = dead_lanes(name)
    assert [each.lane for each in found] == [lane_of(3), lane_of(2), lane_of(1)]
    assert found[0].address == f"{name}.{lane_of(3)}"
    assert [each.closed for each in found] == [True, False, False]
    assert [each.bytes for each in found] == [BYTES, 3 * BYTES, BYTES]
    assert [sorted(each.stages) for each in found] == [["raw"], ["decoded", "raw"], ["raw"]]
    assert [round(each.age_s / 3600) for each in found] == [0, 1, 3]
    assert {each.pid for each in found} == {os.getpid()}


def test_a_lane_that_lives_is_not_dead_and_one_that_cannot_be_read_is_apart(name) -> None:
    living = Recorded(name, lane_of(1))
    (damaged,) = left_by(name, 2, 1)
    put_word(damaged, layout.RING_SLOTS, 1 << 50)
    left_by(name, 3, 1)
    found = dead_lanes(name)
    assert [each.lane for each in found] == [lane_of(3)]
    assert found.bytes == BYTES
    assert [(each.lane, each.reason) for each in found.refused] == [(lane_of(2), "damaged")]
    assert [each.lane for each in dead_lanes(name, lane_of(3))] == [lane_of(3)]
    assert not dead_lanes(name, lane_of(9))
    assert len(remove_evidence(found.refused)) == 1
    living.die()


def test_what_cannot_be_read_of_a_lane_that_may_live_is_not_called_dead(name) -> None:
    (damaged,) = left_by(name, 1, 1)
    put_word(damaged, layout.RING_SLOTS, 1 << 50)
    with Segment.create(segment_name(name, lane_of(1)), layout.PAGE) as registry:
        assert registry.try_lock(layout.LOCK_ENGINE)
        assert not dead_lanes(name).refused
    assert len(dead_lanes(name).refused) == 1
    unlink(segment_name(name, lane_of(1)))


def test_stages_stand_in_the_order_of_the_engines(name) -> None:
    left_by(name, 1, 1, TRIGGERS, 1, 0)
    assert dead_lanes(name)[0].stages == ("raw", "decoded")


def test_a_lane_that_was_active_in_the_future_is_new(name) -> None:
    """The wall clock was set back since."""
    left_by(name, 1, 0.5)
    left_by(name, 2, -2)
    assert [(each.lane, each.age_s > 0) for each in dead_lanes(name)] == [
        (lane_of(2), False),
        (lane_of(1), True),
    ]


# ---- limits ------------------------------------------------------------------------------------


def expected(ages: list[int], sizes: list[int], kept: Kept) -> set[str]:
    """Which lanes the limits leave, and the newest in any case."""
    newest_first = sorted(range(len(ages)), key=lambda i: ages[i])
    stay, size = set(), 0
    for place, i in enumerate(newest_first):
        size += sizes[i]
        if place == 0 or (place < kept.lanes and size <= kept.bytes):
            stay.add(lane_of(i))
    return stay


@given(
    lanes=st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=6),
    kept=st.builds(Kept, st.integers(0, 7), st.integers(0, 20).map(lambda n: n * BYTES)),
    order=st.randoms(use_true_random=False),
)
def test_what_is_over_the_limits_goes_and_the_newest_always_stays(lanes, kept, order) -> None:
    name = unique_name()
    ages = list(range(1, len(lanes) + 1))
    order.shuffle(ages)
    living = [Recorded(name, lane_of(90 + i)) for i, (_, lives) in enumerate(lanes) if lives]
    for i, (stages, _) in enumerate(lanes):
        left_by(name, i, ages[i], *range(stages))
    limit_evidence(name, kept)
    stay = expected(ages, [stages * BYTES for stages, _ in lanes], kept)
    assert set(lanes_left(name)) == stay | {each.name.split(".")[2] for each in living}
    for each in living:
        each.die()
    make_room(name)
    assert len(lanes_left(name)) <= 1
    remove_evidence(dead_lanes(name))


def test_of_a_lane_the_recordings_stay_or_go_together(name) -> None:
    left_by(name, 1, 2, 0, 1, TRIGGERS)
    left_by(name, 2, 1)
    limit_evidence(name, Kept(4, 3 * BYTES))
    assert lanes_left(name) == [lane_of(2)]


def test_a_lane_that_lives_is_neither_removed_nor_counted(name) -> None:
    living = [Recorded(name, lane_of(10 + i)) for i in range(3)]
    left_by(name, 1, 2)
    left_by(name, 2, 1)
    limit_evidence(name, Kept(2, 2 * BYTES))
    assert len(lanes_left(name)) == 5
    for each in living:
        each.die()


def test_other_engines_are_left_alone(name) -> None:
    for engine in (f"{name}-x", f"x-{name}"):
        left_by(engine, 1, 9)
    left_by(name, 1, 1)
    try:
        limit_evidence(name, Kept(0, 0))
        assert all(lanes_left(engine) for engine in (name, f"{name}-x", f"x-{name}"))
    finally:
        remove_evidence(dead_lanes(f"x-{name}"))


@only_root
def test_what_another_user_has_left_is_neither_removed_nor_counted(name) -> None:
    """Else a user could have the evidence of others removed, by leaving some of the same name."""
    left_by(name, 1, 5)
    left_by(name, 2, 4)
    for number in (3, 4, 5, 6):
        for each in left_by(name, number, -1, size=1 << 20):
            os.chown(SHM / each, STRANGER, -1)
    limit_evidence(name, Kept(2, 2 * BYTES))
    assert lanes_left(name) == [lane_of(i) for i in range(1, 7)]
    limit_evidence(name, Kept(1, BYTES))
    assert lanes_left(name) == [lane_of(i) for i in range(2, 7)]
    assert len(dead_lanes(name)) == 5, "an operator sees all that may be read"


# ---- what was never finished -------------------------------------------------------------------


def unfinished(name: str, number: int) -> Segment:
    """A recording that its engine is making."""
    return Segment.create(recording_name(name, lane_of(number), "raw"), BYTES)


def test_one_that_its_engine_did_not_finish_is_removed(name) -> None:
    unfinished(name, 1).close()
    left_by(name, 2, 1)
    (would,) = remove_unfinished(name, dry_run=True)
    assert (would.name, would.bytes) == (recording_name(name, lane_of(1), "raw"), BYTES)
    assert would.reason == "its engine has died before it was finished"
    assert len(lanes_left(name)) == 2
    limit_evidence(name, UNLIMITED)
    assert lanes_left(name) == [lane_of(2)]
    assert remove_unfinished(name) == []


def test_one_that_is_being_made_stays_because_it_is_locked(name) -> None:
    with unfinished(name, 1) as making:
        assert making.try_lock(layout.LOCK_RECORDING)
        assert remove_unfinished(name) == remove_unfinished(name, dry_run=True) == []
        assert lanes_left(name) == [lane_of(1)]


def test_one_that_is_not_locked_yet_stays_because_its_lane_lives(name) -> None:
    """Reserving its memory takes milliseconds, in which all workers of a server may start."""
    with unfinished(name, 1):
        with Segment.create(segment_name(name, lane_of(1)), layout.PAGE) as registry:
            assert registry.try_lock(layout.LOCK_ENGINE)
            assert remove_unfinished(name) == remove_unfinished(name, dry_run=True) == []
            assert lanes_left(name) == [lane_of(1)]
        assert len(remove_unfinished(name)) == 1, "its engine has died"
    unlink(segment_name(name, lane_of(1)))


@only_root
def test_one_of_another_users_is_left_to_that_user_unless_an_operator_wants_all_gone(name) -> None:
    unfinished(name, 1).close()
    os.chown(SHM / recording_name(name, lane_of(1), "raw"), STRANGER, -1)
    assert remove_unfinished(name) == []
    assert len(remove_unfinished(name, own=False)) == 1


def test_what_is_damaged_is_not_taken_for_unfinished(name) -> None:
    (damaged,) = left_by(name, 1, 1)
    put_word(damaged, layout.FORMAT, layout.format_word(layout.MAJOR + 1, 0))
    assert remove_unfinished(name) == []
    assert recordings_of(name) == [damaged]


# ---- who may remove it -------------------------------------------------------------------------


def test_an_operator_removes_what_is_chosen_and_learns_what_is_gone(name) -> None:
    left_by(name, 1, 1, 0, 1)
    left_by(name, 2, 2)
    newest, oldest = dead_lanes(name)
    unlink(recording_name(name, oldest.lane, "raw"))
    would = remove_evidence([newest, oldest], dry_run=True)
    assert recordings_of(name) == sorted(each.name for each in would)
    gone = remove_evidence([newest, oldest])
    assert gone == would
    assert [each.name.split(".")[2] for each in gone] == [newest.lane] * 2
    assert recordings_of(name) == []


def test_a_lane_that_lives_is_not_removed_whatever_is_chosen(name) -> None:
    living = Recorded(name, lane_of(1))
    chosen = DeadLane(name, lane_of(1), 1, ("raw",), 1, 0.0, closed=False)
    assert remove_evidence([chosen]) == []
    assert lanes_left(name) == [lane_of(1)]
    living.die()


def test_a_sweep_leaves_it(name) -> None:
    left_by(name, 1, 100, 0, 1, TRIGGERS)
    with Segment.create(segment_name(name, lane_of(1)), layout.PAGE):
        pass
    sweep(name)
    assert len(recordings_of(name)) == 3
