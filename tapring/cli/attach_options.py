"""The options of ``tapring attach``: their types, their help, and which of them conflict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click

from ..consumer.intake import AT_MOST_ONCE, DELIVERIES
from ..consumer.waiting import DOORBELL, POLL, WAKES
from ..literals import Delivery, Wake
from ..shm.names import is_pattern, split_address
from ..shm.requests import ALL_STAGES, split_stages
from .arguments import STAGES, Count, Duration, OneOf
from .command import group
from .options import BUFFER, SAMPLE_BATCHES, WAIT
from .selecting import REDACT, SELECT, Selecting
from .writing import SHOW, WRITE, Writing, Written

_Command = TypeVar("_Command", bound=Callable[..., Any])
MERGE_LAG: Final = "10ms"
_SET_AT_OPENING: Final = ("stage", "duration", "last", "buffer", "sample_batches", "follow")


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
        return self.written_of(several=self.is_of_several_stages)

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
        default=MERGE_LAG,
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
