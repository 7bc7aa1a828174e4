"""One run of threads that use a real Tap: they offer, and open and close sessions meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from mmap import mmap
from pathlib import Path

import tapring
from tapring.engine.session import Live
from tapring.engine.snapshot import Snapshot
from tapring.shm.names import segment_name
from tapring.wire.geometry import Buffers, Shape
from tapring.wire.reader import Reader

from .automaton import Broken
from .ends import LINES, broken
from .gate_world import LATER, SLOT_BYTES, SLOTS, Session, World
from .properties import each_open_session_has_an_owner, nothing_is_raised
from .turns import Turns

_numbers = count()


class TapWorld(World):
    """A Tap with one session.

    Words of scripts: "offer", "close" that session, "register" another one, "end" the Tap, and
    "capture": a consumer opens a session, which the engine has not seen yet.
    """

    next = "attempt offer"  # if no session is left, an offer has no reason to come to the gate

    def __init__(self, turns: Turns, scripts: Sequence[str], handler: str, before: str) -> None:
        super().__init__(turns, scripts, handler)
        self.before = before
        self.tap = tapring.Tap(f"t-{os.getpid()}-turns{next(_numbers)}", slot_bytes=SLOT_BYTES)
        self.gate = self.tap._gate
        self._handles: list[tapring.Handle] = []
        self._captures: list[tuple[tapring.Session, tuple[int, int]]] = []
        self._register("")()
        self.tap.snapshot()

    def snapshot(self) -> Snapshot | None:
        return self.tap.snapshot()

    def final(self, *, ended: bool) -> Iterator[Broken]:
        try:
            yield from super().final(ended=ended)
            yield from broken(nothing_is_raised, "a session", self.tap.faults)
            still = [each for each in self._handles if each.open]
            active = self.tap.active_sessions
            yield from broken(
                each_open_session_has_an_owner, active, len(still) + len(self._captures)
            )
        finally:
            for capture, _ in self._captures:
                capture.close()
            self.tap.close()
            for session in self.sessions:
                session.reader.close()

    def _register(self, thread: str) -> Callable[[], None]:
        def register() -> None:
            began = self.tick()
            handle = self.tap.register("raw", buffer_bytes=SLOTS * SLOT_BYTES)
            if handle is not None:
                self._handles.append(handle)
                with suppress(FileNotFoundError):  # another thread has closed the Tap since
                    self.sessions.append(self._session(handle._live, (began, self.tick())))

        return register

    def _close(self, thread: str) -> Callable[[], None]:
        def close() -> None:
            handle, session = self._handles[0], self.sessions[0]
            session.closed = self.tick(), LATER
            handle.close()
            if not handle.open:
                session.closed = session.closed[0], self.tick()

        return close

    def _end(self, thread: str) -> Callable[[], None]:
        def end() -> None:
            began = self.tick()
            for session in self.sessions:
                session.closed = min(session.closed, (began, LATER))
            self.tap.close()
            if self.tap.lane is None:
                ended = self.tick()
                for session in self.sessions:
                    session.closed = session.closed[0], min(session.closed[1], ended)

        return end

    def _capture(self, thread: str) -> Callable[[], None]:
        def capture() -> None:
            began = self.tick()
            session = tapring.capture(self.tap.name, stage="raw", buffer_bytes=SLOTS * SLOT_BYTES)
            self._captures.append((session, (began, self.tick())))

        return capture

    def come_next(self) -> Callable[[], None]:
        come = super().come_next()

        def come_and_see() -> None:
            come()
            for capture, opened in self._captures:
                live = self.tap._lane.roster.live[capture.ids[0]]
                self.sessions.append(self._session(live, opened))

        return come_and_see

    def _session(self, live: Live, opened: tuple[int, int]) -> Session:
        name = segment_name(self.tap.name, live._registry.info.lane, live.row.id)
        with Path("/dev/shm", name).open("r+b") as file:
            ring = mmap(file.fileno(), 0)
        shape = Shape(SLOTS, SLOT_BYTES, 0, LINES.code, LINES)
        return Session(live.writer, Reader(Buffers.of(ring), shape), opened)
