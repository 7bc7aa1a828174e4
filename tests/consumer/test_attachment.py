"""One ring that a session reads: what ended it, and what remains of it afterwards."""

import os
import time
import warnings

import msgspec
import pytest

import tapring
from tapring.consumer import attachment as module
from tapring.consumer.attachment import Attachment
from tapring.ended_by import EndedBy
from tapring.shm.names import segment_name
from tapring.shm.registry import Registry
from tapring.shm.segment import Segment, names, unlink
from tapring.wire import layout
from tapring.wire.layout import Ended, Owner
from tests.helpers import offer


@pytest.fixture
def tap(name):
    with tapring.Tap(name, max_duration=100) as tap:
        yield tap


@pytest.fixture
def attach(name, tap):
    """Attach to a registered session, as ``attach_session`` would."""
    attached = []

    def start(handle, *, owned: bool = False) -> Attachment:
        registry = Registry.attach(name, tap.lane)
        (row,) = [row for row in registry.table.rows() if row.id == handle.id]
        try:
            attachment = Attachment(registry, row, owned=owned)
        except BaseException:
            registry.close()
            raise
        attached.append(attachment)
        return attachment

    yield start
    for each in attached:
        each.close()


@pytest.fixture
def open_unseen(name, tap):
    """Open a session that the engine has not seen yet, as a consumer that checks nothing would."""
    attached = []

    def start(slots: int) -> Attachment:
        registry = Registry.attach(name, tap.lane)
        asked = {"stage": 0, "slot_bytes": 256, "duration_ns": 0, "owner": Owner.CONSUMER}
        attachment = Attachment(registry, registry.register(**asked, slots=slots), owned=True)
        attached.append(attachment)
        return attachment

    yield start
    for each in attached:
        each.close()


@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        (Ended.CLOSED, EndedBy.CLOSED),
        (Ended.EXPIRED, EndedBy.EXPIRED),
        (Ended.EVICTED, EndedBy.EVICTED),
        (Ended.ENGINE_EXIT, EndedBy.ENGINE_EXIT),
    ],
)
def test_the_engine_says_in_the_ring_why_it_ended(tap, attach, monkeypatch, ended, reason) -> None:
    attachment = attach(tap.register("raw"))
    assert attachment.ended_by() is None
    monkeypatch.setattr(type(attachment.reader), "ended", lambda _: ended)
    assert attachment.ended_by() == reason


def test_an_engine_that_closes_has_exited(tap, attach) -> None:
    attachment = attach(tap.register("raw"))
    tap.close()
    assert attachment.ended_by() == EndedBy.ENGINE_EXIT


def test_an_engine_that_closed_before_it_saw_a_session_has_exited(
    tap, open_unseen, monkeypatch
) -> None:
    barriers: list[str] = []
    attachment = open_unseen(16)
    monkeypatch.setattr(module, "publish_barrier", lambda: barriers.append("passed"))
    assert attachment.ended_by() is None
    assert barriers == []
    tap.close()
    assert attachment.ended_by() == EndedBy.ENGINE_EXIT
    assert barriers == ["passed"], "else a look into the ring could miss the last frames"


def test_a_ring_over_the_engines_limit_ends_with_that_limit(tap, open_unseen) -> None:
    attachment = open_unseen(tap.max_buffer_bytes // 256 + 1)
    while attachment.registry.table.is_open(attachment.row):
        tap.snapshot()
    with pytest.raises(tapring.BufferLimit, match="its limit is 64 MiB"):
        attachment.ended_by()


@pytest.mark.parametrize("damaged", [False, True])
def test_a_dead_engines_account_is_that_of_its_frames_unless_they_are_damaged(
    tap, attach, name, monkeypatch, damaged
) -> None:
    """It was killed between counting a frame and publishing it."""
    handle = tap.register("raw")
    offer(tap, "raw", [b"one", b"two"])
    attachment = attach(handle)
    with Segment.attach(segment_name(name, tap.lane, handle.id)) as ring:
        os.pwrite(ring.fd, (5).to_bytes(8, "little"), layout.CAPTURED * layout.WORD)
        if damaged:
            os.pwrite(ring.fd, b"\xff" * layout.WORD, layout.SLOTS)
    assert attachment.ledger().captured == 5
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "engine_is_alive", lambda _: False)
        assert attachment.ended_by() == EndedBy.ENGINE_DEATH
    assert attachment.ledger().captured == (5 if damaged else 2)


def test_an_engine_that_is_not_alive_and_has_not_closed_has_died(tap, attach, monkeypatch) -> None:
    attachment = attach(tap.register("raw"))
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "engine_is_alive", lambda _: False)
        assert attachment.ended_by() == EndedBy.ENGINE_DEATH


def test_it_ends_at_its_own_duration_or_the_engines_whichever_is_shorter(tap, attach) -> None:
    short, longest = attach(tap.register("raw", duration=5)), attach(tap.register("raw"))
    assert short.ends_ns() - short.row.opened_ns == 5 * 10**9
    assert longest.ends_ns() - longest.row.opened_ns == 100 * 10**9


def test_a_session_that_was_opened_in_the_future_does_not_last_longer_than_it_may(
    tap, attach
) -> None:
    """As it looks if the clocks of who opened it and of this process cannot be compared."""
    attachment = attach(tap.register("raw", duration=5))
    future = attachment.row.opened_ns + 300 * 10**9
    attachment.row = msgspec.structs.replace(attachment.row, opened_ns=future)
    assert attachment.ends_ns() <= time.monotonic_ns() + 5 * 10**9


@pytest.mark.parametrize("ahead_s", [0, 300, -300])
def test_times_of_frames_are_by_this_processs_clock(tap, attach, ahead_s) -> None:
    attachment = attach(tap.register("raw"))
    snapshot = tap.snapshot()
    snapshot.offer("raw", [b"one"])
    attachment.clock = msgspec.structs.replace(attachment.clock, ahead_ns=ahead_s * 10**9)
    own_ns = snapshot.time_ns - ahead_s * 10**9
    assert attachment.next_time_ns() == attachment.oldest_ns() == own_ns
    assert attachment.time_ns(attachment.reader.take()) == own_ns
    assert attachment.next_time_ns() is None


def test_a_ring_that_is_missing_is_corrupt_while_its_engine_runs(tap, attach, name) -> None:
    handle = tap.register("raw")
    unlink(f"tapring.{name}.{tap.lane}.{handle.id}")
    with pytest.raises(tapring.RingCorrupt, match="is missing"):
        attach(handle)


def test_a_ring_that_is_missing_because_its_engine_has_closed_is_not_corrupt(
    tap, attach, monkeypatch
) -> None:
    handle = tap.register("raw")
    segment = Segment.attach

    def close_first(ring: str, **options) -> Segment:
        tap.close()
        return segment(ring, **options)

    registry = Registry.attach(tap.name, tap.lane)
    row = registry.table.row_of(handle.id)
    monkeypatch.setattr(Segment, "attach", close_first)
    with registry, pytest.raises(tapring.EngineNotFound, match="has just ended"):
        Attachment(registry, row, owned=False)


def test_a_ring_that_is_missing_because_its_session_has_ended_is_not_corrupt(tap) -> None:
    handle = tap.register("raw")
    with Registry.attach(tap.name, tap.lane) as registry:
        row = registry.table.row_of(handle.id)
        handle.close()
        with pytest.raises(tapring.SessionNotFound, match="has just ended"):
            Attachment(registry, row, owned=False)


@pytest.mark.parametrize("refusal", [tapring.RingCorrupt, tapring.BufferLimit])
def test_a_ring_that_its_engine_has_refused_and_removed_already_is_said_to_be_refused(
    tap, name, refusal
) -> None:
    with Registry.attach(name, tap.lane) as registry:
        asked = {"stage": 0, "slot_bytes": 256, "duration_ns": 0, "owner": Owner.CONSUMER}
        large = refusal is tapring.BufferLimit
        row = registry.register(**asked, slots=1 << 19 if large else 16)
        ring = segment_name(name, tap.lane, row.id)
        if not large:
            os.truncate(f"/dev/shm/{ring}", 4096)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", tapring.TapWarning)
            while names(ring):
                tap.snapshot()
        with pytest.raises(refusal, match="could not use the ring|refused a ring"):
            Attachment(registry, row, owned=True)


def test_only_an_owned_session_goes_with_its_consumer(tap, attach, name) -> None:
    for owned in (False, True):
        attachment = attach(tap.register("raw"), owned=owned)
        assert attachment.registry.table.is_open(attachment.row)
        attachment.free()
        assert attachment.registry.table.is_open(attachment.row) is not owned
    assert len(names(f"tapring.{name}.")) >= 2, "the session that is not owned goes on"


def test_a_child_that_detaches_frees_nothing(tap, attach) -> None:
    attachment = attach(tap.register("raw"), owned=True)
    pid = os.fork()
    if pid == 0:
        attachment.detach()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert attachment.registry.table.is_open(attachment.row)


@pytest.mark.parametrize("damage", [{"slot_bytes": 0}, {"slots": 0}, {"slot_bytes": 1 << 63}])
def test_a_row_that_does_not_describe_its_ring_is_an_error_of_ours(name, tap, damage) -> None:
    with tap.register("raw") as handle, Registry.attach(name, tap.lane) as registry:
        (row,) = [row for row in registry.table.rows() if row.id == handle.id]
        with pytest.raises(tapring.TapError):
            Attachment(registry, msgspec.structs.replace(row, **damage), owned=False)
