"""``tapring replay``: a capture as an engine, so that what was seen once can be seen again.

Arguments, progress, the summary and the exit codes live here; what is played when is
``replay``'s, what a file holds ``recordings``'s.
"""

from __future__ import annotations

import math
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from ..adapters.replay import LONGEST_SESSION_S, Replay, default_name, stages_of
from ..consumer.attachment import Frame
from ..delivery.report import events_in_words
from ..engine.stages import make_stages
from ..engine.tap import Tap, TapWarning
from ..errors import TapError
from ..events.kinds import Kind
from ..files.formats import make_format
from ..files.output import Output
from ..files.reading import FORMATS, STDIN, Recording, open_recording
from .arguments import Count, EngineName, fail, say
from .signals import Interrupts, silence_stdout

if TYPE_CHECKING:
    from rich.console import RenderableType

_STREAMED: Final = ("ndjson", "raw", "msgpack")


@click.command("replay")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--name", type=EngineName(), help="The engine's name.  [default: the captured one's, -replay]"
)
@click.option("--stage", default=None, help="The stage to offer to.  [default: the captured one]")
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default=None,
    help="What FILE is, where neither its name nor FILE.meta.json says it.",
)
@click.option("--speed", type=float, default=None, help="10: ten times as fast as captured.")
@click.option("--fast", is_flag=True, help="As fast as whoever watches can read.")
@click.option("--loop", is_flag=True, help="Over and over, until interrupted.")
@click.option("--wait", is_flag=True, help="Begin, and begin again, when somebody watches.")
@click.option("--limit", type=Count(), default=None, help="End after this many events.")
@click.option(
    "--print/--no-print",
    "shown",
    default=None,
    help="Write the events to standard output, too.  [default: unless it is a terminal]",
)
@click.option(
    "--summary",
    type=click.Choice(["text", "json", "none"]),
    default="text",
    show_default=True,
    help="What standard error says at the end.",
)
def command(
    files: tuple[str, ...],
    name: str | None,
    stage: str | None,
    format_: str | None,
    speed: float | None,
    fast: bool,
    loop: bool,
    wait: bool,
    limit: int | None,
    shown: bool | None,
    summary: str,
) -> None:
    """Offer the events of FILE again, as an engine that can be tapped.

    FILE is what tapring attach -o wrote, or any file of JSON or text lines; - is standard input.
    Several are played one after the other. The events come at the pace at which they were
    captured, where FILE.meta.json or FILE tells it. With --fast --wait, whoever watches gets all
    of them, so that a capture serves as a test's fixture:

    tapring replay events.ndjson --name detector --fast --wait

    \b
    Exit codes: 0 it was played, or interrupted; 2 wrong usage; 3 FILE cannot be read.
    """
    _check(files, stage, format_, speed, fast, loop)
    _keep_standard_descriptors_taken()
    printing = sys.stdout is not None and (not sys.stdout.isatty() if shown is None else shown)
    # From here on, so that who has seen the engine can end it in good order.
    with Interrupts() as interrupts:
        try:
            recordings = _open_all(files, format_, stage)
            stages = stages_of(recordings)
        except TapError as error:
            fail(error)
        with _tap(name or default_name(recordings[0].engine), stages) as tap:
            _say_what_is_different(recordings, fast)
            replay = Replay(
                tap,
                recordings,
                speed=None if fast else speed or 1.0,
                limit=limit,
                wait=wait,
                loop=loop,
                shown=_Printer(stages) if printing else _print_nothing,
            )
            interrupts.ends(replay.interrupt)
            sys.exit(_play(replay, tap, recordings, printing, summary))


def _check(
    files: Sequence[str],
    stage: str | None,
    format_: str | None,
    speed: float | None,
    fast: bool,
    loop: bool,
) -> None:
    """Refuse what is wrong whatever the files hold."""
    if speed is not None and not 0 < speed < math.inf:
        raise click.BadParameter(
            f"{speed:g} is no speed; it is more than 0, such as --speed 10 for ten times as fast "
            f"as captured. As fast as can be is --fast",
            param_hint="--speed",
        )
    if speed is not None and fast:
        raise click.UsageError("--speed keeps the captured pace and --fast does not: give one")
    if STDIN in files:
        if loop:
            raise click.UsageError("--loop needs a file: standard input (-) comes only once")
        if len(files) > 1:
            raise click.UsageError("standard input (-) is played alone, not among other files")
        if format_ not in (None, *_STREAMED):
            raise click.UsageError(
                f"standard input (-) is read as {', '.join(_STREAMED)}; --format {format_} needs "
                f"a file"
            )
    if stage is not None:
        try:
            make_stages({stage: "json"})
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--stage") from None


def _keep_standard_descriptors_taken() -> None:
    """Where one is closed, open /dev/null for it, lest it become the registry's."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest that is free: this one


def _open_all(files: Sequence[str], format_: str | None, stage: str | None) -> list[Recording]:
    recordings = [open_recording(file, format_) for file in files]
    for recording in recordings:
        recording.stage = stage or recording.stage
    return recordings


def _tap(name: str, stages: dict[str, Kind]) -> Tap:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TapWarning)  # the reason is said on one line
        try:
            tap = Tap(name, stages=stages, max_duration=LONGEST_SESSION_S)
        except ValueError as error:  # a stage or an engine of a FILE.meta.json
            fail(f"{error}; give --name and --stage")
    if tap.reason is not None:
        fail(f"no engine can be had: {tap.reason}")
    return tap


def _say_what_is_different(recordings: Sequence[Recording], fast: bool) -> None:
    for recording in recordings:
        if recording.note:
            click.echo(f"tapring: {recording.path}: {recording.note}", err=True)
        if not recording.has_pace and not fast and recording.path != STDIN:
            click.echo(
                f"tapring: no pace is recorded beside {recording.path}: it is played as fast as "
                f"it is read (--fast waits for whoever watches)",
                err=True,
            )


class _Printer:
    """Writes what is played to standard output: lines as they are, ndjson of what has none."""

    def __init__(self, stages: Mapping[str, Kind]) -> None:
        self._output = Output()
        self._stages = stages
        self._formats = {
            stage: make_format(None, kind.name, terminal=False) for stage, kind in stages.items()
        }

    def __call__(self, stage: str, events: Any) -> None:
        """Write a batch. Raises BrokenPipeError once nobody reads it, and OSError."""
        kind = self._stages[stage]
        payload, count, _ = kind.pack(events)
        frame = Frame(bytes(payload), count, 0, 0, "", kind)
        self._output.write(self._formats[stage](frame))


def _print_nothing(_stage: str, _events: Any) -> None:
    """Where standard output is a terminal, or stays empty."""


def _play(
    replay: Replay, tap: Tap, recordings: Sequence[Recording], printing: bool, summary: str
) -> int:
    """Play to the end, whatever ends it; say what came of it; return the exit code."""
    started = time.monotonic()
    failure: Exception | None = None
    with _progress(replay, recordings) if _has_progress(printing) else nullcontext():
        try:
            ended_by = replay.run()
        except BrokenPipeError:
            ended_by = "output-closed"
            silence_stdout()
        except (TapError, OSError, MemoryError) as error:
            ended_by, failure = "error", error
    if failure is not None and not replay.events:
        fail(failure)
    _say_what_is_missing(recordings)
    if failure is not None:
        say(failure)
    seconds = time.monotonic() - started
    _summarize(_facts(replay, tap, recordings, ended_by, seconds), summary)
    return 0 if failure is None else TapError.exit_code


@contextmanager
def _progress(replay: Replay, recordings: Sequence[Recording]) -> Iterator[None]:
    """On a terminal, a line on standard error: how many events, how many a second, time left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    class Line(Progress):
        """Asks the replay how far it is whenever it is drawn."""

        def get_renderables(self) -> Iterable[RenderableType]:
            for task in self.tasks:
                rate = f"{replay.events / max(task.elapsed or 0, 1e-3):,.0f}"
                self.update(task.id, completed=replay.events, rate=rate)
            return super().get_renderables()

    columns = (
        TextColumn("{task.completed:,.0f} events, {task.fields[rate]}/s"),
        BarColumn(),
        TimeRemainingColumn(),
    )
    with Line(*columns, console=Console(stderr=True), transient=True) as line:
        line.add_task("", total=_expected(replay, recordings), rate="0")
        yield


def _has_progress(printing: bool) -> bool:
    return (
        not printing
        and sys.stderr is not None
        and sys.stderr.isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
    )


def _expected(replay: Replay, recordings: Sequence[Recording]) -> int | None:
    """How many events will be played; None where that is not known."""
    known = [recording.events for recording in recordings]
    total = None if replay.loop or None in known else sum(each or 0 for each in known)
    return total if replay.limit is None else min(replay.limit, total or replay.limit)


def _say_what_is_missing(recordings: Sequence[Recording]) -> None:
    for recording in recordings:
        if not recording.complete:
            click.echo(
                f"tapring: {recording.path} is incomplete, as a killed capture leaves it: "
                f"{events_in_words(recording.read)} were read, up to the last whole one",
                err=True,
            )


def _facts(
    replay: Replay, tap: Tap, recordings: Sequence[Recording], ended_by: str, seconds: float
) -> dict[str, Any]:
    return {
        "file": recordings[0].path,
        "files": [recording.path for recording in recordings],
        "engine": tap.name,
        "lane": tap.lane,
        "stage": recordings[0].stage,
        "events": replay.events,
        "watched": replay.watched,
        "skipped": sum(recording.skipped for recording in recordings),
        "complete": all(recording.complete for recording in recordings),
        "loops": replay.loops,
        "duration_ms": round(seconds * 1000),
        "ended_by": ended_by,
    }


def _summarize(facts: Mapping[str, Any], style: str) -> None:
    if style == "json":
        click.echo(msgspec.json.encode({"tapring_replay": facts}).decode(), err=True)
    elif style == "text":
        click.echo(_words(facts), err=True)


def _words(facts: Mapping[str, Any]) -> str:
    files = facts["files"]
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    loops = f" {facts['loops']:,} times over" if facts["loops"] > 1 else ""
    skipped = f"; {facts['skipped']:,} could not be read" if facts["skipped"] else ""
    return (
        f"tapring: replayed {events_in_words(facts['events'])} of {facts['file']}{more}{loops} "
        f"as engine {facts['engine']} in {facts['duration_ms'] / 1000:.1f} s, "
        f"ended by {facts['ended_by']}; "
        f"{facts['watched']:,} watched{skipped}"
    )
