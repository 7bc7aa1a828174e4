"""Times of another process: what the kernel says of its time namespace, and pairs of readings."""

import errno
import json
import time

import pytest

from tapring.shm import clocks
from tapring.shm.clocks import (
    EngineClock,
    engine_clock,
    offset_of,
    offset_word,
    own_offset_ns,
    read_pair,
)
from tapring.wire import layout

NS = 10**9
HOUR_NS = 3600 * NS
SAY = """
import json
from tapring.shm.clocks import own_offset_ns
print(json.dumps(own_offset_ns()))
"""
UNSHARED = """
import ctypes, json, os
from tapring.shm.clocks import own_offset_ns
CLONE_NEWTIME = 0x80
assert ctypes.CDLL(None).unshare(CLONE_NEWTIME) == 0
before_the_fork = own_offset_ns()
if os.fork() == 0:
    print(json.dumps([before_the_fork, own_offset_ns()]), flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.parametrize("ahead_s", [300, -300])
def test_a_process_knows_how_far_its_namespace_shifts_its_clock(
    spawn, time_namespace, ahead_s
) -> None:
    process = spawn(SAY, within=time_namespace(ahead_s), stdout=-1)
    assert json.loads(process.stdout.read()) == own_offset_ns() + ahead_s * NS


def test_a_process_that_has_not_forked_yet_does_not_take_its_childrens_clock_for_its_own(
    spawn, time_namespace
) -> None:
    time_namespace(0)
    process = spawn(UNSHARED, stdout=-1)
    assert json.loads(process.stdout.read()) == [None, own_offset_ns()]


def test_a_kernel_without_time_namespaces_has_one_clock(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(clocks, "_NAMESPACES", str(tmp_path))
    assert own_offset_ns() is None  # there is no /proc
    (tmp_path / "mnt").touch()
    assert own_offset_ns() == 0


@pytest.mark.parametrize("text", ["", "monotonic 1\n", "monotonic a b\n", "boottime 0 0\n", "x\n"])
def test_offsets_that_cannot_be_read_are_unknown(tmp_path, monkeypatch, text) -> None:
    monkeypatch.setattr(clocks, "_OFFSETS", str(tmp_path / "offsets"))
    (tmp_path / "offsets").write_text(text)
    assert own_offset_ns() is None


def test_an_offset_has_its_nanoseconds_behind_the_second(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(clocks, "_OFFSETS", str(tmp_path / "offsets"))
    (tmp_path / "offsets").write_text("monotonic          -2 500000000\nboottime 7 0\n")
    assert own_offset_ns() == -1_500_000_000


def test_a_process_that_may_not_look_does_not_know(monkeypatch) -> None:
    def refuse(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(clocks, "open", refuse, raising=False)
    assert own_offset_ns() is None


def test_a_signal_handlers_exception_comes_out(monkeypatch) -> None:
    def interrupted(*_, **__):
        raise TimeoutError("the time limit of a job")

    monkeypatch.setattr(clocks, "open", interrupted, raising=False)
    with pytest.raises(TimeoutError):
        own_offset_ns()


@pytest.mark.parametrize("offset_ns", [0, 1, -1, 300 * NS, -(2**62) + 1, 2**62 - 1, None])
def test_an_offset_is_read_as_it_was_written(offset_ns) -> None:
    word = offset_word(offset_ns)
    assert 0 <= word < 1 << 64
    assert offset_of(word) == offset_ns


@pytest.mark.parametrize("word", [0, 1, (1 << 64) - 1, 1 << 62])
def test_a_word_that_no_engine_writes_is_unknown(word) -> None:
    assert offset_of(word) is None


def test_a_pair_is_the_closest_of_several_readings(monkeypatch) -> None:
    """A process that loses its core between two readings tries again."""
    readings = iter([1000, 9000, 10_000, 10_100, 20_000, 29_000, 30_000, 39_000, 40_000, 49_000])
    walls = iter([1, 2, 3, 4, 5])
    monkeypatch.setattr(clocks, "monotonic_ns", lambda: next(readings))
    monkeypatch.setattr(clocks, "time_ns", lambda: next(walls))
    assert read_pair() == (10_050, 2)


def test_a_pair_holds_both_clocks() -> None:
    monotonic, wall = read_pair()
    assert 0 <= time.monotonic_ns() - monotonic < 60 * NS
    assert abs(time.time_ns() - wall) < 60 * NS


def pair_of_an_engine(ahead_ns: int = 0) -> tuple[int, int]:
    monotonic, wall = read_pair()
    return monotonic + ahead_ns, wall


@pytest.fixture
def own_ns() -> int:
    own = own_offset_ns()
    if own is None:
        pytest.skip("/proc does not tell the time namespace of this process")
    return own


@pytest.mark.parametrize("ahead_ns", [0, 300 * NS, -300 * NS])
def test_an_engines_clock_is_ahead_by_the_difference_of_the_namespaces(own_ns, ahead_ns) -> None:
    monotonic, wall = pair_of_an_engine(ahead_ns)
    clock = engine_clock((monotonic, wall), offset_word(own_ns + ahead_ns))
    assert clock == EngineClock(ahead_ns, wall - monotonic, True)
    assert 0 <= clock.now_ns() - monotonic < 60 * NS
    assert 0 <= clock.age_s(monotonic - 100 * NS) - 100 < 60
    assert clock.age_s(monotonic + HOUR_NS) == 0


@pytest.mark.parametrize("ahead_ns", [0, 300 * NS])
@pytest.mark.parametrize("moved_ns", [HOUR_NS, -HOUR_NS, 7_000_000])
def test_a_wall_clock_that_was_set_since_the_engine_started_counts(
    own_ns, ahead_ns, moved_ns
) -> None:
    """After a suspend the two clocks are apart in the same way."""
    monotonic, wall = pair_of_an_engine(ahead_ns)
    clock = engine_clock((monotonic, wall - moved_ns), offset_word(own_ns + ahead_ns))
    assert clock == EngineClock(ahead_ns, wall - monotonic, True)


@pytest.mark.parametrize("jitter_ns", [0, 1, -1, 20_000, -20_000, 499_999, -500_000])
def test_consumers_whose_pairs_differ_a_little_agree_on_the_time_of_a_batch(
    own_ns, monkeypatch, jitter_ns
) -> None:
    monkeypatch.setattr(clocks, "read_pair", lambda: (1000, 5000 + jitter_ns))
    clock = engine_clock((500, 4500), offset_word(own_ns))
    assert clock.to_wall_ns == 4000


@pytest.mark.parametrize("word", [0, (1 << 64) - 1])
def test_an_engine_whose_namespace_is_unknown_is_read_by_its_own_pair(word) -> None:
    assert engine_clock((10, 25), word) == EngineClock(0, 15, False)


def test_a_consumer_whose_namespace_is_unknown_reads_by_the_engines_pair(monkeypatch) -> None:
    monkeypatch.setattr(clocks, "own_offset_ns", lambda: None)
    assert engine_clock((10, 25), layout.CLOCK_OFFSET_ZERO) == EngineClock(0, 15, False)


@pytest.mark.parametrize("offset_ns", [-(layout.CLOCK_OFFSET_LIMIT - 1), -(1 << 61)])
def test_a_clock_that_would_show_less_than_0_is_not_known(offset_ns) -> None:
    clock = engine_clock((10, 25), offset_word(offset_ns))
    assert clock == EngineClock(0, 15, False)
    assert clock.now_ns() >= 0
