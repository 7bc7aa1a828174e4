"""The options that say which events a command keeps, and what it hides in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import click

from ..events.paths import parse_paths
from ..events.redaction import Redactor
from ..events.selection import Select
from .arguments import EXPRESSION, ONE_PATH, PATHS, RATE, REGEX, Count
from .command import group


@dataclass(frozen=True, kw_only=True)
class Selecting:
    """What was asked for with the options ``SELECT`` and ``REDACT``; each field is one of them."""

    grep: str | None
    where: str | None
    sample: int
    sample_by: str | None
    rate: str | None
    fields: str | None = None
    redact: tuple[str, ...]
    redact_regex: str | None
    redact_pass_text: bool
    redact_ignore_case: bool
    redact_in_strings: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """The paths of --fields, which are columns of a table."""
        return tuple(each.text for each in parse_paths(self.fields)) if self.fields else ()

    def select(self) -> Select:
        """Which events to keep."""
        return Select(
            grep=self.grep,
            where=self.where,
            sample=self.sample,
            by=self.sample_by,
            rate=self.rate,
            fields=self.fields or (),
        )

    def redactor(self) -> Redactor | None:
        """What to redact; None if no option asks for it."""
        if not self.redact and self.redact_regex is None:
            return None
        return Redactor(
            self.redact,
            regex=self.redact_regex,
            pass_text=self.redact_pass_text,
            ignore_case=self.redact_ignore_case,
            in_strings=self.redact_in_strings,
        )

    def check_selection(self, by_option: str = "--by") -> None:
        """Raise click.UsageError if these options contradict each other.

        ``by_option`` is what the command calls the option ``sample_by``.
        """
        if self.sample_by is not None and self.sample == 1:
            raise click.UsageError(
                f"{by_option} needs --sample N. Try --sample 10 {by_option} {self.sample_by}"
            )
        for name in ("pass_text", "ignore_case", "in_strings"):
            if getattr(self, f"redact_{name}") and not self.redact:
                option = f"--redact-{name.replace('_', '-')}"
                raise click.UsageError(f"{option} needs --redact. Try --redact password {option}")


GREP: Final = click.option(
    "--grep", type=REGEX, help="Keep events whose text matches this regular expression."
)
WHERE: Final = click.option(
    "--where",
    type=EXPRESSION,
    help="Keep events for which this JMESPath expression is true: "
    "level=='error' && user.name=='root'",
)
SAMPLE: Final = click.option(
    "--sample", type=Count(), default=1, metavar="N", help="Keep one event in N."
)
SAMPLE_BY_HELP: Final = (
    "With --sample: keep all events or none with the same value of this field (user.id)."
)
RATE_LIMIT: Final = click.option(
    "--rate", type=RATE, help="Keep at most this many events: 100 or 100/s, 30/m, 5/h."
)
SELECT: Final = group(
    "Which events (applied in this order, before --redact and --fields)",
    GREP,
    WHERE,
    SAMPLE,
    click.option("--by", "sample_by", type=ONE_PATH, help=SAMPLE_BY_HELP),
    RATE_LIMIT,
)
FIELDS: Final = click.option(
    "--fields", type=PATHS, help="Keep only these fields: user.name,src_ip"
)
REDACT_PATHS: Final = click.option(
    "--redact",
    type=PATHS,
    multiple=True,
    help="Replace the values of these fields by tokens: src_ip,ips.0,users.*.email. "
    "Equal values get equal tokens, within this capture only.",
)
REDACT_REGEX: Final = click.option(
    "--redact-regex",
    type=REGEX,
    help="Replace what this matches (or only its groups) by tokens, in lines and in all strings.",
)
REDACT_STRICTER: Final = (
    click.option(
        "--redact-ignore-case",
        is_flag=True,
        help="With --redact: a field's name may differ in case.",
    ),
    click.option(
        "--redact-in-strings",
        is_flag=True,
        help="With --redact: a field may be in JSON inside a string.",
    ),
)
HIDE: Final = (
    REDACT_PATHS,
    REDACT_REGEX,
    *REDACT_STRICTER,
    click.option(
        "--redact-pass-text",
        is_flag=True,
        help="With --redact: let lines through that are not JSON. Only --redact-regex redacts "
        "them. By default they are withheld and counted.",
    ),
)
REDACT: Final = group("Which parts of an event", FIELDS, *HIDE)
