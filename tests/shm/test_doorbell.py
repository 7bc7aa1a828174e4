"""A doorbell: a semaphore that wakes a consumer, and that never keeps one waiting for ever."""

import errno
import os
import threading
import time

import pytest

from tapring.errors import NotPermitted, SharedMemoryFull
from tapring.shm.doorbell import Bell
from tapring.shm.names import bell_file
from tapring.shm.segment import DIRECTORY, names, unlink
from tapring.wire import layout
from tests.promises.users.three_users import OPERATOR, STRANGER, acting_as

ME = os.geteuid()
LONG_S = 30.0


@pytest.fixture
def bell(name):
    made = Bell.make(f"tapring.{name}.0a1b2c3d.1", ME)
    yield made
    made.unlink()
    made.close()


def test_a_ring_ends_a_wait(bell) -> None:
    other = Bell.open(bell.name, ME)
    waiting = threading.Thread(target=bell.wait, args=(LONG_S,))
    waiting.start()
    other.ring()
    waiting.join(LONG_S / 2)
    assert not waiting.is_alive()
    other.close()


def test_a_ring_that_came_first_is_not_lost(bell) -> None:
    bell.ring()
    began = time.monotonic()
    bell.wait(LONG_S)
    assert time.monotonic() - began < LONG_S / 2


def test_a_wait_has_an_end(bell) -> None:
    bell.wait(0.01)


def test_one_that_exists_is_opened_and_not_made(bell) -> None:
    again = Bell.make(bell.name, ME)
    again.ring()
    bell.wait(LONG_S)
    again.close()


@pytest.mark.parametrize("goes_before", ["its file is looked at", "it is opened"])
def test_one_that_goes_while_it_is_opened_is_made_anew(bell, goes_before, monkeypatch) -> None:
    """An engine ends a session, and removes its doorbell, while a consumer attaches."""
    look_at = os.lstat

    def gone(path):
        monkeypatch.setattr(os, "lstat", look_at)
        if goes_before == "it is opened":
            status = look_at(path)
            bell.unlink()
            return status
        bell.unlink()
        return look_at(path)

    monkeypatch.setattr(os, "lstat", gone)
    anew = Bell.make(bell.name, ME)
    assert os.lstat is look_at, "the doorbell was never looked at"
    anew.ring()
    by_its_name = Bell.open(bell.name, ME)
    by_its_name.wait(LONG_S)
    by_its_name.close()
    anew.unlink()
    anew.close()


def test_one_that_goes_each_time_it_is_made_is_a_clear_error(bell, monkeypatch) -> None:
    def gone(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    monkeypatch.setattr(os, "lstat", gone)
    with pytest.raises(SharedMemoryFull, match="made and removed again and again"):
        Bell.make(bell.name, ME)


def test_closing_twice_is_fine_and_a_closed_one_neither_rings_nor_waits(bell) -> None:
    bell.close()
    bell.close()
    bell.ring()
    bell.wait(LONG_S)


def test_its_name_goes_and_those_who_have_it_open_go_on(bell) -> None:
    other = Bell.open(bell.name, ME)
    bell.unlink()
    assert names(bell_file(bell.name)) == []
    with pytest.raises(SharedMemoryFull, match="is gone: its session has ended"):
        Bell.open(bell.name, ME)
    other.ring()
    bell.wait(LONG_S)
    other.close()


def test_a_file_that_is_too_short_for_a_semaphore_is_refused(name) -> None:
    short = f"tapring.{name}.0a1b2c3d.1"
    with open(f"{DIRECTORY}/{bell_file(short)}", "wb") as file:
        file.write(b"short")
    with pytest.raises(NotPermitted, match="is not a doorbell of user"):
        Bell.open(short, ME)
    unlink(bell_file(short))


@pytest.mark.parametrize(
    "first_byte_at", [None, layout.PAGE], ids=["all of it a hole", "its first page a hole"]
)
def test_a_file_with_a_hole_in_the_semaphores_place_is_refused(name, first_byte_at) -> None:
    """On a full /dev/shm, posting it would kill the engine with SIGBUS."""
    sparse = f"tapring.{name}.0a1b2c3d.1"
    with open(f"{DIRECTORY}/{bell_file(sparse)}", "wb") as file:
        file.truncate(32)
        if first_byte_at is not None:
            os.pwrite(file.fileno(), b"x", first_byte_at)
    with pytest.raises(NotPermitted, match="is not a doorbell of user"):
        Bell.open(sparse, ME)
    unlink(bell_file(sparse))


def test_one_that_cannot_be_made_is_a_clear_error() -> None:
    with pytest.raises(
        SharedMemoryFull, match="the doorbell .* cannot be opened: Invalid parameter"
    ):
        Bell.make("tapring." + "x" * 300, ME)


@pytest.mark.skipif(ME != 0, reason="only root can be several users")
def test_root_gives_one_to_the_engines_user(name) -> None:
    made = Bell.make(f"tapring.{name}.0a1b2c3d.1", OPERATOR)
    assert os.stat(f"{DIRECTORY}/{bell_file(made.name)}").st_uid == OPERATOR
    with acting_as(OPERATOR):
        theirs = Bell.open(made.name, OPERATOR)
    theirs.ring()
    made.wait(LONG_S)
    theirs.close()
    made.unlink()
    made.close()


@pytest.mark.skipif(ME != 0, reason="only root can be several users")
def test_one_that_cannot_be_given_to_the_engines_user_is_not_left_behind(name) -> None:
    bell = f"tapring.{name}.0a1b2c3d.1"
    with acting_as(STRANGER):
        with pytest.raises(NotPermitted, match=f"cannot be given to user {OPERATOR}"):
            Bell.make(bell, OPERATOR)
    assert names(bell_file(bell)) == []


@pytest.mark.skipif(ME != 0, reason="only root can be several users")
def test_one_of_root_that_is_not_open_to_the_engines_user_is_a_clear_error(bell) -> None:
    with acting_as(OPERATOR):
        with pytest.raises(SharedMemoryFull, match="cannot be opened: .*[Pp]ermission"):
            Bell.open(bell.name, OPERATOR)
