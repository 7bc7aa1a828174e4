"""The sink of a report whose events go to an HTTP client: what was sent."""

from __future__ import annotations

from ..files.rotated_out import RotatedOut
from ..frame import Frame


class Sent:
    """Counts what is sent. The rest is what a sink says that has no file."""

    path = "-"
    is_terminal = False
    unfinished: str | None = None
    meta_error: OSError | None = None

    def __init__(self, format_: str) -> None:
        self.format: str = format_
        self.files: list[str] = []
        self.changed: dict[str, str] = {}
        self.rotated_out: RotatedOut = RotatedOut(None)
        self.events: int = 0
        self.bytes: int = 0
        self.ended_by: str | None = None

    def add(self, frame: Frame) -> None:
        """Count the events of a frame that is sent."""
        self.events += frame.count

    def write(self, frame: Frame) -> None:
        """As ``add``."""
        self.add(frame)

    def tick(self) -> None:
        """Nothing is due."""

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self, *, complete: bool = True) -> None:
        """Nothing is open."""
