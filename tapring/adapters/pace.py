"""When each recorded batch is due: the pace of the captures, kept across several files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol


class Played(Protocol):
    """What a replay needs of a ``Recording``."""

    start_ns: int | None

    def batches(self) -> Iterator[tuple[int | None, str, Any]]:
        """Each batch: its offset from the start of the capture in ns, its stage and events."""


def due_times(recordings: Sequence[Played]) -> Iterator[tuple[int | None, str, Any]]:
    """All batches in order, each with the time it is due: ns after the first, None for at once.

    The distance between two files is the distance between the starts of their captures. If that
    is unknown or negative, the second file follows the first directly. A batch that was captured
    before the one in front of it (on another lane) is due together with it.
    """
    origin: int | None = None  # the wall-clock time, by the files, of the batch that is due at 0
    latest = 0
    for recording in recordings:
        shift: int | None = None
        for offset, stage, events in recording.batches():
            if offset is None:
                yield None, stage, events
                continue
            if shift is None:
                begun = (recording.start_ns or 0) + offset
                if origin is None:
                    origin = begun
                known = recording.start_ns is not None and begun - origin >= latest
                shift = (begun - origin if known else latest) - offset
            latest = max(latest, shift + offset)
            yield latest, stage, events
