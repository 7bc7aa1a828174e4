"""``tapring dump``: what the recorders of an engine hold, also after it has died.

This module holds the command's options, its course and its exit codes. ``dump_report`` has its last
words; reading is ``consumer.past``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import click

from ..consumer.past import Past, past
from ..delivery.past_report import PastReport
from ..delivery.transfer import Transfer
from ..ended_by import EndedBy
from ..errors import TapError
from ..events.redaction import Redactor
from ..events.selection import Select
from ..files.meta import CaptureMeta
from ..files.writing import Output, Sink
from ..shm.requests import split_stages
from ..words import counted, duration_in_words
from . import dump_report
from .arguments import (
    RECORDED_ANYWHERE,
    RECORDED_STAGES,
    Count,
    Last,
    LastOf,
    is_url,
)
from .clock import Between, Clock
from .command import Command, group
from .inputs import TIMES
from .messages import fail, say
from .selecting import REDACT, SELECT, Selecting
from .signals import Interrupts
from .streams import silence_stdout
from .writing import SHOW, WRITE, Writing, Written, differing

_EXAMPLES: Final = (
    "tapring dump shop                      # all that it recorded, the newest last",
    "tapring dump shop --last 30s           # the last thirty seconds",
    "tapring dump shop --last 500 -o end.ndjson",
    "tapring dump shop --where \"level=='error'\" --stage raw,decoded",
    "tapring ls --dead                      # which dead engines have some",
)
_EPILOG: Final = """\
Recordings of dead processes stay in shared memory until newer ones push them out, or until tapring
gc --evidence removes them. An engine records with Tap(NAME, recorder="decoded"), or with
TAPRING_RECORDER=decoded in its environment.

\b
Exit codes:
  0  everything was read, even if nothing was left
  2  wrong usage
  3  nothing was recorded, or it could not be read, or not be written
"""


@dataclass(frozen=True, kw_only=True)
class Options(Selecting, Writing):
    """What was asked for; each field is the option of that name."""

    stage: str | None
    last: LastOf | None
    since: Clock | None
    until: Clock | None
    limit: int | None

    def check(self) -> None:
        """Raise click.UsageError if options contradict each other."""
        self.check_selection()
        self.check_writing()
        if self.last is not None and (self.since is not None or self.until is not None):
            raise click.UsageError("--last cannot be combined with --since or --until.")

    @property
    def window(self) -> str | None:
        """What was asked for, in words; None for everything."""
        if self.last is not None and self.last.events is not None:
            return counted(self.last.events, "event")
        if self.last is not None:
            return duration_in_words(self.last.seconds or 0)
        if self.since is not None or self.until is not None:
            return "the time between --since and --until"
        return None

    def open(self, address: str, select: Select, redact: Redactor | None) -> Past:
        """Copy the recordings. Raises what ``past`` raises."""
        last = self.last or LastOf(None, None)
        timed = self.since is not None or self.until is not None
        return past(
            address,
            stages=None if self.stage is None else split_stages(self.stage),
            last=last.seconds,
            last_events=last.events,
            is_wanted=Between(self.since, self.until) if timed else None,
            select=select,
            redact=redact,
        )


@click.command("dump", cls=Command, examples=_EXAMPLES, epilog=_EPILOG)
@click.argument("address", type=RECORDED_ANYWHERE)
@group(
    "What to read",
    click.option(
        "--last",
        type=Last(),
        default=None,
        help="Only the last 30s (5m, 1h) or the last 500 events. Of a dead process, this counts "
        "back from its last event.",
    ),
    *TIMES,
    click.option(
        "--stage",
        type=RECORDED_STAGES,
        default=None,
        help="One stage, or several: raw,decoded.  [default: all that are recorded]",
    ),
    click.option("--limit", type=Count(), default=None, help="Stop after this many events."),
)
@SELECT
@REDACT
@WRITE
@SHOW
def command(address: str, **given: Any) -> None:
    """Show what an engine recorded, also after it has died.

    ADDRESS is ENGINE (all its processes, living and dead), a pattern of engines ('web-*'),
    ENGINE.LANE or a pid; or http://HOST:PORT/ENGINE, through the tapring serve of another machine
    (TAPRING_TOKEN has the token). The engine does not notice. Events of several processes are
    merged by time.
    """
    asked = Options(**given)
    asked.check()
    if is_url(address):
        from . import remote

        sys.exit(remote.dump(address, asked))
    select, redact = asked.select(), asked.redactor()
    try:
        found = asked.open(address, select, redact)
        written = asked.written_of(several=len(found.kinds) > 1)
        output = asked.check_place(written)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except (TapError, OSError, MemoryError) as error:
        fail(error)
    except KeyboardInterrupt:
        fail("interrupted before any event was read")
    with Interrupts(lambda: found.end(EndedBy.INTERRUPT)):
        sys.exit(_run(found, asked, written, output, select, redact))


def _run(
    found: Past,
    asked: Options,
    written: Written,
    output: Output | None,
    select: Select,
    redact: Redactor | None,
) -> int:
    """Write what was found, say what came of it, and return the exit code."""
    sink = _open_sink(found, asked, written, output, lambda: report.meta())
    report = PastReport(found, select, redact, sink, asked.window)
    transfer = Transfer(found, sink, limit=asked.limit)
    transfer.run()
    if found.ended_by == EndedBy.OUTPUT_CLOSED:
        silence_stdout()
    if transfer.failure is not None:
        say(transfer.failure)
    dump_report.show(report, asked.summary)
    return TapError.exit_code if transfer.failure is not None or _is_partial(found) else 0


def _is_partial(found: Past) -> bool:
    """Whether a recording is there that could not be read, or not to its end."""
    refused = [each for each in found.lanes_refused if each.reason != "stage"]
    return bool(refused) or any(each.damage is not None for each in found.recordings)


def _open_sink(
    found: Past,
    asked: Options,
    written: Written,
    output: Output | None,
    describe: Callable[[], CaptureMeta],
) -> Sink:
    kind = next(iter(found.kinds.values()))
    try:
        return asked.open_sink(
            written,
            output,
            kind=kind.name,
            dtype=getattr(kind, "dtype", None),
            origin=differing(found.recordings),
            describe=describe,
            fields=asked.columns,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        fail(error)
