"""``tapring attach``, also ``python -m tapring.attach``: see an engine's events and what was lost.

This module holds the command's course and its exit codes. Its options are ``attach_options``, its
last words ``summary``; carrying the events is ``delivery``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

import click

from ..consumer.intake import AT_LEAST_ONCE
from ..consumer.session import Session
from ..delivery.report import Report
from ..delivery.transfer import Transfer
from ..ended_by import EndedBy
from ..errors import TapError
from ..events.redaction import Redactor
from ..events.selection import Select
from ..files.meta import CaptureMeta
from ..files.writing import Look, Sink, check_output, open_sink
from . import summary
from .arguments import ADDRESS
from .attach_options import Options, options
from .command import Command
from .messages import fail, say
from .opening import open_session, say_when_it_ends
from .progress import show_progress
from .signals import Interrupts
from .streams import silence_stdout

EXIT_ENGINE_DIED: Final = 4


_EXAMPLES: Final = (
    "tapring attach shop                            # every event, until Ctrl-C",
    "tapring attach shop --where \"level=='error'\"   # only the errors",
    "tapring attach shop --grep timeout --limit 10  # ten events with that word",
    "tapring attach shop --stage raw,decoded        # two stages, in order",
    "tapring attach shop -o shop.ndjson.gz --redact user.email --duration 1h",
    "tapring attach 'web-*' --follow                # several, over restarts",
)
_EPILOG: Final = """\
Lanes (processes) that cannot be read are named at the end, with the reason. The engine never waits
for this command: events that do not fit into the ring are dropped and counted.

Filters apply in the order --grep, --where, --sample, --rate, --redact, --fields, --limit,
regardless of the order of the options.

\b
Exit codes:
  0  the capture completed, even if it saw no events
  2  wrong usage
  3  the capture could not start, or could not write
  4  the engine died during the capture
"""


@click.command("attach", cls=Command, examples=_EXAMPLES, epilog=_EPILOG)
@click.argument("address", type=ADDRESS)
@options
def command(address: str, **given: Any) -> None:
    """Show the events of the engine at ADDRESS, live.

    ADDRESS is ENGINE (all its processes), a pattern of engines ('web-*'), ENGINE.LANE or a pid (one
    process), or ENGINE:ID for a session that exists already: one that the engine registered, or
    that tapring open made. Processes that start during the capture are part of it, from their first
    event. The capture ends when no process has been left for a second.
    """
    asked = Options(**given)
    asked.check(address)
    select, redact = asked.select(), asked.redactor()
    try:
        written = asked.written
        check_output(asked.output, written.format, asked.rotate, envelope=written.envelope)
        session = open_session(address, asked, select, redact)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except (TapError, OSError, MemoryError) as error:
        fail(error)
    except KeyboardInterrupt:
        fail("interrupted before the capture began")
    sys.exit(_run(address, session, asked, select, redact))


def _run(
    address: str, session: Session, asked: Options, select: Select, redact: Redactor | None
) -> int:
    """Capture to the end, say what came of it, and return the exit code."""
    # Signals are caught before the output is opened: one in between would leave an empty file.
    with session, Interrupts(lambda: session.end(EndedBy.INTERRUPT)):
        sink = _open_sink(session, asked, lambda: report.meta())
        if asked.summary == "text":
            say_when_it_ends(address, session, asked)
        report = Report(session, select, redact, sink)
        transfer = Transfer(
            session,
            sink,
            limit=asked.limit,
            flush_each=asked.delivery == AT_LEAST_ONCE,
            progress=show_progress(session, sink, asked.limit, wanted=asked.progress),
        )
        transfer.run()
    if session.ended_by == "output-closed":
        silence_stdout()
    if transfer.failure is not None:
        say(transfer.failure)
    summary.show(report, asked.summary)
    if transfer.failure is not None:
        return TapError.exit_code
    return EXIT_ENGINE_DIED if session.ended_by == "engine-death" else 0


def _differing(session: Session) -> frozenset[str]:
    """What the lanes that are read differ in: "engine", "lane", "stage"."""
    joined = session.lanes_joined
    return frozenset(
        what
        for what in ("engine", "lane", "stage")
        if len({getattr(each, what) for each in joined}) > 1
    )


def _open_sink(session: Session, asked: Options, describe: Callable[[], CaptureMeta]) -> Sink:
    try:
        written = asked.written
        return open_sink(
            asked.output,
            written.format,
            envelope=written.envelope,
            kind=session.kind,
            dtype=session.dtype,
            look=Look(asked.color, asked.expand, origin=_differing(session), utc=asked.utc),
            rotation=asked.rotate,
            describe=describe,
        )
    except (ValueError, OSError) as error:
        session.close()
        if isinstance(error, ValueError):
            raise click.UsageError(str(error)) from None
        fail(error)
