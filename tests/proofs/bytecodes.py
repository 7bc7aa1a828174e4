"""Calls a function before each bytecode that a thread runs in chosen code, on every CPython.

Up to 3.11 a trace function sees each bytecode. Later versions have ``sys.monitoring``, whose
INSTRUCTION events come before each bytecode, also on 3.13, where trace functions miss some.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Container
from types import CodeType, FrameType
from typing import Any

monitoring: Any = getattr(sys, "monitoring", None)

Meet = Callable[[FrameType, int], None]
"""Is called with the frame and the offset of the bytecode that comes next. It may raise."""
Wanted = Callable[[CodeType], Container[int] | None]
"""Tells the offsets of the bytecodes to meet in a function; None: it is not watched."""
ALL = range(1 << 30)


class Watcher:
    """Calls ``meet`` before each ``wanted`` bytecode, in threads that are inside ``run``.

    goes_on: it also watches the rest of a thread after ``meet`` has raised there.
    """

    def __init__(self, meet: Meet, wanted: Wanted, *, goes_on: bool = False) -> None:
        self._meet = meet
        self._wanted = wanted
        self._goes_on = goes_on

    def run(self, work: Callable[[], object]) -> None:
        """Do ``work`` in this thread, watched."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop watching bytecodes."""


class Tracing(Watcher):
    """Sees bytecodes from a trace function."""

    def __init__(self, meet: Meet, wanted: Wanted, *, goes_on: bool = False) -> None:
        super().__init__(meet, wanted, goes_on=goes_on)
        self._tracers: dict[CodeType, Any] = {}

    def run(self, work: Callable[[], object]) -> None:
        before = sys.gettrace()
        sys.settrace(self._at_call)
        try:
            work()
        finally:
            sys.settrace(before)

    def _at_call(self, frame: FrameType, _event: str, _arg: object) -> object:
        tracer = self._tracer(frame.f_code)
        if tracer is not None:
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
        return tracer

    def _tracer(self, code: CodeType) -> Any:
        """The trace function for the frames of ``code``; None if it is not watched."""
        if code not in self._tracers:
            offsets = self._wanted(code)
            self._tracers[code] = None if offsets is None else self._tracer_of(offsets)
        return self._tracers[code]

    def _tracer_of(self, offsets: Container[int]) -> Any:
        def at_opcode(frame: FrameType, event: str, _arg: object) -> object:
            if event == "opcode" and frame.f_lasti in offsets:
                try:
                    self._meet(frame, frame.f_lasti)
                except BaseException:
                    if self._goes_on:
                        sys.setprofile(self._trace_again)
                    raise
            return at_opcode

        return at_opcode

    def _trace_again(self, frame: FrameType | None, _event: str, _arg: object) -> None:
        """Trace again, at the first call or return after Python has stopped it.

        It stops tracing a thread whose trace function raises.
        """
        sys.setprofile(None)
        sys.settrace(self._at_call)
        while frame is not None:
            if frame.f_trace is None:
                frame.f_trace = self._tracer(frame.f_code)
            frame = frame.f_back


class Monitoring(Watcher):
    """Sees bytecodes from ``sys.monitoring``: a function is watched from its first call on."""

    def __init__(self, meet: Meet, wanted: Wanted, *, goes_on: bool = False) -> None:
        super().__init__(meet, wanted, goes_on=goes_on)
        events = monitoring.events
        # Coverage and debuggers have ids of their own: any free one will do.
        self._tool = next(tool for tool in range(6) if monitoring.get_tool(tool) is None)
        monitoring.use_tool_id(self._tool, "tests of interruption")
        for event in (events.PY_START, events.PY_RESUME):
            monitoring.register_callback(self._tool, event, self._at_call)
        monitoring.register_callback(self._tool, events.INSTRUCTION, self._at_instruction)
        self._watched: dict[CodeType, Container[int]] = {}
        self._threads: set[int] = set()
        monitoring.set_events(self._tool, events.PY_START | events.PY_RESUME)

    def close(self) -> None:
        monitoring.set_events(self._tool, 0)
        for code in self._watched:
            monitoring.set_local_events(self._tool, code, 0)
        for event in (monitoring.events.PY_START, monitoring.events.PY_RESUME):
            monitoring.register_callback(self._tool, event, None)
        monitoring.register_callback(self._tool, monitoring.events.INSTRUCTION, None)
        monitoring.free_tool_id(self._tool)

    def run(self, work: Callable[[], object]) -> None:
        self._threads.add(threading.get_ident())
        try:
            work()
        finally:
            self._threads.discard(threading.get_ident())

    def _at_call(self, code: CodeType, _offset: int) -> object:
        offsets = self._wanted(code)
        if offsets is not None:
            self._watched[code] = offsets
            monitoring.set_local_events(self._tool, code, monitoring.events.INSTRUCTION)
        return monitoring.DISABLE  # for this code, which is now watched

    def _at_instruction(self, code: CodeType, offset: int) -> object:
        if offset not in self._watched[code]:
            return monitoring.DISABLE
        if threading.get_ident() in self._threads:
            self._meet(sys._getframe(1), offset)
        return None


def watcher(meet: Meet, wanted: Wanted, *, goes_on: bool = False) -> Watcher:
    """A Watcher that sees every bytecode on this CPython."""
    made = Monitoring if sys.version_info >= (3, 12) else Tracing
    return made(meet, wanted, goes_on=goes_on)
