"""``tapring record``: waits for incidents of an engine, and writes what was recorded around each.

This module holds the command's options, its words and its exit codes. What it does is
``delivery.sidecar``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import click
import msgspec

from ..consumer.incidents import KINDS, IncidentKind, Lookout
from ..consumer.past_ring import HOW
from ..delivery.incident_files import IncidentFiles, WrittenIncident
from ..delivery.sidecar import RecordSummary, Sidecar
from ..errors import TapError
from ..events.selection import Select
from ..shm.discovery import engines
from ..shm.names import split_address
from ..words import counted, visible, were
from .arguments import ADDRESS, EXPRESSION, STAGES, Count, Duration, OneOf
from .command import Command, group
from .generic import ParamType
from .messages import fail, note, print_json
from .options import SUMMARY
from .selecting import REDACT, Selecting
from .signals import Interrupts

_FORMATS: Final = ("ndjson", "raw", "csv", "msgpack", "parquet")
_EXAMPLES: Final = (
    "tapring record shop -o incidents            # when it dies, or asks for it",
    "tapring record shop -o incidents --where \"level=='fatal'\" --before 1m",
    "tapring record 'web-*' -o incidents --on trigger,death,exit --keep 20",
)
_EPILOG: Final = """\
The engine does nothing for this command: it must record (Tap(NAME, recorder="decoded"), or
TAPRING_RECORDER=decoded in its environment), and tap.trigger("why") costs it one small event.

\b
Exit codes:
  0  it ended by Ctrl-C or --limit, even if nothing has happened
  2  wrong usage
  3  it could not begin, or an incident could not be written
"""


class Kinds(ParamType[tuple[IncidentKind, ...]]):
    """``trigger,death,exit``."""

    name = "kinds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[IncidentKind, ...]:
        """The kinds."""
        names = [each.strip() for each in value.split(",")]
        known = [each for each in KINDS if each != "where"]
        for each in names:
            if each not in known:
                self.fail(f"Invalid {each!r}. Use some of {', '.join(known)}.", param, ctx)
        return tuple(kind for kind in known if kind in names)


@dataclass(frozen=True, kw_only=True)
class Options(Selecting):
    """What was asked for; each field is the option of that name."""

    grep: str | None = None
    where: str | None = None
    sample: int = 1
    sample_by: str | None = None
    rate: str | None = None
    on: tuple[IncidentKind, ...]
    met: str | None
    stage: str | None
    before: float
    after: float
    every: float
    output: str
    format_: str
    keep: int | None
    limit: int | None
    summary: str

    def files(self) -> IncidentFiles:
        """Where incidents are written."""
        return IncidentFiles(
            folder=self.output,
            format=self.format_,
            keep=self.keep,
            select=Select(fields=self.fields or ()),
            redact=self.redactor(),
        )

    def sidecar(self, lookout: Lookout, files: IncidentFiles) -> Sidecar:
        """What waits for incidents and writes them."""
        return Sidecar(
            lookout,
            files,
            before_s=self.before,
            after_s=self.after,
            every_s=self.every,
            limit=self.limit,
            written=_say_written,
            problem=note,
        )

    @property
    def kinds(self) -> tuple[IncidentKind, ...]:
        """Which incidents are wanted."""
        return (*self.on, "where") if self.met is not None else self.on


class RecordLine(msgspec.Struct, frozen=True):
    """The summary as a line of JSON.

    tapring_record: what was recorded.
    """

    tapring_record: RecordSummary


@click.command("record", cls=Command, examples=_EXAMPLES, epilog=_EPILOG)
@click.argument("address", type=ADDRESS)
@group(
    "What to wait for",
    click.option(
        "--on",
        type=Kinds(),
        default="trigger,death",
        show_default=True,
        help="trigger: the engine calls tap.trigger. death: it is killed or crashes. exit: it "
        "ends by itself.",
    ),
    click.option(
        "--where",
        "met",
        type=EXPRESSION,
        default=None,
        help="Also when this JMESPath expression is true for an event: level=='fatal'",
    ),
    click.option(
        "--stage", type=STAGES, default=None, help="With --where: try only events of this stage."
    ),
    click.option(
        "--every",
        type=Duration(),
        default="30s",
        show_default=True,
        help="At most one file in this time for what the engine did not ask for. The others are "
        "counted in its meta.",
    ),
    click.option("--limit", type=Count(), default=None, help="Stop after this many incidents."),
)
@group(
    "What to write",
    click.option(
        "--before",
        type=Duration(),
        default="30s",
        show_default=True,
        help="From so long before the incident, unless the trigger says how long.",
    ),
    click.option(
        "--after",
        type=Duration(),
        default="5s",
        show_default=True,
        help="Until so long after it, unless the trigger says how long.",
    ),
    click.option(
        "-o",
        "--output",
        required=True,
        metavar="DIR",
        help="Write a file for each incident into this folder, and beside it a .meta.json.",
    ),
    click.option(
        "--format",
        "format_",
        type=OneOf(_FORMATS),
        metavar="NAME",
        default="ndjson",
        show_default=True,
        help=f"{', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}.",
    ),
    click.option("--keep", type=Count(), metavar="N", help="Keep only the last N incidents."),
    SUMMARY,
)
@REDACT
def command(address: str, **given: Any) -> None:
    """Write what an engine recorded around each incident.

    ADDRESS is ENGINE (all its processes, also those that start later), a pattern of engines
    ('web-*') or ENGINE.LANE. The command ends at Ctrl-C.
    """
    asked = Options(**given)
    asked.check_selection()
    engine, lane, session = split_address(address)
    if session is not None:
        raise click.UsageError("ADDRESS names a session. Recordings are of an engine or a lane.")
    lookout = Lookout(engine, lane, asked.kinds, Select(where=asked.met), asked.stage)
    try:
        files = asked.files()
        sidecar = asked.sidecar(lookout, files)
        files.prepare()
        _say_what_is_watched(lookout, engine, lane)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except (TapError, OSError) as error:
        fail(error)
    with closing(lookout), Interrupts(sidecar.end):
        try:
            sidecar.run()
        except KeyboardInterrupt:
            note("interrupted again: what was not written by then is left out")
    facts = sidecar.facts()
    if asked.summary == "json":
        print_json(RecordLine(facts), err=True)
    elif asked.summary == "text":
        for line in _lines(facts):
            note(line)
    sys.exit(TapError.exit_code if facts.problems else 0)


def _say_what_is_watched(lookout: Lookout, engine: str, lane: str | None) -> None:
    """Name the lanes that do not record, or say that none is there yet."""
    lookout.look_for_lanes()
    unrecorded = [
        address
        for each in engines(engine, sweep=False)
        if lane in (None, each.lane)
        and (address := f"{each.name}.{each.lane}") not in lookout.lanes
    ]
    if unrecorded:
        runs = "runs" if len(unrecorded) == 1 else "run"
        note(f"{', '.join(unrecorded)} {runs} without a recorder. An engine records with {HOW}")
    if not lookout.lanes:
        note(f"waiting for an engine called {engine!r} that records")


def _say_written(written: WrittenIncident, coalesced: int) -> None:
    incident = written.incident
    more = f" (and {counted(coalesced, 'more incident')})" if coalesced else ""
    events = counted(written.summary.written, "event")
    where = f"{incident.address}, pid {incident.pid}"
    note(f"{incident.kind} of {where}: {visible(incident.why)}{more}; {events} in {written.path}")


def _lines(facts: RecordSummary) -> Iterator[str]:
    parts = [f"{count} by {kind}" for kind, count in facts.incidents.items()]
    how = f" ({', '.join(parts)})" if parts else ""
    yield (
        f"{counted(len(facts.files), 'incident')}{how} with {counted(facts.events, 'event')} "
        f"{were(len(facts.files))} written"
    )
    if facts.coalesced:
        yield f"{counted(facts.coalesced, 'incident')} came too soon after another (--every)"
    if facts.missed:
        yield (
            f"{counted(facts.missed, 'event')} were overwritten before this command looked at "
            f"them. Use a larger recorder"
        )
