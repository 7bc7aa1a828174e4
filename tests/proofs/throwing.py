"""Throws an exception at a chosen bytecode of the package, and says where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import CO_GENERATOR
from pathlib import Path
from types import CodeType, FrameType

import tapring

from .bytecodes import ALL, watcher

PACKAGE = str(Path(tapring.__file__).parent)


class Thrower:
    """Throws once in each call of ``at``, and remembers in ``met`` at which bytecodes it threw.

    ``throw`` is called to throw; ``thrown`` are the exceptions that it may raise.
    """

    def __init__(self, throw: Callable[[], None], *thrown: type[BaseException]) -> None:
        self.met: dict[CodeType, set[int]] = {}
        self._throw = throw
        self._thrown = thrown
        self._left: int | None = None  # None: not armed
        self._last = ""
        self._watcher = watcher(
            self._meet, lambda code: ALL if code.co_filename.startswith(PACKAGE) else None
        )

    def at(self, step: int, work: Callable[[], object]) -> bool:
        """Do ``work`` and throw at its ``step``-th bytecode in our code; False if it has fewer."""
        self._left = step
        try:
            next(_with_its_own_exception(lambda: self._watcher.run(work)))
        except self._thrown:
            assert self._left is None, "raised, but not by this"
            return True
        finally:
            met, self._left = self._left is None, None
        assert not met, f"thrown in {self._last}, and did not arrive"
        return False

    def bytecodes(self, *functions: Callable[..., object]) -> list[int]:
        """The number of bytecodes in each of ``functions`` at which it threw."""
        return [len(self.met.get(function.__code__, ())) for function in functions]  # type: ignore[attr-defined]

    def close(self) -> None:
        """Stop watching bytecodes."""
        self._watcher.close()

    def _meet(self, frame: FrameType, offset: int) -> None:
        """Throw if it is this bytecode's turn, but not where Python would drop the exception."""
        if self._left is None:
            return
        if self._left > 0:
            self._left -= 1
        elif not _in_finalizer(frame) and not _in_end_of_generator(frame):
            self._left = None
            self._last = f"{frame.f_code.co_qualname}, line {frame.f_lineno}"
            self.met.setdefault(frame.f_code, set()).add(offset)
            self._throw()


def _with_its_own_exception(work: Callable[[], None]) -> Iterator[None]:
    """Do ``work``, and forget with this generator which exception it was handling.

    A trace function can throw where no signal handler runs: between an exception's coming and the
    bytecode that begins its handling. Up to 3.11 the thread then handles that exception for good,
    and so keeps its frames, which may hold the table's mutex.
    """
    yield work()


def _in_end_of_generator(frame: FrameType) -> bool:
    """Whether Python's own handler around a generator's body runs (from 3.12 on): it has no line.

    No signal is handled there. It also runs as a generator that is not used up is finalized.
    """
    return bool(frame.f_code.co_flags & CO_GENERATOR) and frame.f_lineno is None


def _in_finalizer(frame: FrameType | None) -> bool:
    while frame and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None
