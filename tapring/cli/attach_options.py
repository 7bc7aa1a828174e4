"""The options of ``tapring attach``: their types, their help, and which of them conflict."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, TypeVar

import click

from ..consumer.intake import AT_MOST_ONCE, DELIVERIES
from ..consumer.waiting import DOORBELL, POLL, WAKES
from ..files.formats import check_suffix, format_by_suffix
from ..files.writing import FORMATS, STDOUT, Rotation
from ..literals import Delivery, Wake
from ..shm.names import is_pattern, split_address
from ..shm.requests import ALL_STAGES
from .arguments import STAGES, Count, Duration, OneOf, split_stages
from .command import group
from .options import BUFFER, FORCE, KEEP, OUTPUT, ROTATE, SAMPLE_BATCHES, SUMMARY, WAIT
from .selecting import REDACT, SELECT, Selecting

_Command = TypeVar("_Command", bound=Callable[..., Any])
_SET_AT_OPENING: Final = ("stage", "duration", "last", "buffer", "sample_batches", "follow")


class Written(NamedTuple):
    """How events are written: in which format, None for the usual one; whether in envelopes."""

    format: str | None
    envelope: bool


@dataclass(frozen=True, kw_only=True)
class Writing:
    """What was asked for with the options ``WRITE`` and ``SHOW``; each field is one of them."""

    format_: str | None
    envelope: bool
    expand: bool
    color: bool
    utc: bool
    output: str
    force: bool
    rotate: Rotation | None
    keep: int | None
    progress: bool
    summary: str

    @property
    def wanted_format(self) -> str | None:
        """The format, if an option names one."""
        return "pretty" if self.expand else self.format_

    @property
    def rotation(self) -> Rotation | None:
        """When a new file begins, and how many stay."""
        return None if self.rotate is None else replace(self.rotate, keep=self.keep)

    def check_writing(self) -> None:
        """Raise click.UsageError for a file's name or a look that contradicts other options."""
        if self.keep is not None and self.rotate is None:
            raise click.UsageError(f"--keep needs --rotate. Try --rotate 100MiB --keep {self.keep}")
        if self.force and self.output == STDOUT:
            raise click.UsageError("--force needs -o FILE: standard output replaces no file")
        if os.path.isfile(self.output) or not os.path.exists(self.output):
            try:
                check_suffix(self.output, self.wanted_format)
            except ValueError as error:
                raise click.UsageError(str(error)) from None
        for name in ("expand", "utc"):
            if getattr(self, name) and self.format_ not in (None, "pretty"):
                raise click.UsageError(
                    f"--{name} works only with --format pretty, not with --format {self.format_}."
                )


@dataclass(frozen=True, kw_only=True)
class Watching:
    """What was asked for with the options ``WATCH`` and ``SESSION``; each field is one of them."""

    stage: str | None
    duration: float | None
    last: float | None
    limit: int | None
    sample_batches: int | None
    buffer: int | None
    wait: bool
    follow: bool
    merge_lag: float
    session_id: int | None
    delivery: Delivery
    wake: Wake

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages to read."""
        return split_stages(self.stage or "decoded")

    @property
    def is_of_several_stages(self) -> bool:
        """Whether events of several stages may come."""
        return len(self.stages) > 1 or ALL_STAGES in self.stages

    def names_a_session(self, address: str) -> bool:
        """Whether a session is read that exists already."""
        return self.session_id is not None or split_address(address)[2] is not None

    def check_watching(self, address: str) -> None:
        """Raise click.UsageError if these options contradict each other, or the address."""
        engine, lane, named = split_address(address)
        if named is not None and self.session_id not in (None, named):
            raise click.UsageError(
                f"ADDRESS names session {named} and --session names session {self.session_id}. "
                f"Leave one of them out."
            )
        if self.session_id or named:
            for name in _SET_AT_OPENING:
                if getattr(self, name) not in (None, False):
                    raise click.UsageError(
                        f"--{name.replace('_', '-')} was set when the session was opened. Leave "
                        f"it out, or leave out the session's id to open a session of your own."
                    )
        if self.follow and lane is not None:
            raise click.UsageError(
                f"--follow reads lanes that start later, and ADDRESS names one lane. Leave one of "
                f"them out: tapring attach {engine} --follow"
            )
        if is_pattern(engine) and self.wake == DOORBELL:
            raise click.UsageError(
                "--wake doorbell is for one engine. Leave it out to read several of them."
            )


@dataclass(frozen=True, kw_only=True)
class Asking(Selecting, Watching):
    """What was asked for of an engine: which events to watch, keep and hide."""

    def chooses(self, address: str) -> bool:
        """Whether the stage is left to the command."""
        return self.stage is None and not self.names_a_session(address)


@dataclass(frozen=True, kw_only=True)
class Options(Asking, Writing):
    """What was asked for; each field is the option of that name."""

    @property
    def written(self) -> Written:
        """How events are written. Raises click.UsageError if that cannot say what was asked for."""
        name = self.wanted_format or format_by_suffix(self.output)
        several = self.is_of_several_stages
        terminal = self.output == STDOUT and sys.stdout.isatty()
        if name is None and (self.envelope or (several and not terminal)):
            name = "ndjson"
        if several and name in ("raw", "npy"):
            raise click.UsageError(
                f"--format {name} cannot say which stage an event is from. Name one stage, or "
                f"try --format ndjson."
            )
        return Written(name, self.envelope or (several and name not in (None, "pretty")))

    def check_elsewhere(self) -> None:
        """Raise click.UsageError if options contradict each other, of an engine elsewhere."""
        self.check_selection()
        self.check_writing()

    def check(self, address: str) -> None:
        """Raise click.UsageError if options contradict each other, or the address."""
        self.check_watching(address)
        self.check_selection()
        self.check_writing()


def options(command: _Command) -> _Command:
    """Add the options to a command, in the order in which --help lists them."""
    for add in reversed(_GROUPS):
        command = add(command)
    return command


WATCH: Final = group(
    "What to watch, and for how long",
    click.option(
        "--stage",
        type=STAGES,
        default=None,
        help="One stage, several (raw,decoded), or '*' for all. Several are written with "
        "--envelope.  [default: decoded; of an engine without it, its only stage, or all]",
    ),
    click.option(
        "--duration",
        type=Duration(),
        default=None,
        help="Stop after this long (30s, 5m). By default, or with 0, stop at Ctrl-C or at the "
        "engine's own limit, which is 24 hours unless its owner has set another.",
    ),
    click.option(
        "--last",
        type=Duration(),
        default=None,
        help="Begin so long ago (30s, 5m), with what the engine's recorder holds of it, and go on "
        "live. Needs Tap(recorder=...) or TAPRING_RECORDER in the engine.",
    ),
    click.option("--limit", type=Count(), default=None, help="Stop after this many events."),
    WAIT,
    click.option(
        "--follow",
        is_flag=True,
        help="Stay when the engine exits or dies, and go on when it starts again. Also wait for it "
        "to appear. By default, stay for one second.",
    ),
)
WRITE: Final = group(
    "Where to, and how it is written",
    OUTPUT,
    FORCE,
    click.option(
        "--format",
        "format_",
        type=OneOf(FORMATS),
        metavar="NAME",
        default=None,
        help=f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}. By default: what the suffix of -o "
        f"means; on a terminal, pretty; otherwise raw for stages of lines and ndjson for all "
        f"others.",
    ),
    click.option(
        "--envelope",
        is_flag=True,
        help="Write for each event when and where it is from: time, engine, lane, pid, stage, "
        "missed, event. Gaps are records of their own. With ndjson, csv, msgpack or parquet.",
    ),
    ROTATE,
    KEEP,
)
SHOW: Final = group(
    "On the terminal",
    click.option("--expand", is_flag=True, help="Spread each event over several lines."),
    click.option("--utc", is_flag=True, help="Show times in UTC, not local ones."),
    click.option(
        "--color/--no-color",
        default=not os.environ.get("NO_COLOR"),
        help="Use colours.  [default: yes, unless NO_COLOR is set]",
    ),
    click.option(
        "--progress/--no-progress",
        default=True,
        help="Show progress on standard error, if that is a terminal and the events go elsewhere.",
    ),
    SUMMARY,
)
SESSION: Final = group(
    "The session in the engine",
    BUFFER,
    SAMPLE_BATCHES,
    click.option(
        "--wake",
        type=OneOf(WAKES),
        metavar="HOW",
        default=POLL,
        show_default=True,
        help="poll: events come up to 5 ms late after a quiet second; costs the engine nothing. "
        "doorbell: within 0.1 ms; costs the engine one system call per wake-up. "
        "spin: within 10 us; occupies a whole core here.",
    ),
    click.option(
        "--merge-lag",
        type=Duration(),
        default="10ms",
        show_default=True,
        help="How long an event waits at most for earlier ones of other processes.",
    ),
    click.option(
        "--session", "session_id", type=Count(), help="Read this existing session, by its id."
    ),
    click.option(
        "--delivery",
        type=OneOf(DELIVERIES),
        metavar="HOW",
        default=AT_MOST_ONCE,
        show_default=True,
        help="For an existing session: at-most-once skips the events that a crashed reader had in "
        "flight, at-least-once delivers them again.",
    ),
)
_GROUPS: Final = (WATCH, SELECT, REDACT, WRITE, SHOW, SESSION)
