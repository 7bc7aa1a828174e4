"""Recorded files as input: the options of the commands that read them, and how they are opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import click

from ..delivery.recorded import Recorded
from ..ended_by import EndedBy
from ..errors import RecordingError, TapError
from ..events.redaction import Redactor
from ..events.selection import Select
from ..files.reading import FORMATS, STDIN, Recording, open_recording
from ..files.sets import files_of_set, named_files
from ..shm.requests import split_stages
from .arguments import STAGES, OneOf, refuse_url_of_file
from .clock import Between, Clock, ClockTime
from .messages import fail, note
from .signals import Interrupts

FORMAT_READ: Final = (
    click.option(
        "--stage",
        type=STAGES,
        default=None,
        help="Of files with several stages, read only these: raw,decoded.",
    ),
    click.option(
        "--input-format",
        type=OneOf(FORMATS),
        metavar="NAME",
        default=None,
        help="The format of FILE, if neither its name nor FILE.meta.json tells: "
        f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}.",
    ),
)
TIMES: Final = (
    click.option(
        "--since",
        type=ClockTime(),
        default=None,
        help="Leave out earlier events: 03:12, 2026-11-26T03:12, 2026-11-26T03:12:30Z. Needs "
        "recorded times.",
    ),
    click.option(
        "--until", type=ClockTime(), default=None, help="Leave out events of this time and later."
    ),
)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What was asked for with ``FORMAT_READ`` and ``TIMES``; each field is one of these options."""

    files: tuple[str, ...]
    stage: str | None
    input_format: str | None
    since: Clock | None
    until: Clock | None

    def check_inputs(self) -> None:
        """Raise click.UsageError if the arguments contradict each other."""
        for file in self.files:
            refuse_url_of_file(file)
        if STDIN in self.files and len(self.files) > 1:
            raise click.UsageError("Standard input (-) cannot be combined with other files.")

    def open(self, select: Select, redact: Redactor | None) -> Recorded:
        """Find out what the files hold. Says which are left out, and what is different.

        Raises RecordingError, and ValueError for a step that does not apply to their events.
        """
        paths = named_files(self.files).paths
        recordings, failed = self._opened(self._without_empty(paths))
        if self.stage is not None:
            _choose(recordings, split_stages(self.stage))
        for recording in recordings:
            if recording.note:
                note(f"{recording.path}: {recording.note}")
        self._check_times(recordings, select)
        _tell_of_set(paths)
        within = None
        if self.since is not None or self.until is not None:
            within = Between(self.since, self.until)
        recorded = Recorded(recordings, select, redact, is_wanted=within)
        recorded.failures += failed
        return recorded

    def _opened(self, paths: list[str]) -> tuple[list[Recording], list[RecordingError]]:
        """The recordings, and why others of several cannot be read: a torn meta, say.

        Raises RecordingError if none can be read, and for a name that was mistyped.
        """
        found: list[Recording] = []
        failed: list[RecordingError] = []
        for path in paths:
            try:
                found.append(open_recording(path, self.input_format))
            except RecordingError as error:
                if len(paths) == 1 or not os.path.exists(path):
                    raise
                failed.append(error)
        if not found:
            raise failed[0]
        return found, failed

    def _without_empty(self, paths: list[str]) -> list[str]:
        """The files without the empty ones, unless there are no others."""
        empty = [path for path in paths if os.path.isfile(path) and not os.path.getsize(path)]
        if not empty or len(empty) == len(paths):
            return paths
        for path in empty:
            note(f"{path} is empty")
        return [path for path in paths if path not in empty]

    @property
    def needs_times(self) -> dict[str, object]:
        """What was asked for that only files with recorded times can answer, by option."""
        return {"--since": self.since, "--until": self.until}

    def _check_times(self, recordings: Sequence[Recording], select: Select) -> None:
        timeless = [each.path for each in recordings if not each.has_times]
        asked = {**self.needs_times, "--rate": select.rate}
        for option, value in asked.items():
            if value is not None and timeless:
                raise RecordingError(
                    f"{timeless[0]} has no recorded times, and {option} needs them. Leave it out"
                )


def open_recorded(
    asked: Inputs, interrupts: Interrupts, select: Select, redact: Redactor | None
) -> Recorded:
    """Open the files that a command was given, and end reading upon a signal.

    Exits if they cannot be read. Raises click.UsageError if they do not fit what was asked for.
    """
    try:
        interrupts.ends(_leave)  # standard input may let us wait for its first event
        recorded = asked.open(select, redact)
        interrupts.ends(lambda: recorded.end(EndedBy.INTERRUPT))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except (TapError, OSError, MemoryError) as error:
        fail(error)
    except KeyboardInterrupt:
        fail("interrupted before any event was read")
    return recorded


def _leave() -> None:
    """Upon a signal while the files are opened."""
    raise KeyboardInterrupt


def _choose(recordings: Sequence[Recording], stages: Sequence[str]) -> None:
    """Read only the events of ``stages``. Raises RecordingError if a file has none of them."""
    for recording in recordings:
        there = [stage for stage in stages if stage in recording.stages]
        if not there:
            raise RecordingError(
                f"{recording.path} has no stage {' or '.join(stages)}. "
                f"It has {', '.join(recording.stages)}"
            )
        recording.choose(there)


def _tell_of_set(paths: Sequence[str]) -> None:
    """Say so if one file of a rotated capture was named, and there are others."""
    if len(paths) == 1 and paths[0] != STDIN:
        all_files = files_of_set(paths[0])
        if len(all_files) > 1 and paths[0] in all_files:
            at = all_files.index(paths[0]) + 1
            note(f"{paths[0]} is file {at} of {len(all_files)} of a rotated capture")
