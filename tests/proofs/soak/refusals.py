"""System calls that the kernel refuses to one thread: a seccomp filter, which goes with the thread.

The refusals are the kernel's own, and come wherever the thread calls. Needs no compiler, and no
right but the one to give up rights.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import struct
import sys
from types import FrameType
from typing import Any, Final

import msgspec

from tapring.shm.segment import Segment

_NO_NEW_PRIVS: Final = 38
_SET_SECCOMP: Final = 22
_MODE_FILTER: Final = 2
_libc: Final = ctypes.CDLL(None, use_errno=True)

# The fields of ``struct seccomp_data``. Of an argument, the lower half is enough here.
_NUMBER, _ARCHITECTURE = 0, 4
_LOAD, _IF_EQUAL, _IF_ANY, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_INSTRUCTION: Final = struct.Struct("HBBI")
_SHARED: Final = 1  # MAP_SHARED: malloc and the stacks of threads map privately
_GET_LOCK, _SET_LOCK = 36, 37  # F_OFD_GETLK, F_OFD_SETLK


class _Machine(msgspec.Struct, frozen=True):
    audit: int  # AUDIT_ARCH_...
    fcntl: int
    mmap: int
    fallocate: int
    ftruncate: int


_MACHINES: Final = {
    "x86_64": _Machine(0xC000003E, fcntl=72, mmap=9, fallocate=285, ftruncate=77),
    "aarch64": _Machine(0xC00000B7, fcntl=25, mmap=222, fallocate=47, ftruncate=46),
}
_MACHINE: Final = _MACHINES.get(platform.machine())

ERRORS: Final[dict[str, tuple[int, ...]]] = {
    "locks": (errno.ENOLCK, errno.EBADF, errno.ENOMEM),
    "maps": (errno.ENOMEM, errno.ENODEV, errno.EPERM),
    "reserves": (errno.ENOMEM, errno.ENOSPC, errno.EIO),
}
"""What can be refused, and with which errors."""

POSSIBLE: Final = _MACHINE is not None
"""Whether this machine's system calls are known here."""


def refuse(what: str, error: int) -> None:
    """Refuse ``what`` with ``error`` to the calling thread, for as long as it lives."""
    assert _MACHINE is not None
    code = _Filter(_MACHINE).code(what, _ERRNO | error)
    program = ctypes.create_string_buffer(code)
    wanted = struct.pack("HP", len(code) // _INSTRUCTION.size, ctypes.addressof(program))
    _must(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    _must(_libc.prctl(_SET_SECCOMP, _MODE_FILTER, ctypes.c_char_p(wanted), 0, 0))


def _must(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class _Filter:
    """Builds the filter: a jump is the number of instructions that it leaves out."""

    def __init__(self, machine: _Machine) -> None:
        self._machine = machine

    def code(self, what: str, verdict: int) -> bytes:
        """The instructions that end ``what`` with ``verdict`` and allow everything else."""
        machine = self._machine
        numbers, inner = {
            "locks": ((machine.fcntl,), [*_argument(1), *_either(_GET_LOCK, _SET_LOCK)]),
            "maps": ((machine.mmap,), [*_argument(3), (_IF_ANY, 0, 1, _SHARED)]),
            "reserves": ((machine.fallocate, machine.ftruncate), []),
        }[what]
        body = [*inner, (_RETURN, 0, 0, verdict), (_RETURN, 0, 0, _ALLOW)]
        first, *others = numbers
        allowed = len(body) - 1
        return b"".join(
            _INSTRUCTION.pack(*each)
            for each in (
                (_LOAD, 0, 0, _ARCHITECTURE),
                (_IF_EQUAL, 0, len(others) + 2 + allowed, machine.audit),
                (_LOAD, 0, 0, _NUMBER),
                *((_IF_EQUAL, 1 + left, 0, each) for left, each in enumerate(reversed(others))),
                (_IF_EQUAL, 0, allowed, first),
                *body,
            )
        )


def _argument(number: int) -> list[tuple[int, int, int, int]]:
    low = 0 if sys.byteorder == "little" else 4
    return [(_LOAD, 0, 0, 16 + 8 * number + low)]


def _either(one: int, other: int) -> list[tuple[int, int, int, int]]:
    return [(_IF_EQUAL, 1, 0, one), (_IF_EQUAL, 0, 1, other)]


class Refusals:
    """Counts the refusals that tapring meets in one thread: hand ``note`` to ``sys.setprofile``."""

    def __init__(self) -> None:
        self.met = 0

    def note(self, frame: FrameType, event: str, of: Any) -> None:
        """Count a call that has raised."""
        if event == "c_exception":
            self.met += of in (fcntl.fcntl, os.posix_fallocate)
        elif event == "return" and of is None:  # it raised: mmap is a type, not a function
            self.met += frame.f_code is Segment.map.__code__
