"""A lane: its registry, the sessions that it opens itself, and how they and the lane end."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest

import tapring
from tapring.engine import lane as module
from tapring.engine.complaints import Complaints
from tapring.engine.gate import Gate
from tapring.engine.lane import Lane, create_registry
from tapring.engine.recorder import Plan
from tapring.engine.roster import AGAIN, Roster
from tapring.engine.stages import describe, make_stages
from tapring.shm.info import LaneInfo
from tapring.shm.names import segment_name
from tapring.shm.registry import Registry
from tapring.shm.rings import create_ring
from tapring.shm.segment import Segment, names
from tapring.shm.sweep import lanes_of
from tapring.wire import layout
from tapring.wire.geometry import producer_words
from tapring.wire.layout import Ended, Owner

LINES = [b"one", b"two"]
STAGES = make_stages({})
EPOCH = 7
ASKED = {"slots": 16, "duration_ns": 0, "sample": 1}


def template(name: str) -> LaneInfo:
    return LaneInfo(
        engine=name,
        lane="",
        stages=describe(STAGES),
        max_sessions=2,
        max_duration_ns=60 * 10**9,
        buffer_bytes=1 << 16,
        max_buffer_bytes=1 << 20,
        slot_bytes=256,
    )


class Engine:
    """A lane without a Tap: the test calls what a Tap would call."""

    def __init__(self, name: str, *, strict: bool, sweeps: bool) -> None:
        self.gate = Gate()
        self.complaints = Complaints(name, STAGES, strict=strict)
        self.evict = Mock()
        registry = create_registry(template(name), 0.02, sweeps=False)
        self.complaints.enter(self.gate, registry)
        self.lane = Lane(
            registry,
            STAGES,
            0.02,
            self.gate,
            self.complaints,
            lambda: self.evict,
            Plan(tuple(STAGES)),
            sweeps=sweeps,
        )

    def register(self, *, stage: int = 0, slots: int = 16, epoch: int = EPOCH):
        live = self.lane.register(stage, epoch, slots=slots, duration_ns=0, sample=1)
        self.lane.restart()
        return live

    def close(self) -> None:
        self.lane.end_all()
        self.lane.close()


@pytest.fixture
def start(name) -> Iterator[Callable[..., Engine]]:
    started: list[Engine] = []

    def make(*, strict: bool = False, sweeps: bool = False) -> Engine:
        started.append(Engine(name, strict=strict, sweeps=sweeps))
        return started[-1]

    yield make
    for engine in started:
        if engine.lane.registry.segment.is_mapped:
            engine.close()


@pytest.fixture
def engine(start) -> Engine:
    return start()


# ---- its registry ----------------------------------------------------------------------------


@pytest.mark.parametrize("sweeps", [True, False])
def test_what_dead_lanes_left_is_removed_as_it_opens_if_asked_for(name, dead_lane, sweeps) -> None:
    with create_registry(template(name), None, sweeps=sweeps) as registry:
        lanes = {lane for _, lane in lanes_of(name)}
        assert lanes == {registry.info.lane} | (set() if sweeps else {dead_lane})
        registry.unlink()


@pytest.mark.parametrize("sweeps", [True, False])
def test_or_as_it_closes(name, start, dead_lane, sweeps) -> None:
    start(sweeps=sweeps).close()
    assert [lane for _, lane in lanes_of(name)] == ([] if sweeps else [dead_lane])


def test_a_lane_that_cannot_remove_what_others_left_closes_all_the_same(
    name, start, monkeypatch
) -> None:
    engine = start(sweeps=True)
    monkeypatch.setattr(module, "sweep", Mock(side_effect=tapring.SharedMemoryFull("full")))
    engine.close()
    assert not names(f"tapring.{name}.")


def test_an_id_that_another_lane_has_is_not_taken(name, engine, monkeypatch) -> None:
    taken = engine.lane.registry.info.lane
    monkeypatch.setattr(module, "new_lane", Mock(side_effect=[taken, taken, "0000000b"]))
    with create_registry(template(name), None, sweeps=False) as registry:
        registry.unlink()
        assert registry.info == msgspec.structs.replace(template(name), lane="0000000b")


def test_it_shows_what_an_idle_batch_costs_and_the_budget(engine) -> None:
    engine.lane.calibrate(lambda: None)
    registry = engine.lane.registry
    assert registry.idle_ns > 0
    assert registry.idle_ns == round(engine.lane.schedule.meter.idle_ns)
    assert registry.budget == 0.02


def test_its_generation_is_that_of_the_table(engine) -> None:
    with engine.lane.generation() as word:
        before = word[0]
        engine.register()
        assert word[0] == engine.lane.registry.table.generation > before


# ---- sessions of the engine's own ------------------------------------------------------------


def test_a_session_is_open_and_accepted_when_it_is_registered(engine) -> None:
    live = engine.register(stage=1, slots=32)
    assert (live.row.stage, live.row.slots, live.row.slot_bytes) == (1, 32, 256)
    assert (live.row.owner, live.row.epoch, live.row.sample) == (Owner.ENGINE, EPOCH, 1)
    registry = engine.lane.registry
    assert registry.verdict_on(live.row.index, live.row.id) == layout.Verdict.ACCEPTED
    assert engine.lane.schedule.watched["decoded"].lives == (live,)


def test_there_is_none_if_as_many_are_open_as_may_be(engine) -> None:
    assert all(engine.register(epoch=each) for each in (1, 2))
    assert engine.register(epoch=3) is None
    assert engine.complaints.faults == 0


@pytest.mark.parametrize("strict", [True, False])
def test_there_is_none_while_another_process_holds_the_table(name, start, strict) -> None:
    """No mistake of the engine's: a strict one is only warned, too."""
    engine = start(strict=strict)
    with (
        Registry.attach(name, engine.lane.registry.info.lane) as other,
        other.table.held(1.0),
        pytest.warns(tapring.TapWarning, match="no session was registered.*held"),
    ):
        assert engine.register() is None


@pytest.mark.parametrize("strict", [True, False])
def test_a_broken_table_raises_in_a_strict_lane_alone(start, strict) -> None:
    engine = start(strict=strict)
    table = engine.lane.registry.table
    table._set(layout.NEXT_ID, 0)
    if strict:
        with pytest.raises(tapring.RingCorrupt, match="damaged"):
            engine.register()
    else:
        with pytest.warns(tapring.TapWarning, match="damaged"):
            assert engine.register() is None


@pytest.mark.parametrize("strict", [True, False])
def test_a_ring_that_cannot_be_mapped_raises_in_a_strict_lane_and_leaves_nothing(
    name, start, strict, monkeypatch
) -> None:
    def create_another(info, row, owner) -> Segment:
        ring = create_ring(info, row, owner)
        os.pwrite(ring.fd, b"nonsense", 0)
        return ring

    engine = start(strict=strict)
    with monkeypatch.context() as patch:
        patch.setattr("tapring.shm.registry.create_ring", create_another)
        with pytest.warns(tapring.TapWarning, match="is refused"):
            if strict:
                with pytest.raises(tapring.RingCorrupt, match="not a ring"):
                    engine.register()
            else:
                assert engine.register() is None
    assert engine.complaints.faults == 1
    assert engine.lane.registry.table.rows() == []
    assert not engine.lane.roster.has_rows_to_free
    assert names(f"tapring.{name}.") == [engine.lane.registry.segment.name]
    assert engine.register() is not None


@pytest.mark.parametrize("others", [0, 1])
def test_a_row_that_could_not_be_freed_a_moment_ago_costs_no_room(
    name, engine, others, monkeypatch
) -> None:
    """Its session ended while a consumer held the table, which it lets go during the call."""
    ended, *lives = (engine.register(epoch=each) for each in range(1 + others))
    free_rows = Roster.free_rows
    with Registry.attach(name, engine.lane.registry.info.lane) as consumer:
        hold = consumer.table.held(1.0)
        assert hold.take()

        def let_go(roster: Roster) -> bool:
            freed = free_rows(roster)
            hold.give_back()
            return freed

        engine.lane.end([ended], Ended.CLOSED)
        assert engine.lane.roster.has_rows_to_free
        monkeypatch.setattr(Roster, "free_rows", let_go)
        lives.append(engine.register(epoch=3))
        assert engine.lane.roster.live == {live.row.id: live for live in lives}
    engine.lane.roster.free_rows()
    assert {row.id for row in engine.lane.registry.table.rows()} == engine.lane.roster.live.keys()


def test_a_timeout_of_a_handlers_reaches_who_registers(engine, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "register", Mock(side_effect=TimeoutError))
        with pytest.raises(TimeoutError):
            engine.register()
    assert engine.register() is not None


def test_nothing_is_done_for_a_session_in_a_lane_that_is_closed(engine, monkeypatch) -> None:
    engine.lane.end_all()
    with monkeypatch.context() as patch:
        made, freed = Mock(), Mock()
        patch.setattr("tapring.shm.registry.create_ring", made)
        patch.setattr(Roster, "free_rows", freed)
        assert engine.lane.register(0, EPOCH, **ASKED) is None
        assert not made.called
        assert not freed.called
    engine.lane.close()


def test_one_that_interrupts_an_offer_is_not_opened_and_leaves_no_row(engine, monkeypatch) -> None:
    monkeypatch.setattr("tapring.engine.gate._PATIENCE_S", 0.0)
    answers = []
    engine.gate.attempt(lambda: answers.append(engine.register()))
    assert answers == [None]
    assert engine.lane.registry.table.rows() == []
    assert not engine.lane.roster.live


@pytest.mark.parametrize("taken_in", [True, False])
def test_who_gives_up_leaves_no_session_and_no_other_is_harmed(engine, taken_in) -> None:
    other = engine.register(epoch=EPOCH + 1)
    if taken_in:
        mine = engine.register()
    else:
        engine.lane.registry.register(
            stage=0, slots=16, slot_bytes=256, duration_ns=0, owner=Owner.ENGINE, epoch=EPOCH
        )
    engine.lane.give_up(EPOCH)
    assert engine.lane.registry.table.rows() == [other.row]
    assert engine.lane.roster.live == {other.row.id: other}
    assert other.open
    if taken_in:
        assert mine.reason == Ended.CLOSED


def test_nor_is_a_consumers_session_of_the_same_epoch(name, engine) -> None:
    with Registry.attach(name, engine.lane.registry.info.lane) as consumer:
        row = consumer.register(
            stage=0, slots=16, slot_bytes=256, duration_ns=0, owner=Owner.CONSUMER, epoch=EPOCH
        )
        engine.lane.give_up(EPOCH)
        assert consumer.table.is_open(row)


# ---- following, and ends ---------------------------------------------------------------------


def test_what_the_budget_skipped_is_counted_before_a_session_ends(name) -> None:
    """The ring is let go of with the session: its consumer would never be told."""
    with tapring.Tap(name) as tap, tapring.capture(name, stage="raw", keep=True) as session:
        watched = session_of(tap)
        watched.tally.resting.append(3)
        (live,) = watched.lives
        with Registry.attach(name, tap.lane) as consumer:
            consumer.table.free(live.row, 1.0, keep_ring=True)
        tap.snapshot()
        assert not live.open
        assert session.stats.shed == 3


@pytest.mark.parametrize("ends", ["end", "end_all"])
def test_and_before_the_engine_ends_it(engine, ends) -> None:
    live = engine.register()
    engine.lane.schedule.watched["raw"].tally.resting.append(3)
    with Segment.attach(live.segment.name) as ring:
        getattr(engine.lane, ends)(*([[live], Ended.CLOSED] if ends == "end" else []))
        words = producer_words(ring.read(0, layout.SLOTS))
        assert words[layout.SHED] == 3
        assert words[layout.ENDED] == (Ended.CLOSED if ends == "end" else Ended.ENGINE_EXIT)
    if ends == "end_all":
        engine.lane.close()


def session_of(tap: tapring.Tap):
    while tap.snapshot() is None:
        pass
    while tap._lane.roster.outdated or tap._seen == AGAIN:
        tap.snapshot()
    return tap._lane.schedule.watched["raw"]


def test_a_change_of_the_sessions_makes_new_snapshots_and_is_looked_at_again(name, engine) -> None:
    with Registry.attach(name, engine.lane.registry.info.lane) as consumer:
        row = consumer.register(
            stage=0, slots=16, slot_bytes=256, duration_ns=0, owner=Owner.CONSUMER
        )
        now = row.opened_ns + layout.TAKE_UP_NS
        assert engine.lane.follow(now) == AGAIN
        (live,) = engine.lane.schedule.watched["raw"].lives
        assert live.row.id == row.id
        assert engine.lane.follow(now) == consumer.table.generation
        consumer.table.free(row, 1.0)


def test_a_handlers_timeout_while_the_table_is_read_reaches_the_engine(engine, monkeypatch) -> None:
    monkeypatch.setattr(Roster, "follow", Mock(side_effect=TimeoutError))
    with pytest.raises(TimeoutError):
        engine.lane.follow(0)
    assert engine.complaints.faults == 0


@pytest.mark.parametrize("outdated", [True, False])
def test_a_table_that_cannot_be_read_is_read_again_when_it_changes(
    engine, outdated, monkeypatch
) -> None:
    """Until then the sessions stay as they are by now, half-way through a change or not."""
    engine.register()
    before, watching = engine.lane.registry.table.generation, engine.lane.schedule.watching
    engine.lane.roster.outdated = outdated
    monkeypatch.setattr(Roster, "follow", Mock(side_effect=OSError(5, "nonsense")))
    with pytest.warns(tapring.TapWarning, match="nonsense"):
        assert engine.lane.follow(0) == before
    assert engine.complaints.faults == 1
    assert (engine.lane.schedule.watching is not watching) is outdated
    assert not engine.lane.roster.outdated


def test_sessions_whose_time_is_over_are_ended_and_the_others_go_on(engine) -> None:
    short, long = engine.register(epoch=1), engine.register(epoch=2)
    short.deadline_ns = 1_000
    engine.lane.restart()
    engine.lane.catch_up(999)
    assert short.open
    engine.lane.catch_up(1_000)
    assert (short.open, short.reason, long.open) == (False, Ended.EXPIRED, True)
    assert engine.lane.schedule.watched["raw"].lives == (long,)
    assert engine.lane.registry.table.rows() == [long.row]


def test_a_batch_at_which_nothing_ends_leaves_the_snapshots_as_they_are(engine) -> None:
    engine.register()
    before = engine.lane.schedule.watching
    engine.lane.catch_up(0)
    assert engine.lane.schedule.watching is before


def test_rings_that_leave_are_unmapped_while_the_others_go_on(engine) -> None:
    large, _ = engine.register(epoch=1, slots=1 << 12), engine.register(epoch=2)
    engine.lane.end([large], Ended.CLOSED)
    steps = 0
    while large.segment.is_mapped:
        engine.lane.catch_up(0)
        steps += 1
    assert steps >= (1 << 20) // (64 << 10)


def test_every_session_that_an_offer_found_broken_is_evicted_and_counted(engine) -> None:
    broken = [engine.register(epoch=1), engine.register(epoch=2)]
    watched = engine.lane.schedule.watched["raw"]
    watched.broken += [(live.writer, ValueError("odd")) for live in broken]
    with pytest.warns(tapring.TapWarning, match="is evicted: odd"):
        engine.lane.evict(watched)
    assert [live.reason for live in broken] == [Ended.EVICTED] * 2
    assert (engine.complaints.faults, engine.lane.registry.faults) == (2, 2)
    assert engine.lane.schedule.watching is None


@pytest.mark.parametrize("how", ["ended", "half-ended"])
def test_one_that_has_ended_meanwhile_is_not_at_fault(engine, how) -> None:
    ended, other = engine.register(epoch=1), engine.register(epoch=2)
    watched = engine.lane.schedule.watched["raw"]
    if how == "ended":
        engine.lane.end([ended], Ended.CLOSED)
    else:
        ended.reason = Ended.CLOSED  # an exception came just then
    watched.broken.append((ended.writer, ValueError("released")))
    engine.lane.evict(watched)
    assert (engine.complaints.faults, ended.reason, other.open) == (0, Ended.CLOSED, True)
    assert not ended.open


# ---- the end of the lane ---------------------------------------------------------------------


def test_a_lane_that_ends_says_so_and_leaves_no_name(name, engine) -> None:
    live = engine.register()
    lane = engine.lane.registry.info.lane
    with Registry.attach(name, lane) as consumer:
        engine.lane.end_all()
        assert consumer.engine_has_closed()
        assert consumer.engine_is_alive()
        assert live.reason == Ended.ENGINE_EXIT
        assert not names(f"tapring.{name}.")
        engine.lane.close()
        assert not consumer.engine_is_alive()


@pytest.mark.parametrize("bound_s", [0.0, 30.0])
def test_a_lane_that_ends_waits_for_a_ring_that_is_being_made_but_not_for_ever(
    name, engine, bound_s, monkeypatch
) -> None:
    """Else the ring would stay behind."""
    monkeypatch.setattr(module, "_CLAIMS_TIMEOUT_S", bound_s)
    reached, go = threading.Event(), threading.Event()

    def slow(*args: Any) -> Segment:
        reached.set()
        assert go.wait(30)
        return create_ring(*args)

    monkeypatch.setattr("tapring.shm.registry.create_ring", slow)
    thread = threading.Thread(target=engine.lane.register, args=(0, EPOCH), kwargs=ASKED)
    thread.start()
    assert reached.wait(30)

    def let_go(seconds: float) -> None:
        go.set()
        time.sleep(seconds)

    monkeypatch.setattr(module, "sleep", let_go)  # between two looks whether it is made
    engine.lane.end_all()
    assert go.is_set() is bool(bound_s)
    if bound_s:
        assert not names(f"tapring.{name}.")
    go.set()
    thread.join()
    assert not engine.complaints._warned  # that it closes is no surprise
    engine.lane.close()


def test_a_lane_that_ends_does_not_wait_for_a_ring_whose_making_was_interrupted(
    engine, monkeypatch
) -> None:
    """The exception may still be on its way, and refer to all frames that it has left."""
    monkeypatch.setattr(module, "sleep", Mock(side_effect=AssertionError))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Registry, "register", Mock(side_effect=KeyboardInterrupt))
        try:
            engine.register()
        finally:
            engine.lane.end_all()
    assert not engine.lane._claiming
    engine.lane.close()


def test_a_child_that_lets_go_of_the_lane_leaves_it_to_its_parent(name, engine) -> None:
    live = engine.register()
    pid = os.fork()
    if pid == 0:
        engine.lane.detach()
        os._exit(0 if not engine.lane.registry.segment.is_mapped and not live.open else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    with Registry.attach(name, engine.lane.registry.info.lane) as consumer:
        assert consumer.engine_is_alive()
        assert not consumer.engine_has_closed()
    assert live.open
    assert segment_name(name, engine.lane.registry.info.lane, live.row.id) in names("tapring.")
