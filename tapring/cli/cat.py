"""``tapring cat``: what attach does to live events, done to recorded files.

This module holds the command's options, its course and its exit codes. ``cat_report`` has its last
words; reading is ``delivery.recorded``.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import click

from ..delivery.recorded import Recorded
from ..delivery.recorded_report import RecordedReport
from ..delivery.transfer import Transfer
from ..ended_by import EndedBy
from ..errors import TapError
from ..events.redaction import Redactor
from ..events.selection import Select
from ..files.formats import ENVELOPED, format_by_suffix
from ..files.meta import CaptureMeta
from ..files.part import JOURNAL, PART
from ..files.source import STDIN
from ..files.writing import STDOUT, Sink
from . import cat_report
from .arguments import Count, offers
from .command import Command, group
from .inputs import FORMAT_READ, TIMES, Inputs, open_recorded
from .messages import fail, say
from .progress import place_of
from .reading_progress import ReadingProgress
from .selecting import REDACT, SELECT, Selecting
from .signals import Interrupts
from .streams import silence_stdout
from .writing import SHOW, WRITE, Writing, Written

_EXAMPLES: Final = (
    "tapring cat night.ndjson.gz --where \"level=='error'\"  # only the errors",
    "tapring cat night.*.ndjson.gz -o night.parquet  # a rotated capture, for SQL",
    "tapring cat night.ndjson.gz --since 03:10 --until 03:20  # ten minutes of it",
    "tapring cat raw.ndjson --redact user.email -o share.ndjson  # safe to share",
    "zcat old.json.gz | tapring cat - --grep timeout",
)
_EPILOG: Final = """\
Filters apply in the order --since and --until, --grep, --where, --sample, --rate, --redact,
--fields, --limit, regardless of the order of the options.

\b
Exit codes:
  0  everything was read, even if nothing was left
  2  wrong usage
  3  a FILE could not be read to its end, or the output not be written
"""
_OF_ONE_KIND: Final = ("raw", "npy")


@dataclass(frozen=True, kw_only=True)
class Options(Selecting, Writing, Inputs):
    """What was asked for; each field is the option of that name."""

    limit: int | None
    no_envelope: bool

    def check(self) -> None:
        """Raise click.UsageError if options contradict each other."""
        self.check_inputs()
        self.check_selection()
        self.check_writing()
        if self.envelope and self.no_envelope:
            raise click.UsageError(
                "--envelope and --no-envelope contradict each other. Use one of them."
            )


@click.command("cat", cls=Command, examples=_EXAMPLES, epilog=_EPILOG)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, shell_complete=offers("files"))
@group(
    "What to read",
    *FORMAT_READ,
    *TIMES,
    click.option("--limit", type=Count(), default=None, help="Stop after this many events."),
)
@SELECT
@REDACT
@WRITE
@group(
    "Of files that were written with --envelope",
    click.option(
        "--no-envelope",
        is_flag=True,
        help="Write the events alone. By default, their envelopes are kept if all files have them "
        "and the format has a place for them.",
    ),
)
@SHOW
def command(**given: Any) -> None:
    """Filter, redact and convert the events of recorded files.

    FILE is what tapring attach -o wrote, or any file of JSON or text lines; - is standard input.
    Several files are read one after the other, those of a rotated capture in the order of their
    numbers. The name that tapring attach --rotate was given stands for all its files, and a
    directory for the captures in it. Each .meta.json beside a FILE is used and never read as
    events.
    """
    asked = Options(**given)
    asked.check()
    select, redact = asked.select(), asked.redactor()
    with Interrupts() as interrupts:
        recorded = open_recorded(asked, interrupts, select, redact)
        sys.exit(_run(recorded, asked, select, redact))


def _run(recorded: Recorded, asked: Options, select: Select, redact: Redactor | None) -> int:
    """Read to the end, say what came of it, and return the exit code."""
    place = place_of(asked.output)
    sink = _open_sink(recorded, asked, lambda: report.meta())
    report = RecordedReport(recorded, select, redact, sink)
    progress = ReadingProgress(recorded, place, lambda: sink.events, wanted=asked.progress)
    transfer = Transfer(recorded, sink, limit=asked.limit, progress=progress)
    transfer.run()
    progress.close()
    if recorded.ended_by == EndedBy.OUTPUT_CLOSED:
        silence_stdout()
    failures = [*recorded.failures, *filter(None, [transfer.failure])]
    for failure in failures:
        say(failure)
    cat_report.show(report, asked.summary)
    return TapError.exit_code if failures else 0


def _open_sink(recorded: Recorded, asked: Options, describe: Callable[[], CaptureMeta]) -> Sink:
    try:
        _refuse_own_input(recorded, asked.output)
        written = _written(recorded, asked)
        kind = recorded.kinds[0][1]
        return asked.open_sink(
            written,
            asked.check_place(written),
            kind=kind.name,
            dtype=getattr(kind, "dtype", None),
            origin=_differing(recorded),
            describe=describe,
            fields=asked.columns,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        fail(error)


def _refuse_own_input(recorded: Recorded, output: str) -> None:
    """Raise click.UsageError if what is read would be renamed, or grow, by what is written."""
    paths = [each.path for each in recorded.recordings if each.path != STDIN]
    if output == STDOUT:
        with suppress(OSError, ValueError):  # standard output has no descriptor, perhaps
            written = os.fstat(sys.stdout.fileno())
            for path in paths:
                if stat.S_ISREG(written.st_mode) and os.path.samestat(written, os.stat(path)):
                    raise click.UsageError(f"{path} is both read and written. Use -o, or a pipe.")
        return
    place = os.path.realpath(output)
    for path in paths:
        if os.path.realpath(path) in (place, place + PART, place + JOURNAL + PART):
            raise click.UsageError(
                f"-o {output} would take the place of {path}, which is read. Write to another "
                f"name, such as -o new-{os.path.basename(output)}"
            )


def _written(recorded: Recorded, asked: Options) -> Written:
    """The format, None for the usual one, and whether events are written in envelopes."""
    name = asked.wanted_format or format_by_suffix(asked.output)
    bare = [each.path for each in recorded.recordings if not each.is_enveloped]
    if asked.envelope and bare:
        raise click.UsageError(
            f"{bare[0]} was written without --envelope, so it does not say which lane its events "
            f"are from. Leave out --envelope"
        )
    terminal = asked.is_on_a_terminal
    kept = not bare and not asked.no_envelope
    if name is None and not terminal and (asked.envelope or kept):
        name = "ndjson"
    envelope = asked.envelope or (kept and name in ENVELOPED)
    kinds = {(kind.name, kind.describe()) for _, kind in recorded.kinds}
    if len(kinds) > 1 and not envelope:
        if name in _OF_ONE_KIND:
            what = ", ".join(f"{stage} ({kind.name})" for stage, kind in recorded.kinds)
            raise click.UsageError(
                f"--format {name} is for events of one kind, and the files have several: {what}. "
                f"Try --format ndjson, or --stage for one of them"
            )
        if name is None and not terminal:
            name = "ndjson"
        recorded.as_json = name not in (None, "pretty")
    return Written(name, envelope)


def _differing(recorded: Recorded) -> frozenset[str]:
    """What the events differ in, as far as the metas say so: "engine", "lane", "stage"."""
    metas = [each.meta for each in recorded.recordings if each.meta is not None]
    found = {
        "engine": {each.engine for each in recorded.recordings},
        "lane": {lane for meta in metas for lane in meta.lanes or ()},
        "stage": {stage for stage, _ in recorded.kinds},
    }
    enveloped = any(each.is_enveloped for each in recorded.recordings)
    return frozenset(
        what for what, each in found.items() if len(each) > 1 and (enveloped or what != "lane")
    )
