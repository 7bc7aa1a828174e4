"""Listing engines: what any process may see of a lane and its sessions."""

import os
import time
from contextlib import ExitStack

import msgspec
import pytest

import tapring
from tapring.shm.discovery import engines, recorders_of
from tapring.shm.info import READY_TIMEOUT_S
from tapring.shm.names import recording_name, segment_name
from tapring.shm.segment import DIRECTORY, Segment, names
from tapring.wire import layout
from tapring.wire.ledger import COUNTER_WORDS, Ledger
from tests.conftest import SHM
from tests.helpers import offer, put_word


@pytest.fixture
def tap(name):
    with tapring.Tap(name, strict=True, max_sessions=2) as made:
        yield made


def test_the_engines_listing_shows_who_taps(tap, name) -> None:
    handle = tap.register("raw", buffer_bytes=512)
    for _ in range(3):
        offer(tap, "raw", [b"x"])
    with tapring.capture(name):
        (info,) = tapring.engines(name)
        assert (info.name, info.lane, info.pid, info.max_sessions) == (
            name,
            tap.lane,
            os.getpid(),
            2,
        )
        assert list(info.stages) == ["raw", "decoded"]
        mine, theirs = info.sessions
        assert (mine.id, mine.stage, mine.owner, mine.read) == (handle.id, "raw", "engine", False)
        assert (mine.captured, mine.dropped, mine.fill) == (2, 1, 1.0)
        assert (theirs.stage, theirs.owner, theirs.read) == ("decoded", "consumer", True)


def test_listing_without_a_sweep_removes_nothing(tap, name) -> None:
    ring = segment_name(name, tap.lane, 99)
    Segment.create(ring, layout.PAGE).close()
    assert [info.lane for info in tapring.engines(name, sweep=False)] == [tap.lane]
    assert ring in names(f"tapring.{name}.")
    assert [info.lane for info in tapring.engines(name)] == [tap.lane]
    assert ring not in names(f"tapring.{name}.")


def test_a_living_lane_that_cannot_be_read_is_not_listed_but_named(tap, name) -> None:
    assert tapring.engines(name).refused == ()
    with tapring.Tap(name) as other:
        with Segment.attach(segment_name(name, other.lane)) as registry:
            os.pwrite(registry.fd, (99).to_bytes(8, "little"), layout.FORMAT * layout.WORD)
        listing = tapring.engines(name)
        assert [info.lane for info in listing] == [tap.lane]
        (refused,) = listing.refused
        assert (refused.engine, refused.lane, refused.reason) == (name, other.lane, "version")
        assert msgspec.json.encode(listing) == msgspec.json.encode(list(listing))


def test_a_session_shows_every_counter_of_the_ledger() -> None:
    assert set(Ledger.__struct_fields__) - set(tapring.SessionInfo.__struct_fields__) == {
        "delivered"
    }


def test_what_consumers_have_taken_never_falls(tap, name) -> None:
    kept = tap.register("raw", buffer_bytes=4096)
    offer(tap, "raw", [b"a", b"b", b"c"])
    assert tapring.engines(name)[0].sessions[0].released == 0
    with tapring.attach_session(name, kept.id) as session:
        assert next(iter(session)) == b"a"  # and stops in the middle of the batch
    assert session.stats.delivered == 1
    assert tapring.engines(name)[0].sessions[0].released == 3


def test_a_list_without_patience_leaves_out_lanes_that_are_still_being_made(tap, name) -> None:
    """An engine may be stopped just then, for as long as somebody likes."""
    with ExitStack() as taps:
        stopped = [taps.enter_context(tapring.Tap(name)) for _ in range(20)]
        for each in stopped:
            put_word(segment_name(name, each.lane), layout.MAGIC, 0)
        before = time.monotonic()
        listing = tapring.engines(name, sweep=False, patience_s=0.0)
        assert time.monotonic() - before < len(stopped) * READY_TIMEOUT_S
        assert ([info.lane for info in listing], listing.refused) == ([tap.lane], ())


@pytest.mark.usefixtures("recordings")
def test_the_account_of_each_recorder_is_read_without_its_events(name) -> None:
    with tapring.Tap(name, recorder={"raw": 8192, "decoded": 65536}, strict=True) as tap:
        for number in range(100):
            offer(tap, "raw", [b"x" * 100] * 4)
            offer(tap, "decoded", [number])
        (info,) = tapring.engines(name)
        raw, decoded = sorted(recorders_of(info), key=lambda each: each.buffer_bytes)
        assert (raw.stage, raw.buffer_bytes, raw.captured) == ("raw", 8192, 400)
        assert 300 < raw.overwritten < 400
        assert (decoded.stage, decoded.captured, decoded.overwritten) == ("decoded", 100, 0)
        (SHM / recording_name(name, tap.lane, "raw")).unlink()
        assert recorders_of(info) == [decoded]


@pytest.mark.parametrize("value", [(1 << 64) - 1, 1 << 63], ids=["full", "half"])
def test_words_that_are_full_are_listed_as_numbers_that_can_be_encoded(name, value) -> None:
    words = [*COUNTER_WORDS.values(), layout.TAIL, layout.HEAD, layout.COST_NS, layout.SERVED_PPM]
    with tapring.Tap(name) as tap, tapring.capture(name) as session:
        tap.snapshot()
        registry = segment_name(name, tap.lane)
        for file, several in (
            (segment_name(name, tap.lane, session.id), words),
            (registry, [layout.CLOCK_MONOTONIC_NS, layout.row(0) + layout.ROW_OPENED_NS]),
        ):
            with open(f"{DIRECTORY}/{file}", "r+b") as segment:
                for word in several:
                    os.pwrite(segment.fileno(), value.to_bytes(8, "little"), word * layout.WORD)
        (info,) = engines(name)
        assert (info.uptime_s, info.sessions[0].age_s) == (0, 0)
        assert info.sessions[0].captured == value
        assert msgspec.json.decode(msgspec.json.encode(info), type=type(info)) == info


# ---- an engine by its process ------------------------------------------------------------------

WORKER = """
import sys, tapring
taps = [tapring.Tap(name) for name in sys.argv[1:]]
print(*[tap.lane for tap in taps], flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def worker(spawn):
    """Start a process with a Tap for each name; return it, and its lanes."""

    def start(*engines: str):
        process = spawn(WORKER, *engines, stdin=-1, stdout=-1)
        return process, process.stdout.readline().decode().split()

    return start


def test_a_process_is_found_by_its_pid(tap, worker, name) -> None:
    process, lanes = worker(name)
    with tapring.capture(str(process.pid), stage="raw") as session:
        assert (session.engine, list(session.lanes)) == (name, lanes)


def test_all_taps_of_one_engine_in_a_process_are_found_and_no_others(tap, worker, name) -> None:
    process, lanes = worker(name, name)
    with tapring.capture(str(process.pid), stage="raw") as session:
        assert sorted(session.lanes) == sorted(lanes)


def test_a_process_that_is_of_two_engines_is_asked_which(worker, name) -> None:
    process, (lane, other) = worker(name, f"{name}-b")
    said = f"the process {process.pid} is {name}.{lane} and {name}-b.{other}; name one of them"
    with pytest.raises(tapring.EngineNotFound, match=said):
        tapring.capture(str(process.pid))


def test_an_engine_that_is_called_like_a_pid_comes_first(worker, name) -> None:
    process, _ = worker(name)
    with tapring.Tap(str(process.pid)) as called:
        with tapring.capture(str(process.pid), stage="raw") as session:
            assert session.lanes == (called.lane,)
        assert names(f"tapring.{process.pid}.") == [f"tapring.{process.pid}.{called.lane}"]


def test_a_pid_that_is_no_engine_is_said_to_be_none(tap) -> None:
    with pytest.raises(tapring.EngineNotFound, match="no engine called '1' runs"):
        tapring.capture("1")
