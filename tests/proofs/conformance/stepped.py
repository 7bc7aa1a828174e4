"""A reader that is stopped after each of its instructions: whenever it dies, the next one is right.

What is checked after each instruction is what a death there would leave: the consumer's words, and
the output. So the order of a reader's stores does not depend on when a kill happens to come.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from collections.abc import Sequence
from typing import IO, Final

from tapring.wire import layout
from tapring.wire.layout import Ended

from .cases import Skipped
from .image import Image
from .running import Failed, ends, expect, started, wait_until

_SINGLESTEP, _DETACH, _SEIZE, _INTERRUPT = 9, 17, 0x4206, 0x4207
_MOST_STEPS: Final = 5_000_000
_FRAMES: Final = 3
_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def check_stepped(kind: str, command: Sequence[str], delivery: str) -> None:
    """Let a reader read some frames instruction by instruction. Raises Failed, and Skipped."""
    with Image(kind, slots=64) as image, tempfile.TemporaryFile() as output:
        image.put_next(2)
        with started(command, image.address, output) as process:
            wait_until(lambda: image.consumer[layout.HEAD] == image.tail, "a first frame", process)
            _ptrace(_SEIZE, process)
            _ptrace(_INTERRUPT, process)
            _wait(process)
            for events in range(1, _FRAMES + 1):
                image.lose(events)
                image.put_next(events)
            image.end(Ended.CLOSED)
            _step(process, image, output, delivery)
            _ptrace(_DETACH, process)
            expect("exit code", 0, ends(process))


def _step(process: subprocess.Popen[bytes], image: Image, output: IO[bytes], delivery: str) -> None:
    """Step until all is released, and check each state that differs from the one before."""
    words, fd = image.consumer, output.fileno()
    watched = layout.HEAD, layout.RELEASED, layout.MISSED
    before: tuple[int, ...] = ()
    for _ in range(_MOST_STEPS):
        now = (*(words[word] for word in watched), os.fstat(fd).st_size)
        if now != before:
            _check(image, before or now, now, delivery)
            before = now
            if now[0] == image.tail:
                return
        _ptrace(_SINGLESTEP, process)
        _wait(process)
    raise Failed(f"expected the release of {_FRAMES} frames within {_MOST_STEPS} instructions")


def _check(image: Image, before: tuple[int, ...], now: tuple[int, ...], delivery: str) -> None:
    """Raise Failed if a death now would lose or repeat what it must not."""
    head, released, missed, size = now
    if any(new < old for new, old in zip(now, before, strict=True)):
        raise Failed(f"HEAD, RELEASED, MISSED or the output went back: {before}, {now}")
    for frame in image.frames:
        if frame.end > head:
            break
        if released < frame.captured + frame.count:
            raise Failed(f"HEAD {head} was stored before RELEASED, which was still {released}")
        if missed < frame.offered - frame.captured:
            raise Failed(f"HEAD {head} was stored before MISSED, which was still {missed}")
    pieces = [piece for frame in image.frames for piece in frame.pieces]
    if delivery == "at-least-once" and size < sum(map(len, pieces[:released])):
        raise Failed(f"at least once: {released} events were released, but {size} bytes printed")
    if delivery == "at-most-once" and size > sum(map(len, pieces[:released])):
        raise Failed(f"at most once: {size} bytes were printed, but {released} events released")


# ---- the process, as its tracer ------------------------------------------------------------------


def _wait(process: subprocess.Popen[bytes]) -> None:
    _, status = os.waitpid(process.pid, 0)
    if not os.WIFSTOPPED(status):
        process.returncode = os.waitstatus_to_exitcode(status)
        raise Failed(f"expected a reader that reads on, but it ended with {process.returncode}")


def _ptrace(request: int, process: subprocess.Popen[bytes]) -> None:
    if _libc.ptrace(request, process.pid, None, None):
        raise Skipped(f"no process may be traced here: {os.strerror(ctypes.get_errno())}")
