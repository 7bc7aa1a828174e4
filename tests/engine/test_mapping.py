"""How an engine maps a session's ring when it opens, and gives it back when it ends, in parts."""

import itertools
import os
import time

import msgspec
import pytest

import tapring
from tapring.engine import roster
from tapring.engine.mapping import Arriving, Leaving
from tapring.shm.names import segment_name
from tapring.shm.registry import Registry
from tapring.shm.segment import Segment, names, unlink
from tapring.wire import layout

LINES = [b"one", b"two", b"three"]
A_SESSION = {
    "stage": 0,
    "slots": 16,
    "slot_bytes": 256,
    "duration_ns": 0,
    "owner": layout.Owner.CONSUMER,
}


def offer(tap, stage, batch) -> None:
    watched = tap.snapshot()
    if watched:
        watched.offer(stage, batch)


def mapped_rings(name: str) -> int:
    with open("/proc/self/maps") as maps:
        return sum(1 for line in maps if f"tapring.{name}." in line and "rw-s" in line)


def test_a_session_that_has_just_opened_is_taken_up_in_parts(name, monkeypatch) -> None:
    """So that no single batch pays for all of it."""
    with tapring.Tap(name) as tap, Registry.attach(name, tap.lane) as registry:
        row = registry.register(**A_SESSION)
        monkeypatch.setattr("tapring.engine.tap.monotonic_ns", lambda: row.opened_ns)
        verdicts = []
        while not tap.snapshot():
            verdicts.append(registry.verdict_on(row.index, row.id))
        assert verdicts == [layout.Verdict.NONE, layout.Verdict.ACCEPTED]
        registry.table.free(row)


def test_a_session_that_opened_a_while_ago_is_taken_up_at_once(name, monkeypatch) -> None:
    """However rarely the engine has a batch, the session misses none."""
    with tapring.Tap(name) as tap, Registry.attach(name, tap.lane) as registry:
        row = registry.register(**A_SESSION)
        now = row.opened_ns + layout.TAKE_UP_NS
        monkeypatch.setattr("tapring.engine.tap.monotonic_ns", lambda: now)
        assert tap.snapshot().watches("raw")
        registry.table.free(row)


def test_parts_are_finished_at_once_when_the_time_for_them_is_over(name, monkeypatch) -> None:
    with tapring.Tap(name) as tap, Registry.attach(name, tap.lane) as registry:
        row = registry.register(**A_SESSION)
        now = row.opened_ns
        monkeypatch.setattr("tapring.engine.tap.monotonic_ns", lambda: now)
        assert not tap.snapshot()
        now = row.opened_ns + layout.TAKE_UP_NS
        assert tap.snapshot().watches("raw")
        registry.table.free(row)


@pytest.mark.parametrize("other_clock", ["ahead", "behind"])
def test_how_long_a_session_lasts_depends_on_the_engines_clock_alone(
    name, monkeypatch, other_clock
) -> None:
    """A consumer that cannot tell its time namespace may have another CLOCK_MONOTONIC."""
    up_ns = time.monotonic_ns()  # no clock is further behind
    ahead_ns = up_ns if other_clock == "ahead" else -up_ns
    with tapring.Tap(name, max_duration=60) as tap, Registry.attach(name, tap.lane) as registry:
        registry._clock = msgspec.structs.replace(registry.clock, ahead_ns=ahead_ns)
        row = registry.register(**A_SESSION)
        tap.snapshot()
        opened = time.monotonic_ns()
        assert tap.active_sessions == 1
        for after_s, there in ((59, 1), (61, 0)):
            now = opened + after_s * 10**9
            monkeypatch.setattr("tapring.engine.tap.monotonic_ns", lambda now=now: now)
            tap.snapshot()
            assert tap.active_sessions == there
        assert registry.table.rows() == []
        assert names(registry.info.segment_name(row.id)) == []


def test_a_session_that_ends_while_it_is_taken_up_leaves_nothing(name, monkeypatch) -> None:
    with tapring.Tap(name) as tap, Registry.attach(name, tap.lane) as registry:
        descriptors, mapped = len(os.listdir("/proc/self/fd")), mapped_rings(name)
        row = registry.register(**A_SESSION)
        monkeypatch.setattr("tapring.engine.tap.monotonic_ns", lambda: row.opened_ns)
        assert not tap.snapshot()
        registry.table.free(row)
        assert not tap.snapshot()
        assert len(os.listdir("/proc/self/fd")) == descriptors
        assert mapped_rings(name) == mapped
        assert tap.faults == 0


def test_a_session_that_ended_before_it_was_seen_is_no_fault(name, monkeypatch) -> None:
    def close_now(row, now) -> bool:
        session.close()
        return False

    monkeypatch.setattr(roster, "_has_just_opened", close_now)
    with tapring.Tap(name) as tap, tapring.capture(name, stage="raw") as session:
        assert tap.snapshot() is None
        assert tap.faults == 0
        monkeypatch.undo()
        with tapring.capture(name, stage="raw"):
            assert tap.snapshot()


@pytest.mark.parametrize("what", ["epoch", "size", "magic", "gone", "stage"])
def test_an_odd_ring_is_refused_and_counted_as_a_fault(name, what, wait_for) -> None:
    with tapring.Tap(name) as tap:
        registry = Registry.attach(name, tap.lane)
        row = registry.register(**A_SESSION | {"stage": 99 if what == "stage" else 0})
        ring = segment_name(name, tap.lane, row.id)
        if what == "gone":
            unlink(ring)
        else:
            with Segment.attach(ring) as segment:
                if what == "size":
                    os.ftruncate(segment.fd, 4096)
                elif what == "magic":
                    os.pwrite(segment.fd, b"nonsense", 0)
                else:
                    os.pwrite(segment.fd, b"nonsense", layout.EPOCH * 8)
        with pytest.warns(tapring.TapWarning, match="is refused"):
            wait_for(lambda: not tap.snapshot() and tap.faults == 1)
        assert registry.verdict_on(row.index, row.id) == layout.Verdict.UNUSABLE
        registry.close()


def test_a_ring_over_the_limit_is_refused_whatever_the_consumer_wrote(name, wait_for) -> None:
    with tapring.Tap(name, max_buffer_bytes=8 << 20) as tap:
        registry = Registry.attach(name, tap.lane)
        row = registry.register(**A_SESSION | {"slots": 1 << 16})
        wait_for(lambda: not tap.snapshot() and not registry.table.is_open(row))
        assert registry.verdict_on(row.index, row.id) == layout.Verdict.TOO_LARGE
        registry.close()
        assert not names(f"tapring.{name}.{tap.lane}.")


def test_a_large_ring_is_unmapped_part_by_part_and_read_to_its_end_meanwhile(name) -> None:
    with tapring.Tap(name) as tap:
        handle = tap.register("raw", buffer_bytes=4 << 20)
        lines = [b"%d" % i + b"x" * 1_000 for i in range(3_000)]
        for first in range(0, 3_000, 50):
            offer(tap, "raw", lines[first : first + 50])
        with tapring.attach_session(name, handle.id) as session:
            before = mapped_rings(name)
            handle.close()
            dropped: list[int] = []
            drop = Segment.drop_pages

            def counted(self, offset, length, *, free):
                dropped.append(length)
                assert not free
                drop(self, offset, length, free=free)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Segment, "drop_pages", counted)
                for _ in range(80):
                    assert tap.snapshot() is None
            assert sum(dropped) == 4 << 20
            assert max(dropped) <= 64 << 10
            assert mapped_rings(name) < before
            assert list(session) == lines


def test_the_memory_of_a_large_ring_that_nobody_reads_is_given_back_part_by_part(name) -> None:
    with tapring.Tap(name) as tap:
        handle = tap.register("raw", buffer_bytes=4 << 20)
        offer(tap, "raw", [b"x" * 1_000] * 3_000)
        segment = tap._lane.roster.live[handle.id].segment
        fd = os.open(f"/dev/shm/{segment.name}", os.O_RDONLY)
        try:
            left = [os.fstat(fd).st_blocks * 512]
            handle.close()
            for _ in range(80):
                assert tap.snapshot() is None
                left.append(os.fstat(fd).st_blocks * 512)
        finally:
            os.close(fd)
        assert left[0] >= 4 << 20
        assert left[-1] <= layout.SLOTS
        assert max(a - b for a, b in itertools.pairwise(left)) <= 128 << 10
        assert not segment.is_mapped


def test_the_memory_of_a_ring_is_given_back_while_the_next_session_has_its_row(name) -> None:
    """The row's liveness byte now stands for the next session's consumer, not the old one's."""
    with tapring.Tap(name) as tap, Registry.attach(name, tap.lane) as registry:
        handle = tap.register("raw", buffer_bytes=4 << 20)
        segment = tap._lane.roster.live[handle.id].segment
        fd = os.open(f"/dev/shm/{segment.name}", os.O_RDONLY)
        try:
            handle.close()
            row = registry.register(**A_SESSION)
            tap.snapshot()
            for _ in range(80):
                tap.snapshot()
            assert not segment.is_mapped
            assert os.fstat(fd).st_blocks * 512 <= layout.SLOTS
        finally:
            os.close(fd)
        registry.table.free(row)


def test_the_memory_of_a_ring_that_may_still_be_attached_to_is_kept(name) -> None:
    """If another process holds the table, an ended session's row is freed some batches later."""
    with tapring.Tap(name) as tap:
        handle = tap.register("raw", buffer_bytes=1 << 20)
        offer(tap, "raw", LINES)
        with Registry.attach(name, tap.lane) as other, other.table.held(1.0):
            handle.close()
            for _ in range(40):
                tap.snapshot()
            with tapring.attach_session(name, handle.id) as session:
                assert list(session) == LINES


def test_rings_of_sessions_that_come_and_go_between_two_batches_do_not_pile_up(name) -> None:
    with tapring.Tap(name) as tap:
        before = mapped_rings(name)
        for _ in range(40):
            tap.register("raw", buffer_bytes=1 << 20).close()
        assert mapped_rings(name) <= before + tap.max_sessions
        for _ in range(200):
            tap.snapshot()
        assert mapped_rings(name) == before


def parts(monkeypatch, size: int, reads: list[bool]) -> list[tuple[int, int, bool]]:
    """The parts in which a ring leaves; ``reads``: whether it is read each time that is asked."""
    dropped: list[tuple[int, int, bool]] = []
    segment = Segment.create(f"tapring.t-{os.getpid()}-leaving.0a1b2c3d.1", size)
    unlink(segment.name)
    segment.map(0, size, writable=True)
    monkeypatch.setattr(
        Segment,
        "drop_pages",
        lambda _, offset, length, *, free: dropped.append((offset, length, free)),
    )
    leaving = Leaving(segment, lambda: reads.pop(0) if len(reads) > 1 else reads[0])
    while not leaving.step():
        assert segment.is_mapped
        assert len(dropped) < 100
    assert not segment.is_mapped
    return dropped


PART = 64 << 10
WHOLE = [(layout.SLOTS, PART), (layout.SLOTS + PART, PART), (layout.SLOTS + 2 * PART, 4096)]
SIZE = layout.SLOTS + 2 * PART + 4096


@pytest.mark.parametrize("is_read", [True, False])
def test_each_part_leaves_once_and_its_memory_is_freed_if_nobody_reads(
    monkeypatch, is_read
) -> None:
    assert parts(monkeypatch, SIZE, [is_read]) == [(*each, not is_read) for each in WHOLE]


def test_the_memory_is_freed_from_the_start_if_the_consumer_goes_meanwhile(monkeypatch) -> None:
    kept, freed = [(*each, False) for each in WHOLE], [(*each, True) for each in WHOLE]
    assert parts(monkeypatch, SIZE, [True, False]) == kept + freed


def test_a_session_lasts_as_long_as_it_asks_but_no_longer_than_the_engine_allows(name) -> None:
    with tapring.Tap(name, max_duration=60) as tap, Registry.attach(name, tap.lane) as registry:
        for asked_s, given_s in ((10, 10), (60, 60), (90, 60), (0, 60)):
            row = registry.register(**A_SESSION | {"duration_ns": asked_s * 10**9})
            before = time.monotonic_ns()
            live = Arriving(tap._lane.registry, tap._stages, row).map()
            after = time.monotonic_ns()
            assert before <= live.deadline_ns - given_s * 10**9 <= after
            assert live.segment.fd == -1  # the mapping is enough
            live.detach()
            registry.table.free(row)


def test_a_ring_that_is_refused_is_let_go_of_though_the_error_is_kept(name) -> None:
    with tapring.Tap(name) as tap, Registry.attach(name, tap.lane) as registry:
        row = registry.register(**A_SESSION)
        with Segment.attach(segment_name(name, tap.lane, row.id)) as segment:
            os.pwrite(segment.fd, b"nonsense", 0)
        descriptors, mapped = len(os.listdir("/proc/self/fd")), mapped_rings(name)
        with pytest.raises(tapring.RingCorrupt) as kept:
            Arriving(tap._lane.registry, tap._stages, row).map()
        assert len(os.listdir("/proc/self/fd")) == descriptors
        assert mapped_rings(name) == mapped
        assert kept.tb
        registry.table.free(row)


def test_a_stage_that_the_engine_does_not_have_is_named(name) -> None:
    with tapring.Tap(name) as tap, Registry.attach(name, tap.lane) as registry:
        row = registry.register(**A_SESSION | {"stage": 2})
        with pytest.raises(tapring.RingCorrupt, match="stage 2, but the engine has only 2"):
            Arriving(tap._lane.registry, tap._stages, row).map()
        registry.table.free(row)
