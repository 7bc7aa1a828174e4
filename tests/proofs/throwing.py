"""Throws an exception at a chosen bytecode of the package, on every CPython, and says where.

Up to 3.11 a trace function sees each bytecode. Later versions have ``sys.monitoring``, whose
INSTRUCTION events come before each bytecode, also on 3.13, where trace functions miss some.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import tapring

monitoring: Any = getattr(sys, "monitoring", None)
PACKAGE = str(Path(tapring.__file__).parent)


class Thrower:
    """Throws once in each call of ``at``, and remembers in ``met`` at which bytecodes it threw.

    ``throw`` is called to throw; ``thrown`` are the exceptions that it may raise.
    """

    def __init__(self, throw: Callable[[], None], thrown: tuple[type[BaseException], ...]) -> None:
        self.met: dict[CodeType, set[int]] = {}
        self._throw = throw
        self._thrown = thrown
        self._left: int | None = None  # None: not armed
        self._thread = 0
        self._last = ""

    def at(self, step: int, work: Callable[[], object]) -> bool:
        """Do ``work`` and throw at its ``step``-th bytecode in our code; False if it has fewer."""
        self._thread = threading.get_ident()
        self._left = step
        try:
            next(_with_its_own_exception(lambda: self._watching(work)))
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

    def _watching(self, work: Callable[[], object]) -> None:
        raise NotImplementedError

    def _meet(self, frame: FrameType, offset: int) -> None:
        """Throw if it is this bytecode's turn. Not in a finalizer: Python drops its exceptions."""
        if self._left is None or threading.get_ident() != self._thread:
            return
        if self._left > 0:
            self._left -= 1
        elif not _in_finalizer(frame):
            self._left = None
            self._last = f"{frame.f_code.co_qualname}, line {frame.f_lineno}"
            self.met.setdefault(frame.f_code, set()).add(offset)
            self._throw()


class Tracing(Thrower):
    """Throws from a trace function."""

    def _watching(self, work: Callable[[], object]) -> None:
        before = sys.gettrace()
        sys.settrace(self._at_call)
        try:
            work()
        finally:
            sys.settrace(before)

    def _at_call(self, frame: FrameType, _event: str, _arg: object) -> object:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._at_opcode

    def _at_opcode(self, frame: FrameType, event: str, _arg: object) -> object:
        if event == "opcode":
            self._meet(frame, frame.f_lasti)
        return self._at_opcode


class Monitoring(Thrower):
    """Throws from ``sys.monitoring``: each function of ours is watched from its first call on."""

    def __init__(self, throw: Callable[[], None], thrown: tuple[type[BaseException], ...]) -> None:
        super().__init__(throw, thrown)
        events = monitoring.events
        # Coverage and debuggers have ids of their own: any free one will do.
        self._tool = next(tool for tool in range(6) if monitoring.get_tool(tool) is None)
        monitoring.use_tool_id(self._tool, "tests of interruption")
        for event in (events.PY_START, events.PY_RESUME):
            monitoring.register_callback(self._tool, event, self._at_call)
        monitoring.register_callback(self._tool, events.INSTRUCTION, self._at_instruction)
        self._watched: list[CodeType] = []
        monitoring.set_events(self._tool, events.PY_START | events.PY_RESUME)

    def close(self) -> None:
        monitoring.set_events(self._tool, 0)
        for code in self._watched:
            monitoring.set_local_events(self._tool, code, 0)
        for event in (monitoring.events.PY_START, monitoring.events.PY_RESUME):
            monitoring.register_callback(self._tool, event, None)
        monitoring.register_callback(self._tool, monitoring.events.INSTRUCTION, None)
        monitoring.free_tool_id(self._tool)

    def _watching(self, work: Callable[[], object]) -> None:
        work()

    def _at_call(self, code: CodeType, _offset: int) -> object:
        if code.co_filename.startswith(PACKAGE):
            self._watched.append(code)
            monitoring.set_local_events(self._tool, code, monitoring.events.INSTRUCTION)
        return monitoring.DISABLE  # for this code, which is now watched

    def _at_instruction(self, _code: CodeType, offset: int) -> object:
        self._meet(sys._getframe(1), offset)
        return None


def _with_its_own_exception(work: Callable[[], None]) -> Iterator[None]:
    """Do ``work``, and forget with this generator which exception it was handling.

    A trace function can throw where no signal handler runs: between an exception's coming and the
    bytecode that begins its handling. Up to 3.11 the thread then handles that exception for good,
    and so keeps its frames, which may hold the table's mutex.
    """
    yield work()


def _in_finalizer(frame: FrameType | None) -> bool:
    while frame and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


def thrower(throw: Callable[[], None], *thrown: type[BaseException]) -> Thrower:
    """A Thrower that sees every bytecode on this CPython."""
    return (Monitoring if sys.version_info >= (3, 12) else Tracing)(throw, thrown)
