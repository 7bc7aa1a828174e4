"""A clock that tests set, and recordings that need no file."""

from types import SimpleNamespace
from typing import Any

from tapring.files.meta import StageMeta


class Clock:
    """A clock that moves only while the code under test sleeps, and a little at each look."""

    def __init__(self) -> None:
        self.now = 1_000_000
        self.look_ns = 0

    def __call__(self) -> int:
        self.now += self.look_ns
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)


def recorded(
    *batches: tuple[int | None, int], start_ns: int | None = None, stage: str = "raw"
) -> Any:
    """A recording whose batches are (offset, number of events)."""
    return SimpleNamespace(
        path="events",
        format="ndjson",
        stages={stage: StageMeta("lines")},
        skipped=0,
        start_ns=start_ns,
        batches=lambda: iter([(offset, stage, [b"x"] * count) for offset, count in batches]),
    )


class Unwatched:
    """A Tap without sessions."""

    active_sessions = 0

    def snapshot(self) -> None:
        return None
