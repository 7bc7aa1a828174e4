"""``tapring pipe``: a ``cat`` that can be tapped.

Arguments, signals and exit codes live here; ``adapters.pipe`` does the copying.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from types import FrameType
from typing import Final

import click

from ..adapters.pipe import run
from ..errors import TapError
from .command import Command
from .messages import say
from .streams import was_closed

_EXAMPLES: Final = (
    "tail -F app.log | tapring pipe applog > /dev/null",
    "tapring attach applog --stage raw  # in another terminal",
)


@click.command("pipe", cls=Command, examples=_EXAMPLES)
@click.argument("name")
def command(name: str) -> None:
    """Copy standard input to standard output; others can watch.

    The lines are the events of stage raw of an engine called NAME. Put it into any pipeline:
    producer | tapring pipe NAME | consumer
    """
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) != signal.SIG_IGN:  # ignored by nohup, or as a background job
            signal.signal(signum, _end)
    try:
        for fd, what in enumerate(("standard input", "standard output")):
            if was_closed(fd):  # nothing could be copied
                raise OSError(errno.EBADF, f"{what} is closed")
        code = run(name)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="NAME") from None
    except _Signalled as signalled:
        code = 128 + signalled.signum
    except (OSError, TapError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        say(reason or error)
        code = TapError.exit_code
    _leave(code)


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
