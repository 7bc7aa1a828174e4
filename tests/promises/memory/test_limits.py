"""The limits of a process: open files, address space, the size of a file."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from pathlib import Path

import pytest

import tapring
from tapring.shm.segment import names
from tests.promises.memory.lacks import EXHAUST, INERT, LIMITS, goes_on, refused

MIB = 1 << 20


@pytest.mark.parametrize("limit", LIMITS)
def test_an_engine_at_a_limit_of_its_own_is_inert_and_says_why_once(limit, name, spawn) -> None:
    engine = spawn(INERT, name, limit, stdout=-1, stderr=-1)
    out, said = engine.communicate(timeout=30)
    assert engine.returncode == 0, said
    assert [LIMITS[limit] in line for line in out.decode().splitlines()] == [True, True]


def use_up(engine: subprocess.Popen[bytes], limit: str) -> None:
    """Lower a running engine's limit to what it uses now."""
    if limit == "RLIMIT_NOFILE":
        taken = {int(fd) for fd in os.listdir(f"/proc/{engine.pid}/fd")}
        most = min(set(range(len(taken) + 1)) - taken)
    else:
        pages = Path(f"/proc/{engine.pid}/statm").read_text().split()[0]
        most = int(pages) * resource.getpagesize()
    which = getattr(resource, limit)
    resource.prlimit(engine.pid, which, (most, resource.prlimit(engine.pid, which)[1]))


@pytest.mark.parametrize("limit", ["RLIMIT_NOFILE", "RLIMIT_AS"])
def test_an_engine_at_its_limit_refuses_a_session_and_goes_on(
    limit, engine, name, run_cli, wait_for
) -> None:
    with tapring.capture(name, stage="raw") as first:
        assert first.read(1) == [b"an event"]
        before = resource.prlimit(engine.pid, getattr(resource, limit))
        use_up(engine, limit)
        ended = run_cli("attach", name, "--stage", "raw", "--summary", "none")
        refused(ended, "could not use the ring")
        wait_for(lambda: len(names(f"tapring.{name}.")) == 2, message="its ring goes")
        assert len(first.read(1000)) == 1000
        resource.prlimit(engine.pid, getattr(resource, limit), before)
        with tapring.capture(name, stage="raw") as second:
            assert second.read(1) == [b"an event"]
        assert len(first.read(1000)) == 1000
    goes_on(engine)
    assert not names(f"tapring.{name}.")


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("strict", [False, True])
def test_an_engine_at_its_limit_registers_nothing_and_goes_on(limit, strict, name, spawn) -> None:
    source = (
        EXHAUST
        + """
import sys, tapring
with tapring.Tap(sys.argv[1], strict=sys.argv[3] == "True") as tap:
    handle = tap.register("raw", buffer_bytes=65536)
    exhaust(sys.argv[2])
    try:
        print(tap.register("raw", buffer_bytes=1 << 20))
    except tapring.SharedMemoryFull as error:
        print(error)
    tap.snapshot().offer("raw", [b"an event"])
    assert (tap.active_sessions, handle.captured) == (1, 1)
"""
    )
    engine = spawn(source, name, limit, str(strict), stdout=-1, stderr=-1)
    out, said = engine.communicate(timeout=30)
    assert engine.returncode == 0, said
    assert (LIMITS[limit] in out.decode()) if strict else (out == b"None\n")
    assert LIMITS[limit] in (out if strict else said).decode()


@pytest.mark.parametrize("limit", LIMITS)
def test_a_consumer_at_its_limit_is_told_which_and_leaves_nothing(
    limit, engine, name, spawn
) -> None:
    source = (
        EXHAUST
        + """
import sys
from tapring.cli.attach import command
exhaust(sys.argv.pop(1), leave=1)
command()
"""
    )
    with tapring.capture(name, stage="raw") as other:
        consumer = spawn(source, limit, name, "--stage", "raw", stdout=-1, stderr=-1)
        out, said = consumer.communicate(timeout=30)
        ended = subprocess.CompletedProcess([], consumer.returncode, out, said)
        refused(ended, LIMITS[limit])
        assert len(names(f"tapring.{name}.")) == 2
        assert len(other.read(1000)) == 1000
    goes_on(engine)


@pytest.mark.parametrize("spare", range(2, 7))
def test_with_however_few_files_a_consumer_ends_with_an_error_or_with_events(
    spare, engine, name, run_cli
) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3 + spare, 3 + spare))

    ended = run_cli("attach", name, "--stage", "raw", "--limit", "9", preexec_fn=few)
    if ended.returncode == 0:
        assert ended.stdout == b"an event\n" * 9
    else:
        refused(ended, "open files")
    goes_on(engine)
    assert not names(f"tapring.{name}.")


def test_a_file_that_may_not_grow_ends_the_capture_with_an_error(
    engine, name, run_cli, tmp_path
) -> None:
    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB // 8, MIB // 8))

    path = tmp_path / "events"
    args = ("attach", name, "--stage", "raw", "--buffer", "64k", "--summary", "none")
    refused(run_cli(*args, "-o", str(path), preexec_fn=small), "File too large")
    assert 0 < path.with_name("events.part").stat().st_size <= MIB // 8
    goes_on(engine)
    assert not names(f"tapring.{name}.")


def test_a_strict_engine_raises_where_the_ring_was_made_and_cannot_be_mapped(name, spawn) -> None:
    source = (
        EXHAUST
        + """
import sys, tapring
with tapring.Tap(sys.argv[1], strict=True) as tap:
    exhaust("RLIMIT_AS", leave=512 << 10)
    try:
        print(tap.register("raw", buffer_bytes=4 << 20))
    except tapring.SharedMemoryFull as error:
        print(error)
    print(len([each for each in os.listdir("/dev/shm") if sys.argv[1] + "." in each]))
"""
    )
    engine = spawn(source, name, stdout=-1, stderr=-1)
    out, said = engine.communicate(timeout=30)
    assert engine.returncode == 0, said
    error, left = out.decode().splitlines()
    assert "ulimit -v" in error
    assert left == "1", "the lane alone"


def test_an_engine_that_has_no_memory_to_describe_itself_is_inert(name, spawn) -> None:
    source = (
        EXHAUST
        + """
import sys, numpy, tapring
stage = tapring.array(numpy.dtype([(f"field-{i:06}", "f8") for i in range(20000)]))
exhaust("RLIMIT_AS")
tap = tapring.Tap(sys.argv[1], stages={"wide": stage})
print(tap.reason)
"""
    )
    engine = spawn(source, name, stdout=-1, stderr=-1)
    out, said = engine.communicate(timeout=30)
    assert engine.returncode == 0, said
    assert out.strip() != b"None"


@pytest.mark.parametrize(
    "stage",
    [
        "raw",
        pytest.param("decoded", marks=pytest.mark.xfail(reason="msgspec 0.22 dies of it: SIGSEGV")),
    ],
)
def test_a_batch_that_there_is_no_memory_to_serialize_costs_itself_alone(
    stage, name, spawn
) -> None:
    source = (
        EXHAUST
        + """
import tapring
with tapring.Tap(sys.argv[1]) as tap:
    handle = tap.register(sys.argv[2], buffer_bytes=32 << 20)
    lines = ["x" * (6 << 20)] * 4
    exhaust("RLIMIT_AS")
    tap.snapshot().offer(sys.argv[2], lines)
    assert (handle.offered, handle.captured, handle.dropped) == (4, 0, 0)
    tap.snapshot().offer(sys.argv[2], ["an event"])
    assert (handle.offered, handle.captured, handle.open) == (5, 1, True)
"""
    )
    engine = spawn(source, name, stage, stdout=-1, stderr=-1)
    _, said = engine.communicate(timeout=30)
    assert (engine.returncode, said) == (0, b"")


def test_a_consumer_that_has_no_memory_for_a_frame_ends_with_an_error(name, spawn) -> None:
    source = (
        EXHAUST
        + """
import sys
from tapring.cli.attach import command
exhaust("RLIMIT_AS", leave=18 << 20)
command()
"""
    )
    with tapring.Tap(name) as tap, tap.register("raw", buffer_bytes=16 << 20) as handle:
        tap.snapshot().offer("raw", [b"x" * (12 << 20)])
        args = (f"{name}:{handle.id}", "--summary", "none", "--limit", "1")
        consumer = spawn(source, *args, stdout=-1, stderr=-1)
        out, said = consumer.communicate(timeout=30)
        refused(subprocess.CompletedProcess([], consumer.returncode, out, said), "memory")


def test_a_consumer_without_a_free_descriptor_is_not_told_that_no_engine_runs(
    engine, name, spawn
) -> None:
    source = (
        EXHAUST
        + """
import sys, tapring
exhaust("RLIMIT_NOFILE")
for ask in (tapring.capture, tapring.engines):
    try:
        print(ask(sys.argv[1]))
    except tapring.SharedMemoryFull as error:
        print(error)
"""
    )
    consumer = spawn(source, name, stdout=-1, stderr=-1)
    out, said = consumer.communicate(timeout=30)
    assert consumer.returncode == 0, said
    assert ["ulimit -n" in line for line in out.decode().splitlines()] == [True, True]


@pytest.fixture
def without_descriptors(spawn, name):
    """Run a command on the engine in a process that can open no more files."""

    def run(command: str) -> subprocess.CompletedProcess[bytes]:
        source = (
            EXHAUST
            + f"""
import sys, tapring.cli, tapring.cli.{command}
exhaust("RLIMIT_NOFILE")
tapring.cli.main([{command!r}, sys.argv[1]], prog_name="tapring")
"""
        )
        looking = spawn(source, name, stdout=-1, stderr=-1)
        out, said = looking.communicate(timeout=30)
        return subprocess.CompletedProcess([], looking.returncode, out, said)

    return run


def test_ls_says_that_it_could_not_look_instead_of_that_nothing_runs(
    engine, without_descriptors
) -> None:
    refused(without_descriptors("ls"), "open files")


def test_gc_says_that_it_could_not_look_instead_of_that_nothing_is_left(
    dead_lane, name, without_descriptors, run_cli
) -> None:
    refused(without_descriptors("gc"), "ulimit -n")
    assert len(json.loads(run_cli("gc", name, "--json").stdout)) == 2


def test_a_wrong_offer_without_a_free_descriptor_is_counted_like_any_other(name, spawn) -> None:
    source = (
        EXHAUST
        + """
import sys, tapring
with tapring.Tap(sys.argv[1]) as tap:
    handle = tap.register("raw")
    exhaust("RLIMIT_NOFILE")
    tap.snapshot().offer("row", ["an event"])
    assert tap.misuse == 1
"""
    )
    engine = spawn(source, name, stdout=-1, stderr=-1)
    _, said = engine.communicate(timeout=30)
    assert engine.returncode == 0, said
    assert b"no stage 'row'" in said
