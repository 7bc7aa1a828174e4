"""Segments and byte locks: segments are reserved and private; a lock dies with its holder."""

import os
import sys

import pytest

from tapring.errors import NotPermitted, RingCorrupt, SharedMemoryFull
from tapring.shm.segment import Segment, names, unlink


@pytest.fixture
def segment(name):
    with Segment.create(f"tapring.{name}", 8192) as made:
        yield made
    unlink(made.name)


def test_a_segment_is_private_zero_and_reserved(segment) -> None:
    status = os.fstat(segment.fd)
    assert status.st_mode & 0o777 == 0o600
    assert status.st_blocks * 512 >= 8192
    assert segment.map(0, 8192, writable=False)[:] == bytes(8192)


def test_a_name_is_taken_once(segment) -> None:
    with pytest.raises(FileExistsError):
        Segment.create(segment.name, 4096)
    assert names(segment.name) == [segment.name]


def test_memory_that_cannot_be_had_is_a_clear_error_and_leaves_nothing(name) -> None:
    with pytest.raises(SharedMemoryFull, match="cannot reserve .*smaller buffer"):
        Segment.create(f"tapring.{name}", 1 << 50)
    assert names(f"tapring.{name}") == []


def test_a_name_that_the_kernel_cannot_have_is_refused_by_its_own_words() -> None:
    long = "tapring." + "x" * 300
    with pytest.raises(NotPermitted, match="cannot be opened: File name too long"):
        Segment.attach(long)
    with pytest.raises(SharedMemoryFull, match=r"cannot reserve 4096 bytes .*: Invalid parameter"):
        Segment.create(long, 4096)


def test_a_read_only_mapping_cannot_be_written(segment) -> None:
    mapped = segment.map(0, 4096, writable=False)
    with pytest.raises(TypeError):
        mapped[0] = 1


def test_mapping_beyond_the_end_is_refused_and_not_a_sigbus(segment) -> None:
    os.ftruncate(segment.fd, 4096)
    with pytest.raises(RingCorrupt, match="truncated"):
        segment.map(0, 8192, writable=False)


def test_a_lock_is_seen_by_others_and_not_by_its_holder(segment) -> None:
    with Segment.attach(segment.name) as other:
        assert segment.try_lock(3)
        assert not segment.is_locked(3)
        assert other.is_locked(3)
        assert other.is_locked(0, 8)
        assert not other.try_lock(3)
        segment.unlock(3)
        assert other.try_lock(3)


def test_the_kernel_drops_the_lock_of_a_killed_process(segment, spawn, wait_for) -> None:
    source = (
        "import sys, time; from tapring.shm.segment import Segment\n"
        "s = Segment.attach(sys.argv[1]); s.try_lock(5); print('held', flush=True)\n"
        "time.sleep(600)"
    )
    process = spawn(source, segment.name, stdout=-1)
    assert process.stdout.readline() == b"held\n"
    assert segment.is_locked(5)
    process.kill()
    wait_for(lambda: not segment.is_locked(5))


def test_closing_twice_is_fine(segment) -> None:
    segment.close()
    segment.close()


def test_an_absent_segment_says_so() -> None:
    with pytest.raises(FileNotFoundError, match="there is no segment"):
        Segment.attach("tapring.t-none.00000000")
    assert not unlink("tapring.t-none.00000000")
    assert sys.platform == "linux"


@pytest.mark.parametrize("first", ["tapring", "tapring.engine.tap", "tapring.consumer.session"])
def test_the_fork_hook_of_shared_memory_is_registered_first(first, spawn) -> None:
    source = (
        "import os, sys; hooks = []\n"
        "def note(after_in_child, **_):\n"
        "    hooks.append(getattr(after_in_child, 'func', after_in_child).__module__)\n"
        "os.register_at_fork = note\n"
        f"import {first}\n"
        "print(*[each for each in hooks if each.startswith('tapring')])"
    )
    process = spawn(source, stdout=-1)
    hooks = process.communicate(timeout=30)[0].decode().split()
    assert hooks[0] == "tapring.shm.segment"
    assert len(hooks) > 1
