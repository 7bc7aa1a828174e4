"""``tapring pipe``: a ``cat`` that can be tapped.

Arguments, signals and exit codes live here; ``adapters.pipe`` does the copying.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import warnings
from types import FrameType
from typing import Any, Final

import click

from ..adapters.delimited import NEWLINE, parse_delimiter
from ..adapters.pipe import run
from ..engine.complaints import TapWarning
from ..errors import TapError
from ..shm.limits import MAX_BUFFER_BYTES
from ..wire import layout
from .arguments import Count, Duration, EngineName, Size
from .command import Command
from .generic import ParamType
from .messages import note, say
from .streams import was_closed

_EXAMPLES: Final = (
    "tail -F app.log | tapring pipe applog > /dev/null",
    "tapring attach applog  # in another terminal",
    "find /srv -print0 | tapring pipe files --delimiter '\\0' | xargs -0 ls -d",
)
_SMALLEST_BUFFER: Final = layout.MIN_SLOTS * layout.MAX_SLOT_BYTES


class Delimiter(ParamType[bytes]):
    """One byte, as it is or as an escape."""

    name = "byte"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        """The byte."""
        try:
            return parse_delimiter(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command("pipe", cls=Command, examples=_EXAMPLES)
@click.argument("name", type=EngineName())
@click.option(
    "--delimiter",
    type=Delimiter(),
    default=None,
    help="The byte that ends an event: '\\0', '\\x1e', ';'. Such events may contain newlines, so "
    "stage raw is then of kind bytes.  [default: newline]",
)
@click.option(
    "--buffer",
    type=Size(),
    default=None,
    help="The size of a session's ring, unless its reader asks for another.  [default: 4MiB]",
)
@click.option(
    "--max-duration",
    type=Duration(),
    default=None,
    help="How long a session may last (30s, 8h, 7d).  [default: 24h]",
)
@click.option(
    "--max-sessions",
    type=Count(),
    metavar="N",
    default=None,
    help=f"How many sessions may be open at a time, {layout.MAX_ROWS} at most.  [default: 8]",
)
def command(
    name: str,
    delimiter: bytes | None,
    buffer: int | None,
    max_duration: float | None,
    max_sessions: int | None,
) -> None:
    """Copy standard input to standard output; others can watch.

    The lines are the events of stage raw of an engine called NAME. Put it into any pipeline:
    producer | tapring pipe NAME | consumer

    A capture that begins in the middle begins with the next whole line. A line that is larger than
    the ring is passed on, and counted by the capture as lost.
    """
    limits = _limits(buffer, max_duration, max_sessions)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) != signal.SIG_IGN:  # ignored by nohup, or as a background job
            signal.signal(signum, _end)
    try:
        for fd, what in enumerate(("standard input", "standard output")):
            if was_closed(fd):  # nothing could be copied
                raise OSError(errno.EBADF, f"{what} is closed")
        with warnings.catch_warnings():
            warnings.simplefilter("default", TapWarning)
            warnings.showwarning = _note_warning
            code = run(name, delimiter=delimiter or NEWLINE, **limits)
    except _Signalled as signalled:
        code = 128 + signalled.signum
    except (OSError, TapError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        say(reason or error)
        code = TapError.exit_code
    _leave(code)


def _limits(
    buffer: int | None, max_duration: float | None, max_sessions: int | None
) -> dict[str, Any]:
    """Return the limits of the Tap that were given. Raises click.BadParameter."""
    limits: dict[str, Any] = {}
    if buffer is not None:
        if not _SMALLEST_BUFFER <= buffer <= layout.MAX_PAYLOAD_BYTES:
            _refuse("--buffer", "size", f"{buffer:,}", "8KiB to 4095MiB")
        limits["buffer_bytes"] = buffer
        limits["max_buffer_bytes"] = max(buffer, MAX_BUFFER_BYTES)
    if max_duration is not None:
        if not max_duration:
            _refuse(
                "--max-duration", "duration", f"{max_duration:g} s", "more than 0, such as 8h or 7d"
            )
        limits["max_duration"] = max_duration
    if max_sessions is not None:
        if max_sessions > layout.MAX_ROWS:
            _refuse("--max-sessions", "number", f"{max_sessions}", f"1 to {layout.MAX_ROWS}")
        limits["max_sessions"] = max_sessions
    return limits


def _note_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Say on one line what an engine is told by a warning: that it cannot be tapped, say."""
    note(str(message).removeprefix("tapring: "))


def _refuse(option: str, what: str, value: str, instead: str) -> None:
    raise click.BadParameter(f"Invalid {what} {value}. Use {instead}.", param_hint=option)


class _Signalled(BaseException):
    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def _end(signum: int, _frame: FrameType | None) -> None:
    raise _Signalled(signum)


def _leave(code: int) -> None:
    """Exit with ``code``. A code above 128 stands for a signal: die of it, as ``cat`` would."""
    if code > 128:
        signum = code - 128
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
    sys.exit(code)
