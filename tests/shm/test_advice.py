"""An error of shared memory says what the kernel has refused, and what to do about it."""

import errno
import os

import posix_ipc
import pytest

from tapring.shm.advice import explain, no_memory, not_given, reason


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "free some of /dev/shm"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (OSError(errno.EFBIG, "File too large"), "ulimit -f"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "ulimit -v"),
        (OSError(errno.EROFS, "Read-only file system"), "mount a tmpfs at /dev/shm"),
        (posix_ipc.PermissionsError("No permission"), "mount a tmpfs at /dev/shm"),
    ],
)
def test_what_somebody_can_do_something_about_has_advice(error, advice) -> None:
    assert explain(error).startswith(f"{reason(error)}; ")
    assert advice in explain(error)


def test_posix_ipc_gives_no_number_if_too_many_files_are_open() -> None:
    assert "ulimit -n" in explain(OSError("no number"))


def test_what_nobody_foresaw_is_told_as_it_is() -> None:
    assert explain(OSError(errno.EIO, os.strerror(errno.EIO))) == os.strerror(errno.EIO)
    assert explain(ValueError("a name of 300 bytes")) == "a name of 300 bytes"


def test_it_says_how_much_was_wanted_and_of_whom() -> None:
    error = OSError(errno.EIO, "broken")
    assert no_memory("x", 4096, error) == "cannot reserve 4096 bytes of shared memory for x: broken"
    assert "cannot be given to user 7" in str(not_given("x", 7))
