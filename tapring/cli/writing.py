"""How events are written: the options WRITE and SHOW of every command that writes events."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import click

from ..files.formats import check_suffix, format_by_suffix
from ..files.meta import CaptureMeta
from ..files.writing import FORMATS, STDOUT, Look, Output, Rotation, Sink, check_output, open_sink
from .arguments import OneOf
from .command import group
from .options import FORCE, KEEP, OUTPUT, ROTATE, SUMMARY

_OF_ONE_STAGE: Final = ("raw", "npy")


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

    @property
    def is_on_a_terminal(self) -> bool:
        """Whether events go to a terminal."""
        return self.output == STDOUT and sys.stdout.isatty()

    def written_of(self, *, several: bool) -> Written:
        """How events are written. Raises click.UsageError if that cannot say what was asked for.

        several: whether they may be of several stages.
        """
        name = self.wanted_format or format_by_suffix(self.output)
        if name is None and (self.envelope or (several and not self.is_on_a_terminal)):
            name = "ndjson"
        if several and name in _OF_ONE_STAGE:
            raise click.UsageError(
                f"--format {name} cannot say which stage an event is from. Name one stage with "
                f"--stage, or try --format ndjson."
            )
        return Written(name, self.envelope or (several and name not in (None, "pretty")))

    def check_place(self, written: Written) -> Output | None:
        """Check that events can be written like that. Returns and raises what check_output does."""
        return check_output(
            self.output,
            written.format,
            self.rotation,
            envelope=written.envelope,
            force=self.force,
        )

    def open_sink(
        self,
        written: Written,
        output: Output | None,
        *,
        kind: str,
        dtype: Any = None,
        origin: Collection[str] = (),
        describe: Callable[[], CaptureMeta],
        fields: tuple[str, ...] = (),
    ) -> Sink:
        """Open what was asked for. Raises what ``files.writing.open_sink`` raises.

        output: what ``check_place`` returned. origin: what events may differ in.
        """
        return open_sink(
            self.output,
            written.format,
            envelope=written.envelope,
            kind=kind,
            dtype=dtype,
            look=Look(self.color, self.expand, origin=frozenset(origin), utc=self.utc),
            rotation=self.rotation,
            describe=describe,
            force=self.force,
            output=output,
            fields=fields,
        )


def differing(those: Iterable[Any]) -> frozenset[str]:
    """What some lanes or recordings differ in: "engine", "lane", "stage"."""
    each_of = list(those)
    return frozenset(
        what
        for what in ("engine", "lane", "stage")
        if len({getattr(each, what) for each in each_of}) > 1
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
