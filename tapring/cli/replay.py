"""``tapring replay``: plays a recorded capture as an engine, so that it can be tapped again.

Arguments and exit codes live here. ``replay_report`` says how it went, ``adapters.replay`` plays,
and ``files`` reads.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final

import click

from ..adapters.replay import Replay, default_name, stages_of
from ..ended_by import EndedBy
from ..engine.complaints import TapWarning
from ..engine.stages import make_stages, only
from ..engine.tap import Tap
from ..errors import TapError
from ..events.kinds import Kind
from ..files.formats import Encoder, default_format
from ..files.reading import FORMATS, STDIN, Recording, open_recording
from ..files.sets import named_files
from ..files.terminal import for_terminal
from ..files.writing import Output, make_encoder
from ..frame import Frame, Origin
from .arguments import Count, EngineName, OneOf, Speed, offers, refuse_url_of_file
from .command import Command
from .messages import fail, note, say
from .options import SUMMARY
from .replay_report import Summary, can_show_progress, say_what_is_missing, show_progress
from .signals import Interrupts
from .streams import silence_stdout

_STREAMED: Final = ("ndjson", "json", "raw", "csv", "msgpack")


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments and options of the command, under the same names."""

    files: tuple[str, ...]
    name: str | None
    stage: tuple[str, ...]
    format_: str | None
    speed: float | None
    fast: bool
    loop: bool
    wait: bool
    limit: int | None
    shown: bool | None
    summary: str

    @property
    def printing(self) -> bool:
        """Whether the events go to standard output, too."""
        return not sys.stdout.isatty() if self.shown is None else self.shown

    @property
    def stages(self) -> list[str]:
        """The names in all --stage options."""
        return [name for option in self.stage for name in option.split(",")]


_EXAMPLES: Final = (
    "tapring replay shop.ndjson             # at the pace of the capture",
    "tapring replay shop.ndjson --speed 10  # ten times as fast",
    "tapring replay shop.ndjson --name shop --fast --wait",
)
_EPILOG: Final = (
    "Exit codes: 0 it was played, or interrupted; 2 wrong usage; 3 FILE cannot be read."
)


@click.command("replay", cls=Command, examples=_EXAMPLES, epilog=_EPILOG)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, shell_complete=offers("files"))
@click.option(
    "--name",
    type=EngineName(),
    help="The engine's name.  [default: the captured engine's, plus -replay]",
)
@click.option(
    "--stage",
    multiple=True,
    metavar="NAME[,NAME...]",
    help="Of a FILE with several stages, play only these. The events of a FILE with one stage are "
    "offered to the stage of this name.  [default: the captured ones]",
)
@click.option(
    "--format",
    "format_",
    type=OneOf(FORMATS),
    metavar="NAME",
    default=None,
    help=f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}, if neither the name of FILE nor "
    "FILE.meta.json tells.",
)
@click.option(
    "--speed", type=Speed(), default=None, help="10 plays ten times as fast as it was captured."
)
@click.option("--fast", is_flag=True, help="Play as fast as the slowest consumer reads.")
@click.option("--loop", is_flag=True, help="Start over at the end, until interrupted.")
@click.option(
    "--wait", is_flag=True, help="Start, and start over, only once a session watches each stage."
)
@click.option("--limit", type=Count(), default=None, help="End after this many events.")
@click.option(
    "--print/--no-print",
    "shown",
    default=None,
    help="Also write the events to standard output.  [default: unless it is a terminal]",
)
@SUMMARY
def command(**given: Any) -> None:
    """Offer the events of FILE again, as an engine.

    FILE is what tapring attach -o wrote, or any file of JSON or text lines; - is standard input.
    Several files are played one after the other, those of a rotated capture in the order of their
    numbers. The name that tapring attach --rotate was given stands for all its files, and a
    directory for the captures in it. Events come at the pace of the capture, if FILE.meta.json or
    FILE has recorded it. With --fast --wait, a consumer gets every event, so a capture can serve as
    a test fixture. A FILE that tapring attach --envelope wrote may hold events of several stages.
    Each is offered to its own stage, in the order of FILE.
    """
    options = Options(**given)
    _refuse_contradictions(options)
    # From here on, so that an operator who has seen the engine can end it in good order.
    with Interrupts() as interrupts:
        try:
            interrupts.ends(_leave)  # standard input may let us wait for its first event
            recordings = _open_all(options)
            interrupts.ends(_ignore)
            stages = stages_of(recordings)
        except TapError as error:
            fail(error)
        except KeyboardInterrupt:
            note("interrupted before any event came")
            sys.exit(0)
        with _tap(options.name or default_name(recordings[0].engine), stages) as tap:
            _say_what_is_different(recordings, options)
            replay = Replay(
                tap,
                recordings,
                speed=None if options.fast else options.speed or 1.0,
                limit=options.limit,
                wait=options.wait,
                loop=options.loop,
                shown=_Printer(stages) if options.printing else _print_nothing,
            )
            interrupts.ends(replay.interrupt)
            sys.exit(_play(replay, tap, recordings, options))


def _refuse_contradictions(options: Options) -> None:
    """Refuse arguments that are wrong whatever the files hold."""
    for file in options.files:
        refuse_url_of_file(file)
    if options.speed is not None and options.fast:
        raise click.UsageError("--speed and --fast contradict each other. Use one of them.")
    if STDIN in options.files:
        _refuse_for_stdin(options)
    if options.stages:
        try:
            make_stages(dict.fromkeys(options.stages, "json"))
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--stage") from None


def _refuse_for_stdin(options: Options) -> None:
    if options.loop:
        raise click.UsageError("--loop needs a file. Standard input (-) can be read only once.")
    if len(options.files) > 1:
        raise click.UsageError("Standard input (-) cannot be combined with other files.")
    if options.format_ not in (None, *_STREAMED):
        raise click.UsageError(
            f"--format {options.format_} needs a file. The formats for standard input (-) are "
            f"{', '.join(_STREAMED)}."
        )


def _open_all(options: Options) -> list[Recording]:
    files = named_files(options.files).paths
    recordings = [open_recording(file, options.format_) for file in files]
    if options.stages:
        for recording in recordings:
            recording.choose(options.stages)
    return recordings


def _leave() -> None:
    """Upon a signal while the files are opened."""
    raise KeyboardInterrupt


def _ignore() -> None:
    """Upon a signal that comes before the replay exists. The replay will be told of it."""


def _tap(name: str, stages: dict[str, Kind]) -> Tap:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TapWarning)  # the reason becomes one line below
        try:
            tap = Tap(name, stages=only(stages))
        except ValueError as error:  # a stage or an engine of a FILE.meta.json
            fail(f"{error}; set --name and --stage")
    if tap.reason is not None:
        fail(f"the engine could not start: {tap.reason}")
    return tap


def _say_what_is_different(recordings: Sequence[Recording], options: Options) -> None:
    stages = list(recordings[0].stages)
    if options.wait and len(stages) > 1:
        note(
            f"waiting until a session watches each of the stages {', '.join(stages)}; "
            f"--stage plays fewer"
        )
    for recording in recordings:
        if recording.note:
            note(f"{recording.path}: {recording.note}")
        if not recording.has_pace and not options.fast and recording.path != STDIN:
            note(
                f"{recording.path} has no recorded pace, so it is played as fast as it is read; "
                f"with --fast, the replay waits for slow consumers"
            )


class _Printer:
    """Writes the events to standard output: lines as they are, others as ndjson."""

    def __init__(self, stages: Mapping[str, Kind]) -> None:
        self._output = Output()
        self._stages = stages
        self._formats = {stage: self._format_of(kind) for stage, kind in stages.items()}

    def __call__(self, stage: str, events: Any) -> None:
        """Write a batch. Raises OSError; BrokenPipeError after the reader has left."""
        kind = self._stages[stage]
        payload, count, _ = kind.pack(events)
        frame = Frame(bytes(payload), count, 0, 0, Origin(), kind)
        self._output.write(self._formats[stage](frame))

    def _format_of(self, kind: Kind) -> Encoder:
        name = default_format(kind.name, terminal=False)
        encode = make_encoder(name, kind.name)
        output = self._output
        return for_terminal(name, encode, output.charset) if output.is_terminal else encode


def _print_nothing(_stage: str, _events: Any) -> None:
    """Instead of a printer, if standard output is a terminal or was not wanted."""


def _play(replay: Replay, tap: Tap, recordings: Sequence[Recording], options: Options) -> int:
    """Play to the end, print the summary, and return the exit code."""
    started = time.monotonic()
    failure: Exception | None = None
    visible = can_show_progress(options.printing)
    with show_progress(replay, recordings) if visible else nullcontext():
        try:
            ended_by = replay.run()
        except BrokenPipeError:
            ended_by = EndedBy.OUTPUT_CLOSED
            silence_stdout()
        except (TapError, OSError, MemoryError) as error:
            ended_by, failure = EndedBy.ERROR, error
    if failure is not None and not replay.events:
        fail(failure)
    say_what_is_missing(recordings)
    if failure is not None:
        say(failure)
    seconds = time.monotonic() - started
    Summary.of(replay, tap, recordings, ended_by, seconds).show(options.summary)
    return 0 if failure is None else TapError.exit_code
