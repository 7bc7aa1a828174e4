"""Telling exceptions that were thrown into tapring's code from those that its code raised.

A signal handler may raise anywhere, and most likely where most time is spent: after the C call that
serializes a batch. Such an exception (a job's time limit, say) is meant for the engine. If it were
taken for an event that cannot be serialized, the engine would never see it.
"""

from __future__ import annotations

import signal
import struct
from types import CodeType
from typing import Final

import msgspec

from .errors import TapError

# The exceptions that serializing and storing raise by themselves.
_OURS: Final = (
    TapError,
    msgspec.MsgspecError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    BufferError,
    MemoryError,
    RecursionError,
    struct.error,
)


def was_thrown_in(error: Exception) -> bool:
    """Return whether ``error`` comes from a signal handler or another thread, and not from us.

    The traceback decides: it contains a handler's code, or it ends in our code with an exception
    that nothing there raises (``PyThreadState_SetAsyncExc``).
    """
    trace = error.__traceback__
    if trace is None:
        return False
    handlers = _handlers()
    while True:
        if trace.tb_frame.f_code in handlers:
            return True
        if trace.tb_next is None:
            break
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "")
    # The kernel's OSErrors have a number; one that was thrown in as a class has none.
    of_ours = isinstance(error, _OURS) or (isinstance(error, OSError) and error.errno is not None)
    return module.startswith(__package__) and not of_ours


def _handlers() -> set[CodeType]:
    found = set()
    for signum in signal.valid_signals():
        handler = signal.getsignal(signum)
        handler = getattr(handler, "func", handler)  # of a functools.partial
        for candidate in (handler, getattr(type(handler), "__call__", None)):  # noqa: B004
            code = getattr(candidate, "__code__", None)
            if isinstance(code, CodeType):
                found.add(code)
    return found
