"""A mapping closes no file of other code, whatever has become of its descriptor."""

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tapring.shm.descriptor import description_of, mark
from tapring.shm.mapped import Mapped
from tapring.shm.segment import Segment


@pytest.fixture
def fd() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        file.truncate(2 * mmap.PAGESIZE)
        yield file.fileno()


def numbers_of(fd: int) -> set[int]:
    """The numbers of all descriptors that lead to the same file."""
    found = {int(each) for each in os.listdir("/proc/self/fd")}
    file = os.fstat(fd)
    return {each for each in found if is_of(each, file)}


def is_of(number: int, file: os.stat_result) -> bool:
    with suppress(OSError):  # the one by which they are listed is closed
        return os.path.samestat(os.fstat(number), file)
    return False


def map_all(fd: int) -> Mapped:
    return Mapped(fd, mark(fd), 2 * mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE, 0)


def test_what_is_mapped_is_the_file(fd) -> None:
    mapped = map_all(fd)
    mapped.memory[:5] = b"hello"
    assert os.pread(fd, 5, 0) == b"hello"
    mapped.drop_pages(0, mmap.PAGESIZE, free=False)
    assert mapped.memory[:5] == b"hello"
    mapped.close()
    mapped.close()
    assert mapped.memory.closed
    assert numbers_of(fd) == {fd}


def test_where_gevent_has_taken_epoll_away_it_closes_its_own_descriptor_as_well(
    fd, monkeypatch
) -> None:
    monkeypatch.setattr("tapring.shm.mapped.epoll", None)
    test_it_closes_no_file_of_other_code(fd)


def test_a_mapping_with_views_cannot_be_closed(fd) -> None:
    mapped = map_all(fd)
    with memoryview(mapped.memory), pytest.raises(BufferError):
        mapped.close()
    mapped.close()
    assert numbers_of(fd) == {fd}


def test_it_closes_no_file_of_other_code(fd) -> None:
    mapped = map_all(fd)
    with tempfile.TemporaryFile() as other:
        taken = numbers_of(fd) - {fd}
        for number in taken:
            os.dup2(other.fileno(), number)  # a daemon closes all, and opens a file of its own
        mapped.close()
        mapped.close()
        for number in taken:
            assert description_of(number) == description_of(other.fileno())
            os.close(number)


def test_a_number_that_is_closed_already_keeps_nothing_mapped(fd) -> None:
    mapped = map_all(fd)
    for number in numbers_of(fd) - {fd}:
        os.close(number)
    mapped.close()
    assert mapped.memory.closed


def test_mappings_of_one_file_that_are_made_at_once_close_their_own_descriptors(
    fd, monkeypatch
) -> None:
    """As where a thread of an engine and one of a consumer map the same ring."""
    with open(f"/proc/self/fd/{fd}", "r+b") as again:
        before = numbers_of(fd)
        first: list[Mapped] = []

        def map_meanwhile(*arguments: Any, **options: Any) -> mmap.mmap:
            monkeypatch.undo()
            first.append(map_all(again.fileno()))
            return mmap.mmap(*arguments, **options)

        monkeypatch.setattr(mmap, "mmap", map_meanwhile)
        second = map_all(fd)
        first[0].close()
        with tempfile.TemporaryFile():  # it may get the number that the first mapping had
            second.close()
        assert second.memory.closed
        assert numbers_of(fd) == before


def test_a_forked_child_closes_what_a_fork_has_pointed_at_nothing(name) -> None:
    with Segment.create(f"tapring.{name}", mmap.PAGESIZE) as segment:
        os.unlink(f"/dev/shm/{segment.name}")
        segment.map(0, mmap.PAGESIZE, writable=True)
        before = len(os.listdir("/proc/self/fd"))
        held = len(numbers_of(segment.fd))
        pid = os.fork()
        if pid == 0:
            segment.close()
            os._exit(len(os.listdir("/proc/self/fd")) - before + held)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
