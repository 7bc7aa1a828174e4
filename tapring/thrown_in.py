"""Telling exceptions that were thrown into tapring's code from those that its code raised.

A signal handler may raise anywhere, and most likely where most time is spent: after the C call that
serializes a batch. Such an exception (a job's time limit, say) is meant for the engine. If it were
taken for an event that cannot be serialized, the engine would never see it.

Where tapring works on its own data, the place decides (``was_thrown_in``). While it reads and
serializes a batch, code of the events may run and raise, too. There, trying again decides
(``comes_of``): an event fails again, and a handler that has raised does not.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from typing import Any, Final

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
_TRIES: Final = 3
_CALLED: Final = sys.stdlib_module_names | {__package__, "msgspec", "numpy", "posix_ipc"}


def was_thrown_in(error: Exception) -> bool:
    """Return whether ``error`` comes from a signal handler or another thread, and not from us.

    Either its traceback leads into code that tapring does not call, such as a handler's; or
    nothing of ours raises such an exception (``PyThreadState_SetAsyncExc``, or a handler in C).
    """
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] not in _CALLED:
            return True
        trace = trace.tb_next
    # The kernel's OSErrors have a number; one that was thrown in as a class has none.
    of_the_kernel = isinstance(error, OSError) and error.errno is not None
    return not (of_the_kernel or isinstance(error, _OURS))


def is_of_a_handler(error: BaseException) -> bool:
    """Return whether an OSError is a signal handler's (a TimeoutError, say): it has no number.

    Raise it where it was caught. A function that raised it for its caller would keep it in its
    frame, and so everything that any frame of its traceback refers to, until the next collection.
    """
    return isinstance(error, OSError) and error.errno is None


def comes_of(error: Exception, function: Callable[[Any], object], argument: Any) -> bool:
    """Return whether ``function`` raised ``error`` because of ``argument``, whose code it may run.

    In doubt it is called again, because a handler may raise again, too: it must fail three times
    more with an exception of that type, from code that is not ours. Raises one of another type that
    came just once in between: a handler has thrown it into this.
    """
    if not was_thrown_in(error):
        return True
    alike = 0
    others: list[Exception] = []
    in_a_row = 0
    try:
        for _ in range(2 * _TRIES):  # it may fail in another way each time: a handler does not
            try:
                function(argument)
            except Exception as again:
                if type(again) is type(error) and was_thrown_in(again):
                    alike, in_a_row = alike + 1, 0
                else:
                    same = in_a_row and type(again) is type(others[-1])
                    in_a_row = in_a_row + 1 if same else 1
                    others.append(again)
            else:
                return False
            if in_a_row == _TRIES:
                return False
            if alike == _TRIES:
                break
        if len(others) == 1 and alike == _TRIES and was_thrown_in(others[0]):
            raise others[0]
        return True
    finally:
        others.clear()  # a traceback keeps this frame
