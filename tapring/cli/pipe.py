"""``tapring pipe``: ``cat`` for a pipeline, that can be tapped.

The copying is ``adapters.pipe``'s; arguments, signals and exit codes live here.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType

import click

from ..adapters.pipe import run
from ..errors import TapError


@click.command("pipe")
@click.argument("name")
def command(name: str) -> None:
    """Copy standard input to standard output; let NAME be tapped meanwhile.

    The lines that go by are the events of stage raw of an engine called NAME:
    producer | tapring pipe NAME | consumer, and elsewhere: tapring attach NAME --stage raw
    """
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) != signal.SIG_IGN:  # nohup, a job in the background
            signal.signal(signum, _end)
    try:
        _keep_stderr_taken()
        code = run(name)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="NAME") from None
    except _Signalled as signalled:
        code = 128 + signalled.signum
    except (OSError, TapError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        click.echo(f"tapring: error: {reason or error}", err=True)
        code = 3
    _leave(code)


def main() -> None:
    """Run the command; its errors are one line."""
    command(prog_name="python -m tapring.pipe")


class _Signalled(BaseException):
    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def _end(signum: int, _frame: FrameType | None) -> None:
    raise _Signalled(signum)


def _leave(code: int) -> None:
    """Exit with ``code``; where it stands for a signal, by that signal, as ``cat`` would."""
    if code > 128:
        signum = code - 128
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
    sys.exit(code)


def _keep_stderr_taken() -> None:
    """Where descriptor 2 is closed, open /dev/null for it, lest it become the registry's."""
    with suppress(OSError):
        os.fstat(2)
        return
    fd = os.open(os.devnull, os.O_WRONLY)
    if fd != 2:
        os.dup2(fd, 2)
        os.close(fd)
