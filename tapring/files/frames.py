"""What is read of a frame here, so that nothing here depends on where frames come from."""

from __future__ import annotations

from typing import Any, Protocol


class FrameLike(Protocol):
    """What formats and sinks read of a ``tapring.Frame``."""

    @property
    def payload(self) -> bytes:
        """The packed events."""

    @property
    def count(self) -> int:
        """Events in it."""

    @property
    def timestamp(self) -> int:
        """Nanoseconds since the epoch."""

    @property
    def missed(self) -> int:
        """Events lost just before this frame."""

    def events(self) -> list[Any]:
        """The decoded events."""
