"""What ``tapring replay`` says while it plays, and at its end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from ..adapters.replay import Replay
from ..engine.tap import Tap
from ..files.reading import Recording, first_skipped
from ..words import counted, duration_in_words
from .messages import note, print_json

if TYPE_CHECKING:
    from rich.console import RenderableType


class Summary(msgspec.Struct):
    """The facts of a replay, in the order in which ``--summary json`` prints them.

    file: the first file.
    files: all files, in the order in which they were played.
    engine: the name of the engine that played them.
    lane: the id of its lane; null if it could not be tapped.
    stage: the first of the stages.
    stages: the stages of all files.
    events: events played.
    watched: of these, events that a session was offered.
    skipped: events that could not be read.
    first_skipped: where the first of these stands and why it could not be read; null if none.
    missed: events that the capture had lost, as far as the files say so.
    complete: whether all files are complete, and not left by a killed capture.
    loops: how often the files were played.
    duration_ms: how long the replay took, in milliseconds.
    ended_by: why the replay ended, such as end, limit or interrupt.
    """

    file: str
    files: list[str]
    engine: str
    lane: str | None
    stage: str
    stages: list[str]
    events: int
    watched: int
    skipped: int
    first_skipped: str | None
    missed: int
    complete: bool
    loops: int
    duration_ms: int
    ended_by: str

    @classmethod
    def of(
        cls,
        replay: Replay,
        tap: Tap,
        recordings: Sequence[Recording],
        ended_by: str,
        seconds: float,
    ) -> Summary:
        """The summary of a replay that took ``seconds``."""
        return cls(
            file=recordings[0].path,
            files=[recording.path for recording in recordings],
            engine=tap.name,
            lane=tap.lane,
            stage=recordings[0].stage,
            stages=list(dict.fromkeys(stage for each in recordings for stage in each.stages)),
            events=replay.events,
            watched=replay.watched,
            skipped=sum(recording.skipped for recording in recordings),
            first_skipped=first_skipped(recordings),
            missed=sum(recording.missed for recording in recordings),
            complete=all(recording.complete for recording in recordings),
            loops=replay.loops,
            duration_ms=round(seconds * 1000),
            ended_by=ended_by,
        )

    def show(self, style: str) -> None:
        """Print it on standard error as ``text`` or ``json``; ``none`` prints nothing."""
        if style == "json":
            print_json(ReplayLine(self), err=True)
        elif style == "text":
            note(self.words())

    def words(self) -> str:
        """The summary as a sentence."""
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        loops = f" {self.loops:,} times" if self.loops > 1 else ""
        skipped = f"; {self.skipped:,} could not be read" if self.skipped else ""
        skipped += f" (the first: {self.first_skipped})" if self.first_skipped else ""
        missed = f"; the capture had missed {self.missed:,}" if self.missed else ""
        return (
            f"replayed {counted(self.events, 'event')} of {self.file}{more}{loops} as engine "
            f"{self.engine} in {duration_in_words(round(self.duration_ms / 1000, 1))}, "
            f"ended by {self.ended_by}; "
            f"{self.watched:,} watched{skipped}{missed}"
        )


class ReplayLine(msgspec.Struct, frozen=True):
    """The summary as a line of JSON.

    tapring_replay: the summary of the replay.
    """

    tapring_replay: Summary


def say_what_is_missing(recordings: Sequence[Recording]) -> None:
    """Name the files that end early, as those of a killed capture do."""
    for recording in recordings:
        if not recording.complete:
            note(
                f"{recording.path} is incomplete, as after a killed capture; "
                f"{counted(recording.read, 'event')} could be read"
            )


def can_show_progress(printing: bool) -> bool:
    """Whether a progress line fits: on a terminal that understands it and shows no events."""
    return (
        not printing
        and sys.stderr is not None
        and sys.stderr.isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
    )


@contextmanager
def show_progress(replay: Replay, recordings: Sequence[Recording]) -> Iterator[None]:
    """While entered, a line on standard error shows the events, their rate and the time left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    class Line(Progress):
        """Asks the replay for its counts whenever it is drawn."""

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


def _expected(replay: Replay, recordings: Sequence[Recording]) -> int | None:
    """How many events will be played; None if that is not known."""
    known = [recording.events for recording in recordings]
    total = None if replay.loop or None in known else sum(each or 0 for each in known)
    return total if replay.limit is None else min(replay.limit, total or replay.limit)
