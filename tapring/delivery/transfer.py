"""A session's frames carried into a sink, to the end of both, whatever ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from ..ended_by import EndedBy
from ..errors import TapError
from ..files.writing import STDOUT, Sink
from ..frame import Frame


class Progress(Protocol):
    """Is told how a transfer goes on."""

    def make_way(self) -> None:
        """Events are about to be written."""

    def update(self) -> None:
        """Called after each frame, and while no frame is there."""


class Frames(Protocol):
    """Where frames come from: a session or recorded files. ``Session`` says what each means."""

    on_idle: Callable[[], object] | None

    @property
    def ended_by(self) -> str | None:
        """Why no more frames come; None before."""

    @ended_by.setter
    def ended_by(self, reason: EndedBy) -> None: ...

    @property
    def final_gaps(self) -> Sequence[Frame]:
        """What is missing behind the last frames; known once it is closed."""

    def frames(self, *, limit: int | None = None) -> Iterator[Frame]:
        """Frames until the end, or until ``limit`` events."""

    def close(self, *, handled: bool = True) -> None:
        """Stop reading."""


class Transfer:
    """Frames on their way from a session into a sink.

    limit: the number of events to carry; None is no limit. flush_each: flush the sink after each
    frame, before the session releases it (delivery at least once). frames: those of the session, if
    the caller has begun to take them. progress: is told how it goes on. ``failure`` is the error
    that ended the transfer early, or None.
    """

    def __init__(
        self,
        session: Frames,
        sink: Sink,
        *,
        limit: int | None = None,
        flush_each: bool = False,
        frames: Iterable[Frame] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.failure: Exception | None = None
        self._session = session
        self._sink = sink
        self._flush_each = flush_each
        self._frames = session.frames(limit=limit) if frames is None else frames
        self._progress = progress

    def run(self) -> None:
        """Carry all frames, then close the session and the sink. Never raises what ends it.

        ``session.ended_by`` says why it ended: ``output-closed`` if nothing reads the output any
        more, ``interrupt`` after a KeyboardInterrupt, ``error`` if ``failure`` is set. After a
        failure, the last frames count as not handled, and the sink as not complete.
        """
        self._guarded(self._carry)
        self._session.close(handled=self.failure is None)
        if self.failure is None:
            self._guarded(self._tell_of_final_gaps)
        self._guarded(lambda: self._sink.close(complete=self.failure is None))

    def _carry(self) -> None:
        sink, progress = self._sink, self._progress

        def idle() -> None:
            sink.tick()
            if progress is not None:
                progress.update()

        self._session.on_idle = idle
        for frame in self._frames:
            if progress is not None:
                progress.make_way()
            sink.write(frame)
            if self._flush_each:
                sink.flush()
            if progress is not None:
                progress.update()

    def _tell_of_final_gaps(self) -> None:
        if self._session.ended_by != "output-closed":
            for gap in self._session.final_gaps:
                self._sink.write(gap)

    def _guarded(self, step: Callable[[], None]) -> None:
        """Do ``step``, and note what ends it early."""
        try:
            step()
        except BrokenPipeError:
            self._session.ended_by = EndedBy.OUTPUT_CLOSED
        except (TapError, OSError, MemoryError, ValueError) as error:
            if isinstance(error, OSError) and error.filename is None:
                error.filename = self._sink.path if self._sink.path != STDOUT else None
            self._session.ended_by = EndedBy.ERROR
            self.failure = self.failure or error
        except KeyboardInterrupt:
            self._session.ended_by = EndedBy.INTERRUPT
