"""A descriptor is closed and locked only while it is still ours."""

import os
import tempfile

import pytest

from tapring.shm import descriptor
from tapring.shm.segment import Segment


@pytest.fixture
def segment(name):
    with Segment.create(f"tapring.{name}", 4096) as made:
        yield made
        os.unlink(f"/dev/shm/{made.name}")


def taken_over(segment: Segment) -> int:
    """Close the segment's number, and open another file under it, as a daemon may."""
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), segment.fd)
    return segment.fd


def test_the_file_of_other_code_is_neither_locked_nor_closed(segment) -> None:
    number = taken_over(segment)
    for use in (segment.try_lock, segment.unlock, segment.is_locked):
        with pytest.raises(OSError, match="other code has closed the descriptor"):
            use(0)
    segment.close()
    os.fstat(number)
    os.close(number)


def test_a_number_that_is_closed_already_is_not_closed_again(segment) -> None:
    os.close(segment.fd)
    assert descriptor.description_of(segment.fd) is None
    with pytest.raises(OSError, match="other code has closed the descriptor"):
        segment.try_lock(0)
    segment.close()
    assert segment.fd == -1


def test_the_same_file_that_was_opened_anew_is_neither_locked_nor_closed(
    segment, monkeypatch
) -> None:
    """An exception came just after the number was closed, so its owner closes it again."""
    close = os.close

    def close_and_be_interrupted(fd: int) -> None:
        close(fd)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "close", close_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt):
        segment.close()
    with Segment.attach(segment.name) as again:
        assert again.fd == segment.fd
        assert again.try_lock(0)
        assert not segment.is_open
        with pytest.raises(OSError, match="other code has closed the descriptor"):
            segment.unlock(0)
        segment.close()
        assert again.is_open
        with Segment.attach(segment.name) as other:
            assert other.is_locked(0)


def test_copies_of_a_descriptor_are_the_same_and_another_opening_is_not(segment) -> None:
    copy = os.dup(segment.fd)
    try:
        assert descriptor.description_of(copy) == descriptor.description_of(segment.fd)
        with Segment.attach(segment.name) as other:
            assert descriptor.description_of(other.fd) != descriptor.description_of(segment.fd)
    finally:
        os.close(copy)


def test_a_number_of_which_no_file_is_known_is_closed_once() -> None:
    """An exception may come before a segment knows its file, and again as it is closed."""
    number = os.open(os.devnull, os.O_RDONLY)
    descriptor.close(number, None)
    descriptor.close(number, None)
    assert descriptor.description_of(number) is None


def test_an_open_segment_is_locked_and_closed(segment) -> None:
    number = segment.fd
    assert segment.try_lock(0)
    segment.close()
    assert descriptor.description_of(number) is None


def test_what_a_fork_has_pointed_at_nothing_is_closed_by_its_owner(segment) -> None:
    number = segment.fd
    if (pid := os.fork()) == 0:
        code = 1
        try:
            device = os.fstat(number).st_rdev
            segment.close()
            if device == os.stat(os.devnull).st_rdev and descriptor.description_of(number) is None:
                code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert segment.try_lock(0)
