"""The options of ``tapring stats``: what is counted, of an engine or of recorded files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

import click

from ..events.tally import Question
from ..files.sets import files_of_set
from .arguments import ADDRESS, ONE_PATH, PATHS, Count, Duration, offers
from .attach_options import SESSION, WATCH, Asking
from .command import group
from .inputs import FORMAT_READ, TIMES, Inputs
from .options import SUMMARY
from .selecting import GREP, HIDE, RATE_LIMIT, SAMPLE, SAMPLE_BY_HELP, WHERE

_NS: Final = 1_000_000_000
_EVERY_S: Final = 5.0
_OF_ENGINES: Final[tuple[str, ...]] = (
    "duration", "wait", "follow", "buffer", "sample_batches", "session_id",
)  # fmt: skip
_OF_FILES: Final = ("input_format", "since", "until")

COUNT: Final = group(
    "What to count",
    click.option(
        "--by",
        type=PATHS,
        multiple=True,
        help="Count each combination of the values of these fields: level,user.id. Without it, "
        "each lane and stage.",
    ),
    click.option(
        "--top",
        type=Count(),
        default=10,
        show_default=True,
        help="Name so many combinations, the most frequent first. All others are one number.",
    ),
    click.option(
        "--distinct",
        type=PATHS,
        multiple=True,
        help="Count the different values of each of these fields: user.id,src_ip",
    ),
    click.option(
        "--histogram",
        type=PATHS,
        multiple=True,
        help="Show how the numbers in each of these fields are distributed: duration_ms",
    ),
    click.option(
        "--every",
        type=Duration(),
        default=None,
        help="Also count each interval of this length by itself. Of recorded files, intervals of "
        "their own time.  [default: 5s; none for files]",
    ),
)
FILES: Final = group(
    "Recorded files instead of an engine",
    click.option(
        "--from",
        "source",
        default=None,
        shell_complete=offers("files"),
        metavar="FILE...",
        help="Count the events of these files, as tapring cat reads them; - is standard input.",
    ),
    *FORMAT_READ[1:],
    *TIMES,
)
KEEP: Final = group(
    "Which events (applied in this order, before they are counted)",
    GREP,
    WHERE,
    SAMPLE,
    click.option("--sample-by", type=ONE_PATH, help=SAMPLE_BY_HELP),
    RATE_LIMIT,
)
REDACT: Final = group("What not to show", *HIDE)
SHOW: Final = group(
    "Output",
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="One JSON object a line for each interval, and one for the total at the end. This is "
        "the default unless standard output is a terminal.",
    ),
    SUMMARY,
)
GROUPS: Final = (COUNT, WATCH, FILES, KEEP, REDACT, SHOW, SESSION)


@dataclass(frozen=True, kw_only=True)
class Options(Asking, Inputs):
    """What was asked for; each field is the option of that name."""

    by: tuple[str, ...]
    top: int
    distinct: tuple[str, ...]
    histogram: tuple[str, ...]
    every: float | None
    source: str | None
    as_json: bool
    summary: str

    @property
    def question(self) -> Question:
        """What to count."""
        return Question(self.by, self.distinct, self.histogram)

    @property
    def every_ns(self) -> int | None:
        """The length of an interval; None if there are none."""
        seconds = self.every
        if seconds is None and self.source is None:
            seconds = _EVERY_S
        return None if not seconds else max(1, round(seconds * _NS))

    @property
    def needs_times(self) -> dict[str, object]:
        """As of all commands that read files; intervals need times, too."""
        return {**super().needs_times, "--every": self.every}

    @property
    def address(self) -> str:
        """The engine's address. Raises click.UsageError if there is not exactly one."""
        if len(self.files) != 1:
            raise click.UsageError(
                "Name one ADDRESS, such as shop, or files: tapring stats --from shop.ndjson"
            )
        address = self.files[0]
        if os.path.isfile(address) or files_of_set(address):
            raise click.UsageError(
                f"{address} is a file. To count its events: tapring stats --from {address}"
            )
        return str(ADDRESS.convert(address, None, None))

    def check(self) -> None:
        """Raise click.UsageError if options contradict each other."""
        self.check_selection("--sample-by")
        what, unfit = "an engine, not for files", _OF_ENGINES
        if self.source is None:
            what, unfit = "files. Name them with --from", _OF_FILES
            self.check_watching(self.address)
        else:
            self.check_inputs()
        for name in unfit:
            if getattr(self, name) not in (None, False):
                option = name.replace("_", "-").removesuffix("-id")
                raise click.UsageError(f"--{option} is for {what}")
