"""``python -m tapring.attach`` = ``tapring attach``: see an engine's events, learn what was lost.

Arguments, signals and the exit codes live here; reading, selecting and redacting are
``session``'s, bytes and files ``sinks``'s, what is said at the end ``summary``'s.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click
import msgspec

from .._version import __version__
from ..consumer.opening import attach_session, capture
from ..consumer.session import AT_LEAST_ONCE, AT_MOST_ONCE, DELIVERIES, Session
from ..consumer.waiting import POLL, WAKES
from ..delivery.report import Report
from ..errors import TapError
from ..events.redaction import Redactor
from ..events.selection import Select
from ..files.writing import FORMATS, STDOUT, Rotation, Sink, check_output, open_sink
from ..shm.discovery import split_address
from .arguments import (
    ADDRESS,
    EXPRESSION,
    ONE_PATH,
    PATHS,
    RATE,
    REGEX,
    Count,
    Duration,
    Size,
    SizeOrTime,
)
from .messages import fail, say
from .progress import Progress, shown
from .signals import Interrupts
from .streams import silence_stdout

EXIT_ENGINE_DIED: Final = 4
_CANNOT: Final = TapError.exit_code
_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for, as the options of the same names say."""

    stage: str | None
    duration: float | None
    limit: int | None
    grep: str | None
    where: str | None
    sample: int
    by: str | None
    sample_batches: int | None
    rate: str | None
    fields: str | None
    redact: tuple[str, ...]
    redact_regex: str | None
    format_: str | None
    expand: bool
    color: bool
    output: str
    rotate: Rotation | None
    buffer: int | None
    wait: bool
    session_id: int | None
    delivery: str
    wake: str
    progress: bool
    summary: str

    @property
    def wanted(self) -> str | None:
        """The format, where it was said."""
        return "pretty" if self.expand else self.format_


def _options(command: _Command) -> _Command:
    """The options, grouped as --help shows them: what, which, hidden, how, where to."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS: Final = (
    click.option("--stage", default=None, help="The stage to read.  [default: decoded]"),
    click.option(
        "--duration",
        type=Duration(),
        default=None,
        help="End after this long (30s, 5m). 0, the default: when interrupted, or at the "
        "engine's limit.",
    ),
    click.option(
        "--limit", type=Count(), default=None, help="End after this many selected events."
    ),
    click.option("--grep", type=REGEX, help="Keep events whose text matches this."),
    click.option(
        "--where",
        type=EXPRESSION,
        help="Keep events of which this JMESPath holds: level=='error' && user.name=='root'",
    ),
    click.option("--sample", type=Count(), default=1, metavar="N", help="Keep one event in N."),
    click.option(
        "--by",
        type=ONE_PATH,
        help="With --sample: all events of one value of this field (user.id), or none.",
    ),
    click.option(
        "--sample-batches",
        type=Count(),
        metavar="N",
        help="Have the engine offer one batch in N; it does not serialize the others.",
    ),
    click.option("--rate", type=RATE, help="Keep at most so many: 100/s, 30/m, 5/h."),
    click.option("--fields", type=PATHS, help="Of each event only these: user.name,src_ip"),
    click.option(
        "--redact",
        type=PATHS,
        multiple=True,
        help="Put a token for the values of these: src_ip,user.email,ips.0,users.*.email. Equal "
        "values have equal tokens, in this capture alone.",
    ),
    click.option(
        "--redact-regex",
        type=REGEX,
        help="Put a token for what this matches (or its groups), in lines and in all strings.",
    ),
    click.option(
        "--format",
        "format_",
        type=click.Choice(FORMATS),
        default=None,
        help="Default: by the suffix of -o; pretty on a terminal; elsewhere lines as they are, "
        "ndjson for other stages.",
    ),
    click.option("--expand", is_flag=True, help="Pretty: an event over several lines."),
    click.option(
        "--color/--no-color",
        default=not os.environ.get("NO_COLOR"),
        help="Pretty on a terminal has colours unless NO_COLOR is set.",
    ),
    click.option(
        "-o",
        "--output",
        default=STDOUT,
        metavar="PATH",
        help="Write to a file, compressed if it ends in .gz or .zst; it is called PATH.part "
        "until it is complete, and PATH.meta.json says what is in it.",
    ),
    click.option(
        "--rotate",
        type=SizeOrTime(),
        help="Begin another file after so much (100MB) or so long (10m): PATH's name with 000001, "
        "000002 ... in it.",
    ),
    click.option("--buffer", type=Size(), default=None, help="Size of the ring, such as 16MiB."),
    click.option("--wait", is_flag=True, help="Wait for the engine to appear."),
    click.option(
        "--wake",
        type=click.Choice(WAKES),
        default=POLL,
        show_default=True,
        help="How to wait: poll (nothing for the engine to do), doorbell (as fast as the kernel "
        "wakes; a system call of the engine's for each batch that finds this asleep), spin (some "
        "7 us, and a whole core).",
    ),
    click.option("--session", "session_id", type=Count(), help="Read a registered session."),
    click.option(
        "--delivery",
        type=click.Choice(DELIVERIES),
        default=AT_MOST_ONCE,
        show_default=True,
        help="Of a session that outlives this: what the next one does not see, or sees again, of "
        "the events that a killed one had in hand.",
    ),
    click.option(
        "--progress/--no-progress",
        default=True,
        help="Say how far it is, while standard error is a terminal that the events do not go to.",
    ),
    click.option(
        "--summary",
        type=click.Choice(["text", "json", "none"]),
        default="text",
        show_default=True,
        help="What standard error says at the end.",
    ),
)


@click.command("attach")
@click.argument("address", type=ADDRESS)
@_options
def command(address: str, **given: Any) -> None:
    """Show the events of the engine at ADDRESS, live.

    ADDRESS is ENGINE, ENGINE.LANE (one of its processes) or ENGINE:ID (a session that the engine
    registered or that tapring open made; otherwise one is opened on every lane). Nothing here
    slows the engine: what does not fit into the ring is dropped and counted.

    An event passes --grep, --where, --sample, --rate, --redact, --fields and --limit in this
    order, whatever theirs on the command line.

    \b
    Exit codes: 0 the capture completed, also without events; 2 wrong usage;
    3 it could not start or could not write; 4 the engine died during the capture.
    """
    options = Options(**given)
    _refuse_contradictions(address, options)
    select, redact = _selection(options)
    try:
        check_output(options.output, options.wanted, options.rotate)
        session = _open(address, options, select, redact)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except (TapError, OSError, MemoryError) as error:
        fail(error)
    except KeyboardInterrupt:
        fail("interrupted before the capture began")
    sys.exit(_Capture(session, options, select, redact).run())


def main() -> None:
    """Run the command; its errors are one line."""
    command(prog_name="python -m tapring.attach")


def _refuse_contradictions(address: str, options: Options) -> None:
    _, _, named = split_address(address)
    if named is not None and options.session_id not in (None, named):
        raise click.UsageError(
            f"ADDRESS says session {named} and --session says {options.session_id}"
        )
    if options.session_id or named:
        for name in ("stage", "duration", "buffer", "sample_batches"):
            if getattr(options, name) is not None:
                raise click.UsageError(
                    f"--{name.replace('_', '-')} is set by who registered the session; leave it "
                    f"out, or leave the session's id out to open one of your own"
                )
    if options.by is not None and options.sample == 1:
        raise click.UsageError(
            f"--by {options.by} says by what to sample, and --sample N, one in how many, is "
            f"missing: --sample 10 --by {options.by}"
        )
    if options.expand and options.format_ not in (None, "pretty"):
        raise click.UsageError(
            f"--expand is of --format pretty and contradicts --format {options.format_}"
        )


def _selection(options: Options) -> tuple[Select, Redactor | None]:
    select = Select(
        grep=options.grep,
        where=options.where,
        sample=options.sample,
        by=options.by,
        rate=options.rate,
        fields=options.fields or (),
    )
    if not options.redact and options.redact_regex is None:
        return select, None
    return select, Redactor(options.redact, regex=options.redact_regex)


def _open(address: str, options: Options, select: Select, redact: Redactor | None) -> Session:
    patience = math.inf if options.wait else 0.0
    if options.session_id is not None or split_address(address)[2] is not None:
        return attach_session(
            address,
            options.session_id,
            wait=patience,
            delivery=options.delivery,
            wake=options.wake,
            select=select,
            redact=redact,
        )
    return capture(
        address,
        stage=options.stage or "decoded",
        duration=options.duration or None,
        buffer_bytes=options.buffer,
        wait=patience,
        delivery=options.delivery,
        sample=options.sample_batches or 1,
        wake=options.wake,
        select=select,
        redact=redact,
    )


class _Capture:
    """A capture from its session to its summary, whatever ends it."""

    def __init__(
        self, session: Session, options: Options, select: Select, redact: Redactor | None
    ) -> None:
        self._session = session
        self._options = options
        self._select = select
        self._redact = redact
        self._started = time.monotonic()
        self._failure: Exception | None = None

    def run(self) -> int:
        """Read to the end; say what came of it; return the exit code."""
        session = self._session
        # Before there is a file: a signal just then would leave an empty one behind.
        with session, Interrupts(lambda: session.end("interrupt")):
            self._sink = sink = self._open_sink()
            self._report = Report(session, self._select, self._redact, sink, __version__)
            self._guarded(self._copy)
            session.close(handled=self._failure is None)
            self._guarded(lambda: sink.close(complete=self._failure is None))
        if self._failure is not None:
            say(self._failure)
        self._summarize()
        if self._failure is not None:
            return _CANNOT
        return EXIT_ENGINE_DIED if session.ended_by == "engine-death" else 0

    def _open_sink(self) -> Sink:
        session, options = self._session, self._options
        try:
            return open_sink(
                options.output,
                options.wanted,
                kind=session.kind,
                dtype=session.dtype,
                colour=options.color,
                screenful=options.expand,
                rotation=options.rotate,
                describe=lambda: self._report.meta(self._seconds()),
            )
        except (ValueError, OSError) as error:
            session.close()
            if isinstance(error, ValueError):
                raise click.UsageError(str(error)) from None
            fail(error)

    def _guarded(self, step: Callable[[], None]) -> None:
        """Do ``step``; whatever ends it early, the summary comes."""
        try:
            step()
        except BrokenPipeError:
            self._session.ended_by = "output-closed"
            silence_stdout()
        except (TapError, OSError, MemoryError, ValueError) as error:
            if isinstance(error, OSError) and error.filename is None:
                error.filename = self._sink.path if self._sink.path != STDOUT else None
            self._session.ended_by = "error"
            self._failure = self._failure or error
        except KeyboardInterrupt:
            self._session.ended_by = "interrupt"

    def _copy(self) -> None:
        session, sink, options = self._session, self._sink, self._options
        at_once = options.delivery == AT_LEAST_ONCE
        with shown(session, sink, options.limit, wanted=options.progress) as progress:
            session.on_idle = lambda: _tick(sink, progress)
            for frame in session.frames(limit=options.limit):
                sink.write(frame)
                if at_once:  # it is released when the next is asked for
                    sink.flush()
                if progress is not None:
                    progress.tick()

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _summarize(self) -> None:
        style = self._options.summary
        if style == "json":
            facts = self._report.facts(self._seconds())
            click.echo(msgspec.json.encode({"tapring_summary": facts}).decode(), err=True)
        elif style == "text":
            click.echo(self._report.words(self._seconds()), err=True)


def _tick(sink: Sink, progress: Progress | None) -> None:
    sink.tick()
    if progress is not None:
        progress.tick()
